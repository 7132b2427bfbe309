"""How often something may be said of each kind of event, so that a flood of one fills no disk and hides no other."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

# Kinds come from the node's own vocabulary and are few; should they not be, the oldest are forgotten.
KINDS = 1000

Kind = tuple[str, ...]


@dataclass(slots=True)
class _Window:
    begun_s: float
    said: int = 0
    held_back: int = 0


class Rate:
    """So many of each kind in so many seconds; safe to use from many threads.

    Parameters
    ----------
    window_s : float
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._lock = threading.Lock()
        self._windows: dict[Kind, _Window] = {}
        self._next_end_s = float("inf")

    def admits(self, kind: Kind, limit: int) -> bool:
        """Tell whether one more of a kind may be said; one that may not is counted.

        Parameters
        ----------
        kind : tuple of str
        limit : int
            How many of it may be said in a window.
        """
        with self._lock:
            now_s = time.monotonic()
            window = self._windows.get(kind)
            if window is None or (not window.held_back and now_s >= window.begun_s + self._window_s):
                window = self._windows[kind] = _Window(now_s)
                self._forget_the_oldest()
            if window.said < limit:
                window.said += 1
                return True
            window.held_back += 1
            self._next_end_s = min(self._next_end_s, window.begun_s + self._window_s)
            return False

    def held_back(self, at_once: bool = False) -> list[tuple[Kind, int]]:
        """Return (kind, how many were not said) for windows that have ended, each once; their kinds begin anew.

        Parameters
        ----------
        at_once : bool
            Also for windows that have not ended yet.
        """
        if time.monotonic() < self._next_end_s and not at_once:
            return []
        with self._lock:
            now_s = time.monotonic()
            counted = {kind: window for kind, window in self._windows.items() if window.held_back}
            ended = {k: w for k, w in counted.items() if at_once or now_s >= w.begun_s + self._window_s}
            for kind in ended:
                del self._windows[kind]
            rest = [w.begun_s + self._window_s for kind, w in counted.items() if kind not in ended]
            self._next_end_s = min(rest, default=float("inf"))
            return [(kind, window.held_back) for kind, window in ended.items()]

    def _forget_the_oldest(self) -> None:
        silent = (kind for kind, window in self._windows.items() if not window.held_back)
        if len(self._windows) > KINDS and (oldest := next(silent, None)) is not None:
            del self._windows[oldest]
