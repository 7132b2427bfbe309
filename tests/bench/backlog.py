"""What a study costs while many others wait, and whether memory grows with them; measured by `tests.soak.backlog`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measured import Amount, Figures, Measured
from tests.bench.processes import Meter
from tests.running import REPOSITORY

PART = "backlog"
ABOUT = "A study's cost while others wait, the model left out."
COST, MEMORY = "CPU ms", "peak RSS, MB"
A_STUDY, THE_PROCESS = "have a study done, but for its own stages", "the worker's process, without the model"


def measure(folder: Path, amount: Amount) -> Iterator[Measured]:
    """Fill a spool with each number of studies, in a process of its own each time."""
    for studies in amount.backlogs:
        for case, quantity, value in _costs(studies):
            yield Measured(case, f"{studies:,} waiting", quantity, value)


def _costs(studies: int) -> Iterator[tuple[str, str, float]]:
    command = [sys.executable, "-m", "tests.soak.backlog", "--one", str(studies)]
    # Not by the system's own account of the most memory: that of a new process begins with what its parent had.
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process,
        Meter(process.pid) as meter,
    ):
        assert process.stdout is not None
        said = process.stdout.read()
    assert process.returncode == 0, process.returncode
    for what, cost in json.loads(said.splitlines()[-1]).items():
        yield what, COST, cost
    yield THE_PROCESS, MEMORY, meter.peak_mb


def growth_of_a_study(figures: Figures) -> float | None:
    """Return how many times as much a study costs with the most waiting as with the fewest."""
    return _growth(figures, A_STUDY, COST)


def growth_of_memory(figures: Figures) -> float | None:
    """Return how many times as much memory the most take as the fewest."""
    return _growth(figures, THE_PROCESS, MEMORY)


def _growth(figures: Figures, case: str, quantity: str) -> float | None:
    subjects = figures.subjects(case)
    return figures.ratio(case, subjects[-1], subjects[0], quantity) if len(subjects) > 1 else None
