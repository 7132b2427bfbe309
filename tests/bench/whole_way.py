"""The whole way: from the last byte of an image to its report in Orthanc, one at a time and with four senders."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.images import raw
from tests.bench.measured import Amount, Measured
from tests.bench.processes import Meter
from tests.bench.sender import Sent, at_once, send_study
from tests.bench.watched import WatchedOrthanc
from tests.peers import HOST, Peer, listens, wait_until
from tests.running import AE_TITLE, REPOSITORY, RunningNode

PART = "whole way"
ABOUT = (
    "From the last byte of a raw 10 MB image to its report in Orthanc, against a pipeline within the C-STORE handler."
)
ALONE, SENDING = "one at a time", "four senders"
LATENCY = "ms from the last byte to SR stored, beyond settle_s"
HANDLER = "everything in the handler"
SENDERS, SETTLE_S = 4, 0.3
ALONE_A_ROUND = 4
# TensorFlow's imports alone take minutes on a machine that has no time.
LOADED_WITHIN_S = 600.0
# Of what the node gets from four senders; that the slow one is slow shows sooner.
SHARE_OF_THE_HANDLER = 20


class InTheHandler(Peer):
    """The pipeline of `tests.bench.in_the_handler`, as a process of its own."""

    name = ae_title = "HANDLER"

    def __init__(self, folder: Path, pacs_port: int) -> None:
        super().__init__(folder)
        self._pacs_port = pacs_port

    def command(self) -> list[str]:
        program = ["env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-m", "tests.bench.in_the_handler"]
        return [*program, self.ae_title, str(self.port), str(self._pacs_port)]

    def ready(self) -> bool:
        return True

    def wait_until_working(self) -> None:
        """Wait until the model is loaded, which takes longer than other peers need to start."""
        wait_until(lambda: self._died() or listens(self.port), LOADED_WITHIN_S, "the model being loaded")


@dataclass(frozen=True)
class Reading:
    """Something that takes images and has reports stored."""

    name: str
    ae_title: str
    port: int
    pid: int
    settle_s: float


def measure(folder: Path, amount: Amount) -> Iterator[Measured]:
    """Send studies of one image, first one at a time to each in turn, then by four senders to one after the other."""
    with both(folder) as (pacs, readings):
        for _ in range(ALONE_A_ROUND * amount.rounds):
            for reading in readings:
                yield from _alone(reading, pacs)
        for reading, share in zip(readings, (1, SHARE_OF_THE_HANDLER), strict=True):
            yield from _four_senders(reading, pacs, amount.studies // share)


@contextmanager
def both(folder: Path) -> Iterator[tuple[WatchedOrthanc, list[Reading]]]:
    """Run the node and the comparison, and one Orthanc for both."""
    with WatchedOrthanc(folder / "pacs") as pacs:
        at = {"name": "pacs", "ae_title": pacs.ae_title, "host": HOST, "port": pacs.port}
        node = RunningNode(folder / "node", [at], {"study": {"settle_s": SETTLE_S}})
        with node, InTheHandler(folder / "handler", pacs.port) as handler:
            wait_until(node.working, LOADED_WITHIN_S, "the model being loaded")
            handler.wait_until_working()
            assert node.process is not None
            assert handler.process is not None
            readings = [
                Reading("node", AE_TITLE, node.port, node.process.pid, SETTLE_S),
                Reading(HANDLER, handler.ae_title, handler.port, handler.process.pid, 0.0),
            ]
            for reading in (*readings, *readings):  # what is made at the first image is made
                list(_alone(reading, pacs))
            yield pacs, readings


def _alone(reading: Reading, pacs: WatchedOrthanc) -> Iterator[Measured]:
    with Meter(reading.pid) as meter:
        (sent,) = send_study(reading.port, [raw().new()], reading.ae_title)
        study = sent.image.study_instance_uid
        stored = pacs.wait_for(study)
        pacs.wait_for(study, "OT")  # the picture, which comes after the report
    assert sent.status == 0x0000
    after = {LATENCY: stored - sent.last_byte - reading.settle_s, "ms until answered": sent.answered - sent.last_byte}
    for quantity, seconds in after.items():
        yield Measured(ALONE, reading.name, quantity, 1000 * seconds)
    yield Measured(ALONE, reading.name, "CPU ms an image", meter.cpu_ms)


def _four_senders(reading: Reading, pacs: WatchedOrthanc, studies: int) -> Iterator[Measured]:
    each = max(1, studies // SENDERS)

    def work(_: int) -> list[Sent]:
        return [sent for _ in range(each) for sent in send_study(reading.port, [raw().new()], reading.ae_title)]

    began = time.time()
    with Meter(reading.pid) as meter:
        sent = at_once(SENDERS, work)
        stored = [pacs.wait_for(one.image.study_instance_uid, within_s=1800) for one in sent]
    for one in sent:
        yield Measured(SENDING, reading.name, "ms until answered", 1000 * (one.answered - one.last_byte))
    yield Measured(SENDING, reading.name, "images/s", len(sent) / (max(stored) - began))
    yield Measured(SENDING, reading.name, "CPU ms an image", meter.cpu_ms / len(sent))
    yield Measured(SENDING, reading.name, "peak RSS of all processes, MB", meter.peak_mb)
