"""The flow: from one reading of a study to the objects that are sent back into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydicom.uid import BasicTextSRStorage, ExplicitVRLittleEndian

from node.report import ai_results, triage
from node.report.capture import Capture, capture
from node.report.check import check
from node.report.document import AI_RESULTS, TRIAGE_REPORT, Kind, document
from node.report.encode import encode
from node.report.films import Film, study_of
from node.report.header import Context, Reference
from node.report.identity import identity_of
from node.report.items import Item
from node.report.source import Encoded, Profile, ReportOptions, ResultObject, StudySource
from node.report.words import words
from node.study import Triage


def compose(source: StudySource, options: ReportOptions, profile: Profile) -> list[ResultObject]:
    """Write the results of one reading.

    Parameters
    ----------
    source : StudySource
    options : ReportOptions
    profile : "viewer" or "air"
        For people, a page of text; or for machines, IHE AI Results. Pictures come with both.

    Returns
    -------
    list of ResultObject
        In the order of sending: the report first, then the pictures. Empty when there is nothing to say: a study of
        this node's own objects, or one not analysed where `options` wants no report of that. The same input gives the
        same bytes.

    Raises
    ------
    ReportError
        When a result cannot be built, or does not pass the check that runs on each before it leaves.
    """
    study = study_of(source)
    if not study.films or (study.triage is Triage.NOT_ANALYSED and not options.not_analysed):
        return []
    context = Context(study, options, words(options.language), identity_of(study.leading.header))
    pictures = [capture(context, film, source.plane(film.reading.instance_key)) for film in _to_draw(context)]
    results = [_report(context, profile, pictures), *(picture.result for picture in pictures)]
    for result in results:
        check(result, context.identity, profile)
    return results


def _to_draw(context: Context) -> list[Film]:
    """Return the films that get a picture."""
    pressing = (Triage.URGENT, Triage.FLAGGED)
    wanted = {"all": tuple(Triage), "flagged": pressing, "off": ()}[context.options.heat_map]
    return [film for film in context.study.read if film.prediction and film.prediction.triage in wanted]


def _report(context: Context, profile: Profile, pictures: list[Capture]) -> ResultObject:
    shown = {picture.film.sop_instance_uid: picture.reference for picture in pictures}
    if profile == "air":
        tree = ai_results.content(context, shown)
        trees = dict.fromkeys(AI_RESULTS.sop_class_uids, tree)
        return _documents(context, AI_RESULTS, trees, list(shown.values()))
    coded, basic = triage.content(context), triage.content(context, basic=True)
    trees = {uid: basic if uid == BasicTextSRStorage else coded for uid in TRIAGE_REPORT.sop_class_uids}
    return _documents(context, TRIAGE_REPORT, trees, list(shown.values()))


def _documents(context: Context, kind: Kind, trees: Mapping[str, Item], pictures: Sequence[Reference]) -> ResultObject:
    encodings = []
    for sop_class_uid, tree in trees.items():
        dataset = document(context, kind, sop_class_uid, tree, pictures)
        data = encode(dataset, context.identity)
        encodings.append(Encoded(sop_class_uid, str(dataset.SOPInstanceUID), ExplicitVRLittleEndian, data))
    return ResultObject(kind.name, tuple(encodings))
