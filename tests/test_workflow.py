"""The durable workflows on a real queue: what follows a stage that ends well, badly, or not at all."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy

from node import full_disk, ledger, workflow
from node.agenda import Task
from node.config import Destination, Settings
from node.config import Spool as SpoolSection
from node.errors import InferenceError, Parked, TryAgain
from node.full_disk import FullDisk
from node.journey import Follow, Journey
from node.spool import Spool
from tests.peers import wait_until
from tests.spools import KEY, take

pytestmark = pytest.mark.slow

STUDY, GENERATION = "a" * 32, "b" * 16
READ = Task("read", STUDY, GENERATION)


class _Closable:
    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Scripted(Journey):
    """A journey whose stages do as the test says; what surrounds them is the real one."""

    script: dict[str, Callable[[Task], Any]] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)

    def _do(self, stage: str, task: Task) -> Any:
        self.seen.append(f"{stage} {task.destination} {task.attempt}")
        return self.script.get(stage, lambda _: None)(task)

    def read(self, task: Task) -> None:
        self._do("read", task)

    def compose(self, task: Task) -> None:
        self._do("compose", task)

    def post(self, task: Task) -> list[Follow]:
        names = [destination.name for destination in self.settings.destinations]
        return [Follow(replace(task, verb="deliver", destination=name), 0.0) for name in names]

    def deliver(self, task: Task) -> Follow | None:
        return cast("Follow | None", self._do("deliver", task))

    def confirm(self, task: Task) -> Follow | None:
        return cast("Follow | None", self._do("confirm", task))


Start = Callable[..., tuple[workflow.Desk, Scripted]]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Open a desk on a journey with two destinations, ``near`` and ``far``."""
    monkeypatch.setattr("node.deliver.FIRST_BACKOFF_S", 0.05)
    desks: list[workflow.Desk] = []

    def opened(**script: Callable[[Task], Any]) -> tuple[workflow.Desk, Scripted]:
        destinations = tuple(Destination(name=n, ae_title=n.upper(), host="127.0.0.1", port=1) for n in ("near", "far"))
        settings = Settings(spool=SpoolSection(folder=tmp_path), destinations=destinations)
        scus = cast(Any, {"near": _Closable(), "far": _Closable()})
        journey = Scripted(settings, Spool(tmp_path), cast(Any, None), cast(Any, None), scus, script)
        desks.append(workflow.Desk(journey))
        desks[-1].open()
        return desks[-1], journey

    yield opened
    for desk in desks:
        desk.close()


def idle(journey: Scripted) -> bool:
    agenda = journey.spool.agenda
    return not agenda.tasks("todo") and not agenda.tasks("open")


def test_a_study_is_read_composed_and_delivered_to_each_destination(start: Start) -> None:
    _, journey = start()
    journey.spool.agenda.note(READ)
    wait_until(lambda: len(journey.seen) == 4 and idle(journey))
    assert journey.seen[:2] == ["read - 1", "compose - 1"]
    assert sorted(journey.seen[2:]) == ["deliver far 1", "deliver near 1"]


def test_a_task_noted_twice_is_done_once(start: Start) -> None:
    desk, journey = start()
    journey.spool.agenda.note(READ)
    wait_until(lambda: len(journey.seen) == 4 and idle(journey))
    journey.spool.agenda.note(READ)
    wait_until(lambda: not journey.spool.agenda.tasks("todo"))
    desk.reconcile()
    assert idle(journey)
    assert journey.seen.count("read - 1") == 1


def test_a_study_that_was_forgotten_and_comes_again_is_read_though_the_book_has_its_task(start: Start) -> None:
    desk, journey = start()
    take(journey.spool)
    task = journey.spool.settle(KEY)
    assert task is not None
    wait_until(lambda: "compose - 1" in journey.seen and idle(journey))
    journey.spool.agenda.note(task)  # as its second settling does
    wait_until(lambda: not journey.spool.agenda.tasks("todo"))

    def is_read_again() -> bool:
        desk.reconcile()  # as every minute: the book calls the first reading live for a moment after its end
        return "read - 2" in journey.seen and idle(journey)

    wait_until(is_read_again)
    assert journey.seen.count("read - 1") == 1


def test_a_delivery_that_fails_is_tried_again_and_delays_no_other(start: Start) -> None:
    def deliver(task: Task) -> None:
        if task.destination == "far" and task.attempt < 3:
            raise TryAgain("the destination is away")

    _, journey = start(deliver=deliver)
    journey.spool.agenda.note(READ)
    wait_until(lambda: "deliver far 3" in journey.seen)
    assert journey.seen.index("deliver near 1") < journey.seen.index("deliver far 2")
    assert journey.seen.count("deliver near 1") == 1


def test_a_delivery_given_up_after_three_days_of_waiting_is_parked(start: Start) -> None:
    def deliver(task: Task) -> None:
        raise TryAgain("the destination is away")

    _, journey = start(deliver=deliver)
    entry = {"state": "waiting", "failures": 400, "waited_s": 72 * 3600.0, "next": None, "attempt": 1, "looks": 0}
    for name in ("near", "far"):
        journey.spool.outbox.post(name, STUDY, GENERATION, entry)
    journey.spool.agenda.note(READ)
    wait_until(lambda: len(journey.spool.agenda.tasks("parked")) == 2)
    reason = journey.spool.agenda.reason(journey.spool.agenda.tasks("parked")[0])
    assert "given up after 72 h" in reason["message"]
    assert "the destination is away" in reason["message"]


def test_a_refusal_is_parked_with_its_words_and_retry_begins_anew(start: Start) -> None:
    refused = threading.Event()

    def deliver(task: Task) -> None:
        if task.destination == "far" and not refused.is_set():
            refused.set()
            raise Parked("calling AE title not recognized")

    _, journey = start(deliver=deliver)
    journey.spool.agenda.note(READ)
    wait_until(lambda: bool(journey.spool.agenda.tasks("parked")))
    (task,) = journey.spool.agenda.tasks("parked")
    assert journey.spool.agenda.reason(task)["message"] == "calling AE title not recognized"
    journey.spool.take_up(task)
    wait_until(lambda: "deliver far 2" in journey.seen)
    assert journey.spool.agenda.tasks("parked") == []


@pytest.mark.parametrize("error", [InferenceError("no usable answer"), ZeroDivisionError("Doe^Jane")])
def test_a_study_that_cannot_be_read_is_parked_and_the_next_one_is_read(start: Start, error: Exception) -> None:
    def read(task: Task) -> None:
        if task.study_key == STUDY:
            raise error

    _, journey = start(read=read)
    journey.spool.agenda.note(READ)
    other = replace(READ, study_key="c" * 32)
    journey.spool.agenda.note(other)
    wait_until(lambda: "compose - 1" in journey.seen and journey.spool.agenda.tasks("parked") == [READ])
    reason = journey.spool.agenda.reason(READ)
    assert reason["error"] == type(error).__name__
    assert "Doe" not in reason["message"], "a foreign exception's text may hold a patient's name"
    assert journey.seen.count("compose - 1") == 1


def test_a_full_disk_parks_nothing_and_work_goes_on_once_there_is_room(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow, "ROOM_EVERY_S", 0.05)
    room = threading.Event()

    def compose(task: Task) -> None:
        if not room.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")

    _, journey = start(compose=compose)
    journey.spool.agenda.note(READ)
    wait_until(lambda: journey.seen.count("compose - 1") >= 3)
    room.set()
    wait_until(lambda: "deliver near 1" in journey.seen)
    assert journey.spool.agenda.tasks("parked") == []


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Give an event; while it is set, SQLite's files do not grow."""
    full = threading.Event()

    def do_execute(cursor: Any, statement: str, parameters: Any, context: Any) -> None:
        if full.is_set() and statement.startswith(("INSERT", "UPDATE")):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    monkeypatch.setattr(full_disk, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(FullDisk, "_has_room", lambda _: not full.is_set())
    sqlalchemy.event.listen(sqlalchemy.Engine, "do_execute", do_execute)
    yield full
    sqlalchemy.event.remove(sqlalchemy.Engine, "do_execute", do_execute)


def test_a_book_on_a_full_disk_loses_no_step_and_goes_on_once_there_is_room(
    start: Start, full: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarms: list[str] = []
    monkeypatch.setattr("node.full_disk.log.alarm", lambda name, **_: alarms.append(name))
    _, journey = start(read=lambda _: full.set())
    journey.spool.agenda.note(READ)
    wait_until(lambda: "disk.full" in alarms)
    journey.spool.agenda.note(replace(READ, generation="c" * 16))  # the clerk meets it as well
    time.sleep(0.5)
    assert journey.seen == ["read - 1"]
    full.clear()
    journey.script["read"] = lambda _: None
    wait_until(lambda: len(journey.seen) == 8 and idle(journey))
    assert journey.seen.count("read - 1") == 2, "each of both once"
    assert journey.spool.agenda.tasks("parked") == []


def test_a_desk_that_waits_for_room_to_open_its_book_gives_up_where_it_is_told_to_stop(
    tmp_path: Path, full: threading.Event
) -> None:
    full.set()
    journey = Scripted(
        Settings(spool=SpoolSection(folder=tmp_path)), Spool(tmp_path), cast(Any, None), cast(Any, None), {}
    )
    told = iter((False, False, True))
    assert workflow.Desk(journey).open(lambda _: next(told)) is False
    assert next(told, None) is None, "it looked until it was told"
    assert not (tmp_path / "queue.sqlite").exists()


def test_a_fault_of_the_clerk_does_not_end_it(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "ROOM_EVERY_S", 0.05)
    desk, journey = start()
    with monkeypatch.context() as patch:
        failed = threading.Event()

        def fail(*_: Any) -> None:
            failed.set()
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(desk._agenda, "claimed", fail)
        journey.spool.agenda.note(READ)
        wait_until(failed.is_set)
    wait_until(lambda: len(journey.seen) == 4 and idle(journey))


def test_a_commitment_is_looked_for_until_it_is_there(start: Start) -> None:
    def deliver(task: Task) -> Follow | None:
        return Follow(replace(task, verb="confirm"), 0.05) if task.destination == "near" else None

    def confirm(task: Task) -> Follow | None:
        return Follow(task.next, 0.05) if task.attempt < 3 else None

    _, journey = start(deliver=deliver, confirm=confirm)
    journey.spool.agenda.note(READ)
    wait_until(lambda: "confirm near 3" in journey.seen)
    assert [line for line in journey.seen if line.startswith("confirm")] == [f"confirm near {n}" for n in (1, 2, 3)]


def test_work_that_the_book_does_not_know_is_found_in_the_spool(start: Start) -> None:
    desk, journey = start()
    lost = replace(READ, study_key="d" * 32)
    journey.spool.agenda.note(lost)
    journey.spool.agenda.claimed(lost)  # as if the queue had taken it, and its database were gone
    entry = {"state": "waiting", "next": f"deliver.{STUDY}.{GENERATION}.near.4", "failures": 3, "waited_s": 9.0}
    journey.spool.outbox.post("near", STUDY, GENERATION, {**entry, "attempt": 4, "looks": 0})
    desk.reconcile()
    wait_until(lambda: "read - 1" in journey.seen and "deliver near 4" in journey.seen)


def test_a_study_at_which_the_worker_died_twice_is_parked(start: Start) -> None:
    _, journey = start()
    supervisor = workflow._supervisor()
    for _ in range(2):
        journey.spool.agenda.claim(READ, supervisor)  # a worker that begins and is never heard of again
    journey.spool.agenda.note(READ)
    wait_until(lambda: journey.spool.agenda.tasks("parked") == [READ])
    assert "died 2 times" in journey.spool.agenda.reason(READ)["message"]
    assert "read - 1" not in journey.seen


def test_a_study_whose_composing_kills_the_worker_twice_is_parked_too(start: Start) -> None:
    _, journey = start()
    for _ in range(2):
        journey.spool.agenda.claim(READ, workflow._supervisor())
    assert workflow._compose(READ.name) is False
    assert "died 2 times while this study was composed" in journey.spool.agenda.reason(READ)["message"]
    assert journey.seen == []


def test_a_study_at_which_the_whole_node_died_is_read_again_however_often(start: Start) -> None:
    _, journey = start()
    for run in range(5):
        journey.spool.agenda.claim(READ, f"another supervisor, {run}")
    journey.spool.agenda.note(READ)
    wait_until(lambda: "compose - 1" in journey.seen)
    assert journey.spool.agenda.tasks("parked") == []


def test_a_wait_that_a_clock_set_back_made_a_day_long_is_let_go(start: Start) -> None:
    desk, journey = start()
    waiting = replace(READ, verb="deliver", destination="near", attempt=2)
    entry = {"state": "waiting", "next": waiting.name, "failures": 1, "waited_s": 2.0, "attempt": 2, "looks": 0}
    journey.spool.outbox.post("near", STUDY, GENERATION, entry)
    workflow._enqueue(waiting, 86_400.0)
    soon = replace(waiting, destination="far")
    journey.spool.outbox.post("far", STUDY, GENERATION, entry | {"next": soon.name})
    workflow._enqueue(soon, 600.0)
    desk.reconcile()
    wait_until(lambda: "deliver near 2" in journey.seen)
    assert ledger.states([soon.name]) == {soon.name: "DELAYED"}, "as long as the longest backoff is no reason"


def test_a_clock_that_is_set_has_the_clerk_look_at_once(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    desk, _ = start()
    looks: list[float] = []
    monkeypatch.setattr(desk, "reconcile", lambda: looks.append(0.0))
    ahead_s = [workflow._clock_s()]
    monkeypatch.setattr(workflow, "_clock_s", lambda: ahead_s[0])
    threading.Event().wait(0.2)
    before = len(looks)
    ahead_s[0] -= 1  # no clock is exact
    threading.Event().wait(0.2)
    assert len(looks) == before
    ahead_s[0] -= 3600
    wait_until(lambda: len(looks) == before + 1)


def test_what_is_done_leaves_the_book_which_does_not_grow(start: Start, tmp_path: Path) -> None:
    _, journey = start()
    journey.spool.agenda.note(READ)
    wait_until(lambda: len(journey.seen) == 4 and idle(journey))
    names = [READ.name, *(replace(READ, verb="deliver", destination=name).name for name in ("near", "far"))]
    wait_until(lambda: ledger.states(names) == dict.fromkeys(names, ledger.DONE))
    assert ledger.forget_done() == 0, "not before an hour has passed"
    assert ledger.forget_done(kept_s=-60) == 3
    assert ledger.states([READ.name]) == {}
    with contextlib.closing(sqlite3.connect(tmp_path / "queue.sqlite")) as book:
        tables = [name for (name,) in book.execute("select name from sqlite_master where type = 'table'")]
        held = {name: book.execute(f"select count(*) from {name}").fetchone()[0] for name in tables}
    of_workflows = {name: count for name, count in held.items() if name.startswith(("workflow_", "operation_"))}
    assert len(of_workflows) > 2
    assert set(of_workflows.values()) == {0}


def test_a_damaged_book_is_set_aside_and_no_work_is_lost(start: Start, tmp_path: Path) -> None:
    book = tmp_path / "queue.sqlite"
    book.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 100)
    lost = Spool(tmp_path).agenda
    lost.note(READ)
    lost.claimed(READ)
    _, journey = start()
    wait_until(lambda: len(journey.seen) == 4 and idle(journey))
    assert (tmp_path / "queue.sqlite.damaged").exists()
    assert not ledger.set_aside_if_damaged(book), "a whole one stays where it is"
    assert not ledger.set_aside_if_damaged(tmp_path / "absent")


def test_a_book_that_cannot_be_opened_is_no_damaged_one(tmp_path: Path) -> None:
    (tmp_path / "queue.sqlite").mkdir()
    assert not ledger.set_aside_if_damaged(tmp_path / "queue.sqlite")
    assert (tmp_path / "queue.sqlite").is_dir()
