"""Every metric of a set of films, with its 95 % interval by patient.

A metric of a class that is absent, or alone where it takes two, is left out. Names of metrics::

    accuracy, precision C, recall C, f1 C, auc C       of class C against all others; "macro" is the mean over classes present
    sensitivity C, specificity C                       at the cut-off of an abnormal class; specificity is over normal films
    sensitivity any, specificity any                   of a flag of whatever kind, on abnormal and on normal films
    uncertain                                          share of films answered "uncertain"
    specificity at 0.90 C                              over normal films, at the cut-off that keeps 90 % sensitivity on these
                                                       very films: the form of WHO's bar for triage of tuberculosis
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from node.bundle import Rule
from node.infer import triage
from node.study import Triage
from training.data import Films
from training.statistics import (
    Column,
    Mask,
    Measure,
    Rows,
    Values,
    Weights,
    auc,
    bootstrap,
    expected_calibration_error,
    ratio,
    reliability,
    roc_points,
    specificity_at,
)

MACRO = "macro"
# WHO 2014, High-priority target product profiles for new tuberculosis diagnostics: the community-based triage test.
WHO_SENSITIVITY, WHO_SPECIFICITY = 0.90, 0.70
AT_WHO = f"specificity at {WHO_SENSITIVITY:.2f}"
_FLAGS = (str(Triage.URGENT), str(Triage.FLAGGED))

Rules = Mapping[str, Rule]
Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Answered:
    """Films with what a model says of them, as columns of equal length.

    Attributes
    ----------
    names : tuple of str
        The classes, the normal one first.
    rules : mapping of str to Rule
        Of each abnormal label; empty where there are no cut-offs.
    labels : ndarray of int
        Index of the class.
    sources, patients : ndarray of str
    probabilities : ndarray, (films, classes) float32
        Calibrated.
    said : ndarray of str
        The answers, values of `Triage`.
    """

    names: tuple[str, ...]
    rules: Rules
    labels: Column
    sources: Column
    patients: Column
    probabilities: Probabilities
    said: Column

    @classmethod
    def of(
        cls,
        films: Films,
        rows: Rows,
        probabilities: Probabilities,
        names: tuple[str, ...],
        rules: Rules,
        said: Column | None = None,
    ) -> Answered:
        """Take the columns from films; `said` is what the rules make of the probabilities, where it is not given."""
        if said is None:
            said = _by_rules(probabilities, names, rules)
        labels, sources, patients = films.labels[rows], films.sources[rows], films.patients[rows]
        return cls(names, rules, labels, sources, patients, probabilities, said)

    def where(self, chosen: Mask) -> Answered:
        """Return some of the films."""
        columns = ("labels", "sources", "patients", "probabilities", "said")
        return replace(self, **{name: getattr(self, name)[chosen] for name in columns})

    @property
    def present(self) -> list[int]:
        """The classes that have films here."""
        return [index for index in range(len(self.names)) if (self.labels == index).any()]


def measure(answered: Answered, resamples: int) -> dict[str, Any]:
    """Measure films, all together and by source.

    Returns
    -------
    dict
        JSON-ready: of the whole as `group` gives it, with ``confusion`` (rows are the truth), ``answers`` by class, ``roc`` by
        class, ``reliability``, and ``by_source``.
    """
    sources = answered.sources
    return {
        **group(answered, resamples),
        "confusion": confusion(answered).tolist(),
        "answers": _answer_counts(answered),
        "roc": roc(answered, answered.present),
        "reliability": reliability(answered.labels, answered.probabilities),
        "by_source": {
            str(source): group(answered.where(sources == source), resamples) for source in np.unique(sources)
        },
    }


def group(answered: Answered, resamples: int) -> dict[str, Any]:
    """Return films by class, patients, metrics with intervals and the expected calibration error of one set of films."""
    return {
        "films": {name: int((answered.labels == index).sum()) for index, name in enumerate(answered.names)},
        "patients": len(np.unique(answered.patients)),
        "metrics": bootstrap(metrics_of(answered), answered.patients, resamples),
        "ece": expected_calibration_error(answered.labels, answered.probabilities),
    }


def metrics_of(answered: Answered) -> Measure:
    """Return the function from weights, (rows, films), to every metric that these films define, each (rows,)."""
    names = [answered.names[index] for index in answered.present]
    counted = _counted(answered) | (_counted_flags(answered) if answered.rules else {})
    table = np.stack([*counted.values()], 1).astype(np.float32)

    def measured(weights: Weights) -> dict[str, Values]:
        columns = (weights @ table).astype(np.float64).T
        sums = dict(zip(counted, columns, strict=True))
        return {**_of_calls(sums, names), **_of_ranks(answered, weights), **_of_flags(sums, answered.rules, names)}

    return measured


def confusion(answered: Answered) -> npt.NDArray[np.int64]:
    """Return the confusion matrix, (classes, classes): rows are the truth, columns the most probable class."""
    classes = len(answered.names)
    cells = answered.labels * classes + answered.probabilities.argmax(1)
    table: npt.NDArray[np.int64] = np.bincount(cells, minlength=classes * classes).reshape(classes, classes)
    return table


def roc(answered: Answered, wanted: list[int]) -> dict[str, Any]:
    """Return the ROC curve of each of these classes, where there are films of another."""
    if len(answered.present) < 2:
        return {}
    return {
        answered.names[index]: roc_points(answered.probabilities[:, index], answered.labels == index)
        for index in wanted
    }


def _by_rules(probabilities: Probabilities, names: tuple[str, ...], rules: Rules) -> Column:
    """Return what the node would say of each film by its probabilities alone."""
    said = [triage(dict(zip(names, map(float, row), strict=True)), rules)[0] for row in probabilities]
    return np.array([str(answer) for answer in said], dtype=str)


def _counted(answered: Answered) -> dict[str, Mask]:
    """Return the films that each count is over: every metric but those of ranks is a ratio of such counts."""
    labels, called = answered.labels, answered.probabilities.argmax(1)
    found = {"all": labels >= 0, "right": called == labels}
    for index, name in enumerate(answered.names):
        found |= {f"true {name}": labels == index, f"called {name}": called == index}
        found[f"hit {name}"] = (labels == index) & (called == index)
    return found


def _counted_flags(answered: Answered) -> dict[str, Mask]:
    normal, flagged = answered.labels == 0, np.isin(answered.said, _FLAGS)
    found = {"normal": normal, "abnormal": ~normal, "uncertain": answered.said == str(Triage.UNCERTAIN)}
    found |= {"abnormal flagged": ~normal & flagged, "normal passed": normal & ~flagged}
    for name, rule in answered.rules.items():
        index = answered.names.index(name)
        reached = answered.probabilities[:, index] >= rule.cut_off
        found |= {f"reached {name}": (answered.labels == index) & reached, f"passed {name}": normal & ~reached}
    return found


def _of_calls(sums: Mapping[str, Values], names: list[str]) -> dict[str, Values]:
    """Return accuracy, and precision, recall and F1 of each class that is there; precision is 0 where nothing is called so."""
    found = {"accuracy": ratio(sums["right"], sums["all"])}
    for name in names:
        hit, true, called = (sums[f"{what} {name}"] for what in ("hit", "true", "called"))
        found[f"precision {name}"] = np.where(called > 0, ratio(hit, called), 0.0)
        found[f"recall {name}"] = ratio(hit, true)
        found[f"f1 {name}"] = ratio(2 * hit, true + called)
    return found | {f"{kind} {MACRO}": _mean(found, kind, names) for kind in ("precision", "recall", "f1")}


def _of_ranks(answered: Answered, weights: Weights) -> dict[str, Values]:
    """Return the AUC of each class that is there, and for each abnormal one the specificity at WHO's sensitivity."""
    labels, said, present = answered.labels, answered.probabilities, answered.present
    if len(present) < 2:
        return {}
    found = {f"auc {answered.names[index]}": auc(said[:, index], labels == index, weights) for index in present}
    found[f"auc {MACRO}"] = _mean(found, "auc", [answered.names[index] for index in present])
    for index in present if 0 in present else ():
        if index:
            at_who = specificity_at(WHO_SENSITIVITY, said[:, index], labels == index, weights, labels == 0)
            found[f"{AT_WHO} {answered.names[index]}"] = at_who
    return found


def _of_flags(sums: Mapping[str, Values], rules: Rules, names: list[str]) -> dict[str, Values]:
    if not rules:
        return {}
    found = {
        "sensitivity any": ratio(sums["abnormal flagged"], sums["abnormal"]),
        "specificity any": ratio(sums["normal passed"], sums["normal"]),
        "uncertain": ratio(sums["uncertain"], sums["all"]),
    }
    # Without films of the class there is nothing that its specificity would be the price of.
    for name in (name for name in rules if name in names):
        found[f"sensitivity {name}"] = ratio(sums[f"reached {name}"], sums[f"true {name}"])
        found[f"specificity {name}"] = ratio(sums[f"passed {name}"], sums["normal"])
    return found


def _mean(found: Mapping[str, Values], kind: str, names: list[str]) -> Values:
    mean: Values = np.mean([found[f"{kind} {name}"] for name in names], axis=0)
    return mean


def _answer_counts(answered: Answered) -> dict[str, dict[str, int]]:
    """Return how often each answer is given, by the film's class."""
    kinds = [str(kind) for kind in Triage if kind is not Triage.NOT_ANALYSED]
    if not answered.rules:
        return {}
    return {
        name: {kind: int(((answered.labels == index) & (answered.said == kind)).sum()) for kind in kinds}
        for index, name in enumerate(answered.names)
    }
