"""The flow: from one reading of a study to the objects that are sent back into it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydicom.uid import BasicTextSRStorage, ExplicitVRLittleEndian

from node.report import ai_results, box, key_object, triage
from node.report.capture import Capture, capture, reference_of
from node.report.check import check
from node.report.document import AI_RESULTS, BOX, KEY_OBJECT, TRIAGE_REPORT, Kind, document, names_of
from node.report.encode import encode, renamed
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
        In the order of sending: the report first, then the pictures, then what is sent besides. Empty when there is nothing
        to say: a study of this node's own objects, or one not analysed where `options` wants no report of that. The same
        input gives the same bytes.

    Raises
    ------
    ReportError
        When a result cannot be built, or does not pass the check that runs on each before it leaves.
    """
    writer = Writer(source, options, profile)
    return [*writer.report(every_form=True), *writer.rest()]


class Writer:
    """Writes the results of one reading: its report, which is sent at once, and what takes longer.

    Parameters
    ----------
    source, options, profile
        As of `compose`, and the errors, too.
    """

    def __init__(self, source: StudySource, options: ReportOptions, profile: Profile) -> None:
        self._source, self._profile = source, profile
        study = study_of(source)
        is_told = bool(study.films) and (study.triage is not Triage.NOT_ANALYSED or options.not_analysed)
        self._context = (
            Context(study, options, words(options.language), identity_of(study.leading.header)) if is_told else None
        )

    @property
    def has_rest(self) -> bool:
        """Whether there is more than the report."""
        return self._context is not None and bool(_to_draw(self._context) or self._context.options.extra)

    def report(self, every_form: bool = False) -> list[ResultObject]:
        """Write the report, which names the pictures that follow it; nothing where there is nothing to say.

        Parameters
        ----------
        every_form : bool
            In every SOP class, for a PACS that does not take the preferred one; else in that one alone, in half the time.
        """
        if self._context is None:
            return []
        shown = {film.sop_instance_uid: reference_of(self._context, film) for film in _to_draw(self._context)}
        return self._checked([_report(self._context, self._profile, shown, every_form)])

    def rest(self) -> list[ResultObject]:
        """Draw the pictures, and write what is sent besides."""
        if self._context is None:
            return []
        context, shown = self._context, self._source.shown
        pictures = [capture(context, film, shown(film.reading.instance_key)) for film in _to_draw(context)]
        return self._checked([*(picture.result for picture in pictures), *_extras(context, pictures)])

    def _checked(self, results: list[ResultObject]) -> list[ResultObject]:
        assert self._context is not None
        for result in results:
            check(result, self._context.identity, self._profile)
        return results


def _to_draw(context: Context) -> list[Film]:
    """Return the films that get a picture."""
    pressing = (Triage.URGENT, Triage.FLAGGED)
    wanted = {"all": tuple(Triage), "flagged": pressing, "off": ()}[context.options.heat_map]
    return [film for film in context.study.read if film.prediction and film.prediction.triage in wanted]


def _report(context: Context, profile: Profile, shown: dict[str, Reference], every_form: bool) -> ResultObject:
    if profile == "air":
        return _documents(context, AI_RESULTS, ai_results.content(context, shown), list(shown.values()), every_form)
    return _documents(context, TRIAGE_REPORT, triage.content(context), list(shown.values()), every_form)


def _extras(context: Context, pictures: list[Capture]) -> Iterator[ResultObject]:
    """Yield what is sent besides, where it is wanted and there is something to say in it."""
    wanted, shown = context.options.extra, {each.film.sop_instance_uid: each.reference for each in pictures}
    trees = []
    if "box" in wanted:
        trees.append((BOX, box.content(context)))
    if "key_object" in wanted:
        trees.append((KEY_OBJECT, key_object.content(context, shown)))
    yield from (_documents(context, kind, tree, list(shown.values())) for kind, tree in trees if tree is not None)
    if "pdf" in wanted:
        from node.report.encapsulated import encapsulated  # here alone: it takes what most sites do not want

        yield encapsulated(context, pictures)


def _documents(
    context: Context, kind: Kind, tree: Item, pictures: Sequence[Reference], every_form: bool = False
) -> ResultObject:
    """Write a document in the SOP class that its kind prefers, or in each; all but Basic Text, which has fewer kinds of items, hold one tree."""
    preferred = names_of(context, kind, kind.sop_class_uids[0])
    first = encode(document(context, kind, tree, pictures), preferred, context.identity)
    encodings = []
    for sop_class_uid in kind.sop_class_uids if every_form else kind.sop_class_uids[:1]:
        names, data = names_of(context, kind, sop_class_uid), first
        if sop_class_uid == BasicTextSRStorage:
            basic = document(context, kind, triage.content(context, basic=True), pictures, sop_class_uid)
            data = encode(basic, names, context.identity)
        elif sop_class_uid != kind.sop_class_uids[0]:
            data = renamed(first, names)
        encodings.append(Encoded(sop_class_uid, names["SOPInstanceUID"], ExplicitVRLittleEndian, data))
    return ResultObject(kind.name, tuple(encodings))
