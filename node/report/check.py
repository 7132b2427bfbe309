"""The last look before a result leaves: that it is whose it should be, and that it breaks no viewer.

Each rule stands for a way in which a valid object was seen to go wrong: a black viewport, a page without names, a name
lost on the way through a character set. The validators of the test suite are too slow to run on each study.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from io import BytesIO

from PIL import Image
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.encaps import generate_frames
from pydicom.uid import (
    BasicTextSRStorage,
    EncapsulatedPDFStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
)

from node import codes
from node.errors import ReportError
from node.report.identity import Identity, decoded
from node.report.read_back import Elements, read_back
from node.report.source import Encoded, Profile, ResultObject
from node.storage_classes import is_image

_LONGEST = {b"SH": 16, b"CS": 16, b"LO": 64}  # characters, PS3.5 Table 6.2-1
_META_GROUP = 0x0002
_NOT_IN_BASIC_TEXT = {"NUM", "SCOORD", "SCOORD3D", "TCOORD"}  # PS3.3 A.35.1.3.1.1


def check(result: ResultObject, identity: Identity, profile: Profile) -> None:
    """Look through every encoding of a result.

    Parameters
    ----------
    result : ResultObject
    identity : Identity
        Of the source.
    profile : "viewer" or "air"

    Raises
    ------
    ReportError
        Names the rule that is broken, no values.
    """
    passed: list[Elements] = []
    for encoded in result.encodings:
        held = read_back(encoded.data)
        content = _content(held)
        names_alone = content in passed and encoded.sop_class_uid != BasicTextSRStorage
        found = _names(held, encoded) if names_alone else _problems(held, encoded, identity, profile)
        problem = next(found, None)
        if problem is not None:
            raise ReportError(f"the {result.kind} is not sent: {problem}")
        passed.append(content)


def _problems(held: Elements, encoded: Encoded, identity: Identity, profile: Profile) -> Iterator[str]:
    """Yield what is wrong with one encoding, as it was read back."""
    yield from _names(held, encoded)
    yield from _identity(held, identity)
    if encoded.sop_class_uid == SecondaryCaptureImageStorage:
        yield from _picture(held)
    elif encoded.sop_class_uid == EncapsulatedPDFStorage:
        yield from _encapsulated(held)
    elif encoded.sop_class_uid == KeyObjectSelectionDocumentStorage:
        yield from _key_object(held)
    else:
        yield from _document(held, profile)
    # The source's own values may be too long; that is its sender's matter.
    whose = {_tag(keyword) for keyword in identity.values}
    yield from _lengths({tag: element for tag, element in held.items() if tag not in whose}, _character_set(held))


def _content(held: Elements) -> Elements:
    """Return everything but the names: an encoding that has passed need not be looked through again."""
    names = {_tag(keyword) for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")}
    return Elements({tag: each for tag, each in held.items() if tag not in names and tag >> 16 != _META_GROUP})


def _names(held: Elements, encoded: Encoded) -> Iterator[str]:
    announced = (encoded.sop_class_uid, encoded.sop_instance_uid)
    names = tuple(_said(held, keyword) for keyword in ("SOPClassUID", "SOPInstanceUID"))
    if names != announced:
        yield "it is not the SOP instance it is announced as"
    if names != tuple(_said(held, f"MediaStorage{keyword}") for keyword in ("SOPClassUID", "SOPInstanceUID")):
        yield "the file meta information names another SOP instance"
    if _said(held, "TransferSyntaxUID") != encoded.transfer_syntax_uid:
        yield "it is not in the transfer syntax it is announced in"


def _identity(held: Elements, identity: Identity) -> Iterator[str]:
    for keyword, value in identity.values.items():
        found = held.raw(_tag(keyword))
        if found != value and decoded(found, _character_set(held)) != decoded(value, identity.character_set):
            yield f"{keyword} differs from the source"


def _character_set(held: Elements) -> tuple[str, ...]:
    return tuple(term.strip() for term in _said(held, "SpecificCharacterSet").split("\\"))


def _lengths(held: Mapping[int, tuple[bytes, bytes | list[Elements]]], character_set: tuple[str, ...]) -> Iterator[str]:
    for tag, (vr, value) in held.items():
        if isinstance(value, list):
            for item in value:
                yield from _lengths(item, character_set)
        elif len(value) <= _LONGEST.get(vr, len(value)):
            continue  # short enough in bytes is so in characters: most values need not be decoded
        elif any(len(part.strip(" \0")) > _LONGEST[vr] for part in decoded(value, character_set).split("\\")):
            yield f"{keyword_for_tag(tag)} is longer than its value representation allows"


def _picture(held: Elements) -> Iterator[str]:
    if _said(held, "BurnedInAnnotation") != "YES" or _said(held, "ImageType") != r"DERIVED\SECONDARY":
        yield "it could be taken for an original image"
    if any(_tag(keyword) in held for keyword in ("PixelSpacing", "ImagerPixelSpacing", "FrameOfReferenceUID")):
        yield "somebody could measure in it"
    stream = next(generate_frames(_bytes(held, "PixelData"), number_of_frames=1))
    if not stream.rstrip(b"\0").endswith(b"\xff\xd9"):
        yield "its pixel data are not whole"
    if Image.open(BytesIO(stream)).size != (_number(held, "Columns"), _number(held, "Rows")):
        yield "its pixel data have not the size that rows and columns say"


def _encapsulated(held: Elements) -> Iterator[str]:
    document = _bytes(held, "EncapsulatedDocument")[: _number(held, "EncapsulatedDocumentLength")]
    if _said(held, "MIMETypeOfEncapsulatedDocument") != "application/pdf" or not document.startswith(b"%PDF-"):
        yield "it holds no PDF"
    if not document.rstrip().endswith(b"%%EOF"):
        yield "its PDF is not whole"
    if _said(held, "BurnedInAnnotation") != "YES":
        yield "it does not say that it names the patient"


def _key_object(held: Elements) -> Iterator[str]:
    evidence, kinds = _evidence(held), []
    yield from _container(held)
    for _, kind, item in _tree(held):
        kinds.append(kind)
        if kind == "IMAGE":
            yield from _reference(item, evidence)
        if (kind == "IMAGE") == bool(_concept(item)):  # TID 2010
            yield "an image has a name, or another item has none"
    if "IMAGE" not in kinds:
        yield "it selects nothing"


def _document(held: Elements, profile: Profile) -> Iterator[str]:
    if _said(held, "CompletionFlag") != "COMPLETE" or _said(held, "VerificationFlag") != "UNVERIFIED":
        yield "it is not a complete, unverified document"
    if _tag("RelationshipType") in held or _said(held, "ValueType") != "CONTAINER":
        yield "its root is no container"
    if profile == "viewer" and _concept(held) == codes.IMAGING_MEASUREMENT_REPORT.value:
        yield from _measurement_groups(held)
    evidence, is_basic = _evidence(held), _said(held, "SOPClassUID") == BasicTextSRStorage
    yield from _container(held)
    for parent_kind, kind, item in _tree(held):
        yield from _item(parent_kind, kind, item, profile)
        if is_basic and kind in _NOT_IN_BASIC_TEXT:
            yield "a Basic Text report has a kind of item it may not have"
        if kind == "IMAGE":
            yield from _reference(item, evidence)


def _item(parent_kind: str, kind: str, item: Elements, profile: Profile) -> Iterator[str]:
    if not _concept(item) or not _said(item, "RelationshipType"):
        yield "an item has no name or no relation"
    if kind == "CONTAINER":
        yield from _container(item)
    if profile == "viewer" and kind == "IMAGE" and parent_kind == "CONTAINER":
        yield "an image stands directly in a container"
    if profile == "viewer" and kind == "NUM" and _tag("ContentSequence") in item:
        yield "a number has items below it"
    if kind == "TEXT" and not _said(item, "TextValue"):
        yield "a text is empty"


def _container(item: Elements) -> Iterator[str]:
    if _said(item, "ContinuityOfContent") != "SEPARATE":
        yield "a container is not SEPARATE, so viewers drop the names in it"
    if not _below(item, "ContentSequence"):
        yield "a container is empty"


def _reference(item: Elements, evidence: set[str]) -> Iterator[str]:
    for reference in _below(item, "ReferencedSOPSequence"):
        if _said(reference, "ReferencedSOPInstanceUID") not in evidence:
            yield "an image is named that is not in the evidence"
        if not is_image(_said(reference, "ReferencedSOPClassUID")):
            yield "an instance is named as an image that is none"


def _measurement_groups(root: Elements) -> Iterator[str]:
    for _, _, item in _tree(root):
        if _concept(item) != "125007":  # Measurement Group
            continue
        below = list(_tree(item))
        if not any(kind == "SCOORD" for _, kind, _ in below):
            yield "a measurement group has no region, which blackens viewers"
        if not any(_concept(child) == "112040" for _, _, child in below):  # Tracking Unique Identifier
            yield "a measurement group has no tracking UID, which blackens viewers"


def _tree(item: Elements, kind: str = "CONTAINER") -> Iterator[tuple[str, str, Elements]]:
    """Yield the Value Type of the item above, its own, and the item, for every item below one."""
    for child in _below(item, "ContentSequence"):
        child_kind = _said(child, "ValueType")
        yield kind, child_kind, child
        yield from _tree(child, child_kind)


def _concept(item: Elements) -> str:
    return next((_said(name, "CodeValue") for name in _below(item, "ConceptNameCodeSequence")), "")


def _evidence(held: Elements) -> set[str]:
    """Return the SOP Instance UIDs that a document names as its evidence."""
    return {
        _said(reference, "ReferencedSOPInstanceUID")
        for study in _below(held, "CurrentRequestedProcedureEvidenceSequence")
        for series in _below(study, "ReferencedSeriesSequence")
        for reference in _below(series, "ReferencedSOPSequence")
    }


def _said(item: Elements, keyword: str) -> str:
    return item.said(_tag(keyword))


def _bytes(item: Elements, keyword: str) -> bytes:
    value = item[_tag(keyword)][1] if _tag(keyword) in item else b""
    return value if isinstance(value, bytes) else b""


def _number(item: Elements, keyword: str) -> int:
    """Return a number of VR US or UL."""
    return int.from_bytes(_bytes(item, keyword), "little")


def _below(item: Elements, keyword: str) -> list[Elements]:
    return item.items_of(_tag(keyword))


@cache
def _tag(keyword: str) -> int:
    return int(tag_for_keyword(keyword) or 0)
