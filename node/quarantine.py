"""Instances that were refused after their bytes had come: the newest of them are kept for a person to look at.

::

    quarantine/NAME.dcm    what came, behind a head that says in which transfer syntax
    quarantine/NAME.json   when it came, from whom, and why it was refused; nothing of a patient

They were never promised to be kept, so the oldest go where there are too many, and none is kept where the disk is short.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from node.durable import FILE_MODE, NewFile, make_folder, read_json, write_json
from node.errors import ConfigError

COUNT_LIMIT = 200
# One object must not push out all others.
LARGEST_SHARE = 4
KEPT_S = 30 * 86_400.0
# What names begin with, so that they sort by their age.
_NAMED_BY = "%Y%m%d-%H%M%S"


@dataclass(frozen=True, slots=True)
class Refused:
    """Why an instance is in the quarantine.

    Attributes
    ----------
    name : str
        Generated; the file's.
    at : str
        ISO 8601 moment in UTC.
    calling, address : str
        Who sent it.
    sop_class : str
        The Standard's name for what it was announced as.
    status, reason : str
        What the sender was answered: ``"0xC210"`` and the Error Comment.
    bytes : int
        Of the data set.
    """

    name: str
    at: str
    calling: str
    address: str
    sop_class: str
    status: str
    reason: str
    bytes: int


class Quarantine:
    """The quarantine of a spool.

    Parameters
    ----------
    folder : Path
        Its folder, made once there is something to keep.
    limit_bytes : int
        For all of it; 0: nothing is kept any more.
    """

    def __init__(self, folder: Path, limit_bytes: int = 0) -> None:
        self._folder, self._limit_bytes = folder, limit_bytes
        self._lock = threading.Lock()

    def keep(
        self, file: NewFile, size: int, calling: str, address: str, sop_class: str, status: str, reason: str
    ) -> None:
        """Keep a refused instance if there is a place for it; its file is not the caller's any more.

        Raises
        ------
        OSError
            When the disk does not take it; nothing of it is left.
        """
        if size > self._limit_bytes // LARGEST_SHARE:
            return
        now = datetime.now(UTC)
        name = f"{now:{_NAMED_BY}}-{uuid.uuid4().hex[:8]}"
        with self._lock:
            make_folder(self._folder)
            self._prune(COUNT_LIMIT - 1, self._limit_bytes - size)
            try:
                file.keep_as(self._path(name, "dcm"))
                said = Refused(name, now.isoformat(), calling, address, sop_class, status, reason, size)
                write_json(self._path(name, "json"), asdict(said))
            except OSError:
                self._path(name, "dcm").unlink(missing_ok=True)
                raise

    def prune(self) -> None:
        """Drop what was kept for long enough, what a stopped receiver left without its reason, and reasons of nothing."""
        with self._lock:
            for name in {entry.name for entry in self._entries()} ^ self._sizes().keys():
                self.drop(name)
            self._prune(COUNT_LIMIT, self._limit_bytes)

    def entries(self) -> list[Refused]:
        """Return what is kept, the newest first."""
        return list(reversed(list(self._entries())))

    def drop(self, name: str) -> None:
        """Delete an instance of the quarantine."""
        self._path(name, "json").unlink(missing_ok=True)
        self._path(name, "dcm").unlink(missing_ok=True)

    def export(self, name: str, folder: Path) -> Path:
        """Copy an instance to a folder, readable by this user alone; returns where it lies.

        Raises
        ------
        ConfigError
            When it cannot be written there, or a copy is there already.
        """
        to = folder / f"{name}.dcm"
        try:
            make_folder(folder)
            to.touch(FILE_MODE, exist_ok=False)
            shutil.copyfile(self._path(name, "dcm"), to)
        except OSError as error:
            raise ConfigError(f"{to}: cannot be written ({error.strerror}). Name another folder.") from None
        return to

    def _prune(self, count: int, limit_bytes: int) -> None:
        """Drop the oldest until the rest is young, and no more than so many and so much.

        By names and sizes: to read why each is here would make a refusal the dearer the more there were before it.
        """
        kept = sorted(self._sizes().items())
        total = sum(size for _, size in kept)
        kept_since = f"{datetime.now(UTC) - timedelta(seconds=KEPT_S):{_NAMED_BY}}"
        for index, (name, size) in enumerate(kept):
            if name >= kept_since and len(kept) - index <= count and total <= limit_bytes:
                return
            self.drop(name)
            total -= size

    def _sizes(self) -> dict[str, int]:
        """Return the bytes of each file that is kept, by name."""
        sizes = {}
        for path in self._folder.glob("*.dcm"):
            with contextlib.suppress(FileNotFoundError):  # a person has dropped it just now
                sizes[path.stem] = path.stat().st_size
        return sizes

    def _entries(self) -> Iterator[Refused]:
        """Yield what is kept, the oldest first."""
        for path in sorted(self._folder.glob("[!.]*.json")):
            # Dropped between the list and the look, or spoilt by a hand that is not ours: then it is no reason to refuse more.
            with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
                entry = Refused(**read_json(path))
                if entry.name == path.stem:  # what is dropped is named by it
                    yield entry

    def _path(self, name: str, suffix: str) -> Path:
        return self._folder / f"{name}.{suffix}"
