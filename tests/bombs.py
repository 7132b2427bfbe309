"""Films that are hard on a decoder: small files that ask for much time or memory, though every length in them is right."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGBaseline8Bit, RLELossless

from tests.films import dx_film

# A run of blocks that a scan of AC coefficients leaves as they are takes 15 bits (ISO/IEC 10918-1 G.1.2.2).
_BLOCKS_A_RUN = 1 << 14


def slow_film(side_px: int = 8000, scans: int = 10_000, **attributes: Any) -> Dataset:
    """Return a film that keeps libjpeg busy for minutes: a progressive JPEG whose scans go over all blocks again and again."""
    blocks = (side_px // 8) ** 2
    first = _scan(0, 0, blocks)
    again = _scan(1, 63, blocks // _BLOCKS_A_RUN * 15 + 15)
    head = (
        _segment(0xDB, b"\0" + b"\1" * 64)
        + _segment(0xC2, struct.pack(">BHHB3B", 8, side_px, side_px, 1, 1, 0x11, 0))
        + _segment(0xC4, b"\x00\1" + bytes(15) + b"\x00")  # the code 0: a DC coefficient like the one before
        + _segment(0xC4, b"\x10\1" + bytes(15) + b"\xe0")  # the code 0: a run of blocks without AC coefficients
    )
    stream = b"\xff\xd8" + head + first + again * scans + b"\xff\xd9"
    return _compressed(JPEGBaseline8Bit, stream, side_px, 8, **attributes)


def large_film(side_px: int = 16_000, **attributes: Any) -> Dataset:
    """Return a film of half a gigabyte by its header, and of a hundred bytes by its pixel data."""
    stream = struct.pack("<16L", 2, 64, 80, *[0] * 13) + bytes(32)
    return _compressed(RLELossless, stream, side_px, 16, **attributes)


def _compressed(transfer_syntax: UID, stream: bytes, side_px: int, bits: int, **attributes: Any) -> Dataset:
    film = dx_film(np.eye(8, dtype=np.float32), **attributes)
    film.Rows = film.Columns = side_px
    film.BitsAllocated = film.BitsStored = bits
    film.HighBit = bits - 1
    film.file_meta.TransferSyntaxUID = transfer_syntax
    film.PixelData = encapsulate([stream + bytes(len(stream) % 2)])
    film["PixelData"].VR = "OB"
    film["PixelData"].is_undefined_length = True
    return film


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _scan(first: int, last: int, bits: int) -> bytes:
    """A scan of one component, from one coefficient to another, whose entropy-coded data are all zero."""
    return _segment(0xDA, bytes((1, 1, 0, first, last, 0))) + bytes(bits // 8 + 1)
