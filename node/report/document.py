"""A content tree as a structured report document, in each of the SOP classes that a PACS may take.

highdicom builds the document; the patient, the study and the evidence are set here, because a header as modalities really
write it makes the library raise or stamps the present on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from highdicom.sr import Comprehensive3DSR, ComprehensiveSR, EnhancedSR
from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    ComputedRadiographyImageStorage,
    EnhancedSRStorage,
)

from node.errors import ReportError
from node.product import MANUFACTURER
from node.report import answer
from node.report.header import Context, Reference, author, evidence, predecessor, stamp
from node.report.items import Item

_CLASSES = {
    Comprehensive3DSRStorage: Comprehensive3DSR,
    ComprehensiveSRStorage: ComprehensiveSR,
    EnhancedSRStorage: EnhancedSR,
    BasicTextSRStorage: EnhancedSR,  # the library has no Basic Text: the same document with fewer kinds of items
}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of report.

    Attributes
    ----------
    name : "triage_report" or "ai_results"
    series_number : int
        Every report has a series of its own under this number: of two in one series, viewers show the older one.
    sop_class_uids : tuple of str
        In order of preference.
    """

    name: Literal["triage_report", "ai_results"]
    series_number: int
    sop_class_uids: tuple[str, ...]


TRIAGE_REPORT = Kind("triage_report", 901, (ComprehensiveSRStorage, EnhancedSRStorage, BasicTextSRStorage))
AI_RESULTS = Kind("ai_results", 902, (Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage))


def document(context: Context, kind: Kind, sop_class_uid: str, root: Item, pictures: Sequence[Reference]) -> Dataset:
    """Make a document of a content tree.

    Parameters
    ----------
    context : Context
    kind : Kind
    sop_class_uid : str
        One of the kind's.
    root : Item
        Root container.
    pictures : sequence of Reference
        Pictures of the same reading, named as evidence.

    Returns
    -------
    Dataset
        Without the identity, which ``encode`` adds.

    Raises
    ------
    ReportError
        When the library does not take the content.
    """
    try:
        built = _CLASSES[sop_class_uid](
            evidence=_stand_ins(context, pictures),
            content=root,
            series_instance_uid=context.uid("series", kind.name, sop_class_uid),
            series_number=kind.series_number,
            sop_instance_uid=context.uid(kind.name, sop_class_uid),
            instance_number=1,
            manufacturer=MANUFACTURER,
            is_complete=True,
            is_final=False,
            is_verified=False,
            series_description=answer.series_description(context.study.leading.prediction),
        )
    except (TypeError, ValueError) as error:
        raise ReportError(f"the {kind.name} cannot be built: {type(error).__name__}") from None
    dataset = _plain(built)
    dataset.SOPClassUID = sop_class_uid
    stamp(dataset, context)
    dataset.AuthorObserverSequence = [author(context)]
    dataset.CurrentRequestedProcedureEvidenceSequence = evidence(context, pictures)
    if context.study.source.previous is not None:
        dataset.PredecessorDocumentsSequence = predecessor(context.study.source.previous)
    return dataset


def _stand_ins(context: Context, pictures: Sequence[Reference]) -> list[Dataset]:
    """Return what the library needs to see of each instance: that it is there, and of this study."""
    films = [(film.sop_instance_uid, film.series_instance_uid) for film in context.study.films]
    films += [(picture.sop_instance_uid, picture.series_instance_uid) for picture in pictures]
    return [_stand_in(context, *film) for film in films]


def _stand_in(context: Context, sop_instance_uid: str, series_instance_uid: str) -> Dataset:
    item = Dataset()
    item.SOPClassUID = ComputedRadiographyImageStorage  # one the library has a table for
    item.SOPInstanceUID = sop_instance_uid
    item.SeriesInstanceUID = series_instance_uid
    item.StudyInstanceUID = context.study.study_instance_uid
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        setattr(item, keyword, None)
    for keyword in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
        setattr(item, keyword, None)
    return item


def _plain(built: Dataset) -> Dataset:
    plain = Dataset()
    for element in built:
        plain.add(element)
    return plain
