"""Pixel data of any still-image transfer syntax to the words it was made from, without any gray scale meaning.

imagecodecs comes first (measured: JPEG Lossless 53 ms against 163 to 181 ms elsewhere), pydicom's own plugins
second, where the first refuses. libjpeg fills up a stream that stops early with gray and says nothing, and every
library allocates what the stream asks for; so each stream is held against the header before it is decoded.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder

from node.attributes import DAMAGE, value_of
from node.errors import NotAssessable, Reason

Words = npt.NDArray[Any]

_NATIVE = {
    "1.2.840.10008.1.2": "Implicit VR Little Endian",
    "1.2.840.10008.1.2.1": "Explicit VR Little Endian",
    "1.2.840.10008.1.2.1.99": "Deflated Explicit VR Little Endian",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian",
}
_BIG_ENDIAN = "1.2.840.10008.1.2.2"


class Frame(NamedTuple):
    """What the header says of the one frame to decode."""

    rows: int
    columns: int
    bits_allocated: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """Unsigned words of the allocated width, little endian."""
        return np.dtype(f"<u{self.bits_allocated // 8}")

    @property
    def size_bytes(self) -> int:
        """Length of the frame when it is not compressed."""
        return self.rows * self.columns * self.dtype.itemsize


Codec = Callable[[bytes, Frame], Words]


def decode(dataset: Dataset, frame: Frame) -> Words:
    """Decode the first frame of the Pixel Data.

    Parameters
    ----------
    dataset : Dataset
        With Pixel Data (7FE0,0010), and a transfer syntax in its file meta information; without one, what was read
        is taken as native.
    frame : Frame
        Size of the image by its header; one sample a pixel, 8 or 16 bits allocated.

    Returns
    -------
    ndarray, (rows, columns) uint8, uint16, int8 or int16, native byte order
        The words as they were encoded: unused high bits are neither masked nor extended.

    Raises
    ------
    NotAssessable
        PIXEL_FORMAT for a transfer syntax that is no still image, BROKEN_PIXELS for pixel data that no
        decoder understands or that does not fill the image.

    References
    ----------
    DICOM PS3.5 section 8 and Annexes A and G.
    """
    syntax = transfer_syntax(dataset)
    words = _native(dataset, frame, syntax) if syntax in _NATIVE else _encapsulated(dataset, frame, syntax)
    if words.shape != (frame.rows, frame.columns) or words.dtype.kind not in "iu" or words.dtype.itemsize > 2:
        raise NotAssessable(Reason.BROKEN_PIXELS, "decoded size differs")
    return words


def transfer_syntax(dataset: Dataset) -> str:
    """Return the UID of the transfer syntax, guessed for a dataset that comes without file meta information."""
    meta = getattr(dataset, "file_meta", None)
    stated = str(value_of(meta, "TransferSyntaxUID") or "") if isinstance(meta, Dataset) else ""
    if stated:
        return stated
    if dataset["PixelData"].is_undefined_length:
        raise NotAssessable(Reason.PIXEL_FORMAT, "no transfer syntax")
    return _BIG_ENDIAN if dataset.original_encoding[1] is False else "1.2.840.10008.1.2.1"


def _native(dataset: Dataset, frame: Frame, syntax: str) -> Words:
    element = dataset["PixelData"]
    data = element.value
    # An even length is kept by one byte of padding; some modalities pad further. A whole row too much means that
    # Rows, Columns or Bits Allocated is not that of these data.
    if not frame.size_bytes <= len(data) < frame.size_bytes + max(2, frame.size_bytes // frame.rows):
        raise NotAssessable(Reason.BROKEN_PIXELS, "length of pixel data")
    if syntax == _BIG_ENDIAN and (frame.bits_allocated == 16 or element.VR == "OW"):
        # 8-bit pixels in OW are two to a 16-bit word, so they are swapped as well (PS3.5 section 8.1.2).
        data = np.frombuffer(data, np.uint8, len(data) // 2 * 2).view(">u2").astype("<u2").tobytes()
    return _as_words(data, frame)


def _as_words(data: bytes | bytearray, frame: Frame) -> Words:
    return np.frombuffer(data, frame.dtype, frame.rows * frame.columns).reshape(frame.rows, frame.columns)


def _encapsulated(dataset: Dataset, frame: Frame, syntax: str) -> Words:
    family = _FAMILIES.get(syntax)
    if family is None:
        raise NotAssessable(Reason.PIXEL_FORMAT, "transfer syntax")
    try:
        stream = get_frame(dataset["PixelData"].value, 0, number_of_frames=1)
        family.check(stream, frame)
    except DAMAGE as error:
        raise _broken(error) from error
    try:
        return family.codec(stream, frame)
    except DAMAGE as error:
        if not family.in_pydicom:
            raise _broken(error) from error
        return _second_opinion(dataset, syntax, error)


def _second_opinion(dataset: Dataset, syntax: str, first: Exception) -> Words:
    try:
        return _by_pydicom(dataset, syntax)
    except DAMAGE as error:
        raise _broken(first) from error


def _broken(error: Exception) -> NotAssessable:
    return NotAssessable(Reason.BROKEN_PIXELS, f"decoder: {type(error).__name__}")


def _by_pydicom(dataset: Dataset, syntax: str) -> Words:
    words: Words = get_decoder(syntax).as_array(
        dataset,
        raw=True,
        index=0,
        correct_unused_bits=False,
        apply_jls_sign_correction=False,
        apply_j2k_sign_correction=False,
    )[0]
    return words


def _check_nothing(stream: bytes, frame: Frame) -> None:
    """Leave the check to the codec, which is told the size."""


def _check_jpeg(stream: bytes, frame: Frame) -> None:
    """Hold the frame header against the dataset, and ask for the end-of-image marker behind it (ISO/IEC 10918-1 B.2)."""
    for marker, at in _jpeg_segments(stream):
        if marker in _START_OF_FRAME:
            rows, columns = (int.from_bytes(stream[at + 5 + i : at + 7 + i], "big") for i in (0, 2))
            _check_size((rows, columns, stream[at + 9]), frame)
            if stream.find(b"\xff\xd9", at) < 0:
                raise EOFError
            return
    raise EOFError


# C4, C8 and CC are tables and an extension; F7 is the frame of JPEG-LS (ISO/IEC 14495-1 C.1).
_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def _jpeg_segments(stream: bytes) -> Iterator[tuple[int, int]]:
    """Yield each marker between the start of the image and its first scan, with its position."""
    at = 2
    while at + 10 <= len(stream) and stream[at] == 0xFF and stream[at + 1] != 0xDA:
        if stream[at + 1] == 0xFF:
            at += 1
            continue
        yield stream[at + 1], at
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")


def _check_jpeg_2000(stream: bytes, frame: Frame) -> None:
    """Hold the SIZ marker segment, the first of every codestream, against the dataset (ISO/IEC 15444-1 A.5.1)."""
    at = stream.index(b"\xff\x4f\xff\x51")
    if len(stream) < at + 42:
        raise EOFError
    right, bottom, left, top = (int.from_bytes(stream[at + 8 + i : at + 12 + i], "big") for i in (0, 4, 8, 12))
    components = int.from_bytes(stream[at + 40 : at + 42], "big")
    _check_size((bottom - top, right - left, components), frame)


def _check_rle(stream: bytes, frame: Frame) -> None:
    """Refuse a stream longer than any honest one: 2 bytes of it make up to 128 (PS3.5 Annex G.3), and fill memory."""
    if not _RLE_HEADER_BYTES <= len(stream) <= 2 * frame.size_bytes + _RLE_HEADER_BYTES:
        raise ValueError


_RLE_HEADER_BYTES = 64


def _check_size(size: tuple[int, int, int], frame: Frame) -> None:
    if size[2] != 1:
        raise NotAssessable(Reason.COLOR, "color in a gray image")
    if size[:2] != (frame.rows, frame.columns):
        raise NotAssessable(Reason.BROKEN_PIXELS, "decoded size differs")


def _plain(codec: Callable[[bytes], Words]) -> Codec:
    return lambda stream, frame: codec(stream)


def _rle(stream: bytes, frame: Frame) -> Words:
    """Decode one PackBits segment for each byte of the words, the highest first (PS3.5 Annex G)."""
    count, *offsets = struct.unpack("<16L", stream[:_RLE_HEADER_BYTES])
    if count != frame.dtype.itemsize:
        raise ValueError
    pixels = frame.rows * frame.columns
    out = np.empty((pixels, count), np.uint8)
    for i, (start, end) in enumerate(pairwise([*offsets[:count], len(stream)])):
        segment = _exactly(imagecodecs.packbits_decode(stream[start:end]), pixels)
        out[:, count - 1 - i] = np.frombuffer(segment, np.uint8, pixels)
    return out.view(frame.dtype).reshape(frame.rows, frame.columns)


def _deflated(stream: bytes, frame: Frame) -> Words:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    return _as_words(_exactly(inflate.decompress(stream, frame.size_bytes + 2), frame.size_bytes), frame)


def _uncompressed(stream: bytes, frame: Frame) -> Words:
    return _as_words(_exactly(stream, frame.size_bytes), frame)


def _exactly(data: bytes | bytearray, length: int) -> bytes | bytearray:
    """Return data of this length, or one byte more, which keeps a length even."""
    if not 0 <= len(data) - length <= 1:
        raise ValueError
    return data


def _jpeg_xl(stream: bytes, frame: Frame) -> Words:
    # Given an array to fill, the codec refuses a stream of another size before it allocates.
    out = np.empty((frame.rows, frame.columns), frame.dtype)
    words: Words = imagecodecs.jpegxl_decode(stream, out=out)
    return words.reshape(frame.rows, frame.columns)


class _Family(NamedTuple):
    """How the streams of one kind of transfer syntax are checked and decoded, and whether pydicom may try as well."""

    check: Callable[[bytes, Frame], None]
    codec: Codec
    in_pydicom: bool = False


# Fuzzed with some 10,000 mutated streams each. Not here, though imagecodecs has them, are ljpeg, dicomrle and htj2k,
# which crashed the process, and jpegsof3, which took nearly every mutated stream for a good one.
# libjpeg-turbo 3 decodes 8 and 12 bits, and lossless to 16; OpenJPEG decodes high throughput as well.
_JPEG = _Family(_check_jpeg, _plain(imagecodecs.jpeg8_decode), in_pydicom=True)
_JPEG_LS = _Family(_check_jpeg, _plain(imagecodecs.jpegls_decode), in_pydicom=True)
_JPEG_2000 = _Family(_check_jpeg_2000, _plain(imagecodecs.jpeg2k_decode), in_pydicom=True)
_JPEG_XL = _Family(_check_nothing, _jpeg_xl)

_FAMILIES: dict[str, _Family] = {
    "1.2.840.10008.1.2.1.98": _Family(_check_nothing, _uncompressed),  # Encapsulated Uncompressed Explicit VR LE
    "1.2.840.10008.1.2.8.1": _Family(_check_nothing, _deflated),  # Deflated Image Frame Compression
    "1.2.840.10008.1.2.5": _Family(_check_rle, _rle),  # RLE Lossless
    "1.2.840.10008.1.2.4.50": _JPEG,  # Baseline (Process 1)
    "1.2.840.10008.1.2.4.51": _JPEG,  # Extended (Process 2 and 4)
    "1.2.840.10008.1.2.4.53": _JPEG,  # Spectral Selection (Process 6 and 8), retired
    "1.2.840.10008.1.2.4.55": _JPEG,  # Full Progression (Process 10 and 12), retired
    "1.2.840.10008.1.2.4.57": _JPEG,  # Lossless, Process 14
    "1.2.840.10008.1.2.4.70": _JPEG,  # Lossless, Process 14, Selection Value 1
    "1.2.840.10008.1.2.4.80": _JPEG_LS,  # Lossless
    "1.2.840.10008.1.2.4.81": _JPEG_LS,  # Near-lossless
    "1.2.840.10008.1.2.4.90": _JPEG_2000,  # Lossless only
    "1.2.840.10008.1.2.4.91": _JPEG_2000,
    "1.2.840.10008.1.2.4.92": _JPEG_2000,  # Part 2 multi-component, lossless only
    "1.2.840.10008.1.2.4.93": _JPEG_2000,  # Part 2 multi-component
    "1.2.840.10008.1.2.4.110": _JPEG_XL,  # JPEG XL Lossless
    "1.2.840.10008.1.2.4.111": _JPEG_XL,  # JPEG XL JPEG Recompression
    "1.2.840.10008.1.2.4.112": _JPEG_XL,  # JPEG XL
    "1.2.840.10008.1.2.4.201": _JPEG_2000,  # High throughput, lossless only
    "1.2.840.10008.1.2.4.202": _JPEG_2000,  # High throughput, RPCL, lossless only
    "1.2.840.10008.1.2.4.203": _JPEG_2000,  # High throughput
}
