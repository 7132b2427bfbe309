"""Temperature, cut-offs and the heat map's scale, all chosen on the validation films.

- temperature: least negative log likelihood (Guo et al. 2017, arXiv:1706.04599);
- cut_off of an abnormal label: the highest probability that keeps the recipe's sensitivity for it;
- uncertain_from: the highest that keeps the recipe's higher, uncertain sensitivity;
- reference share: a high percentile of the map's peak over films rightly flagged.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import track

from node import network
from node.bundle import Rule
from node.infer import triage
from training.backbone import starting_model
from training.features import Features, pictures
from training.recipe import Recipe, file_digest
from training.run import Rows, Run

_TEMPERATURES = np.geomspace(0.2, 5.0, 641)
_PLACES = 1e4
_PERCENTILES = (5, 25, 50, 75, 90, 95)


@dataclass(frozen=True)
class Calibrated:
    """What the calibration found, bound to the weights it was made for."""

    weights_sha256: str
    temperature: float
    rules: tuple[Rule, ...]
    reference_share: dict[str, float]
    reference: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return asdict(self)

    @classmethod
    def from_json(cls, form: dict[str, Any]) -> Calibrated:
        """Build from what ``to_json`` gave."""
        return cls(**{**form, "rules": tuple(Rule(**rule) for rule in form["rules"])})


def calibrate(run: Run) -> Calibrated:
    """Calibrate a run's trained network on its validation films."""
    films, recipe = run.films, run.recipe
    rows = films.rows("val")
    logits = run.head.logits(np.asarray(run.plain[rows]))
    temperature = best_temperature(logits, films.labels[rows])
    probabilities = softmax(logits / temperature)
    rules = rules_for(probabilities, films.labels[rows], recipe)
    answers = [
        triage(dict(zip(recipe.labels, map(float, row), strict=True)), _by_label(rules)) for row in probabilities
    ]
    peaks = _peaks(run, rows)
    shares = _reference_shares(peaks, probabilities, films.labels[rows], rules, recipe)
    reference = _reference(probabilities, answers, peaks, shares, recipe)
    return Calibrated(file_digest(run.weights), temperature, rules, shares, reference)


def softmax(logits: Features) -> Features:
    """Return the softmax over the last axis."""
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    total: Features = raised / raised.sum(-1, keepdims=True)
    return total


def best_temperature(logits: Features, labels: Rows) -> float:
    """Return the temperature of the least negative log likelihood."""
    truth = np.arange(len(labels)), labels
    losses = [-np.log(softmax(logits / t)[truth] + 1e-12).mean() for t in _TEMPERATURES]
    return round(float(_TEMPERATURES[int(np.argmin(losses))]), 4)


def rules_for(probabilities: Features, labels: Rows, recipe: Recipe) -> tuple[Rule, ...]:
    """Return the rule of each abnormal class."""
    wanted = recipe.calibrate
    rules = []
    for index, cls in list(enumerate(recipe.classes))[1:]:
        own = probabilities[labels == index, index]
        cut_off = highest_keeping(own, wanted.sensitivity)
        uncertain_from = highest_keeping(own, max(wanted.sensitivity, wanted.uncertain_sensitivity))
        rules.append(Rule(cls.name, cut_off, uncertain_from, cls.urgent))
    return tuple(rules)


def highest_keeping(probabilities: npt.NDArray[np.float32], sensitivity: float) -> float:
    """Return the highest cut-off, to four places, that this share of the probabilities reaches."""
    ranked = np.sort(probabilities)[::-1]
    reached = ranked[max(0, int(np.ceil(sensitivity * len(ranked))) - 1)]
    return float(np.floor(float(reached) * _PLACES) / _PLACES)


def _by_label(rules: tuple[Rule, ...]) -> dict[str, Rule]:
    return {rule.label: rule for rule in rules}


def _peaks(run: Run, rows: Rows) -> Features:
    """Return the peak of each film's map for each class, before scaling, (films, classes)."""
    recipe, size = run.recipe, run.recipe.features.batch
    extractor = network.feature_map(starting_model(recipe))
    batches = [rows[first : first + size] for first in range(0, len(rows), size)]
    parts = [
        network.evidence(run.head.shares(extractor.predict_on_batch(pictures(run.films, batch, recipe)))).max((1, 2))
        for batch in track(batches, "heat maps: val")
    ]
    return np.concatenate(parts)


def _reference_shares(
    peaks: Features, probabilities: Features, labels: Rows, rules: tuple[Rule, ...], recipe: Recipe
) -> dict[str, float]:
    shares = {}
    for index, rule in enumerate(rules, start=1):
        right = peaks[(labels == index) & (probabilities[:, index] >= rule.cut_off), index]
        shares[rule.label] = round(float(np.percentile(right, recipe.calibrate.share_percentile)), 5)
    return shares


def _reference(
    probabilities: Features, answers: list[Any], peaks: Features, shares: dict[str, float], recipe: Recipe
) -> dict[str, Any]:
    """Return what a running node compares itself with: the distributions over the validation films."""
    said = np.array([str(answer) for answer, _ in answers])
    edges = np.linspace(0.0, 1.0, 21)
    on_scale = {name: np.minimum(1.0, peaks[:, recipe.labels.index(name)] / share) for name, share in shares.items()}
    return {
        "split": "val",
        "films": len(said),
        "probability_edges": edges.round(2).tolist(),
        "probability_counts": {
            name: np.histogram(probabilities[:, index], edges)[0].tolist() for index, name in enumerate(recipe.labels)
        },
        "triage": {answer: int((said == answer).sum()) for answer in sorted(set(said))},
        "map_peak_percentiles": list(_PERCENTILES),
        "map_peak": {
            answer: {
                name: np.percentile(peak[said == answer], _PERCENTILES).round(4).tolist()
                for name, peak in on_scale.items()
            }
            for answer in sorted(set(said))
        },
    }
