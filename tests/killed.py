"""Work on a spool that is killed between any two lines, each time from the start: ``python -m tests.killed STORY FOLDER``.

For each line of the spool's modules that a story runs through, a child process runs the story in a folder of its own
(``FOLDER/0``, ``FOLDER/1`` and so on) and is ended there by ``_exit``: no ``finally`` helps it. Lines between which nothing
of the disk has changed count as one. What the story had done by then is in its file ``done``, a word a line. The last
folder's story ran to its end.
"""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from node import agenda, durable, outbox, release, spool
from node.agenda import Task
from node.spool import Kind, Spool

CHANGES = {"open", "os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir"}
WATCHED = {module.__file__ for module in (agenda, durable, outbox, release, shutil, spool)}
IMAGES = {f"1.2.{number}": bytes([number]) * 1000 for number in range(1, 4)}
STUDY = "1.2"
RESULTS = {
    "viewer/01-report/0.dcm": b"report" * 99,
    "viewer/02-picture/0.dcm": b"picture" * 99,
    "air/01-sr/0.dcm": b"sr",
}
PARKED = Task("deliver", "a" * 32, "b" * 16, "pacs", 2)


def take_and_settle(spool: Spool, done: Callable[[str], None]) -> None:
    """Two images are taken and settled; a third comes late."""
    for number, (uid, content) in enumerate(IMAGES.items(), start=1):
        spool.take(STUDY, uid, Kind.IMAGE, (content[:10], content[10:]))
        done(f"taken {uid}")
        if number > 1:
            task = spool.settle(durable.key_of(STUDY))
            assert task is not None
            done("settled")
            spool.agenda.claimed(task)


def write_results(spool: Spool, done: Callable[[str], None]) -> None:
    """The results of a generation are written."""
    spool.take(STUDY, "1.2.1", Kind.IMAGE, (b"an image",))
    task = spool.settle(durable.key_of(STUDY))
    assert task is not None
    done(task.generation)
    spool.write_results(task.study_key, task.generation, RESULTS)
    done("written")


def park_and_take_up(spool: Spool, done: Callable[[str], None]) -> None:
    """A delivery is claimed, parked, and put back to work."""
    entry = {"state": "waiting", "attempt": 2, "next": PARKED.name, "failures": 4, "waited_s": 9.0, "error": None}
    spool.outbox.post(PARKED.destination, PARKED.study_key, PARKED.generation, entry)
    spool.agenda.note(PARKED)
    done("noted")
    spool.agenda.claimed(PARKED)
    spool.agenda.park(PARKED, "Parked", "why")
    done("parked")
    spool.take_up(PARKED)
    done("taken up")


def forget(spool: Spool, done: Callable[[str], None]) -> None:
    """A study that is through is forgotten, then one of its images comes again."""
    spool.empty_trash()
    spool.take(STUDY, "1.2.1", Kind.IMAGE, (b"an image",))
    task = spool.settle(durable.key_of(STUDY))
    assert task is not None
    spool.write_results(task.study_key, task.generation, RESULTS)
    spool.outbox.post("pacs", task.study_key, task.generation, {"state": "delivered"})
    spool.agenda.finished(task)
    done("delivered")
    assert spool.forget(task.study_key, -1.0)
    done("forgotten")
    spool.take(STUDY, "1.2.1", Kind.IMAGE, (b"an image",))
    done("taken")


def supervise(spool: Spool, done: Callable[[str], None]) -> None:
    """Results wait for a person, are withheld and released all the same, and posted."""
    spool.take(STUDY, "1.2.1", Kind.IMAGE, (b"an image",))
    task = spool.settle(durable.key_of(STUDY))
    assert task is not None
    spool.write_results(task.study_key, task.generation, RESULTS)
    done("read")
    post_supervised(spool, task)
    done("waits")
    release.withhold(spool, task.study_key, "a reader")
    done("withheld")
    release.release(spool, "supervised", task.study_key, "a reader")
    done("released")
    (released,) = spool.agenda.tasks("todo")
    post_supervised(spool, released)
    done("posted")


def post_supervised(spool: Spool, task: Task) -> None:
    """Do with results what the worker of a supervised node does."""
    if release.is_to_be_sent(spool, "supervised", task, has_results=True):
        spool.outbox.post("pacs", task.study_key, task.generation, {"state": "waiting"})
    spool.agenda.finished(task)


STORIES = {story.__name__: story for story in (take_and_settle, write_results, park_and_take_up, forget, supervise)}


def run(story: str, folder: Path, lines: int) -> bool:
    """Run a story in a child process until it has run some lines; tells whether it came to its end."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status) == 0
    left, changed = lines, True

    def note_change(event: str, _: Any) -> None:
        nonlocal changed
        changed = changed or event in CHANGES

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left, changed
        if frame.f_code.co_filename not in WATCHED:
            return None
        if event == "line" and (changed or frame.f_code.co_name in ("write", "write_new")):
            changed = False
            left -= 1
            if left < 0:
                os._exit(9)
        return trace

    done = os.open(folder / "done", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    spool = Spool(folder / "spool")
    sys.addaudithook(note_change)
    sys.settrace(trace)

    def note_done(word: str) -> None:
        os.write(done, f"{word}\n".encode())

    STORIES[story](spool, note_done)
    os._exit(0)


def main() -> None:
    story, folder = sys.argv[1], Path(sys.argv[2])
    # A kill loses nothing of the page cache; what a power cut loses is not shown here.
    os.fsync = lambda fd: None
    lines = 0
    finished = False
    while not finished:
        (folder / str(lines)).mkdir()
        finished = run(story, folder / str(lines), lines)
        lines += 1
    print(lines)


if __name__ == "__main__":
    main()
