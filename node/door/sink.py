"""Where the data set of a C-STORE goes while it comes: into the file that the spool is going to keep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from node.door.limits import Limits
from node.door.verdict import Violation
from node.durable import NewFile
from node.errors import OutOfResources, ReceiveError

# After how long of coming (s) the room is asked for again: all associations together overrun the reserve by what the line
# brings in that time, 62 MB of 10 Gbit/s.
LOOK_EVERY_S = 0.05
# A megabyte in pieces of one byte would take hundreds to remember; and the system takes 1,024 at once (writev(2)).
PIECES_AT_ONCE = 64


class Sink(Protocol):
    """Takes the bytes of one data set."""

    def write(self, data: memoryview) -> None:
        """Take some; they stay as they are until `flush`."""

    def flush(self) -> None:
        """Be done with what was taken."""

    def discard(self) -> None:
        """Leave nothing of them, unless they have been kept; a second call does nothing."""


class InstanceFile:
    """A Part 10 file whose data set comes from the network.

    What keeps it from being written does not end the association: the rest of the data set is swallowed, and the sender
    is answered with a status.

    Parameters
    ----------
    begin : callable
        Makes the file; may raise OutOfResources.
    head : bytes
        Preamble, prefix and File Meta Information.
    limits : Limits
    is_short : callable
        Tells whether only the room is left that instances may not take.
    """

    def __init__(
        self, begin: Callable[[], NewFile], head: bytes, limits: Limits, is_short: Callable[[], bool] = lambda: False
    ) -> None:
        self._limits, self._head_bytes, self._is_short = limits, len(head), is_short
        self._file: NewFile | None = None
        self._refusal: ReceiveError | None = None
        # Written together: with each write a thread lets others run, and has to wait for its turn again.
        self._pieces: list[bytes | memoryview] = [head]
        self.size, self._most = 0, limits.object_bytes
        self._look_at_s = time.monotonic() + LOOK_EVERY_S
        try:
            self._file = begin()
        except OutOfResources as refusal:
            self._refuse(refusal)
        except OSError as error:
            self._refuse(OutOfResources.on(error))

    def write(self, data: memoryview) -> None:
        """Append bytes of the data set.

        Raises
        ------
        Violation
            When there is no end of them.
        """
        self.size += len(data)
        if self.size > self._most:
            self._outgrow()
        self._pieces.append(data)
        if len(self._pieces) >= PIECES_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write what was taken, or drop it where the instance is refused anyway."""
        pieces, self._pieces = self._pieces, []
        self._look_for_room()
        if self._refusal or not pieces:
            return
        try:
            self.file().write(*pieces)
        except OSError as error:
            self._refuse(OutOfResources.on(error))

    def data_set(self) -> memoryview:
        """Return the encoded data set, flushed before, mapped and not copied.

        Raises
        ------
        ReceiveError
            Why it is not there.
        """
        try:
            return self.file().content()[self._head_bytes :]
        except OSError as error:
            raise OutOfResources.on(error) from None

    def file(self) -> NewFile:
        """Return the file.

        Raises
        ------
        ReceiveError
            Why it is not there.
        """
        if self._refusal:
            raise self._refusal
        assert self._file is not None, "there is a file or a reason why not"
        return self._file

    def discard(self) -> None:
        """Remove the file, unless it has another name by now."""
        if self._file:
            self._file.discard()

    def _outgrow(self) -> None:
        if self.size > self._limits.swallowed_bytes:
            raise Violation("data set without end")
        self._most = self._limits.swallowed_bytes
        self._refuse(OutOfResources(f"the data set is larger than {self._limits.object_bytes >> 20} MiB"))

    def _look_for_room(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._look_at_s and not self._refusal:
            self._look_at_s = now_s + LOOK_EVERY_S
            if self._is_short():
                self._refuse(OutOfResources.reserved())

    def _refuse(self, refusal: ReceiveError) -> None:
        self._refusal = self._refusal or refusal
        self.discard()
