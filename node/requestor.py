"""pynetdicom's requestor made prompt, bounded in time, and safe against losing a response.

- The connection: pynetdicom's own leaves Nagle's algorithm and delayed acknowledgments on, so that storing 10 kB takes
  88 ms instead of 2.5 with DCMTK and 92 instead of 7 with Orthanc (measured); it waits without end on a peer that stops
  in the middle of a PDU or stops reading; and it keeps the reason of a failed connection to its log.
- The reactor thread may take the very response that the requestor waits for, and drop it: ``keep_responses``.
- A record of TLS may hold nothing for us, or more than one PDU; pynetdicom's own then waits without end, or does not look.
- An answer to an N-EVENT-REPORT may slip between the PDUs of a message being sent: ``send_whole_messages``.

Everything here leans on names that pynetdicom keeps to itself; the contract tests fail when they change.

References
----------
DICOM PS3.8 9.1 (TCP/IP), RFC 896 (Nagle), RFC 1122 4.2.3.2 (delayed acknowledgment), tcp(7) TCP_QUICKACK.
"""

import select
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Any

from pynetdicom import AE, Association
from pynetdicom.transport import AssociationSocket

from node.tls.contexts import close_notify

# A PDU under way moves at least one byte to the peer, or arrives whole, in this time: as long as a DIMSE answer may take.
PDU_TIMEOUT_S = 30.0

# No PDU to a requestor is longer: A-ASSOCIATE-AC lists at most 128 contexts, and P-DATA-TF keeps to the 16,382 bytes
# that pynetdicom announces. It keeps a peer's length field from reserving memory.
LONGEST_PDU_BYTES = 131_072

# What is sent may still wait in the kernel, and an answer is due 30 s after it was sent: this much, which Linux doubles,
# leaves in time even at 140 kbit/s, and still fills 80 Mbit/s at a round trip of 50 ms.
SEND_BUFFER_BYTES = 262_144

# Absent outside Linux, where the delayed acknowledgment then stays.
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


class TransportConnection(AssociationSocket):  # type: ignore[misc]  # pynetdicom has no types
    """The connection of one requested association.

    Attributes
    ----------
    failure : OSError or None
        Why the connection could not be opened, or why TLS ended it: a server says only after the handshake of TLS 1.3 that
        it does not take our certificate (RFC 8446 E.1.2).
    last_sent_s : float
        Monotonic time at which bytes last left for the peer; the answer to a long message is due from then on.
    stalled : bool
        Whether the peer stopped reading.
    """

    socket: Any  # a socket.socket, None once it is closed
    failure: OSError | None = None
    last_sent_s = 0.0
    stalled = False
    _early = b""

    def connect(self, primitive: Any) -> None:
        """Open the connection and tell the state machine (PS3.8 Table 9-10: Evt2, or Evt17 where it failed).

        Parameters
        ----------
        primitive : pynetdicom.transport.T_CONNECT
        """
        try:
            self._open(primitive.address_info.as_tuple)
            primitive.result = "Evt2"
        except OSError as failure:
            self.failure = failure
            self._shutdown_socket()
            self.socket = None
            primitive.result = "Evt17"
        self.provider_queue.put(primitive)
        self._ready.set()

    def _open(self, address: tuple[Any, ...]) -> None:
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self.socket.settimeout(self.assoc.connection_timeout)
        self.socket.connect(address)
        if self.tls_args:
            context, server_name = self.tls_args
            self.socket = context.wrap_socket(self.socket, server_hostname=server_name, do_handshake_on_connect=False)
            self.socket.do_handshake()  # all of it in the time that the connection may take
        self._acknowledge_at_once()
        self._is_connected = True

    @property
    def ready(self) -> bool:
        """Whether bytes, or the end of the connection, can be read. Unlike select, poll takes any descriptor number."""
        if self.socket is None or not self._is_connected:
            return False
        poll = select.poll()
        try:
            poll.register(self.socket, select.POLLIN)
        except ValueError:  # closed meanwhile: its descriptor is -1
            self.event_queue.put("Evt17")
            return False
        if isinstance(self.socket, ssl.SSLSocket):
            return self._has_early(bool(poll.poll(0)))
        return bool(poll.poll(0))

    def _has_early(self, has_records: bool) -> bool:
        """Tell whether a byte for us, or the end, can be read from TLS, by reading it."""
        if self._early or self.failure or not (has_records or self.socket.pending()):
            return bool(self._early or self.failure)
        try:
            self.socket.settimeout(0)
            self._early = self.socket.recv(1)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except ssl.SSLError as failure:
            self.failure = failure
        except OSError:
            pass  # which whoever reads meets again
        return True

    def recv(self, nr_bytes: int) -> bytearray:
        """Read a part of a PDU; fewer bytes where the peer closed the connection.

        Parameters
        ----------
        nr_bytes : int
            Length of the part.

        Raises
        ------
        OSError
            When it is longer than any PDU due, or does not arrive in time; or when TLS has failed.
        """
        if self.failure:
            raise self.failure
        if nr_bytes > LONGEST_PDU_BYTES:
            raise OSError(f"a PDU of {nr_bytes} bytes is longer than agreed")
        deadline = time.monotonic() + PDU_TIMEOUT_S
        received, self._early = bytearray(self._early), b""
        while len(received) < nr_bytes:
            self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
            part = self.socket.recv(nr_bytes - len(received))
            self._acknowledge_at_once()
            if not part:
                break
            received += part
        return received

    def send(self, bytestream: bytes) -> None:
        """Send a PDU, or tell the state machine that the connection is lost (Evt17).

        Parameters
        ----------
        bytestream : bytes
        """
        rest = memoryview(bytestream)
        try:
            self.socket.settimeout(PDU_TIMEOUT_S)
            while rest:
                rest = rest[self.socket.send(rest) :]
                self.last_sent_s = time.monotonic()
            self._acknowledge_at_once()
        except (OSError, AttributeError) as failure:  # AttributeError: the socket is None once it is closed
            self.stalled = isinstance(failure, TimeoutError)
            if isinstance(self.socket, ssl.SSLSocket) and not self.stalled:
                self._has_early(True)  # an alert may lie there that says why
            self.event_queue.put("Evt17")

    def cut(self) -> None:
        """End the connection from any thread; whoever reads or writes it returns at once."""
        with suppress(OSError, TypeError):  # TypeError: the socket is None once it is closed
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)  # not TLS's own, which another thread may be in

    def _shutdown_socket(self) -> None:
        # Upstream forgets to close a socket whose shutdown fails, and so leaks its descriptor.
        close_notify(self.socket)
        self.cut()
        with suppress(OSError, AttributeError):
            self.socket.close()

    def _acknowledge_at_once(self) -> None:
        """Ask the kernel again, for it goes back to delaying by itself."""
        if _QUICKACK is not None:
            with suppress(OSError):
                self.socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)


class RequestorAE(AE):  # type: ignore[misc]  # pynetdicom has no types
    """An application entity whose associations run over our connection and are mended before they start."""

    def _create_socket(self, assoc: Association, address: Any, tls_args: Any) -> TransportConnection:
        keep_responses(assoc)
        send_whole_messages(assoc)
        connection = TransportConnection(assoc, address=address)
        connection.tls_args = tls_args
        return connection


def keep_responses(association: Association) -> None:
    """Give a response that the reactor took back to the requestor that waits for it.

    The reactor of pynetdicom 3.0.4 (association.py, ``_run_reactor``) looks for requests of the peer in the queue that
    responses come through. What is no request it logs as unexpected and drops, so that the requestor sits out its
    timeout and aborts although the peer has stored the object: 9 lost of 677 beside one busy thread, none of 1,788 with
    this (measured).

    Parameters
    ----------
    association : pynetdicom.Association
    """
    serve_request = association._serve_request

    def serve_or_give_back(message: Any, context_id: int) -> None:
        if message.is_valid_request:
            serve_request(message, context_id)
        else:
            association.dimse.msg_queue.put((context_id, message))

    association._serve_request = serve_or_give_back


def send_whole_messages(association: Association) -> None:
    """Let one message be sent at a time.

    pynetdicom answers an N-EVENT-REPORT from a thread of its own, whose PDU could fall between those of a C-STORE;
    the fragments of one message follow each other without another's between them (PS3.8 Annex E.1).

    Parameters
    ----------
    association : pynetdicom.Association
    """
    send_message, turn = association.dimse.send_msg, threading.Lock()

    def send_in_turn(primitive: Any, context_id: int) -> None:
        with turn:
            send_message(primitive, context_id)

    association.dimse.send_msg = send_in_turn
