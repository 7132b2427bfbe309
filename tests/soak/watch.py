"""What the running node takes of its machine, seen from outside, and whether that grows."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from node.durable import read_json
from tests.peers import HOST
from tests.running import RunningNode
from tests.soak.pacs import RecordingPACS
from tests.soak.power_cuts import say
from tests.soak.senders import Crowd

ROLES = ("receive", "work", "web")
MOST_MB_PER_1000_STUDIES = 2.0
MOST_P99_TO_MEDIAN = 3.0
# Pools of threads are filled as they are needed, and sockets of the status page live for some seconds.
SLACK = 3
SAMPLE_EVERY_S = 5.0
SAY_EVERY_S = 30.0


class Watch:
    """Looks at the node every few seconds, and says how it goes.

    Parameters
    ----------
    node : RunningNode
    pacs : RecordingPACS
    crowd : Crowd

    Attributes
    ----------
    samples : list of dict
        What was seen, in the order of time.
    sent : int
        Studies sent so far; the sender counts them.
    """

    def __init__(self, node: RunningNode, pacs: RecordingPACS, crowd: Crowd) -> None:
        self._node, self._pacs, self._crowd = node, pacs, crowd
        self._began = time.monotonic()
        self._read, self._delivered = 0, set[str]()
        self._last = self._said = 0.0
        self._used = shutil.disk_usage(node.folder).used
        self.samples: list[dict[str, Any]] = []
        self.sent = 0

    @property
    def calls(self) -> int:
        """Other calls made so far."""
        return self._crowd.made

    def delivered(self) -> int:
        """Count the studies of which the PACS has something."""
        with (self._pacs.folder / "arrivals").open() as file:
            file.seek(self._read)
            while (line := file.readline()).endswith("\n"):
                self._delivered.add(line.split()[0])
                self._read = file.tell()
        return len(self._delivered)

    def wait(self, is_done: Callable[[], bool], within_s: float, what: str) -> None:
        """Wait for something, looking and talking meanwhile.

        Raises
        ------
        AssertionError
            When it does not come in time, or a study is parked, for which nobody needs to wait.
        """
        deadline = time.monotonic() + within_s
        while not is_done():
            self.go_on()
            assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}; {self.words()}"
            time.sleep(0.05)

    def go_on(self) -> None:
        """Take a sample if one is due, and say how it goes now and then."""
        if time.monotonic() - self._last < SAMPLE_EVERY_S:
            return
        self.look()
        agenda = self._node.spool.agenda
        reasons = [agenda.reason(task)["message"] for task in agenda.tasks("parked")]
        assert not reasons, f"parked: {reasons}"
        if time.monotonic() - self._said > SAY_EVERY_S:
            self._said = time.monotonic()
            say(self.words())

    def words(self) -> str:
        """Return how it goes."""
        sample = self.samples[-1]
        memory = ", ".join(f"{role} {sample['roles'][role]['rss_mb']:.0f} MB" for role in ROLES)
        return f"{self.sent} sent, {sample['studies']} delivered, {sample['calls']} other calls; {memory}"

    def look(self) -> dict[str, Any]:
        """Take a sample."""
        self._last = time.monotonic()
        spool = self._node.folder / "spool"
        began = time.perf_counter()
        httpx.get(f"http://{HOST}:{self._node.web_port}/status.json", timeout=60, trust_env=False).raise_for_status()
        sample = {
            "s": round(self._last - self._began, 1),
            "sent": self.sent,
            "studies": self.delivered(),
            "calls": self.calls,
            "status_ms": round(1000 * (time.perf_counter() - began), 1),
            "spool_mb": round((shutil.disk_usage(spool).used - self._used) / 1e6, 1),
            "roles": {role: _process(read_json(spool / "run" / f"{role}.json")["pid"]) for role in ROLES},
        }
        self.samples.append(sample)
        return sample


def _process(pid: int) -> dict[str, Any]:
    """Return resident memory, threads and descriptors of a process."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.count(":")
    )
    return {
        "rss_mb": int(fields["VmRSS"].split()[0]) / 1024,
        "threads": int(fields["Threads"]),
        "descriptors": len(list(Path(f"/proc/{pid}/fd").iterdir())),
    }


def growth(samples: list[dict[str, Any]], role: str) -> float:
    """Return by how many MB a role's memory grows with 1,000 studies: the median of the slopes between all samples."""
    studies = np.array([each["studies"] for each in samples], float)
    memory = np.array([each["roles"][role]["rss_mb"] for each in samples], float)
    first, second = np.triu_indices(len(samples), 1)
    apart = studies[second] - studies[first]
    # Close ones tell of what goes on at the moment, not of what stays.
    far = apart >= max(1.0, np.ptp(studies) / 3)
    return float(np.median((memory[second] - memory[first])[far] / apart[far]) * 1000)


def judge(
    samples: list[dict[str, Any]], before: dict[str, Any], after: dict[str, Any], latencies: dict[str, list[float]]
) -> dict[str, tuple[float, float]]:
    """Return each thing judged as (measured, most allowed).

    Parameters
    ----------
    samples : list of dict
        Those taken after the warm-up.
    before, after : dict
        Samples of the resting node, after the warm-up and in the end.
    latencies : dict of str to list of float
        Seconds that each answer took, by the kind of film.
    """
    found = {}
    for role in ROLES:
        found[f"{role}: memory, MB per 1,000 studies"] = (growth(samples, role), MOST_MB_PER_1000_STUDIES)
        for field in ("threads", "descriptors"):
            more = after["roles"][role][field] - before["roles"][role][field]
            found[f"{role}: {field} more than before"] = (more, SLACK)
    for kind, seconds in latencies.items():
        ratio = float(np.quantile(seconds, 0.99)) / statistics.median(seconds)
        found[f"answer to {kind} films: p99 as a multiple of the median"] = (ratio, MOST_P99_TO_MEDIAN)
    return found
