"""One hundred answers of the real receiver, as the kernel saw them: nothing is called stored before the disk has it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.peers import free_port, listens, require_peer, wait_until
from tests.radiographs import encoded, radiograph
from tests.raw import DEFLATED, STORE, STORE_DEFLATED, Raw

pytestmark = [pytest.mark.peers, pytest.mark.slow]

REPOSITORY = Path(__file__).resolve().parents[2]
CALLS = "openat,open,write,pwrite64,writev,fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat,sendto,sendmsg"
TAKE_FILE = [("open", "incoming/*.part"), ("write", "incoming/*.part"), ("fsync", "incoming/*.part")]
NAME_IT = [("rename", "studies/*/*.image.dcm"), ("fsync", "studies/*")]
NEW_STUDY = [("mkdir", "studies/*"), ("fsync", "studies")]
ANSWER = ("answer", "")
IN_NEW_STUDY, IN_HELD_STUDY = TAKE_FILE + NEW_STUDY + NAME_IT, TAKE_FILE + NAME_IT
# What was held already is not renamed; but its name may not be on the disk yet, so the folder is synced once more.
HELD_ALREADY = [*TAKE_FILE, ("fsync", "studies/*")]


def told(trace: Path, spool: Path) -> Iterator[tuple[str, str]]:
    """Yield what was asked of the disk, each as (call, path) once it was done, and each answer once it began to be sent.

    Digests are shown as ``*``; a file that is written in several pieces is one step.
    """
    begun: dict[str, str] = {}
    for line in trace.read_text().splitlines():
        process, _, text = line.partition(" ")
        text = text.strip()
        if text.startswith("send") and "\\4\\0" in text:  # a P-DATA-TF, whichever way strace spells its first two bytes
            yield ANSWER
            continue
        if text.endswith("<unfinished ...>"):
            begun[process] = text.removesuffix("<unfinished ...>").rstrip()
            continue
        if resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", text):
            text = begun.pop(process, "") + resumed[1]  # an answer's end: it counted when it began
        if step := _step(text, spool):
            yield step


def _step(text: str, spool: Path) -> tuple[str, str] | None:
    call = re.match(r"p?(open|write|fsync|fdatasync|rename|mkdir)(?:at2?|64|v)?\((.*)\)\s+= \d+", text)
    paths = re.findall(rf'[<"]{spool}/?([^">]*)[">]', call[2]) if call else []
    if call is None or not paths or (call[1] == "open" and "O_CREAT" not in text):
        return None
    path = re.sub(r"\b[0-9a-f]{16,}\b", "*", paths[-1])
    return (call[1].replace("fdatasync", "fsync"), path) if path.startswith(("incoming", "studies")) else None


def chapters(steps: Iterator[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Divide into what came before each answer, each the steps since the answer before."""
    found: list[list[tuple[str, str]]] = []
    since: list[tuple[str, str]] = []
    for step in steps:
        if step == ANSWER:
            found.append(since)
            since = []
        elif not since or since[-1] != step:
            since.append(step)
    return found


def test_of_100_answers_each_comes_after_file_name_and_folder_are_on_the_disk(tmp_path: Path) -> None:
    port, spool, trace = free_port(), tmp_path / "spool", tmp_path / "trace"
    config = tmp_path / "node.yaml"
    # Nothing settles meanwhile: what the settler writes belongs to no answer.
    study = {"settle_s": 300, "quiet_s": 300}
    config.write_text(yaml.safe_dump({"listen": {"port": port}, "spool": {"folder": str(spool)}, "study": study}))
    strace = [require_peer("strace"), "-f", "-y", "-s", "200", "-o", str(trace), "-e", f"trace={CALLS}"]
    node = [sys.executable, "-m", "node", "serve", "--role", "receive", "--config", str(config)]
    running = subprocess.Popen([*strace, *node], cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    expected = []
    try:
        wait_until(lambda: listens(port), 120, "the receiver under strace")
        for number in range(20):
            with Raw(port) as caller:
                caller.associate()
                films = [radiograph(f"1.2.3.{number}") for _ in range(4)]
                for at, film in enumerate(films):
                    # One film of four is deflated, and the first comes a second time.
                    context, syntax = (STORE_DEFLATED, [DEFLATED]) if at == 2 else (STORE, [])
                    assert caller.store(encoded(film, *syntax), str(film.SOPInstanceUID), context) == 0x0000
                    expected.append(IN_NEW_STUDY if at == 0 else IN_HELD_STUDY)
                assert caller.store(encoded(films[0]), str(films[0].SOPInstanceUID)) == 0x0000
                expected.append(HELD_ALREADY)
    finally:
        (child,) = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        subprocess.run(["kill", f"-{signal.SIGTERM.value}", child], check=True)
        running.wait(60)
    assert len(expected) == 100
    answered = chapters(told(trace, spool))
    # The folders of the spool itself are made before the first association.
    answered[0] = answered[0][-len(IN_NEW_STUDY) :]
    assert answered == expected


def test_a_trace_in_which_the_answer_comes_first_is_seen_through(tmp_path: Path) -> None:
    """The reader of traces itself: a sync that had begun, but had not ended, does not count."""
    spool = Path("/s")
    lines = [
        f'1 openat(AT_FDCWD, "/s/incoming/{"a" * 32}.part", O_RDWR|O_CREAT|O_EXCL, 0600) = 5</s/incoming/{"a" * 32}.part>',
        f'1 write(5</s/incoming/{"a" * 32}.part>, "xx", 2) = 2',
        f"1 fsync(5</s/incoming/{'a' * 32}.part> <unfinished ...>",
        r'2 sendto(9<socket:[77]>, "\4\0\0\0\0\204"..., 138, 0, NULL, 0 <unfinished ...>',
        "2 <... sendto resumed>) = 138",
        "1 <... fsync resumed>) = 0",
        f'1 rename("/s/incoming/{"a" * 32}.part", "/s/studies/{"b" * 32}/{"c" * 32}.image.dcm") = 0',
    ]
    trace = tmp_path / "trace"
    trace.write_text("\n".join(lines))
    steps = list(told(trace, spool))
    assert steps == [*TAKE_FILE[:2], ANSWER, TAKE_FILE[2], NAME_IT[0]]
    assert chapters(iter(steps)) == [TAKE_FILE[:2]]
