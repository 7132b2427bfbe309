"""Whose study it is: the attributes a result takes over from the source.

The source's own bytes are taken, not decoded and encoded again, so PatientID, AccessionNumber and StudyInstanceUID stay
what they are even where a header declares its characters wrongly. Nothing is invented: what a type 2 attribute lacks
becomes empty, and so does a value that no receiver could use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from warnings import catch_warnings, simplefilter

from pydicom.charset import convert_encodings, decode_bytes, encode_string
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.valuerep import PersonName

from node.attributes import strings, value_of
from node.errors import ReportError

# Type 2 of the Patient and General Study modules (PS3.3 Tables C.7-1 and C.7-3): present even when empty.
_ALWAYS = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
# Type 3, taken over where they have a value. Free comments and admission data stay behind.
_WHERE_PRESENT = (
    "IssuerOfPatientID",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "StudyDescription",
    "InstitutionName",
)
_PADDING = b" \0"
_DELIMITERS = {ord(letter) for letter in "\t\n\f\r\\^="}  # where code extensions end (PS3.5 6.1.2.5.3)


@dataclass(frozen=True)
class Identity:
    """Who and which study, as bytes.

    Attributes
    ----------
    character_set : tuple of str
        The source's Specific Character Set (0008,0005), as it stands there.
    values : mapping of str to bytes
        By keyword, without padding.
    """

    character_set: tuple[str, ...]
    values: Mapping[str, bytes]

    @property
    def is_ascii(self) -> bool:
        """Whether the values mean the same in every character set."""
        return all(value.isascii() and b"\x1b" not in value for value in self.values.values())


def identity_of(header: Dataset) -> Identity:
    """Take the identity from a source header.

    Parameters
    ----------
    header : Dataset
        As parsed from bytes.

    Raises
    ------
    ReportError
        When there is no Study Instance UID, or a value cannot be had as the bytes it came in.

    References
    ----------
    DICOM PS3.3 C.7.1.1, C.7.2.1, C.7.2.2.
    """
    values = {keyword: _usable(keyword, raw_value(header, keyword)) for keyword in _ALWAYS + _WHERE_PRESENT}
    if not values["StudyInstanceUID"]:
        raise ReportError("StudyInstanceUID is absent or not a UID")
    kept = {keyword: value for keyword, value in values.items() if value or keyword in _ALWAYS}
    return Identity(strings(header, "SpecificCharacterSet"), kept)


def raw_value(header: Dataset, keyword: str) -> bytes:
    """Return the bytes of an attribute as they came, without padding; empty where it is absent.

    Raises
    ------
    ReportError
        When the value was decoded before, and does not come back from its character set as it was.
    """
    element = header.get_item(Tag(tag_for_keyword(keyword) or 0))
    if isinstance(element, RawDataElement):
        return bytes(element.value or b"").rstrip(_PADDING)
    value = value_of(header, keyword)
    text = "\\".join(str(part) for part in (value if isinstance(value, MultiValue) else [value if value else ""]))
    if text.isascii():
        return text.encode().rstrip(_PADDING)
    return _encoded(text, keyword, strings(header, "SpecificCharacterSet"))


def decoded(value: bytes, character_set: tuple[str, ...]) -> str:
    """Return a value as text; U+FFFD stands where bytes mean nothing in the character set."""
    encodings = convert_encodings(list(character_set))
    with catch_warnings():
        simplefilter("ignore")  # pydicom's warnings quote values
        return str(decode_bytes(value, encodings, _DELIMITERS))


def is_da(value: str) -> bool:
    """Tell whether a text is a date, YYYYMMDD (PS3.5 6.2)."""
    return bool(re.fullmatch(r"\d{8}", value)) and _parses(value, "%Y%m%d")


def is_tm(value: str) -> bool:
    """Tell whether a text is a time, HH[MM[SS[.F...]]] (PS3.5 6.2); a leap second is one."""
    match = re.fullmatch(r"(\d\d)((\d\d)((\d\d)(\.\d{1,6})?)?)?", value)
    return bool(match) and int(value[:2]) < 24 and int(value[2:4] or 0) < 60 and int(value[4:6] or 0) <= 60


def is_utc_offset(value: str) -> bool:
    """Tell whether a text is a Timezone Offset From UTC, between -1200 and +1400 (PS3.3 C.12.1.1.8)."""
    return bool(re.fullmatch(r"[+-]\d{4}", value)) and -1200 <= int(value) <= 1400 and int(value[-2:]) < 60


_CHECKS: dict[str, Callable[[str], bool]] = {
    "DA": is_da,
    "TM": is_tm,
    "CS": lambda value: value in ("M", "F", "O"),  # Patient's Sex is the only one here
    "AS": lambda value: bool(re.fullmatch(r"\d{3}[DWMY]", value)),
    "DS": lambda value: bool(re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value)) and len(value) <= 16,
    "UI": lambda value: bool(re.fullmatch(r"[0-9.]{1,64}", value)),
}


def _encoded(text: str, keyword: str, character_set: tuple[str, ...]) -> bytes:
    encodings = convert_encodings(list(character_set))
    with catch_warnings():
        simplefilter("ignore")
        is_name = dictionary_VR(keyword) == "PN"
        value = PersonName(text).encode(encodings) if is_name else encode_string(text, encodings)
    if decoded(value, character_set) != text:
        raise ReportError(f"{keyword} is not as parsed from bytes any more; report from a fresh copy of the header")
    return bytes(value).rstrip(_PADDING)


def _usable(keyword: str, value: bytes) -> bytes:
    check = _CHECKS.get(dictionary_VR(keyword))
    return value if check is None or check(value.decode("latin-1").strip()) else b""


def _parses(value: str, form: str) -> bool:
    try:
        datetime.strptime(value, form)
    except ValueError:
        return False
    return True
