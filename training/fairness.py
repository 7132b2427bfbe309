"""The same metrics for groups of patients: by sex, age, view and source, where the data state them.

A group is held against the rest of the films among which it was told apart. For sex, age and view these are the films of sources
that state it and hold more than one kind of it: a difference between sources would else pass for one between people. The
interval of a difference is that of both groups drawn together, by patient.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from training.data import Films
from training.measure import Answered, group, metrics_of
from training.statistics import Column, Mask, Rows, Values, Weights, bootstrap

# Fewer patients give an interval as wide as the scale.
FEWEST_PATIENTS = 10
AGE_BANDS = ((0, 18, "0-17 years"), (18, 40, "18-39 years"), (40, 60, "40-59 years"), (60, 150, "60 years and over"))
_AGE = re.compile(r"0*(\d{1,3})(\.\d+)?\s*[yY]?")
_SEXES = {"F": "women", "M": "men"}


def fairness(films: Films, rows: Rows, answered: Answered, resamples: int, by_source: bool = True) -> dict[str, Any]:
    """Measure every group of films, and its difference to the rest.

    Parameters
    ----------
    films : Films
    rows : ndarray of int
        Positions of the films measured.
    answered : Answered
        These films with what the model says of them.
    resamples : int
    by_source : bool
        Whether sources are held against each other, too.

    Returns
    -------
    dict
        JSON-ready: ``attributes``, ``comparisons`` and ``excluding_zero``, and ``unknown``, sentences. An attribute has its
        ``sources``, the ``metrics`` of all its films, and its ``groups``: films, patients, metrics, ``gap`` to the rest by metric,
        and ``differs``, the metrics whose gap excludes 0.
    """
    kinds = attributes(films, rows)
    if by_source:
        kinds["source"] = answered.sources
    found = {}
    for name, of in kinds.items():
        chosen = np.ones(len(rows), bool) if name == "source" else _told_apart(of, answered.sources)
        if len(np.unique(of[chosen])) > 1:
            found[name] = _compared(answered.where(chosen), of[chosen], resamples)
    gaps = [gap for one in found.values() for held in one["groups"].values() for gap in held["gap"].values()]
    return {
        "attributes": found,
        "comparisons": len(gaps),
        "excluding_zero": sum(_excludes_zero(gap) for gap in gaps),
        "unknown": [*_unknown(answered, attributes(films, rows))],
    }


def attributes(films: Films, rows: Rows) -> dict[str, Column]:
    """Return sex, age band and view of films; '' where it is not known."""
    return {
        "sex": np.array([_SEXES.get(str(sex).strip().upper()[:1], "") for sex in films.sex[rows]], dtype=str),
        "age": np.array([age_band(str(age)) for age in films.age[rows]], dtype=str),
        "view": np.array([str(view).strip().upper() for view in films.view[rows]], dtype=str),
    }


def age_band(age: str) -> str:
    """Return the band of an age in years ("57", "057Y"), '' where it states none; a range of a cohort is no patient's age."""
    years = _AGE.fullmatch(age.strip())
    if not years:
        return ""
    return next((name for low, high, name in AGE_BANDS if low <= int(years[1]) < high), "")


def _compared(answered: Answered, of: Column, resamples: int) -> dict[str, Any]:
    return {
        "sources": [str(source) for source in np.unique(answered.sources)],
        "metrics": group(answered, resamples)["metrics"],
        "groups": {str(kind): _one(answered, of == kind, resamples) for kind in np.unique(of)},
    }


def _one(answered: Answered, own: Mask, resamples: int) -> dict[str, Any]:
    """Return one group; where it or the rest has too few patients, only how many they are."""
    held = answered.where(own)
    others = len(np.unique(answered.patients[~own]))
    if min(len(np.unique(held.patients)), others) < FEWEST_PATIENTS:
        counted = group(held, 0)
        return {"films": counted["films"], "patients": counted["patients"], "metrics": {}, "gap": {}, "differs": []}
    measures = metrics_of(held), metrics_of(answered.where(~own))

    def gaps(weights: Weights) -> dict[str, Values]:
        one, rest = (measured(weights[:, chosen]) for measured, chosen in zip(measures, (own, ~own), strict=True))
        return {name: one[name] - rest[name] for name in one if name in rest}

    gap = bootstrap(gaps, answered.patients, resamples)
    differs = [name for name, triple in gap.items() if _excludes_zero(triple)]
    return {**group(held, resamples), "gap": gap, "differs": differs}


def _excludes_zero(gap: list[float]) -> bool:
    return gap[1] > 0 or gap[2] < 0


def _told_apart(of: Column, sources: Column) -> Mask:
    """Return the films of sources that hold more than one kind, where it is known."""
    several = [source for source in np.unique(sources) if len(set(of[(sources == source) & (of != "")])) > 1]
    told: Mask = (of != "") & np.isin(sources, several)
    return told


def _unknown(answered: Answered, kinds: dict[str, Column]) -> Iterator[str]:
    """Say in words what these films cannot tell: which sources state nothing, and which classes no such film has."""
    everyone = tuple(np.unique(answered.sources).tolist())
    told = {attribute: _told_apart(of, answered.sources) for attribute, of in kinds.items()}
    silent: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for attribute, films in told.items():
        silent[tuple(source for source in everyone if not (films & (answered.sources == source)).any())].append(
            attribute
        )
    for sources, these in silent.items():
        if sources == everyone:
            yield f"No source tells patients apart by {_listed(these, 'or')}: whether it reads all alike cannot be known from these films."
        elif sources:
            verb = "is" if len(these) == 1 else "are"
            yield f"{', '.join(sources)}: {_listed(these, 'and')} {verb} not stated film by film, or {verb} the same throughout."
            yield from _blind(answered, these, np.any([told[attribute] for attribute in these], axis=0))


def _blind(answered: Answered, attributes: list[str], told: Mask) -> Iterator[str]:
    """Name the classes of which no film is among those that the attributes tell apart."""
    known = set(answered.labels[told].tolist())
    names = [answered.names[index].lower() for index in answered.present if index not in known]
    if names:
        yield (
            f"No source of {_listed(names, 'or')} tells patients apart by {_listed(attributes, 'or')}: whether "
            f"{_listed(names, 'or')} is read alike in all of them cannot be known from these films."
        )


def _listed(items: Sequence[str], last: str) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"
