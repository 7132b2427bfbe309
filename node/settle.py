"""When a study counts as complete.

A study is read once every association that brought it is released and ``settle_s`` have passed. Where a second
association brings more of it in that time, its images evidently come one association each, and ``quiet_s`` without a
new image take the place of ``settle_s``. A sender that keeps its association open is given ``quiet_s`` after its last
image as well. None is waited for longer than `LONGEST_QUIETS` times ``quiet_s`` in all: a sender that never rests must not
keep the study from being read. Whatever comes later makes a new generation, whose report replaces the old one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from node import log

LONGEST_QUIETS = 12
# Seconds after which a study is settled again whose settling failed in a way that nobody foresaw.
AFTER_FAULT_S = 60.0


@dataclass(slots=True)
class _Arrival:
    """A study on its way in; times are of the monotonic clock, in seconds."""

    first_image_s: float
    last_image_s: float
    released_s: float | None = None
    open: set[int] = field(default_factory=set)
    associations: int = 0


class Settler:
    """Watches studies arrive and tells when one is complete.

    Parameters
    ----------
    settle_s, quiet_s : float
        Seconds, as in the configuration.
    on_settled : callable
        Called with the study's key, on the settler's own thread, never twice at once.
    """

    def __init__(self, settle_s: float, quiet_s: float, on_settled: Callable[[str], None]) -> None:
        self._settle_s, self._quiet_s, self._on_settled = settle_s, quiet_s, on_settled
        self._arrivals: dict[str, _Arrival] = {}
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="settler", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; what has not settled is settled at the next start."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def arrived(self, study_key: str, association: int) -> None:
        """Note that an association brought an instance of a study."""
        with self._changed:
            now = time.monotonic()
            is_new = study_key not in self._arrivals
            arrival = self._arrivals.setdefault(study_key, _Arrival(now, now))
            if is_new or arrival.last_image_s > now:
                self._changed.notify()  # any other image puts off what the thread waits for
            arrival.last_image_s = now
            if association not in arrival.open:
                arrival.open.add(association)
                arrival.associations += 1

    def come_back(self, study_key: str, wait_s: float = 0.0) -> None:
        """Have a study settled as if its last image came in `wait_s`, unless it is arriving already."""
        with self._changed:
            moment_s = time.monotonic() + wait_s
            self._arrivals.setdefault(study_key, _Arrival(moment_s, moment_s))
            self._changed.notify()

    def released(self, association: int) -> None:
        """Note that an association has ended, however it ended."""
        with self._changed:
            for arrival in self._arrivals.values():
                if association in arrival.open:
                    arrival.open.discard(association)
                    arrival.released_s = time.monotonic()
                    self._changed.notify()

    def _due_s(self, arrival: _Arrival) -> float:
        """Return when the study is complete if nothing more happens."""
        quiet_s = max(self._quiet_s, self._settle_s)
        if arrival.open or arrival.released_s is None:
            due_s = arrival.last_image_s + quiet_s
        else:
            due_s = arrival.released_s + (self._settle_s if arrival.associations == 1 else quiet_s)
        return min(due_s, arrival.first_image_s + LONGEST_QUIETS * quiet_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._stopped:
                    return
                due = {key: self._due_s(arrival) for key, arrival in self._arrivals.items()}
                now = time.monotonic()
                complete = [key for key, moment in due.items() if moment <= now]
                for key in complete:
                    del self._arrivals[key]
                if not complete:
                    self._changed.wait(min(due.values()) - now if due else None)
            for key in complete:
                self._call(key)

    def _call(self, study_key: str) -> None:
        """Have a study settled; a fault in one must not end the thread that settles all."""
        with log.Outlived("settling.failed", study=study_key, wait_s=AFTER_FAULT_S) as call:
            self._on_settled(study_key)
        if call.failed:
            self.come_back(study_key, AFTER_FAULT_S)
