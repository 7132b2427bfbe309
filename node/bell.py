"""A bell that wakes a thread waiting in poll or select."""

from __future__ import annotations

import contextlib
import socket


class Bell:
    """Rung from any thread, heard by one; a pair of sockets, so that its descriptors cannot be mistaken once closed."""

    def __init__(self) -> None:
        self._rope, self._ear = socket.socketpair()
        self._rope.setblocking(False)
        self._ear.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor to wait on for reading."""
        return self._ear.fileno()

    def ring(self) -> None:
        """Wake the thread, now or at its next wait; a closed bell stays silent."""
        with contextlib.suppress(OSError):  # full: it was rung often enough
            self._rope.send(b"\0")

    def silence(self) -> None:
        """Take back what was rung."""
        with contextlib.suppress(OSError):
            self._ear.recv(4096)

    def close(self) -> None:
        """Give back the descriptors."""
        self._rope.close()
        self._ear.close()
