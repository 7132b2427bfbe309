"""Many studies at little cost: a film is encoded once, and each new one differs from it by its UIDs alone."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from pydicom import dcmread
from pydicom.uid import ComputedRadiographyImageStorage

from tests.journeys.films import SAMPLES
from tests.radiographs import PATIENT, encoded, radiograph

# Of even length and all of one length, so that one takes the other's place in the bytes.
ROOT = f"1.2.826.0.1.3680043.10.{10**8 + os.getpid()}."
_UIDS = (ROOT + "1" * 20, ROOT + "2" * 20, ROOT + "3" * 20)
_numbers = itertools.count(10**19 + 1)


@dataclass(frozen=True)
class Film:
    """An encoded data set, Explicit VR Little Endian, and what it is called."""

    study_instance_uid: str
    sop_instance_uid: str
    data_set: bytes


def new_uid() -> str:
    """Return a UID that this process has not used yet."""
    return f"{ROOT}{next(_numbers)}"


def film(study_instance_uid: str, is_read: bool) -> Film:
    """Return a new film of a study: one that the model reads, or one so small that the gate answers at once."""
    uid = new_uid()
    data = _read_by_the_model() if is_read else _too_small()
    for old, new in zip(_UIDS, (study_instance_uid, study_instance_uid[:-1] + "9", uid), strict=True):
        data = data.replace(old.encode(), new.encode())
    return Film(study_instance_uid, uid, data)


@cache
def _too_small() -> bytes:
    study, series, instance = _UIDS
    return encoded(radiograph(study, side_px=16, SeriesInstanceUID=series, SOPInstanceUID=instance))


@cache
def _read_by_the_model() -> bytes:
    """Return a sample film at a third of a megabyte, as Computed Radiography."""
    dataset = dcmread(SAMPLES["05-tuberculosis-adult"].files[0])
    pixels = dataset.pixel_array
    side = 400 / max(pixels.shape)
    pixels = cv2.resize(pixels, None, fx=side, fy=side, interpolation=cv2.INTER_AREA).astype(np.uint16)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = _UIDS
    # The other kind's patient: a study may have one of each, and one of two patients is parked.
    for keyword, value in PATIENT.items():
        setattr(dataset, keyword, value)
    dataset.SOPClassUID, dataset.Modality = ComputedRadiographyImageStorage, "CR"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = 16
    dataset.PixelData = pixels.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset["PixelData"].is_undefined_length = False
    return encoded(dataset)
