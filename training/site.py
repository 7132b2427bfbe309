"""Cut-offs for a site from the scores file that `cxr-train evaluate --bundle` wrote of its films."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from node.bundle import Bundle
from node.errors import ConfigError
from node.site_calibration import Cases
from training.data import COLUMNS

_SHOWN = 5


def cases_of(scores: Path, bundle: Bundle) -> Cases:
    """Read a scores file.

    Parameters
    ----------
    scores : Path
        CSV with the columns file, label, source, patient_id, and one for each class of the bundle.
    bundle : Bundle
        The one that made the scores. Where ``metrics.json``, which is written beside them, names another, they are refused.

    Raises
    ------
    ConfigError
        Where the file cannot be used.
    """
    names = bundle.label_names
    rows = _rows(scores, (*COLUMNS, *names))
    _check_bundle(scores.with_name("metrics.json"), bundle)
    wrong = [str(line) for line, row in enumerate(rows, start=2) if row["label"] not in names]
    if wrong:
        raise ConfigError(f"{scores}: lines {', '.join(wrong[:_SHOWN])}: a label that the bundle does not know")
    try:
        said = np.array([[float(row[name]) for name in names] for row in rows])
    except (TypeError, ValueError):
        raise ConfigError(f"{scores}: has probabilities that are no numbers") from None
    patients = np.array([f"{row['source']}/{row['patient_id'] or row['file']}" for row in rows])
    return Cases(names, np.array([names.index(row["label"]) for row in rows]), said, patients)


def _rows(scores: Path, needed: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with scores.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise ConfigError(
            f"{scores}: cannot be read: {error.strerror}; cxr-train evaluate --bundle writes it"
        ) from None
    lacking = [column for column in needed if not rows or column not in rows[0]]
    if lacking:
        raise ConfigError(f"{scores}: lacks {', '.join(lacking)}; cxr-train evaluate --bundle writes it")
    return rows


def _check_bundle(metrics: Path, bundle: Bundle) -> None:
    if metrics.exists() and json.loads(metrics.read_text()).get("bundle", bundle.digest) != bundle.digest:
        raise ConfigError(
            f"{metrics}: these scores are of another bundle than {bundle.folder}; evaluate that one first"
        )
