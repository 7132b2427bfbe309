"""Waiting for room: the queue's book and the work it orders outlast a full disk.

DBOS tries again what a locked SQLite database refuses, and gives up what a full one does: its workflow would be left
behind, as if at work, until the next start. So a full disk is waited out here, and then looks like a lock to DBOS.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import OperationalError

from node import disk, log

# A full disk is looked at again this often (s); work goes on within half a minute of space returning.
LOOK_EVERY_S = 1.0
# What SQLite says of a full disk depends on which of its files did not grow.
_PERHAPS_FULL = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


class FullDisk:
    """Waits while a disk has no room for the results of one image.

    Parameters
    ----------
    folder : Path
        On the disk.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._closed = threading.Event()

    def open(self) -> None:
        """Have errors of SQLite that tell of a full disk waited out."""
        event.listen(Engine, "handle_error", self._on_error)

    def stop_waiting(self) -> None:
        """End all waits, and let none begin."""
        self._closed.set()

    def close(self) -> None:
        """Leave errors as they are."""
        event.remove(Engine, "handle_error", self._on_error)

    def wait(self, pause: Callable[[float], bool] | None = None, **fields: Any) -> bool:
        """Wait until there is room, or until nothing is to wait any more.

        Parameters
        ----------
        pause : callable, optional
            Waits for so many seconds, and tells whether nothing is to wait any more; by default `stop_waiting` says so.
        **fields
            Of the alarm, which is logged once where there is no room.

        Returns
        -------
        bool
            False where the wait was ended without room.
        """
        if self._has_room() or self._closed.is_set():
            return True
        log.alarm("disk.full", wait_s=LOOK_EVERY_S, **fields)
        while not self._has_room():
            if (pause or self._closed.wait)(LOOK_EVERY_S):
                return False
        log.event("disk.freed", **fields)
        return True

    def _has_room(self) -> bool:
        return disk.room(self._folder).is_enough_to_work

    def _on_error(self, context: ExceptionContext) -> BaseException | None:
        """Wait where the disk is full, and return the error that DBOS takes for a reason to try again."""
        error = context.original_exception
        if not isinstance(error, sqlite3.Error) or not self._tells_of_full_disk(error):
            return None
        if context.connection is not None:
            context.connection.connection.rollback()  # or every other thread would wait for its lock
        self.wait(verb="book")
        return OperationalError(
            context.statement, None, sqlite3.OperationalError("database is locked: the disk was full")
        )

    def _tells_of_full_disk(self, error: sqlite3.Error) -> bool:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return code == sqlite3.SQLITE_FULL or (code in _PERHAPS_FULL and not self._has_room())
