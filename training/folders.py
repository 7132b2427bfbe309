"""The layout ``{train,val,test}/{label}/film`` made a manifest, with the patients that the file names carry."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from node.errors import ConfigError
from training.data import COLUMNS, SPLITS

_PICTURES = {".png", ".jpg", ".jpeg"}
# Data sets whose file names carry the patient. Kermany numbers patients of bacteria and of virus apart: in 2,002 films 413 of
# the 555 numbers of virus are numbers of bacteria too, and its own splits take other blocks of each.
_PATIENT_IN_NAME = {
    "Kermany": re.compile(
        r"(person\d+_(?:bacteria|virus))_\d+|((?:NORMAL2-)?IM-\d{4})-\d{4}|((?:BACTERIA|VIRUS|NORMAL)-\d+)-\d{4}"
    ),
    "NIH ChestX-ray14": re.compile(r"(\d{8})_\d{3}(?!\d)"),
    "NLM Shenzhen and Montgomery": re.compile(r".*?((?:CHN|MCU)CXR_\d{4})_[01](?!\d)"),
}


@dataclass(frozen=True)
class Layout:
    """What a folder a label gave.

    Attributes
    ----------
    films : int
    patient_in_name : dict of str to int
        Films whose name carries the patient, by the data set whose names do; every other film is a patient of its own.
    passed_over : tuple of str
        Folders that no label is called by.
    """

    films: int
    patient_in_name: dict[str, int]
    passed_over: tuple[str, ...]


def manifest_from_folders(images: Path, manifest: Path, labels: tuple[str, ...]) -> Layout:
    """Write a manifest of the layout ``{train,val,test}/{label}/film``; labels in capitals or not.

    Such a layout names no source: all films count as one, so that what a source gives away cannot be found. A patient is known only
    where the file name carries one (`patient_in_name`). A manifest with these columns is better.

    Raises
    ------
    ConfigError
        Where there is no film; then nothing is written.
    """
    wanted = {label.lower(): label for label in labels}
    folders = [path for split in SPLITS for path in sorted((images / split).glob("*")) if path.is_dir()]
    films = [path for folder in folders if folder.name.lower() in wanted for path in _pictures(folder)]
    if not films:
        raise ConfigError(
            f"{manifest}: not there, and no film in {images}/{{train,val,test}}/{{{','.join(labels)}}} to make it of"
        )
    named = [patient_in_name(path.stem) for path in films]
    table = [
        (
            path.relative_to(images).as_posix(),
            wanted[path.parent.name.lower()],
            "local",
            patient,
            path.parent.parent.name,
        )
        for path, (_, patient) in zip(films, named, strict=True)
    ]
    manifest.parent.mkdir(parents=True, exist_ok=True)
    with manifest.open("w", newline="") as stream:
        csv.writer(stream).writerows([(*COLUMNS, "split"), *table])
    passed_over = [folder.relative_to(images).as_posix() for folder in folders if folder.name.lower() not in wanted]
    return Layout(len(films), dict(Counter(data_set for data_set, _ in named if data_set)), tuple(passed_over))


def patient_in_name(stem: str) -> tuple[str, str]:
    """Return the data set whose file names are like this one, and the patient; two empty strings where there is none.

    Two films of one name in different folders are no sign of one patient: names such as 1.png are in every set.
    """
    for data_set, pattern in _PATIENT_IN_NAME.items():
        if found := pattern.match(stem):
            return data_set, next(filter(None, found.groups()))
    return "", ""


def _pictures(folder: Path) -> list[Path]:
    """List the pictures of a folder, without what macOS puts beside them (``._name.jpeg``)."""
    return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in _PICTURES and path.name[0] != "."]
