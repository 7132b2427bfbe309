"""A run as a bundle: written through `node.bundle`, read back, and its golden films replayed by the node's own reader."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf

from node import bundle as bundles
from node.bundle import Bundle
from node.errors import BundleError
from node.infer import Reader, replay_golden
from node.pixels import read_picture
from training.calibrate import Calibrated, softmax
from training.run import Run

# float32 on processors of other makes differs by about 1e-5 here; a wrong picture or wrong weights by far more than this.
TOLERANCE = 0.005
_LAYER = "top_activation"


def export(run: Run, calibrated: Calibrated, card: str, folder: Path) -> Bundle:
    """Write a run's bundle.

    Parameters
    ----------
    run : Run
    calibrated : Calibrated
    card : str
        Markdown.
    folder : Path
        Must not exist.

    Raises
    ------
    BundleError
        Where the folder exists, the calibration belongs to other weights, or a golden film is not read as it was.
    """
    films = _golden_films(run, calibrated)
    contents = {
        bundles.WEIGHTS: run.weights.read_bytes(),
        bundles.REFERENCE: _json(calibrated.reference),
        bundles.CARD: card.encode(),
        bundles.ATTRIBUTION: _attribution(run, films).encode(),
        **{name: (run.films.images / str(run.films.files[row])).read_bytes() for name, row in films.items()},
    }
    about = _about(run, calibrated)
    contents[bundles.GOLDEN_CASES] = _json(_golden_cases(run, about, contents, films))
    bundle = bundles.write(folder, about, contents)
    missed = [result.file for result in replay_golden(Reader(bundle, "cpu"), bundle) if not result.passed]
    if missed:
        raise BundleError(f"{folder}: golden cases are not read as they were: {', '.join(missed)}; do not use it")
    return bundle


def _about(run: Run, calibrated: Calibrated) -> dict[str, Any]:
    recipe, films = run.recipe, run.films
    return {
        "name": recipe.name,
        "version": recipe.version,
        "labels": recipe.coded_labels,
        "architecture": recipe.architecture,
        "preprocessing": recipe.preprocessing,
        "calibration": {"temperature": calibrated.temperature},
        "triage": {"thresholds_for": calibrated.weights_sha256, "rules": calibrated.rules},
        "heat_map": {"layer": _LAYER, "reference_share": calibrated.reference_share},
        "age_years": None,
        "training": {
            "recipe": recipe.digest(),
            "films": {split: len(films.rows(split)) for split in ("train", "val", "test")},
            "patients": len(np.unique(films.patients)),
            "sources": tuple(str(source) for source in np.unique(films.sources)),
        },
        "made_with": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
            "numpy": np.__version__,
            "opencv": cv2.__version__,
        },
    }


def _golden_films(run: Run, calibrated: Calibrated) -> dict[str, int]:
    """Choose one film of each class and source that may be given on: file name in the bundle to position.

    Of the validation films (training films where the source has none) that are answered rightly, the one whose probability is
    the median: typical, and no test film.
    """
    films, recipe = run.films, run.recipe
    chosen = {}
    for source in recipe.golden:
        for index, label in enumerate(recipe.labels):
            own = (films.sources == source) & (films.labels == index)
            rows = np.flatnonzero(own & (films.splits == "val"))
            rows = rows if len(rows) else np.flatnonzero(own & (films.splits == "train"))
            said = softmax(run.head.logits(np.asarray(run.plain[rows])) / calibrated.temperature)
            right = np.flatnonzero(said.argmax(1) == index)
            if len(right):
                ranked = right[np.argsort(said[right, index])]
                row = int(rows[ranked[len(ranked) // 2]])
                suffix = Path(str(films.files[row])).suffix.lower()
                chosen[f"golden/{source}-{label.lower()}{suffix}"] = row
    return chosen


def _golden_cases(
    run: Run, about: Mapping[str, Any], contents: Mapping[str, bytes], films: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Read the golden films with the node's own reader, on a bundle that lacks only their answers."""
    with tempfile.TemporaryDirectory() as place:
        draft = bundles.write(Path(place) / "draft", about, {**contents, bundles.GOLDEN_CASES: b"[]"})
        reader = Reader(draft, "cpu")
        readings = {name: reader.read(read_picture(draft.folder / name)) for name in films}
    return [
        {
            "file": name,
            "label": run.recipe.labels[run.films.labels[films[name]]],
            "source": str(run.films.sources[films[name]]),
            "probabilities": {finding.label: round(finding.probability, 6) for finding in reading.findings},
            "tolerance": TOLERANCE,
            "map_label": reading.map_label,
            "map_peak": round(float(reading.heat_map.max()), 6),
        }
        for name, reading in readings.items()
    ]


def _attribution(run: Run, films: Mapping[str, int]) -> str:
    lines = ["# Where the golden films come from", "", "Unchanged files of public data sets, for replay only.", ""]
    lines += ["| file | file of the data set | split here |", "| --- | --- | --- |"]
    lines += [
        f"| {Path(name).name} | {run.films.files[row]} | {run.films.splits[row]} |" for name, row in films.items()
    ]
    used = {str(run.films.sources[row]) for row in films.values()}
    lines += ["", *(f"- **{source}**: {text}" for source, text in run.recipe.golden.items() if source in used)]
    return "\n".join(lines) + "\n"


def _json(form: Any) -> bytes:
    return (json.dumps(form, indent=1) + "\n").encode()
