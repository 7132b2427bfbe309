"""Where cut-offs lie, what they give, and how surely that is known: one set of formulas for training and for a site.

- ``cut_off``: the highest whole percent that a chosen share of the films of its class reaches (the sensitivity). Reports say
  cut-offs in whole percents, so they are whole percents: what is said is what is done.
- ``uncertain_from``: class-conditional split conformal prediction. A film is answered "not flagged" only where each abnormal
  class is implausible for it, more so than for all but a stated share of the calibration films of that class. Of new films of
  the class at most that share is then lost in "not flagged", whatever the model is worth: of a worse model more films are
  uncertain. It holds on average over calibration samples, for films drawn as those were, and nowhere else.

Intervals are those of a Bayesian bootstrap by patient, with half a patient of either answer added (Jeffreys' prior): 20 of 20
films is then 0.88 to 1, where a plain bootstrap would say 1 to 1.

References
----------
Vovk, Lindsay, Nouretdinov, Gammerman 2003, Mondrian Confidence Machine; Sadinle, Lei, Wasserman 2019, JASA 114, 223-234;
Angelopoulos and Bates 2021, A Gentle Introduction to Conformal Prediction, arXiv:2107.07511, section 4.2.
Rubin 1981, Annals of Statistics 9, 130-134; Brown, Cai, DasGupta 2001, Statistical Science 16, 101-133.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[Any]
Values = npt.NDArray[np.float64]
Interval = tuple[float, float, float]

NOT_FLAGGED, UNCERTAIN, FLAGGED = range(3)
RESAMPLES = 1000
# In a bundle's reference.json: the sensitivity and the share below the band that its cut-offs were chosen for.
CALIBRATED_FOR = "calibrated_for"
# The report says every higher probability as ">99 %", which must not stand below a cut-off of 100 %.
_HIGHEST = 0.99
_PERCENTILES = (2.5, 97.5)
_PLACES = 4
_SLACK = 1e-9


class Points(Protocol):
    """Anything with a cut-off and a band below it, such as `node.bundle.Rule`."""

    @property
    def cut_off(self) -> float:
        """Probability from which a film is flagged."""

    @property
    def uncertain_from(self) -> float:
        """Probability from which a film that is not flagged is uncertain."""


@dataclass(frozen=True)
class Pair:
    """A cut-off and the lower end of the band below it."""

    cut_off: float
    uncertain_from: float


@dataclass(frozen=True)
class OperatingPoint:
    """The cut-off of one abnormal class and what it gives, each as (value, low, high) of a 95 % interval.

    Attributes
    ----------
    cut_off, uncertain_from : Interval
        Probabilities, in whole percents where they were chosen here.
    sensitivity : Interval
        Share of the films of the class at or above `cut_off`.
    specificity : Interval
        Share of the normal films below `cut_off`; NaN without such films.
    coverage : Interval
        Share of the films of the class at or above `uncertain_from`.
    films, patients : int
        Of the class.
    """

    cut_off: Interval
    uncertain_from: Interval
    sensitivity: Interval
    specificity: Interval
    coverage: Interval
    films: int
    patients: int

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class ClassFilms:
    """Films of one abnormal class and normal ones, with the calibrated probability of that class.

    Attributes
    ----------
    own, normal : ndarray, (films,) float
    own_patients, normal_patients : ndarray of str, (films,)
    """

    own: Values
    normal: Values
    own_patients: Column
    normal_patients: Column

    @classmethod
    def of(cls, index: int, labels: Column, probabilities: Column, patients: Column) -> ClassFilms:
        """Take the films of a class, and the normal ones, class 0, out of columns of all films."""
        own, normal = labels == index, labels == 0
        said = np.asarray(probabilities[:, index], np.float64)
        return cls(said[own], said[normal], patients[own], patients[normal])


def place(own: Column, sensitivity: float, share: float) -> Pair:
    """Choose the cut-off and the band of a class on films of it.

    Parameters
    ----------
    own : ndarray, (films,)
        Its calibrated probability, of at least one film.
    sensitivity : float
        Share of films to reach the cut-off, in [0, 1].
    share : float
        Share of films that may stay below the band, in [0, 1].
    """
    cut_off = float(highest_keeping(own, sensitivity)[0])
    # Where more is to be flagged than is to be covered, the cut-off is the lower of the two and there is no band.
    return Pair(cut_off, min(cut_off, float(conformal_bound(own, share)[0])))


def choose(films: ClassFilms, sensitivity: float, share: float) -> OperatingPoint:
    """Choose the cut-off and the band of a class, and say what they give on the films they were chosen on; see `place`."""
    drawn = _patient_weights(films.own_patients, np.random.default_rng(0))
    drawn = drawn[:, np.unique(films.own_patients, return_inverse=True)[1]]
    pair = place(films.own, sensitivity, share)
    cut_offs = np.r_[pair.cut_off, highest_keeping(films.own, sensitivity, drawn)]
    lowest = np.r_[pair.uncertain_from, np.minimum(cut_offs[1:], conformal_bound(films.own, share, drawn))]
    return measured(films, pair, interval(cut_offs), interval(lowest))


def measured(
    films: ClassFilms, points: Points, cut_off: Interval | None = None, uncertain_from: Interval | None = None
) -> OperatingPoint:
    """Say what a cut-off and a band give on these films; they have intervals where they were chosen on them."""
    return OperatingPoint(
        cut_off=cut_off or (points.cut_off,) * 3,
        uncertain_from=uncertain_from or (points.uncertain_from,) * 3,
        sensitivity=interval(rates(films.own >= points.cut_off, films.own_patients)),
        specificity=interval(rates(films.normal < points.cut_off, films.normal_patients)),
        coverage=interval(rates(films.own >= points.uncertain_from, films.own_patients)),
        films=len(films.own),
        patients=len(np.unique(films.own_patients)),
    )


def highest_keeping(probabilities: Column, share: float, weights: Values | None = None) -> Values:
    """Return the highest whole percent that a share of the films reaches, (rows,).

    Parameters
    ----------
    probabilities : ndarray, (films,)
    share : float
    weights : ndarray, (rows, films), optional
        Of each film; one row of ones where it is not given.
    """
    ranked, passed = _ranked(-np.asarray(probabilities, np.float64), weights)
    return whole_percents(-ranked[(passed >= (share - _SLACK) * passed[:, -1:]).argmax(1)])


def conformal_bound(probabilities: Column, share: float, weights: Values | None = None) -> Values:
    """Return the highest whole percent below which at most a share of new films of the class falls, (rows,).

    It is the probability of rank floor(share (n + 1)) among the n films, the lowest first. Where that rank is 0 there are too
    few films to promise anything, and the bound is 0. Parameters as in `highest_keeping`.
    """
    ranked, passed = _ranked(np.asarray(probabilities, np.float64), weights)
    promised = share * (len(ranked) + 1) / len(ranked) * passed[:, -1:]
    rank = (passed <= promised + _SLACK).sum(1)
    return np.where(rank > 0, whole_percents(ranked[np.maximum(rank, 1) - 1]), 0.0)


def fewest_films(share: float) -> int:
    """Return how many films of a class it takes to promise that at most a share of new ones falls below the band."""
    return int(np.ceil(1 / share - _SLACK)) - 1


def whole_percents(probabilities: Column) -> Values:
    """Round down to whole percents, so that a film at the cut-off stays at it, and to 99 % at most."""
    said = np.asarray(probabilities, np.float64)
    percents = np.floor(100 * said)
    percents += (percents + 1) / 100 <= said  # 100 * 0.29 is 28.999...
    rounded: Values = np.minimum(percents / 100, _HIGHEST)
    return rounded


def rates(hit: Column, patients: Column, seed: int = 0) -> Values:
    """Return the share of films that are hit, then draws of what it may be in truth, (1 + RESAMPLES,); NaN without films.

    Parameters
    ----------
    hit : ndarray of bool, (films,)
    patients : ndarray of str, (films,)
    seed : int
        Draws of other films, to be reckoned with together, need another one.
    """
    if not len(hit):
        return np.full(1 + RESAMPLES, np.nan)
    number = np.unique(patients, return_inverse=True)[1]
    hits, films = np.bincount(number, hit), np.bincount(number)
    rng = np.random.default_rng(seed)
    weights = _patient_weights(patients, rng)
    for_it, against = films.mean() * rng.gamma(0.5, size=(2, RESAMPLES))
    drawn: Values = np.r_[hit.mean(), (weights @ hits + for_it) / (weights @ films + for_it + against)]
    return drawn


def interval(values: Values) -> Interval:
    """Return (value, low, high) of a value and its draws; the value is never outside."""
    value, drawn = float(values[0]), values[1:][np.isfinite(values[1:])]
    if not np.isfinite(value) or not len(drawn):
        return value, value, value
    low, high = np.percentile(drawn, _PERCENTILES)
    return round(value, _PLACES), round(min(float(low), value), _PLACES), round(max(float(high), value), _PLACES)


def answers(probabilities: Column, names: Sequence[str], rules: Mapping[str, Points]) -> npt.NDArray[np.int64]:
    """Return what is said of each film: NOT_FLAGGED, UNCERTAIN or FLAGGED.

    Parameters
    ----------
    probabilities : ndarray, (films, classes)
        Calibrated.
    names : sequence of str
        The classes.
    rules : mapping of str to Points
        Of each abnormal class.
    """
    said = np.asarray(probabilities, np.float64)[:, [names.index(name) for name in rules]]
    flagged = (said >= [rule.cut_off for rule in rules.values()]).any(1)
    uncertain = (said >= [rule.uncertain_from for rule in rules.values()]).any(1)
    return np.where(flagged, FLAGGED, np.where(uncertain, UNCERTAIN, NOT_FLAGGED))


def coverage(
    labels: Column, probabilities: Column, weights: Column, names: Sequence[str], rules: Mapping[str, Points]
) -> dict[str, Values]:
    """Return how far the answer "uncertain" keeps its promise, each number (rows,), NaN where no film counts for it.

    Parameters
    ----------
    labels : ndarray of int, (films,)
    probabilities, names, rules
        As in `answers`; class 0 is the normal one.
    weights : ndarray, (rows, films)
        Of each film in each resample; a row of ones for the sample itself.

    Returns
    -------
    dict of str to ndarray
        ``coverage C``: share of the films of abnormal class C at or above its ``uncertain_from``. ``uncertain C``: share of the
        films of class C answered "uncertain". ``definite``: share of all films answered otherwise. ``right when definite``: of
        these, the share that is flagged and abnormal, or not flagged and normal.
    """
    table = np.asarray(weights, np.float64)
    said = answers(probabilities, names, rules)
    definite, right = said != UNCERTAIN, (said == FLAGGED) == (labels != 0)
    found = {
        "definite": ratio(table @ definite, table.sum(1)),
        "right when definite": ratio(table @ (definite & right), table @ definite),
    }
    for index, name in enumerate(names):
        own = labels == index
        found[f"uncertain {name}"] = ratio(table @ (own & ~definite), table @ own)
        if name in rules:
            kept = np.asarray(probabilities[:, index], np.float64) >= rules[name].uncertain_from
            found[f"coverage {name}"] = ratio(table @ (own & kept), table @ own)
    return found


def ratio(part: Values, whole: Values) -> Values:
    """Return part / whole, NaN where the whole is 0."""
    found: Values = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)
    return found


def _ranked(values: Values, weights: Values | None) -> tuple[Values, Values]:
    """Return the values, rising, and the weight up to each, (rows, films)."""
    order = np.argsort(values, kind="stable")
    weights = np.ones((1, len(values))) if weights is None else weights
    return values[order], np.cumsum(weights[:, order], 1)


def _patient_weights(patients: Column, rng: np.random.Generator) -> Values:
    """Return the patients' weights, (RESAMPLES, patients), in draws of a Bayesian bootstrap."""
    return rng.exponential(size=(RESAMPLES, len(np.unique(patients))))
