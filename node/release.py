"""Whether results are sent: at once (live), to nobody (shadow), or when a person has released them (supervised).

The worker decides as it comes to post the results of a generation (`is_to_be_sent`). What waits for a person is a task
like any other, in a folder of its own; to release it is to move that one file to the tasks that are to be done, and to
withhold it, to move it into the study. A rename succeeds for one of those who try, so results are released once, or
withheld, and a kill falls before it or behind. `release` and `withhold` are for any process: they need neither the model
nor the lanes.
"""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from node import audit, log
from node.agenda import Task
from node.durable import read_json, write_json
from node.errors import Parked, ReleaseError
from node.spool import Spool, Unsent
from node.study import StudyReading, Triage

# Who supervises looks at results before a shift ends, and at urgent ones much sooner (s).
LONG_S, LONG_IF_URGENT_S = 4 * 3600.0, 1800.0
# Results that wait for too long are looked for, and alarmed, this often (s).
LOOK_EVERY_S, REMIND_EVERY_S = 60.0, 3600.0
# What somebody is called, as far as it is noted.
_LONGEST_NAME = 64
_ASKED = "asked.json"


def is_to_be_sent(spool: Spool, mode: str, task: Task, has_results: bool) -> bool:
    """Decide on the results of a generation, and note what becomes of those that are not to be sent now.

    Parameters
    ----------
    spool : Spool
    mode : {"live", "shadow", "supervised"}
    task : Task
        That of reading the generation, or of posting what was released.
    has_results : bool
        Whether any destination would be sent something.

    Returns
    -------
    bool
        Asked again for what was begun to be sent, it says so again, whatever the mode is by then.

    Raises
    ------
    Parked
        Where a person has released them, and the node is in shadow mode since.
    """
    name, is_released = (task.study_key, task.generation), task.verb == "post"
    if spool.unsent(*name):
        return False
    if spool.outbox.is_posted(*name):
        return True
    waiting = [each for each in spool.agenda.tasks("unreleased") if each.study_key == task.study_key]
    if mode == "live" and not waiting and not is_released:
        return True  # without a look at more, for a busy node does this for every study
    if not is_released and _is_with_a_person(spool, mode, replace(task, verb="post")):
        return False
    if not _is_latest(spool, *name):
        return (mode == "live" and not is_released) or _keep(spool, task, Unsent.SUPERSEDED)
    _supersede(spool, [each for each in waiting if each.generation != task.generation])
    if mode == "shadow":
        if is_released:
            raise Parked(
                "this study was released, and the node is in shadow mode since. When it is not any more, run cxr-node retry."
            )
        return _keep(spool, task, Unsent.SHADOW)
    if mode == "supervised" and not is_released and has_results:
        spool.agenda.keep_back(replace(task, verb="post"))
        log.event("results.kept", study=task.study_key, generation=task.generation, reason="unreleased")
        return False
    return True


def unreleased(spool: Spool) -> list[StudyReading]:
    """Return what waits for a person, urgent results first and then the oldest; not what a later image has made outdated."""
    found = []
    for task in spool.agenda.tasks("unreleased"):
        name = task.study_key, task.generation
        # It may be released, and the study forgotten, between the list and the look.
        with contextlib.suppress(FileNotFoundError):
            if _is_latest(spool, *name) and (reading := spool.reading(*name)):
                found.append(reading)
    return sorted(found, key=lambda reading: (reading.triage is not Triage.URGENT, reading.times.done))


def is_overdue(reading: StudyReading) -> bool:
    """Tell whether results have waited for a person for longer than they should, the urgent ones above all."""
    waited_s = (datetime.now(UTC) - reading.times.done).total_seconds()
    return waited_s > (LONG_IF_URGENT_S if reading.triage is Triage.URGENT else LONG_S)


class Reminder:
    """Alarms once an hour while results wait for a person for too long.

    Parameters
    ----------
    spool : Spool
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._looked_s = self._reminded_s = -math.inf

    def look(self) -> None:
        """Look, unless that was done within the last minute."""
        now_s = time.monotonic()
        if now_s - self._looked_s < LOOK_EVERY_S or now_s - self._reminded_s < REMIND_EVERY_S:
            return
        self._looked_s = now_s
        with log.Outlived("reminder.failed"):
            if overdue := [reading for reading in unreleased(self._spool) if is_overdue(reading)]:
                self._reminded_s = now_s
                log.alarm("release.overdue", count=len(overdue), study=overdue[0].study_key)


def release(spool: Spool, mode: str, study: str, by: str, generation: str = "") -> Task:
    """Have the latest results of a study sent, which wait for a person or were withheld.

    Parameters
    ----------
    spool : Spool
    mode : {"live", "shadow", "supervised"}
        Of the configuration.
    study : str
        Its key, or the beginning of it.
    by : str
        Who asks for it, to be noted; no name of a patient.
    generation : str
        That a person has seen: nothing is sent where another one is the latest by now. Empty: whichever it is.

    Returns
    -------
    Task
        What was handed to the worker.

    Raises
    ------
    ReleaseError
        Where there is nothing to release; it says why.
    """
    if mode == "shadow":
        raise ReleaseError(
            "the node is in shadow mode, in which nothing is sent. Set mode to supervised or live first."
        )
    task = _task(spool, study, generation)
    withheld = _withheld(spool, task)
    if task in spool.agenda.tasks("unreleased") or withheld.exists():
        _note(spool, task, "release", by)
        if spool.agenda.release(task) or spool.agenda.release(task, withheld):
            _record(spool, task, "release", by)
            return task
    raise ReleaseError(_why_not(spool, task))


def withhold(spool: Spool, study: str, by: str, generation: str = "") -> Task:
    """Have the latest results of a study, which wait for a person, kept and not sent; `release` still sends them.

    Parameters
    ----------
    spool, study, by, generation
        As of `release`.

    Returns
    -------
    Task
        What is not done.

    Raises
    ------
    ReleaseError
        Where there is nothing to withhold, or it was released before.
    """
    task = _task(spool, study, generation)
    if task in spool.agenda.tasks("unreleased"):
        _note(spool, task, "withhold", by)
        if spool.agenda.withhold(task, _withheld(spool, task)):
            _record(spool, task, "withhold", by)
            return task
    raise ReleaseError(_why_not(spool, task))


def asked(spool: Spool, study_key: str, generation: str) -> dict[str, Any] | None:
    """Return who asked last for results to be released or withheld: ``what``, ``by``, ``at``; None where nobody has."""
    with contextlib.suppress(FileNotFoundError):
        return read_json(spool.generation_folder(study_key, generation) / _ASKED)
    return None


def _task(spool: Spool, study: str, generation: str) -> Task:
    """Return the task of posting the latest results of a study."""
    keys = [key for key in spool.studies() if study and key.startswith(study)]
    if len(keys) > 1:
        raise ReleaseError(f"several studies begin with {study}; give more of the key.")
    latest = _latest(spool, keys[0]) if keys else None
    if latest is None:
        raise ReleaseError(f"no study {study or '-'} is held, or it is still coming in. See cxr-node status.")
    if generation not in ("", latest):
        raise ReleaseError("another image of this study has come since. Look at its new results, then release those.")
    return Task("post", keys[0], latest)


def _withheld(spool: Spool, task: Task) -> Path:
    return spool.unsent_note(task.study_key, task.generation, Unsent.WITHHELD)


def _note(spool: Spool, task: Task, what: str, by: str) -> None:
    """Note who asks, before it is done: a kill may leave a question without its answer, but no answer without its question."""
    name = "".join(each for each in by if each.isprintable())[:_LONGEST_NAME]
    asked_for = {"what": what, "by": name, "at": datetime.now(UTC).isoformat()}
    write_json(spool.generation_folder(task.study_key, task.generation) / _ASKED, asked_for)


def _record(spool: Spool, task: Task, what: str, by: str) -> None:
    """Record in the audit trail what was done; what keeps it from being recorded does not undo it."""
    with log.Outlived("audit.failed", study=task.study_key):
        results = spool.generation_folder(task.study_key, task.generation) / "results"
        audit.decided(what, by, audit.study_of(task.study_key, next(results.rglob("*.dcm"), None)))


def _why_not(spool: Spool, task: Task) -> str:
    name = task.study_key, task.generation
    why = spool.unsent(*name)
    if why is Unsent.WITHHELD:
        return "the results of this study are withheld already. cxr-node release sends them all the same."
    if why:
        return f"the results of this study are not to be sent ({why}). cxr-node replay reads it anew."
    if spool.outbox.is_posted(*name) or spool.agenda.is_noted(task):
        return (
            "the results of this study are on their way, or there already. What a PACS has, only the PACS can withdraw."
        )
    if not spool.has_results(*name):
        return "this study is being read: it has no results yet, or another image of it has come. See cxr-node status."
    return "no results of this study wait for a person."


def _keep(spool: Spool, task: Task, why: Unsent) -> bool:
    if spool.generation_folder(task.study_key, task.generation).exists():  # withheld and forgotten, it may be gone
        spool.keep_unsent(task.study_key, task.generation, why)
    log.event("results.kept", study=task.study_key, generation=task.generation, reason=str(why))
    return False


def _is_with_a_person(spool: Spool, mode: str, task: Task) -> bool:
    """Tell whether results were kept back before: a stop fell behind it, and the mode may be another one by now."""
    if mode == "live":  # what is released meanwhile is to be sent anyway
        return task in spool.agenda.tasks("unreleased")
    return spool.agenda.is_noted(task)


def _supersede(spool: Spool, tasks: list[Task]) -> None:
    """Have what waits of a study's earlier generations not be sent any more."""
    for earlier in tasks:
        _keep(spool, earlier, Unsent.SUPERSEDED)  # first: who releases it now finds it superseded
        spool.agenda.drop(earlier)


def _is_latest(spool: Spool, study_key: str, generation: str) -> bool:
    return _latest(spool, study_key) == generation


def _latest(spool: Spool, study_key: str) -> str | None:
    generations = spool.generations(study_key)
    return generations[-1].name if generations else None
