"""A study's way through its stages: what follows one that ends well, badly, or not at all."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from node import disk, full_disk, workflow
from node.agenda import Task
from node.config import Destination, Settings
from node.config import Spool as SpoolSection
from node.errors import InferenceError, Parked, TryAgain
from node.journey import Follow, Journey, wait_s
from node.spool import Spool
from tests.peers import wait_until

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

    def look_ahead(self, task: Task) -> None:
        self.script.get("look_ahead", lambda _: None)(task)

    def forget_ahead(self) -> None:
        self.seen.append("forget ahead")

    def compose(self, task: Task) -> None:
        self._do("compose", task)

    def draw(self, task: Task) -> None:
        self.script.get("draw", lambda _: None)(task)

    def go_on(self, task: Task) -> list[Follow]:
        return []

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


def test_what_a_person_releases_is_delivered_to_each_destination_and_not_read_again(start: Start) -> None:
    _, journey = start()
    post = replace(READ, verb="post")
    journey.spool.agenda.keep_back(post)
    assert not journey.seen
    assert journey.spool.agenda.release(post)
    wait_until(lambda: len(journey.seen) == 2 and idle(journey))
    assert sorted(journey.seen) == ["deliver far 1", "deliver near 1"]
    assert not journey.spool.agenda.release(post)


def test_a_task_that_is_noted_again_while_it_is_done_is_done_once(start: Start) -> None:
    go_on = threading.Event()
    desk, journey = start(read=lambda _: go_on.wait(30))
    journey.spool.agenda.note(READ)
    wait_until(lambda: "read - 1" in journey.seen)
    journey.spool.agenda.note(READ)
    wait_until(lambda: not journey.spool.agenda.tasks("todo"))
    desk.reconcile()
    go_on.set()
    wait_until(lambda: len(journey.seen) == 4 and idle(journey))
    assert journey.seen.count("read - 1") == 1


def test_studies_are_read_one_at_a_time_in_the_order_they_came(start: Start) -> None:
    go_on = threading.Event()
    _, journey = start(read=lambda _: go_on.wait(30))
    others = [replace(READ, study_key=letter * 32) for letter in "fedc"]
    for task in (READ, *others):
        journey.spool.agenda.note(task)
        time.sleep(0.01)
    wait_until(lambda: len(journey.spool.agenda.tasks("open")) == 5)
    assert journey.seen == ["read - 1"]
    order: list[str] = []
    journey.script["compose"] = lambda task: order.append(task.study_key)
    go_on.set()
    wait_until(lambda: len(order) == 5)
    assert order == [task.study_key for task in (READ, *others)]


def test_the_next_study_is_looked_at_once_this_one_is_read_and_whatever_it_meets_is_not_this_ones_matter(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, order = threading.Event(), []
    alarms: list[tuple[str, str]] = []
    monkeypatch.setattr("node.log.alarm", lambda name, **fields: alarms.append((name, fields["study"])))

    def look_ahead(task: Task) -> None:
        order.append(f"look ahead {task.study_key[0]}")
        raise ValueError("a header that nobody foresaw")

    def noted(stage: str) -> Callable[[Task], None]:
        def note(task: Task) -> None:
            order.append(f"{stage} {task.study_key[0]}")
            assert go_on.wait(30)

        return note

    desk, journey = start(read=noted("read"), compose=noted("compose"), look_ahead=look_ahead)
    desk._put(READ)
    wait_until(lambda: order == ["read a"])
    second = replace(READ, study_key="f" * 32)
    desk._put(second)
    go_on.set()
    wait_until(lambda: len(journey.seen) == 8)
    assert order == ["read a", "look ahead f", "compose a", "read f", "compose f"]
    assert alarms == [("look_ahead.failed", second.study_key)]
    assert journey.spool.agenda.tasks("parked") == []


def test_the_next_studies_are_looked_at_but_for_one_at_which_the_worker_died(start: Start) -> None:
    go_on, seen = threading.Event(), []
    desk, journey = start(read=lambda _: go_on.wait(30), look_ahead=lambda task: seen.append(task.study_key[0]))
    others = [replace(READ, study_key=letter * 32) for letter in "bcdef"]
    journey.spool.agenda.claim(others[1], workflow.supervisor())
    desk._put(READ)
    wait_until(lambda: "read - 1" in journey.seen)
    for task in others:
        desk._put(task)
    journey.script["compose"] = lambda _: go_on.clear()  # the second study waits again
    go_on.set()
    wait_until(lambda: len(seen) >= workflow.LOOKED_AHEAD - 1)
    assert "".join(seen[:3]) == "bde"
    del journey.script["compose"]
    go_on.set()


def test_a_destination_that_takes_long_holds_up_no_other_and_no_reading(start: Start) -> None:
    go_on = threading.Event()
    _, journey = start(deliver=lambda task: go_on.wait(30) and None if task.destination == "far" else None)
    for letter in "abc":
        journey.spool.agenda.note(replace(READ, study_key=letter * 32))
    wait_until(lambda: journey.seen.count("deliver near 1") == 3)
    assert journey.seen.count("deliver far 1") == 1
    go_on.set()
    wait_until(lambda: journey.seen.count("deliver far 1") == 3)


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


def test_a_worker_that_stops_while_the_disk_is_full_leaves_its_task_to_the_next(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarms: list[str] = []
    monkeypatch.setattr(full_disk, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr("node.full_disk.log.alarm", lambda name, **_: alarms.append(name))
    monkeypatch.setattr(disk.Room, "is_enough_to_work", property(lambda _: False))
    desk, journey = start()
    journey.spool.agenda.note(READ)
    wait_until(lambda: alarms == ["disk.full"])
    desk.close()
    assert journey.spool.agenda.tasks("open") == [READ]
    assert journey.seen == journey.spool.agenda.tasks("parked") == []


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


def test_a_fault_of_a_lane_does_not_end_it_and_its_task_is_done_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.lanes.AFTER_FAULT_S", 0.05)
    _, journey = start()
    with monkeypatch.context() as patch:
        failed, finished = threading.Event(), journey.spool.agenda.finished

        def fail(task: Task) -> None:
            if task != READ:  # its deliveries may end before it does
                return finished(task)
            failed.set()
            raise OSError(errno.EIO, "Input/output error")

        patch.setattr(journey.spool.agenda, "finished", fail)
        journey.spool.agenda.note(READ)
        wait_until(failed.is_set)
    wait_until(lambda: journey.seen.count("read - 1") == 2 and idle(journey))


def test_a_commitment_is_looked_for_until_it_is_there(start: Start) -> None:
    def deliver(task: Task) -> Follow | None:
        return Follow(replace(task, verb="confirm"), 0.05) if task.destination == "near" else None

    def confirm(task: Task) -> Follow | None:
        return Follow(task.next, 0.05) if task.attempt < 3 else None

    _, journey = start(deliver=deliver, confirm=confirm)
    journey.spool.agenda.note(READ)
    wait_until(lambda: "confirm near 3" in journey.seen)
    assert [line for line in journey.seen if line.startswith("confirm")] == [f"confirm near {n}" for n in (1, 2, 3)]


def test_work_that_no_lane_has_is_found_in_the_spool(start: Start) -> None:
    desk, journey = start()
    lost = replace(READ, study_key="d" * 32)
    journey.spool.agenda.note(lost)
    journey.spool.agenda.claimed(lost)  # as if the worker had taken it, and died
    entry = {"state": "waiting", "next": f"deliver.{STUDY}.{GENERATION}.near.4", "failures": 3, "waited_s": 9.0}
    journey.spool.outbox.post("near", STUDY, GENERATION, {**entry, "attempt": 4, "looks": 0})
    desk.reconcile()
    wait_until(lambda: "read - 1" in journey.seen and "deliver near 4" in journey.seen)


def test_a_task_that_is_done_while_tasks_are_listed_is_not_done_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, journey = start()
    tasks = desk._agenda.tasks

    def tasks_of_before(state: str) -> list[Task]:
        return [*tasks(state), READ]  # as it was listed, a moment ago

    journey.spool.agenda.note(READ)
    wait_until(lambda: len(journey.seen) == 4 and idle(journey))
    with monkeypatch.context() as patch:
        patch.setattr(desk._agenda, "tasks", tasks_of_before)
        desk.reconcile()
    time.sleep(0.2)
    assert len(journey.seen) == 4


def test_a_study_at_which_the_worker_died_twice_is_parked(start: Start) -> None:
    _, journey = start()
    supervisor = workflow.supervisor()
    for _ in range(2):
        journey.spool.agenda.claim(READ, supervisor)  # a worker that begins and is never heard of again
    journey.spool.agenda.note(READ)
    wait_until(lambda: journey.spool.agenda.tasks("parked") == [READ])
    assert "died 2 times" in journey.spool.agenda.reason(READ)["message"]
    assert "read - 1" not in journey.seen


def test_a_study_whose_composing_kills_the_worker_twice_is_parked_too(start: Start) -> None:
    claims: list[int] = []
    _, journey = start(compose=lambda task: claims.append(journey.spool.agenda.claim(task, workflow.supervisor())))
    journey.spool.agenda.claim(READ, workflow.supervisor())  # one death, at which the film had been read already
    journey.spool.agenda.note(READ)
    wait_until(lambda: bool(claims) and idle(journey))
    assert claims == [2], "reading it does not make the death before forgotten"
    assert journey.seen[:2] == ["forget ahead", "read - 1"], "it is read by itself"


def test_a_study_at_which_the_whole_node_died_is_read_again_however_often(start: Start) -> None:
    _, journey = start()
    for run in range(5):
        journey.spool.agenda.claim(READ, f"another supervisor, {run}")
    journey.spool.agenda.note(READ)
    wait_until(lambda: "compose - 1" in journey.seen)
    assert journey.spool.agenda.tasks("parked") == []


def test_a_delivery_waits_out_its_time_over_a_restart(start: Start) -> None:
    desk, journey = start()
    entry = {"state": "waiting", "failures": 1, "waited_s": 2.0, "attempt": 2, "looks": 0}
    soon, late = (replace(READ, verb="deliver", destination=name, attempt=2) for name in ("near", "far"))
    now = datetime.now(UTC)
    for task, due in ((soon, now + timedelta(seconds=0.2)), (late, now + timedelta(seconds=60))):
        form = entry | {"next": task.name, "due": due.isoformat()}
        journey.spool.outbox.post(task.destination, STUDY, GENERATION, form)
    desk.reconcile()
    wait_until(lambda: "deliver near 2" in journey.seen)
    assert "deliver far 2" not in journey.seen


@pytest.mark.parametrize(
    ("due", "least", "most"),
    [
        (None, 0.0, 0.0),
        (timedelta(seconds=-5), 0.0, 0.0),
        (timedelta(seconds=90), 80.0, 90.0),
        (timedelta(days=1), 600.0, 600.0),
    ],
    ids=["never set", "past", "soon", "set by a clock that was a day ahead"],
)
def test_no_wait_is_longer_than_the_longest_backoff(due: timedelta | None, least: float, most: float) -> None:
    entry = {} if due is None else {"due": (datetime.now(UTC) + due).isoformat()}
    assert least <= wait_s(entry) <= most


def test_an_idle_clerk_sees_at_once_what_comes_and_lists_nothing_meanwhile(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, journey = start()
    time.sleep(0.3)
    listings: list[float] = []
    hand_out = desk._hand_out
    monkeypatch.setattr(desk, "_hand_out", lambda: (listings.append(time.monotonic()), hand_out()))
    time.sleep(0.2)
    assert listings == []
    for number in range(20):
        journey.spool.agenda.note(replace(READ, study_key=f"{number:032x}"))
    wait_until(lambda: journey.seen.count("read - 1") == 20)
