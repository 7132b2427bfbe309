"""How a process learns that it is to stop, and how it says meanwhile that it lives."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from queue import Empty, SimpleQueue
from typing import Any

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
HEED_SIGNALS_EVERY_S = 0.5


class StopEvent:
    """An event that a signal handler may set: ``threading.Event`` is locked for good where the signal meets its wait.

    Parameters
    ----------
    pulse : multiprocessing value of a float, optional
        Where the process says that it lives, for its supervisor: the time of CLOCK_MONOTONIC (s), at each short wait.
    """

    def __init__(self, pulse: Any = None) -> None:
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self._pulse = pulse

    def set(self) -> None:
        """Have every wait end, from now on."""
        self._tokens.put(None)

    def wait(self, timeout_s: float) -> bool:
        """Wait until the event is set, which it stays; tell whether it is."""
        try:
            self._tokens.get(timeout=timeout_s)
        except Empty:
            return False
        self.set()
        return True

    def wait_up_to(self, timeout_s: float) -> bool:
        """Wait until the event is set, or for so long; tell whether it is.

        In short waits: the system may hand a signal to any thread, and the handler runs only once this one wakes up.
        """
        deadline_s = time.monotonic() + timeout_s
        while not self.wait(HEED_SIGNALS_EVERY_S):
            if self._pulse is not None:
                self._pulse.value = time.monotonic()
            if time.monotonic() >= deadline_s:
                return False
        return True


def stop_on_signals(pulse: Any = None) -> StopEvent:
    """Return an event that SIGTERM, SIGINT, or the end of the supervising process sets."""
    stopped = StopEvent(pulse)
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: stopped.set())
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_stop_with, args=(parent, stopped), daemon=True).start()
    return stopped


def _stop_with(parent: Any, stopped: StopEvent) -> None:
    """Wait for the end of the supervising process, even a violent one: its roles must not outlive it."""
    parent.join()
    stopped.set()
