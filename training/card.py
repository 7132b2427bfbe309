"""The model card: measured numbers, and what they do not show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from training.calibrate import Calibrated
from training.run import Run

_HEAD = """# {name} {version}

**It supplements and never replaces a reader. Research and education only, not for diagnosis.**

## What it is for

A frontal chest radiograph of a patient in, a probability of each of {labels} out, and a mark on films that a reader should see first.
{backbone}.
Head: global average pooling, BatchNormalization, dropout, one dense layer. Only the head was trained.

It was not made for lateral views, other body parts, other diseases, follow-up, or ruling anything out. "Not flagged" is not "normal".

## Limits, before any number

{limits}
- Thresholds do not transfer: set on films of these sources, they give another sensitivity and specificity elsewhere (see "sources left out").
- The heat map shows which places raised the odds of the class against normal, not against the other abnormal class. It is no
  outline of a lesion and no evidence. It is empty where normal is the more probable of the two.
- The spread over head dropout is offered beside the probability; nothing acts on it.
- Fairness by age, sex and view was not measured.
"""


def card(run: Run, calibrated: Calibrated, metrics: Mapping[str, Any]) -> str:
    """Return the model card as Markdown."""
    return "\n".join(
        [
            _head(run),
            *_inside(metrics, run.recipe.labels),
            *_by_source(metrics, run.recipe.labels),
            *_left_out(metrics, run.recipe.labels),
            *_controls(metrics),
            *_calibration(run, calibrated, metrics),
            *_data(run),
        ]
    )


def _head(run: Run) -> str:
    recipe = run.recipe
    backbone = f"Backbone: EfficientNetB0 graph, {recipe.backbone.activation} activation, frozen; its weights: {recipe.backbone.origin}"
    return _HEAD.format(
        name=recipe.name,
        version=recipe.version,
        labels=", ".join(recipe.labels),
        backbone=backbone,
        limits="\n".join(f"- {limit}" for limit in [*_confounding(run), *(f"{note}." for note in recipe.notes)]),
    )


def _confounding(run: Run) -> Iterator[str]:
    """Say which classes no source holds together: what tells them apart may be the source."""
    films, labels = run.films, run.recipe.labels
    held = {str(source): set(films.labels[films.sources == source].tolist()) for source in sorted(set(films.sources))}
    if all(len(classes) == len(labels) for classes in held.values()):
        return
    of_source = "; ".join(
        f"{source}: {', '.join(labels[c] for c in sorted(classes))}" for source, classes in held.items()
    )
    yield f"**Class goes with source in these data** ({of_source}). Accuracy inside the data proves little: see the controls."
    for one, other in combinations(range(len(labels)), 2):
        if not any({one, other} <= classes for classes in held.values()):
            yield f"**No source holds both {labels[one].lower()} and {labels[other].lower()}**: what tells the two apart here may be the hospital."


def _inside(metrics: Mapping[str, Any], labels: tuple[str, ...]) -> Iterator[str]:
    values = metrics["metrics"]
    yield from ("## Inside: the test split, hospitals that were in training", "")
    yield f"{_films(metrics)}, {metrics['patients']} patients; 95 % intervals by patient in brackets."
    yield ""
    yield f"Accuracy {_interval(values['accuracy'])}, expected calibration error {metrics['ece']:.3f}."
    yield ""
    yield from _table(
        ["class", "precision", "recall", "F1", "AUC"],
        [
            [name, *(_interval(values.get(f"{m} {name}")) for m in ("precision", "recall", "f1", "auc"))]
            for name in labels
        ],
    )


def _by_source(metrics: Mapping[str, Any], labels: tuple[str, ...]) -> Iterator[str]:
    yield from ("## By source, test split", "")
    yield from _table(
        ["source", "films", "accuracy", *_flag_headings(labels)],
        [
            [source, _films(found), _interval(found["metrics"]["accuracy"]), *_flags(found["metrics"], labels)]
            for source, found in metrics["by_source"].items()
        ],
    )


def _left_out(metrics: Mapping[str, Any], labels: tuple[str, ...]) -> Iterator[str]:
    if not metrics.get("left_out"):
        yield from (
            "## Sources left out",
            "",
            "Not measured: what this model is worth at another hospital is unknown.",
            "",
        )
        return
    yield from ("## Sources left out: the figure to look at", "")
    yield "Trained without the source, cut-offs set without it, measured on all its films. An AUC of 0.5 is a coin."
    yield ""
    yield from _table(
        ["source left out", "films", *_flag_headings(labels)],
        [[source, _films(found), *_flags(found["metrics"], labels)] for source, found in metrics["left_out"].items()],
    )


def _controls(metrics: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Controls", "")
    probe = metrics["controls"]["source_from_normal_films"]
    if probe["balanced_accuracy"] is not None:
        sources = ", ".join(probe["sources"])
        yield f"- The source of a *normal* film ({sources}) is told from the model's features with balanced accuracy"
        yield f"  {probe['balanced_accuracy']:.3f}, where chance is {probe['chance']:.3f}: the features know the hospital."
    random = metrics["controls"].get("random_backbone")
    if random:
        aucs = ", ".join(f"{name[4:]} {v[0]:.3f}" for name, v in random["metrics"].items() if name.startswith("auc "))
        yield f"- The same head on a **random** backbone, unaltered films: accuracy {_interval(random['metrics']['accuracy'])}, AUC {aucs}, inside."
        yield "  That much of the inside numbers needs no knowledge of disease."
    yield ""


def _calibration(run: Run, calibrated: Calibrated, metrics: Mapping[str, Any]) -> Iterator[str]:
    wanted = run.recipe.calibrate
    yield from ("## Calibration, on the validation split", "")
    yield f"Temperature {calibrated.temperature:g}. `cut_off` is the highest probability that keeps a sensitivity of"
    yield f"{wanted.sensitivity:.0%} on validation films of the class, `uncertain_from` the highest that keeps {wanted.uncertain_sensitivity:.0%}. The map's"
    yield f"reference share is the {wanted.share_percentile:g}th percentile of the peak over validation films of the class that reach the cut-off."
    yield ""
    yield from _table(
        [
            "label",
            "cut_off",
            "uncertain_from",
            "urgent",
            "reference share",
            "test sensitivity",
            "test specificity (normal films)",
        ],
        [
            [
                rule.label,
                f"{rule.cut_off:g}",
                f"{rule.uncertain_from:g}",
                "yes" if rule.urgent else "no",
                f"{calibrated.reference_share[rule.label]:g}",
                _interval(metrics["metrics"].get(f"sensitivity {rule.label}")),
                _interval(metrics["metrics"].get(f"specificity {rule.label}")),
            ]
            for rule in calibrated.rules
        ],
    )


def _data(run: Run) -> Iterator[str]:
    films, recipe = run.films, run.recipe
    yield from ("## Data", "")
    rows = []
    for source in sorted(set(films.sources)):
        own = films.sources == source
        counts = [f"{int((own & (films.labels == index)).sum())}" for index in range(len(recipe.labels))]
        splits = " / ".join(str(int((own & (films.splits == split)).sum())) for split in ("train", "val", "test"))
        rows.append([str(source), *counts, splits, films.terms.get(str(source), "not stated in the manifest")])
    yield from _table(["source", *recipe.labels, "train / val / test", "license, as the manifest states it"], rows)
    yield f"Run {recipe.digest()}, seed {recipe.seed}, one run. The films are not part of this bundle, but for `golden/`."
    yield ""


def _flag_headings(labels: tuple[str, ...]) -> list[str]:
    return [f"{label}: AUC; sensitivity; specificity" for label in labels[1:]]


def _flags(values: Mapping[str, list[float]], labels: tuple[str, ...]) -> list[str]:
    cells = []
    for label in labels[1:]:
        found = [values.get(f"{metric} {label}") for metric in ("auc", "sensitivity", "specificity")]
        cells.append("; ".join(_interval(value) for value in found) if any(found) else "-")
    return cells


def _films(found: Mapping[str, Any]) -> str:
    return ", ".join(f"{count} {name}" for name, count in found["films"].items() if count)


def _interval(value: list[float] | None) -> str:
    return "-" if value is None else f"{value[0]:.3f} [{value[1]:.3f}, {value[2]:.3f}]"


def _table(headings: list[str], rows: list[list[str]]) -> Iterator[str]:
    for row in (headings, ["---"] * len(headings), *rows):
        yield f"| {' | '.join(row)} |"
    yield ""
