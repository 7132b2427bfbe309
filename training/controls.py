"""What the inside numbers do not show: sources left out, random weights, and the source told from the features.

Class is nearly source in data put together from several hospitals, so a network does well inside by knowing the hospital. Three
things show how much of it that is: a source it was trained without (the figure to look at), the same recipe from random weights
(what needs no picture of the world), and a linear probe that names the source of normal films (what the features know).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training.calibrate import best_temperature, rules_for, softmax
from training.data import Films
from training.fairness import fairness
from training.measure import Answered, Rules, group, roc
from training.run import Run
from training.statistics import Mask, Rows
from training.trained import Trained


def calibrated_on(model: Run | Trained, rows: Rows, films: Films) -> tuple[float, Rules]:
    """Return the temperature and the rules that a model's answers to these films give."""
    logits, labels = model.logits(rows), films.labels[rows]
    temperature = best_temperature(logits, labels)
    rules = rules_for(softmax(logits / temperature), labels, model.recipe)
    return temperature, {rule.label: rule for rule in rules}


def sources_to_leave_out(films: Films) -> list[str]:
    """Return the sources that hold two classes, without which every class can still be trained and validated."""

    def classes(chosen: Mask) -> set[int]:
        return set(films.labels[chosen].tolist())

    everything = set(films.labels.tolist())
    found = []
    for source in np.unique(films.sources):
        own = films.sources == source
        remaining = all(classes(~own & (films.splits == split)) == everything for split in ("train", "val"))
        if remaining and len(classes(own)) > 1:
            found.append(str(source))
    return found


def left_out(run: Run, source: str) -> dict[str, Any]:
    """Train without a source, set temperature and cut-offs without it, and measure on all its films."""
    films, resamples, other = run.films, run.recipe.evaluate.resamples, run.without(source)
    val = films.rows("val")
    temperature, rules = calibrated_on(other, val[films.sources[val] != source], films)
    rows = np.flatnonzero(films.sources == source)
    answered = _answered(run, other, rows, temperature, rules)
    return {
        **group(answered, resamples),
        "temperature": temperature,
        "cut_offs": {rule.label: rule.cut_off for rule in rules.values()},
        "roc": roc(answered, [index for index in answered.present if index]),
        "fairness": fairness(films, rows, answered, resamples, by_source=False),
    }


def random_control(run: Run) -> dict[str, Any]:
    """Measure the same recipe, trained from random weights, on the same films."""
    temperature, rules = calibrated_on(run.random, run.films.rows("val"), run.films)
    answered = _answered(run, run.random, run.films.rows("test"), temperature, rules)
    return group(answered, run.recipe.evaluate.resamples)


def each_member(run: Run) -> list[dict[str, Any]]:
    """Measure each member of an ensemble by itself, inside; nothing where there is but one."""
    found = []
    for member in run.members if len(run.members) > 1 else ():
        temperature, rules = calibrated_on(member, run.films.rows("val"), run.films)
        answered = _answered(run, member, run.films.rows("test"), temperature, rules)
        settings = member.member
        about = {"graph": settings.graph, "seed": settings.seed, "working_px": settings.working_px}
        measured = group(answered, run.recipe.evaluate.resamples)
        found.append({**about, "network": member.folder.name, "temperature": temperature, **measured})
    return found


def _answered(run: Run, model: Run | Trained, rows: Rows, temperature: float, rules: Rules) -> Answered:
    return Answered.of(run.films, rows, softmax(model.logits(rows) / temperature), run.recipe.labels, rules)


def source_probe(run: Run) -> dict[str, Any]:
    """Tell the source of normal films from their features: balanced accuracy on the test split, and chance.

    Only sources with normal films in both splits take part; with fewer than two there is nothing to tell.
    """
    films = run.films
    sources = [
        str(s)
        for s in np.unique(films.sources)
        if len(_normal(films, [str(s)], "train")) and len(_normal(films, [str(s)], "test"))
    ]
    if len(sources) < 2:
        return {"sources": sources, "balanced_accuracy": None, "chance": None}
    train, test = (_normal(films, sources, split) for split in ("train", "test"))
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500, class_weight="balanced"))
    probe.fit(run.features(train), films.sources[train])
    accuracy = balanced_accuracy_score(films.sources[test], probe.predict(run.features(test)))
    return {"sources": sources, "balanced_accuracy": round(float(accuracy), 4), "chance": round(1 / len(sources), 4)}


def _normal(films: Films, sources: list[str], split: str) -> Rows:
    return np.flatnonzero((films.labels == 0) & (films.splits == split) & np.isin(films.sources, sources))
