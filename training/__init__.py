"""From a folder of films to a model bundle: prepare, fit, evaluate, calibrate, export.

The journey of ``cxr-train all``: `data` reads the manifest and refuses what would make the numbers lie, `features` runs the
frozen backbone once over every film, `fit` trains the head, `calibrate` sets temperature, cut-offs and the heat map's scale on
the validation films, `evaluate` measures on the test films and on sources left out, `card` writes down what was measured, and
`export` writes the bundle through `node.bundle` and reads it back. No test film chooses anything.
"""
