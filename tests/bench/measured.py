"""What the benchmarks hand out, and the arithmetic on it: medians, percentiles and ratios of one run."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Measured(NamedTuple):
    """One value.

    Attributes
    ----------
    case : str
        What was done: ``raw 10 MB, 4 associations``.
    subject : str
        Who did it: ``node``.
    quantity : str
        What was measured, with its unit: ``CPU ms an image``.
    value : float
    """

    case: str
    subject: str
    quantity: str
    value: float


@dataclass(frozen=True)
class Amount:
    """How much is measured.

    Attributes
    ----------
    rounds : int
        How often the subjects take turns.
    studies : int
        Studies of the four senders.
    backlogs : sequence of int
        How many studies wait.
    """

    rounds: int
    studies: int
    backlogs: Sequence[int]


FULL = Amount(rounds=8, studies=500, backlogs=(100, 1_000, 10_000))
QUICK = Amount(rounds=2, studies=24, backlogs=(100, 1_000))
LEAST = Amount(rounds=1, studies=4, backlogs=(5, 10))


class Figures:
    """All values of a part, by case, subject and quantity, in the order in which they came.

    Parameters
    ----------
    values : iterable of Measured
    """

    def __init__(self, values: Iterable[Measured]) -> None:
        self._values: dict[tuple[str, str, str], list[float]] = {}
        for case, subject, quantity, value in values:
            self._values.setdefault((case, subject, quantity), []).append(value)

    @property
    def keys(self) -> list[tuple[str, str, str]]:
        """Case, subject and quantity of everything there is."""
        return list(self._values)

    def cases(self) -> list[str]:
        return list(dict.fromkeys(case for case, _, _ in self._values))

    def subjects(self, case: str) -> list[str]:
        """Return who was measured in a case; the first is the one that others are compared with."""
        return list(dict.fromkeys(subject for each, subject, _ in self._values if each == case))

    def quantities(self) -> list[str]:
        return list(dict.fromkeys(quantity for _, _, quantity in self._values))

    def values(self, case: str, subject: str, quantity: str) -> list[float]:
        """Return the values, none where it was not measured."""
        return self._values.get((case, subject, quantity), [])

    def median(self, case: str, subject: str, quantity: str) -> float | None:
        values = self.values(case, subject, quantity)
        return statistics.median(values) if values else None

    def p95(self, case: str, subject: str, quantity: str) -> float | None:
        values = self.values(case, subject, quantity)
        return percentile(values, 95) if values else None

    def ratio(self, case: str, subject: str, other: str, quantity: str) -> float | None:
        """Return how many times as much of a quantity a subject has as another one; None where either is not known."""
        return ratio(self.values(case, subject, quantity), self.values(case, other, quantity))


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that so many percent of the values do not exceed: one of them, the next above where it falls between."""
    ordered = sorted(values)
    # The nearest rank: of few values no percentile is made up between two of them.
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def ratio(values: Sequence[float], others: Sequence[float]) -> float | None:
    """Return how many times as large some values are as others; None where there is nothing to divide or to divide by.

    Where there are equally many they were taken in turns, and it is the median of the ratios turn by turn: a machine that
    was busy for a while was so for both. Else it is the ratio of the medians.
    """
    if not values or not others or not all(others):
        return None
    if len(values) == len(others):
        return statistics.median(mine / theirs for mine, theirs in zip(values, others, strict=True))
    return statistics.median(values) / statistics.median(others)
