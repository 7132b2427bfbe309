"""A written result, taken apart again: by nothing that wrote it.

References
----------
DICOM PS3.5 section 7 (Explicit VR Little Endian), A.4; PS3.10 7.1.
"""

from __future__ import annotations

import struct
from struct import Struct

from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from node.errors import ReportError

_PREAMBLE_BYTES, _PREFIX = 128, b"DICM"
_HEAD, _LENGTH, _ITEM = Struct("<HH2sH"), Struct("<L"), Struct("<HHL")
_LONG_VRS = {vr.value.encode() for vr in EXPLICIT_VR_LENGTH_32}
_UNDEFINED = 0xFFFFFFFF
_SEQUENCE_END = _ITEM.pack(0xFFFE, 0xE0DD, 0)


class Elements(dict[int, tuple[bytes, "bytes | list[Elements]"]]):
    """Value representation and value of each element, by tag: the bytes as they were written, or the items of a sequence."""

    def items_of(self, tag: int) -> list[Elements]:
        """Return the items of a sequence, none where it is absent."""
        value = self[tag][1] if tag in self else []
        return value if isinstance(value, list) else []

    def raw(self, tag: int) -> bytes:
        """Return a value without its padding, empty where it is absent."""
        value = self[tag][1] if tag in self else b""
        return value.rstrip(b" \0") if isinstance(value, bytes) else b""

    def said(self, tag: int) -> str:
        """Return a value as text, its letters beyond ASCII as U+FFFD."""
        return self.raw(tag).decode("ascii", "replace").strip(" ")


def read_back(data: bytes) -> Elements:
    """Take a DICOM file apart, its File Meta Information and its data set.

    Parameters
    ----------
    data : bytes
        A file as this node writes it: in Explicit VR Little Endian, sequences of defined length, encapsulated pixel data last.

    Raises
    ------
    ReportError
        Where it is none, or does not end where it should.
    """
    start = _PREAMBLE_BYTES + len(_PREFIX)
    if data[_PREAMBLE_BYTES:start] != _PREFIX:
        raise ReportError("what was written is no DICOM file")
    return _elements(data, start, len(data))


def _elements(data: bytes, start: int, end: int) -> Elements:
    found = Elements()
    try:
        while start < end:
            group, element, vr, length = _HEAD.unpack_from(data, start)
            start += _HEAD.size
            if vr in _LONG_VRS:
                (length,) = _LENGTH.unpack_from(data, start)
                start += _LENGTH.size
            stop = end if length == _UNDEFINED else start + length
            if stop > end or (length == _UNDEFINED and vr == b"SQ"):
                raise ReportError("an element of what was written does not end where it should")
            found[group << 16 | element] = vr, _value(data, start, stop, vr, length)
            start = stop
    except struct.error:
        raise ReportError("what was written ends within an element") from None
    return found


def _value(data: bytes, start: int, stop: int, vr: bytes, length: int) -> bytes | list[Elements]:
    if vr == b"SQ":
        return _items(data, start, stop)
    if length != _UNDEFINED:
        return data[start:stop]
    if data[stop - len(_SEQUENCE_END) : stop] != _SEQUENCE_END:
        raise ReportError("the pixel data of what was written do not end where they should")
    return data[start : stop - len(_SEQUENCE_END)]


def _items(data: bytes, start: int, end: int) -> list[Elements]:
    items = []
    while start < end:
        group, element, length = _ITEM.unpack_from(data, start)
        start += _ITEM.size
        if (group, element) != (0xFFFE, 0xE000) or start + length > end:
            raise ReportError("a sequence of what was written holds something else than items")
        items.append(_elements(data, start, start + length))
        start += length
    return items
