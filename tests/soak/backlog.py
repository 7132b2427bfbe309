"""What a study costs while many others wait: ``python -m tests.soak.backlog``.

A worker that was away for a weekend finds thousands of studies; a PACS that was away has thousands of results to come.
Neither may make the next one dearer, or the port and the status page slow. The model is left out: its cost is a study's own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from node import status, workflow
from node.agenda import Task
from node.config import Destination, Settings
from node.config import Model as ModelSection
from node.config import Spool as SpoolSection
from node.durable import key_of
from node.journey import Follow, Journey
from node.spool import Kind, Spool
from tests.soak.power_cuts import say

# A study may cost this many times as much where ten times as many wait.
MOST_GROWTH = 2.0


@dataclass(frozen=True)
class Empty(Journey):
    """A journey without a model: what is left is the spool, the clerk and the lanes."""

    seen: list[Task] = field(default_factory=list)

    def read(self, task: Task) -> None:
        self.seen.append(task)

    def compose(self, task: Task) -> None:
        pass

    def post(self, task: Task) -> list[Follow]:
        return []


def measure(folder: Path, studies: int) -> dict[str, float]:
    """Return what things cost, in ms of CPU time, with so many studies that wait in the spool."""
    destination = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=1)
    settings = Settings(
        spool=SpoolSection(folder=folder), destinations=(destination,), model=ModelSection(bundle=folder / "none")
    )
    spool = Spool(folder)
    _fill(spool, studies)
    costs = {
        "list the tasks, each study": _ms(lambda: spool.agenda.tasks("todo")) / studies,
        "find what is not settled at the start, each study": _ms(spool.unsettled) / studies,
        "look through the open deliveries, each": _ms(lambda: list(spool.outbox.open_deliveries("pacs"))) / studies,
        "draw up the status page, each study": _ms(lambda: status.snapshot(settings)) / studies,
        "settle one study more": _settle_one(spool),
    }
    journey = Empty(settings, spool, cast(Any, None), cast(Any, None), {})
    desk = workflow.Desk(journey)
    began = time.process_time()
    desk.open()
    while len(journey.seen) < studies + 1 or spool.agenda.tasks("open"):
        time.sleep(0.05)
    costs["have a study done, but for its own stages"] = 1000 * (time.process_time() - began) / studies
    costs["reconcile, each open delivery"] = _ms(desk.reconcile) / studies
    desk.close()
    return costs


def _fill(spool: Spool, studies: int) -> None:
    """Bring in studies that wait for the worker, each with an open delivery from before."""
    fsync, os.fsync = os.fsync, lambda descriptor: None
    try:
        for number in range(studies):
            spool.take(f"1.2.{number}", f"1.2.{number}.1", Kind.IMAGE, (b"an image" * 100,))
            task = spool.settle(key_of(f"1.2.{number}"))
            assert task is not None
            entry = {"state": "parked", "next": None, "since": "2026-01-01T00:00:00+00:00", "error": "why"}
            spool.outbox.post("pacs", task.study_key, task.generation, entry)
    finally:
        os.fsync = fsync


def _settle_one(spool: Spool) -> float:
    spool.take("1.3", "1.3.1", Kind.IMAGE, (b"an image" * 100,))
    return _ms(lambda: spool.settle(key_of("1.3")), once=True)


def _ms(work: Callable[[], object], once: bool = False) -> float:
    """Return how much CPU time it takes: the least of three times, unless it can be done only once."""
    took = []
    for _ in range(1 if once else 3):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return 1000 * min(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("out/soak"))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        folder = Path(tempfile.mkdtemp(prefix="backlog-"))
        try:
            print(json.dumps(measure(folder, asked.one)), flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    few, many = (_in_a_process(count) for count in (asked.studies // 10, asked.studies))
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "backlog.json").write_text(json.dumps({"few": few, "many": many, "studies": asked.studies}, indent=1))
    grown = {what: many[what] / few[what] for what in few}
    say(f"ms with {asked.studies // 10} and with {asked.studies} studies waiting")
    for what, factor in grown.items():
        say(f"{'ok ' if factor <= MOST_GROWTH else 'NOT'} {what}: {few[what]:.3f} {many[what]:.3f}")
    sys.exit(0 if max(grown.values()) <= MOST_GROWTH else 1)


def _in_a_process(studies: int) -> dict[str, float]:
    """Measure in a process of its own: what one left in memory is not the other's."""
    import subprocess

    command = [sys.executable, "-m", "tests.soak.backlog", "--one", str(studies)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
