"""The report's sections, in the order of their weight: what a reader must know first stands first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from training import summary, tables
from training.tables import Table


@dataclass(frozen=True)
class Picture:
    """A picture of the report.

    Attributes
    ----------
    content : bytes
        PNG or JPEG.
    caption : str
    alternative : str
        What is told in its place to whoever does not see it.
    """

    content: bytes
    caption: str
    alternative: str


@dataclass(frozen=True)
class Section:
    """One heading with what stands under it; `folded` tables are opened by whoever wants them.

    Words are plain text, in which ``**so**`` stands out and ```so``` is what a machine reads.
    """

    name: str
    title: str
    words: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    folded: tuple[Table, ...] = ()


_SHOWN = 20

Pictures = Mapping[str, tuple[Picture, ...]]

_CAPTIONS = {
    "confusion": "Films by class and by the class called most probable; shares are of the row",
    "roc": "ROC curves, each class against all others",
    "reliability": "Reliability: how often the most probable class is the right one, by its probability",
    "left_out": "AUC of each source, left out of training and in it",
    "fairness": "Groups of patients, with 95 % intervals by patient",
    "robustness": "Accuracy and AUC on films made worse",
}
_EXPLAINED = (
    "Each number in brackets is the end of a 95 % interval: patients were drawn anew, with all their films, "
    "{resamples} times. Precision: of the films called so, the share that is so. Recall: of the films that are so, the share "
    "called so. F1: their harmonic mean. AUC: the chance that a film of the class gets a higher probability than one that is "
    "not; 0.5 is a coin. Sensitivity and specificity are at the cut-off of the class, specificity over normal films. "
    "Calibration error: the mean gap between the probability of the most probable class and the share that is right. An interval "
    "that ends at 1 on both sides says that no film here was to the contrary, not that none ever will be."
)


def captioned(drawn: Mapping[str, bytes]) -> Pictures:
    """Return the pictures of `training.plots.plots`, each under the name of its section."""
    return {
        name: (Picture(content, _CAPTIONS[name], f"{_CAPTIONS[name]}. The tables of this section hold the numbers."),)
        for name, content in drawn.items()
    }


def sections(metrics: Mapping[str, Any], pictures: Pictures) -> list[Section]:
    """Return what the metrics allow to be told.

    Parameters
    ----------
    metrics : mapping
        As `training.evaluate.evaluate` or `training.score.score` builds it; ``explanation`` and ``film_checks`` where another
        stage has measured them.
    pictures : mapping of str to tuple of Picture
        By section; ``training`` and ``films`` are sections of pictures alone.
    """
    return [section for build in _BUILDERS for section in build(metrics, pictures)]


def _not_read(metrics: Mapping[str, Any], pictures: Pictures) -> Iterator[Section]:
    if metrics.get("not_read"):
        rows = tuple((one["file"], one["reason"]) for one in metrics["not_read"])
        table = (Table("Films not read, and why", ("film", "reason"), rows),)
        few = len(rows) <= _SHOWN
        words = (f"{len(rows)} of {metrics['listed']} films listed were not read; no number below counts them.",)
        yield Section("not-read", "Films that were not read", words, (), *((table, ()) if few else ((), table)))


def _targets(metrics: Mapping[str, Any], pictures: Pictures) -> Iterator[Section]:
    rows = metrics.get("targets")
    if rows:
        words = ('"Within error": the 95 % interval holds the target.',)
        yield Section("targets", "Targets", words, tables=(tables.targets(rows),))


def _left_out(metrics: Mapping[str, Any], pictures: Pictures) -> Iterator[Section]:
    if not metrics.get("left_out"):
        return
    about = metrics["about"]
    words = [
        "The network was trained anew without the source, temperature and cut-offs were set without it, and all its films were "
        "measured: this is what a new hospital gets. Cut-offs do not transfer: compare sensitivity and specificity across "
        "rows. The last specificity is what cut-offs set on the films of that very hospital could give."
    ]
    if about["control_members"] < about["members"]:
        words.append(
            f"Each of these was trained with {about['control_members']} of the {about['members']} members, to spare time."
        )
    yield Section(
        "left-out",
        "Hospitals it never saw: one source left out at a time",
        tuple(words),
        pictures.get("left_out", ()),
        (tables.left_out(metrics),),
    )


def _inside(metrics: Mapping[str, Any], pictures: Pictures) -> Iterator[Section]:
    run = metrics["about"]["kind"] == "run"
    title = "Hospitals it learned from: the test films" if run else "Each class"
    words = [f"{tables.film_counts(metrics)}; {metrics['patients']} patients."]
    words += [*summary.confounding(metrics)] if run else []
    yield Section(
        "inside",
        title,
        tuple(words),
        (*pictures.get("confusion", ()), *pictures.get("roc", ())),
        (tables.classes(metrics),),
        (tables.confusion(metrics),),
    )
    points = metrics["about"].get("points")
    chosen = (tables.operating_points(points),) if points else ()
    shown = (*chosen, tables.cut_offs(metrics), tables.answers(metrics))
    words = [
        "A film at or above a cut-off is flagged, between `uncertain_from` and the cut-off it is uncertain. The last column says "
        "what cut-offs set on these very films could give."
    ]
    yield Section("cut-offs", "What the node would answer", tuple(words), (), shown)
    words = [
        f"Expected calibration error {metrics['ece']:.3f}, in 15 equal bins; temperature {metrics['about']['temperature']:g}."
    ]
    yield Section("calibration", "Are the probabilities true?", tuple(words), pictures.get("reliability", ()))
    yield Section("sources", "By source", (), (), (tables.sources(metrics),))


def _controls(metrics: Mapping[str, Any], pictures: Pictures) -> Iterator[Section]:
    if metrics.get("controls"):
        yield Section("controls", "Controls: how much of it is the hospital", (*summary.controls(metrics),))
    if metrics.get("members"):
        words = ("The ensemble's logit is the mean of its members'.",)
        yield Section("members", "Members of the ensemble", words, (), (tables.members(metrics),))


def _fairness(metrics: Mapping[str, Any], pictures: Pictures) -> Iterator[Section]:
    found = metrics.get("fairness")
    if not found:
        return
    shown, folded = _by_attribute(found)
    yield Section(
        "fairness", "Groups of patients", (*summary.fairness(found),), pictures.get("fairness", ()), shown, folded
    )
    for source, held in metrics.get("left_out", {}).items():
        if held["fairness"]["attributes"]:
            shown, folded = _by_attribute(held["fairness"])
            words = (*summary.fairness(held["fairness"]),)
            yield Section(
                f"fairness-{source}", f"Groups of patients where {source} was left out", words, (), shown, folded
            )


def _by_attribute(found: Mapping[str, Any]) -> tuple[tuple[Table, ...], tuple[Table, ...]]:
    held = found["attributes"].items()
    return tuple(tables.fairness(*item) for item in held), tuple(tables.every_metric(*item) for item in held)


def _robustness(metrics: Mapping[str, Any], pictures: Pictures) -> Iterator[Section]:
    found = metrics.get("robustness")
    if found:
        words = (
            f"{found['films']} of the {found['of']} test films, chosen by chance with every class and source in its share, were "
            "altered before the model's own preprocessing, which stretches gray values and so undoes part of it.",
        )
        yield Section(
            "robustness", "Worse films", words, pictures.get("robustness", ()), (), (tables.robustness(metrics),)
        )


def _explanation(metrics: Mapping[str, Any], pictures: Pictures) -> Iterator[Section]:
    found = metrics.get("explanation")
    if found:
        shown, folded = (*tables.explanation(found),), (*tables.explanation(found, whole=True),)
        words = (
            "A heat map is never evidence. Beside the model stand lookers that know nothing of disease: a map no better than "
            "theirs explains nothing.",
            *summary.explanation(found),
        )
        yield Section("explanation", "Where the heat maps look", words, pictures.get("explanation", ()), shown, folded)


def _film_checks(metrics: Mapping[str, Any], pictures: Pictures) -> Iterator[Section]:
    found = metrics.get("film_checks")
    if found:
        of_run = "not_films" in found
        shown = (*(tables.film_checks(found) if of_run else tables.numbers("Film checks", found)),)
        words = (*found.get("words", ()),)
        yield Section("film-checks", "Is it a chest film at all?", words, pictures.get("film_checks", ()), shown)


def _training(metrics: Mapping[str, Any], pictures: Pictures) -> Iterator[Section]:
    if metrics.get("data"):
        yield Section("data", "Films", (), pictures.get("films", ()), (tables.data(metrics),))
    if pictures.get("training"):
        yield Section("training", "How the training went", (), pictures["training"])


def _reading(metrics: Mapping[str, Any], pictures: Pictures) -> Iterator[Section]:
    about = metrics["about"]
    facts = tuple((name, str(about[key])) for name, key in _FACTS.items() if key in about)
    words = (_EXPLAINED.format(resamples=f"{about['resamples']:,}"),)
    yield Section(
        "reading", "How to read these numbers", words, (), (Table("What was measured", ("what", "value"), facts),)
    )


_FACTS = {
    "model": "name",
    "version": "version",
    "run": "run",
    "bundle digest": "digest",
    "weights, SHA-256": "weights_sha256",
    "members": "members",
    "manifest": "manifest",
    "measured again by": "command",
}
_BUILDERS: tuple[Callable[[Mapping[str, Any], Pictures], Iterator[Section]], ...] = (
    _not_read,
    _targets,
    _left_out,
    _inside,
    _controls,
    _fairness,
    _robustness,
    _explanation,
    _film_checks,
    _training,
    _reading,
)
