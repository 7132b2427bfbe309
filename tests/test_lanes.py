"""A lane does one task at a time, the one that has been due for longest first, and bears what goes wrong in it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from node import lanes
from node.agenda import Task
from node.lanes import Lane, LeftUndone
from tests.peers import wait_until


def task(number: int) -> Task:
    return Task("read", f"{number:032x}", "ab" * 8)


Open = Callable[[Callable[[Task], Any]], Lane]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Open lanes; all are stopped at the end."""
    running: list[Lane] = []

    def open_one(work: Callable[[Task], Any]) -> Lane:
        running.append(Lane("a lane", work))
        return running[-1]

    yield open_one
    for lane in running:
        lane.stop()
        lane.join(10)
    assert not any(thread.name == "a lane" for thread in threading.enumerate())


class Held:
    """Work that goes on once it is told to."""

    def __init__(self) -> None:
        self.begun: list[Task] = []
        self.go_on = threading.Event()

    def __call__(self, task: Task) -> None:
        self.begun.append(task)
        assert self.go_on.wait(30)


def test_one_task_is_done_at_a_time_in_the_order_they_are_due(opened: Open) -> None:
    work = Held()
    lane = opened(work)
    lane.put(task(1))
    wait_until(lambda: work.begun == [task(1)])
    lane.put(task(2), wait_s=0.02)
    lane.put(task(3))
    threading.Event().wait(0.05)
    assert work.begun == [task(1)]
    work.go_on.set()
    wait_until(lambda: len(work.begun) == 3)
    assert work.begun == [task(1), task(3), task(2)]


def test_a_task_waits_out_its_time_and_the_next_overtakes_it(opened: Open) -> None:
    done: list[Task] = []
    lane = opened(done.append)
    lane.put(task(1), wait_s=600)
    lane.put(task(2))
    wait_until(lambda: done == [task(2)])
    assert lane.has(task(1))
    assert not lane.has(task(2))


def test_a_task_that_waits_or_is_in_work_is_not_taken_twice(opened: Open) -> None:
    work = Held()
    lane = opened(work)
    for _ in range(3):
        lane.put(task(1))
        lane.put(task(2))
    wait_until(lambda: work.begun == [task(1)])
    lane.put(task(1))
    work.go_on.set()
    wait_until(lambda: not lane.has(task(2)))
    assert work.begun == [task(1), task(2)]
    lane.put(task(1))
    wait_until(lambda: work.begun == [task(1), task(2), task(1)], what="a task that is done may be put in again")


def test_the_tasks_that_are_due_next_are_known_while_another_is_in_work(opened: Open) -> None:
    work = Held()
    lane = opened(work)
    assert lane.next_up(4) == []
    lane.put(task(1))
    wait_until(lambda: work.begun == [task(1)])
    lane.put(task(2), wait_s=600)
    assert lane.next_up(4) == [], "neither what is in work nor what is to wait"
    lane.put(task(3))
    lane.put(task(4))
    lane.put(task(5))
    assert lane.next_up(1) == [task(3)]
    assert lane.next_up(2) == [task(3), task(4)]
    assert lane.next_up(9) == [task(3), task(4), task(5)]
    work.go_on.set()


def test_a_fault_is_alarmed_and_its_task_tried_again(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "AFTER_FAULT_S", 0.02)
    alarms: list[tuple[str, str]] = []
    monkeypatch.setattr("node.log.alarm", lambda name, **fields: alarms.append((name, fields["error"])))
    tries: list[Task] = []

    def fail_once(task: Task) -> None:
        tries.append(task)
        if len(tries) == 1:
            raise OSError("a disk that nobody foresaw")

    lane = opened(fail_once)
    lane.put(task(1))
    wait_until(lambda: tries == [task(1), task(1)] and not lane.has(task(1)))
    assert alarms == [("lane.failed", "OSError")]


def test_a_task_that_is_left_undone_is_let_go_without_an_alarm(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    alarms: list[str] = []
    monkeypatch.setattr("node.log.alarm", lambda name, **_: alarms.append(name))

    def leave(task: Task) -> None:
        raise LeftUndone

    lane = opened(leave)
    lane.put(task(1))
    wait_until(lambda: not lane.has(task(1)))
    assert alarms == []


def test_a_stopped_lane_ends_what_it_does_and_begins_nothing_more(opened: Open) -> None:
    work = Held()
    lane = opened(work)
    lane.put(task(1))
    lane.put(task(2))
    wait_until(lambda: bool(work.begun))
    lane.stop()
    work.go_on.set()
    lane.join(10)
    assert work.begun == [task(1)]
