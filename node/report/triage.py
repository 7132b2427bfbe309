"""The triage report: one coded page of text for the study, which every viewer can show.

The root title is Diagnostic Imaging Report, TID 2000: an image-level TID 1500 report blackens OHIF, any other title opens
as a readable page. That page shows only what stands directly in a section, so images and numbers hang below a text or a
code, where they are there for machines and out of a reader's way. TID 2000 and 2002 are not extensible: no sections
within sections.

References
----------
DICOM PS3.16 TID 2000, TID 2002; PS3.3 A.35.1 to A.35.3 for what may stand below what.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.sr.coding import Code

from node import codes
from node.report import answer
from node.report.films import MOST_REFERENCES, Film, looks_normal, told
from node.report.header import Context
from node.report.items import INFERRED_FROM as FROM
from node.report.items import Item, below, code, container, image, language, percentage, text
from node.study import Prediction, Triage


def content(context: Context, basic: bool = False) -> Item:
    """Build the content tree.

    Parameters
    ----------
    context : Context
    basic : bool
        For Basic Text SR, which has no numbers, and no code outside a concept name: codes become their meaning.

    Returns
    -------
    Item
        The root container.
    """
    sections = [container(codes.IMPRESSIONS, _impression(context, basic))]
    sections += [container(codes.FINDINGS, _image_read(context, film, basic)) for film in context.study.read]
    for group in (*told(context.study.not_read), context.study.others):
        if group:
            sections.append(container(codes.FINDINGS, _not_read(context, group, basic)))
    sections.append(container(codes.PROCEDURE_DESCRIPTIONS, _how_made(context, basic)))
    return container(codes.DIAGNOSTIC_IMAGING_REPORT, [language(context.words), *sections], template="2000", root=True)


def normality(prediction: Prediction | None) -> Code:
    """Return the normality of one image: Normal only where Normal is also the most probable class."""
    if prediction and prediction.triage in (Triage.URGENT, Triage.FLAGGED):
        return codes.ABNORMAL
    return codes.NORMAL if looks_normal(prediction) else codes.UNDETERMINED


def study_normality(context: Context) -> Code:
    """Return the normality of the study: Normal only where every image that was read looks normal."""
    if context.study.triage is Triage.NOT_FLAGGED:
        return codes.NORMAL if context.study.is_normal else codes.UNDETERMINED
    return normality(context.study.leading.prediction)


def _impression(context: Context, basic: bool) -> list[Item]:
    items = [text(codes.IMPRESSION, answer.impression(context))]
    priority = codes.PRIORITIES.get(context.study.triage)
    if priority is not None:
        items.append(_coded(codes.PRIORITY, priority, basic))
    return [*items, _coded(codes.NORMALITY, study_normality(context), basic)]


def _image_read(context: Context, film: Film, basic: bool) -> list[Item]:
    assert film.prediction is not None
    finding = below(text(codes.FINDING, answer.image_table(context, film)), _sources([film]))
    warnings = [_coded(codes.IMAGE_WARNING, codes.WARNINGS[warning], basic) for warning in film.prediction.warnings]
    judged = _coded(codes.NORMALITY, normality(film.prediction), basic)
    return [finding, *warnings, judged if basic else below(judged, _numbers(film.prediction))]


def _not_read(context: Context, films: Sequence[Film], basic: bool) -> list[Item]:
    finding = below(text(codes.FINDING, answer.not_read(context, films)), _sources(films))
    return [finding, _coded(codes.REASON_NOT_READ, codes.REASONS[films[0].reason], basic)]


def _how_made(context: Context, basic: bool) -> list[Item]:
    items = [text(codes.PROCEDURE_DESCRIPTION, answer.made(context))]
    if context.study.read:
        model = context.study.reading.model
        items += [text(codes.ALGORITHM_NAME, model.name), text(codes.ALGORITHM_VERSION, model.version)]
    return [*items, _coded(codes.CAD_SUMMARY, codes.CAD_SUMMARIES[context.study.triage], basic)]


def _sources(films: Sequence[Film]) -> list[Item]:
    """Refer to the first images of a group; an IMAGE item must not name what is no image, so that stays evidence only."""
    return [
        image(codes.SOURCE_OF_MEASUREMENT, film.sop_class_uid, film.sop_instance_uid)
        for film in films[:MOST_REFERENCES]
        if film.number
    ]


def _numbers(prediction: Prediction) -> list[Item]:
    """Give probability, spread and cut-off of each class, side by side: a number must have no children in a page.

    None where they do not hold: a machine that takes a number does not read the warning beside it.
    """
    numbers: list[Item] = []
    if not prediction.reliable:
        return numbers
    for finding in sorted(prediction.findings, key=lambda finding: -finding.probability):
        numbers.append(percentage(codes.probability_of(finding.label), finding.probability, FROM))
        numbers.append(percentage(codes.spread_of(finding.label), finding.spread, FROM))
        if finding.cut_off is not None:
            numbers.append(percentage(codes.cut_off_of(finding.label), finding.cut_off, FROM))
    return numbers


def _coded(name: Code, value: Code, basic: bool) -> Item:
    return text(name, value.meaning) if basic else code(name, value)
