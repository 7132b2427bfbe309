"""What a person orders: parked work taken up again, a study read anew. The command line and the status page ask here."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from dataclasses import asdict, replace
from datetime import UTC, datetime

from node.agenda import Task
from node.durable import write_json
from node.errors import NodeError
from node.spool import Generation, Kind, Spool


class OrderError(NodeError):
    """What was ordered cannot be done now; the message says why."""


def retry(spool: Spool, study: str = "") -> list[Task]:
    """Put parked work back to work, once its cause has been mended.

    Parameters
    ----------
    spool : Spool
    study : str
        Key of a study, or its beginning; empty: all parked work.

    Returns
    -------
    list of Task
        What was parked; empty where nothing was.
    """
    chosen = [task for task in spool.agenda.tasks("parked") if task.study_key.startswith(study)]
    for task in chosen:
        spool.take_up(task)
    return chosen


def replay(spool: Spool, study: str) -> Task:
    """Have a study read anew, by the model and the settings of now, and the new results sent.

    The same images make another generation, whose report names the one it replaces. Nothing that was made or sent before
    is changed.

    Parameters
    ----------
    spool : Spool
    study : str
        Key of a study, or its beginning.

    Returns
    -------
    Task
        The task of reading it.

    Raises
    ------
    OrderError
        Where no such study is held or several are, or it is on its way already.
    """
    key = _the_one(study, spool.studies())
    generations = spool.generations(key)
    if not generations or spool.reading(key, generations[-1].name) is None:
        raise OrderError(f"study {key} has not been read yet; see cxr-node status")
    last = generations[-1]
    if any(
        task.study_key == key and task.verb == "read"
        for state in ("todo", "open")
        for task in spool.agenda.tasks(state)
    ):
        raise OrderError(f"study {key} is being read; wait until it is, then ask again")
    if any(task.study_key == key and task.verb == "read" for task in spool.agenda.tasks("parked")):
        raise OrderError(f"study {key} is parked; mend the cause, then run cxr-node retry {key[:12]}")
    if _images(spool, key) - set(last.instances):
        raise OrderError(f"study {key} has new images, and is read with them by itself")
    return _begin(spool, _renewed(last))


def _the_one(study: str, held: Collection[str]) -> str:
    found = [key for key in held if study and key.startswith(study)]
    if len(found) != 1:
        raise OrderError(
            f"several studies begin with {study}; give more of the key" if found else f"no study {study or '-'} is held"
        )
    return found[0]


def _images(spool: Spool, key: str) -> set[str]:
    return {path.name.partition(".")[0] for path in spool.study_folder(key).glob(f"*.{Kind.IMAGE}.dcm")}


def _renewed(last: Generation) -> Generation:
    """Return the next generation of the same instances: its name is a digest, too, of them and of its number."""
    number = last.number + 1
    digest = hashlib.sha256("\n".join((*last.instances, f"reading {number}")).encode())
    settled = datetime.now(UTC).isoformat()
    return replace(last, name=digest.hexdigest()[:16], number=number, settled=settled, previous=last.name)


def _begin(spool: Spool, generation: Generation) -> Task:
    key = generation.study_key
    try:
        os.utime(spool.study_folder(key))  # from now on it is not forgotten
    except FileNotFoundError:
        raise OrderError(f"study {key} has just been forgotten; have it sent again") from None
    write_json(spool.generation_folder(key, generation.name) / "generation.json", asdict(generation))
    task = Task("read", key, generation.name)
    spool.agenda.note(task)
    return task
