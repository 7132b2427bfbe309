"""From a film to the model's input: two doors, DICOM and picture files, into one room.

A *plane* is one film at its own resolution: ndarray, (rows, columns) float32 in [0, 1], 0 is black (air), 1 is white (bone).
``read_dicom`` and ``read_picture`` make planes; ``model_input`` is the only preprocessing, for the node and for training.
A *film* of ``developed`` gives the rows of its plane as they are asked for: a large plane need not be whole at any time.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.area import area_mean
from node.attributes import DAMAGE, number, text, value_of, whole
from node.decoders import Frame, Words, decode
from node.errors import NotAssessable, Reason
from node.grayscale import Samples, gray_table

Plane = npt.NDArray[np.float32]

# An instance larger than this is not taken at the door either (node.door); the plane is at most twice as large.
MAXIMUM_BYTES = 512 * 1024 * 1024
# Values longer than this are looked up when they are asked for, where they lie in a mapped file.
_DEFERRED_BYTES = 1 << 16
# madvise(2), from Linux 5.14: bring all pages in now, and say so where one cannot be had. Not yet a name in `mmap`.
_MADV_POPULATE_READ = 22
_UNDEFINED = 0xFFFFFFFF
_UNCOMPRESSED = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)


def _linear(plane: Plane, rows: int, columns: int) -> Plane:
    resized: Plane = cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return resized


_INTERPOLATIONS = {"area": area_mean, "linear": _linear}


@dataclass(frozen=True, slots=True)
class InputSpec:
    """How a plane becomes the model's input; it lives in the model bundle and was the same in training.

    Attributes
    ----------
    rows, columns : int
        Size of the model's input in pixels.
    interpolation : str
        ``"area"`` (mean over the covered pixels, no aliasing when shrinking) or ``"linear"``.
    percentiles : (float, float) or None
        The resized plane is stretched so that these percentiles become 0 and 1: films, windows and sources then
        differ less in gray. None leaves the plane as it is.
    """

    rows: int = 224
    columns: int = 224
    interpolation: str = "area"
    percentiles: tuple[float, float] | None = (1.0, 99.0)

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise ValueError("rows and columns are at least 1")
        if self.interpolation not in _INTERPOLATIONS:
            raise ValueError(f"interpolation is one of {', '.join(_INTERPOLATIONS)}")
        if self.percentiles is not None and not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ValueError("percentiles are a rising pair in [0, 100]")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready form; ``from_json`` gives the equal value back."""
        return {
            "rows": self.rows,
            "columns": self.columns,
            "interpolation": self.interpolation,
            "percentiles": list(self.percentiles) if self.percentiles else None,
        }

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> InputSpec:
        """Build from what ``to_json`` gave."""
        pair = form["percentiles"]
        return cls(
            rows=int(form["rows"]),
            columns=int(form["columns"]),
            interpolation=str(form["interpolation"]),
            percentiles=(float(pair[0]), float(pair[1])) if pair else None,
        )


def read_picture(path: str | Path) -> Plane:
    """Read a film kept as a picture file (PNG or JPEG, 8 or 16 bit, gray or color).

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    plane : ndarray, (rows, columns) float32 in [0, 1], 0 is black
        Color is weighted to gray (ITU-R BT.601); an EXIF orientation is applied.

    Raises
    ------
    NotAssessable
        BROKEN_PIXELS where the file is no readable picture, or one of a single gray value.
    OSError
        Where the file cannot be opened.
    """
    encoded = np.frombuffer(Path(path).read_bytes(), np.uint8)
    try:
        gray = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise NotAssessable(Reason.BROKEN_PIXELS, "picture not decoded") from error
    if gray is None or gray.dtype not in (np.uint8, np.uint16):
        raise NotAssessable(Reason.BROKEN_PIXELS, "picture not decoded")
    if gray.min() == gray.max():
        raise NotAssessable(Reason.BROKEN_PIXELS, "one gray value only")
    brightest = np.iinfo(gray.dtype).max
    table = (np.arange(brightest + 1) / brightest).astype(np.float32)
    plane: Plane = cv2.LUT(gray, table)
    return plane


@dataclass(frozen=True, slots=True)
class Film:
    """A film with the light of each of its words; ``film[start:stop]`` are those rows of its plane, ``film[:]`` is all of it.

    Attributes
    ----------
    words : ndarray, (rows, columns) uint8 or uint16
    table : ndarray, (256,) or (65536,) float32 in [0, 1]
        As `node.grayscale.gray_table` gives it.
    """

    words: Words
    table: npt.NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return self.words.shape

    def __getitem__(self, rows: slice) -> Plane:
        plane: Plane = cv2.LUT(self.words[rows], self.table)
        return plane


def read_dicom(source: str | Path | Dataset) -> Plane:
    """Read a film kept as a DICOM instance.

    Parameters
    ----------
    source : str, Path or Dataset
        A file, or a dataset with its pixel data and file meta information; the dataset is not changed.

    Returns
    -------
    plane : ndarray, (rows, columns) float32 in [0, 1], 0 is black
        After modality LUT and VOI LUT, inverted if and only if MONOCHROME1. Padding is black.

    Raises
    ------
    NotAssessable
        NO_PIXELS, COLOR, MULTI_FRAME, PIXEL_FORMAT or BROKEN_PIXELS. No damage to the instance raises anything
        else; MemoryError and OSError speak of this machine and pass.

    References
    ----------
    DICOM PS3.3 C.7.6.3, C.11.1, C.11.2; PS3.4 N.2.
    """
    return developed(source)[:]


def developed(source: str | Path | Dataset) -> Film:
    """Read a film as `read_dicom` does, and leave its words as they are until their rows are asked for.

    Returns
    -------
    Film
        ``film[:]`` is the plane of `read_dicom`. The words may lie in the file itself, which is mapped as long as they are held.

    Raises
    ------
    NotAssessable
        As `read_dicom`.
    """
    dataset = source if isinstance(source, Dataset) else _parsed(Path(source))
    try:
        check_monochrome_single_frame(dataset)
        _check_pixel_data(dataset)
        frame, samples = _frame(dataset), _samples(dataset)
        words = _unsigned(decode(dataset, frame), samples)
        return Film(words, gray_table(words, samples, dataset))
    except DAMAGE as error:
        raise NotAssessable(Reason.BROKEN_PIXELS, f"header: {type(error).__name__}") from error


def _parsed(path: Path) -> Dataset:
    mapped = _mapped(path) if _is_uncompressed(path) else None
    content = BytesIO(path.read_bytes()) if mapped is None else mapped
    try:
        dataset = dcmread(content, defer_size=None if mapped is None else _DEFERRED_BYTES, force=True)
        if mapped is not None:
            _leave_pixels_in_place(dataset, mapped)
    except DAMAGE as error:
        raise NotAssessable(Reason.BROKEN_PIXELS, f"header: {type(error).__name__}") from error
    return dataset


def _is_uncompressed(path: Path) -> bool:
    """Tell whether a file holds its pixel data as they are; not so where a pipe gives its bytes once, or there is doubt."""
    try:
        return path.is_file() and read_file_meta_info(path).TransferSyntaxUID in _UNCOMPRESSED
    except DAMAGE:
        return False


class _Mapped(mmap.mmap):
    """A file as it lies in the system's cache. As in a file and unlike in its base, a place beyond the end can be sought."""

    def seek(self, position: int, whence: Any = os.SEEK_SET) -> None:
        super().seek(min(position, len(self)) if whence == os.SEEK_SET else position, whence)


def _mapped(path: Path) -> _Mapped | None:
    """Map a file, or return None where it has to be read: it is empty, or a fault of disk or memory wants to be named.

    To read a film of 10 MB is to copy it, and to parse what was read to copy it again. A file that shrinks while it is
    mapped ends the process. Those of the spool never change, and a child of `node.developer` may end by any film.
    """
    try:
        with path.open("rb") as file:
            mapped = _Mapped(file.fileno(), 0, prot=mmap.PROT_READ)
        mapped.madvise(_MADV_POPULATE_READ)
    except (OSError, ValueError):
        return None
    return mapped


def _leave_pixels_in_place(dataset: Dataset, mapped: _Mapped) -> None:
    """Have a view of the file for the value of Pixel Data, where pydicom would have copied it and done no more."""
    element = dataset.get_item("PixelData", keep_deferred=True)
    if not isinstance(element, RawDataElement) or element.value is not None or element.length == _UNDEFINED:
        return
    if element.VR in (None, "OB", "OW"):
        value = memoryview(mapped)[element.value_tell : element.value_tell + element.length]
        dataset["PixelData"] = element._replace(value=value)


def check_monochrome_single_frame(header: Dataset) -> None:
    """Raise NotAssessable, COLOR or MULTI_FRAME, for what is not one gray film; pixel data are not needed."""
    photometric = text(header, "PhotometricInterpretation").upper()
    samples = whole(header, "SamplesPerPixel")
    if photometric in _COLOR or (samples is not None and samples > 1):
        raise NotAssessable(Reason.COLOR, photometric if photometric in _COLOR else "")
    if (number(header, "NumberOfFrames") or 1) > 1:
        raise NotAssessable(Reason.MULTI_FRAME)


_COLOR = {
    *("RGB", "ARGB", "CMYK", "HSV", "PALETTE COLOR", "XYB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420"),
    *("YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT"),
}


def _check_pixel_data(dataset: Dataset) -> None:
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise NotAssessable(Reason.PIXEL_FORMAT, "floating point pixels")
    data = value_of(dataset, "PixelData")
    if not data:
        raise NotAssessable(Reason.NO_PIXELS)
    if not isinstance(data, bytes | bytearray | memoryview):
        raise NotAssessable(Reason.BROKEN_PIXELS, "pixel data are not bytes")


def _frame(dataset: Dataset) -> Frame:
    rows, columns = whole(dataset, "Rows") or 0, whole(dataset, "Columns") or 0
    if not (0 < rows <= 65535 and 0 < columns <= 65535):  # VR US
        raise NotAssessable(Reason.BROKEN_PIXELS, "no rows or columns")
    bits_allocated = whole(dataset, "BitsAllocated")
    if bits_allocated not in (8, 16):
        raise NotAssessable(Reason.PIXEL_FORMAT, "bits allocated")
    frame = Frame(rows, columns, bits_allocated)
    if frame.size_bytes > MAXIMUM_BYTES:
        raise NotAssessable(Reason.PIXEL_FORMAT, "too large")
    return frame


def _samples(dataset: Dataset) -> Samples:
    photometric = text(dataset, "PhotometricInterpretation").upper()
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise NotAssessable(Reason.PIXEL_FORMAT, "photometric interpretation")
    allocated = whole(dataset, "BitsAllocated") or 0
    bits_stored = whole(dataset, "BitsStored") or 0
    if not 1 <= bits_stored <= allocated:
        bits_stored = allocated
    high_bit = whole(dataset, "HighBit") or 0
    if not bits_stored <= high_bit < allocated:
        high_bit = bits_stored - 1
    return Samples(bits_stored, high_bit, whole(dataset, "PixelRepresentation") == 1, photometric == "MONOCHROME1")


def _unsigned(words: Words, samples: Samples) -> Words:
    """Return signed words as bit patterns, cut to the stored bits where the header calls them unsigned.

    A JPEG 2000 codestream states its own sign; where the two differ, the header is believed, as pydicom does.
    """
    if words.dtype.kind == "u":
        return words
    patterns = words.view(f"u{words.dtype.itemsize}")
    unused = 8 * words.dtype.itemsize - samples.bits_stored
    return patterns if samples.signed or unused <= 0 else patterns << unused >> unused


def model_input(plane: Plane, spec: InputSpec) -> Plane:
    """Turn a plane into what the model sees: the only preprocessing, in the node and in training.

    The whole film is resized, without crop or letterbox, so that a heat map goes back the same way.

    Parameters
    ----------
    plane : ndarray, (rows, columns) float32 in [0, 1]
    spec : InputSpec

    Returns
    -------
    ndarray, (spec.rows, spec.columns, 3) float32 in [0, 1]
        Three equal channels.
    """
    return in_channels(model_gray(plane, spec))


def model_gray(plane: Plane, spec: InputSpec) -> Plane:
    """Return the one channel of the model's input, (spec.rows, spec.columns) float32 in [0, 1]."""
    return stretched(_INTERPOLATIONS[spec.interpolation](plane, spec.rows, spec.columns), spec.percentiles)


def in_channels(gray: Plane) -> Plane:
    """Return a gray picture in three equal channels, (rows, columns, 3)."""
    return np.repeat(gray[..., np.newaxis], 3, axis=2)


def stretched(plane: Plane, percentiles: tuple[float, float] | None) -> Plane:
    """Return a picture with these percentiles at 0 and 1; one whose percentiles are equal, or without any, as it is."""
    if percentiles is None:
        return plane
    low, high = np.percentile(plane, percentiles)
    if not high > low:
        return plane
    stretched: Plane = np.clip((plane - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
    return stretched
