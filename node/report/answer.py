"""What the results say, as lines of text: the answer first, what it rests on, and how it was made.

The wording is fixed. A study without an answer says so and why: a reader must be able to tell "nothing found" from "not
looked at".
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

from node import __version__
from node.attributes import text, whole
from node.errors import Reason
from node.product import NAME
from node.report import warned
from node.report.films import MOST_REFERENCES, Film, reason_key, told
from node.report.header import Context, evidence_of
from node.report.source import ResultKind
from node.report.words import Words, cut_off_percent, moment, pad, percent, spread, width
from node.study import Finding, Prediction, Triage

# For these "no frontal chest image in this study" is true; for damaged pixels, say, it may not be.
_SAY_NOT_A_FRONTAL_CHEST_IMAGE = {
    Reason.WRONG_MODALITY,
    Reason.NOT_AN_IMAGE,
    Reason.NOT_CHEST,
    Reason.NOT_FRONTAL,
}
_SHORT_NAMES = {"Tuberculosis": "TB", "Pneumonia": "pneum."}
_DIGEST_LENGTH = 12
# In place of a probability, or of its spread, that says nothing because the model was not made for the picture.
DOUBTFUL = "?"


def impression(context: Context) -> list[str]:
    """Return the answer for the study, most important first: what warns of it stands right below."""
    answer, study = context.words.answer, context.study
    lines = [headline(context), *warned.below_the_answer(context)]
    if study.triage is Triage.NOT_FLAGGED:
        lines.append(answer["not_excluded"])
    if study.triage is Triage.NOT_ANALYSED:
        lines.append(_why_not_analysed(context))
    if study.triage in (Triage.UNCERTAIN, Triage.NOT_ANALYSED):
        lines.append(answer["not_negative"])
    if study.read:
        lines.append(_basis(context))
    if study.source.previous is not None:
        lines.append(_replaces(context, study.source.previous))
    return [*lines, answer["research"]]


def headline(context: Context) -> str:
    """Return the first line: the answer itself."""
    answer, study = context.words.answer, context.study
    if study.triage in (Triage.URGENT, Triage.FLAGGED):
        finding = leading_finding(study.leading.prediction)
        condition = context.words.conditions[finding.label].upper()
        return answer[study.triage].format(condition=condition, percent=likely(study.leading.prediction))
    if study.triage is Triage.NOT_ANALYSED:
        reasons = {film.reason for film in study.films}
        return answer["not_analysed" if reasons <= _SAY_NOT_A_FRONTAL_CHEST_IMAGE else "not_readable"]
    return answer[triage_key(study.leading.prediction)]


def leading_finding(prediction: Prediction | None) -> Finding:
    """Return the finding an image's answer is about: the flagged class, else the one that its heat map explains."""
    assert prediction is not None
    return prediction.of(prediction.flagged_label or prediction.map_label)


def likely(prediction: Prediction | None) -> str:
    """Return the probability of the finding that an image's answer is about; a question mark where it does not hold."""
    assert prediction is not None
    return _percent(leading_finding(prediction)) if prediction.reliable else DOUBTFUL


def triage_key(prediction: Prediction | None) -> str:
    """Return the key of the words for an image's answer: its triage, or why that is uncertain where the picture is."""
    assert prediction is not None
    return str(prediction.triage) if prediction.reliable or prediction.triage is not Triage.UNCERTAIN else "unfit"


def series_description(prediction: Prediction | None) -> str:
    """Return the answer in the width that viewers show of Series Description (0008,103E): 17 to 22 characters."""
    triage = prediction.triage if prediction else Triage.NOT_ANALYSED
    if prediction is None or triage not in (Triage.URGENT, Triage.FLAGGED):
        fixed = {Triage.NOT_FLAGGED: "AI: not flagged", Triage.UNCERTAIN: "AI: UNCERTAIN"}
        return fixed.get(triage, "AI: NOT ANALYSED")
    return f"AI {'URGENT' if triage is Triage.URGENT else 'FLAG'}: {short_answer(prediction)}"


def document_description(kind: ResultKind, prediction: Prediction | None) -> str:
    """Return the Series Description of a document of a kind: that of box and key object names what is flagged."""
    prefix = {"box": "AI box: ", "key_object": "AI key: "}.get(kind, "")
    return prefix + short_answer(prediction) if prefix and prediction else series_description(prediction)


def picture_description(film: Film) -> str:
    """Return the Series Description of an image's picture, e.g. ``AI TB 93% map 1``."""
    assert film.prediction is not None
    fixed = {Triage.NOT_FLAGGED: "not flagged", Triage.UNCERTAIN: "UNCERTAIN"}
    return f"AI {fixed.get(film.prediction.triage) or short_answer(film.prediction)} map {film.number}"


def short_answer(prediction: Prediction) -> str:
    """Return the flagged class and its probability in a few ASCII letters, e.g. ``TB 93%``, or ``TB ?``."""
    return f"{_SHORT_NAMES[leading_finding(prediction).label]} {likely(prediction).replace(' ', '')}"


def image_table(context: Context, film: Film) -> list[str]:
    """Return what the model says of one image that it read, as a table in a monospaced font."""
    assert film.prediction is not None
    words, prediction = context.words, film.prediction
    findings = sorted(prediction.findings, key=lambda finding: -finding.probability)
    columns = max(width(words.labels[finding.label]) for finding in findings) + 2
    lines = [image_title(context, film), *warned.in_the_table(words, prediction)]
    lines += [_row(words, finding, columns, prediction.reliable) for finding in findings]
    if prediction.triage is Triage.UNCERTAIN:
        lines.append(words.table["unfit" if not prediction.reliable else "uncertain"])
    return lines


def not_read(context: Context, films: Sequence[Film]) -> list[str]:
    """Return why one image, or a group of instances with one reason, was not read."""
    table, first = context.words.table, films[0]
    if not first.number:
        title = table["objects"].format(count=len(films))
    elif len(films) == 1:
        title = image_title(context, first)
    else:
        title = table["images"].format(count=len(films), total=len(context.study.images))
    what, why = _reason(context, films)
    return [title, table["not_read"].format(reason=f"{what}; {why}")]


def image_title(context: Context, film: Film, with_view: bool = True) -> str:
    """Return which image it is: its number, view, series and instance, as far as the header tells."""
    table = context.words.table
    title = table["image"].format(number=film.number, total=len(context.study.images))
    series, instance = whole(film.header, "SeriesNumber"), whole(film.header, "InstanceNumber")
    parts = (
        view(context, film) if with_view else "",
        "" if series is None else table["series"].format(number=series),
        "" if instance is None else table["instance"].format(number=instance),
    )
    told_parts = ", ".join(part for part in parts if part)
    return f"{title}: {told_parts}" if told_parts else title


def view(context: Context, film: Film) -> str:
    """Return the view in words, empty where the header does not tell."""
    if film.view in ("LL", "RL"):
        return context.words.table["lateral"].format(view=film.view)
    return context.words.reasons["LATERAL"][0] if film.view == "LATERAL" else film.view


def made(context: Context) -> list[str]:
    """Return how the results were made: software, model, cut-offs, and the four moments in UTC."""
    phrases, reading = context.words.made, context.study.reading
    lines = [
        phrases["software"].format(name=NAME, version=__version__, ae_title=context.options.ae_title),
        phrases["model"].format(name=reading.model.name, version=reading.model.version, digest=digest(context)),
    ]
    if context.study.read:
        of_site = reading.model.site_thresholds[:_DIGEST_LENGTH]
        whose = phrases["cut_offs_site" if of_site else "cut_offs"]
        lines += [whose.format(list=cut_offs(context), digest=of_site), phrases["spread"]]
    if context.options.config_digest:
        lines.append(phrases["configuration"].format(digest=context.options.config_digest[:_DIGEST_LENGTH]))
    for name in ("received", "settled", "started", "done"):
        lines.append(phrases[name].format(time=moment(getattr(reading.times, name), seconds=True)))
    return [*lines, context.words.answer["research"]]


def digest(context: Context) -> str:
    """Return the first digits of the weights' digest, enough to know a model by."""
    return context.study.reading.model.weights_sha256[:_DIGEST_LENGTH]


def cut_offs(context: Context) -> str:
    """Return the cut-offs in one line, highest class of the table first."""
    prediction = context.study.leading.prediction
    assert prediction is not None
    pairs = ((f.label, f.cut_off) for f in reversed(prediction.findings))
    return ", ".join(f"{context.words.conditions[label]} {cut_off_percent(c)}" for label, c in pairs if c is not None)


def cells(words: Words, finding: Finding, reliable: bool) -> tuple[str, str, str, str, str]:
    """Return what a table says of one class: name, probability, its spread, cut-off, and on which side of that it is."""
    doubt = f"+/- {spread(finding.spread)}" if reliable else DOUBTFUL
    if finding.cut_off is None:
        return words.labels[finding.label], _percent(finding), doubt, "", ""
    cut_off = words.table["cut_off"].format(percent=cut_off_percent(finding.cut_off))
    return (
        words.labels[finding.label],
        _percent(finding),
        doubt,
        cut_off,
        words.table["above" if finding.above else "below"],
    )


def _row(words: Words, finding: Finding, columns: int, reliable: bool) -> str:
    label, probability, doubt, cut_off, side = cells(words, finding, reliable)
    return f"{pad(label, columns)}{probability:>6}  {doubt:<6}  {cut_off}  {side}".rstrip()


def _percent(finding: Finding) -> str:
    return percent(finding.probability, finding.cut_off)


def _basis(context: Context) -> str:
    answer, study = context.words.answer, context.study
    count, total = len(study.read), len(study.images)
    line = answer["based_on_single"] if total == 1 else answer["based_on"].format(count=count, total=total)
    return " ".join([line, *_left_out(context)])


def _why_not_analysed(context: Context) -> str:
    films = context.study.images or context.study.films
    if len({reason_key(film) for film in films}) == 1:
        return context.words.answer["because"].format(reason="; ".join(_reason(context, films)))
    return " ".join(_left_out(context))


def _left_out(context: Context) -> list[str]:
    """Return a sentence for each image, or group of images, that was not read."""
    answer = context.words.answer
    sentences = []
    for films in told(context.study.not_read):
        what = _reason(context, films)[0]
        if len(films) == 1:
            sentences.append(answer["one_not_read"].format(number=films[0].number, reason=what))
        else:
            sentences.append(answer["some_not_read"].format(count=len(films), reason=what))
    return sentences


def _reason(context: Context, films: Sequence[Film]) -> tuple[str, str]:
    """Return what these instances are, with the gate's detail, and why the model does not read that."""
    what, why = context.words.reasons[reason_key(films[0])]
    details = sorted({_plain(film.reading.detail) for film in films} - {""})
    if details and reason_key(films[0]) != "LATERAL":
        what += f" ({', '.join(details[:MOST_REFERENCES])})"
    return what, why


def _plain(detail: str) -> str:
    """Return a detail that can stand in a sentence: printable ASCII of moderate length, else nothing."""
    return detail if detail.isascii() and detail.isprintable() and len(detail) <= 40 else ""


def _replaces(context: Context, previous: Dataset) -> str:
    answer = context.words.answer
    time = _content_moment(previous)
    held = evidence_of(previous)
    late = [film for film in context.study.images if film.sop_instance_uid not in held] if held else []
    if len(late) == 1:
        return answer["replaces_one"].format(time=time, number=late[0].number)
    return answer["replaces_some" if late else "replaces"].format(time=time, count=len(late))


def _content_moment(previous: Dataset) -> str:
    """Return Content Date and Time of an earlier report of ours, as they stand there."""
    date, time, offset = (text(previous, k) for k in ("ContentDate", "ContentTime", "TimezoneOffsetFromUTC"))
    shown = f"{date[:4]}-{date[4:6]}-{date[6:8]} {time[:2]}:{time[2:4]}"
    return f"{shown} {offset}" if offset else shown
