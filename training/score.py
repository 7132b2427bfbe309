"""A bundle measured on films of a manifest, read by the node's own reader.

Films are decoded ahead, by threads, while the reader reads: of films as hospitals have them, decoding takes as long as reading.
"""

from __future__ import annotations

import csv
import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from node.bundle import Bundle
from node.errors import ConfigError, NotAssessable
from node.infer import Reader
from node.pixels import Plane, read_dicom, read_picture
from node.study import Prediction
from training.data import COLUMNS, Films
from training.fairness import fairness
from training.html_report import write_report
from training.listed import Unmeasured, listed
from training.measure import Answered, measure
from training.plots import plots
from training.sections import captioned
from training.statistics import Rows

SCORES, METRICS, REPORT = "scores.csv", "metrics.json", "report.html"
# Decoded and waiting: 16 films of 3000 x 3000 pixels take 0.6 GB.
_AHEAD = 16
_DICOM = {".dcm", ".dicom"}


@dataclass(frozen=True)
class _Read:
    """What the reader says of a film, and whether the node would have refused it as no chest film."""

    answer: Prediction
    refused: bool


def score(
    bundle: Bundle, manifest: Path, images: Path, out: Path, resamples: int, device: str = "auto"
) -> dict[str, Any]:
    """Read every film of a manifest; write ``scores.csv``, ``metrics.json`` and ``report.html``.

    Parameters
    ----------
    bundle : Bundle
    manifest : Path
        CSV with the columns file, label, source, patient_id; a split column is not looked at.
    images : Path
        Folder that file names are relative to: PNG and JPEG of 8 or 16 bit, and DICOM (``.dcm``).
    out : Path
        Folder to write to.
    resamples : int
        Of the bootstrap.
    device : {"auto", "cpu", "gpu"}

    Returns
    -------
    dict
        What ``metrics.json`` holds; films that could not be read are in ``not_read``, with the reason, and in no number.

    Raises
    ------
    ConfigError
        Where the manifest cannot be used, or no film of it can be read.
    """
    names = bundle.label_names
    films, unmeasured = listed(manifest, images, names)
    said = [*_said(Reader(bundle, device), [images / str(file) for file in films.files])]
    files = films.files.tolist()
    unmeasured += [Unmeasured(file, one) for file, one in zip(files, said, strict=True) if isinstance(one, str)]
    rows = np.flatnonzero([not isinstance(one, str) for one in said])
    read = [one for one in said if not isinstance(one, str)]
    if not read:
        raise ConfigError(
            f"{manifest}: no film of it was read; the first: {unmeasured[0].file}: {unmeasured[0].reason}"
        )
    probabilities = np.array([[finding.probability for finding in one.answer.findings] for one in read], np.float32)
    answers = np.array([str(one.answer.triage) for one in read], dtype=str)
    answered = Answered.of(films, rows, probabilities, names, bundle.rules, answers)
    metrics = {
        "bundle": bundle.digest,
        "about": _about(bundle, manifest, resamples),
        "listed": len(read) + len(unmeasured),
        "not_read": [asdict(one) for one in unmeasured],
        "film_checks": _film_checks([files[row] for row in rows], read),
        **measure(answered, resamples),
        "fairness": fairness(films, rows, answered, resamples),
    }
    out.mkdir(parents=True, exist_ok=True)
    _write_scores(out / SCORES, films, rows, read, names)
    (out / METRICS).write_text(json.dumps(metrics, indent=1) + "\n")
    write_report(metrics, captioned(plots(metrics)), out / REPORT)
    return metrics


def _said(reader: Reader, paths: list[Path]) -> Iterator[_Read | str]:
    """Yield what the reader says of each film, or why it says nothing."""
    for plane in track(_decoded(paths), "reading", total=len(paths)):
        yield plane if isinstance(plane, str) else _read(reader, plane)


def _read(reader: Reader, plane: Plane) -> _Read:
    try:
        return _Read(reader.read(plane), refused=False)
    except NotAssessable:
        return _Read(reader.read(plane, refuse=False), refused=True)


def _decoded(paths: Iterable[Path]) -> Iterator[Plane | str]:
    """Yield the films in their order, some decoded ahead."""
    with ThreadPoolExecutor() as pool:
        waiting: deque[Future[Plane | str]] = deque()
        for path in paths:
            waiting.append(pool.submit(_plane, path))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _plane(path: Path) -> Plane | str:
    try:
        return read_dicom(path) if path.suffix.lower() in _DICOM else read_picture(path)
    except NotAssessable as error:
        return str(error)
    except OSError as error:
        return f"cannot be opened: {error.strerror}"


def _film_checks(files: list[str], read: list[_Read]) -> dict[str, Any]:
    """Return how often the node would have refused a film that was measured here all the same, or would have warned."""
    refused = [file for file, one in zip(files, read, strict=True) if one.refused]
    warnings = Counter(str(warning) for one in read for warning in one.answer.warnings)
    return {
        "words": [
            "Of a film that does not look like a chest film the node says nothing. Here its answer is measured all the same.",
            *([f"It would have refused {', '.join(refused)}."] if refused else []),
        ],
        "films measured": len(read),
        "refused by the node": len(refused),
        **{f"warned of: {name}": count for name, count in sorted(warnings.items())},
    }


def _about(bundle: Bundle, manifest: Path, resamples: int) -> dict[str, Any]:
    identity = bundle.identity
    return {
        "kind": "bundle",
        "name": identity.name,
        "version": identity.version,
        "digest": bundle.digest,
        "weights_sha256": identity.weights_sha256,
        "labels": list(bundle.label_names),
        "temperature": bundle.manifest.calibration.temperature,
        "rules": {
            label: {"cut_off": rule.cut_off, "uncertain_from": rule.uncertain_from, "urgent": rule.urgent}
            for label, rule in bundle.rules.items()
        },
        "trained_on": list(bundle.manifest.training.sources),
        "manifest": manifest.name,
        "resamples": resamples,
    }


def _write_scores(path: Path, films: Films, rows: Rows, read: list[_Read], names: tuple[str, ...]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*COLUMNS, *names, "triage"])
        for row, one in zip(rows, read, strict=True):
            source = str(films.sources[row])
            patient = str(films.patients[row]).removeprefix(f"{source}/")
            said = [f"{finding.probability:.6f}" for finding in one.answer.findings]
            writer.writerow([films.files[row], names[films.labels[row]], source, patient, *said, one.answer.triage])
