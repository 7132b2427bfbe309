"""Thousands of studies and associations through the running node, and what they leave in it: ``python -m tests.soak.soak``.

Films go through the receiver, the model and the delivery to a PACS; beside them come callers of every kind: monitors,
echo floods, half-open connections, aborts in the middle of a message, strangers, garbage. Every few seconds memory,
threads and descriptors of each role are written down, and in the end they are judged.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from node.durable import read_json
from tests.peers import HOST, wait_until
from tests.running import RunningNode
from tests.soak.films import film, new_uid
from tests.soak.pacs import RecordingPACS
from tests.soak.plots import draw_soak
from tests.soak.power_cuts import say
from tests.soak.senders import Crowd, Modality

ROLES = ("receive", "work", "web")
MOST_MB_PER_1000_STUDIES = 2.0
MOST_P99_TO_MEDIAN = 3.0
# Pools of threads are filled as they are needed, and sockets of the status page live for some seconds.
SLACK = 3
# More than this waits on no sender: what a backlog costs is measured by itself (`tests.soak.backlog`).
MOST_IN_WORK = 30
SAMPLE_EVERY_S = 5.0
REST_S = 20.0


class Watch:
    """Looks at the node from outside, every few seconds."""

    def __init__(self, node: RunningNode, pacs: RecordingPACS) -> None:
        self._node, self._pacs = node, pacs
        self._began = time.monotonic()
        self._read, self._delivered = 0, set[str]()
        self._last = 0.0
        self.samples: list[dict[str, Any]] = []

    def delivered(self) -> int:
        """Count the studies of which the PACS has something."""
        with (self._pacs.folder / "arrivals").open() as file:
            file.seek(self._read)
            while (line := file.readline()).endswith("\n"):
                self._delivered.add(line.split()[0])
                self._read = file.tell()
        return len(self._delivered)

    def is_due(self) -> bool:
        return time.monotonic() - self._last >= SAMPLE_EVERY_S

    def look(self, sent: int, calls: int) -> dict[str, Any]:
        """Take a sample."""
        self._last = time.monotonic()
        spool = self._node.folder / "spool"
        began = time.perf_counter()
        httpx.get(f"http://{HOST}:{self._node.web_port}/status.json", timeout=60, trust_env=False).raise_for_status()
        sample = {
            "s": round(self._last - self._began, 1),
            "sent": sent,
            "studies": self.delivered(),
            "calls": calls,
            "status_ms": round(1000 * (time.perf_counter() - began), 1),
            "queue_mb": round(sum(path.stat().st_size for path in spool.glob("queue.sqlite*")) / 1e6, 2),
            "spool_mb": round((shutil.disk_usage(spool).used - self._used_before(spool)) / 1e6, 1),
            "roles": {role: _process(read_json(spool / "run" / f"{role}.json")["pid"]) for role in ROLES},
        }
        self.samples.append(sample)
        return sample

    def _used_before(self, spool: Path) -> int:
        if not hasattr(self, "_used"):
            self._used = shutil.disk_usage(spool).used
        return self._used


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
    """Return each thing judged as (measured, most allowed)."""
    found = {}
    for role in ROLES:
        found[f"{role}: memory, MB per 1,000 studies"] = (growth(samples, role), MOST_MB_PER_1000_STUDIES)
        for field in ("threads", "descriptors"):
            found[f"{role}: {field} more than before"] = (
                after["roles"][role][field] - before["roles"][role][field],
                SLACK,
            )
    for kind, seconds in latencies.items():
        ratio = float(np.quantile(seconds, 0.99)) / statistics.median(seconds)
        found[f"answer to {kind} films: p99 as a multiple of the median"] = (ratio, MOST_P99_TO_MEDIAN)
    return found


def run(folder: Path, studies: int, associations: int, read_share: float, seed: int) -> dict[str, Any]:
    """Do all of it in a folder."""
    chosen, modality = random.Random(seed), Modality()
    with RecordingPACS(folder / "pacs") as pacs:
        (pacs.folder / "arrivals").touch()
        node = RunningNode(
            folder / "node", [{"name": "pacs", "ae_title": pacs.ae_title, "host": HOST, "port": pacs.port}]
        )
        with node, Crowd(node.port, seed) as crowd:
            node.wait_until_working()
            watch = Watch(node, pacs)
            warm_up, before, sent, said = max(20, studies // 10), None, 0, 0.0
            while sent < studies:
                films = [film(study := new_uid(), chosen.random() < read_share)]
                if chosen.random() < 0.1:
                    films.append(film(study, is_read=False))
                assert modality.send(node.port, films) == [], "a film was not acknowledged"
                sent += 1
                crowd.call(round((associations - studies) * sent / studies))
                if watch.is_due():
                    sample = watch.look(sent, crowd.made)
                    if time.monotonic() - said > 30:
                        said = time.monotonic()
                        memory = ", ".join(f"{role} {sample['roles'][role]['rss_mb']:.0f} MB" for role in ROLES)
                        say(f"{sent} sent, {sample['studies']} delivered, {crowd.made} other calls; {memory}")
                while sent - watch.delivered() > MOST_IN_WORK:
                    time.sleep(0.05)
                if sent == warm_up:
                    wait_until(lambda: watch.delivered() >= warm_up, 600, "the warm-up delivered")
                    time.sleep(REST_S)
                    before, first = watch.look(sent, crowd.made), len(watch.samples) - 1
            wait_until(lambda: watch.delivered() >= studies and crowd.made >= associations - studies, 1200, "the end")
            time.sleep(REST_S)
            assert before is not None
            after = watch.look(sent, crowd.made)
            parked = len(node.spool.agenda.tasks("parked"))
            failed = [each for name in ("thread.died", "process.died", "process.failed") for each in node.events(name)]
        repeats = len(pacs.arrivals()) - len({instance for _, _, instance, _ in pacs.arrivals()})
    small = min(size for _, _, size in modality.latencies)
    latencies = {
        kind: [seconds for _, seconds, size in modality.latencies if (size < 2 * small) == (kind == "small")]
        for kind in ("small", "large")
    }
    latencies = {kind: seconds for kind, seconds in latencies.items() if len(seconds) > 50}
    judged = judge(watch.samples[first:], before, after, latencies)
    judged["studies parked"] = (parked, 0)
    judged["processes or threads that died"] = (len(failed), 0)
    judged["calls that were not answered as the Standard says"] = (crowd.failed, 0)
    return {
        "studies": studies,
        "associations": sent + crowd.made,
        "sent_twice": repeats,
        "ms": {
            kind: {
                "median": 1000 * statistics.median(seconds),
                "p99": 1000 * float(np.quantile(seconds, 0.99)),
                "most": 1000 * max(seconds),
                "count": len(seconds),
            }
            for kind, seconds in latencies.items()
        },
        "queue_kb_per_study": 1000 * (after["queue_mb"] - before["queue_mb"]) / (studies - warm_up),
        "judged": {what: {"measured": found, "most": most} for what, (found, most) in judged.items()},
        "passed": all(found <= most for found, most in judged.values()),
        "samples": watch.samples,
        "latencies": [(began - modality.latencies[0][0], seconds) for began, seconds, _ in modality.latencies],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=5000)
    parser.add_argument("--associations", type=int, default=20_000, help="in all, those of the studies included")
    parser.add_argument("--read-share", type=float, default=0.25, help="of the films, that the model reads")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("out/soak"))
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        form = run(folder, asked.studies, max(asked.associations, asked.studies), asked.read_share, asked.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    latencies = form.pop("latencies")
    (asked.out / "soak.json").write_text(json.dumps(form, indent=1))
    _write_csv(form["samples"], asked.out / "soak.csv")
    title = f"{form['studies']} studies, {form['associations']} associations"
    draw_soak(form["samples"], latencies, title, asked.out / "soak.png")
    for what, found in form["judged"].items():
        say(
            f"{'ok ' if found['measured'] <= found['most'] else 'NOT'} {what}: {found['measured']:.2f} (at most {found['most']})"
        )
    say(f"{title}; answers {form['ms']}; {asked.out}/soak.json")
    sys.exit(0 if form["passed"] else 1)


def _write_csv(samples: list[dict[str, Any]], path: Path) -> None:
    flat = [
        {key: value for key, value in each.items() if key != "roles"}
        | {f"{role}_{field}": value for role, facts in each["roles"].items() for field, value in facts.items()}
        for each in samples
    ]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, flat[0])
        writer.writeheader()
        writer.writerows(flat)


if __name__ == "__main__":
    main()
