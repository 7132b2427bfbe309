"""The receiver, as a process of its own, under everything a hostile or broken peer can do to it.

It goes on answering a C-ECHO within 2 s, pays at most 300 MB for a bomb, and has its threads, memory and descriptors
back within 15 s.
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.peers import wait_until
from tests.radiographs import element, encoded, radiograph
from tests.raw import (
    ABORT,
    AC,
    P_DATA,
    RJ,
    RQ,
    STORE,
    STORE_DEFLATED,
    Raw,
    command,
    data_set,
    fragment,
    outcome,
    pdu,
    request,
    store_request,
)
from tests.walks import nested

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
ECHO_WITHIN_S, REST_WITHIN_S, BOMB_MB = 2.0, 15.0, 300
# What a process's memory may differ by though nothing is kept: Python and the C library give back what they like.
SLACK_MB = 40


class Receiver:
    """``cxr-node serve --role receive``, looked at from outside."""

    def __init__(self, folder: Path, limit: Callable[[], None] | None = None, **listen: object) -> None:
        self.folder, self.said = folder, folder / "said"
        config = folder / "node.yaml"
        config.write_text(yaml.safe_dump({"listen": {"port": 0} | listen, "spool": {"folder": "spool"}}))
        program = [sys.executable, "-m", "node", "serve", "--role", "receive", "--config", str(config)]
        with self.said.open("wb") as output:
            joined = {"stdout": output, "stderr": subprocess.STDOUT}
            self.process = subprocess.Popen(program, cwd=REPOSITORY, preexec_fn=limit, **joined)  # type: ignore[call-overload]
        # It announces itself once all its threads have been started, the last of them after the port is open.
        announced = folder / "spool" / "run" / "receive.json"
        wait_until(lambda: self.process.poll() is not None or announced.exists(), 60)
        self.port: int = self.events("listener.opened")[0]["port"]
        self._proc = Path("/proc") / str(self.process.pid)
        self.threads = self.status("Threads")

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.said.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    def caller(self, within_s: float = 30.0) -> Raw:
        return Raw(self.port, within_s=within_s)

    def echoes(self) -> bool:
        """Whether a C-ECHO of somebody who has just come is answered in time."""
        with self.caller(ECHO_WITHIN_S) as caller:
            return caller.associate().echo() == 0x0000

    def files(self) -> list[Path]:
        return list((self.folder / "spool").rglob("*.part"))

    def status(self, field: str) -> int:
        """A number of /proc/PID/status: VmRSS, VmHWM (kB), Threads."""
        text = (self._proc / "status").read_text()
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith(f"{field}:")))

    def descriptors(self) -> int:
        return len(list((self._proc / "fd").iterdir()))

    @contextlib.contextmanager
    def pays_at_most(self, megabytes: int) -> Iterator[None]:
        """Fail where its memory grows by more at any moment."""
        (self._proc / "clear_refs").write_text("5")  # begin anew to look for the peak (proc(5))
        before = self.status("VmRSS")
        yield
        assert self.status("VmHWM") - before < megabytes * 1024

    def comes_to_rest(self, before: tuple[int, int, int]) -> None:
        """Wait until threads, descriptors and memory are as they were."""
        threads, descriptors, memory = before

        def rests() -> bool:
            is_small = self.status("VmRSS") < memory + SLACK_MB * 1024
            return (self.status("Threads"), self.descriptors()) == (threads, descriptors) and is_small

        wait_until(rests, REST_WITHIN_S, f"the rest as before: {before}")

    def state(self) -> tuple[int, int, int]:
        return self.status("Threads"), self.descriptors(), self.status("VmRSS")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0


def _store_something(receiver: Receiver) -> None:
    dataset = radiograph(side_px=1000)
    with receiver.caller() as caller:
        assert caller.associate().store(encoded(dataset), str(dataset.SOPInstanceUID)) == 0x0000


@contextlib.contextmanager
def receiving(folder: Path, limit: Callable[[], None] | None = None, **listen: object) -> Iterator[Receiver]:
    """Run a receiver that has served one caller before; it must still serve at the end, and nothing in it may have failed."""
    folder.mkdir()
    running = Receiver(folder, limit, **listen)
    try:
        assert running.echoes()
        yield running
        assert running.echoes()
        for event in ("thread.died", "door.failed", "process.failed", "settling.failed"):
            assert running.events(event) == []
        running.stop()
    finally:
        running.process.kill()
        running.process.wait()


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with receiving(tmp_path_factory.mktemp("abuse") / "node") as running:
        _store_something(running)
        yield running


@pytest.fixture
def before(receiver: Receiver) -> tuple[int, int, int]:
    """Its threads, descriptors and memory at rest."""
    wait_until(lambda: receiver.status("Threads") == receiver.threads, REST_WITHIN_S)
    return receiver.state()


# Crowds


@pytest.mark.slow
def test_a_c_echo_is_answered_while_hundreds_of_connections_are_held_and_after(
    receiver: Receiver, before: tuple[int, int, int]
) -> None:
    """200 silent ones and 200 with half a request, opened anew as the door closes them, for longer than its deadline."""
    stop, threads = threading.Event(), []

    def hold(sent: bytes) -> None:
        held = [receiver.caller() for _ in range(100)]
        for each in held:
            each.send(sent)
        while not stop.wait(0.01):
            number = int(time.monotonic() * 100) % len(held)
            held[number].socket.close()
            held[number] = receiver.caller().send(sent)
        for each in held:
            each.socket.close()

    for sent in (b"", request()[:20], b"", request()[:-1]):
        threads.append(threading.Thread(target=hold, args=(sent,)))
        threads[-1].start()
    try:
        wait_until(lambda: receiver.descriptors() > 200, 30)
        answered = 0
        until = time.monotonic() + 12
        while time.monotonic() < until:
            assert receiver.echoes()
            assert receiver.status("Threads") <= before[0] + 4
            answered += 1
            time.sleep(0.1)
        assert answered > 10
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert receiver.echoes()
    receiver.comes_to_rest(before)


@pytest.mark.slow
def test_of_two_hundred_associations_at_once_each_gets_an_answer(
    receiver: Receiver, before: tuple[int, int, int]
) -> None:
    held = [receiver.caller().send(request()) for _ in range(200)]
    assert receiver.echoes()
    answers = []
    for each in held:
        with contextlib.suppress(ConnectionError):
            answers.append(each.answer()[0])
    assert len(answers) == 200
    assert set(answers) <= {AC, RJ}
    assert answers.count(AC) >= 32
    assert receiver.echoes()
    for each in held:
        each.socket.close()
    receiver.comes_to_rest(before)


def test_three_hundred_visits_of_a_monitor_leave_nothing(receiver: Receiver, before: tuple[int, int, int]) -> None:
    for _ in range(300):
        receiver.caller().socket.close()
    assert receiver.echoes()
    receiver.comes_to_rest(before)


def test_associations_that_are_dropped_anyhow_leave_nothing(receiver: Receiver, before: tuple[int, int, int]) -> None:
    begun = command(STORE, store_request()) + pdu(P_DATA, fragment(STORE, 0, bytes(100_000)))
    for number in range(120):
        with receiver.caller() as caller:
            caller.associate().send(begun[: len(begun) - 800 * number], pdu(ABORT, bytes(4)) if number % 3 else b"")
    receiver.comes_to_rest(before)
    assert receiver.files() == []


@pytest.mark.slow
def test_a_process_without_a_descriptor_left_still_serves_whoever_comes(tmp_path: Path) -> None:
    def few_descriptors() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (120, 120))

    with receiving(tmp_path / "node", few_descriptors) as receiver:
        held = [receiver.caller().send(request()[:20]) for _ in range(200)]
        assert all(receiver.echoes() for _ in range(20))
        assert receiver.descriptors() <= 120
        for each in held:
            each.socket.close()


# Bombs


def deflated_bomb() -> bytes:
    """Half a gigabyte of zeros in 509 kB, in one private element."""
    engine = zlib.compressobj(9, wbits=-15)
    head = encoded(radiograph(PixelData=None)) + element(0x7FE10010, b"OB", b"", 512 << 20)
    block = engine.compress(head) + engine.compress(bytes(16 << 20))
    return block + b"".join(engine.compress(bytes(16 << 20)) for _ in range(31)) + engine.flush()


def storing(data: bytes, context_id: int = STORE, uid: str = "1.2.3.4") -> bytes:
    return command(context_id, store_request(uid)) + data_set(context_id, data, 130_000)


BOMBS: dict[str, tuple[bytes, Sequence[int]]] = {
    "a PDU of 4 GB": (pdu(P_DATA, b"", 0xFFFFFFFF), (2, 0)),
    "sequences nested 20,000 deep": (storing(nested(20_000)), (0xC210,)),
    "an element of 4 GB": (storing(element(0x00291010, b"OB", b"", 0xFFFFFFF0)), (0xC210,)),
    "300,000 elements": (storing(element(0x00291010, b"UL", bytes(4)) * 300_000), (0xC210,)),
    "half a gigabyte deflated to half a megabyte": (storing(deflated_bomb(), STORE_DEFLATED), (0xC210,)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_little_and_is_no_success(receiver: Receiver, before: tuple[int, int, int], name: str) -> None:
    sent, answer = BOMBS[name]
    with receiver.pays_at_most(BOMB_MB), receiver.caller() as caller:
        assert outcome(caller.associate(), sent) == answer
        assert receiver.echoes()
    receiver.comes_to_rest(before)
    assert receiver.files() == []


@pytest.mark.slow
def test_many_bombs_at_once_cost_no_more_than_one(receiver: Receiver, before: tuple[int, int, int]) -> None:
    bomb = storing(deflated_bomb(), STORE_DEFLATED)
    with receiver.pays_at_most(BOMB_MB):
        callers = [receiver.caller(60).associate().send(bomb) for _ in range(16)]
        assert {caller.status() for caller in callers} == {0xC210}
    for caller in callers:
        caller.socket.close()
    receiver.comes_to_rest(before)


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "answer"), [(8192, 0x0000), (8193, 0xC210)], ids=["whole", "a row short"])
def test_an_object_of_128_mb_costs_no_memory_and_is_taken_if_it_is_whole(
    receiver: Receiver, before: tuple[int, int, int], rows: int, answer: int
) -> None:
    image = radiograph(f"1.2.{rows}", PixelData=None, Rows=rows, Columns=8192)
    data = encoded(image) + element(0x7FE00010, b"OW", b"", 2 * 8192 * 8192) + bytes(2 * 8192 * 8192)
    with receiver.pays_at_most(50), receiver.caller(120) as caller:
        assert outcome(caller.associate(), storing(data, uid=str(image.SOPInstanceUID))) == (answer,)
    receiver.comes_to_rest(before)
    assert receiver.files() == []


def test_a_flood_behind_a_pdu_of_4_gb_is_not_read(receiver: Receiver, before: tuple[int, int, int]) -> None:
    flood = (bytes(1 << 16) for _ in range(4096))
    for hello in (b"", request()):
        with receiver.pays_at_most(20), receiver.caller() as caller:
            caller.send(hello, pdu(P_DATA if hello else RQ, b"", 0xFFFFFFFF))
            assert caller.is_cut_while_sending(flood)
    receiver.comes_to_rest(before)


# A disk that takes little


@pytest.mark.slow
def test_what_the_disk_does_not_take_is_refused_and_the_rest_is_taken(tmp_path: Path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    large, small = radiograph(side_px=1000), radiograph(side_px=100)
    with receiving(tmp_path / "node", small_files) as receiver, receiver.caller() as caller:
        caller.associate()
        assert caller.store(encoded(large), str(large.SOPInstanceUID)) == 0xA700
        assert receiver.files() == []
        assert caller.store(encoded(small), str(small.SOPInstanceUID)) == 0x0000
        (held,) = (tmp_path / "node" / "spool" / "studies").rglob("*.dcm")
        assert held.stat().st_size > 20_000


def test_the_abuse_is_counted_and_said_without_an_end_of_lines(receiver: Receiver) -> None:
    for _ in range(40):
        with receiver.caller() as caller:
            assert caller.rejection(called=b"OTHER") == (1, 1, 7)
    said = [event["reason"] for event in receiver.events("association.rejected")]
    assert said.count("called AE title not recognized") == 20
    announced = receiver.folder / "spool" / "run" / "receive.json"

    def counted() -> bool:
        rejected = json.loads(announced.read_text())["door"]["rejected"]
        return bool(rejected.get("called AE title not recognized", 0) >= 40)

    wait_until(counted, 10)
