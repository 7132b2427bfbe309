"""All connections without an association yet: so many in all, so many from one address, the oldest makes way."""

from __future__ import annotations

import time
from collections.abc import Iterator

from node.door.arrival import Arrival, Stage
from node.door.limits import Limits


class Arrivals:
    """The connections that have no association yet, in the order they came.

    Parameters
    ----------
    limits : Limits
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._from: dict[str, dict[Arrival, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Arrival]:
        return iter([arrival for same in self._from.values() for arrival in same])

    def __contains__(self, arrival: object) -> bool:
        return isinstance(arrival, Arrival) and arrival in self._from.get(arrival.address, ())

    def add(self, arrival: Arrival) -> None:
        """Note one more."""
        self._from.setdefault(arrival.address, {})[arrival] = None
        self._count += 1

    def remove(self, arrival: Arrival) -> None:
        """Forget one."""
        same = self._from[arrival.address]
        del same[arrival]
        self._count -= 1
        if not same:
            del self._from[arrival.address]

    def too_many(self, address: str) -> Arrival | None:
        """Return which has to go before one more may come from an address; None where there is room."""
        if len(self._from.get(address, ())) >= self._limits.arrivals_per_address:
            return next(iter(self._from[address]))
        return self.least_missed() if len(self) >= self._limits.arrivals else None

    def least_missed(self) -> Arrival | None:
        """Return the oldest of the address with the most: a flood from one address pushes out nobody else."""
        most = max(self._from.values(), key=len, default=None)
        return next(iter(most)) if most else None

    def waiting(self) -> list[Arrival]:
        """Return those whose request waits for a place, the last to come first: who has waited long gives up soon anyway."""
        waiting = (arrival for arrival in self if arrival.stage is Stage.WAITING)
        return sorted(waiting, key=lambda arrival: -arrival.deadline_s)

    def overdue(self) -> list[Arrival]:
        """Return those whose time is up; who waits for a place is told so before."""
        now_s = time.monotonic()
        return [arrival for arrival in self if arrival.deadline_s < now_s and arrival.stage is not Stage.WAITING]
