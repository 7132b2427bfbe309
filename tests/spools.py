"""A spool to put things into, and what it then holds."""

import errno
import os
from pathlib import Path
from typing import Any, NoReturn

from node.agenda import Task
from node.durable import key_of
from node.spool import Kind, Spool

STUDY, INSTANCE = "1.2.826.0.1.3680043.10.1.1", "1.2.826.0.1.3680043.10.1.1.1"
KEY = key_of(STUDY)
CONTENT = bytes(range(256)) * 40


def take(
    spool: Spool, instance: str = INSTANCE, content: bytes = CONTENT, kind: Kind = Kind.IMAGE, study: str = STUDY
) -> bool:
    """Take an instance in two pieces."""
    return spool.take(study, instance, kind, (content[:100], memoryview(content)[100:]))


def files(folder: Path) -> dict[str, bytes]:
    """The files of a folder, by their paths, with what they hold."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def held_results(spool: Spool, task: Task) -> dict[str, bytes] | None:
    """The results of a generation, None where there are none yet."""
    folder = spool.generation_folder(task.study_key, task.generation) / "results"
    return files(folder) if folder.exists() else None


def no_space(*_: Any) -> NoReturn:
    """Do as a full disk does."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
