"""What a program costs: processor time and memory of a process and all that it starts, by /proc."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Self

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_GONE = (FileNotFoundError, ProcessLookupError)
LOOK_EVERY_S = 0.05


def tree(pid: int) -> list[int]:
    """Return a process and its descendants, those that ended and were not waited for included."""
    found = [pid]
    with contextlib.suppress(*_GONE):
        for task in Path(f"/proc/{pid}/task").iterdir():  # a process is listed with the thread that forked it
            with contextlib.suppress(*_GONE):
                children = (task / "children").read_text().split()
                found += [each for child in children for each in tree(int(child))]
    return found


def cpu_ms(pid: int) -> float:
    """Return the user and system time of a process, of its descendants, and of those of them that it has waited for."""
    return sum(_cpu_ms(each) for each in tree(pid))


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process and its descendants; what they share is counted for each."""
    return sum(_rss_mb(each) for each in tree(pid))


def _cpu_ms(pid: int) -> float:
    with contextlib.suppress(*_GONE):
        # Behind the name, which may hold spaces: utime, stime, cutime and cstime are fields 14 to 17 of proc(5).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 1000 * sum(map(int, fields[11:15])) / _TICKS_A_SECOND
    return 0.0


def _rss_mb(pid: int) -> float:
    with contextlib.suppress(*_GONE):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
    return 0.0


class Meter:
    """Measures what a process and its descendants cost while the context lasts.

    Parameters
    ----------
    pid : int

    Attributes
    ----------
    cpu_ms : float
        User and system time.
    peak_mb : float
        The most resident memory, of looks 50 ms apart.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self.cpu_ms = self.peak_mb = 0.0

    def __enter__(self) -> Self:
        self._before = cpu_ms(self._pid)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_ms = cpu_ms(self._pid) - self._before
        self._ended.set()
        self._watch.join()

    def _look(self) -> None:
        while True:
            self.peak_mb = max(self.peak_mb, rss_mb(self._pid))
            if self._ended.wait(LOOK_EVERY_S):
                return
