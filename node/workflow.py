"""One study's way: read, compose, post, draw; deliver and confirm, for each destination by itself.

The spool is the truth: a task is a file, a delivery is a file, and each stage finds the work that it has done. So the
worker keeps in memory whose turn it is, and nothing else; after a stop it takes up what the spool says is to be done.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

from node import disk, full_disk, log, watch
from node.agenda import Task
from node.errors import InferenceError, NodeError, TryAgain
from node.journey import Follow, Journey, wait_s
from node.lanes import Lane, LeftUndone

# The clerk looks for new tasks this often (s). A look is one stat, some 10 microseconds.
CLERK_EVERY_S = 0.01
# The clock of file systems ticks every 4 to 10 ms: what comes in the tick of the last look leaves no mark (s).
TICK_S = 0.05
RECONCILE_EVERY_S = 60.0
# Work that found the disk full all the same is done again after this (s), and so is the clerk's after any fault.
ROOM_EVERY_S = 5.0
# A study at which the worker alone has died this often is not read again: it may be what kills it.
DEATHS_TO_PARK = 2
# The films of so many studies are decoded ahead, for the networks to read several at once (`node.film_reader`).
LOOKED_AHEAD = 4
# What is in work when the worker is told to stop has so long to end (s).
LAST_WORK_S = 10.0


class Desk:
    """The worker's desk: it hands the spool's tasks to their lanes, and has them done.

    Films are read on one lane, for there is one model; each destination has a lane of its own, for it has one
    association, and one that is away holds up only itself.

    Parameters
    ----------
    journey : Journey
    """

    def __init__(self, journey: Journey) -> None:
        self._journey = journey
        self._agenda = journey.spool.agenda
        self._todo = str(journey.spool.folder / "todo")
        self._stopped = threading.Event()
        self._lanes: dict[str, Lane] = {}
        self._opening = threading.Lock()
        self._looked_ns = 0
        self._clerk = threading.Thread(target=self._run, name="clerk", daemon=True)

    def open(self) -> None:
        """Take up what a stopped worker left, and begin to hand out work."""
        self._clerk.start()

    def close(self) -> None:
        """Stop handing out work, and let the stages at work end."""
        self._stopped.set()
        if self._clerk.is_alive():
            self._clerk.join()
        lanes, deadline_s = list(self._lanes.values()), time.monotonic() + LAST_WORK_S
        for lane in lanes:
            lane.stop()
        for lane in lanes:
            lane.join(max(0.0, deadline_s - time.monotonic()))
        for scu in self._journey.destinations.values():
            scu.close()

    def _run(self) -> None:
        while not self._stopped.is_set():
            # Without the clerk nothing is read any more; what it did not come to do it finds again.
            with log.Outlived("clerk.failed", wait_s=ROOM_EVERY_S) as look:
                self._look_after_the_spool()
            if look.failed:
                self._looked_ns = 0
                self._stopped.wait(ROOM_EVERY_S)

    def _look_after_the_spool(self) -> None:
        reconciled_s = -RECONCILE_EVERY_S
        while not self._stopped.is_set():
            time.sleep(CLERK_EVERY_S)  # in half the CPU time of a wait for the event
            if time.monotonic() - reconciled_s >= RECONCILE_EVERY_S:
                self.reconcile()
                reconciled_s = time.monotonic()
            if self._is_changed():
                self._hand_out()

    def _is_changed(self) -> bool:
        """Tell whether there may be tasks that the last look did not see."""
        changed_ns = os.stat(self._todo).st_mtime_ns  # noqa: PTH116  # a hundred times a second
        if changed_ns == self._looked_ns:
            return False
        self._looked_ns = changed_ns if abs(time.time_ns() - changed_ns) > TICK_S * 1e9 else 0
        return True

    def _hand_out(self) -> None:
        for task in self._agenda.tasks("todo"):
            if self._agenda.claimed(task):
                self._put(task)

    def reconcile(self) -> None:
        """Hand out whatever the spool knows of and no lane has: at the start all of it, later what a fault let fall."""
        self._hand_out()
        for task in self._agenda.tasks("open"):
            # In this order: a task is finished before its lane lets go of it.
            if not self._lane(task).has(task) and self._agenda.is_open(task):
                self._put(task)
        for name in self._journey.destinations:
            for entry in self._journey.spool.outbox.open_deliveries(name):
                if entry["next"] is not None:
                    self._take_up(Task.parse(entry["next"]))

    def _take_up(self, task: Task) -> None:
        """Put a delivery in that nobody seems to work on, once it is looked at anew: much may have happened since."""
        if self._lane(task).has(task):
            return
        entry = self._journey.spool.outbox.delivery(task.destination, task.study_key, task.generation)
        if entry is not None and entry["next"] == task.name:
            self._put(task, wait_s(entry))

    def _put(self, task: Task, wait_s: float = 0.0) -> None:
        self._lane(task).put(task, wait_s)

    def _follow(self, follows: Iterable[Follow]) -> None:
        for follow in follows:
            self._put(follow.task, follow.wait_s)

    def _lane(self, task: Task) -> Lane:
        """Return the lane of a task, opened with its first; also a destination has one that is not configured any more."""
        name = "read" if task.destination == "-" else f"to {task.destination}"
        with self._opening:
            if name not in self._lanes:
                self._lanes[name] = Lane(name, self._do)
            return self._lanes[name]

    def _do(self, task: Task) -> None:
        """Do a task, and plan what follows from it."""
        {"read": self._read, "post": self._post, "deliver": self._deliver, "confirm": self._confirm}[task.verb](task)
        self._agenda.finished(task)

    def _read(self, task: Task) -> None:
        """Read a study; its report is on its way while the pictures are drawn."""
        before_the_report = self._claim, self._journey.read, self._look_ahead, self._journey.compose
        try:
            if not all(self._guarded(task, stage) is not False for stage in before_the_report):
                return
            self._post(task)
            if self._guarded(task, self._journey.draw) is False:
                return
        finally:
            watch.stop()
            self._agenda.unclaim(task)
        self._follow(self._journey.go_on(task))

    def _claim(self, task: Task) -> None:
        """Begin a study unless the worker has hung or died at it before: TensorFlow and others are native code."""
        deaths = self._agenda.claim(task, supervisor())
        if deaths >= DEATHS_TO_PARK:
            raise InferenceError(f"the worker hung or died {DEATHS_TO_PARK} times at this study")
        if deaths:  # it is read by itself, so that no other study's film is the reason
            self._journey.forget_ahead()

    def _look_ahead(self, task: Task) -> None:
        """Have the next studies' films decoded, in a process of its own, while the results of this one are written."""
        for upcoming in self._lane(task).next_up(LOOKED_AHEAD):
            if upcoming.verb == "read" and not self._agenda.is_claimed(upcoming):
                # It is the next study's matter, not this one's.
                with log.Outlived("look_ahead.failed", study=upcoming.study_key):
                    self._journey.look_ahead(upcoming)

    def _post(self, task: Task) -> None:
        self._follow(self._guarded(task, self._journey.post) or ())

    def _deliver(self, task: Task) -> None:
        follow = self._guarded(task, self._journey.deliver)
        self._follow([follow] if follow else [])

    def _confirm(self, task: Task) -> None:
        follow = self._guarded(task, self._journey.confirm)
        self._follow([follow] if follow else [])

    def _guarded(self, task: Task, stage: Callable[[Task], Any]) -> Any:
        """Do one stage of a task; whatever goes wrong parks the task, and the node lives on.

        Returns
        -------
        object
            What the stage returned; False when the task is parked.
        """
        try:
            try:
                return self._with_room(task, partial(stage, task))
            except TryAgain as error:
                return self._with_room(task, partial(self._journey.put_off, task, error))
        except LeftUndone:
            raise
        except NodeError as error:
            trouble = type(error).__name__, str(error)
        # The one broad except of the node: a study that meets a fault nobody foresaw is parked, the next one is read.
        # The text of a foreign exception may hold a patient's data, so only its class is kept.
        except Exception as error:  # noqa: BLE001
            message = f"unexpected {type(error).__name__} while the study was {stage.__name__.strip('_')}"
            trouble = type(error).__name__, f"{message}; please report it"
        self._with_room(task, partial(self._journey.set_aside, task, *trouble))
        return False

    def _with_room(self, task: Task, work: Callable[[], Any]) -> Any:
        """Do some work once there is room, and where the disk fills up meanwhile do it again: nobody is parked for that.

        Begun without room, a delivery would send its results each time before it finds that it cannot note them as sent.
        """
        while full_disk.wait_for_room(self._journey.spool.folder, self._stopped, verb=task.verb, study=task.study_key):
            try:
                return work()
            except OSError as error:
                if not disk.is_full(error):
                    raise
                log.alarm("disk.full", verb=task.verb, study=task.study_key, wait_s=ROOM_EVERY_S)
            if self._stopped.wait(ROOM_EVERY_S):
                break
        raise LeftUndone


def supervisor() -> str:
    """Name the process that restarts this one, over all boots of the machine."""
    return f"{_boot()}/{os.getppid()}"


@cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
