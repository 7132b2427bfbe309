"""What is still to do: one small file a task, so that no stop loses work.

::

    todo/TASK        the worker has not taken it yet
    open/TASK        the worker has taken it and not finished
    parked/TASK      it waits for a person, with the reason
    unreleased/TASK  results that a person has yet to release (`node.release`)
    claims/TASK      a worker is at it; left behind where the worker died
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from node.durable import make_folder, read_json, sync_folder, write_json

STATES = ("todo", "open", "parked", "unreleased")
# What else lies there, half-written or put there by a person, is no task, and must not keep the others from being done.
_NAME = re.compile(r"(read|post|deliver|confirm)(\.[^.]+){3}\.[0-9]+")


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work. It is done once under its name, however often it is noted meanwhile.

    Attributes
    ----------
    verb : {"read", "post", "deliver", "confirm"}
    study_key, generation : str
        Names in the spool.
    destination : str
        Name of the destination, ``"-"`` where the task has none.
    attempt : int
        From 1.
    """

    verb: str
    study_key: str
    generation: str
    destination: str = "-"
    attempt: int = 1

    @property
    def name(self) -> str:
        """The file name, e.g. ``read.STUDY.GENERATION.-.1``."""
        return f"{self.verb}.{self.study_key}.{self.generation}.{self.destination}.{self.attempt}"

    @property
    def next(self) -> Task:
        """The same work, tried once more."""
        return replace(self, attempt=self.attempt + 1)

    @classmethod
    def parse(cls, name: str) -> Task:
        """Build from a file name."""
        verb, study_key, generation, destination, attempt = name.split(".")
        return cls(verb, study_key, generation, destination, int(attempt))


class Agenda:
    """The tasks of a spool.

    Parameters
    ----------
    folder : Path
        The spool's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for state in (*STATES, "claims"):
            make_folder(folder / state)

    def note(self, task: Task) -> None:
        """Note that a task is to be done.

        It outlives its worker and the receiver. Where the machine goes down, the spool tells what it was: a study with a
        generation and no results is to be read, a delivery says what is next.
        """
        write_json(self._folder / "todo" / task.name, asdict(task), lasts=False)

    def claimed(self, task: Task) -> bool:
        """Note that the worker has taken the task; False where it is not to be done any more."""
        with contextlib.suppress(FileNotFoundError):
            (self._folder / "todo" / task.name).rename(self._folder / "open" / task.name)
            return True
        return False

    def is_open(self, task: Task) -> bool:
        """Tell whether the worker has taken the task and not finished it."""
        return (self._folder / "open" / task.name).exists()

    def finished(self, task: Task) -> None:
        """Note that nothing is left to do of the task."""
        for state in ("todo", "open"):
            (self._folder / state / task.name).unlink(missing_ok=True)

    def park(self, task: Task, error: str, message: str) -> None:
        """Set a task aside for a person, with the reason."""
        reason = {"error": error, "message": message, "at": datetime.now(UTC).isoformat()}
        write_json(self._folder / "parked" / task.name, reason)
        self.finished(task)

    def reason(self, task: Task) -> dict[str, Any]:
        """Return why a task is parked: ``error``, ``message``, ``at``."""
        return read_json(self._folder / "parked" / task.name)

    def unpark(self, task: Task) -> None:
        """Take a task off the parked ones."""
        (self._folder / "parked" / task.name).unlink(missing_ok=True)

    def keep_back(self, task: Task) -> None:
        """Note durably that a person is to release the task before it is done."""
        write_json(self._folder / "unreleased" / task.name, asdict(task))

    def release(self, task: Task, kept: Path | None = None) -> bool:
        """Have a task done that was kept back.

        Parameters
        ----------
        task : Task
        kept : Path, optional
            Where it was moved to (`withhold`); among the unreleased ones by default.

        Returns
        -------
        bool
            False where it is not there: who moves a task first has decided on it.
        """
        return _move(kept or self._folder / "unreleased" / task.name, self._folder / "todo" / task.name)

    def withhold(self, task: Task, kept: Path) -> bool:
        """Move a task that was kept back out of the agenda, unless somebody has released it before; tells which."""
        return _move(self._folder / "unreleased" / task.name, kept)

    def drop(self, task: Task) -> None:
        """Take a task off those that were kept back, unless somebody has released it before."""
        (self._folder / "unreleased" / task.name).unlink(missing_ok=True)

    def generations(self) -> set[tuple[str, str]]:
        """Return the (study key, generation) of every task, in whichever state."""
        return {(task.study_key, task.generation) for state in STATES for task in self.tasks(state)}

    def is_noted(self, task: Task) -> bool:
        """Tell whether the same work is noted in any state, whichever attempt it is."""
        start = task.name.removesuffix(str(task.attempt))
        # Twice, for a task goes from one state to one that was looked at before.
        states = (*STATES, *STATES)
        return any(entry.name.startswith(start) for state in states for entry in os.scandir(self._folder / state))

    def claim(self, task: Task, supervisor: str) -> int:
        """Note that a worker begins a task, and say how often one has died at it.

        A death counts only under the same supervisor: where the whole node went down with the worker, a power cut or
        an administrator is the likelier reason.

        Parameters
        ----------
        task : Task
        supervisor : str
            Names the process that restarts the worker.

        Returns
        -------
        int
        """
        path, deaths = self._folder / "claims" / task.name, 0
        # What the machine took along when it went down may be gone or empty: such a death does not count anyway.
        with contextlib.suppress(FileNotFoundError, ValueError):
            left = read_json(path)
            deaths = left["deaths"] + (left["supervisor"] == supervisor)
        write_json(path, {"supervisor": supervisor, "deaths": deaths}, lasts=False)
        return deaths

    def is_claimed(self, task: Task) -> bool:
        """Tell whether a worker has begun a task and not lived to its end, or is at it."""
        return (self._folder / "claims" / task.name).exists()

    def unclaim(self, task: Task) -> None:
        """Note that the worker has lived to the end of the task."""
        (self._folder / "claims" / task.name).unlink(missing_ok=True)

    def tasks(self, state: str) -> list[Task]:
        """Return the tasks in a state, oldest first."""
        entries = [entry for entry in os.scandir(self._folder / state) if _NAME.fullmatch(entry.name)]
        return [Task.parse(entry.name) for entry in sorted(entries, key=_age)]


def _move(path: Path, to: Path) -> bool:
    try:
        path.rename(to)
    except FileNotFoundError:
        return False
    sync_folder(to.parent)
    with contextlib.suppress(FileNotFoundError):  # its study was forgotten meanwhile
        sync_folder(path.parent)
    return True


def _age(entry: os.DirEntry[str]) -> tuple[float, str]:
    with contextlib.suppress(FileNotFoundError):
        return entry.stat().st_mtime, entry.name
    return 0.0, entry.name
