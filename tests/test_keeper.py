"""What is forgotten, when, and what never is; and that nobody who sends at that moment loses an image."""

import os
import threading
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from node import keeper, log
from node.config import Spool as Rules
from node.durable import key_of
from node.keeper import GRACE_S, Keeper
from node.quarantine import Quarantine
from node.report import compose
from node.spool import Kind, Spool
from tests.filled import FilledSpool
from tests.readings import OPTIONS, TIMES, source, studies
from tests.spools import no_space

DAY_S = 86_400.0
pytestmark = pytest.mark.usefixtures("no_fsync")


@pytest.fixture
def filled(tmp_path):
    return FilledSpool(tmp_path / "spool")


def grow_old(filled, study_key, days):
    """Have a study look as if nothing of it had come or gone for so many days."""
    then = time.time() - days * DAY_S
    folder = filled.spool.study_folder(study_key)
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (then, then))


def delivered(filled, days=0.0, **read):
    task = filled.delivered(**read)
    grow_old(filled, task.study_key, days)
    return task


def keep(filled, **rules):
    """Go one whole round; gives the studies that are still held."""
    housekeeper = Keeper(filled.spool, Rules(**rules), Quarantine(filled.spool.folder / "quarantine"))
    housekeeper.turn()
    return filled.spool.studies()


def left(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


# By age


def test_a_study_is_forgotten_once_its_days_are_up_and_not_before(filled):
    old, young = delivered(filled, 31), delivered(filled, 29)
    assert keep(filled, keep_days=30) == [young.study_key]
    assert left(filled.spool.trash) == []
    assert not filled.spool.study_folder(old.study_key).exists()


def test_nothing_is_forgotten_where_no_days_and_no_bound_are_set(filled):
    task = delivered(filled, 30_000)
    assert keep(filled, keep_days=0, keep_gb=0) == [task.study_key]


def test_what_is_forgotten_is_logged_by_its_key_and_counted(filled, monkeypatch):
    said = []
    monkeypatch.setattr(log, "event", lambda name, **fields: said.append((name, fields)))
    task = delivered(filled, 31)
    housekeeper = Keeper(filled.spool, Rules(keep_days=30), Quarantine(filled.spool.folder / "quarantine"))
    housekeeper.turn()
    assert said == [("study.forgotten", {"study": task.study_key, "bytes": 0, "reason": "age"})]
    assert housekeeper.forgotten == 1
    assert {*said[0][1]} <= log.FIELDS


def parked(filled):
    task = filled.settled()
    filled.spool.agenda.park(task, "InferenceError", "why")
    return task.study_key


def posted(state):
    def study(filled):
        task = filled.read()
        filled.post(task, "pacs", "delivered")
        filled.post(task, "teaching", state)
        return task.study_key

    return study


def taken_up(filled):
    task = filled.delivered()
    filled.spool.agenda.park(task, "Parked", "why")
    filled.spool.take_up(task)
    return task.study_key


def at_work(filled):
    task = filled.settled()
    filled.spool.agenda.claimed(task)
    return task.study_key


def read_anew(filled):
    """The first reading was delivered everywhere, the second nowhere."""
    first = filled.delivered()
    filled.read_again(first, "urgent")
    return first.study_key


def with_a_late_image(filled):
    task = filled.delivered()
    (filled.spool.study_folder(task.study_key) / f"{'0' * 32}.image.dcm").write_bytes(b"another image")
    return task.study_key


def to_a_destination_that_is_gone(filled):
    task = filled.delivered()
    filled.post(task, "forsaken", "waiting")
    return task.study_key


STILL_TO_DO = {
    "received": lambda filled: filled.received(),
    "settled": lambda filled: filled.settled().study_key,
    "at work": at_work,
    "parked": parked,
    "taken up again": taken_up,
    "read and posted nowhere": lambda filled: filled.read().study_key,
    "waiting for one destination": posted("waiting"),
    "not committed to by one": posted("committing"),
    "parked for one": posted("parked"),
    "waiting for a destination that is gone": to_a_destination_that_is_gone,
    "read anew and not delivered": read_anew,
    "with a late image": with_a_late_image,
}


@pytest.mark.parametrize("study", STILL_TO_DO.values(), ids=STILL_TO_DO)
def test_a_study_of_which_anything_is_left_to_do_stays_however_old(filled, study):
    study_key = study(filled)
    grow_old(filled, study_key, 300)
    other = delivered(filled, 300).study_key
    assert keep(filled, keep_days=1, keep_gb=1e-9) == [study_key]
    assert other != study_key


def test_a_study_that_gave_no_results_to_send_goes_as_well(filled):
    task = filled.settled()
    filled.spool.write_results(task.study_key, task.generation, {})
    filled.spool.agenda.finished(task)
    own = filled.received(kind=Kind.OWN)
    for study_key in (task.study_key, own):
        grow_old(filled, study_key, 31)
    assert keep(filled, keep_days=30) == []


def test_a_study_that_was_delivered_or_sent_again_lately_is_not_old(filled):
    late, again = delivered(filled, 31), delivered(filled, 31)
    filled.post(late, "pacs", "delivered")
    folder = filled.spool.study_folder(again.study_key)
    (image,) = folder.glob("*.dcm")
    copy = filled.spool.incoming()
    copy.write(image.read_bytes())
    assert filled.spool._place(copy, folder, image.name.split(".")[0], Kind.IMAGE) is False
    copy.discard()
    assert set(keep(filled, keep_days=30)) == {late.study_key, again.study_key}


# By room


def test_the_oldest_go_first_until_the_rest_has_room(filled):
    tasks = [delivered(filled, days) for days in (3, 9, 6)]
    (filled.spool.study_folder(tasks[0].study_key) / "weight").write_bytes(bytes(1 << 20))
    grow_old(filled, tasks[0].study_key, 3)
    assert set(keep(filled, keep_days=30, keep_gb=1.2 / 1024)) == {tasks[0].study_key}
    assert keep(filled, keep_days=30, keep_gb=1.0) == [tasks[0].study_key]


def test_a_study_of_this_hour_stays_however_little_room_there_is(filled):
    young = delivered(filled, (GRACE_S - 60) / DAY_S)
    old = delivered(filled, (GRACE_S + 60) / DAY_S)
    assert old.study_key not in keep(filled, keep_days=30, keep_gb=1e-9)
    assert filled.spool.studies() == [young.study_key]


def test_a_round_is_gone_in_small_turns(filled, monkeypatch):
    monkeypatch.setattr(keeper, "TURN_S", -1.0)
    for _ in range(3):
        delivered(filled, 31)
    housekeeper = Keeper(filled.spool, Rules(keep_days=30), Quarantine(filled.spool.folder / "quarantine"))
    counts = []
    while filled.spool.studies():
        housekeeper.turn()
        counts.append(len(filled.spool.studies()))
    assert counts == [3, 3, 3, 2, 1, 0]


# At the same time


def test_an_image_that_comes_while_its_study_is_forgotten_is_held_afterwards(filled):
    """Again and again, the one a little sooner or later than the other."""
    spool, orders = filled.spool, set()
    for number in range(60):
        task = filled.delivered()
        study_uid = f"1.2.{number}"
        folder = spool.study_folder(key_of(study_uid))
        spool.study_folder(task.study_key).rename(folder)
        start = threading.Barrier(2)

        def come(study_uid=study_uid, start=start, number=number):
            start.wait()
            time.sleep(number % 6 * 0.0004)
            spool.take(study_uid, "1.2.3.4", Kind.IMAGE, (b"late",))

        comer = threading.Thread(target=come)
        comer.start()
        start.wait()
        forgotten = spool.forget(folder.name, -1.0)
        comer.join()
        orders.add(forgotten)
        assert spool.instance_path(folder.name, key_of("1.2.3.4")).read_bytes() == b"late"
        assert len(list(folder.glob("*.dcm"))) == (1 if forgotten else 2)
        assert not spool.is_through(folder.name)
    assert True in orders


def test_a_study_that_was_forgotten_is_not_settled(filled):
    task = delivered(filled, 31)
    assert filled.spool.forget(task.study_key, 0.0)
    assert filled.spool.settle(task.study_key) is None
    assert filled.spool.studies() == []
    assert not filled.spool.forget(task.study_key, 0.0)


def test_what_a_stopped_receiver_was_deleting_is_deleted_by_the_next(filled):
    task = delivered(filled, 1)
    filled.spool.trash.mkdir()
    filled.spool.study_folder(task.study_key).rename(filled.spool.trash / f"{task.study_key}.0")
    assert keep(filled) == []
    assert left(filled.spool.trash) == []


def test_a_study_that_the_disk_does_not_let_go_keeps_no_other(filled, monkeypatch):
    stuck, gone = delivered(filled, 40), delivered(filled, 31)
    housekeeper = Keeper(filled.spool, Rules(keep_days=30), Quarantine(filled.spool.folder / "quarantine"))
    forget = filled.spool.forget
    with monkeypatch.context() as patch:
        patch.setattr(
            filled.spool, "forget", lambda key, *more: no_space() if key == stuck.study_key else forget(key, *more)
        )
        housekeeper.turn()
    assert filled.spool.studies() == [stuck.study_key] != [gone.study_key]
    housekeeper.turn()
    assert filled.spool.studies() == []


# When it comes again


def test_a_forgotten_study_that_is_sent_again_is_read_anew(tmp_path):
    filled = FilledSpool(tmp_path / "spool")
    first = delivered(filled, 31)
    assert keep(filled, keep_days=30) == []
    again = FilledSpool(tmp_path / "spool").settled()
    assert again == first, "the same images make the same generation"
    assert Spool(tmp_path / "spool").agenda.tasks("todo") == [first]


def test_a_reading_at_another_time_makes_other_objects_and_a_repeated_one_the_same():
    study = source(*studies()["urgent"])
    later = replace(study.reading, times=replace(TIMES, started=TIMES.started + timedelta(days=31)))

    def uids(reading):
        results = compose(replace(study, reading=reading), OPTIONS, "viewer")
        return {encoded.sop_instance_uid for result in results for encoded in result.encodings}

    assert uids(study.reading) == uids(study.reading)
    assert not uids(study.reading) & uids(later)
