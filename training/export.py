"""A run as a bundle: written through `node.bundle`, read back, and its golden films replayed by the node's own reader."""

from __future__ import annotations

import hashlib
import json
import platform
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf

from node import bundle as bundles
from node.bundle import Bundle
from node.errors import BundleError, NotAssessable
from node.infer import Reader, replay_golden
from node.pixels import read_picture
from node.study import Prediction
from training.calibrate import Calibrated, softmax
from training.film_check import fit_film_check
from training.half_precision import half_precision
from training.neighbors import neighbors, used
from training.recipe import file_digest
from training.run import Rows, Run

# float32 on processors of other makes differs by about 1e-5 here; a wrong picture or wrong weights by far more than this.
TOLERANCE = 0.005
_LAYER = "top_activation"


@dataclass(frozen=True)
class _Golden:
    """A film that goes into the bundle: its name there, its position among the films, and what the node says of it."""

    name: str
    row: int
    said: Prediction


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
    weights, nearest = _weights(run, calibrated), neighbors(run)
    about = _about(run, calibrated, weights) | {"likeness": nearest.settings}
    contents = {
        **weights,
        bundles.NEIGHBORS: nearest.bank,
        bundles.REFERENCE: _json(calibrated.reference | nearest.reference),
        bundles.CARD: card.encode(),
        **_film_check(run),
    }
    golden = _golden(run, calibrated, about, contents)
    contents |= {film.name: _picture(run, film.row).read_bytes() for film in golden}
    contents |= {
        bundles.GOLDEN_CASES: _json([_case(run, film) for film in golden]),
        bundles.ATTRIBUTION: _attribution(run, golden).encode(),
    }
    bundle = bundles.write(folder, about, contents)
    missed = [result.file for result in replay_golden(Reader(bundle, "cpu"), bundle) if not result.passed]
    if missed:
        raise BundleError(f"{folder}: golden cases are not read as they were: {', '.join(missed)}; do not use it")
    return bundle


def _weights(run: Run, calibrated: Calibrated) -> dict[str, bytes]:
    """Return the members' weights by their names in the bundle."""
    paths = [member.weights for member in run.members]
    found = bundles.weights_digest([file_digest(path) for path in paths])
    if found != calibrated.weights_sha256:
        raise BundleError(
            f"the cut-offs were chosen for weights {calibrated.weights_sha256}, the weights are {found}: calibrate them again"
        )
    several = len(paths) > 1
    names = [f"members/{number}.weights.h5" if several else bundles.WEIGHTS for number, _ in enumerate(paths, start=1)]
    halved = run.recipe.export.half_precision
    return {
        name: half_precision(path) if halved else path.read_bytes() for name, path in zip(names, paths, strict=True)
    }


def _film_check(run: Run) -> dict[str, bytes]:
    """Return the file of the film check, where the recipe wants one."""
    if not run.recipe.export.film_check:
        return {}
    return {bundles.FILM_CHECK: fit_film_check(run.films, used(run, "train"), run.recipe.members[0].seed)}


def _about(run: Run, calibrated: Calibrated, weights: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the manifest; the cut-offs are bound to the weights as they are in the bundle, rounded or not."""
    recipe, films = run.recipe, run.films
    return {
        "name": recipe.name,
        "version": recipe.version,
        "labels": recipe.coded_labels,
        "members": [
            {"file": name, "architecture": member.architecture}
            for name, member in zip(weights, run.members, strict=True)
        ],
        "preprocessing": recipe.preprocessing,
        "calibration": {"temperature": calibrated.temperature},
        "triage": {"thresholds_for": _digest(weights), "rules": calibrated.rules},
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


def _digest(weights: Mapping[str, bytes]) -> str:
    return bundles.weights_digest([hashlib.sha256(content).hexdigest() for content in weights.values()])


def _golden(run: Run, calibrated: Calibrated, about: Mapping[str, Any], contents: Mapping[str, bytes]) -> list[_Golden]:
    """Choose one film of each class and source that may be given on, and read it with the node's own reader.

    The reader has a bundle that lacks only the golden films. A film that it refuses is no example: the next is taken.
    """
    with tempfile.TemporaryDirectory() as place:
        empty = {bundles.GOLDEN_CASES: b"[]", bundles.ATTRIBUTION: b""}
        reader = Reader(bundles.write(Path(place) / "draft", about, {**contents, **empty}), "cpu")
        chosen = (_first_read(run, reader, rows) for rows in _candidates(run, calibrated))
        return [film for film in chosen if film]


def _candidates(run: Run, calibrated: Calibrated) -> Iterator[Rows]:
    """Yield for each class and source the films that are answered rightly, the most typical first.

    They are validation films (training films where the source has none; no test film), in the order of how near their probability is to
    the median.
    """
    films, recipe = run.films, run.recipe
    for source in recipe.golden:
        for index, _ in enumerate(recipe.labels):
            own = (films.sources == source) & (films.labels == index)
            rows = np.flatnonzero(own & (films.splits == "val"))
            rows = rows if len(rows) else np.flatnonzero(own & (films.splits == "train"))
            if not len(rows):
                continue
            said = softmax(run.logits(rows) / calibrated.temperature)
            right = np.flatnonzero(said.argmax(1) == index)
            ranked = right[np.argsort(said[right, index])]
            yield rows[ranked[np.argsort(np.abs(np.arange(len(ranked)) - len(ranked) // 2), kind="stable")]]


def _first_read(run: Run, reader: Reader, rows: Rows) -> _Golden | None:
    for row in rows:
        path = _picture(run, row)
        try:
            said = reader.read(read_picture(path))
        except NotAssessable:
            continue
        label = run.recipe.labels[run.films.labels[row]].lower()
        return _Golden(f"golden/{run.films.sources[row]}-{label}{path.suffix.lower()}", int(row), said)
    return None


def _case(run: Run, film: _Golden) -> dict[str, Any]:
    return {
        "file": film.name,
        "label": run.recipe.labels[run.films.labels[film.row]],
        "source": str(run.films.sources[film.row]),
        "probabilities": {finding.label: round(finding.probability, 6) for finding in film.said.findings},
        "tolerance": TOLERANCE,
        "map_label": film.said.map_label,
        "map_peak": round(float(film.said.heat_map.max()), 6),
        "warnings": [str(warning) for warning in film.said.warnings],
    }


def _picture(run: Run, row: int) -> Path:
    return run.films.images / str(run.films.files[row])


def _attribution(run: Run, golden: list[_Golden]) -> str:
    lines = ["# Where the golden films come from", "", "Unchanged files of public data sets, for replay only.", ""]
    lines += ["| file | file of the data set | split here |", "| --- | --- | --- |"]
    lines += [
        f"| {Path(film.name).name} | {run.films.files[film.row]} | {run.films.splits[film.row]} |" for film in golden
    ]
    used = {str(run.films.sources[film.row]) for film in golden}
    lines += ["", *(f"- **{source}**: {text}" for source, text in run.recipe.golden.items() if source in used)]
    return "\n".join(lines) + "\n"


def _json(form: Any) -> bytes:
    return (json.dumps(form, indent=1) + "\n").encode()
