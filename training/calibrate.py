"""Temperature, cut-offs and the heat map's scale, all chosen on the validation films.

- temperature: least negative log likelihood (Guo et al. 2017, arXiv:1706.04599);
- cut_off of an abnormal label, from which it is flagged: keeps the recipe's sensitivity for it;
- uncertain_from, from which it is uncertain: at most the share that the recipe's higher sensitivity leaves over stays below, by
  conformal prediction (both, and their intervals, are those of `node.operating_points`);
- reference share: a high percentile of the map's peak over films rightly flagged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from node import network
from node.bundle import Rule, weights_digest
from node.infer import triage
from node.operating_points import CALIBRATED_FOR, ClassFilms, OperatingPoint, choose, place
from training.recipe import Recipe, file_digest
from training.run import Array, Rows, Run

_TEMPERATURES = np.geomspace(0.2, 5.0, 641)
_LEAST_SHARE = 1e-3
_PERCENTILES = (5, 25, 50, 75, 90, 95)


@dataclass(frozen=True)
class Calibrated:
    """What the calibration found, bound to the weights it was made for.

    Attributes
    ----------
    weights_sha256 : str
        Of all members, as `node.bundle.weights_digest` gives it.
    temperature : float
    rules : tuple of Rule
        Of each abnormal label.
    reference_share : dict of str to float
        By abnormal label, the evidence at a map's peak that is drawn as 1.
    reference : dict
        How the validation films were distributed: what a running node compares itself with.
    points : dict of str to dict
        By abnormal label, its `node.operating_points.OperatingPoint` on the validation films, as JSON.
    """

    weights_sha256: str
    temperature: float
    rules: tuple[Rule, ...]
    reference_share: dict[str, float]
    reference: dict[str, Any]
    points: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return asdict(self)

    @classmethod
    def from_json(cls, form: dict[str, Any]) -> Calibrated:
        """Build from what ``to_json`` gave."""
        return cls(**{**form, "rules": tuple(Rule(**rule) for rule in form["rules"])})


def calibrate(run: Run) -> Calibrated:
    """Calibrate a run's trained networks on its validation films."""
    films, recipe = run.films, run.recipe
    rows = films.rows("val")
    labels, logits = films.labels[rows], run.logits(rows)
    temperature = best_temperature(logits, labels)
    probabilities = softmax(logits / temperature)
    rules = rules_for(probabilities, labels, recipe)
    points = points_for(probabilities, labels, films.patients[rows], recipe)
    peaks = network.evidence(run.shares(rows)).max((1, 2))
    shares = _reference_shares(peaks, probabilities, labels, rules, recipe)
    return Calibrated(
        weights_sha256=weights_digest([file_digest(member.weights) for member in run.members]),
        temperature=temperature,
        rules=rules,
        reference_share=shares,
        reference=_reference(probabilities, _answers(probabilities, rules, recipe), peaks, shares, recipe),
        points={label: point.to_json() for label, point in points.items()},
    )


def softmax(logits: Array) -> Array:
    """Return the softmax over the last axis."""
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    total: Array = raised / raised.sum(-1, keepdims=True)
    return total


def best_temperature(logits: Array, labels: Rows) -> float:
    """Return the temperature of the least negative log likelihood."""
    truth = np.arange(len(labels)), labels
    losses = [-np.log(softmax(logits / t)[truth] + 1e-12).mean() for t in _TEMPERATURES]
    return round(float(_TEMPERATURES[int(np.argmin(losses))]), 4)


def rules_for(probabilities: Array, labels: Rows, recipe: Recipe) -> tuple[Rule, ...]:
    """Return the rule of each abnormal class."""
    sensitivity, share = _wanted(recipe)
    rules = []
    for index, cls in list(enumerate(recipe.classes))[1:]:
        pair = place(probabilities[labels == index, index], sensitivity, share)
        rules.append(Rule(cls.name, pair.cut_off, pair.uncertain_from, cls.urgent))
    return tuple(rules)


def points_for(probabilities: Array, labels: Rows, patients: Any, recipe: Recipe) -> dict[str, OperatingPoint]:
    """Return, by abnormal class, what its rule gives on these films and how surely that is known."""
    return {
        name: choose(ClassFilms.of(index, labels, probabilities, patients), *_wanted(recipe))
        for index, name in list(enumerate(recipe.labels))[1:]
    }


def _wanted(recipe: Recipe) -> tuple[float, float]:
    """Return the sensitivity of the cut-offs, and the share of films that may stay below the band."""
    return recipe.calibrate.sensitivity, round(1.0 - recipe.calibrate.uncertain_sensitivity, 9)


def _answers(probabilities: Array, rules: Sequence[Rule], recipe: Recipe) -> list[str]:
    by_label = {rule.label: rule for rule in rules}
    return [str(triage(dict(zip(recipe.labels, map(float, row), strict=True)), by_label)[0]) for row in probabilities]


def _reference_shares(
    peaks: Array, probabilities: Array, labels: Rows, rules: Sequence[Rule], recipe: Recipe
) -> dict[str, float]:
    shares = {}
    for index, rule in enumerate(rules, start=1):
        right = peaks[(labels == index) & (probabilities[:, index] >= rule.cut_off), index]
        share = float(np.percentile(right, recipe.calibrate.share_percentile))
        # A network that learned nothing may flag films whose map is empty: nothing is drawn then, and nothing divided by 0.
        shares[rule.label] = round(max(share, _LEAST_SHARE), 5)
    return shares


def _reference(
    probabilities: Array, answers: list[str], peaks: Array, shares: dict[str, float], recipe: Recipe
) -> dict[str, Any]:
    """Return what a running node compares itself with: the distributions over the validation films."""
    said = np.array(answers)
    edges = np.linspace(0.0, 1.0, 21)
    on_scale = {name: np.minimum(1.0, peaks[:, recipe.labels.index(name)] / share) for name, share in shares.items()}
    return {
        "split": "val",
        "films": len(said),
        CALIBRATED_FOR: dict(zip(("sensitivity", "uncertain_share"), _wanted(recipe), strict=True)),
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
