"""Lanes: tasks wait their turn, and each lane does one at a time.

A lane is a thread and a list in memory. Nothing here outlives the process, and nothing has to: what is to be done lies in
the spool, and whoever opens the lanes puts it in again (`node.workflow`).
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
import time
from collections.abc import Callable

from node import log
from node.agenda import Task

# A task whose work failed in a way that nobody foresaw is tried again after this (s).
AFTER_FAULT_S = 5.0


class LeftUndone(Exception):  # no error: the next worker does it
    """Raised by the work of a lane that leaves its task as it is, because the worker stops."""


class Lane:
    """Does tasks one at a time, the one that has been due for longest first.

    Parameters
    ----------
    name : str
        Of its thread.
    work : callable
        Does a task.
    """

    def __init__(self, name: str, work: Callable[[Task], None]) -> None:
        self._work = work
        self._waiting: list[tuple[float, int, Task]] = []
        self._names: set[str] = set()
        self._count = itertools.count()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, task: Task, wait_s: float = 0.0) -> None:
        """Have a task done in `wait_s`, by a clock that nobody sets; one that waits already, or is in work, stays as it is."""
        with self._changed:
            if task.name not in self._names:
                self._names.add(task.name)
                heapq.heappush(self._waiting, (time.monotonic() + wait_s, next(self._count), task))
                self._changed.notify()

    def has(self, task: Task) -> bool:
        """Tell whether a task waits or is in work."""
        with self._changed:
            return task.name in self._names

    def next_up(self, count: int) -> list[Task]:
        """Return the tasks that are due and not in work, at most so many, in the order in which they will be done."""
        with self._changed:
            return [task for due_s, _, task in heapq.nsmallest(count, self._waiting) if due_s <= time.monotonic()]

    def stop(self) -> None:
        """Begin nothing more."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def join(self, timeout_s: float) -> None:
        """Wait for the task in work to end, but for no longer than this."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (task := self._next()) is not None:
            outlived = log.Outlived("lane.failed", verb=task.verb, study=task.study_key, wait_s=AFTER_FAULT_S)
            with outlived as doing, contextlib.suppress(LeftUndone):
                self._work(task)
            with self._changed:
                self._names.discard(task.name)
            if doing.failed:
                self.put(task, AFTER_FAULT_S)

    def _next(self) -> Task | None:
        """Wait for a task to be due and return it, None once the lane is stopped."""
        with self._changed:
            while not self._stopped:
                wait_s = self._waiting[0][0] - time.monotonic() if self._waiting else None
                if wait_s is not None and wait_s <= 0:
                    return heapq.heappop(self._waiting)[2]
                self._changed.wait(wait_s)
        return None
