"""The node under a clock that is set on, set back, and set to 1970 while work waits: nothing is lost, and nothing spins."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread

from node.archive import Archive
from tests.journeys.films import as_new_study, file_of
from tests.peers import HOST, free_port, require_peer, storescu, wait_until
from tests.running import RunningNode

pytestmark = [pytest.mark.peers, pytest.mark.slow]

SOURCE = Path(__file__).parents[1] / "tools" / "clock.c"
DAY_S = 86_400
# The clerk looks a hundred times a second and the queues thirty; beside these, an idle node does nothing.
MOST_CPU_WHILE_IDLE = 0.5


class NodeWithAClock(RunningNode):
    """A node whose processes ask a clock of the test's; only the time of day is set, as an administrator would set it."""

    def __init__(self, folder: Path, destinations: list[dict[str, object]]) -> None:
        super().__init__(folder, destinations)
        self._library, self._clock = folder / "clock.so", folder / "clock"
        subprocess.run([require_peer("gcc"), "-shared", "-fPIC", "-O2", "-o", self._library, SOURCE], check=True)
        self.set(0)

    def set(self, ahead_s: float) -> None:
        """Set the clock to so many whole seconds ahead of the true one; it goes on from there."""
        self._ahead_s = int(ahead_s)
        # In place, and in one piece: the processes have the file in their memory.
        descriptor = os.open(self._clock, os.O_WRONLY | os.O_CREAT, 0o600)
        os.pwrite(descriptor, struct.pack("=q", self._ahead_s), 0)
        os.close(descriptor)

    def now(self) -> datetime:
        """What its clock shows."""
        return datetime.now(UTC) + timedelta(seconds=self._ahead_s)

    def command(self) -> list[str]:
        return ["env", f"LD_PRELOAD={self._library}", f"CLOCK_AHEAD={self._clock}", *super().command()]

    def cpu_s(self) -> float:
        """Processor time of its roles so far."""
        total = 0
        for role in ("receive", "work", "web"):
            pid = httpx.get(f"http://{HOST}:{self.web_port}/status.json", timeout=30).json()["roles"][role]["pid"]
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")


def test_a_clock_that_jumps_loses_no_retry_spins_no_loop_and_is_told_as_it_is(tmp_path: Path) -> None:
    away_port = free_port()
    to_1970_s = 10 - time.time()
    with Archive(tmp_path / "up", "UP") as up:
        destinations = [
            {"name": "away", "ae_title": "AWAY", "host": HOST, "port": away_port},
            {"name": "up", "ae_title": "UP", "host": HOST, "port": up.port},
        ]
        with NodeWithAClock(tmp_path / "node", destinations) as node:
            node.wait_until_working()
            days = {}
            for ahead_s in (0, DAY_S, -DAY_S, to_1970_s):
                film = as_new_study("05-tuberculosis-adult")
                node.set(ahead_s)
                assert storescu(node.port, [file_of(film, tmp_path)]).returncode == 0
                node.wait_until_delivered(film.StudyInstanceUID, "up", within_s=60)
                days[film.StudyInstanceUID] = node.now().strftime("%Y%m%d")
            # Its retries wait by a clock of another year now. So the clock is set right, and once more back by an hour.
            for ahead_s in (0, -3600):
                node.set(ahead_s)
            before, began = node.cpu_s(), time.monotonic()
            time.sleep(6)
            assert (node.cpu_s() - before) / (time.monotonic() - began) < MOST_CPU_WHILE_IDLE
            says_no_negative_time(node)
            assert not any(node.delivered(uid, "away") for uid in days)
            with Archive(tmp_path / "away", "AWAY", port=away_port) as back:
                for uid in days:
                    node.wait_until_delivered(uid, "away", within_s=60)
                assert len(back.instances) == len(up.instances) == 2 * len(days)
            wait_until(lambda: not node.spool.agenda.tasks("open"), what="all tasks finished")
            assert node.spool.agenda.tasks("parked") == []
            assert node.events("process.died") == []
    reports = [dcmread(each.path) for each in up.instances]
    told = {str(each.StudyInstanceUID): str(each.ContentDate) for each in reports if each.Modality == "SR"}
    assert told == days, "what the clock showed, right or wrong, and nothing made up"


def says_no_negative_time(node: NodeWithAClock) -> None:
    page = httpx.get(f"http://{HOST}:{node.web_port}/", timeout=30).text
    assert "(the clock was set back)" in page
    assert not re.search(r"[+>\s(]-\d+(\.\d+)? ?(s|min|h|d)\b", page)
    state = httpx.get(f"http://{HOST}:{node.web_port}/status.json", timeout=30).json()
    waits = [destination["oldest_s"] for destination in state["destinations"] if destination["oldest_s"] is not None]
    assert waits and min(waits) >= 0
