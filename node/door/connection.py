"""The connection of an association: read in large pieces, PDU by PDU, never waited for longer than it deserves.

pynetdicom's own reads 4 kB at a time, blocks in the middle of a PDU, and reserves whatever length a PDU claims.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import time
from collections.abc import Mapping
from typing import Any

from pynetdicom.transport import AssociationSocket

from node.bell import Bell
from node.door.limits import Limits
from node.door.verdict import UNRECOGNIZED_PDU, Violation
from node.tls.contexts import close_notify

_HEADER, HEADER_BYTES = struct.Struct(">BxL").unpack_from, 6
# What a buffer holds until a longer PDU comes, and from then on: whole PDUs of the length that the node announces, or the piece
# of one at each buffer's end would be moved to the next one's beginning. With 8 of them, 1 MB, an image costs a tenth to a fifth
# less CPU time than with 2, with 16 not surely less (docs/performance.md); memory that no byte came into is not taken.
BUFFER_BYTES, LARGE_BUFFER_PDUS = 16_384, 8
NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
# Absent outside Linux, where the delayed acknowledgment then stays (tcp(7)).
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


class Connection(AssociationSocket):  # type: ignore[misc]  # pynetdicom has no types
    """A connection, read and written by the upper layer's thread alone.

    Parameters
    ----------
    association : pynetdicom.Association
    connected : socket.socket
        Non-blocking.
    request : bytes
        The A-ASSOCIATE-RQ, which was read already.
    bell : Bell
        Ends a wait for bytes.
    limits : Limits

    Attributes
    ----------
    received : int
        Bytes that came.
    at_end : bool
        Whether no more can come.
    """

    socket: Any  # a socket.socket, None once it is closed

    def __init__(self, association: Any, connected: socket.socket, request: bytes, bell: Bell, limits: Limits) -> None:
        super().__init__(association, client_socket=connected)  # tells the state machine of it: Evt5
        self._limits, self._bell = limits, bell
        self.received, self.at_end = 0, False
        self._buffer = memoryview(bytearray(max(BUFFER_BYTES, len(request))))
        self._buffer[: len(request)] = request
        self._begin, self._end, self._wanted = 0, len(request), HEADER_BYTES
        self._readable, self._writable, self._rung = (select.poll() for _ in range(3))  # any descriptor, unlike select
        self._readable.register(connected, select.POLLIN)
        self._writable.register(connected, select.POLLOUT)
        for each in (self._readable, self._rung):
            each.register(bell, select.POLLIN)

    @property
    def has_part(self) -> bool:
        """Whether a PDU has begun."""
        return self._begin < self._end

    def next_pdu(self, longest: Mapping[int, int]) -> memoryview | None:
        """Return the next PDU if all of it is there; it is valid until the next bytes are read.

        Parameters
        ----------
        longest : mapping of int to int
            By PDU type, the length in bytes that may follow the header. A type that is missing is none.

        Raises
        ------
        Violation
            By the header alone, before a byte of what follows is read for it.
        """
        there, self._wanted = self._end - self._begin, HEADER_BYTES
        if there < HEADER_BYTES:
            return None
        kind, length = _HEADER(self._buffer, self._begin)
        if kind not in longest:
            raise Violation("unknown PDU type", UNRECOGNIZED_PDU)
        if length > longest[kind]:
            raise Violation("PDU too long")
        if there < HEADER_BYTES + length:
            self._wanted = HEADER_BYTES + length
            return None
        begin, self._begin = self._begin, self._begin + HEADER_BYTES + length
        return self._buffer[begin : self._begin]

    def read(self) -> bool:
        """Read what there is, as far as the buffer goes; tell whether anything came."""
        if not self.has_part:
            self._begin = self._end = 0
        if self._begin + self._wanted > len(self._buffer):
            self._make_room(self._wanted)
        try:
            count = self.socket.recv_into(self._buffer[self._end :])
        except NOT_NOW:
            return False
        except (OSError, ValueError):  # ValueError: of a TLS connection that was closed
            count = 0
        if not count:
            self.at_end = True
            return False
        self._end += count
        self.received += count
        return True

    def wait(self, seconds: float) -> bool:
        """Wait until bytes come or the bell rings; tell whether bytes came, and the bell did not ring."""
        self._acknowledge_at_once()
        found = [descriptor for descriptor, _ in self._readable.poll(seconds * 1000)]
        if self._bell.fileno() not in found:
            return bool(found)
        self._bell.silence()
        return False

    def rest(self, seconds: float) -> None:
        """Wait until the bell rings, whatever comes."""
        self._rung.poll(seconds * 1000)
        self._bell.silence()

    def forget(self) -> None:
        """Drop what was read."""
        self._begin = self._end = 0

    def send(self, bytestream: bytes) -> None:
        """Send a PDU, or tell the state machine that the connection is lost (Evt17).

        Parameters
        ----------
        bytestream : bytes
        """
        rest, deadline_s = memoryview(bytestream), time.monotonic() + self._limits.send_s
        try:
            while rest:
                try:
                    rest = rest[self.socket.send(rest) :]
                except NOT_NOW:
                    if time.monotonic() > deadline_s:
                        raise TimeoutError from None
                    self._writable.poll(500)
        except (OSError, ValueError, AttributeError):  # AttributeError: it is closed, and None
            self.event_queue.put("Evt17")

    def cut(self) -> None:
        """End the connection, from any thread; the one that reads it finds it at its end."""
        with contextlib.suppress(OSError, TypeError):  # TypeError: it is closed, and None
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)  # not TLS's own, which another thread may be in

    def release(self) -> None:
        """Close the connection and give back its buffer, which the association's cycles of references would keep."""
        self._shutdown_socket()
        self._buffer = memoryview(bytearray())
        self.forget()

    def _shutdown_socket(self) -> None:
        # Upstream leaves a socket open whose shutdown fails.
        close_notify(self.socket)
        self.cut()
        with contextlib.suppress(OSError, AttributeError):
            self.socket.close()

    def _make_room(self, size: int) -> None:
        """Move what is there to the front of a buffer that holds `size` bytes."""
        buffer, there = self._buffer, self._buffer[self._begin : self._end]
        if size > len(buffer):
            whole = LARGE_BUFFER_PDUS * (HEADER_BYTES + self._limits.pdu_bytes)
            buffer = memoryview(bytearray(max(whole, size)))
        buffer[: len(there)] = there
        self._buffer, self._begin, self._end = buffer, 0, len(there)

    def _acknowledge_at_once(self) -> None:
        """Have what came acknowledged now, for a sender with Nagle's algorithm waits for that; the kernel goes back to delaying by itself."""
        if _QUICKACK is not None:
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
