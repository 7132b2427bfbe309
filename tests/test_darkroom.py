"""Films are decoded elsewhere: what hangs, crashes or grows there is ended, named, and of no concern to the next film."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from node import darkroom as module
from node.darkroom import Darkroom
from node.errors import InferenceError, NotAssessable, Reason
from node.film_check import FEATURES
from node.pixels import InputSpec, read_dicom
from node.prints import Print, Spoiled, note_in, print_of, put, put_note, taken, tray_bytes
from tests.bombs import large_film, slow_film
from tests.films import chest, dx_film, file_bytes
from tests.peers import wait_until
from tests.test_service import is_alive

pytestmark = pytest.mark.slow

SPEC = InputSpec()
HERE = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("films") / "film.dcm"
    path.write_bytes(file_bytes(dx_film(chest(1400, 1200))))
    return path


@pytest.fixture(scope="module")
def patient() -> Iterator[Darkroom]:
    """A darkroom that waits longer than any test."""
    with Darkroom(SPEC, 600, 2048) as made:
        yield made


@pytest.fixture(scope="module")
def strict() -> Iterator[Darkroom]:
    """A darkroom with little time and memory."""
    with Darkroom(SPEC, 2, 256) as made:
        yield made


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A file that whoever opens waits at until somebody writes: a decoder that hangs."""
    path = tmp_path / "pipe.dcm"
    os.mkfifo(path)
    return path


Begin = Callable[[Darkroom, Path], "Future[Print]"]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Begin to decode a film in another thread."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda room, path: pool.submit(room.develop, path)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def child_at(room: Darkroom, pipe: Path) -> tuple[int, int]:
    """The process that waits for the bytes of a film, and a descriptor to write them to."""
    opened: list[int] = []

    def has_a_reader() -> bool:
        with contextlib.suppress(OSError):
            opened.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        return bool(opened)

    wait_until(has_a_reader, 60, "a film in work")
    os.set_blocking(opened[0], True)
    return children(room.pid)[0], opened[0]


def end(room: Darkroom, pipe: Path, number: int) -> int:
    """End the process that waits for the bytes of a film by a signal."""
    child, descriptor = child_at(room, pipe)
    os.kill(child, number)
    os.close(descriptor)  # at once: a second process would take it for a film without bytes
    if number != signal.SIGSTOP:
        wait_until(lambda: not is_alive(child))
    return child


def send_to(room: Darkroom, pipe: Path, film: Path) -> None:
    """Give the process that waits for it a film."""
    _, descriptor = child_at(room, pipe)
    with os.fdopen(descriptor, "wb") as file:
        file.write(film.read_bytes())


def reason_of(future: Future[Print]) -> tuple[Reason, str]:
    error = future.exception(120)
    assert isinstance(error, NotAssessable)
    return error.reason, error.detail


def equal(one: Print, other: Print) -> bool:
    arrays = [(getattr(one, name), getattr(other, name)) for name in ("gray", "features", "picture")]
    return one.content == other.content and all(np.array_equal(*pair) for pair in arrays)


def expected(film: Path) -> Print:
    return print_of(read_dicom(film), SPEC)


# What comes out


def test_a_film_comes_out_as_it_would_have_been_decoded_here(patient: Darkroom, film: Path) -> None:
    assert equal(patient.develop(film), expected(film))


def test_a_small_film_is_enlarged_for_its_picture_and_a_wide_one_fits(patient: Darkroom, tmp_path: Path) -> None:
    for rows, columns, shape in ((130, 130, (1024, 1024)), (200, 900, (341, 1536))):
        path = tmp_path / f"{columns}.dcm"
        path.write_bytes(file_bytes(dx_film(chest(rows, columns))))
        made = patient.develop(path)
        assert made.picture.shape == shape and equal(made, expected(path))


def test_a_film_that_cannot_be_read_is_refused_with_its_reason_at_once(patient: Darkroom, tmp_path: Path) -> None:
    broken = dx_film()
    broken.PixelData = broken.PixelData[:1000]
    (tmp_path / "broken.dcm").write_bytes(file_bytes(broken))
    with pytest.raises(NotAssessable) as refusal:
        patient.develop(tmp_path / "broken.dcm")
    assert (refusal.value.reason, refusal.value.detail) == (Reason.BROKEN_PIXELS, "length of pixel data")


def test_good_films_are_decoded_in_one_process_and_a_film_after_a_bad_one_in_another(
    patient: Darkroom, film: Path, tmp_path: Path
) -> None:
    patient.develop(film)
    (child,) = children(patient.pid)
    patient.develop(film)
    assert children(patient.pid) == [child]
    with pytest.raises(FileNotFoundError):
        patient.develop(tmp_path / "nowhere.dcm")
    assert equal(patient.develop(film), expected(film))
    assert child not in children(patient.pid)


def test_a_file_that_is_not_there_is_this_machines_trouble(patient: Darkroom, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        patient.develop(tmp_path / "nowhere.dcm")


# What hangs, crashes or grows


@pytest.mark.slow
def test_a_film_that_is_too_slow_twice_is_given_up_and_the_next_is_decoded(
    strict: Darkroom, film: Path, tmp_path: Path
) -> None:
    (tmp_path / "slow.dcm").write_bytes(file_bytes(slow_film()))
    with pytest.raises(NotAssessable) as refusal:
        strict.develop(tmp_path / "slow.dcm")
    assert (refusal.value.reason, refusal.value.detail) == (Reason.NOT_DECODED, "decoder: too slow")
    assert children(strict.pid) == []
    assert equal(strict.develop(film), expected(film))


def test_a_film_that_wants_too_much_memory_is_given_up_and_the_next_is_decoded(
    strict: Darkroom, film: Path, tmp_path: Path
) -> None:
    (tmp_path / "large.dcm").write_bytes(file_bytes(large_film()))
    with pytest.raises(NotAssessable) as refusal:
        strict.develop(tmp_path / "large.dcm")
    assert (refusal.value.reason, refusal.value.detail) == (Reason.NOT_DECODED, "decoder: out of memory")
    assert equal(strict.develop(film), expected(film))


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_film_whose_decoder_dies_twice_is_given_up_and_the_next_is_decoded(
    patient: Darkroom, begin: Begin, pipe: Path, film: Path, number: int
) -> None:
    developer, decoding = patient.pid, begin(patient, pipe)
    assert end(patient, pipe, number) != end(patient, pipe, number)
    assert reason_of(decoding) == (Reason.NOT_DECODED, "decoder: crashed")
    assert equal(patient.develop(film), expected(film))
    assert patient.pid == developer


def test_a_film_whose_decoder_dies_once_is_decoded_all_the_same(
    patient: Darkroom, begin: Begin, pipe: Path, film: Path
) -> None:
    decoding = begin(patient, pipe)
    end(patient, pipe, signal.SIGKILL)
    send_to(patient, pipe, film)
    assert equal(decoding.result(60), expected(film))


def test_a_decoder_that_is_stopped_is_ended_too(strict: Darkroom, begin: Begin, pipe: Path) -> None:
    decoding = begin(strict, pipe)
    first = end(strict, pipe, signal.SIGSTOP)
    assert reason_of(decoding) == (Reason.NOT_DECODED, "decoder: too slow")
    assert not is_alive(first)


# The developer itself


def test_a_developer_that_is_killed_between_films_is_replaced(patient: Darkroom, film: Path) -> None:
    gone = patient.pid
    os.kill(gone, signal.SIGKILL)
    wait_until(lambda: not is_alive(gone))
    assert equal(patient.develop(film), expected(film))
    assert patient.pid != gone and not Path(f"/proc/{gone}").exists(), "no zombie"


def test_a_developer_that_is_killed_takes_its_child_along_and_the_film_is_decoded(
    patient: Darkroom, begin: Begin, pipe: Path, film: Path
) -> None:
    decoding, gone = begin(patient, pipe), patient.pid
    child, descriptor = child_at(patient, pipe)
    os.kill(gone, signal.SIGKILL)
    wait_until(lambda: not is_alive(child), 30, "the end of the child")
    os.close(descriptor)
    send_to(patient, pipe, film)
    assert equal(decoding.result(120), expected(film))


def test_where_no_developer_lives_a_person_must_look(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "executable", "/bin/false")
    with Darkroom(SPEC, 2, 256) as room, pytest.raises(InferenceError, match="ends or does not answer"):
        room.develop(film)


@pytest.mark.slow
def test_a_developer_that_does_not_answer_is_ended(film: Path, begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_S", 1.0)
    with Darkroom(SPEC, 1, 2048) as room:
        room.develop(film)
        stopped = room.pid
        os.kill(stopped, signal.SIGSTOP)
        assert equal(begin(room, film).result(120), expected(film))
        assert not is_alive(stopped)


@pytest.mark.slow
def test_nothing_is_left_of_a_darkroom_that_was_closed(film: Path) -> None:
    before = len([*Path("/proc/self/fd").iterdir()])
    with Darkroom(SPEC, 60, 2048) as room:
        room.develop(film)
    assert not Path(f"/proc/{room.pid}").exists()
    assert len([*Path("/proc/self/fd").iterdir()]) == before


@pytest.mark.slow
@pytest.mark.parametrize("at_work", [False, True])
def test_a_developer_and_its_child_do_not_outlive_a_worker_that_is_killed(pipe: Path, at_work: bool) -> None:
    program = (
        "import sys, time; from pathlib import Path; from node.darkroom import Darkroom; from node.pixels import InputSpec\n"
        "room = Darkroom(InputSpec(), 600, 2048); room._await_start(); print(room.pid, flush=True)\n"
        f"room.develop(Path(sys.argv[1])) if {at_work} else time.sleep(600)"
    )
    worker = subprocess.Popen([sys.executable, "-c", program, str(pipe)], cwd=HERE, stdout=subprocess.PIPE, text=True)
    try:
        developer = int(worker.stdout.readline())  # type: ignore[union-attr]
        if at_work:
            wait_until(lambda: len(children(developer)) == 1, 30)
        left = [developer, *children(developer)]
        assert len(left) == 1 + at_work
    finally:
        worker.kill()
        worker.communicate()
    wait_until(lambda: not any(map(is_alive, left)), 30, "the end of the orphans")


def test_a_child_may_write_no_file_dump_no_core_and_open_few_files(patient: Darkroom, begin: Begin, pipe: Path) -> None:
    decoding = begin(patient, pipe)
    child, descriptor = child_at(patient, pipe)
    limits = {
        line[:26].strip(): line[26:].split()[0] for line in Path(f"/proc/{child}/limits").read_text().splitlines()
    }
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{child}/status").read_text().splitlines())
    open_files = [str(each.readlink()) for each in Path(f"/proc/{child}/fd").iterdir()]
    os.close(descriptor)
    assert reason_of(decoding)[0] is Reason.NO_PIXELS
    assert (limits["Max file size"], limits["Max core file size"], limits["Max open files"]) == ("0", "1", "32")
    assert int(limits["Max address space"]) < 4 << 30
    assert status["NoNewPrivs"].strip() == "1" and status["Threads"].strip() == "1"
    assert len([each for each in open_files if each.startswith("socket:")]) == 1, "that to its parent"


# The tray


def tray_with(film: Print) -> memoryview:
    tray = memoryview(bytearray(tray_bytes(SPEC)))
    put(tray, film)
    return tray


MADE = Print(np.zeros((224, 224), np.float32), np.ones(FEATURES, np.float32), 1.0, np.ones((1024, 1536), np.uint8))


def test_a_print_goes_through_a_tray_unchanged() -> None:
    assert equal(taken(tray_with(MADE), SPEC), MADE)


@pytest.mark.parametrize(
    "note",
    [
        {"picture": [1025, 10], "content": 1.0},
        {"picture": [10, 1537], "content": 1.0},
        {"picture": [0, 10], "content": 1.0},
        {"picture": [-1, -10], "content": 1.0},
        {"picture": [10, 10], "content": 1.5},
        {"picture": [10, 10], "content": float("nan")},
        {"picture": [10, 10]},
        {"picture": "10", "content": 1.0},
        {},
    ],
)
def test_a_note_that_no_honest_child_writes_is_not_believed(note: dict[str, Any]) -> None:
    tray = tray_with(MADE)
    put_note(tray, note)
    with pytest.raises(Spoiled):
        taken(tray, SPEC)


@pytest.mark.parametrize("written", [b"", b"{", b"[]\0", b"\xff\xfe\0", b"9" * 5000])
def test_a_tray_without_a_note_is_spoiled(written: bytes) -> None:
    tray = memoryview(bytearray(tray_bytes(SPEC)))
    tray[: len(written)] = written
    with pytest.raises(Spoiled):
        note_in(tray)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1, 1.1])
def test_values_that_no_honest_child_writes_are_not_believed(bad: float) -> None:
    gray = MADE.gray.copy()
    gray[3, 3] = bad
    with pytest.raises(Spoiled):
        taken(tray_with(replace(MADE, gray=gray)), SPEC)


@pytest.mark.parametrize(
    "note",
    [
        {"refused": "BROKEN_PIXELS", "detail": "x" * 1000},
        {"refused": "BROKEN_PIXELS", "detail": "a\nb"},
    ],
)
def test_the_words_of_a_refusal_are_cut_short(note: dict[str, Any]) -> None:
    with pytest.raises(NotAssessable) as refusal:
        module._look_for_trouble(note)
    assert len(refusal.value.detail) <= 64 and refusal.value.detail.isprintable()


def test_a_fault_that_nobody_foresaw_is_named_by_class_and_place_and_is_a_persons() -> None:
    with pytest.raises(InferenceError, match=r"unexpected KeyError at pixels.py:7 in decoding; please report it"):
        module._look_for_trouble({"fault": "KeyError", "place": "pixels.py:7"})


def test_the_bombs_are_what_they_say(tmp_path: Path) -> None:
    """The slow film is a film, if a decoder has the time; in few scans it has."""
    (tmp_path / "quick.dcm").write_bytes(file_bytes(slow_film(side_px=800, scans=3)))
    with pytest.raises(NotAssessable, match="one gray value only"):
        read_dicom(tmp_path / "quick.dcm")
    assert len(file_bytes(slow_film())) < 2_000_000
    assert len(file_bytes(large_film())) < 5_000
