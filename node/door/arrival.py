"""A connection on its way to an association: its TLS handshake, then its request, within one deadline."""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from enum import Enum

from node.door import request
from node.door.limits import Limits
from node.door.request import AssociationRequest

# RFC 8446 5.1: the type of the record that begins every handshake; an A-ASSOCIATE-RQ begins with 01H (PS3.8 9.3.2).
_HANDSHAKE_RECORD = b"\x16"


class Stage(Enum):
    """How far a connection has come."""

    HANDSHAKE = "TLS handshake"
    REQUEST = "association request"
    WAITING = "waiting for a place"
    LEAVING = "leaving"


class Gone(OSError):
    """The peer has closed the connection."""


class NoTLS(OSError):
    """The peer does not begin with a TLS handshake."""


class Arrival:
    """A connection that was accepted and has no association yet. It costs a descriptor, and never blocks.

    Parameters
    ----------
    connection : socket.socket
        Just accepted.
    address : str
        The peer's IP address.
    limits : Limits
    tls : ssl.SSLContext or None

    Attributes
    ----------
    connection : socket.socket
        With TLS from the beginning where there is a context.
    stage : Stage
    deadline_s : float
        Monotonic time at which it is closed, in each stage.
    awaits : int
        What to wait for: ``selectors.EVENT_READ`` or ``EVENT_WRITE``.
    asked : AssociationRequest
        Once the request is whole.

    Raises
    ------
    OSError
        When the peer has gone already.
    """

    asked: AssociationRequest

    def __init__(self, connection: socket.socket, address: str, limits: Limits, tls: ssl.SSLContext | None) -> None:
        self.address, self._limits = address, limits
        connection.setblocking(False)
        # An answer is small and the sender waits for it: Nagle's algorithm would hold it back.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.connection, self.stage = connection, Stage.REQUEST
        if tls:
            self.connection = tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            self.stage = Stage.HANDSHAKE
        self.deadline_s = time.monotonic() + limits.request_s
        self.awaits = selectors.EVENT_READ
        self._greeted = False
        self._received, self._wanted = bytearray(), request.HEADER_BYTES
        self._drained = 0

    def read_request(self) -> bool:
        """Go on with the handshake, then with the request; no byte beyond the request is read.

        Returns
        -------
        bool
            Whether the request is whole.

        Raises
        ------
        Violation
            When it is no request for an association.
        Gone, NoTLS, OSError
            When the peer has gone, or there is no handshake with it.
        """
        self.awaits = selectors.EVENT_READ
        try:
            if self.stage is Stage.HANDSHAKE:
                self._shake_hands()
            while len(self._received) < self._wanted:
                self._read()
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except ssl.SSLWantWriteError:
            self.awaits = selectors.EVENT_WRITE
            return False
        self.asked = AssociationRequest.decode(self._received)
        return True

    def _shake_hands(self) -> None:
        if not self._greeted:  # by the first byte, for a plain request is no business of OpenSSL's
            if self._first_byte() != _HANDSHAKE_RECORD:
                raise NoTLS
            self._greeted = True
        self.connection.do_handshake()  # type: ignore[attr-defined]  # of an ssl.SSLSocket
        self.stage = Stage.REQUEST

    def _first_byte(self) -> bytes:
        try:
            first = socket.socket.recv(self.connection, 1, socket.MSG_PEEK)
        except ConnectionError:
            raise Gone from None
        if not first:
            raise Gone
        return first

    def _read(self) -> None:
        part = self.connection.recv(self._wanted - len(self._received))
        if not part:
            raise Gone
        self._received += part
        if len(self._received) == request.HEADER_BYTES:
            self._wanted = request.length_of(self._received, self._limits.request_bytes)

    def wait_for_place(self) -> bool:
        """Wait a while for a place; tell whether there is time left."""
        if self.stage is not Stage.WAITING:
            self.stage = Stage.WAITING
            self.deadline_s = min(self.deadline_s, time.monotonic() + self._limits.place_s)
        return time.monotonic() < self.deadline_s

    def say(self, last_word: bytes) -> None:
        """Send the last word; the peer is then given time to hang up, or a TCP reset could overtake it.

        Raises
        ------
        OSError
            When it cannot be sent.
        """
        self._leave()
        self.connection.send(last_word)

    def say_no_more(self) -> None:
        """Leave it at the alert by which OpenSSL has ended the handshake; it is not to be lost to a TCP reset either.

        Raises
        ------
        OSError
            When the peer has gone.
        """
        self._leave()
        socket.socket.shutdown(self.connection, socket.SHUT_WR)

    def _leave(self) -> None:
        self.stage, self.awaits = Stage.LEAVING, selectors.EVENT_READ
        self.deadline_s = time.monotonic() + self._limits.linger_s

    def drain(self) -> bool:
        """Read and drop what still comes; tell whether the peer is still there, and not too talkative."""
        try:
            # Of TLS as it comes: who is not listened to is not decrypted.
            while part := socket.socket.recv(self.connection, 65_536):
                self._drained += len(part)
                if self._drained > self._limits.drained_bytes:
                    return False
        except BlockingIOError:
            return True
        return False
