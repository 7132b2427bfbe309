"""What the model is worth: on the test films, by source, on sources it never saw, and beside controls.

Inside accuracy proves little here, because class is nearly source in these data: a head on a random backbone does well too.
The figure to look at is the source left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, precision_recall_fscore_support, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from node.bundle import Rule
from training.calibrate import Calibrated, best_temperature, rules_for, softmax
from training.data import Films
from training.features import Features
from training.fit import fit_head
from training.run import Rows, Run

Weights = npt.NDArray[np.float64]
Measure = Callable[[Weights], Mapping[str, float]]
_ECE_BINS = 15


def evaluate(run: Run, calibrated: Calibrated) -> dict[str, Any]:
    """Measure a run on its test films, on sources left out, and beside its controls."""
    films, recipe = run.films, run.recipe
    rows = films.rows("test")
    logits = run.head.logits(np.asarray(run.plain[rows]))
    rules = {rule.label: rule for rule in calibrated.rules}
    probabilities = softmax(logits / calibrated.temperature)
    found = measure(films, rows, probabilities, recipe.labels, rules, recipe.evaluate.resamples)
    if recipe.evaluate.leave_one_source_out:
        found["left_out"] = {source: left_out(run, source) for source in sources_to_leave_out(films)}
    found["controls"] = {"source_from_normal_films": source_probe(films, run.plain)}
    if recipe.evaluate.random_control:
        found["controls"]["random_backbone"] = random_backbone(run)
    return found


def measure(
    films: Films, rows: Rows, probabilities: Features, names: tuple[str, ...], rules: Mapping[str, Rule], resamples: int
) -> dict[str, Any]:
    """Measure calibrated probabilities of films, all together and by source, with 95 % intervals by patient.

    Parameters
    ----------
    films : Films
    rows : ndarray of int
        Positions of the films measured.
    probabilities : ndarray, (rows, classes) float32
    names : tuple of str
    rules : mapping of str to Rule
    resamples : int
    """

    def of(chosen: npt.NDArray[np.bool_]) -> dict[str, Any]:
        labels, said = films.labels[rows][chosen], probabilities[chosen]
        counts = {name: int((labels == index).sum()) for index, name in enumerate(names)}
        patients = films.patients[rows][chosen]
        intervals = bootstrap(lambda weights: _metrics(labels, said, weights, names, rules), patients, resamples)
        return {"films": counts, "patients": len(np.unique(patients)), "metrics": intervals}

    everything = of(np.ones(len(rows), bool))
    by_source = {str(source): of(films.sources[rows] == source) for source in np.unique(films.sources[rows])}
    return {**everything, "ece": expected_calibration_error(films.labels[rows], probabilities), "by_source": by_source}


def bootstrap(measured: Measure, patients: npt.NDArray[np.str_], resamples: int) -> dict[str, list[float]]:
    """Return each metric with its 95 % interval: [value, low, high]; patients are drawn, with all their films."""
    number = np.unique(patients, return_inverse=True)[1]
    whole = measured(np.ones(len(patients)))
    rng = np.random.default_rng(0)
    count = number.max() + 1
    drawn = [
        measured(rng.multinomial(count, np.full(count, 1 / count))[number].astype(float)) for _ in range(resamples)
    ]
    return {
        name: [
            round(float(v), 4) for v in (value, *np.nanpercentile([d.get(name, np.nan) for d in drawn], (2.5, 97.5)))
        ]
        for name, value in whole.items()
    }


def expected_calibration_error(labels: Rows, probabilities: Features) -> float:
    """Return the mean gap between confidence and accuracy over equal bins of confidence (Guo et al. 2017)."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    bins = np.minimum((confidence * _ECE_BINS).astype(int), _ECE_BINS - 1)
    gaps = [abs(confidence[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    return round(float(sum(gaps)), 4)


def sources_to_leave_out(films: Films) -> list[str]:
    """Return the sources that hold two classes, without which every class can still be trained and validated."""

    def classes(chosen: npt.NDArray[np.bool_]) -> set[int]:
        return set(films.labels[chosen].tolist())

    everything = classes(films.sources != "")
    found = []
    for source in np.unique(films.sources):
        own = films.sources == source
        remaining = all(classes(~own & (films.splits == split)) == everything for split in ("train", "val"))
        if remaining and len(classes(own)) > 1:
            found.append(str(source))
    return found


def left_out(run: Run, source: str) -> dict[str, Any]:
    """Train without a source, set the cut-off without it, and measure on all its films."""
    films, recipe = run.films, run.recipe
    head = fit_head(films, run.copies, recipe, left_out=source).head
    val = films.rows("val")[films.sources[films.rows("val")] != source]
    inside = head.logits(np.asarray(run.plain[val]))
    temperature = best_temperature(inside, films.labels[val])
    rules = {rule.label: rule for rule in rules_for(softmax(inside / temperature), films.labels[val], recipe)}
    rows = np.flatnonzero(films.sources == source)
    probabilities = softmax(head.logits(np.asarray(run.plain[rows])) / temperature)
    labels, patients = films.labels[rows], films.patients[rows]
    return {
        "films": {name: int((labels == index).sum()) for index, name in enumerate(recipe.labels)},
        "metrics": bootstrap(
            lambda weights: _metrics(labels, probabilities, weights, recipe.labels, rules),
            patients,
            recipe.evaluate.resamples,
        ),
    }


def random_backbone(run: Run) -> dict[str, Any]:
    """Train the same head on a random backbone, and measure it on the same films."""
    films, recipe, control = run.films, run.recipe, run.random
    features = [control.plain]
    head = fit_head(films, features, recipe).head
    rows = films.rows("test")
    return measure(
        films, rows, softmax(head.logits(np.asarray(features[0][rows]))), recipe.labels, {}, recipe.evaluate.resamples
    )


def source_probe(films: Films, features: Features) -> dict[str, Any]:
    """Tell the source of normal films from their features: balanced accuracy on the test split, and chance."""
    normal = films.labels == 0
    both = [s for s in np.unique(films.sources) if _has(films, s, "train") and _has(films, s, "test")]
    train, test = (
        np.flatnonzero(normal & (films.splits == split) & np.isin(films.sources, both)) for split in ("train", "test")
    )
    if len(both) < 2:
        return {"sources": [str(s) for s in both], "balanced_accuracy": None, "chance": None}
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500, class_weight="balanced"))
    probe.fit(features[train], films.sources[train])
    accuracy = balanced_accuracy_score(films.sources[test], probe.predict(features[test]))
    return {
        "sources": [str(s) for s in both],
        "balanced_accuracy": round(float(accuracy), 4),
        "chance": round(1 / len(both), 4),
    }


def _has(films: Films, source: str, split: str) -> bool:
    return bool(((films.labels == 0) & (films.sources == source) & (films.splits == split)).any())


def _metrics(
    labels: Rows, probabilities: Features, weights: Weights, names: tuple[str, ...], rules: Mapping[str, Rule]
) -> dict[str, float]:
    """Return every metric that these films allow: one of a class that is absent, or alone, has no meaning."""
    said = probabilities.argmax(1)
    found = {"accuracy": float(np.average(said == labels, weights=weights))}
    present = [index for index in range(len(names)) if weights[labels == index].sum() > 0]
    scores = precision_recall_fscore_support(labels, said, labels=present, sample_weight=weights, zero_division=0.0)
    for index, precision, recall, f1 in zip(present, *scores[:3], strict=True):
        name = names[index]
        found |= {f"precision {name}": precision, f"recall {name}": recall, f"f1 {name}": f1}
        if len(present) > 1:
            found[f"auc {name}"] = roc_auc_score(labels == index, probabilities[:, index], sample_weight=weights)
        if name in rules:
            reached = probabilities[:, index] >= rules[name].cut_off
            found[f"sensitivity {name}"] = float(np.average(reached[labels == index], weights=weights[labels == index]))
            if 0 in present:
                found[f"specificity {name}"] = float(np.average(~reached[labels == 0], weights=weights[labels == 0]))
    return found
