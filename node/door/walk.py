"""The data set's walker: the structure of an encoded data set, checked to its last byte without building it.

pydicom reads a truncated data set without complaint, recurses into nested sequences and inflates without bound. The
walker does none of this: it steps over each element once, keeps only the values it was asked for, and refuses what
overruns, nests too deeply or inflates too far. 10 MB of uncompressed pixel data cost it well under a millisecond.

References
----------
DICOM PS3.5 Section 7 (data set encoding), Annex A (transfer syntaxes).
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from mmap import mmap

from pydicom.datadict import DicomDictionary
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from node.errors import CannotUnderstand

UNDEFINED_LENGTH = 0xFFFFFFFF
ITEM, ITEM_DELIMITER, SEQUENCE_DELIMITER = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA = 0x7FE00010
# Float, double and integer pixels. Who reads a header alone stops at the first of them.
PIXELS = frozenset((0x7FE00008, 0x7FE00009, PIXEL_DATA))

# PS3.5 Table 7.1-1 and 7.1-2: VRs with a 32-bit length; every other known VR has a 16-bit one.
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
BINARY_VRS = frozenset(b"AT FD FL OB OD OF OL OV OW SL SQ SS SV UL US UV".split())
SEQUENCE_TAGS = frozenset(tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ")

# Real CR and DX headers nest at most 6 deep and hold some 200 elements; pydicom's recursion ends at about 249.
DEPTH_LIMIT = 64
ELEMENT_LIMIT = 200_000
# The largest radiograph in use is about 60 MB; the bound leaves room for whole multi-frame series.
OBJECT_LIMIT_BYTES = 512 << 20
# A deflated radiograph shrinks by 2 to 4; zlib's own best is 1032. The floor lets small legal objects through.
INFLATION_RATIO = 200
INFLATION_FLOOR_BYTES = 64 << 20
# Twice the largest radiograph; and one data set at a time, for each costs so much memory, whoever sends how many.
INFLATED_LIMIT_BYTES = 128 << 20
INFLATION_STEP_BYTES = 1 << 20
_ONE_AT_A_TIME = threading.Lock()
VALUE_LIMIT_BYTES = 1024


@dataclass(slots=True)
class Structure:
    """What the walk found.

    Attributes
    ----------
    values : dict of int to bytes
        Raw values of the wanted tags of the top level.
    vrs : dict of int to bytes
        The value representations they came with; UN in Implicit VR.
    native_length : int or None
        Bytes of native pixel data.
    fragments : int or None
        Number of fragments of encapsulated pixel data, the offset table not counted.
    big_endian : bool
        Byte order of the binary values.
    """

    values: dict[int, bytes] = field(default_factory=dict)
    vrs: dict[int, bytes] = field(default_factory=dict)
    native_length: int | None = None
    fragments: int | None = None
    big_endian: bool = False

    def text(self, tag: int) -> str:
        """Return a value as text without padding; empty when absent, and under a VR that is read as something else."""
        if self.vrs.get(tag) in BINARY_VRS:
            return ""
        return self.values.get(tag, b"").decode("latin-1").strip("\0 ")

    def number(self, tag: int, default: int = 0) -> int:
        """Return an unsigned short; `default` when absent or of another length."""
        value = self.values.get(tag, b"")
        return int.from_bytes(value, "big" if self.big_endian else "little") if len(value) == 2 else default


def walk(data: bytes | bytearray | memoryview | mmap, transfer_syntax_uid: str, wanted: frozenset[int]) -> Structure:
    """Check the structure of an encoded data set.

    Parameters
    ----------
    data : bytes-like
        The data set as it came in its transfer syntax, without file meta information.
    transfer_syntax_uid : str
        Its transfer syntax.
    wanted : frozenset of int
        Tags of the top level whose raw values are kept (values above 1024 bytes are kept empty). None of them may be
        stated twice and differently.

    Returns
    -------
    Structure

    Raises
    ------
    CannotUnderstand
        For the first thing that is wrong; the comment names the kind of fault and the byte offset, no value.
    """
    view = memoryview(data).cast("B")
    if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        with _ONE_AT_A_TIME:
            return _walk(memoryview(inflate(view)), ExplicitVRLittleEndian, wanted)
    return _walk(view, transfer_syntax_uid, wanted)


def _walk(view: memoryview, transfer_syntax_uid: str, wanted: frozenset[int]) -> Structure:
    if not len(view):
        raise CannotUnderstand("the data set is empty")
    walker = _Walker(
        view,
        implicit=transfer_syntax_uid == ImplicitVRLittleEndian,
        big_endian=transfer_syntax_uid == ExplicitVRBigEndian,
        wanted=wanted,
    )
    try:
        return walker.run()
    except struct.error:
        raise CannotUnderstand(f"the data set is cut short at byte {walker.at}") from None


def inflate(data: memoryview) -> bytearray:
    """Inflate a deflated data set (PS3.5 A.5) within bounds.

    Raises
    ------
    CannotUnderstand
        When the stream is broken, cut short, or inflates beyond the bound.
    """
    limit = min(INFLATED_LIMIT_BYTES, max(INFLATION_FLOOR_BYTES, INFLATION_RATIO * len(data)))
    engine, out = zlib.decompressobj(-zlib.MAX_WBITS), bytearray()
    try:
        for piece in _pieces(engine, data):
            out += piece
            if len(out) > limit:
                raise CannotUnderstand("the deflated data set inflates beyond the bound")
    except zlib.error:
        raise CannotUnderstand("the deflated data set is broken") from None
    if not engine.eof:
        raise CannotUnderstand("the deflated data set is cut short")
    return out


def _pieces(engine: zlib._Decompress, data: memoryview) -> Iterator[bytes]:
    """Yield what comes out, little at a time, of what goes in, little at a time."""
    for at in range(0, len(data), INFLATION_STEP_BYTES):
        pending = bytes(data[at : at + INFLATION_STEP_BYTES])
        while pending and not engine.eof:
            yield engine.decompress(pending, INFLATION_STEP_BYTES)
            pending = engine.unconsumed_tail
    # The engine may hold back some of its output after it has taken the last byte.
    while not engine.eof and (rest := engine.decompress(b"", INFLATION_STEP_BYTES)):
        yield rest


@dataclass(slots=True)
class _Level:
    """A data set, sequence or item being walked.

    `end` is None while its length is undefined. It must have ended by `limit`, which is then that of the level around it.
    """

    is_sequence: bool
    end: int | None
    implicit: bool
    limit: int


class _Walker:
    """One walk over one data set; iterative, so nesting costs no stack."""

    def __init__(self, view: memoryview, implicit: bool, big_endian: bool, wanted: frozenset[int]) -> None:
        order = ">" if big_endian else "<"
        self._head = struct.Struct(order + "HH2sH").unpack_from
        self._long = struct.Struct(order + "L").unpack_from
        self._view, self._wanted = view, wanted
        self._levels = [_Level(False, len(view), implicit, len(view))]
        self._steps = iter(range(ELEMENT_LIMIT + 1))  # the last one finds the end
        self._pixels_passed = False
        self._found = Structure(big_endian=big_endian)
        self.at = 0

    def run(self) -> Structure:
        for _ in self._steps:
            if not self._inside():
                return self._found
            group, element, vr, length = self._head(self._view, self.at)
            tag = group << 16 | element
            if group == 0xFFFE:
                self._delimiter(tag)
            else:
                self._element(tag, vr, length)
        raise CannotUnderstand("the data set has too many elements")

    def _inside(self) -> bool:
        """Leave every level that ends here; tell whether the walk goes on."""
        while self.at == self._levels[-1].end:
            if len(self._levels) == 1:
                return False
            self._levels.pop()
        return len(self._levels) > 1 or self._view[self.at] != 0 or not self._at_padding()

    def _at_padding(self) -> bool:
        """Tell zeros to the end: DCMTK adds one where an odd value ends the data set, some archives fill up blocks."""
        if self.at == 0 or any(self._view[self.at : self.at + 8]):
            return False
        return not any(
            self._view[at : at + 4096].tobytes().strip(b"\0") for at in range(self.at, len(self._view), 4096)
        )

    def _delimiter(self, tag: int) -> None:
        level, length = self._levels[-1], self._long(self._view, self.at + 4)[0]
        self.at += 8
        if tag == ITEM and level.is_sequence:
            self._enter(False, length, level.implicit)
        elif level.end is None and tag == (SEQUENCE_DELIMITER if level.is_sequence else ITEM_DELIMITER):
            self._levels.pop()
        else:
            raise CannotUnderstand(f"a stray delimiter at byte {self.at - 8}")

    def _element(self, tag: int, vr: bytes, length: int) -> None:
        if self._levels[-1].is_sequence:
            raise CannotUnderstand(f"a sequence without an item at byte {self.at}")
        if len(self._levels) == 1:
            self._check_place(tag)
        vr, length = self._header(tag, vr, length)
        if tag == PIXEL_DATA and length == UNDEFINED_LENGTH:
            self._fragments()
        elif vr == b"SQ" or length == UNDEFINED_LENGTH:
            self._sequence(vr, length)
        else:
            self._value(tag, vr, length)

    def _check_place(self, tag: int) -> None:
        """Refuse what must not stand in a data set, or not here: elsewhere order is forgiven."""
        if tag >> 16 < 8:
            raise CannotUnderstand(f"a group below 0008 in the data set at byte {self.at}")
        if self._pixels_passed and (tag < min(PIXELS) or tag == PIXEL_DATA):
            raise CannotUnderstand(f"an attribute behind the pixel data at byte {self.at}")
        self._pixels_passed |= tag in PIXELS

    def _header(self, tag: int, vr: bytes, length: int) -> tuple[bytes, int]:
        """Return VR and length, and step to the value; given as read from 8 bytes in Explicit VR with a short length (PS3.5 7.1.2)."""
        at = self.at
        if self._levels[-1].implicit:
            self.at += 8
            return (b"SQ" if tag in SEQUENCE_TAGS else b"UN"), self._long(self._view, at + 4)[0]
        if vr in SHORT_VRS:
            self.at += 8
            return vr, length
        # VRs to come have a 32-bit length, too (PS3.5 6.2.2), but who reads the data set would take it for one of 16 bits.
        if vr in LONG_VRS:
            self.at += 12
            return vr, self._long(self._view, at + 8)[0]
        raise CannotUnderstand(f"no value representation at byte {at}")

    def _sequence(self, vr: bytes, length: int) -> None:
        if vr not in (b"SQ", b"UN"):
            raise CannotUnderstand(f"an undefined length at byte {self.at}")
        # PS3.5 6.2.2 Note 2: a sequence of VR UN is encoded in Implicit VR Little Endian.
        self._enter(True, length, self._levels[-1].implicit or vr == b"UN")

    def _enter(self, is_sequence: bool, length: int, implicit: bool) -> None:
        end = None if length == UNDEFINED_LENGTH else self._end_of(length)
        limit = self._levels[-1].limit if end is None else end
        if len(self._levels) > 2 * DEPTH_LIMIT:  # a sequence and its item make one depth
            raise CannotUnderstand("the data set is nested too deeply")
        self._levels.append(_Level(is_sequence, end, implicit, limit))

    def _end_of(self, length: int) -> int:
        """Return where a value of this length ends, which must lie inside every level around it."""
        end = self.at + length
        if end > self._levels[-1].limit:
            raise CannotUnderstand(f"a value overruns its place at byte {self.at}")
        return end

    def _value(self, tag: int, vr: bytes, length: int) -> None:
        end = self._end_of(length)
        if len(self._levels) == 1:
            if tag == PIXEL_DATA:
                self._found.native_length = length
            elif tag in self._wanted:
                self._keep(tag, vr, bytes(self._view[self.at : end]) if length <= VALUE_LIMIT_BYTES else b"")
        self.at = end

    def _keep(self, tag: int, vr: bytes, value: bytes) -> None:
        """Keep a wanted value. One that is stated twice and differently lets each reader see another instance."""
        if self._found.values.setdefault(tag, value) != value:
            raise CannotUnderstand(f"an attribute is stated again and differently at byte {self.at}")
        self._found.vrs[tag] = vr

    def _fragments(self) -> None:
        """Step over encapsulated pixel data (PS3.5 A.4)."""
        count = -1  # the first item is the Basic Offset Table
        for _ in self._steps:  # where they run out, the walk ends
            group, element, *_ = self._head(self._view, self.at)
            tag, (length,) = group << 16 | element, self._long(self._view, self.at + 4)
            self.at += 8
            if tag == SEQUENCE_DELIMITER:
                break
            if tag != ITEM or length == UNDEFINED_LENGTH:
                raise CannotUnderstand(f"no fragment at byte {self.at - 8}")
            self.at = self._end_of(length)
            count += 1
        if len(self._levels) == 1:
            self._found.fragments = max(count, 0)
