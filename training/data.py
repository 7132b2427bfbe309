"""The films to learn from, as a manifest lists them, checked before any number is made from them."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from node.errors import ConfigError
from training.fingerprints import Fingerprint, fingerprints

SPLITS = ("train", "val", "test")
COLUMNS = ("file", "label", "source", "patient_id")
_SHOWN = 5


def _no_text() -> npt.NDArray[np.str_]:
    return np.array([], np.str_)


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
    sex, age, view : ndarray of str
        As the manifest has them; empty where it says nothing.
    unreadable : dict of str to str
        Films of the manifest that cannot be read and are not among these, and why.
    """

    files: npt.NDArray[np.str_]
    labels: npt.NDArray[np.int64]
    sources: npt.NDArray[np.str_]
    splits: npt.NDArray[np.str_]
    patients: npt.NDArray[np.str_]
    images: Path
    terms: dict[str, str]
    sex: npt.NDArray[np.str_] = field(default_factory=_no_text)
    age: npt.NDArray[np.str_] = field(default_factory=_no_text)
    view: npt.NDArray[np.str_] = field(default_factory=_no_text)
    unreadable: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("sex", "age", "view"):
            if len(getattr(self, name)) != len(self):
                object.__setattr__(self, name, np.full(len(self), ""))

    def __len__(self) -> int:
        return len(self.files)

    def rows(self, split: str) -> npt.NDArray[np.int64]:
        """Return the positions of the films of a split."""
        return np.flatnonzero(self.splits == split)


def read_films(
    manifest: Path, images: Path, labels: tuple[str, ...], *, split_needed: bool = True, cache: Path | None = None
) -> Films:
    """Read a manifest and check it.

    Parameters
    ----------
    manifest : Path
        CSV with the columns file, label, source, patient_id, and split (train, val or test) where `split_needed`;
        licence, sex, age and view are read where they are there.
    images : Path
    labels : tuple of str
        The class names, in the order of the model's outputs.
    split_needed : bool
    cache : Path, optional
        Of `training.fingerprints`. With it every film is read once, and what cannot be read is left out; every stage that names the
        same folder leaves out the same films.

    Raises
    ------
    ConfigError
        Lists what is wrong: missing files, unknown labels, patients in two splits, classes without films.
    """
    rows = _table(manifest, (*COLUMNS, "split") if split_needed else COLUMNS)
    splits = [*_split_complaints(rows, labels)] if split_needed else []
    _refuse(str(manifest), [*_row_complaints(rows, images, labels), *splits])
    unreadable = _unreadable(images, rows, cache) if cache else {}
    readable = [row for row in rows if row["file"] not in unreadable]
    if unreadable:
        _refuse(
            f"{manifest}, without what cannot be read", _left_complaints(readable, labels, split_needed, unreadable)
        )
    return _films(readable, images, labels, unreadable)


def _films(rows: list[dict[str, str]], images: Path, labels: tuple[str, ...], unreadable: dict[str, str]) -> Films:
    def column(name: str) -> npt.NDArray[np.str_]:
        return np.array([row.get(name) or "" for row in rows], np.str_)

    return Films(
        files=column("file"),
        labels=np.array([labels.index(row["label"]) for row in rows]),
        sources=column("source"),
        splits=column("split"),
        patients=np.array([_patient(row) for row in rows]),
        images=images,
        terms={row["source"]: row["licence"] for row in rows if row.get("licence")},
        sex=column("sex"),
        age=column("age"),
        view=column("view"),
        unreadable=unreadable,
    )


def _unreadable(images: Path, rows: list[dict[str, str]], cache: Path) -> dict[str, str]:
    known = fingerprints(images, [row["file"] for row in rows], cache)
    return {file: why for file, why in known.items() if not isinstance(why, Fingerprint)}


def _table(manifest: Path, needed: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        # A spreadsheet's UTF-8 begins with a byte order mark, and a short line lacks its last columns.
        with manifest.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream, restval=""))
    except OSError as error:
        raise ConfigError(
            f"{manifest}: cannot be read: {error.strerror}; `cxr-train prepare` says how to make one"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{manifest}: is not UTF-8") from error
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
    yield from _emptied(rows, labels)


def _emptied(rows: list[dict[str, str]], labels: tuple[str, ...]) -> Iterator[str]:
    held = {(row["split"], row["label"]) for row in rows}
    without = [split for split in SPLITS if split not in {split for split, _ in held}]
    for split in without:
        yield f"no film in {split}: choose whole patients for it yourself, no film is moved between splits for you"
    yield from _some(
        "class without films",
        [f"{label} in {s}" for s in SPLITS if s not in without for label in labels if (s, label) not in held],
    )


def _left_complaints(
    readable: list[dict[str, str]], labels: tuple[str, ...], split_needed: bool, unreadable: dict[str, str]
) -> list[str]:
    """Say what is missing now, and the films whose loss it is."""
    missing = [*_emptied(readable, labels)] if split_needed else []
    if not readable:
        missing = ["no film is left"]
    reasons = _some("cannot be read", [f"{file} ({why})" for file, why in unreadable.items()])
    return [*missing, *reasons] if missing else []


def _refuse(where: str, complaints: list[str]) -> None:
    if complaints:
        raise ConfigError(f"{where}: {'; '.join(complaints)}")


def _some(what: str, items: Iterable[str]) -> Iterator[str]:
    found = sorted(items)
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        yield f"{what}: {', '.join(found[:_SHOWN])}{more}"
