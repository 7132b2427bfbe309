"""Numbers with 95 % intervals by patient, each computed for all resamples at once.

A resample draws as many patients as there are, with replacement, each with all its films: films of one patient are alike, and
drawn one by one they would make the intervals too narrow. It is a row of film weights, and row 0 is the sample as it is. A
metric takes the whole table of weights and returns one value a row, NaN where the row does not define it (a class that was not
drawn, say).

References
----------
Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapters 8 and 13 (what is drawn is what was sampled; percentile
intervals).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Column = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]
Measure = Callable[[Weights], Mapping[str, Values]]
Interval = list[float]

BINS = 15
_PERCENTILES = (2.5, 97.5)
_PLACES = 4
# Of one table of weights: 20 MB.
_CELLS = 5_000_000
# Sums of shares miss whole numbers by this much.
_SLACK = 1e-6
# A ROC curve of thousands of films looks the same with these many points.
_ROC_POINTS = 200


def bootstrap(measured: Measure, patients: Column, resamples: int, seed: int = 0) -> dict[str, Interval]:
    """Return each metric with its 95 % interval, [value, low, high]; one that the sample does not define is left out.

    Parameters
    ----------
    measured : callable
        From weights, (rows, films) float32, to metrics, each (rows,).
    patients : ndarray of str, (films,)
    resamples : int
    seed : int
    """
    tables = [measured(weights) for weights in draws(patients, resamples, seed)]
    found = {name: interval(np.concatenate([table[name] for table in tables])) for name in tables[0]}
    return {name: triple for name, triple in found.items() if triple is not None}


def draws(patients: Column, resamples: int, seed: int = 0) -> Iterator[Weights]:
    """Yield tables of film weights, (rows, films) float32, no larger than fits: the sample itself, then each resample."""
    number = np.unique(patients, return_inverse=True)[1]
    count = int(number.max()) + 1
    rng = np.random.default_rng(seed)
    yield np.ones((1, len(patients)), np.float32)
    most = max(1, _CELLS // len(patients))
    for first in range(0, resamples, most):
        rows = min(most, resamples - first)
        drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, np.newaxis]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        yield times[:, number].astype(np.float32)


def interval(values: Values) -> Interval | None:
    """Return [value, low, high] of one metric's rows, or None where the sample itself does not define it."""
    if not np.isfinite(values[0]):
        return None
    drawn = values[1:][np.isfinite(values[1:])]
    low, high = np.percentile(drawn, _PERCENTILES) if len(drawn) else (values[0], values[0])
    return [round(float(value), _PLACES) for value in (values[0], low, high)]


def ratio(part: Column, whole: Column) -> Values:
    """Return part / whole, NaN where the whole is 0."""
    shares: Values = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return shares


def auc(scores: Column, positive: Mask, weights: Weights, negative: Mask | None = None) -> Values:
    """Return the area under the ROC curve, (rows,): how often a positive film scores above a negative one, ties half.

    Parameters
    ----------
    scores : ndarray of float, (films,)
    positive : ndarray of bool, (films,)
    weights : ndarray, (rows, films)
    negative : ndarray of bool, optional
        All others, where it is not given.
    """
    own, other = _below(scores, weights, positive, ~positive if negative is None else negative)
    passed = (other[:, 1:] + other[:, :-1]) / 2
    wins = np.einsum("ij,ij->i", np.diff(own, axis=1), passed, dtype=np.float64)
    return ratio(wins, own[:, -1].astype(np.float64) * other[:, -1])


def specificity_at(
    sensitivity: float, scores: Column, positive: Mask, weights: Weights, negative: Mask | None = None
) -> Values:
    """Return the specificity at the highest cut-off that keeps a sensitivity, (rows,); parameters as in `auc`.

    The cut-off is chosen on the films it is measured on: what could be had with a cut-off set at that very place.
    """
    own, other = _below(scores, weights, positive, ~positive if negative is None else negative)
    lost = (1.0 - sensitivity + _SLACK) * own[:, -1:]
    cut_off = (own[:, 1:] <= lost).sum(1, keepdims=True)
    passed = np.take_along_axis(other, np.minimum(cut_off, other.shape[1] - 1), 1)[:, 0]
    return np.where(own[:, -1] > 0, ratio(passed, other[:, -1]), np.nan)


def _below(scores: Column, weights: Weights, positive: Mask, negative: Mask) -> tuple[Weights, Weights]:
    """Return the weight of positive and of negative films below each distinct score, rising, and of all: (rows, scores + 1)."""
    order = np.argsort(scores, kind="stable")
    ranked, ordered = scores[order], weights[:, order]
    ends = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])

    def below(chosen: Mask) -> Weights:
        return np.pad(np.cumsum(ordered * chosen[order], 1)[:, ends], ((0, 0), (1, 0)))

    return below(positive), below(negative)


def roc_points(scores: Column, positive: Mask) -> dict[str, list[float]]:
    """Return the ROC curve as two rising lists, thinned to what a picture shows."""
    own, other = (below[0] for below in _below(scores, np.ones((1, len(scores)), np.float32), positive, ~positive))
    found = np.array([1.0 - other[::-1] / other[-1], 1.0 - own[::-1] / own[-1]])
    kept = np.unique(np.linspace(0, found.shape[1] - 1, _ROC_POINTS).round().astype(int))
    false, true = found[:, kept].round(_PLACES).tolist()
    return {"false_positive_rate": false, "true_positive_rate": true}


def reliability(labels: Column, probabilities: Column) -> dict[str, list[Any]]:
    """Return, for equal bins of the highest probability, how many films, their mean confidence and how many are right."""
    confidence, right = probabilities.max(1).astype(float), probabilities.argmax(1) == labels
    number = np.minimum((confidence * BINS).astype(int), BINS - 1)
    held = np.unique(number)
    return {
        "from": [round(float(b / BINS), _PLACES) for b in held],
        "films": [int((number == b).sum()) for b in held],
        "confidence": [round(float(confidence[number == b].mean()), _PLACES) for b in held],
        "accuracy": [round(float(right[number == b].mean()), _PLACES) for b in held],
    }


def expected_calibration_error(labels: Column, probabilities: Column) -> float:
    """Return the mean gap between confidence and accuracy over equal bins of confidence (Guo et al. 2017)."""
    bins = reliability(labels, probabilities)
    gaps = np.abs(np.subtract(bins["confidence"], bins["accuracy"]))
    return round(float(np.average(gaps, weights=bins["films"])), _PLACES)
