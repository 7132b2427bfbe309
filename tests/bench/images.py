"""Images to send: encoded once, and each new one differs from it by its UIDs alone."""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from tests.journeys.films import SAMPLES
from tests.peers import require_peer
from tests.radiographs import encoded, split, write_file

ROWS, COLUMNS = 2500, 2048
# Of even length and all of one length, so that one takes the other's place in the bytes.
_ROOT = f"1.2.826.0.1.3680043.10.{10**8 + os.getpid()}."
_UIDS = tuple(_ROOT + digit * 20 for digit in "123")
_numbers = itertools.count(10**18 + 1)
_HEADER_BYTES = 16_384


@dataclass(frozen=True)
class Image:
    """An encoded data set, in two pieces, and what it is called."""

    study_instance_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    head: bytes
    rest: memoryview


@dataclass(frozen=True)
class Kind:
    """A kind of image, of which there are as many as are asked for."""

    name: str
    transfer_syntax_uid: str
    data_set: bytes

    def new(self, study_instance_uid: str | None = None) -> Image:
        """Return a new image, of a new study unless one is named."""
        study, uid = study_instance_uid or new_uid(), new_uid()
        head, rest = self.data_set[:_HEADER_BYTES], memoryview(self.data_set)[_HEADER_BYTES:]
        for old, new in zip(_UIDS, (study, study[:-1] + "9", uid), strict=True):
            head = head.replace(old.encode(), new.encode())
        return Image(study, uid, self.transfer_syntax_uid, head, rest)


def new_uid() -> str:
    """Return a UID that this process has not used yet. It ends in 0, so that the series may end in 9."""
    return f"{_ROOT}{next(_numbers)}0"


@cache
def raw() -> Kind:
    """A chest film of 2500 x 2048 pixels of 12 bits as a CR machine sends it: 10 MB, Explicit VR Little Endian."""
    return Kind("raw 10 MB", str(ExplicitVRLittleEndian), encoded(film(ROWS, COLUMNS)))


@cache
def jpeg_lossless() -> Kind:
    """The same film in JPEG Lossless, Selection Value 1."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "raw.dcm"), Path(folder, "jpeg.dcm")
        write_file(source, film(ROWS, COLUMNS))
        subprocess.run([require_peer("dcmcjpeg"), "+e1", str(source), str(target)], check=True, capture_output=True)
        syntax, data_set = split(target)
    return Kind("JPEG Lossless", str(syntax), data_set)


@cache
def small() -> Kind:
    """A film of 100 x 100 pixels: 20 kB."""
    return Kind("20 kB", str(ExplicitVRLittleEndian), encoded(film(100, 100)))


KINDS: tuple[Callable[[], Kind], ...] = (raw, jpeg_lossless, small)


@cache
def film(rows: int, columns: int) -> Dataset:
    """A sample film at another size, with the noise of a detector, without which it would compress as no film does."""
    dataset = dcmread(SAMPLES["05-tuberculosis-adult"].files[0])
    pixels = dataset.pixel_array.astype(np.float32) * (4095 / dataset.pixel_array.max())
    pixels = cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_CUBIC)
    pixels += np.random.default_rng(0).normal(0, 6, pixels.shape)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = _UIDS
    dataset.SOPClassUID, dataset.Modality = ComputedRadiographyImageStorage, "CR"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    for keyword in ("WindowCenter", "WindowWidth", "SmallestImagePixelValue", "LargestImagePixelValue"):
        if keyword in dataset:
            del dataset[keyword]
    dataset.PixelData = pixels.clip(0, 4095).astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset["PixelData"].is_undefined_length = False
    return dataset
