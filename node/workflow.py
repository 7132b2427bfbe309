"""One study's way as durable workflows: read, compose, post; then deliver and confirm, for each destination by itself.

DBOS keeps the book: a step that has returned is not done again, a step that was cut off is. The spool stays the truth:
the clerk hands its tasks to the queue under names that the queue takes once, and looks every minute for work that the
book has lost.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetEnqueueOptions, SetWorkflowID

from node import disk, ledger, log, watch
from node.agenda import Task
from node.config import BOOK, Settings
from node.deliver import LONGEST_BACKOFF_S
from node.errors import InferenceError, NodeError, TryAgain
from node.full_disk import FullDisk
from node.journey import Journey
from node.ledger import DONE, LIVE

# The clerk looks for new tasks, and each queue for work, this often (s). A look of a queue costs 1 to 3 ms of CPU.
CLERK_EVERY_S = 0.010
QUEUE_EVERY_S = 0.030
RECONCILE_EVERY_S = 60.0
# A clock that was set by more than this (s) may have work wait for another day.
CLOCK_SET_S = 5.0
# Work that found the disk full all the same is done again after this (s), and so is the clerk's after any fault.
ROOM_EVERY_S = 5.0
# A study at which the worker alone has died this often is not read again: it may be what kills it.
DEATHS_TO_PARK = 2

_journey: Journey | None = None
_full_disk: FullDisk | None = None


def _at_hand() -> Journey:
    assert _journey is not None, "Desk.open comes first"
    return _journey


def _wait_for_room(task: Task) -> None:
    assert _full_disk is not None, "Desk.open comes first"
    _full_disk.wait(verb=task.verb, study=task.study_key)


def _guarded(task: Task, stage: Callable[[Task], Any]) -> Any:
    """Do one stage of a task; whatever goes wrong parks the task, and the node lives on.

    Returns
    -------
    object
        What the stage returned; False when the task is parked.
    """
    journey = _at_hand()
    try:
        try:
            return _with_room(task, partial(stage, task))
        except TryAgain as error:
            return _with_room(task, partial(journey.put_off, task, error))
    except NodeError as error:
        trouble = type(error).__name__, str(error)
    # The one broad except of the node: a study that meets a fault nobody foresaw is parked, the next one is read.
    # The text of a foreign exception may hold a patient's data, so only its class is kept.
    except Exception as error:  # noqa: BLE001
        message = f"unexpected {type(error).__name__} while the study was {stage.__name__.strip('_')}"
        trouble = type(error).__name__, f"{message}; please report it"
    _with_room(task, partial(journey.set_aside, task, *trouble))
    return False


def _with_room(task: Task, work: Callable[[], Any]) -> Any:
    """Do some work once there is room, and where the disk fills up meanwhile do it again: nobody is parked for that.

    Begun without room, a delivery would send its results each time before it finds that it cannot note them as sent.
    """
    while True:
        _wait_for_room(task)
        try:
            return work()
        except OSError as error:
            if not disk.is_full(error):
                raise
            log.alarm("disk.full", verb=task.verb, study=task.study_key, wait_s=ROOM_EVERY_S)
        time.sleep(ROOM_EVERY_S)


@DBOS.step(name="read")
def _read(name: str) -> bool:
    return _guarded(Task.parse(name), _read_alive) is not False


def _read_alive(task: Task) -> None:
    _alive(task, _at_hand().read, "read")


def _alive(task: Task, stage: Callable[[Task], None], done: str) -> None:
    """Do a stage unless the worker has hung or died at it before: TensorFlow and others are native code."""
    agenda = _at_hand().spool.agenda
    if agenda.claim(task, _supervisor()) >= DEATHS_TO_PARK:
        agenda.unclaim(task)
        raise InferenceError(f"the worker hung or died {DEATHS_TO_PARK} times while this study was {done}")
    try:
        stage(task)
    finally:
        watch.stop()
        agenda.unclaim(task)


def _supervisor() -> str:
    """Name the process that restarts this one, over all boots of the machine."""
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{os.getppid()}"


@DBOS.step(name="compose")
def _compose(name: str) -> bool:
    return _guarded(Task.parse(name), _compose_alive) is not False


def _compose_alive(task: Task) -> None:
    _alive(task, _at_hand().compose, "composed")


@DBOS.step(name="post")
def _post(name: str) -> list[dict[str, Any]]:
    return [asdict(follow) for follow in _guarded(Task.parse(name), _at_hand().post) or ()]


@DBOS.step(name="finish")
def _finish(name: str) -> None:
    _at_hand().spool.agenda.finished(Task.parse(name))


@DBOS.step(name="deliver")
def _deliver(name: str) -> dict[str, Any] | None:
    follow = _guarded(Task.parse(name), _at_hand().deliver)
    return asdict(follow) if follow else None


@DBOS.step(name="confirm")
def _confirm(name: str) -> dict[str, Any] | None:
    follow = _guarded(Task.parse(name), _at_hand().confirm)
    return asdict(follow) if follow else None


@DBOS.workflow(name="read", max_recovery_attempts=None)
def read_workflow(name: str) -> None:
    """Read a generation of a study, write its results, and start their deliveries."""
    if _read(name) and _compose(name):
        for form in _post(name):
            _enqueue(Task(**form["task"]))
    _finish(name)


@DBOS.workflow(name="deliver", max_recovery_attempts=None)
def deliver_workflow(name: str) -> None:
    """Try once to store the results of a generation at a destination, and plan what follows."""
    _plan(_deliver(name))
    _finish(name)


@DBOS.workflow(name="confirm", max_recovery_attempts=None)
def confirm_workflow(name: str) -> None:
    """Look once whether a destination has committed, and plan what follows."""
    _plan(_confirm(name))
    _finish(name)


WORKFLOWS = {"read": read_workflow, "deliver": deliver_workflow, "confirm": confirm_workflow}


def _plan(follow: dict[str, Any] | None) -> None:
    if follow:
        _enqueue(Task(**follow["task"]), follow["wait_s"])


def _enqueue(task: Task, wait_s: float = 0.0) -> None:
    """Hand a task to its queue; a task handed over before is not taken twice."""
    queue, partition = ("read", None) if task.verb == "read" else ("deliver", task.destination)
    options = SetEnqueueOptions(delay_seconds=wait_s or None, queue_partition_key=partition)
    with SetWorkflowID(task.name), options:
        DBOS.enqueue_workflow(queue, WORKFLOWS[task.verb], task.name)


class Desk:
    """The worker's desk: it opens the book, and hands the spool's tasks to the queue.

    Parameters
    ----------
    journey : Journey
    """

    def __init__(self, journey: Journey) -> None:
        self._journey = journey
        self._agenda = journey.spool.agenda
        self._stopped = threading.Event()
        self._full_disk = FullDisk(journey.spool.folder)
        self._clerk = threading.Thread(target=self._run, name="clerk", daemon=True)

    def open(self, pause: Callable[[float], bool] | None = None) -> bool:
        """Open the book once there is room, take up what a stopped worker left, and begin to hand out work.

        Parameters
        ----------
        pause : callable, optional
            Waits for so many seconds, and tells whether to give up instead.

        Returns
        -------
        bool
            False where it was given up.
        """
        global _journey, _full_disk
        _journey, _full_disk = self._journey, self._full_disk
        self._full_disk.open()
        if not self._full_disk.wait(pause, verb="book"):  # as it opens its book, DBOS tries nothing again
            self._full_disk.close()
            return False
        settings = self._journey.settings
        if not settings.database.url:
            ledger.set_aside_if_damaged(settings.spool.folder / BOOK)
        DBOS(config=_dbos_config(settings))
        DBOS.launch()
        log.withhold("dbos")
        DBOS.register_queue("read", worker_concurrency=1, polling_interval_sec=QUEUE_EVERY_S)
        # One at a time for each destination: it has one association, and one that is away holds up only itself.
        DBOS.register_queue("deliver", partition_worker_concurrency=1, polling_interval_sec=QUEUE_EVERY_S)
        self._clerk.start()
        return True

    def close(self) -> None:
        """Stop handing out work, and let the steps at work end."""
        self._stopped.set()
        self._full_disk.stop_waiting()
        self._clerk.join()
        DBOS.destroy(workflow_completion_timeout_sec=10)
        self._full_disk.close()
        for scu in self._journey.destinations.values():
            scu.close()

    def _run(self) -> None:
        rounds = round(RECONCILE_EVERY_S / CLERK_EVERY_S)
        turn, clock_s = 0, _clock_s()
        while not self._stopped.wait(CLERK_EVERY_S):
            was_set = abs(_clock_s() - clock_s) > CLOCK_SET_S
            # Without the clerk nothing is read any more; what it did not come to do it finds again.
            with log.Outlived("clerk.failed", wait_s=ROOM_EVERY_S) as look:
                if turn % rounds == 0 or was_set:
                    clock_s = _clock_s()
                    self.reconcile()
                    ledger.forget_done()
                turn += 1
                for task in self._agenda.tasks("todo"):
                    _enqueue(task)
                    self._agenda.claimed(task)
            if look.failed:
                self._stopped.wait(ROOM_EVERY_S)

    def reconcile(self) -> None:
        """Find work that the spool knows of and the book does not, and note it anew."""
        tasks = self._agenda.tasks("open")
        states = ledger.states((task.name for task in tasks), LONGEST_BACKOFF_S)
        for task in tasks:
            self._account_for(task, states.get(task.name))
        for name in self._journey.destinations:
            entries = self._journey.spool.outbox.open_deliveries(name)
            due = [entry["next"] for entry in entries if entry["next"] is not None]
            states = ledger.states(due, LONGEST_BACKOFF_S)
            for task in (Task.parse(each) for each in due if states.get(each) not in LIVE):
                if self._is_lost(task):
                    self._agenda.note(_renewed(task))

    def _is_lost(self, task: Task) -> bool:
        """Look once more at a delivery that nobody seems to work on: much may have happened since they were listed."""
        entry = self._journey.spool.outbox.delivery(task.destination, task.study_key, task.generation)
        return (
            entry is not None and entry["next"] == task.name and ledger.states([task.name]).get(task.name) not in LIVE
        )

    def _account_for(self, task: Task, state: str | None) -> None:
        """Judge a task that was handed over: it is live, lost, or beyond what the queue recovers."""
        if state is None:
            self._agenda.note(task)
        elif state == DONE:
            if self._is_to_read(task):
                self._agenda.note(_renewed(task))
            self._agenda.finished(task)
        elif state not in LIVE:
            self._journey.set_aside(task, "InferenceError", f"the queue gave this work up ({state})")

    def _is_to_read(self, task: Task) -> bool:
        """Tell whether a study that was read is to be read all the same: it was forgotten since, and sent again."""
        spool, name = self._journey.spool, (task.study_key, task.generation)
        is_unread = spool.generation_folder(*name).exists() and not spool.has_results(*name)
        return task.verb == "read" and is_unread and task not in self._agenda.tasks("parked")


def _clock_s() -> float:
    """Return what the time of day is ahead of a clock that nobody sets."""
    return time.time() - time.monotonic()


def _renewed(task: Task) -> Task:
    """Return the task under a name that the queue has not taken yet."""
    while ledger.states([task.name]):
        task = task.next
    return task


def _dbos_config(settings: Settings) -> DBOSConfig:
    return {
        "name": "cxr-node",
        "system_database_url": settings.database_url,
        # One executor of this name at a time: after a crash the same name takes its work up again.
        "executor_id": "worker-1",
        # Fixed, so that a newer node goes on with the work of an older one.
        "application_version": "1",
        "serializer": DBOSPortableJSONSerializer(),
        "enable_otlp": False,
        "log_level": "ERROR",
        "console_log_level": "CRITICAL",
    }
