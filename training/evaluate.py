"""What a run is worth: on the test films, by source and by group of patients, on sources it never saw, on worse films, and beside controls.

The test films are of hospitals that the network learned from. The figure to look at is the source left out: that is what a new
hospital gets.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.progress import track

from training.calibrate import Calibrated, softmax
from training.controls import each_member, left_out, random_control, source_probe, sources_to_leave_out
from training.data import SPLITS, Films
from training.fairness import fairness
from training.measure import Answered, measure
from training.robustness import robustness
from training.run import Run


def evaluate(run: Run, calibrated: Calibrated) -> dict[str, Any]:
    """Measure a run.

    Parameters
    ----------
    run : Run
        Trained; sources left out and the control are trained on first use.
    calibrated : Calibrated

    Returns
    -------
    dict
        JSON-ready: ``about``, ``data``, what `training.measure.measure` gives of the test films, ``members``, ``fairness``,
        ``robustness``, ``left_out`` by source, and ``controls``.
    """
    films, recipe, settings = run.films, run.recipe, run.recipe.evaluate
    rows, rules = films.rows("test"), {rule.label: rule for rule in calibrated.rules}
    probabilities = softmax(run.logits(rows) / calibrated.temperature)
    answered = Answered.of(films, rows, probabilities, recipe.labels, rules)
    found = {
        "about": _about(run, calibrated),
        "data": data(films, recipe.labels),
        **measure(answered, settings.resamples),
        "members": each_member(run),
        "fairness": fairness(films, rows, answered, settings.resamples),
        "controls": {"source_from_normal_films": source_probe(run)},
    }
    if settings.robustness_films:
        found["robustness"] = robustness(run, calibrated)
    if settings.leave_one_source_out:
        sources = sources_to_leave_out(films)
        found["left_out"] = {source: left_out(run, source) for source in track(sources, "sources left out")}
    if settings.random_control:
        found["controls"]["random"] = random_control(run)
    return found


def data(films: Films, labels: tuple[str, ...]) -> dict[str, Any]:
    """Return, by source, how many films of each class and each split there are, and the terms they come under."""
    found = {}
    for source in np.unique(films.sources):
        own = films.sources == source
        found[str(source)] = {
            "films": {name: int((own & (films.labels == index)).sum()) for index, name in enumerate(labels)},
            "splits": {split: int((own & (films.splits == split)).sum()) for split in SPLITS},
            "patients": len(np.unique(films.patients[own])),
            "terms": films.terms.get(str(source), "not stated in the manifest"),
        }
    return found


def _about(run: Run, calibrated: Calibrated) -> dict[str, Any]:
    recipe = run.recipe
    return {
        "kind": "run",
        "name": recipe.name,
        "version": recipe.version,
        "run": run.folder.name,
        "weights_sha256": calibrated.weights_sha256,
        "labels": list(recipe.labels),
        "temperature": calibrated.temperature,
        "rules": {
            rule.label: {"cut_off": rule.cut_off, "uncertain_from": rule.uncertain_from, "urgent": rule.urgent}
            for rule in calibrated.rules
        },
        "points": calibrated.points,
        "sensitivity": recipe.calibrate.sensitivity,
        "uncertain_sensitivity": recipe.calibrate.uncertain_sensitivity,
        "resamples": recipe.evaluate.resamples,
        "members": len(recipe.members),
        "control_members": min(recipe.evaluate.members, len(recipe.members)),
    }
