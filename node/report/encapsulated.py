"""The report as an Encapsulated PDF.

References
----------
DICOM PS3.3 A.45.1, C.24.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from node import codes
from node.report import answer
from node.report.capture import Capture
from node.report.document import PDF, names_of
from node.report.draft import Draft
from node.report.encode import encode
from node.report.header import Context, concept, of_this_node, sop_reference
from node.report.pdf import can_write, pdf
from node.report.source import Encoded, ResultObject
from node.report.words import words


def encapsulated(context: Context, pictures: Sequence[Capture]) -> ResultObject:
    """Write the report of a study as Encapsulated PDF, in English where no font has the language's letters.

    Parameters
    ----------
    context : Context
    pictures : sequence of Capture
        What was drawn of the same reading.

    Raises
    ------
    ReportError
        When the identity fits no character set.
    """
    letters = "".join(sorted(set("".join(answer.impression(context)))))
    worded = context if can_write(letters) else replace(context, words=words("en"))
    content = pdf(worded, [(picture.film, picture.rgb) for picture in pictures])
    names = names_of(context, PDF, EncapsulatedPDFStorage)
    dataset = _dataset(context, names, content)
    references = [(film.sop_class_uid, film.sop_instance_uid) for film in context.study.images]
    references += [(picture.reference.sop_class_uid, picture.reference.sop_instance_uid) for picture in pictures]
    if references:
        dataset.SourceInstanceSequence = [sop_reference(*reference) for reference in references]
    data = encode(Draft((context.stamp,), tuple(dataset.values())), names, context.identity)
    return ResultObject(
        "pdf", (Encoded(EncapsulatedPDFStorage, names["SOPInstanceUID"], ExplicitVRLittleEndian, data),)
    )


def _dataset(context: Context, names: dict[str, str], content: bytes) -> Dataset:
    dataset = Dataset()
    for keyword, value in names.items():
        setattr(dataset, keyword, value)
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "DOC", PDF.series_number, 1
    dataset.SeriesDescription = answer.document_description(PDF.name, context.study.leading.prediction)
    dataset.ConversionType, dataset.BurnedInAnnotation = "WSD", "YES"
    of_this_node(dataset)
    dataset.AcquisitionDateTime = None
    dataset.DocumentTitle = answer.headline(context)
    dataset.ConceptNameCodeSequence = concept(codes.DIAGNOSTIC_IMAGING_REPORT)
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocumentLength = len(content)
    dataset.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    return dataset
