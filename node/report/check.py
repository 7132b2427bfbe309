"""The last look before a result leaves: that it is whose it should be, and that it breaks no viewer.

Each rule stands for a way in which a valid object was seen to go wrong: a black viewport, a page without names, a name
lost on the way through a character set. The validators of the test suite are too slow to run on each study.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from node import codes
from node.attributes import items, strings, text, whole
from node.errors import ReportError
from node.report.header import evidence_of
from node.report.identity import Identity, decoded, raw_value
from node.report.source import Encoded, Profile, ResultObject
from node.storage_classes import is_image

_LONGEST = {"SH": 16, "CS": 16, "LO": 64}  # characters, PS3.5 Table 6.2-1
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
    for encoded in result.encodings:
        problem = next(problems(encoded, identity, profile), None)
        if problem is not None:
            raise ReportError(f"the {result.kind} is not sent: {problem}")


def problems(encoded: Encoded, identity: Identity, profile: Profile) -> Iterator[str]:
    """Yield what is wrong with one encoding."""
    dataset = dcmread(BytesIO(encoded.data))
    yield from _names(dataset, encoded)
    yield from _identity(dataset, identity)
    if encoded.sop_class_uid == SecondaryCaptureImageStorage:
        yield from _picture(dataset)
    else:
        yield from _document(dataset, profile)
    for keyword in identity.values:
        del dataset[keyword]  # the source's own values may be too long; that is its sender's matter
    yield from _lengths(dataset)


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
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _lengths(item)
        elif any(len(value) > _LONGEST.get(element.VR, len(value)) for value in strings(dataset, element.keyword)):
            yield f"{element.keyword} is longer than its value representation allows"


def _picture(dataset: Dataset) -> Iterator[str]:
    if text(dataset, "BurnedInAnnotation") != "YES" or strings(dataset, "ImageType")[:2] != ("DERIVED", "SECONDARY"):
        yield "it could be taken for an original image"
    if any(keyword in dataset for keyword in ("PixelSpacing", "ImagerPixelSpacing", "FrameOfReferenceUID")):
        yield "somebody could measure in it"
    expected = (whole(dataset, "Rows") or 0) * (whole(dataset, "Columns") or 0) * 3
    is_native = dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    if is_native and len(dataset.PixelData) != expected + expected % 2:
        yield "its pixel data have not the length that rows and columns ask for"


def _document(dataset: Dataset, profile: Profile) -> Iterator[str]:
    if text(dataset, "CompletionFlag") != "COMPLETE" or text(dataset, "VerificationFlag") != "UNVERIFIED":
        yield "it is not a complete, unverified document"
    if "RelationshipType" in dataset or text(dataset, "ValueType") != "CONTAINER":
        yield "its root is no container"
    if profile == "viewer" and _concept(dataset) == codes.IMAGING_MEASUREMENT_REPORT.value:
        yield from _measurement_groups(dataset)
    evidence = evidence_of(dataset)
    yield from _container(dataset)
    for parent, item in _tree(dataset):
        yield from _item(parent, item, profile)
        if dataset.SOPClassUID == BasicTextSRStorage and text(item, "ValueType") in _NOT_IN_BASIC_TEXT:
            yield "a Basic Text report has a kind of item it may not have"
        if text(item, "ValueType") == "IMAGE":
            yield from _reference(item, evidence)


def _item(parent: Dataset, item: Dataset, profile: Profile) -> Iterator[str]:
    kind, within_container = text(item, "ValueType"), text(parent, "ValueType") == "CONTAINER"
    if not _concept(item) or not text(item, "RelationshipType"):
        yield "an item has no name or no relation"
    if kind == "CONTAINER":
        yield from _container(item)
    if profile == "viewer" and kind == "IMAGE" and within_container:
        yield "an image stands directly in a container"
    if profile == "viewer" and kind == "NUM" and "ContentSequence" in item:
        yield "a number has items below it"
    if kind == "TEXT" and not text(item, "TextValue"):
        yield "a text is empty"


def _container(item: Dataset) -> Iterator[str]:
    if text(item, "ContinuityOfContent") != "SEPARATE":
        yield "a container is not SEPARATE, so viewers drop the names in it"
    if not items(item, "ContentSequence"):
        yield "a container is empty"


def _reference(item: Dataset, evidence: set[str]) -> Iterator[str]:
    for reference in items(item, "ReferencedSOPSequence"):
        if text(reference, "ReferencedSOPInstanceUID") not in evidence:
            yield "an image is named that is not in the evidence"
        if not is_image(text(reference, "ReferencedSOPClassUID")):
            yield "an instance is named as an image that is none"


def _measurement_groups(root: Dataset) -> Iterator[str]:
    for _, item in _tree(root):
        if _concept(item) != "125007":  # Measurement Group
            continue
        below = [child for _, child in _tree(item)]
        if not any(text(child, "ValueType") == "SCOORD" for child in below):
            yield "a measurement group has no region, which blackens viewers"
        if not any(_concept(child) == "112040" for child in below):  # Tracking Unique Identifier
            yield "a measurement group has no tracking UID, which blackens viewers"


def _tree(item: Dataset) -> Iterator[tuple[Dataset, Dataset]]:
    """Yield every item below one, each with its parent."""
    for child in items(item, "ContentSequence"):
        yield item, child
        yield from _tree(child)


def _concept(item: Dataset) -> str:
    return next((text(name, "CodeValue") for name in items(item, "ConceptNameCodeSequence")), "")
