"""A content tree as a structured report document, in each of the SOP classes that a PACS may take.

highdicom builds a document of each kind once; the patient, the study and the evidence are set here, because a header as
modalities really write it makes the library raise or stamps the present on it. The tree is hung on afterwards: the library
copies each tree whole and searches it four times, which took 10 of the 14 ms that a document did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import (
    Comprehensive3DSR,
    ComprehensiveSR,
    ContainerContentItem,
    ContentSequence,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    ComputedRadiographyImageStorage,
    EncapsulatedPDFStorage,
    EnhancedSRStorage,
    KeyObjectSelectionDocumentStorage,
)

from node import codes
from node.product import MANUFACTURER
from node.report import answer
from node.report.draft import Draft, Kept
from node.report.header import (
    OF_NO_STUDY,
    Context,
    Reference,
    author,
    evidence,
    of_this_node,
    predecessor,
    private_scheme,
)
from node.report.items import Item
from node.report.source import ResultKind

_CLASSES = {Comprehensive3DSRStorage: Comprehensive3DSR, ComprehensiveSRStorage: ComprehensiveSR}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of document.

    Attributes
    ----------
    name : str
        One of `node.report.source.ResultKind`.
    series_number : int
        Every document has a series of its own under this number: of two in one series, viewers show the older one.
    sop_class_uids : tuple of str
        In order of preference.
    """

    name: ResultKind
    series_number: int
    sop_class_uids: tuple[str, ...]


TRIAGE_REPORT = Kind("triage_report", 901, (ComprehensiveSRStorage, EnhancedSRStorage, BasicTextSRStorage))
AI_RESULTS = Kind("ai_results", 902, (Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage))
BOX = Kind("box", 904, (ComprehensiveSRStorage,))
KEY_OBJECT = Kind("key_object", 905, (KeyObjectSelectionDocumentStorage,))
PDF = Kind("pdf", 906, (EncapsulatedPDFStorage,))


def document(context: Context, kind: Kind, root: Item, pictures: Sequence[Reference], sop_class_uid: str = "") -> Draft:
    """Make a document of a content tree.

    Parameters
    ----------
    context : Context
    kind : Kind
    root : Item
        Root container.
    pictures : sequence of Reference
        Pictures of the same reading, named as evidence.
    sop_class_uid : str
        Where it is not the one that its kind prefers.

    Returns
    -------
    Draft
        Without the identity, which ``encode`` adds.
    """
    dataset = Dataset()
    for keyword, value in names_of(context, kind, sop_class_uid or kind.sop_class_uids[0]).items():
        setattr(dataset, keyword, value)
    dataset.SeriesDescription = answer.document_description(kind.name, context.study.leading.prediction)
    dataset.CurrentRequestedProcedureEvidenceSequence = evidence(context, pictures)
    if kind is not KEY_OBJECT:
        dataset.AuthorObserverSequence = [author(context)]
        if context.study.source.previous is not None and kind is not BOX:
            dataset.PredecessorDocumentsSequence = predecessor(context.study.source.previous)
    return Draft((_frame(kind), context.stamp, *root.kept), (*dataset.values(), *root.own), root.below)


def names_of(context: Context, kind: Kind, sop_class_uid: str) -> dict[str, str]:
    """Return, by keyword, the UIDs by which a document in one SOP class differs from the same in another."""
    return {
        "SOPClassUID": sop_class_uid,
        "SOPInstanceUID": context.uid(kind.name, sop_class_uid),
        "SeriesInstanceUID": context.uid("series", kind.name, sop_class_uid),
    }


@cache
def _frame(kind: Kind) -> Kept:
    """Return what the library makes of a document of one kind, with every attribute that is the same for each study."""
    study = Dataset()
    study.SOPClassUID = ComputedRadiographyImageStorage  # one the library has a table for
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(study, keyword, OF_NO_STUDY)
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        setattr(study, keyword, None)
    for keyword in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
        setattr(study, keyword, None)
    common = {
        "evidence": [study],
        "series_instance_uid": OF_NO_STUDY,
        "series_number": kind.series_number,
        "sop_instance_uid": OF_NO_STUDY,
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
    }
    if kind is KEY_OBJECT:
        made = KeyObjectSelectionDocument(content=KeyObjectSelection(codes.OF_INTEREST, [study]), **common)
    else:
        content = ContainerContentItem(codes.DIAGNOSTIC_IMAGING_REPORT)
        content.ContentSequence = ContentSequence(
            [TextContentItem(codes.IMPRESSION, ".", RelationshipTypeValues.CONTAINS)]
        )
        flags = {"is_complete": True, "is_final": False, "is_verified": False}
        made = _CLASSES[kind.sop_class_uids[0]](content=content, **flags, **common)
        made.CodingSchemeIdentificationSequence = [private_scheme()]
    of_this_node(made)
    return Kept.of(made, without="ContentSequence")
