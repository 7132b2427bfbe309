"""Durations on the monotonic clock: pynetdicom's timers, and the least rate at which bytes must come."""

from __future__ import annotations

import time

from pynetdicom.timer import Timer

from node.door.limits import Limits
from node.door.verdict import Violation


class MonotonicTimer(Timer):  # type: ignore[misc]  # pynetdicom has no types
    """pynetdicom's timer, which goes by a clock that may be set, on one that may not; stopped, it never expires.

    Upstream's expires also after it was stopped, where that was late.
    """

    _start_time: float | None

    def start(self) -> None:
        """Set the timer running from the beginning."""
        self._start_time = time.monotonic()

    restart = start

    def stop(self) -> None:
        """Stop the timer."""
        self._start_time = None

    @property
    def elapsed_s(self) -> float:
        """Return how long it runs; 0 while it does not."""
        return 0.0 if self._start_time is None else time.monotonic() - self._start_time

    @property
    def remaining(self) -> float:
        """Return the seconds until it expires, 1 where it never does, as upstream says it."""
        return 1.0 if self.timeout is None else float(self.timeout - self.elapsed_s)


class Pace:
    """Sees that what has begun to come goes on coming.

    Parameters
    ----------
    limits : Limits
    """

    def __init__(self, limits: Limits) -> None:
        self._rate, self._window_s = limits.rate_bytes_s, limits.rate_window_s
        self._since: tuple[float, int] | None = None

    def rest(self) -> None:
        """Note that nothing is under way."""
        self._since = None

    def check(self, received: int) -> None:
        """Note how many bytes have come in all, something being under way.

        Raises
        ------
        Violation
            When too few came since the window began.
        """
        now_s = time.monotonic()
        if self._since is None:
            self._since = now_s, received
        elif now_s - self._since[0] > self._window_s:
            if received - self._since[1] < self._rate * self._window_s:
                raise Violation("too slow")
            self._since = now_s, received
