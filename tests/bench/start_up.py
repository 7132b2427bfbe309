"""How soon the node answers, and how soon it has read its first film, on an empty spool."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.images import raw
from tests.bench.measured import Amount, Measured
from tests.bench.processes import Meter, cpu_ms
from tests.bench.sender import send_study
from tests.bench.watched import WatchedOrthanc
from tests.peers import HOST
from tests.raw import Closed, Raw
from tests.running import RunningNode

PART = "start-up"
ABOUT = "From the start of the command, with an empty spool and a film sent as soon as the port answers."
CASE = "empty spool"
ECHO, RESULT = "s to the first C-ECHO answered", "s to the first SR stored"


class _Starting(RunningNode):
    """A node that is ready once it answers a C-ECHO."""

    def ready(self) -> bool:
        with contextlib.suppress(OSError, Closed), Raw(self.port) as caller:
            return caller.associate().echo() == 0x0000
        return False


def measure(folder: Path, amount: Amount) -> Iterator[Measured]:
    """Start the node over and over."""
    with WatchedOrthanc(folder / "pacs") as pacs:
        at = {"name": "pacs", "ae_title": pacs.ae_title, "host": HOST, "port": pacs.port}
        for number in range(amount.rounds):
            node = _Starting(folder / f"node-{number}", [at], {"study": {"settle_s": 0.3}})
            began = time.time()
            with node:
                yield Measured(CASE, "node", ECHO, time.time() - began)
                assert node.process is not None
                with Meter(node.process.pid) as meter:
                    (sent,) = send_study(node.port, [raw().new()])
                    stored = pacs.wait_for(sent.image.study_instance_uid)
                yield Measured(CASE, "node", RESULT, stored - began)
                yield Measured(CASE, "node", "CPU s up to then", cpu_ms(node.process.pid) / 1000)
                yield Measured(CASE, "node", "peak RSS of all processes, MB", meter.peak_mb)
