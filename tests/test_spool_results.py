"""What was read and made of a study is kept as one; parked work comes back."""

import itertools
import os
import stat
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node.agenda import Task
from node.spool import Spool
from node.study import ModelIdentity, StudyReading, Times
from tests.killed import RESULTS
from tests.spools import KEY, files, held_results, no_space, take

HERE = Path(__file__).resolve().parents[1]


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool")


# What the model said, and the results

TIMES = Times(*(datetime(2026, 1, 1, 12, 0, second, tzinfo=UTC) for second in range(4)))


def test_what_the_model_said_is_kept(spool):
    take(spool)
    task = spool.settle(KEY)
    assert spool.reading(KEY, task.generation) is None
    reading = StudyReading(KEY, task.generation, (), ModelIdentity("name", "1", "0" * 64), TIMES)
    spool.write_reading(reading)
    assert Spool(spool.folder).reading(KEY, task.generation) == reading


@pytest.fixture
def settled(spool):
    take(spool)
    return spool.settle(KEY)


def test_results_are_listed_in_the_order_of_sending_each_with_its_encodings(spool, settled):
    results = {f"viewer/{index:02d}-kind/{choice}.dcm": b"x" for index in (2, 1, 10) for choice in (1, 0)}
    spool.write_results(KEY, settled.generation, results | {"air/01-sr/0.dcm": b"y"})
    listed = spool.results(KEY, settled.generation, "viewer")
    assert [[path.parent.name + "/" + path.name for path in each] for each in listed] == [
        [f"{index:02d}-kind/0.dcm", f"{index:02d}-kind/1.dcm"] for index in (1, 2, 10)
    ]
    assert [[path.read_bytes() for path in each] for each in spool.results(KEY, settled.generation, "air")] == [[b"y"]]
    assert spool.results(KEY, settled.generation, "none") == []


def test_before_they_are_written_there_are_no_results(spool, settled):
    assert not spool.has_results(KEY, settled.generation)
    assert spool.results(KEY, settled.generation, "viewer") == []


def test_no_results_at_all_are_results(spool, settled):
    spool.write_results(KEY, settled.generation, {})
    assert spool.has_results(KEY, settled.generation)
    assert spool.results(KEY, settled.generation, "viewer") == []


def test_results_never_change(spool, settled):
    spool.write_results(KEY, settled.generation, RESULTS)
    spool.write_results(KEY, settled.generation, dict.fromkeys(RESULTS, b"other"))
    assert held_results(spool, settled) == RESULTS


@pytest.mark.parametrize("file", range(1, 1 + len(RESULTS)))
def test_results_that_the_disk_does_not_take_leave_nothing(spool, settled, monkeypatch, file):
    files_synced, fsync = itertools.count(1), os.fsync
    full = threading.Event()

    def fill_up(descriptor):  # from several threads
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and next(files_synced) >= file:
            full.set()
        return no_space() if full.is_set() else fsync(descriptor)

    before = files(spool.folder)
    monkeypatch.setattr(os, "fsync", fill_up)
    with pytest.raises(OSError, match="No space"):
        spool.write_results(KEY, settled.generation, RESULTS)
    monkeypatch.undo()
    assert files(spool.folder) == before
    spool.write_results(KEY, settled.generation, RESULTS)
    assert held_results(spool, settled) == RESULTS


def test_what_a_killed_worker_left_of_its_results_is_no_part_of_the_next_ones(spool, settled):
    left = spool.generation_folder(KEY, settled.generation) / ".results" / "viewer" / "09-old"
    left.mkdir(parents=True)
    (left / "0.dcm").write_bytes(b"old")
    spool.write_results(KEY, settled.generation, RESULTS)
    assert held_results(spool, settled) == RESULTS
    assert not left.exists()


# Parked work


def test_a_parked_reading_is_taken_up_as_the_next_attempt(spool, settled):
    spool.agenda.park(settled, "InferenceError", "")
    again = spool.take_up(settled)
    assert again == replace(settled, attempt=2)
    assert (spool.agenda.tasks("parked"), spool.agenda.tasks("todo")) == ([], [again])


@pytest.mark.parametrize("verb", ["deliver", "confirm"])
def test_a_parked_delivery_begins_anew_with_its_waits_forgotten(spool, verb):
    task = Task(verb, KEY, "g" * 16, "pacs", 7)
    entry = {
        "state": "parked",
        "attempt": 4,
        "failures": 3,
        "waited_s": 60.0,
        "error": "refused",
        "next": None,
        "since": "s",
    }
    spool.outbox.post("pacs", KEY, "g" * 16, entry)
    spool.agenda.park(task, "Parked", "refused")
    again = spool.take_up(task)
    assert again == Task("deliver", KEY, "g" * 16, "pacs", 5)
    assert (spool.agenda.tasks("parked"), spool.agenda.tasks("todo")) == ([], [again])
    assert spool.outbox.delivery("pacs", KEY, "g" * 16) == entry | {
        "state": "waiting",
        "failures": 0,
        "waited_s": 0.0,
        "error": None,
        "next": again.name,
    }


def test_a_reading_that_a_power_cut_emptied_is_made_again(spool):
    take(spool)
    task = spool.settle(KEY)
    (spool.generation_folder(KEY, task.generation) / "reading.json").write_bytes(b"")
    assert spool.reading(KEY, task.generation) is None


def test_a_task_that_a_power_cut_took_along_is_noted_again(spool):
    take(spool)
    task = spool.settle(KEY)
    for path in (spool.folder / "todo").iterdir():
        path.unlink()
    assert spool.unsettled() == [KEY]
    assert spool.settle(KEY) == task
    assert spool.agenda.tasks("todo") == [task]


def test_a_report_is_there_before_the_rest_and_with_it_in_the_end(spool):
    take(spool)
    name = (KEY, spool.settle(KEY).generation)
    spool.write_report(*name, {"viewer/01-report/0.dcm": b"report"})
    assert (spool.has_report(*name), spool.has_results(*name)) == (True, False)
    (early,) = spool.results(*name, "viewer")
    spool.write_results(*name, {"viewer/02-picture/0.dcm": b"picture"})
    assert (spool.has_report(*name), spool.has_results(*name)) == (True, True)
    held = [path.read_bytes() for forms in spool.results(*name, "viewer") for path in forms]
    assert held == [b"report", b"picture"]
    assert early[0].read_bytes() == b"report", "whoever is sending it may go on"
    assert stat.S_IMODE(spool.results(*name, "viewer")[0][0].parent.stat().st_mode) == 0o700
