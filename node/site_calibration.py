"""A site's labeled films, the cut-offs they ask for, and what these would give there beside the model's.

The temperature stays the bundle's. A new one hardly does more than stretch the scale on which cut-offs lie (docs/design.md has
the figures), while every probability that a reader has come to know would change. And it would be fitted to cases of which
a third may be tuberculosis, where one study in a hundred is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from node.bundle import Bundle, Rule
from node.errors import ConfigError
from node.operating_points import (
    CALIBRATED_FOR,
    FLAGGED,
    UNCERTAIN,
    ClassFilms,
    Column,
    Interval,
    OperatingPoint,
    Points,
    Values,
    answers,
    choose,
    fewest_films,
    interval,
    measured,
    rates,
    ratio,
)
from node.site_thresholds import Made

# Patients of a class. With 20 normal ones the specificity is known to +-.13 at best, and choosing on fewer is guessing.
FEWEST = 20
# A sensitivity or specificity that is known less well than this is told to be so; at .90 it takes some 140 patients.
WELL_KNOWN = 0.05
# For bundles that do not say what their cut-offs were chosen for. WHO 2014, target product profile of a triage test.
_SENSITIVITY, _UNCERTAIN_SHARE = 0.90, 0.05


@dataclass(frozen=True)
class Cases:
    """Labeled films as the model reads them.

    Attributes
    ----------
    names : tuple of str
        The model's classes, the normal one first.
    labels : ndarray of int, (films,)
    probabilities : ndarray, (films, classes)
        Calibrated.
    patients : ndarray of str, (films,)
    """

    names: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    probabilities: Values
    patients: Column

    def films(self) -> dict[str, int]:
        """Return how many films there are of each class."""
        return {name: int((self.labels == index).sum()) for index, name in enumerate(self.names)}

    def counted(self) -> dict[str, int]:
        """Return how many patients there are of each class."""
        return {name: len(np.unique(self.patients[self.labels == index])) for index, name in enumerate(self.names)}

    def of(self, name: str) -> ClassFilms:
        """Return the films of a class beside the normal ones."""
        return ClassFilms.of(self.names.index(name), self.labels, self.probabilities, self.patients)


@dataclass(frozen=True)
class Wanted:
    """What the cut-offs are for.

    Attributes
    ----------
    sensitivity : float
        To be kept by each cut-off.
    uncertain_share : float
        Share of the films of a class that may stay below its band.
    prevalences : dict of str to float
        By abnormal class, of all studies; whoever has none of those named counts as normal.
    """

    sensitivity: float
    uncertain_share: float
    prevalences: Mapping[str, float]


@dataclass(frozen=True)
class Outlook:
    """What to expect where a class is as frequent as stated: flags for it per study, and their predictive values."""

    flagged: Interval
    positive: Interval
    negative: Interval


@dataclass(frozen=True)
class Choice:
    """A cut-off with what it gives on the cases, and what to expect of it; `outlook` is None without a prevalence."""

    point: OperatingPoint
    outlook: Outlook | None


@dataclass(frozen=True)
class Compared:
    """The cut-offs of one class: those that the cases ask for, None where they are too few, and the model's."""

    label: str
    own: Choice | None
    model: Choice


@dataclass(frozen=True)
class Found:
    """What a site's cases say.

    Attributes
    ----------
    cases : Cases
    wanted : Wanted
    rules : dict of str to Rule
        By class, those that the cases ask for.
    compared : tuple of Compared
        Of each abnormal class of which there are cases.
    answers : dict of str to (Interval, Interval)
        Flagged and uncertain per study, with the cut-offs that the cases ask for and with the model's; empty without any
        prevalence.
    """

    cases: Cases
    wanted: Wanted
    rules: dict[str, Rule]
    compared: tuple[Compared, ...]
    answers: dict[str, tuple[Interval, Interval]]

    @property
    def made(self) -> Made:
        """How the cut-offs were made, for the site's file."""
        today = datetime.now(UTC).date()
        wanted, cases = self.wanted, self.cases
        return Made(today, wanted.sensitivity, wanted.uncertain_share, cases.films(), cases.counted())


def wanted_for(
    bundle: Bundle, sensitivity: float | None, uncertain_share: float | None, prevalences: Sequence[str]
) -> Wanted:
    """Return what is wanted, taking from the bundle what is not given.

    Parameters
    ----------
    bundle : Bundle
    sensitivity, uncertain_share : float or None
    prevalences : sequence of str
        Each as ``Tuberculosis=0.02``.

    Raises
    ------
    ConfigError
        Where a prevalence cannot be understood.
    """
    kept = bundle.reference.get(CALIBRATED_FOR, {})
    return Wanted(
        kept.get("sensitivity", _SENSITIVITY) if sensitivity is None else sensitivity,
        kept.get("uncertain_share", _UNCERTAIN_SHARE) if uncertain_share is None else uncertain_share,
        _prevalences(prevalences, tuple(bundle.rules)),
    )


def calibrate_site(cases: Cases, rules: Mapping[str, Rule], wanted: Wanted) -> Found:
    """Choose cut-offs on a site's cases, and hold them against those there are.

    Parameters
    ----------
    cases : Cases
    rules : mapping of str to Rule
        The model's, of each abnormal class.
    wanted : Wanted

    Raises
    ------
    ConfigError
        Where the cases are too few, or a prevalence is named of a class without cases.
    """
    patients, needed = cases.counted(), max(FEWEST, fewest_films(wanted.uncertain_share))
    _check_counts(cases, wanted, needed)
    own: dict[str, Rule] = {}
    compared = []
    for label, rule in rules.items():
        if not patients[label]:
            continue
        films, choice = cases.of(label), None
        if patients[label] >= needed:
            point = choose(films, wanted.sensitivity, wanted.uncertain_share)
            own[label] = replace(rule, cut_off=point.cut_off[0], uncertain_from=point.uncertain_from[0])
            choice = Choice(point, _outlook(cases, label, own[label], wanted))
        compared.append(Compared(label, choice, Choice(measured(films, rule), _outlook(cases, label, rule, wanted))))
    both = {"own": {**rules, **own}, "model": rules}
    expected = {name: _answers(cases, held, wanted) for name, held in both.items()} if wanted.prevalences else {}
    return Found(cases, wanted, own, tuple(compared), expected)


def cautions(found: Found) -> Iterator[str]:
    """Yield what must be known before the cut-offs are put to use."""
    patients = found.cases.counted()
    normal = found.cases.names[0]
    for held in found.compared:
        if held.own is None:
            yield f"{held.label}: {patients[held.label]} patients are too few to choose by; the model's cut-off stays."
            continue
        known = {"sensitivity": (held.own.point.sensitivity, held.label)}
        known["specificity"] = (held.own.point.specificity, normal)
        for what, ((_, low, high), of) in known.items():
            if (high - low) / 2 > WELL_KNOWN:
                yield (
                    f"{held.label}: with {patients[of]} patients ({of}) the {what} is known only to about "
                    f"+-{50 * (high - low):.0f} points. Collect more before you rely on it."
                )
    for label in (name for name in found.cases.names[1:] if not patients[name]):
        yield f"{label}: no cases; the model's cut-off stays."
    yield "Chosen and measured on the same cases, which flatters a little: try the cut-offs on cases kept aside."


def _check_counts(cases: Cases, wanted: Wanted, needed: int) -> None:
    patients, normal = cases.counted(), cases.names[0]
    told = ", ".join(f"{count} {name}" for name, count in patients.items())
    if patients[normal] < needed or max(patients[name] for name in cases.names[1:]) < needed:
        raise ConfigError(
            f"too few cases ({told}; counted by patient): at least {needed} {normal} and {needed} of one abnormal "
            "class are needed, and a few hundred of each are wanted. Collect more; until then keep the model's cut-offs."
        )
    for label in wanted.prevalences:
        if not patients[label]:
            raise ConfigError(f"there are no cases of {label}: leave its prevalence out, or add cases")


def _prevalences(texts: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in texts:
        label, _, value = text.partition("=")
        try:
            found[label] = float(value)
        except ValueError:
            raise ConfigError(f"--prevalence {text}: write it as {labels[-1]}=0.02") from None
        if label not in labels:
            raise ConfigError(f"--prevalence {text}: the model's abnormal classes are {', '.join(labels)}")
        if not 0 < found[label] < 1:
            raise ConfigError(f"--prevalence {text}: must lie between 0 and 1; 0.02 is 2 %")
    if sum(found.values()) >= 1:
        raise ConfigError("the prevalences come to 1 or more: nobody would be normal")
    return found


def _of_all(cases: Cases, wanted: Wanted) -> dict[str, float]:
    """Return the share of each class among all studies."""
    return {cases.names[0]: 1 - sum(wanted.prevalences.values()), **wanted.prevalences}


def _rates(cases: Cases, hit: Column, shares: Mapping[str, float]) -> dict[str, Values]:
    """Return by class the share of its films that are hit; draws of different classes are independent."""
    own = {name: cases.labels == index for index, name in enumerate(cases.names) if name in shares}
    return {
        name: rates(hit[chosen], cases.patients[chosen], seed=number)
        for number, (name, chosen) in enumerate(own.items())
    }


def _outlook(cases: Cases, label: str, points: Points, wanted: Wanted) -> Outlook | None:
    if label not in wanted.prevalences:
        return None
    shares = _of_all(cases, wanted)
    reach = _rates(cases, cases.probabilities[:, cases.names.index(label)] >= points.cut_off, shares)
    own, flagged = shares[label] * reach[label], _per_study(reach, shares)
    positive, negative = ratio(own, flagged), ratio(1 - shares[label] - flagged + own, 1 - flagged)
    return Outlook(interval(flagged), interval(positive), interval(negative))


def _answers(cases: Cases, rules: Mapping[str, Rule], wanted: Wanted) -> tuple[Interval, Interval]:
    """Return flagged and uncertain, per study."""
    shares = _of_all(cases, wanted)
    said = answers(cases.probabilities, cases.names, rules)
    flagged, uncertain = (_per_study(_rates(cases, said == kind, shares), shares) for kind in (FLAGGED, UNCERTAIN))
    return interval(flagged), interval(uncertain)


def _per_study(of_class: Mapping[str, Values], shares: Mapping[str, float]) -> Values:
    total: Values = np.sum([shares[name] * values for name, values in of_class.items()], axis=0)
    return total
