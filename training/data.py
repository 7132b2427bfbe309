"""The films to learn from: a manifest, or a folder a label, checked before any number is made from them."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from node.errors import ConfigError

SPLITS = ("train", "val", "test")
COLUMNS = ("file", "label", "source", "patient_id")
_SHOWN = 5


@dataclass(frozen=True)
class Films:
    """Films in the manifest's order, as columns of equal length.

    Attributes
    ----------
    files : ndarray of str
        Relative to `images`.
    labels : ndarray of int
        Index of the class.
    sources, splits, patients : ndarray of str
        A patient is known by source and patient_id together.
    images : Path
    terms : dict of str to str
        What the manifest's ``licence`` column says, by source.
    """

    files: npt.NDArray[np.str_]
    labels: npt.NDArray[np.int64]
    sources: npt.NDArray[np.str_]
    splits: npt.NDArray[np.str_]
    patients: npt.NDArray[np.str_]
    images: Path
    terms: dict[str, str]

    def __len__(self) -> int:
        return len(self.files)

    def rows(self, split: str) -> npt.NDArray[np.int64]:
        """Return the positions of the films of a split."""
        return np.flatnonzero(self.splits == split)


def read_films(manifest: Path, images: Path, labels: tuple[str, ...], *, split_needed: bool = True) -> Films:
    """Read a manifest and check it.

    Parameters
    ----------
    manifest : Path
        CSV with the columns file, label, source, patient_id, and split (train, val or test) where `split_needed`;
        ``licence`` is read where it is there.
    images : Path
    labels : tuple of str
        The class names, in the order of the model's outputs.
    split_needed : bool

    Raises
    ------
    ConfigError
        Lists what is wrong: missing files, unknown labels, patients in two splits, classes without films.
    """
    needed = (*COLUMNS, "split") if split_needed else COLUMNS
    rows = _table(manifest, needed)
    complaints = [*_row_complaints(rows, images, labels)]
    if split_needed:
        complaints += [*_split_complaints(rows, labels)]
    if complaints:
        raise ConfigError(f"{manifest}: {'; '.join(complaints)}")
    return Films(
        files=np.array([row["file"] for row in rows]),
        labels=np.array([labels.index(row["label"]) for row in rows]),
        sources=np.array([row["source"] for row in rows]),
        splits=np.array([row.get("split", "") for row in rows]),
        patients=np.array([_patient(row) for row in rows]),
        images=images,
        terms={row["source"]: row["licence"] for row in rows if row.get("licence")},
    )


def manifest_from_folders(images: Path, manifest: Path, labels: tuple[str, ...]) -> int:
    """Write a manifest of the layout ``{train,val,test}/{label}/film``, and return how many films it lists.

    Such a layout names neither patient nor source: every film counts as a patient of its own and all as one source, so neither
    a patient in two splits nor what the source gives away can be found. A manifest with these columns is better.
    """
    kinds = {".png", ".jpg", ".jpeg"}
    found = [
        (path.relative_to(images).as_posix(), label, "local", path.stem, split)
        for split in SPLITS
        for label in labels
        for path in sorted((images / split / label).glob("*"))
        if path.suffix.lower() in kinds
    ]
    manifest.parent.mkdir(parents=True, exist_ok=True)
    with manifest.open("w", newline="") as stream:
        csv.writer(stream).writerows([(*COLUMNS, "split"), *found])
    return len(found)


def _table(manifest: Path, needed: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with manifest.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise ConfigError(
            f"{manifest}: cannot be read: {error.strerror}; `cxr-train prepare` says how to make one"
        ) from error
    lacking = [column for column in needed if not rows or column not in rows[0]]
    if lacking:
        raise ConfigError(f"{manifest}: lacks {', '.join(lacking)}" if rows else f"{manifest}: lists no film")
    return rows


def _patient(row: dict[str, str]) -> str:
    return f"{row['source']}/{row['patient_id'] or row['file']}"


def _row_complaints(rows: list[dict[str, str]], images: Path, labels: tuple[str, ...]) -> Iterator[str]:
    yield from _some("unknown label", {row["label"] for row in rows} - set(labels))
    yield from _some("missing file", [row["file"] for row in rows if not (images / row["file"]).is_file()])
    yield from _some("file listed twice", [file for file, n in Counter(row["file"] for row in rows).items() if n > 1])


def _split_complaints(rows: list[dict[str, str]], labels: tuple[str, ...]) -> Iterator[str]:
    yield from _some("unknown split", {row["split"] for row in rows} - set(SPLITS))
    splits = defaultdict(set)
    for row in rows:
        splits[_patient(row)].add(row["split"])
    yield from _some("patient in two splits", [patient for patient, of in splits.items() if len(of) > 1])
    held = {(row["split"], row["label"]) for row in rows}
    yield from _some(
        "class without films", [f"{label} in {s}" for s in SPLITS for label in labels if (s, label) not in held]
    )


def _some(what: str, items: Iterable[str]) -> Iterator[str]:
    found = sorted(items)
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        yield f"{what}: {', '.join(found[:_SHOWN])}{more}"
