"""Lines at the end of a file that several processes share: none is torn, and the file never grows past its limit.

A line is one write to a descriptor opened for appending, which the system keeps whole. A file that is full is renamed
to ``FILE.1``, an older ``FILE.1`` to ``FILE.2`` and so on, and whoever has it open finds that its name leads elsewhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import threading
from pathlib import Path

MODE = 0o600


class RollingFile:
    """A file for lines, readable by this user alone.

    Parameters
    ----------
    path : Path
        What is no regular file, such as a terminal, is written to and never renamed.
    limit_bytes : int
        From this size on the file is renamed.
    kept : int
        So many renamed files are kept beside it.

    Raises
    ------
    OSError
        When it cannot be written to.
    """

    def __init__(self, path: Path, limit_bytes: int, kept: int) -> None:
        self.path, self._limit_bytes, self._kept = path, limit_bytes, kept
        self._lock = threading.Lock()
        self._descriptor = self._open()
        self._is_torn = False

    def append(self, line: bytes) -> int:
        """Append a line, its end included.

        Returns
        -------
        int
            How many old lines were dropped for it.

        Raises
        ------
        OSError
            When the disk does not take it; at most a part of it is then there, and the next line begins a line of its own.
        """
        with self._lock:
            self._follow()
            dropped = self._roll() if self._is_full(len(line)) else 0
            whole = b"\n" + line if self._is_torn else line
            written = os.write(self._descriptor, whole)
            self._is_torn = written < len(whole)
        if written < len(whole):
            raise OSError(f"only a part of a line was written to {self.path.name}")
        return dropped

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _open(self) -> int:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            with contextlib.suppress(PermissionError):  # made by another user, who chose its mode
                os.fchmod(descriptor, MODE)
        return descriptor

    def _follow(self) -> None:
        """Open the file anew where another process has renamed it."""
        if not self._is_named():
            os.close(self._descriptor)
            self._descriptor = self._open()

    def _is_named(self) -> bool:
        """Whether the name still leads to the open file."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def _is_full(self, more: int) -> bool:
        found = os.fstat(self._descriptor)
        return stat.S_ISREG(found.st_mode) and found.st_size > 0 and found.st_size + more > self._limit_bytes

    def _roll(self) -> int:
        """Rename the file and open a new one; where another process is at it, go on with this one."""
        lock = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        else:
            dropped = self._rename() if self._is_named() else 0
            self._follow()
            return dropped
        finally:
            os.close(lock)

    def _rename(self) -> int:
        oldest = self._numbered(self._kept)
        dropped = _lines(oldest)
        for number in range(self._kept, 0, -1):
            source = self._numbered(number - 1)
            if source.exists():
                source.replace(self._numbered(number))
        return dropped

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path


def _lines(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return sum(1 for _ in file)
    except FileNotFoundError:
        return 0
