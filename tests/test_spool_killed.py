"""What a kill leaves of the spool is found again; what is answered for was told to the disk before."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from node.agenda import STATES, Task
from node.durable import key_of
from node.release import asked, release
from node.spool import Kind, Spool, Unsent
from tests import killed
from tests.killed import IMAGES, PARKED, RESULTS
from tests.peers import require_peer
from tests.spools import files, held_results

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parents[1]


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


def test_a_study_is_whole_or_forgotten_wherever_the_receiver_is_killed(killed_at_every_line):
    seen = set()
    for folder, done in killed_at_every_line(killed.forget):
        spool, study_key = recover(folder), key_of(killed.STUDY)
        spool.empty_trash()
        assert not list(spool.trash.iterdir())
        if "delivered" not in done:
            continue
        held = spool.study_folder(study_key)
        assert (
            "forgotten" in done
            or spool.studies() == []
            or set(RESULTS) <= {path.split("/results/")[-1] for path in files(held)}
        )
        assert "taken" not in done or len(list(held.glob("*.dcm"))) == 1
        seen.add((bool(done), spool.studies() == []))
        spool.take(killed.STUDY, "1.2.1", Kind.IMAGE, (b"an image",))
        spool.settle(study_key)
        tasks = {task for state in STATES for task in spool.agenda.tasks(state)}
        results = [spool.has_results(study_key, generation.name) for generation in spool.generations(study_key)]
        assert len(results) == 1 and bool(tasks) != results[0], "read anew, or held with its results"
    assert seen == {(True, True), (True, False)}


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
            assert noted == {"todo": [again], "open": [], "parked": [], "unreleased": []}
        for task in noted["parked"]:
            assert spool.take_up(task) == again


def test_results_wait_are_withheld_or_are_on_their_way_wherever_a_process_is_killed(killed_at_every_line):
    seen = set()
    for folder, done in killed_at_every_line(killed.supervise):
        if "read" not in done:
            continue
        spool, key = Spool(folder), key_of(killed.STUDY)
        generation = spool.generations(key)[0].name
        post = Task("post", key, generation)

        def becomes(spool=spool, key=key, generation=generation, post=post):
            held = {
                "waits": post in spool.agenda.tasks("unreleased"),
                "withheld": spool.unsent(key, generation) is Unsent.WITHHELD,
                "released": post in spool.agenda.tasks("todo"),
                "posted": spool.outbox.is_posted(key, generation),
            }
            return [state for state, is_so in held.items() if is_so]

        for task in spool.agenda.tasks("todo"):  # what the next worker does first
            if task.verb == "read":
                killed.post_supervised(spool, task)
        (state, *more) = becomes()
        assert more in ([], ["posted"]), "posted, the task is finished next"
        order = ("waits", "withheld", "released", "posted")
        promised = [word for word in order if word in done]
        assert not promised or order.index((more or [state])[0]) >= order.index(promised[-1])
        note = asked(spool, key, generation)
        if state in ("withheld", "released", "posted"):
            assert note is not None, "nothing is decided without somebody who is named"
        if state == "withheld":
            assert not spool.outbox.is_posted(key, generation)
        seen.add(state)
        if state in ("waits", "withheld"):
            release(spool, "supervised", key, "another reader")
        for task in spool.agenda.tasks("todo"):
            killed.post_supervised(spool, task)
        assert becomes() == ["posted"]
        assert spool.agenda.tasks("todo") == spool.agenda.tasks("unreleased") == []
    assert seen == {"waits", "withheld", "released", "posted"}


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
CALLS = "openat,open,write,writev,fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat"
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
    for line in whole_calls(trace.read_text().splitlines()):
        if word := re.search(r'write\(2<.*"(ACK|SETTLED|WRITTEN)\\n"', line):
            chapters.append((word[1], steps))
            steps = []
        elif step := step_of(line, folder):
            steps += [step] if step != (steps or [None])[-1] else []  # a file written in several pieces is one step
    return chapters


def whole_calls(lines):
    """Put together what strace tears apart where threads call at once: a call counts from when it is over."""
    begun = {}
    for line in lines:
        thread = line.split()[0]
        if line.endswith(" <unfinished ...>"):
            begun[thread] = line.removesuffix(" <unfinished ...>")
        elif " resumed>" in line:
            yield begun.pop(thread) + line.partition(" resumed>")[2]
        else:
            yield line


def step_of(line, folder):
    """One line of strace as a step; None where it is not about the spool, changes nothing or fails."""
    call = re.match(r"\d+ +(\w+?)(at|at2|v)?\((.*)\) += (\d+)", line)
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
        # Not synced: where the machine goes down with it, a generation without results is settled anew.
        ("open", "todo/.*"),
        ("write", "todo/.*"),
        ("rename", "todo/read.*.*.-.1"),
    ]


@pytest.mark.peers
def test_results_get_their_name_after_all_of_them_are_on_the_disk(witnessed):
    (writing,) = (steps for word, steps in witnessed if word == "WRITTEN")
    assert writing[-2:] == [("rename", "studies/*/*/results"), ("fsync", "studies/*/*")]
    made = "studies/*/*/.results"
    synced = [path for call, path in writing[:-2] if call == "fsync"]
    files = [f"{made}/viewer/01-report/0.dcm", f"{made}/viewer/02-map/0.dcm"]
    folders = [made, f"{made}/viewer", f"{made}/viewer/01-report", f"{made}/viewer/02-map"]
    assert sorted(synced) == sorted([*files, *folders]), "each once, in whatever order: none of them has its name yet"
    written = [path for call, path in writing if call == "write"]
    assert written == files
    last_write = max(index for index, (call, _) in enumerate(writing) if call == "write")
    assert "fsync" not in [call for call, _ in writing[:last_write]], "what is synced is all there"
