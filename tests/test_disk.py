"""The reserve: below it no image is taken, at the port or on an association that stands, and an echo is answered still."""

import os

import pytest
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from node import disk
from node.disk import FILES_KEPT, Room, room
from node.door.limits import Limits
from node.door.sink import InstanceFile
from node.errors import OutOfResources
from node.spool import Spool
from tests.peers import wait_until
from tests.radiographs import radiograph
from tests.senders import CR, EXPLICIT, associated, bring, request, send_dataset
from tests.spools import no_space, take

MANY = 1 << 60


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("free", "reserve", "files_left", "short"),
    [
        (1000, 1000, None, False),
        (999, 1000, None, True),
        (0, 0, None, False),
        (MANY, 1000, FILES_KEPT - 1, True),
        (MANY, 1000, FILES_KEPT, False),
        (MANY, 0, 0, False),
    ],
)
def test_a_disk_is_short_of_room_once_the_reserve_has_begun_or_few_files_are_left(free, reserve, files_left, short):
    assert Room(free, MANY, reserve, files_left).is_short is short


def test_the_room_of_a_folder_that_is_not_there_yet_is_that_of_its_disk(tmp_path):
    found, there = room(tmp_path / "not" / "yet", 5), os.statvfs(tmp_path)
    assert found.total_bytes == there.f_blocks * there.f_frsize
    assert found.reserve_bytes == 5


def test_a_disk_that_cannot_be_asked_takes_no_image(tmp_path, monkeypatch):
    spool = Spool(tmp_path, 1)
    assert not spool.is_short()
    monkeypatch.setattr(disk, "room", no_space)
    assert spool.is_short()


def test_no_instance_is_begun_below_the_reserve(tmp_path):
    with pytest.raises(OutOfResources, match="the spool's disk is short of room"):
        take(Spool(tmp_path, MANY))
    assert files(tmp_path) == []


def test_an_instance_that_outgrows_the_room_is_given_up_and_swallowed(tmp_path, monkeypatch):
    monkeypatch.setattr("node.door.sink.LOOK_EVERY_S", 0)
    answers = iter([False, True])
    sink = InstanceFile(Spool(tmp_path).incoming, b"head", Limits(), lambda: next(answers))
    for _ in range(4):
        sink.write(memoryview(bytes(1 << 20)))
        sink.flush()
    with pytest.raises(OutOfResources, match="the spool's disk is short of room"):
        sink.data_set()
    assert files(tmp_path) == []


def test_the_room_is_asked_for_by_the_clock_while_an_instance_comes(tmp_path, monkeypatch):
    now, asked = [100.0], []
    monkeypatch.setattr("node.door.sink.time.monotonic", lambda: now[0])
    sink = InstanceFile(Spool(tmp_path).incoming, b"head", Limits(), lambda: bool(asked.append(now[0])))
    for moment in (100.0, 100.04, 100.06, 100.1, 100.2):
        now[0] = moment
        sink.write(memoryview(b"some"))
        sink.flush()
    assert asked == [100.06, 100.2], "not within 50 ms of the beginning or of the last time"
    sink.discard()


def answer_to(port, *contexts):
    association = request(port, contexts)
    if association.is_established:
        association.release()
        return "accepted"
    answer = association.acceptor.primitive or association.dul.receive_pdu()
    return answer.result, answer.result_source, answer.diagnostic


def test_below_the_reserve_who_would_bring_images_is_rejected_for_now_and_nobody_else(node):
    echo, store, commit = (Verification, EXPLICIT), (CR, EXPLICIT), (StorageCommitmentPushModel, EXPLICIT)
    with associated(node.port, [store, echo]) as standing:
        node.spool._reserve_bytes = MANY
        assert answer_to(node.port, store) == answer_to(node.port, echo, store) == (2, 3, 1)
        assert answer_to(node.port, echo) == answer_to(node.port, commit) == "accepted"
        assert node.receiver.door()["rejected"] == {"temporary congestion: the disk is short of room": 2}
        assert send_dataset(standing, radiograph()) == 0xA700
        assert standing.send_c_echo().Status == 0x0000
        assert files(node.spool.folder) == []
        assert node.receiver.tally()["refused"] == {"0xA700": 1}
        node.spool._reserve_bytes = 0
        film = radiograph()
        assert send_dataset(standing, film) == 0x0000
        assert bring(node.port, film) == [0x0000]


def test_a_study_whose_task_a_full_disk_did_not_take_is_settled_once_there_is_room(node, monkeypatch):
    monkeypatch.setattr("node.receive.SETTLE_AGAIN_S", 0.05)
    with monkeypatch.context() as patch:
        patch.setattr(node.spool.agenda, "note", no_space)
        assert bring(node.port, radiograph()) == [0x0000]
        wait_until(lambda: list(node.spool.folder.glob("studies/*/*/generation.json")))
    wait_until(lambda: node.spool.agenda.tasks("todo"))
