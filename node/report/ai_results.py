"""AI Results: an image-level measurement report, TID 1500, as IHE AI Results encodes findings for machines.

It follows the published encoding and was not tested by IHE. It is the form for a destination that reads numbers; viewers
made for people get the triage report, because this form blackens some of them.

References
----------
DICOM PS3.16 TID 1500, 1501, 1600, 1602, 4019; IHE Radiology Supplement AI Results (AIR).
"""

from __future__ import annotations

from collections.abc import Mapping

from highdicom.sr import (
    AlgorithmIdentification,
    FindingSite,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    SourceImageForMeasurementGroup,
    TrackingIdentifier,
)

from node import codes
from node.attributes import text as header_text
from node.attributes import whole
from node.product import uid
from node.report import answer, warned
from node.report.films import MOST_REFERENCES, Film, told
from node.report.header import Context, Reference
from node.report.items import (
    CONTAINS,
    HAS_ACQ_CONTEXT,
    HAS_CONCEPT_MOD,
    Item,
    below,
    code,
    container,
    image,
    language,
    observer,
    of_library,
    pixels,
    text,
)
from node.report.triage import study_normality
from node.report.words import in_percent
from node.study import Finding


def content(context: Context, pictures: Mapping[str, Reference]) -> Item:
    """Build the content tree.

    Parameters
    ----------
    context : Context
    pictures : mapping of str to Reference
        By SOP Instance UID of a film, the picture that shows its heat map.

    Returns
    -------
    Item
        The root container.
    """
    examined = codes.PLAIN_CHEST_X_RAY if context.study.read else codes.IMAGING_PROCEDURE
    procedure = code(codes.PROCEDURE_REPORTED, examined, HAS_CONCEPT_MOD)
    items = [
        language(context.words),
        *observer(context.options.device, context.options.ae_title),
        procedure,
        *_image_library(context),
    ]
    groups = [
        _measurement_group(context, film, finding, pictures.get(film.sop_instance_uid))
        for film in context.study.read
        for finding in (film.prediction.findings if film.prediction else ())
    ]
    if groups:
        items.append(container(codes.IMAGING_MEASUREMENTS, groups))
    items.append(container(codes.QUALITATIVE_EVALUATIONS, _evaluations(context)))
    return container(codes.IMAGING_MEASUREMENT_REPORT, items, template="1500", root=True)


def _image_library(context: Context) -> list[Item]:
    """List the images that were read and the first ones of those that were not (TID 1600, 1602)."""
    unread = (film for group in told(context.study.not_read) for film in group[:MOST_REFERENCES])
    films = [*context.study.read, *unread]
    if not films:
        return []
    entries = [_library_entry(film) for film in films]
    return [container(codes.IMAGE_LIBRARY, [container(codes.IMAGE_LIBRARY_GROUP, entries)])]


def _library_entry(film: Film) -> Item:
    entry = image(codes.SOURCE, film.sop_class_uid, film.sop_instance_uid, CONTAINS)
    context = []
    modality = codes.MODALITIES.get(header_text(film.header, "Modality"))
    if modality is not None:
        context.append(code(codes.MODALITY, modality, HAS_ACQ_CONTEXT))
    for name, keyword in ((codes.PIXEL_DATA_ROWS, "Rows"), (codes.PIXEL_DATA_COLUMNS, "Columns")):
        count = whole(film.header, keyword)
        if count:
            context.append(pixels(name, count, HAS_ACQ_CONTEXT))
    return below(entry, context)


def _measurement_group(context: Context, film: Film, finding: Finding, picture: Reference | None) -> Item:
    """Give one class of one image as a measurement group (TID 1501), without measurements where they do not hold."""
    assert film.prediction is not None
    model = context.study.reading.model
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=uid("tracking", film.sop_instance_uid, finding.label, model.weights_sha256),
            identifier=f"CXR {finding.label} {film.number}",
        ),
        finding_type=codes.CONDITIONS[finding.label],
        finding_sites=[FindingSite(codes.LUNG)],
        algorithm_id=AlgorithmIdentification(
            name=model.name,
            version=model.version,
            parameters=model.parameters or None,
            family=codes.ARTIFICIAL_INTELLIGENCE,
        ),
        measurements=_measurements(finding) if film.prediction.reliable else None,
        qualitative_evaluations=[
            QualitativeEvaluation(codes.IMAGE_WARNING, codes.WARNINGS[warning]) for warning in film.prediction.warnings
        ],
        source_images=[SourceImageForMeasurementGroup(film.sop_class_uid, film.sop_instance_uid)],
    )[0]
    group.ContinuityOfContent = "SEPARATE"
    if picture is None or not film.prediction.reliable or finding.label != film.prediction.map_label:
        return of_library(group)
    return of_library(group, [image(codes.GRAD_CAM, picture.sop_class_uid, picture.sop_instance_uid, CONTAINS)])


def _measurements(finding: Finding) -> list[Measurement]:
    """Give probability, its standard deviation, and the cut-off, in percent (TID 300)."""
    given = [
        Measurement(codes.CERTAINTY, in_percent(finding.probability), codes.PERCENT),
        Measurement(codes.CERTAINTY, in_percent(finding.spread), codes.PERCENT, derivation=codes.STANDARD_DEVIATION),
    ]
    if finding.cut_off is not None:
        given.append(Measurement(codes.THRESHOLD, in_percent(finding.cut_off), codes.PERCENT))
    return given


def _evaluations(context: Context) -> list[Item]:
    """Give the answer for the study as codes, and in words."""
    triage = context.study.triage
    items = [
        code(codes.CAD_SUMMARY, codes.CAD_SUMMARIES[triage]),
        code(codes.NORMALITY, study_normality(context)),
    ]
    if triage in codes.PRIORITIES:
        items.append(code(codes.PRIORITY, codes.PRIORITIES[triage]))
    unread = context.study.not_read + context.study.others
    items += [code(codes.REASON_NOT_READ, codes.REASONS[reason]) for reason in sorted({f.reason for f in unread})]
    items += [code(codes.IMAGE_WARNING, codes.WARNINGS[warning]) for warning in warned.found(context.study)]
    comments = (answer.impression(context), answer.made(context))
    return [*items, *(text(codes.COMMENT, lines) for lines in comments)]
