"""What is acknowledged is on the disk, whole, once and under a name of ours; what a kill leaves is found again."""

import errno
import os
import re
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from node import durable
from node.agenda import STATES, Task
from node.durable import key_of, make_folder, read_json, write_json, write_new
from node.errors import CannotUnderstand, OutOfResources
from node.spool import Kind, Spool
from node.study import ModelIdentity, StudyReading, Times
from tests import killed
from tests.killed import IMAGES, PARKED, RESULTS
from tests.peers import require_peer

HERE = Path(__file__).resolve().parents[1]
STUDY, INSTANCE = "1.2.826.0.1.3680043.10.1.1", "1.2.826.0.1.3680043.10.1.1.1"
KEY = key_of(STUDY)
CONTENT = bytes(range(256)) * 40


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool")


def take(spool, instance=INSTANCE, content=CONTENT, kind=Kind.IMAGE, study=STUDY):
    return spool.take(study, instance, kind, (content[:100], memoryview(content)[100:]))


def files(folder):
    """The files of a folder, by their paths, with what they hold."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# Files


def test_a_new_folder_and_its_new_parents_are_this_users_alone(tmp_path):
    make_folder(tmp_path / "a" / "b" / "c")
    for folder in ("a", "a/b", "a/b/c"):
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o700


def test_each_new_folder_is_made_durable_in_its_parent(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(durable, "sync_folder", synced.append)
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"]


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "a")
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "a" / "b")


def test_a_file_is_never_written_over(tmp_path):
    write_new(tmp_path / "a", (b"one",))
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "a", (b"two",))
    assert (tmp_path / "a").read_bytes() == b"one"


def test_json_is_replaced_as_one_and_read_again(tmp_path):
    for form in ({"a": 1}, {"b": [1, None, "ü"]}):
        write_json(tmp_path / "new" / "form.json", form)
        assert read_json(tmp_path / "new" / "form.json") == form
    assert list(files(tmp_path)) == ["new/form.json"]


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_json_that_the_disk_does_not_take_leaves_the_old_one_and_nothing_else(tmp_path, monkeypatch, step):
    write_json(tmp_path / "form.json", {"old": 1})
    monkeypatch.setattr(os, step, no_space)
    with pytest.raises(OSError, match="No space"):
        write_json(tmp_path / "form.json", {"new": 2})
    monkeypatch.undo()
    assert read_json(tmp_path / "form.json") == {"old": 1}
    assert list(files(tmp_path)) == ["form.json"]


def test_a_key_names_one_uid_and_no_other():
    keys = {key_of(uid) for uid in ("1.2", "1.2 ", "1.2.3", "", "../..")}
    assert len(keys) == 5
    assert all(re.fullmatch(r"[0-9a-f]{32}", key) for key in keys)


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
    ours = r"(spool|incoming|studies|todo|open|parked|claims|outbox|commitments|results|pacs|viewer|air|read|image|document|json|dcm)"
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
    assert synced == [spool.study_folder(KEY)]


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


def test_what_a_stopped_receiver_left_half_written_is_removed_and_nothing_else(spool):
    take(spool)
    (spool.folder / "incoming" / "0123.part").write_bytes(b"half")
    spool.clear_incoming()
    spool.clear_incoming()
    assert [*files(spool.folder).values()] == [CONTENT]


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


def held_results(spool, task):
    folder = spool.generation_folder(task.study_key, task.generation) / "results"
    return files(folder) if folder.exists() else None


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
    left, fsync = file, os.fsync

    def fill_up(descriptor):
        nonlocal left
        left -= stat.S_ISREG(os.fstat(descriptor).st_mode)
        return fsync(descriptor) if left else no_space()

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


# Killed between any two lines


@pytest.fixture
def killed_at_every_line(tmp_path, monkeypatch):
    """Run a story of `tests.killed`; gives each folder with what was done in it. From then on nothing is fsynced."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)

    def run(story):
        command = [sys.executable, "-m", "tests.killed", story.__name__, tmp_path]
        subprocess.run(command, cwd=HERE, check=True, timeout=200, stdout=subprocess.DEVNULL)
        folders = sorted(
            (folder for folder in tmp_path.iterdir() if folder.name.isdigit()), key=lambda each: int(each.name)
        )
        assert len(folders) > 40
        return [(folder / "spool", (folder / "done").read_text().splitlines()) for folder in folders]

    return run


def recover(folder):
    """Do with a spool what a receiver does at its start."""
    spool = Spool(folder)
    spool.clear_incoming()
    for study_key in spool.unsettled():
        assert spool.settle(study_key) is not None
    return spool


def test_a_receiver_killed_anywhere_loses_nothing_it_answered_for_and_reads_all_of_it(killed_at_every_line):
    stories = killed_at_every_line(killed.take_and_settle)
    for folder, done in stories:
        spool = recover(folder)
        held = {
            path.split("/")[-1].split(".")[0]: content
            for path, content in files(spool.folder).items()
            if "image" in path
        }
        promised = {uid for uid in IMAGES if f"taken {uid}" in done}
        assert promised <= {uid for uid in IMAGES if key_of(uid) in held}
        assert all(held[key_of(uid)] == content for uid, content in IMAGES.items() if key_of(uid) in held)
        assert not list((folder / "incoming").iterdir())
        for study_key in spool.studies():
            generations = spool.generations(study_key)
            assert set(held) == set(generations[-1].instances if generations else ())
            assert [generation.number for generation in generations] == [*range(1, 1 + len(generations))]
            assert [generation.previous for generation in generations] == [None, *(g.name for g in generations[:-1])][
                : len(generations)
            ]
            tasks = [task for state in STATES for task in spool.agenda.tasks(state)]
            assert generations == [] or Task("read", study_key, generations[-1].name) in tasks
            assert len(tasks) == len(set(tasks)) <= 2
        assert spool.unsettled() == []
        sent_again = [spool.take(killed.STUDY, uid, Kind.IMAGE, (content,)) for uid, content in IMAGES.items()]
        assert sent_again == [key_of(uid) not in held for uid in IMAGES]
    assert stories[-1][1] == ["taken 1.2.1", "taken 1.2.2", "settled", "taken 1.2.3", "settled"]


def test_results_of_a_worker_killed_anywhere_are_all_there_or_none(killed_at_every_line):
    whole = 0
    for folder, done in killed_at_every_line(killed.write_results):
        if not done:
            continue
        spool, task = Spool(folder), Task("read", key_of(killed.STUDY), done[0])
        assert held_results(spool, task) in (RESULTS, None)
        assert "written" not in done or spool.has_results(task.study_key, task.generation)
        whole += spool.has_results(task.study_key, task.generation)
        spool.write_results(task.study_key, task.generation, RESULTS)
        assert held_results(spool, task) == RESULTS
        assert not list(spool.generation_folder(task.study_key, task.generation).glob(".results"))
    assert whole > 1


def test_work_that_was_parked_or_taken_up_by_a_killed_process_is_never_lost(killed_at_every_line):
    for folder, done in killed_at_every_line(killed.park_and_take_up):
        spool = Spool(folder)
        again = replace(PARKED, attempt=3)
        noted = {state: spool.agenda.tasks(state) for state in STATES}
        everywhere = [task for tasks in noted.values() for task in tasks]
        assert set(everywhere) <= {PARKED, again}
        assert everywhere or not done
        if "parked" in done:
            assert noted["parked"] == [PARKED] or noted["todo"] == [again]
        if "taken up" in done:
            assert noted == {"todo": [again], "open": [], "parked": []}
        for task in noted["parked"]:
            assert spool.take_up(task) == again


# In which order the disk is told

WITNESSED = """
import os, sys
from pathlib import Path
from node.spool import Kind, Spool
spool = Spool(Path(sys.argv[1]))
for study, instance in (("1", "1.1"), ("1", "1.2"), ("2", "2.1"), ("1", "1.2")):
    spool.take(study, instance, Kind.IMAGE, (b"head" * 30, b"pixels" * 5000))
    os.write(2, b"ACK\\n")
from node.durable import key_of
task = spool.settle(key_of("1"))
os.write(2, b"SETTLED\\n")
spool.write_results(task.study_key, task.generation, {"viewer/01-report/0.dcm": b"report", "viewer/02-map/0.dcm": b"map"})
os.write(2, b"WRITTEN\\n")
"""
CALLS = "openat,open,write,fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat"
TAKE_FILE = [("open", "incoming/*.part"), ("write", "incoming/*.part"), ("fsync", "incoming/*.part")]
NAME_IT = [("rename", "studies/*/*.image.dcm"), ("fsync", "studies/*")]
NEW_STUDY = [("mkdir", "studies/*"), ("fsync", "studies")]


@pytest.fixture(scope="module")
def witnessed(tmp_path_factory):
    """What a small program tells the disk, as (word, steps before it); a step is (call, path), digests shown as ``*``."""
    folder = tmp_path_factory.mktemp("witnessed") / "spool"
    trace = folder.parent / "trace"
    strace = [require_peer("strace"), "-f", "-y", "-s", "300", "-o", trace, "-e", f"trace={CALLS}"]
    command = [*strace, sys.executable, "-c", WITNESSED, folder]
    subprocess.run(command, cwd=HERE, check=True, capture_output=True, timeout=120)
    chapters, steps = [], []
    for line in trace.read_text().splitlines():
        if word := re.search(r'write\(2<.*"(ACK|SETTLED|WRITTEN)\\n"', line):
            chapters.append((word[1], steps))
            steps = []
        elif step := step_of(line, folder):
            steps += [step] if step != (steps or [None])[-1] else []  # a file written in several pieces is one step
    return chapters


def step_of(line, folder):
    """One line of strace as a step; None where it is not about the spool, changes nothing or fails."""
    call = re.match(r"\d+ +(\w+?)(at|at2)?\((.*)\) += (\d+)", line)
    paths = re.findall(rf'[<"]{folder}/?([^>"]*)[>"]', call[3]) if call else []
    if not paths or (call[1] == "open" and "O_CREAT" not in line):
        return None
    # A rename has two paths, the new one last; an opened file has its path at the end once more.
    return call[1], re.sub(r"\b[0-9a-f]{16,}\b", "*", paths[-1])


@pytest.mark.peers
def test_each_answer_comes_after_the_file_its_name_and_its_folder_are_on_the_disk(witnessed):
    first, second, other_study, once_more = [steps for word, steps in witnessed if word == "ACK"]
    assert first[-7:] == TAKE_FILE + NEW_STUDY + NAME_IT
    assert second == TAKE_FILE + NAME_IT
    assert other_study == TAKE_FILE + NEW_STUDY + NAME_IT
    assert once_more == [*TAKE_FILE, ("fsync", "studies/*")]


@pytest.mark.peers
def test_a_generation_is_on_the_disk_before_its_task_is(witnessed):
    (settling,) = (steps for word, steps in witnessed if word == "SETTLED")
    assert settling == [
        ("mkdir", "studies/*/*"),
        ("fsync", "studies/*"),
        ("open", "studies/*/*/.*"),
        ("write", "studies/*/*/.*"),
        ("fsync", "studies/*/*/.*"),
        ("rename", "studies/*/*/generation.json"),
        ("fsync", "studies/*/*"),
        ("open", "todo/.*"),
        ("write", "todo/.*"),
        ("fsync", "todo/.*"),
        ("rename", "todo/read.*.*.-.1"),
        ("fsync", "todo"),
    ]


@pytest.mark.peers
def test_results_get_their_name_after_all_of_them_are_on_the_disk(witnessed):
    (writing,) = (steps for word, steps in witnessed if word == "WRITTEN")
    assert writing[-2:] == [("rename", "studies/*/*/results"), ("fsync", "studies/*/*")]
    made = "studies/*/*/.results"
    synced = [path for call, path in writing[:-2] if call == "fsync"]
    files = [f"{made}/viewer/01-report/0.dcm", f"{made}/viewer/02-map/0.dcm"]
    folders = [made, f"{made}/viewer", f"{made}/viewer/01-report", f"{made}/viewer/02-map"]
    assert [path for path in synced if path in files] == files
    assert set(folders) <= set(synced[synced.index(files[-1]) :])
