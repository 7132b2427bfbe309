"""The last look before a result leaves: that it is whose it should be, and that it breaks no viewer.

Each rule stands for a way in which a valid object was seen to go wrong: a black viewport, a page without names, a name
lost on the way through a character set. The validators of the test suite are too slow to run on each study.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

from PIL import Image
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    BasicTextSRStorage,
    EncapsulatedPDFStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
)

from node import codes
from node.attributes import strings, text, whole
from node.errors import ReportError
from node.report.header import evidence_of
from node.report.identity import Identity, decoded, raw_value
from node.report.source import Encoded, Profile, ResultObject
from node.storage_classes import is_image

_LONGEST = {"SH": 16, "CS": 16, "LO": 64}  # characters, PS3.5 Table 6.2-1
_NAMES = {tag_for_keyword(keyword) for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")}
_NOT_IN_BASIC_TEXT = {"NUM", "SCOORD", "SCOORD3D", "TCOORD"}  # PS3.3 A.35.1.3.1.1

_TAGS = {
    keyword: Tag(tag_for_keyword(keyword) or 0)
    for keyword in (
        *("CodeValue", "ConceptNameCodeSequence", "ContentSequence", "ContinuityOfContent", "ReferencedSOPClassUID"),
        *("ReferencedSOPInstanceUID", "ReferencedSOPSequence", "RelationshipType", "TextValue", "ValueType"),
    )
}

_Content = list[tuple[BaseTag, str | None, Any]]


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
    passed: list[_Content] = []
    for encoded in result.encodings:
        dataset = dcmread(BytesIO(encoded.data))
        content = _content(dataset)
        names_alone = content in passed and encoded.sop_class_uid != BasicTextSRStorage
        found = _names(dataset, encoded) if names_alone else problems(dataset, encoded, identity, profile)
        problem = next(found, None)
        if problem is not None:
            raise ReportError(f"the {result.kind} is not sent: {problem}")
        passed.append(content)


def problems(dataset: Dataset, encoded: Encoded, identity: Identity, profile: Profile) -> Iterator[str]:
    """Yield what is wrong with one encoding, as it was read back."""
    yield from _names(dataset, encoded)
    yield from _identity(dataset, identity)
    if encoded.sop_class_uid == SecondaryCaptureImageStorage:
        yield from _picture(dataset)
    elif encoded.sop_class_uid == EncapsulatedPDFStorage:
        yield from _encapsulated(dataset)
    elif encoded.sop_class_uid == KeyObjectSelectionDocumentStorage:
        yield from _key_object(dataset)
    else:
        yield from _document(dataset, profile)
    for keyword in identity.values:
        del dataset[keyword]  # the source's own values may be too long; that is its sender's matter
    yield from _lengths(dataset)


def _content(dataset: Dataset) -> _Content:
    """Return the bytes of everything but the names: an encoding that has passed need not be looked through again."""
    elements = (dataset.get_item(tag) for tag in sorted(dataset.keys()) if tag not in _NAMES)
    return [(element.tag, element.VR, element.value) for element in elements]


def _names(dataset: Dataset, encoded: Encoded) -> Iterator[str]:
    meta = dataset.file_meta
    held = (dataset.SOPClassUID, dataset.SOPInstanceUID)
    if held != (encoded.sop_class_uid, encoded.sop_instance_uid):
        yield "it is not the SOP instance it is announced as"
    if held != (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID):
        yield "the file meta information names another SOP instance"
    if meta.TransferSyntaxUID != encoded.transfer_syntax_uid:
        yield "it is not in the transfer syntax it is announced in"


def _identity(dataset: Dataset, identity: Identity) -> Iterator[str]:
    character_set = strings(dataset, "SpecificCharacterSet")
    for keyword, value in identity.values.items():
        held = raw_value(dataset, keyword)
        if held != value and decoded(held, character_set) != decoded(value, identity.character_set):
            yield f"{keyword} differs from the source"


def _lengths(dataset: Dataset) -> Iterator[str]:
    for element in list(dataset.values()):
        longest = _LONGEST.get(element.VR or "", 0)
        if element.VR == "SQ":
            for item in dataset[element.tag].value:
                yield from _lengths(item)
        elif not longest or (element.is_raw and len(element.value or b"") <= longest):
            continue  # short enough in bytes is so in characters: most values need not be decoded
        elif any(len(value) > longest for value in strings(dataset, dataset[element.tag].keyword)):
            yield f"{dataset[element.tag].keyword} is longer than its value representation allows"


def _picture(dataset: Dataset) -> Iterator[str]:
    if text(dataset, "BurnedInAnnotation") != "YES" or strings(dataset, "ImageType")[:2] != ("DERIVED", "SECONDARY"):
        yield "it could be taken for an original image"
    if any(keyword in dataset for keyword in ("PixelSpacing", "ImagerPixelSpacing", "FrameOfReferenceUID")):
        yield "somebody could measure in it"
    stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
    if not stream.rstrip(b"\0").endswith(b"\xff\xd9"):
        yield "its pixel data are not whole"
    if Image.open(BytesIO(stream)).size != (whole(dataset, "Columns"), whole(dataset, "Rows")):
        yield "its pixel data have not the size that rows and columns say"


def _encapsulated(dataset: Dataset) -> Iterator[str]:
    length = whole(dataset, "EncapsulatedDocumentLength") or 0
    document = bytes(dataset.EncapsulatedDocument)[:length]
    if text(dataset, "MIMETypeOfEncapsulatedDocument") != "application/pdf" or not document.startswith(b"%PDF-"):
        yield "it holds no PDF"
    if not document.rstrip().endswith(b"%%EOF"):
        yield "its PDF is not whole"
    if text(dataset, "BurnedInAnnotation") != "YES":
        yield "it does not say that it names the patient"


def _key_object(dataset: Dataset) -> Iterator[str]:
    evidence, kinds = evidence_of(dataset), []
    yield from _container(dataset)
    for _, kind, item in _tree(dataset):
        kinds.append(kind)
        if kind == "IMAGE":
            yield from _reference(item, evidence)
        if (kind == "IMAGE") == bool(_concept(item)):  # TID 2010
            yield "an image has a name, or another item has none"
    if "IMAGE" not in kinds:
        yield "it selects nothing"


def _document(dataset: Dataset, profile: Profile) -> Iterator[str]:
    if text(dataset, "CompletionFlag") != "COMPLETE" or text(dataset, "VerificationFlag") != "UNVERIFIED":
        yield "it is not a complete, unverified document"
    if "RelationshipType" in dataset or text(dataset, "ValueType") != "CONTAINER":
        yield "its root is no container"
    if profile == "viewer" and _concept(dataset) == codes.IMAGING_MEASUREMENT_REPORT.value:
        yield from _measurement_groups(dataset)
    evidence, is_basic = evidence_of(dataset), dataset.SOPClassUID == BasicTextSRStorage
    yield from _container(dataset)
    for parent_kind, kind, item in _tree(dataset):
        yield from _item(parent_kind, kind, item, profile)
        if is_basic and kind in _NOT_IN_BASIC_TEXT:
            yield "a Basic Text report has a kind of item it may not have"
        if kind == "IMAGE":
            yield from _reference(item, evidence)


def _item(parent_kind: str, kind: str, item: Dataset, profile: Profile) -> Iterator[str]:
    if not _concept(item) or not _said(item, "RelationshipType"):
        yield "an item has no name or no relation"
    if kind == "CONTAINER":
        yield from _container(item)
    if profile == "viewer" and kind == "IMAGE" and parent_kind == "CONTAINER":
        yield "an image stands directly in a container"
    if profile == "viewer" and kind == "NUM" and "ContentSequence" in item:
        yield "a number has items below it"
    if kind == "TEXT" and not _said(item, "TextValue"):
        yield "a text is empty"


def _container(item: Dataset) -> Iterator[str]:
    if _said(item, "ContinuityOfContent") != "SEPARATE":
        yield "a container is not SEPARATE, so viewers drop the names in it"
    if not _below(item, "ContentSequence"):
        yield "a container is empty"


def _reference(item: Dataset, evidence: set[str]) -> Iterator[str]:
    for reference in _below(item, "ReferencedSOPSequence"):
        if _said(reference, "ReferencedSOPInstanceUID") not in evidence:
            yield "an image is named that is not in the evidence"
        if not is_image(_said(reference, "ReferencedSOPClassUID")):
            yield "an instance is named as an image that is none"


def _measurement_groups(root: Dataset) -> Iterator[str]:
    for _, _, item in _tree(root):
        if _concept(item) != "125007":  # Measurement Group
            continue
        below = list(_tree(item))
        if not any(kind == "SCOORD" for _, kind, _ in below):
            yield "a measurement group has no region, which blackens viewers"
        if not any(_concept(child) == "112040" for _, _, child in below):  # Tracking Unique Identifier
            yield "a measurement group has no tracking UID, which blackens viewers"


def _tree(item: Dataset, kind: str = "CONTAINER") -> Iterator[tuple[str, str, Dataset]]:
    """Yield the Value Type of the item above, its own, and the item, for every item below one."""
    for child in _below(item, "ContentSequence"):
        child_kind = _said(child, "ValueType")
        yield kind, child_kind, child
        yield from _tree(child, child_kind)


def _concept(item: Dataset) -> str:
    return next((_said(name, "CodeValue") for name in _below(item, "ConceptNameCodeSequence")), "")


def _said(item: Dataset, keyword: str) -> str:
    """Return a value as it was written: to decode each would take half of the time of a check."""
    element = item.get_item(_TAGS[keyword])
    value = element.value if element is not None else None
    if not value:
        return ""
    return value.strip(b" \0").decode("ascii", "replace") if isinstance(value, bytes) else str(value)


def _below(item: Dataset, keyword: str) -> Sequence[Dataset]:
    """Return the items of a sequence, none where it is absent."""
    tag = _TAGS[keyword]
    found: Sequence[Dataset] = item[tag].value if tag in item else ()
    return found
