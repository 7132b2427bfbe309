"""A chest X-ray triage node: a study's way is the layout of this package.

A PACS sends a study by C-STORE; ``receive`` takes it through the ``door`` and answers once it is durable in the
``spool``. When the study has settled, ``workflow`` carries it on: the ``gate`` says which images the model may read,
``pixels`` turns them into model input, ``infer`` and ``explain`` give calibrated probabilities and a heat map,
``report`` writes the objects, ``deliver`` stores them in the PACS. ``service`` keeps the processes running,
``status`` says how it is going, ``cli`` is the operator's desk.

Research and education only, not for diagnosis.
"""

__version__ = "0.1.0"
