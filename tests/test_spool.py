"""What is acknowledged is on the disk, whole, once and under a name of ours, and is settled once."""

import os
import re
import stat
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from node.agenda import STATES, Task
from node.durable import key_of
from node.errors import CannotUnderstand, OutOfResources
from node.spool import Kind, Spool
from tests.killed import RESULTS
from tests.spools import CONTENT, INSTANCE, KEY, files, no_space, take

HERE = Path(__file__).resolve().parents[1]


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool")


# Taking an instance


def test_an_instance_is_taken_whole(spool):
    assert take(spool) is True
    assert spool.instance_path(KEY, key_of(INSTANCE)).read_bytes() == CONTENT
    assert [*files(spool.folder)] == [f"studies/{KEY}/{key_of(INSTANCE)}.image.dcm"]
    assert spool.studies() == [KEY]


@pytest.mark.parametrize("kind", list(Kind))
def test_the_name_says_what_kind_of_instance_it_is(spool, kind):
    take(spool, kind=kind)
    assert spool.instance_path(KEY, key_of(INSTANCE)).name == f"{key_of(INSTANCE)}.{kind}.dcm"


def test_the_same_instance_again_changes_nothing(spool):
    take(spool)
    path = spool.instance_path(KEY, key_of(INSTANCE))
    before = path.stat()
    assert take(spool) is False
    assert path.stat() == before
    assert len(files(spool.folder)) == 1


@pytest.mark.parametrize("other", [CONTENT[:-1] + b"x", CONTENT[:-1], CONTENT + b"x", b"", b"x" * len(CONTENT)])
@pytest.mark.parametrize("kind", list(Kind))
def test_other_content_under_a_uid_that_is_held_is_refused_and_the_first_stays(spool, other, kind):
    take(spool)
    with pytest.raises(CannotUnderstand, match="held with other content"):
        take(spool, content=other, kind=kind)
    assert [*files(spool.folder).values()] == [CONTENT]


def test_content_is_compared_and_not_its_length_and_time(spool, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: os.utime(descriptor, (1000, 1000)))
    take(spool)
    with pytest.raises(CannotUnderstand):
        take(spool, content=CONTENT[::-1])


def test_one_instance_uid_in_two_studies_is_two_instances(spool):
    assert take(spool)
    assert take(spool, study="1.2.3", content=b"other")
    assert len(spool.studies()) == 2


@pytest.mark.parametrize(
    "uid", ["../../../../tmp/evil", "/etc/passwd", "a\0b", "", ".", "..", "x" * 5000, "Müller^Eva"]
)
def test_no_uid_becomes_part_of_a_path(spool, uid):
    assert take(spool, uid, study=uid)
    (name,) = files(spool.folder)
    assert re.fullmatch(r"studies/[0-9a-f]{32}/[0-9a-f]{32}\.image\.dcm", name)


def test_no_name_in_the_spool_holds_anything_that_a_peer_sent(spool):
    take(spool)
    take(spool, "9.8.7.6", kind=Kind.DOCUMENT)
    task = spool.settle(KEY)
    spool.write_results(KEY, task.generation, RESULTS)
    spool.outbox.post("pacs", KEY, task.generation, {"state": "waiting"})
    spool.agenda.park(task, "InferenceError", "")
    ours = r"(spool|incoming|studies|todo|open|parked|unreleased|claims|outbox|commitments|results|pacs|viewer|air|read|image|document|json|dcm)"
    for path in (path for path in spool.folder.rglob("*") if "results/" not in str(path)):
        for part in re.split(r"[/.]", str(path.relative_to(spool.folder))):
            assert re.fullmatch(rf"{ours}|generation|[0-9a-f]{{16}}|[0-9a-f]{{32}}|-|1", part), path


def test_files_and_folders_are_this_users_alone(tmp_path):
    spool = Spool(tmp_path / "made" / "for" / "it")
    take(spool)
    task = spool.settle(KEY)
    spool.write_results(KEY, task.generation, RESULTS)
    spool.agenda.park(task, "InferenceError", "")
    made = [tmp_path / "made", *(tmp_path / "made").rglob("*")]
    assert len(made) > 20
    for path in made:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


# Many at once


def at_once(*works):
    """Do works in threads that begin together; gives what each returned or raised."""
    barrier, results = threading.Barrier(len(works)), [None] * len(works)

    def run(index):
        barrier.wait()
        try:
            results[index] = works[index]()
        except CannotUnderstand as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("round_", range(5))
def test_of_eight_that_bring_one_uid_with_other_content_one_is_taken_and_stays(spool, round_):
    contents = [bytes([number]) * 20_000 for number in range(8)]
    results = at_once(*(lambda content=content: take(spool, content=content) for content in contents))
    assert results.count(True) == 1
    assert sum(isinstance(result, CannotUnderstand) for result in results) == 7
    assert [*files(spool.folder).values()] == [contents[results.index(True)]]


def test_of_eight_that_bring_one_uid_as_another_kind_one_is_taken_and_stays(spool):
    kinds = [kind for kind in Kind for _ in range(3)][:8]
    works = [
        lambda kind=kind, content=b"%d" % index: take(spool, kind=kind, content=content)
        for index, kind in enumerate(kinds)
    ]
    results = at_once(*works)
    assert results.count(True) == 1
    ((name, content),) = files(spool.folder).items()
    assert (kinds[int(content)], int(content)) == (Kind(name.split(".")[-2]), results.index(True))


def test_of_eight_that_bring_the_same_instance_one_is_told_it_is_new(spool):
    results = at_once(*[lambda: take(spool)] * 8)
    assert sorted(results) == [False] * 7 + [True]
    assert [*files(spool.folder).values()] == [CONTENT]


def test_eight_instances_of_a_new_study_are_all_taken(spool):
    uids = [f"1.2.{number}" for number in range(8)]
    assert at_once(*(lambda uid=uid: take(spool, uid, uid.encode()) for uid in uids)) == [True] * 8
    assert sorted(files(spool.folder).values()) == sorted(uid.encode() for uid in uids)


def test_whoever_finds_an_instance_held_waits_until_it_is_durable(spool, monkeypatch):
    """An answer before the folder's fsync would promise what the first sender's thread has yet to do."""
    take(spool)
    synced = []
    monkeypatch.setattr("node.spool.sync_folder", synced.append)
    assert take(spool) is False
    assert synced == [str(spool.study_folder(KEY))]


# A disk that does not take it


@pytest.mark.parametrize("step", ["fsync", "rename", "open"])
def test_a_full_disk_is_out_of_resources_and_leaves_no_file(spool, monkeypatch, step):
    monkeypatch.setattr(os, step, no_space)
    with pytest.raises(OutOfResources) as refused:
        take(spool)
    monkeypatch.undo()
    assert refused.value.status == 0xA700
    assert refused.value.comment == "the spool does not take the instance (No space left on device)"
    assert files(spool.folder) == {}
    assert take(spool) is True


def test_a_failed_fsync_of_the_folder_is_no_success_and_the_instance_can_come_again(spool, monkeypatch):
    monkeypatch.setattr("node.spool.sync_folder", no_space)
    with pytest.raises(OutOfResources):
        take(spool)
    monkeypatch.undo()
    assert [*files(spool.folder).values()] == [CONTENT]
    assert take(spool) is False


def test_a_spool_that_has_gone_is_out_of_resources(spool):
    (spool.folder / "incoming").rmdir()
    with pytest.raises(OutOfResources, match="No such file"):
        take(spool)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 512 KiB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder], check=False, capture_output=True
    )
    if mount.returncode:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_fills_up_holds_what_was_taken_whole_and_nothing_else(small_disk):
    spool, content = Spool(small_disk / "spool"), os.urandom(90_000)
    taken = []

    def fill_up():
        for number in range(100):
            take(spool, f"1.{number}", content)
            taken.append(f"1.{number}")

    with pytest.raises(OutOfResources, match="No space left on device"):
        fill_up()
    assert 2 <= len(taken) < 6
    held = files(spool.folder)
    assert sorted(held) == sorted(f"studies/{KEY}/{key_of(uid)}.image.dcm" for uid in taken)
    assert set(held.values()) == {content}
    spool.instance_path(KEY, key_of(taken[0])).unlink()
    assert take(spool, "1.100", content) is True


def test_a_study_that_a_full_disk_could_not_settle_is_settled_later(small_disk):
    spool = Spool(small_disk / "spool")
    take(spool)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(bytes(1 << 20))
    with pytest.raises(OSError, match="No space"):
        spool.settle(KEY)
    filler.unlink()
    task = spool.settle(KEY)
    assert spool.agenda.tasks("todo") == [task]
    assert len(spool.generations(KEY)) == 1


# Settling


def test_settling_notes_one_task_for_all_images_that_are_there(spool):
    take(spool)
    take(spool, "9.9", b"another")
    task = spool.settle(KEY)
    assert task == Task("read", KEY, task.generation)
    assert spool.agenda.tasks("todo") == [task]
    (generation,) = spool.generations(KEY)
    assert generation == spool.generation(KEY, task.generation)
    assert generation.instances == tuple(sorted((key_of(INSTANCE), key_of("9.9"))))
    assert (generation.study_key, generation.number, generation.previous) == (KEY, 1, None)
    assert re.fullmatch(r"[0-9a-f]{16}", generation.name)


def test_a_generation_knows_when_its_first_instance_came(spool):
    take(spool)
    take(spool, "9.9", b"another")
    earlier = datetime.now(UTC) - timedelta(hours=1)
    os.utime(spool.instance_path(KEY, key_of("9.9")), (earlier.timestamp(),) * 2)
    generation = spool.generation(KEY, spool.settle(KEY).generation)
    assert abs(datetime.fromisoformat(generation.received) - earlier) < timedelta(milliseconds=1)
    assert datetime.fromisoformat(generation.settled) > datetime.fromisoformat(generation.received)
    assert datetime.fromisoformat(generation.settled).utcoffset() == timedelta(0)


@pytest.mark.parametrize("progress", ["noted", "claimed", "parked", "read", "read and parked"])
def test_the_same_images_are_settled_once_however_far_their_reading_is(spool, progress):
    take(spool)
    task = spool.settle(KEY)
    if progress == "claimed":
        spool.agenda.claimed(task)
    if "read" in progress:
        spool.write_results(KEY, task.generation, {})
        spool.agenda.finished(task)
    if "parked" in progress:
        spool.agenda.park(task, "InferenceError", "")
    before = {state: spool.agenda.tasks(state) for state in STATES}
    take(spool)
    assert spool.settle(KEY) is None
    assert spool.unsettled() == []
    assert {state: spool.agenda.tasks(state) for state in STATES} == before
    assert len(spool.generations(KEY)) == 1


def test_a_late_image_makes_a_second_generation_that_names_the_first(spool):
    names = []
    for number in range(1, 4):
        take(spool, f"9.{number}", b"%d" % number)
        names.append(spool.settle(KEY).generation)
    assert [generation.name for generation in spool.generations(KEY)] == names
    assert [generation.number for generation in spool.generations(KEY)] == [1, 2, 3]
    assert [generation.previous for generation in spool.generations(KEY)] == [None, names[0], names[1]]
    assert [len(generation.instances) for generation in spool.generations(KEY)] == [1, 2, 3]


def test_a_document_beside_an_image_is_not_read_with_it_and_settles_nothing_later(spool):
    take(spool, "9.1", b"report", Kind.DOCUMENT)
    take(spool)
    task = spool.settle(KEY)
    assert spool.generation(KEY, task.generation).instances == (key_of(INSTANCE),)
    take(spool, "9.2", b"presentation state", Kind.DOCUMENT)
    assert spool.settle(KEY) is None
    assert spool.unsettled() == []


def test_a_study_of_documents_alone_is_settled_and_an_image_that_follows_is_too(spool):
    take(spool, "9.1", b"report", Kind.DOCUMENT)
    first = spool.settle(KEY)
    assert spool.generation(KEY, first.generation).instances == (key_of("9.1"),)
    take(spool)
    second = spool.generation(KEY, spool.settle(KEY).generation)
    assert (second.instances, second.previous) == ((key_of(INSTANCE),), first.generation)


def test_own_results_that_come_back_settle_nothing(spool):
    take(spool, "9.1", b"own", Kind.OWN)
    assert spool.settle(KEY) is None
    assert spool.unsettled() == []
    take(spool)
    task = spool.settle(KEY)
    assert spool.generation(KEY, task.generation).instances == (key_of(INSTANCE),)
    take(spool, "9.2", b"own too", Kind.OWN)
    assert spool.settle(KEY) is None
    assert spool.agenda.tasks("todo") == [task]


def test_studies_are_settled_by_themselves(spool):
    take(spool)
    take(spool, study="9")
    assert spool.settle(KEY).generation == spool.settle(key_of("9")).generation
    assert spool.unsettled() == []
    assert len(spool.agenda.tasks("todo")) == 2


def test_what_was_taken_and_not_settled_is_found(spool):
    take(spool)
    take(spool, study="9")
    spool.settle(KEY)
    assert Spool(spool.folder).unsettled() == [key_of("9")]


def test_a_generation_without_a_task_or_results_is_found_and_given_its_task(spool):
    take(spool)
    task = spool.settle(KEY)
    spool.agenda.finished(task)
    assert spool.unsettled() == [KEY]
    assert spool.settle(KEY) == task
    assert spool.agenda.tasks("todo") == [task]
    assert len(spool.generations(KEY)) == 1


def test_an_earlier_generation_that_was_overtaken_is_not_read_again(spool):
    take(spool)
    spool.agenda.finished(spool.settle(KEY))
    take(spool, "9.9", b"late")
    spool.write_results(KEY, spool.settle(KEY).generation, {})
    assert spool.unsettled() == []


@pytest.mark.parametrize("stray", ["notes.txt", ".DS_Store", "lost+found", f"{KEY} (copy)"])
def test_a_file_that_a_person_put_among_the_studies_is_no_study(spool, stray):
    take(spool)
    (spool.folder / "studies" / stray).write_text("x")
    assert spool.studies() == spool.unsettled() == [KEY]


@pytest.mark.parametrize("stray", ["notes.dcm", "a.b.c.dcm", f"{key_of(INSTANCE)}.film.dcm", "copy of a.image.dcm"])
def test_a_file_that_a_person_put_among_the_images_is_no_image(spool, stray):
    take(spool)
    (spool.study_folder(KEY) / stray).write_text("x")
    task = spool.settle(KEY)
    assert spool.generation(KEY, task.generation).instances == (key_of(INSTANCE),)


def test_what_a_stopped_receiver_left_half_written_is_removed_and_nothing_else(spool):
    take(spool)
    (spool.folder / "incoming" / "0123.part").write_bytes(b"half")
    spool.clear_incoming()
    spool.clear_incoming()
    assert [*files(spool.folder).values()] == [CONTENT]


def test_what_a_killed_process_left_beside_tasks_and_deliveries_is_removed_and_what_is_being_written_is_not(spool):
    folders = [spool.folder / name for name in ("todo", "claims", "outbox/pacs", "run", "quarantine")]
    for folder in folders:
        folder.mkdir(exist_ok=True)
        for name in (".left", ".fresh", "whole"):
            (folder / name).write_bytes(b"{")
        for name in (".left", "whole"):
            os.utime(folder / name, (1e9, 1e9))
    spool.clear_incoming()
    assert all({path.name for path in folder.iterdir()} == {".fresh", "whole"} for folder in folders)
