"""Sample films as studies of their own, so that tests do not meet each other's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from node.durable import key_of
from node.samples import studies

SAMPLES = {sample.name: sample for sample in studies()}


def as_new_study(sample: str, **attributes: Any) -> Dataset:
    """The first film of a sample as a study of its own; attributes are set over it."""
    film = dcmread(SAMPLES[sample].files[0])
    film.StudyInstanceUID, film.SeriesInstanceUID, film.SOPInstanceUID = (generate_uid() for _ in range(3))
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    for keyword, value in attributes.items():
        setattr(film, keyword, value)
    return film


def file_of(film: Dataset, folder: Path) -> Path:
    """Write a film to a file of its own."""
    path = folder / f"{key_of(film.SOPInstanceUID)}.dcm"
    film.save_as(path, enforce_file_format=True)
    return path
