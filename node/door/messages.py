"""DIMSE messages put together from the fragments that P-DATA-TF PDUs carry.

One message at a time, on one presentation context, its command before its data set: pynetdicom's own takes fragments of
any context in any order. The data set of a C-STORE is not collected here but goes where the caller says.

References
----------
DICOM PS3.8 9.3.5 and Annex E (presentation data values), PS3.7 6.3 (messages).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pynetdicom.presentation import PresentationContext

from node import message_bytes
from node.door import command
from node.door.command import StoreRequest
from node.door.limits import Limits
from node.door.sink import Sink
from node.door.verdict import INVALID_PARAMETER, UNEXPECTED_PARAMETER, Violation

# Opens a sink for the data set of a C-STORE on a presentation context.
OpenSink = Callable[[StoreRequest, PresentationContext], Sink]

P_DATA_TF = message_bytes.P_DATA_TF
_FRAGMENT_HEADER, _FRAGMENT_HEADER_BYTES = struct.Struct(">LBB").unpack_from, message_bytes.FRAGMENT_HEADER_BYTES


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message.

    Parameters
    ----------
    context_id : int
    asked : StoreRequest or pynetdicom DIMSE primitive
    sink : Sink or None
        Holds the data set of a C-STORE, and comes with each; its reader discards it in the end.
    """

    context_id: int
    asked: Any
    sink: Any = None


class _Bounded:
    """Where fragments go that are collected in memory, which is as large as it may be and no larger."""

    def __init__(self, collected: BytesIO, limit_bytes: int, what: str) -> None:
        self.collected, self._limit_bytes, self._what = collected, limit_bytes, what

    def write(self, data: memoryview) -> None:
        self.collected.write(data)
        if self.collected.tell() > self._limit_bytes:
            raise Violation(f"{self._what} too large")


@dataclass(slots=True)
class _Unfinished:
    """A message on its way in: its command set, and once that is whole, what it asks and where its data set goes."""

    context_id: int
    command_set: _Bounded
    goes_to: _Bounded | Sink
    asked: Any = None
    sink: Sink | None = None
    empty_fragments: int = 0


class Assembly:
    """Puts together what one association sends.

    Parameters
    ----------
    contexts : callable
        Returns the accepted presentation contexts by their IDs.
    open_sink : callable
        Takes the request of a C-STORE and its presentation context, returns the sink for its data set.
    limits : Limits

    Attributes
    ----------
    has_spoken : bool
        Whether a whole message came.
    """

    def __init__(
        self, contexts: Callable[[], Mapping[int, PresentationContext]], open_sink: OpenSink, limits: Limits
    ) -> None:
        self._contexts, self._open_sink, self._limits = contexts, open_sink, limits
        self._unfinished: _Unfinished | None = None
        self.has_spoken = False

    @property
    def is_under_way(self) -> bool:
        """Whether a message has begun."""
        return self._unfinished is not None

    def take(self, body: memoryview) -> Iterator[Message]:
        """Take what follows the header of a P-DATA-TF PDU, and yield the messages that it completes.

        Its bytes must stay as they are until `flush`.

        Raises
        ------
        Violation
        """
        at = 0
        while True:
            if len(body) - at < _FRAGMENT_HEADER_BYTES:
                raise Violation("malformed P-DATA", INVALID_PARAMETER)
            length, context_id, control = _FRAGMENT_HEADER(body, at)
            end = at + 4 + length
            if length < 2 or end > len(body):
                raise Violation("malformed P-DATA", INVALID_PARAMETER)
            whole = self._add(context_id, control, body[at + _FRAGMENT_HEADER_BYTES : end])
            if whole:
                yield whole
            if end == len(body):
                return
            at = end

    def flush(self) -> None:
        """Have written what was taken, whose bytes are about to be overwritten."""
        if self._unfinished and self._unfinished.sink:
            self._unfinished.sink.flush()

    def discard(self) -> None:
        """Leave nothing of a message that is not going to be whole."""
        unfinished, self._unfinished = self._unfinished, None
        if unfinished and unfinished.sink:
            unfinished.sink.discard()

    def _add(self, context_id: int, control: int, data: memoryview) -> Message | None:
        """Add a fragment to its message, and return that if it is whole now."""
        unfinished = self._unfinished or self._begin(context_id, control)
        is_command, is_last = bool(control & message_bytes.COMMAND), bool(control & message_bytes.LAST)
        if unfinished.context_id != context_id or is_command != (unfinished.asked is None):
            raise Violation("interleaved messages", UNEXPECTED_PARAMETER)
        if not data:
            self._count_empty(unfinished)
        unfinished.goes_to.write(data)
        if not is_last or (is_command and self._expects_data_set(unfinished)):
            return None
        return self._finished(unfinished)

    def _begin(self, context_id: int, control: int) -> _Unfinished:
        if not control & message_bytes.COMMAND or context_id not in self._contexts():
            raise Violation("no command where one is due", UNEXPECTED_PARAMETER)
        command_set = _Bounded(BytesIO(), self._limits.command_bytes, "command set")
        self._unfinished = _Unfinished(context_id, command_set, command_set)
        return self._unfinished

    def _count_empty(self, unfinished: _Unfinished) -> None:
        unfinished.empty_fragments += 1
        if unfinished.empty_fragments > self._limits.empty_fragments:
            raise Violation("empty fragments")

    def _expects_data_set(self, unfinished: _Unfinished) -> bool:
        """Understand the command set, which is whole; tell whether a data set is to follow."""
        asked = command.decode(unfinished.command_set.collected.getvalue(), unfinished.context_id)
        context = self._contexts()[unfinished.context_id]
        if isinstance(asked, StoreRequest):
            unfinished.asked, unfinished.sink = asked, self._open_sink(asked, context)
            unfinished.goes_to = unfinished.sink
            return asked.has_data_set
        command.check_context(asked, context.abstract_syntax)
        unfinished.asked = asked.message_to_primitive()  # whose data set is the message's own
        unfinished.goes_to = _Bounded(asked.data_set, self._limits.information_bytes, "data set")
        return command.has_data_set(asked)

    def _finished(self, unfinished: _Unfinished) -> Message:
        self.flush()
        self._unfinished, self.has_spoken = None, True
        return Message(unfinished.context_id, unfinished.asked, unfinished.sink)


def pdus(context_id: int, command_set: bytes, longest_bytes: int) -> Iterator[bytes]:
    """Yield the P-DATA-TF PDUs that carry a message of a command set alone.

    Parameters
    ----------
    context_id : int
    command_set : bytes
    longest_bytes : int
        How much the peer lets follow a PDU's header; 0: any length (PS3.8 D.1).
    """
    for header, fragment in message_bytes.fragments(context_id, message_bytes.COMMAND, command_set, longest_bytes):
        yield header + fragment
