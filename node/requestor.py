"""pynetdicom's requestor made prompt, bounded in time, and safe against losing a response.

- The connection: pynetdicom's own leaves Nagle's algorithm and delayed acknowledgments on, so that storing 10 kB takes
  88 ms instead of 2.5 with DCMTK and 92 instead of 7 with Orthanc (measured); it waits without end on a peer that stops
  in the middle of a PDU or stops reading; and it keeps the reason of a failed connection to its log.
- The reactor thread may take the very response that the requestor waits for, and drop it, and the requestor a request that
  is the reactor's: ``keep_apart``.
- Both of an association's threads look for work every millisecond: 3 % of a processor while nothing happens, and 2 ms on
  the way of each message and its answer: ``wake_when_due``.
- A record of TLS may hold nothing for us, or more than one PDU; pynetdicom's own then waits without end, or does not look.
- An answer to an N-EVENT-REPORT may slip between the PDUs of a message being sent: ``send_whole_messages``.
- A C-STORE costs more Python than all the rest of storing a result: ``node.store_by_hand``.

Everything here leans on names that pynetdicom keeps to itself; the contract tests fail when they change.

References
----------
DICOM PS3.8 9.1 (TCP/IP), RFC 896 (Nagle), RFC 1122 4.2.3.2 (delayed acknowledgment), tcp(7) TCP_QUICKACK.
"""

import queue
import select
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Any

from pynetdicom import AE, Association
from pynetdicom.transport import AssociationSocket

from node.bell import Bell
from node.store_by_hand import store_by_hand
from node.tls.contexts import close_notify

# A PDU under way moves at least one byte to the peer, or arrives whole, in this time: as long as a DIMSE answer may take.
PDU_TIMEOUT_S = 30.0

# No PDU to a requestor is longer: A-ASSOCIATE-AC lists at most 128 contexts, and P-DATA-TF keeps to the 16,382 bytes
# that pynetdicom announces. It keeps a peer's length field from reserving memory.
LONGEST_PDU_BYTES = 131_072

# What is sent may still wait in the kernel, and an answer is due 30 s after it was sent: this much, which Linux doubles,
# leaves in time even at 140 kbit/s, and still fills 80 Mbit/s at a round trip of 50 ms.
SEND_BUFFER_BYTES = 262_144

# TLS returns once all that it was given is sent, and only then is it known that the peer still reads.
SENT_AT_ONCE_BYTES = 65_536

# How often an association that waits looks for what nothing tells it of: timers, and a release or an abort by the peer.
TIMERS_EVERY_S, LOOK_EVERY_S = 0.25, 0.02
# Upstream's loop naps each time it found nothing to do, but here it has waited by then.
NAP_S = 0.0001
_AWAITING_CLOSE = "Sta13"  # PS3.8 9.2

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
    bell : Bell or None
        Rung where there is something to send; with it, `ready` waits.
    """

    socket: Any  # a socket.socket, None once it is closed
    failure: OSError | None = None
    last_sent_s = 0.0
    stalled = False
    bell: Bell | None = None
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
        """Whether bytes, or the end of the connection, can be read; waited for while there is nothing else to do."""
        if self.socket is None or not self._is_connected:
            return False
        if isinstance(self.socket, ssl.SSLSocket):
            return self._has_early(False) or self._has_early(self._is_readable())
        return self._is_readable()

    def _is_readable(self) -> bool:
        """Wait a moment, if there is nothing to send. Unlike select, poll takes any descriptor number."""
        poll, waits = select.poll(), self._may_wait()
        try:
            poll.register(self.socket, select.POLLIN)
            if self.bell is not None:
                poll.register(self.bell, select.POLLIN)
            readable = self.socket.fileno()
        except ValueError:  # closed meanwhile: its descriptor is -1
            self.event_queue.put("Evt17")
            return False
        if waits:
            self._acknowledge_at_once()
        found = {descriptor for descriptor, _ in poll.poll(1000 * TIMERS_EVERY_S if waits else 0)}
        if self.bell is not None and found - {readable}:
            self.bell.silence()
        return readable in found

    def _may_wait(self) -> bool:
        dul = self.assoc.dul
        is_idle = dul.event_queue.empty() and dul.to_provider_queue.empty() and not dul._kill_thread
        return self.bell is not None and is_idle and dul.state_machine.current_state != _AWAITING_CLOSE

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
            self._wait_at_most(PDU_TIMEOUT_S if not received else max(deadline - time.monotonic(), 0.001))
            part = self.socket.recv(nr_bytes - len(received))
            self._acknowledge_at_once()  # a peer with Nagle's algorithm sends the rest of a PDU only then
            if not part:
                break
            received += part
        return received

    def send(self, bytestream: bytes) -> None:
        """Send one PDU or several, or tell the state machine that the connection is lost (Evt17).

        Parameters
        ----------
        bytestream : bytes
        """
        rest = memoryview(bytestream)
        try:
            self._wait_at_most(PDU_TIMEOUT_S)
            while rest:
                rest = rest[self.socket.send(rest[:SENT_AT_ONCE_BYTES]) :]
                self.last_sent_s = time.monotonic()
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

    def _wait_at_most(self, seconds: float) -> None:
        """Set the socket's timeout, which is a call of the system each time."""
        if self.socket.gettimeout() != seconds:
            self.socket.settimeout(seconds)

    def _acknowledge_at_once(self) -> None:
        """Have what came acknowledged now; asked anew before each wait, for the kernel goes back to delaying by itself."""
        if _QUICKACK is not None:
            with suppress(OSError):
                self.socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)


class RequestorAE(AE):  # type: ignore[misc]  # pynetdicom has no types
    """An application entity whose associations run over our connection and are mended before they start."""

    def _create_socket(self, assoc: Association, address: Any, tls_args: Any) -> TransportConnection:
        keep_apart(assoc)
        store_by_hand(assoc)
        send_whole_messages(assoc)
        connection = TransportConnection(assoc, address=address)
        wake_when_due(assoc, connection)
        connection.tls_args = tls_args
        return connection


class _Apart(queue.Queue[Any]):
    """The queue of requests, past which responses go into one of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.responses: queue.Queue[Any] = queue.Queue()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        _, message = item
        if message is not None and message.is_valid_request:
            super().put(item, block, timeout)
        else:  # nothing at all is put to wake who waits, where the association has ended
            self.responses.put(item)


def keep_apart(association: Association) -> None:
    """Keep responses, which the requestor waits for, apart from requests, which the reactor serves.

    The reactor of pynetdicom 3.0.4 (association.py, ``_run_reactor``) looks for requests of the peer in the queue that
    responses come through. What is no request it logs as unexpected and drops, so that the requestor sits out its
    timeout and aborts although the peer has stored the object: 9 lost of 677 beside one busy thread, none of 1,788 with
    a queue for each (measured).

    Parameters
    ----------
    association : pynetdicom.Association
    """
    dimse, apart = association.dimse, _Apart()
    dimse.msg_queue = apart
    next_request = dimse.get_msg

    def next_of_its_kind(block: bool = False) -> Any:
        if not block:  # the reactor
            return next_request(block=False)
        with suppress(queue.Empty):
            return apart.responses.get(timeout=dimse.dimse_timeout)
        return None, None

    dimse.get_msg = next_of_its_kind


def next_response(association: Association, timeout_s: float) -> Any:
    """Wait for a response of the peer.

    Returns
    -------
    DIMSE primitive or None
        None where there was none in this time.
    """
    with suppress(queue.Empty):
        return association.dimse.msg_queue.responses.get(timeout=timeout_s)[1]
    return None


class _Checkpoint(threading.Event):
    """Where the reactor of an association waits to be let on; with little to look for, it does not hurry."""

    def __init__(self) -> None:
        super().__init__()
        self.set()

    def wait(self, timeout: float | None = None) -> bool:
        time.sleep(LOOK_EVERY_S)
        return super().wait(timeout)


def wake_when_due(association: Association, connection: TransportConnection) -> None:
    """Have the upper layer wait for bytes and for what is to be sent, in place of looking for them by the clock.

    Parameters
    ----------
    association : pynetdicom.Association
        One whose threads have not begun.
    connection : TransportConnection
        Its connection.
    """
    dul, bell = association.dul, Bell()
    send_pdu, kill_dul, run = dul.send_pdu, dul.kill_dul, dul.run

    def send_and_ring(primitive: Any) -> None:
        send_pdu(primitive)
        if dul.to_provider_queue.qsize() <= 1:  # else it was rung for the one before, which has not been taken yet
            bell.ring()

    def kill_and_ring() -> None:
        kill_dul()
        bell.ring()

    def run_to_the_end() -> None:
        try:
            run()
        finally:
            bell.close()

    dul.send_pdu, dul.kill_dul, dul.run = send_and_ring, kill_and_ring, run_to_the_end
    dul._run_loop_delay = NAP_S
    association._reactor_checkpoint = _Checkpoint()
    connection.bell = bell


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
