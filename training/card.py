"""The model card: measured numbers, what they do not show, and what the model is not for.

Its parts are those of Mitchell et al. 2019, Model Cards for Model Reporting, arXiv:1810.03993: details, intended use, factors,
metrics, data, ethical considerations, caveats. Limits stand before any number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from training import summary, tables
from training.calibrate import Calibrated
from training.recipe import Recipe
from training.run import Run

_USE = """## What it is for

A frontal chest radiograph in, a probability of each of {labels} out, and a mark on films that a reader should see first. It is
made for research and teaching: to try a DICOM node end to end, to study how such models fail, and to measure one on films of
your own.

It was **not** made for diagnosis, for ruling anything out, for lateral views, other body parts, other diseases or follow-up, nor
to decide about a patient without a reader. "Not flagged" is not "normal".
"""

_LIMITS = """- **Cut-offs do not transfer**: set on films of these sources they give another sensitivity and specificity elsewhere (see "Sources left
  out"). Measure on films of your own first, and set cut-offs there.
- The heat map shows which places raised the odds of the class against normal, not against the other abnormal class. It is no
  outline of a lesion and **no evidence**. It is empty where normal is the more probable of the two.
- The spread over head dropout is offered beside the probability; nothing acts on it.
"""

_ETHICS = """## Ethical notes

- **It supplements a reader and replaces none.** The answer is a suggestion of what to read first; whoever reads the film decides.
- It has no clearance of any authority and was tried in no clinic. Research and education only, not for diagnosis.
- A wrong "not flagged" may delay care, a wrong flag may harm through needless tests. Who uses it must know both rates at their
  own place before any patient is touched by it.
- It was made of public films, some for non-commercial research alone: see "Films and their terms". Patients in them did not
  choose this use; the films stay out of this bundle but for those in `golden/`, whose terms allow it.
- Groups of patients that the data do not tell apart could not be measured, and may be read worse without anyone having noticed.
"""


def card(run: Run, calibrated: Calibrated, metrics: Mapping[str, Any]) -> str:
    """Return the model card as Markdown.

    Parameters
    ----------
    run : Run
    calibrated : Calibrated
    metrics : mapping
        As `training.run_report.evaluated` gives it.
    """
    recipe = run.recipe
    parts = (
        _head(recipe, metrics),
        _limits(recipe, metrics),
        _targets(metrics),
        _outside(metrics),
        _inside(metrics),
        _controls(metrics),
        _calibration(recipe, calibrated, metrics),
        _fairness(metrics),
        _robustness(metrics),
        _explanation(metrics),
        _film_checks(metrics),
        _data(metrics),
        _training(run, metrics),
        [_ETHICS],
    )
    return "\n".join(line for part in parts for line in part)


def _head(recipe: Recipe, metrics: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {recipe.name} {recipe.version}\n\n**{summary.DISCLAIMER}**\n"
    yield from (f"{sentence}\n" for sentence in summary.headline(metrics))
    yield _USE.format(labels=", ".join(recipe.labels))


def _limits(recipe: Recipe, metrics: Mapping[str, Any]) -> Iterator[str]:
    yield "## Limits, before any table\n"
    yield from (f"- {sentence}" for sentence in (*summary.confounding(metrics), *(f"{note}." for note in recipe.notes)))
    yield _LIMITS


def _targets(metrics: Mapping[str, Any]) -> Iterator[str]:
    if metrics.get("targets"):
        yield "## Targets\n"
        yield '"Within error": the 95 % interval, in brackets, holds the target.\n'
        yield tables.targets(metrics["targets"]).markdown()


def _outside(metrics: Mapping[str, Any]) -> Iterator[str]:
    yield "## Sources left out: what a hospital gets that it never saw\n"
    if not metrics.get("left_out"):
        yield "Not measured: what this model is worth at another hospital is unknown.\n"
        return
    about = metrics["about"]
    yield "Trained without the source, temperature and cut-offs set without it, measured on all its films. A coin has an AUC of 0.5."
    if about["control_members"] < about["members"]:
        yield f"Each was trained with {about['control_members']} of the {about['members']} members."
    yield f"\n{tables.left_out(metrics).markdown()}"


def _inside(metrics: Mapping[str, Any]) -> Iterator[str]:
    values = metrics["metrics"]
    yield "## Hospitals it learned from: the test films\n"
    yield f"{tables.film_counts(metrics)}; {metrics['patients']} patients. Accuracy {tables.interval(values['accuracy'])},"
    yield f"expected calibration error {metrics['ece']:.3f}; 95 % intervals by patient in brackets.\n"
    yield tables.classes(metrics).markdown()
    yield tables.sources(metrics).markdown()
    if metrics.get("members"):
        yield tables.members(metrics).markdown()


def _controls(metrics: Mapping[str, Any]) -> Iterator[str]:
    yield "## Controls\n"
    yield from (f"- {sentence}" for sentence in summary.controls(metrics))
    yield ""


def _calibration(recipe: Recipe, calibrated: Calibrated, metrics: Mapping[str, Any]) -> Iterator[str]:
    wanted = recipe.calibrate
    shares = ", ".join(f"{label} {share:g}" for label, share in calibrated.reference_share.items())
    yield "## Probabilities and cut-offs\n"
    yield f"Set on the validation films: temperature {calibrated.temperature:g}; `cut_off` keeps a sensitivity of {wanted.sensitivity:g},"
    yield f"`uncertain_from` one of {wanted.uncertain_sensitivity:g}. The heat map is drawn at full strength where the evidence of a place reaches"
    yield f"{shares} (percentile {wanted.share_percentile:g} of its peak over films rightly flagged).\n"
    if calibrated.points:
        yield "As chosen on the validation films, with 95 % intervals by patient: other films of the same hospitals would have moved them so far.\n"
        yield tables.operating_points(calibrated.points).markdown()
    yield "On the test films:\n"
    yield tables.cut_offs(metrics).markdown()
    yield tables.answers(metrics).markdown()


def _fairness(metrics: Mapping[str, Any]) -> Iterator[str]:
    yield "## Groups of patients\n"
    found = metrics.get("fairness")
    if not found:
        yield "Fairness by age, sex and view was not measured.\n"
        return
    yield from (f"- {sentence}" for sentence in summary.fairness(found))
    yield "\nWhat differs from the rest stands out; every metric of every group is in `metrics.json` of the run.\n"
    for attribute, groups in found["attributes"].items():
        table = tables.fairness(attribute, groups)
        yield f"{table.caption}:\n\n{table.markdown()}"


def _robustness(metrics: Mapping[str, Any]) -> Iterator[str]:
    found = metrics.get("robustness")
    if found:
        yield "## Worse films\n"
        yield f"{found['films']} of the {found['of']} test films, every class and source in its share, altered before the preprocessing."
        meanings = (f"{name}: {one['meaning']}" for name, one in found["alterations"].items())
        yield f"Strengths are of {'; '.join(meanings)}.\n"
        yield tables.robustness(metrics).markdown()


def _explanation(metrics: Mapping[str, Any]) -> Iterator[str]:
    found = metrics.get("explanation")
    if found:
        yield "## Where the heat maps look\n"
        yield "Beside the model stand lookers that know nothing of disease: a map no better than theirs explains nothing.\n"
        yield from (f"- {sentence}" for sentence in summary.explanation(found))
        yield ""
        for table in tables.explanation(found):
            yield f"{table.caption}:\n\n{table.markdown()}"


def _film_checks(metrics: Mapping[str, Any]) -> Iterator[str]:
    found = metrics.get("film_checks")
    if found:
        yield "## Is it a chest film at all?\n"
        for table in tables.film_checks(found):
            yield f"{table.caption}:\n\n{table.markdown()}"


def _data(metrics: Mapping[str, Any]) -> Iterator[str]:
    yield "## Films and their terms\n"
    yield tables.data(metrics).markdown()
    yield "The films are not part of this bundle, but for `golden/`, where `ATTRIBUTION.md` says whose they are.\n"


def _training(run: Run, metrics: Mapping[str, Any]) -> Iterator[str]:
    recipe = run.recipe
    networks = ", ".join(dict.fromkeys(member.graph for member in recipe.members))
    seeds = ", ".join(str(member.seed) for member in recipe.members)
    yield "## How it was made\n"
    yield f"Run {metrics['about']['run']}: {networks}, {recipe.backbone.activation} activation; seeds {seeds}, logits averaged where there are several."
    yield f"Starting weights: {recipe.backbone.origin}. The same numbers again, with the recipe and films of this run:\n"
    yield "```sh\ncxr-train all --recipe RECIPE --manifest MANIFEST --images FOLDER --bundle NEW_FOLDER\n```\n"
    if recipe.tried:
        yield "Recipes that were tried on the way:\n"
        yield tables.tried(recipe.tried).markdown()
