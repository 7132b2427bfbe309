"""What receiving costs: the node's receiver, its guards and fsync included, against receivers that have neither."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from node.durable import BEGIN_EVERY_BYTES, NewFile, sync_folder
from tests.bench.images import KINDS, Image, Kind
from tests.bench.measured import Amount, Measured
from tests.bench.processes import Meter
from tests.bench.sender import Sent, at_once, send_study
from tests.peers import Orthanc, Peer, StoreSCP, wait_until
from tests.running import AE_TITLE, REPOSITORY, RunningNode

PART = "ingest"
ABOUT = "Receiving: the node with fsync and all its guards, against receivers that have neither."
DCMTK, BIT_PRESERVING, STOCK = "storescp --fork", "storescp --fork +B", "pynetdicom storescp"
DISK_ALONE = "the disk alone"
ASSOCIATIONS = (1, 4, 8)
# Images on each association: enough for the clock of /proc, which ticks a hundred times a second.
IMAGES = {"raw 10 MB": {1: 12, 4: 5, 8: 3}, "JPEG Lossless": {1: 96, 4: 40, 8: 20}, "20 kB": {1: 200, 4: 60, 8: 30}}
# On so many associations the node is to reach targets beside DCMTK, so these two, the first, take more turns. The machine's own speed changes from second to second, and
# turn by turn their ratio was 0.5 to 1.6: of eight of them the median is a matter of luck.
TARGETED, MORE_TURNS = 4, 3
# What a receiver holds at most of one round, and a little more.
WARM_BYTES = 700_000_000
# storescp takes as long PDUs as the node does, where it is told to; and whatever transfer syntax is proposed.
_AS_THE_NODE = ["--max-pdu", "131072", "+xa"]


class NodeReceiver(RunningNode):
    """The node's receiver alone, as ``cxr-node serve --role receive``."""

    def command(self) -> list[str]:
        return [*super().command(), "--role", "receive"]


class StockReceiver(Peer):
    """``python -m pynetdicom storescp`` as it comes."""

    name = "pynetdicom"

    def command(self) -> list[str]:
        received = self.folder / "received"
        program = ["env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-m", "pynetdicom", "storescp"]
        return [*program, "--quiet", "-ba", "127.0.0.1", "-od", str(received), str(self.port)]


@dataclass(frozen=True)
class Subject:
    """A receiver at work, and how to be rid of what it took."""

    name: str
    ae_title: str
    port: int
    pid: int
    clear: Callable[[], None]
    rest: Callable[[int], None]


def case(kind: str, associations: int) -> str:
    return f"{kind}, {associations} association{'s' if associations > 1 else ''}"


def measure(folder: Path, amount: Amount) -> Iterator[Measured]:
    """Send images of each kind to each receiver in turn."""
    with receivers(folder) as subjects:
        for make in KINDS:
            kind = make()
            for associations in ASSOCIATIONS:
                turns = [*(partial(_round, subject) for subject in subjects), partial(_disk_alone, folder / "alone")]
                if associations == TARGETED:
                    turns = turns[:2] * (MORE_TURNS - 1) + turns
                for at in range(amount.rounds):
                    for turn in turns if at % 2 == 0 else reversed(turns):
                        _warm(folder)
                        yield from turn(kind, associations)


@contextmanager
def receivers(folder: Path) -> Iterator[list[Subject]]:
    """Run all receivers, each on a port of its own; DCMTK's library answers without Nagle's algorithm where it is told so."""
    before, os.environ["TCP_NODELAY"] = os.environ.get("TCP_NODELAY"), "1"
    try:
        with ExitStack() as running:
            yield [start(running, folder) for start in (_node, _dcmtk, _bit_preserving, _orthanc, _stock)]
    finally:
        if before is None:
            del os.environ["TCP_NODELAY"]
        else:
            os.environ["TCP_NODELAY"] = before


def _node(running: ExitStack, folder: Path) -> Subject:
    # Studies settle while they are measured: that is the receiver's work, too.
    # A study is whole when its association ends, however long the machine makes it wait for its next image.
    node = NodeReceiver(folder / "node", settings={"study": {"settle_s": 0.02, "quiet_s": 60.0}})
    running.enter_context(node)
    studies = node.folder / "spool" / "studies"

    def settled(count: int) -> None:
        wait_until(lambda: len(list(studies.glob("*/*/generation.json"))) >= count, 30, "all studies settled")

    return Subject("node", AE_TITLE, node.port, _pid(node), lambda: _empty(studies), settled)


def _dcmtk(running: ExitStack, folder: Path, name: str = DCMTK, *options: str) -> Subject:
    peer = StoreSCP(folder / name.replace(" ", "_"), options=["--fork", *_AS_THE_NODE, *options])
    running.enter_context(peer)
    return Subject(name, peer.ae_title, peer.port, _pid(peer), lambda: _empty(peer.received), _nothing)


def _bit_preserving(running: ExitStack, folder: Path) -> Subject:
    return _dcmtk(running, folder, BIT_PRESERVING, "+B")


def _orthanc(running: ExitStack, folder: Path) -> Subject:
    peer = Orthanc(folder / "orthanc")
    running.enter_context(peer)

    def clear() -> None:
        for study in peer.http.get("/studies").raise_for_status().json():
            peer.http.delete(f"/studies/{study}").raise_for_status()

    return Subject("Orthanc", peer.ae_title, peer.port, _pid(peer), clear, _nothing)


def _stock(running: ExitStack, folder: Path) -> Subject:
    peer = StockReceiver(folder / "stock")
    (peer.folder / "received").mkdir()
    running.enter_context(peer)
    return Subject(STOCK, "STORESCP", peer.port, _pid(peer), lambda: _empty(peer.folder / "received"), _nothing)


def _warm(folder: Path) -> None:
    """Have memory at hand for whoever comes next.

    In a guest, memory that was free for a while is the host's again, and who writes to it first pays for its return: twice
    the CPU time of an image of 10 MB. Whoever was measured after a slow receiver would pay, and spare the one after it.
    """
    path, piece = folder / "warm", bytes(1 << 20)
    with path.open("wb") as file:
        for _ in range(WARM_BYTES // len(piece)):
            file.write(piece)
    path.unlink()


def _round(subject: Subject, kind: Kind, associations: int) -> Iterator[Measured]:
    def work(_: int) -> list[Sent]:
        first = kind.new()
        more = [kind.new(first.study_instance_uid) for _ in range(IMAGES[kind.name][associations] - 1)]
        return send_study(subject.port, [first, *more], subject.ae_title)

    with Meter(subject.pid) as meter:
        sent = at_once(associations, work)
        subject.rest(associations)
    subject.clear()
    took_s = max(each.answered for each in sent) - min(each.began for each in sent)
    where = case(kind.name, associations), subject.name
    yield Measured(*where, "CPU ms an image", meter.cpu_ms / len(sent))
    yield Measured(*where, "images/s", len(sent) / took_s)
    yield Measured(*where, "peak RSS, MB", meter.peak_mb)


def _disk_alone(folder: Path, kind: Kind, writers: int) -> Iterator[Measured]:
    """Write what the node's receiver writes, as durably, with nothing before or after it: no receiver that syncs is faster."""
    folder.mkdir(exist_ok=True)
    files = [[kind.new() for _ in range(IMAGES[kind.name][writers])] for _ in range(writers)]

    def work(images: list[Image]) -> None:
        for image in images:
            file = NewFile(folder / f"{image.sop_instance_uid}.part")
            file.write(image.head)
            for at in range(0, len(image.rest), BEGIN_EVERY_BYTES):
                file.write(image.rest[at : at + BEGIN_EVERY_BYTES])
            file.sync()
            file.keep_as(folder / f"{image.sop_instance_uid}.dcm")
            sync_folder(folder)
            file.discard()

    began, began_cpu = time.monotonic(), time.process_time()
    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(work, files))
    count, took_s, cpu_s = writers * len(files[0]), time.monotonic() - began, time.process_time() - began_cpu
    _empty(folder)
    where = case(kind.name, writers), DISK_ALONE
    yield Measured(*where, "CPU ms an image", 1000 * cpu_s / count)
    yield Measured(*where, "images/s", count / took_s)


def _pid(peer: Peer) -> int:
    assert peer.process is not None
    return peer.process.pid


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _nothing(_: int) -> None:
    pass
