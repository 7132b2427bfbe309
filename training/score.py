"""A bundle measured on films of a manifest, read by the node's own reader."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from node.bundle import Bundle
from node.infer import Reader
from node.pixels import read_picture
from node.study import Prediction
from training.data import Films, read_films
from training.evaluate import measure


def score(
    bundle: Bundle, manifest: Path, images: Path, out: Path, resamples: int, device: str = "auto"
) -> dict[str, Any]:
    """Read every film of a manifest; write ``scores.csv`` and ``metrics.json``.

    Parameters
    ----------
    bundle : Bundle
    manifest : Path
        CSV with the columns file, label, source, patient_id; a split column is not looked at.
    images : Path
    out : Path
        Folder to write to.
    resamples : int
        Of the bootstrap.
    device : {"auto", "cpu", "gpu"}
    """
    names = bundle.label_names
    films = read_films(manifest, images, names, split_needed=False)
    reader = Reader(bundle, device)
    readings = [reader.read(read_picture(images / str(file))) for file in track(films.files, "reading")]
    out.mkdir(parents=True, exist_ok=True)
    _write_scores(out / "scores.csv", films, readings, names)
    probabilities = np.array([[f.probability for f in reading.findings] for reading in readings], np.float32)
    metrics = measure(films, np.arange(len(films)), probabilities, names, bundle.rules, resamples)
    (out / "metrics.json").write_text(json.dumps({"bundle": bundle.digest, **metrics}, indent=1) + "\n")
    return metrics


def _write_scores(path: Path, films: Films, readings: list[Prediction], names: tuple[str, ...]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "label", "source", "patient_id", *names, "triage"])
        for position, reading in enumerate(readings):
            patient = str(films.patients[position]).removeprefix(f"{films.sources[position]}/")
            said = [f"{finding.probability:.6f}" for finding in reading.findings]
            writer.writerow(
                [
                    films.files[position],
                    names[films.labels[position]],
                    films.sources[position],
                    patient,
                    *said,
                    reading.triage,
                ]
            )
