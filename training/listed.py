"""A manifest of films to be measured, as it comes: what cannot be measured is told film by film, and refuses nothing else."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from node.errors import ConfigError
from training.data import COLUMNS, Films


@dataclass(frozen=True)
class Unmeasured:
    """A film that no number counts, and why."""

    file: str
    reason: str


def listed(manifest: Path, images: Path, labels: tuple[str, ...]) -> tuple[Films, list[Unmeasured]]:
    """Read a manifest.

    Parameters
    ----------
    manifest : Path
        CSV with the columns file, label, source, patient_id; sex, age and view are read where they are there.
    images : Path
        Folder that file names are relative to.
    labels : tuple of str

    Returns
    -------
    films : Films
        Those whose label is known and whose file is there; whether it can be read is not known yet.
    unmeasured : list of Unmeasured

    Raises
    ------
    ConfigError
        Where the manifest cannot be read, or lacks a column.
    """
    rows = _rows(manifest)
    reasons = [*_reasons(rows, images, labels)]
    kept = [row for row, reason in zip(rows, reasons, strict=True) if not reason]
    unmeasured = [Unmeasured(row["file"], why) for row, why in zip(rows, reasons, strict=True) if why]
    columns = {
        name: np.array([row.get(name) or "" for row in kept], np.str_) for name in (*COLUMNS, "sex", "age", "view")
    }
    films = Films(
        files=columns["file"],
        labels=np.array([labels.index(row["label"]) for row in kept], np.int64),
        sources=columns["source"],
        splits=np.full(len(kept), ""),
        patients=np.array([f"{row['source']}/{row['patient_id'] or row['file']}" for row in kept], np.str_),
        images=images,
        terms={},
        sex=columns["sex"],
        age=columns["age"],
        view=columns["view"],
    )
    return films, unmeasured


def _rows(manifest: Path) -> list[dict[str, str]]:
    try:
        # A spreadsheet's UTF-8 begins with a byte order mark, and a short line lacks its last columns.
        with manifest.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream, restval=""))
    except OSError as error:
        raise ConfigError(f"{manifest}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{manifest}: is not UTF-8; save it as CSV in UTF-8") from error
    if not rows:
        raise ConfigError(f"{manifest}: lists no film")
    if lacking := [column for column in COLUMNS if column not in rows[0]]:
        raise ConfigError(f"{manifest}: lacks {', '.join(lacking)}")
    return rows


def _reasons(rows: list[dict[str, str]], images: Path, labels: tuple[str, ...]) -> Iterator[str]:
    """Yield, for each row, why it cannot be measured; '' where it can."""
    seen: set[str] = set()
    for row in rows:
        if row["label"] not in labels:
            yield f"its label is none of {', '.join(labels)}"
        elif row["file"] in seen:
            yield "listed before"
        elif not (images / row["file"]).is_file():
            yield "no such file"
        else:
            yield ""
        seen.add(row["file"])
