"""A result as the bytes of a file, in characters that its receiver understands, read back before it leaves.

The source's own character set is kept wherever the result's text fits in, because the PACS has shown that it can read it;
else it becomes UTF-8. Then the file is read again and compared: a name that went through a character set with code
extensions can come out as ``??`` while every validator is content.

References
----------
DICOM PS3.3 C.12.1.1.2, PS3.5 section 6.1, PS3.10 section 7.1.
"""

from __future__ import annotations

import codecs
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from struct import Struct
from typing import TypeAlias

from pydicom import dcmread
from pydicom.charset import default_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import correct_ambiguous_vr_element, write_data_element
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from node import __version__
from node.errors import ReportError
from node.file_head import file_head
from node.report.identity import Identity, decoded, raw_value

UTF_8 = ("ISO_IR 192",)

# PS3.3 Tables C.12-2, C.12-4 and C.12-5; ISO_IR 6 is no defined term, absence says it.
_REPERTOIRES = {13, 58, 87, 100, 101, 109, 110, 126, 127, 138, 144, 148, 149, 159, 166, 203}
_WITHOUT_EXTENSIONS = {f"ISO_IR {number}" for number in _REPERTOIRES - {58, 87, 149, 159}} | {*UTF_8, "GB18030", "GBK"}
_WITH_EXTENSIONS = {f"ISO 2022 IR {number}" for number in (6, *_REPERTOIRES)}

_TEXT_VRS = {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}
_IMPLEMENTATION_VERSION = f"CXRTRIAGE_{__version__}"[:16]

# Most elements of a result are those of the result before it. One has some 400; with the patients' own, which push each other
# out, that is room for a dozen kinds of results.
TEXTS_KEPT = 4096
_SEQUENCE, _ITEM = Struct("<HH2s2xL"), Struct("<HHL")  # PS3.5 Tables 7.1-1 and 7.5-1

Element: TypeAlias = DataElement | RawDataElement
Way = tuple[tuple[str, ...], Mapping[str, bytes]]


def encode(dataset: Dataset, identity: Identity, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> bytes:
    """Write a result with the identity of its source.

    Parameters
    ----------
    dataset : Dataset
        Everything but the identity and the character set.
    identity : Identity
    transfer_syntax_uid : str

    Returns
    -------
    bytes
        A DICOM file.

    Raises
    ------
    ReportError
        When no character set carries both the identity and the result's own text.
    """
    own = [_unambiguous(element, dataset) for element in dataset if element.keyword not in identity.values]
    own_text = list(_texts(own))
    letters = {letter for text in own_text for letter in text if not letter.isascii()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote values
        for character_set, values in _ways(identity, letters):
            elements = _joined(own, character_set, values)
            data = _head(dataset, transfer_syntax_uid) + _written(elements, list(character_set) or default_encoding)
            # ASCII alone is the same in all of them, and the check of what leaves compares the identity anyway.
            if (identity.is_ascii and not letters) or _reads_back(data, values, own_text):
                return data
    raise ReportError(
        "the patient's name and the report's text fit in no common character set; report.language: en always fits"
    )


def renamed(data: bytes, names: Mapping[str, str]) -> bytes:
    """Write a result once more, with other UIDs: everything else is taken over as the bytes it is.

    Parameters
    ----------
    data : bytes
        What `encode` returned, uncompressed.
    names : mapping of str to str
        UIDs of the data set's first level, by keyword.
    """
    dataset = dcmread(BytesIO(data))
    for keyword, value in names.items():
        setattr(dataset, keyword, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote values
        character_set = dataset.get("SpecificCharacterSet", default_encoding)
        return _head(dataset, ExplicitVRLittleEndian) + _written(dataset.values(), character_set)


def _ways(identity: Identity, letters: set[str]) -> Iterator[Way]:
    """Yield the character sets to try for a text with these letters beyond ASCII, with the identity in each."""
    kept = _kept(identity)
    if not letters or (_is_defined(kept) and not _is_taken_for_latin_1(kept, letters)):
        yield kept, identity.values
    if identity.is_ascii:
        yield UTF_8, identity.values
    elif _is_defined(kept):
        yield UTF_8, _in_utf_8(identity)


def _kept(identity: Identity) -> tuple[str, ...]:
    """Return the source's character set, mended where that does not change how a byte is read."""
    terms = identity.character_set
    if not any(terms) or _is_defined(terms):
        return terms if any(terms) else ()
    if len(terms) == 1 and _is_utf_8(terms[0]):
        return UTF_8
    return () if identity.is_ascii or terms == ("ISO_IR 6",) else terms


def _is_defined(terms: tuple[str, ...]) -> bool:
    if len(terms) == 1:
        return terms[0] in _WITHOUT_EXTENSIONS | _WITH_EXTENSIONS
    return len(terms) > 1 and terms[0] in {"", *_WITH_EXTENSIONS} and set(terms[1:]) <= _WITH_EXTENSIONS


def _is_taken_for_latin_1(terms: tuple[str, ...], letters: set[str]) -> bool:
    # The default repertoire is ASCII, which pydicom writes as Latin-1.
    return terms[0] in ("", "ISO 2022 IR 6") and any(ord(letter) <= 0xFF for letter in letters)


def _is_utf_8(term: str) -> bool:
    try:
        return codecs.lookup(term).name == "utf-8"
    except LookupError:
        return False


def _in_utf_8(identity: Identity) -> dict[str, bytes]:
    """Return the identity's values in UTF-8, none where a value cannot be decoded for certain."""
    texts = {keyword: decoded(value, identity.character_set) for keyword, value in identity.values.items()}
    certain = not any("\ufffd" in text for text in texts.values())
    return {keyword: text.encode() for keyword, text in texts.items()} if certain else {}


def _unambiguous(element: DataElement, dataset: Dataset) -> DataElement:
    return correct_ambiguous_vr_element(element, dataset, True) if " or " in element.VR else element


def _joined(own: list[DataElement], character_set: tuple[str, ...], values: Mapping[str, bytes]) -> list[Element]:
    """Return a result's own elements with its identity, whose values are written as the bytes they are."""
    joined: list[Element] = [element for element in own if element.keyword != "SpecificCharacterSet"]
    if character_set:
        joined.append(DataElement(tag_for_keyword("SpecificCharacterSet") or 0, "CS", list(character_set)))
    for keyword, value in values.items():
        vr = dictionary_VR(keyword)
        padded = value + (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
        joined.append(RawDataElement(Tag(tag_for_keyword(keyword) or 0), vr, len(padded), padded, 0, False, True))
    return joined


def _head(dataset: Dataset, transfer_syntax_uid: str) -> bytes:
    return file_head(dataset.SOPClassUID, dataset.SOPInstanceUID, transfer_syntax_uid, _IMPLEMENTATION_VERSION)


def _written(elements: Iterable[Element], character_set: str | Sequence[str]) -> bytes:
    """Return the elements of a data set, or of an item, in Explicit VR Little Endian."""
    in_order = sorted(elements, key=lambda element: int(element.tag))
    return b"".join(_written_element(element, character_set) for element in in_order)


def _written_element(element: Element, character_set: str | Sequence[str]) -> bytes:
    value = element.value
    if element.VR == "SQ" and not element.is_raw:
        items = [_written(item.values(), character_set) for item in value]
        value = b"".join(_ITEM.pack(0xFFFE, 0xE000, len(item)) + item for item in items)
        return _SEQUENCE.pack(element.tag.group, element.tag.element, b"SQ", len(value)) + value
    if isinstance(value, str) and value.isascii():
        return _written_text(int(element.tag), str(element.VR), value)
    return _by_the_library(element, character_set)


@lru_cache(maxsize=TEXTS_KEPT)
def _written_text(tag: int, vr: str, value: str) -> bytes:
    """Return an element whose letters are the same in every character set."""
    return _by_the_library(DataElement(tag, vr, value), default_encoding)


def _by_the_library(element: Element, character_set: str | Sequence[str]) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_data_element(buffer, element, character_set)
    written: bytes = buffer.getvalue()
    return written


def _reads_back(data: bytes, values: Mapping[str, bytes], own_text: list[str]) -> bool:
    held = dcmread(BytesIO(data), stop_before_pixels=True)
    if not values or any(raw_value(held, keyword) != value for keyword, value in values.items()):
        return False
    if all(text.isascii() for text in own_text):
        return True
    for keyword in values:
        del held[keyword]
    return list(_texts(held)) == own_text


def _texts(elements: Iterable[DataElement]) -> Iterator[str]:
    """Yield every text of a data set and its items, in order."""
    for element in elements:
        if element.VR == "SQ":
            for item in element.value:
                yield from _texts(item)
        elif element.VR in _TEXT_VRS:
            yield str(element.value or "")
