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
from functools import cache, lru_cache
from io import BytesIO

from pydicom import dcmread
from pydicom.charset import default_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.uid import ExplicitVRLittleEndian

from node import __version__
from node.errors import ReportError
from node.file_head import file_head
from node.report.draft import CharacterSet, Draft, Parts, in_bytes, joined, texts_of, written
from node.report.identity import Identity, decoded, raw_value

UTF_8 = ("ISO_IR 192",)

# PS3.3 Tables C.12-2, C.12-4 and C.12-5; ISO_IR 6 is no defined term, absence says it.
_REPERTOIRES = {13, 58, 87, 100, 101, 109, 110, 126, 127, 138, 144, 148, 149, 159, 166, 203}
_WITHOUT_EXTENSIONS = {f"ISO_IR {number}" for number in _REPERTOIRES - {58, 87, 149, 159}} | {*UTF_8, "GB18030", "GBK"}
_WITH_EXTENSIONS = {f"ISO 2022 IR {number}" for number in (6, *_REPERTOIRES)}

_IMPLEMENTATION_VERSION = f"CXRTRIAGE_{__version__}"[:16]
_CHARACTER_SET = 0x00080005

Way = tuple[CharacterSet, Mapping[str, bytes]]


def encode(
    draft: Draft, names: Mapping[str, str], identity: Identity, transfer_syntax_uid: str = ExplicitVRLittleEndian
) -> bytes:
    """Write a result with the identity of its source.

    Parameters
    ----------
    draft : Draft
        Everything but the identity and the character set.
    names : mapping of str to str
        Its SOP Class UID and SOP Instance UID by keyword, for the file's head.
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
    own_text = [] if draft.is_ascii else list(draft.texts())
    letters = {letter for text in own_text for letter in text if not letter.isascii()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote values
        for character_set, values in _ways(identity, letters):
            parts = _with_identity(draft.parts(character_set), character_set, values)
            data = _head(names, transfer_syntax_uid) + joined(parts)
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
        return _head(names, ExplicitVRLittleEndian) + written(dataset.values(), character_set)


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


def _with_identity(parts: Parts, character_set: CharacterSet, values: Mapping[str, bytes]) -> Parts:
    """Return a result's elements with its identity, whose values are written as the bytes they are."""
    parts.pop(_CHARACTER_SET, None)
    if character_set:
        parts[_CHARACTER_SET] = _written_character_set(character_set)
    for keyword, value in values.items():
        tag, vr = _tag_and_vr(keyword)
        padded = value + (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
        parts[tag] = in_bytes(tag, vr, padded)
    return parts


@lru_cache
def _written_character_set(character_set: CharacterSet) -> bytes:
    return written([DataElement(_CHARACTER_SET, "CS", list(character_set))])


@cache
def _tag_and_vr(keyword: str) -> tuple[int, str]:
    """Return tag and value representation of an attribute."""
    return int(tag_for_keyword(keyword) or 0), dictionary_VR(keyword)


def _head(names: Mapping[str, str], transfer_syntax_uid: str) -> bytes:
    return file_head(names["SOPClassUID"], names["SOPInstanceUID"], transfer_syntax_uid, _IMPLEMENTATION_VERSION)


def _reads_back(data: bytes, values: Mapping[str, bytes], own_text: list[str]) -> bool:
    held = dcmread(BytesIO(data), stop_before_pixels=True)
    if not values or any(raw_value(held, keyword) != value for keyword, value in values.items()):
        return False
    if all(text.isascii() for text in own_text):
        return True
    for keyword in values:
        del held[keyword]
    return sorted(texts_of(held)) == sorted(own_text)
