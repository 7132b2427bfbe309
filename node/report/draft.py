"""A data set in the making: what comes again in other results, which is written once, and what is its own.

A report has some 300 elements, of which a dozen say something new; what this saves is in docs/performance.md.

References
----------
DICOM PS3.5 section 7 (Explicit VR Little Endian).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import TypeAlias

from pydicom.charset import default_encoding
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import correct_ambiguous_vr_element, write_data_element

Element: TypeAlias = DataElement | RawDataElement
# Elements as they were written, by tag.
Parts: TypeAlias = dict[int, bytes]
# Defined terms of Specific Character Set (0008,0005); none are the default repertoire.
CharacterSet: TypeAlias = tuple[str, ...]

CONTENT_SEQUENCE = 0x0040A730
CHARACTER_SETS_KEPT = 16
_TEXT_VRS = {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}
_LONG_VRS = {"UC", "UR", "UT"}
_SHORT, _LONG, _ITEM = Struct("<HH2sH"), Struct("<HH2s2xL"), Struct("<HHL")  # PS3.5 Tables 7.1-2, 7.1-1 and 7.5-1
_LONGEST_SHORT = 0xFFFF


class Kept:
    """Elements that are the same in many results.

    Parameters
    ----------
    elements : iterable of DataElement
    """

    def __init__(self, elements: Iterable[DataElement]) -> None:
        self.elements = tuple(elements)
        self.is_ascii = all(text.isascii() for text in texts_of(self.elements))
        self._written: dict[CharacterSet, Parts] = {}

    @classmethod
    def of(cls, dataset: Dataset, without: str = "") -> Kept:
        """Keep the elements of a data set, but for the one with this keyword."""
        elements = (_unambiguous(element, dataset) for element in dataset if element.keyword != without)
        return cls(elements)

    def written(self, character_set: CharacterSet) -> Parts:
        """Return the elements as they are written in a character set."""
        key = () if self.is_ascii else character_set
        parts = self._written.get(key)
        if parts is None:
            if len(self._written) == CHARACTER_SETS_KEPT:  # senders choose them
                self._written.clear()
            parts = self._written[key] = _parts(self.elements, key)
        return parts


@dataclass(frozen=True, eq=False, slots=True)
class Draft:
    """A data set, or a content item of one.

    Attributes
    ----------
    kept : tuple of Kept
        What comes again; of an element that is there twice, the later one counts.
    own : tuple of DataElement
        What does not; it counts more than what is kept.
    below : tuple of Draft
        Items of Content Sequence (0040,A730).
    """

    kept: tuple[Kept, ...]
    own: tuple[DataElement, ...] = ()
    below: tuple[Draft, ...] = ()

    @property
    def is_ascii(self) -> bool:
        """Whether it is the same in every character set."""
        return (
            all(kept.is_ascii for kept in self.kept)
            and all(text.isascii() for text in texts_of(self.own))
            and all(item.is_ascii for item in self.below)
        )

    def texts(self) -> Iterator[str]:
        """Yield every text of it."""
        layers = (*(kept.elements for kept in self.kept), self.own)
        yield from texts_of({int(element.tag): element for layer in layers for element in layer}.values())
        for item in self.below:
            yield from item.texts()

    def parts(self, character_set: CharacterSet) -> Parts:
        """Return its elements as they are written in a character set."""
        parts: Parts = {}
        for kept in self.kept:
            parts |= kept.written(character_set)
        parts |= _parts(self.own, character_set)
        if self.below:
            items = [joined(item.parts(character_set)) for item in self.below]
            parts[CONTENT_SEQUENCE] = _sequence(CONTENT_SEQUENCE, items)
        return parts


def joined(parts: Mapping[int, bytes]) -> bytes:
    """Return elements in the order of their tags."""
    return b"".join([parts[tag] for tag in sorted(parts)])


def texts_of(elements: Iterable[DataElement]) -> Iterator[str]:
    """Yield every text of some elements and of the items below them."""
    for element in elements:
        if element.VR == "SQ":
            for item in element.value:
                yield from texts_of(item)
        elif element.VR in _TEXT_VRS and element.value:
            yield str(element.value)


def written(elements: Iterable[Element], character_set: CharacterSet | Sequence[str] = ()) -> bytes:
    """Return the elements of a data set, or of an item, in Explicit VR Little Endian."""
    return joined(_parts(elements, character_set))


def _parts(elements: Iterable[Element], character_set: CharacterSet | Sequence[str]) -> Parts:
    # As whole numbers: the library's tags compare in Python.
    return {int(element.tag): _written(int(element.tag), element, character_set) for element in elements}


def _written(tag: int, element: Element, character_set: CharacterSet | Sequence[str]) -> bytes:
    value = element.value
    if element.VR == "SQ" and not element.is_raw:
        return _sequence(tag, [written(item.values(), character_set) for item in value])
    if isinstance(value, str) and value.isascii() and len(value) < _LONGEST_SHORT:
        return _written_text(tag, str(element.VR), value)
    return _by_the_library(element, list(character_set) or default_encoding)


def _sequence(tag: int, items: Sequence[bytes]) -> bytes:
    value = b"".join([_ITEM.pack(0xFFFE, 0xE000, len(item)) + item for item in items])
    return _LONG.pack(tag >> 16, tag & 0xFFFF, b"SQ", len(value)) + value


def _written_text(tag: int, vr: str, text: str) -> bytes:
    """Return an element whose letters are the same in every character set, as PS3.5 6.2 and 7.1 have it."""
    value = text.encode("ascii")
    value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    return in_bytes(tag, vr, value)


def in_bytes(tag: int, vr: str, value: bytes) -> bytes:
    """Return an element with a padded value; one too long for the length of its VR becomes UN (PS3.5 6.2.2, Note 3)."""
    if vr not in _LONG_VRS and len(value) <= _LONGEST_SHORT:
        return _SHORT.pack(tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value
    told = vr if vr in _LONG_VRS else "UN"
    return _LONG.pack(tag >> 16, tag & 0xFFFF, told.encode(), len(value)) + value


def _by_the_library(element: Element, character_set: str | Sequence[str]) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_data_element(buffer, element, character_set)
    data: bytes = buffer.getvalue()
    return data


def _unambiguous(element: DataElement, dataset: Dataset) -> DataElement:
    return correct_ambiguous_vr_element(element, dataset, True) if " or " in element.VR else element
