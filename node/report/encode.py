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
from collections.abc import Iterator, Mapping
from functools import lru_cache
from io import BytesIO

from pydicom import dcmread
from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import correct_ambiguous_vr, write_data_element, write_dataset
from pydicom.tag import BaseTag, Tag
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

# Half of what a report consists of are codes, and the next report has nearly the same.
CODES_KEPT = 512
_OF_A_CODE = {
    Tag(tag_for_keyword(keyword) or 0)
    for keyword in ("ConceptNameCodeSequence", "ConceptCodeSequence", "MeasurementUnitsCodeSequence")
}
_SEQUENCE_HEADER_BYTES = 12  # PS3.5 Table 7.1-1

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
    own = Dataset()
    for element in dataset:
        if element.keyword not in identity.values:
            own.add(element)
    own_text = list(_texts(own))
    letters = {letter for text in own_text for letter in text if not letter.isascii()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote values
        for character_set, values in _ways(identity, letters):
            data = _write(_joined(own, character_set, values), transfer_syntax_uid)
            if _reads_back(data, values, own_text):
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
        return _write(dataset, ExplicitVRLittleEndian)


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


def _joined(dataset: Dataset, character_set: tuple[str, ...], values: Mapping[str, bytes]) -> Dataset:
    joined = Dataset()
    for element in correct_ambiguous_vr(dataset, True):
        joined.add(element)
        _written_once(element)
    if character_set:
        joined.SpecificCharacterSet = list(character_set)
    for keyword, value in values.items():
        _put(joined, keyword, value)
    # Raw elements are written as they are only where the data set counts as read in the encoding it is written in.
    encodings = convert_encodings(list(character_set)) if character_set else default_encoding
    joined.set_original_encoding(is_implicit_vr=False, is_little_endian=True, character_encoding=encodings)
    return joined


def _written_once(element: DataElement) -> None:
    """Mark the items below an element as what their VRs say: the library would ask of each, and of all below, anew."""
    if element.VR == "SQ":
        for item in element.value:
            item.set_original_encoding(is_implicit_vr=False, is_little_endian=True, character_encoding=default_encoding)
            for below in list(item.values()):
                if below.tag in _OF_A_CODE and not below.is_raw and (written := _code(below)):
                    item[below.tag] = written
                elif not below.is_raw:
                    _written_once(below)


def _code(element: DataElement) -> RawDataElement | None:
    """Return a sequence of one plain code as it is written, None where it is none or its letters depend on the character set."""
    if len(element.value) != 1:
        return None
    parts = tuple((part.tag, part.VR, part.value) for part in element.value[0].values())
    is_plain = all(isinstance(value, str) and value.isascii() for _, _, value in parts)
    return _written_code(element.tag, parts) if is_plain else None


@lru_cache(maxsize=CODES_KEPT)
def _written_code(tag: BaseTag, parts: tuple[tuple[BaseTag, str, str], ...]) -> RawDataElement:
    """Return a sequence of one code in Explicit VR Little Endian."""
    code = Dataset()
    for part in parts:
        code.add(DataElement(*part))
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_data_element(buffer, DataElement(tag, "SQ", [code]))
    value = buffer.getvalue()[_SEQUENCE_HEADER_BYTES:]
    return RawDataElement(tag, "SQ", len(value), value, 0, False, True)


def _put(dataset: Dataset, keyword: str, value: bytes) -> None:
    """Set an attribute to bytes that are written as they are."""
    tag, vr = Tag(tag_for_keyword(keyword) or 0), dictionary_VR(keyword)
    padded = value + (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    dataset[tag] = RawDataElement(tag, vr, len(padded), padded, 0, False, True)


def _write(dataset: Dataset, transfer_syntax_uid: str) -> bytes:
    head = file_head(dataset.SOPClassUID, dataset.SOPInstanceUID, transfer_syntax_uid, _IMPLEMENTATION_VERSION)
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    buffer.write(head)
    write_dataset(buffer, dataset)
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


def _texts(dataset: Dataset) -> Iterator[str]:
    """Yield every text of a data set and its items, in order."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _texts(item)
        elif element.VR in _TEXT_VRS:
            yield str(element.value or "")
