"""pynetdicom's upper layer with another way of reading and waiting.

The state machine, the decoders and the services stay pynetdicom's. This thread waits in poll and not in naps of a
millisecond, knows a PDU's length before it reads its body, wants bytes to keep coming, and puts messages together itself
(`node.door.messages`) in place of the state machine's action DT-2, which does nothing else. It also has instances stored
and answers for them; upstream hands each to the association's thread and the answer back, which wakes two threads.

References
----------
DICOM PS3.8 9.2 (state machine), 9.3 (PDUs).
"""

from __future__ import annotations

import queue
from typing import Any

from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import A_ABORT_RQ

from node.bell import Bell
from node.door.clock import MonotonicTimer, Pace
from node.door.connection import HEADER_BYTES, Connection
from node.door.messages import P_DATA_TF, Assembly, Message, pdus
from node.door.verdict import INVALID_PARAMETER, NOT_SPECIFIED, UNEXPECTED_PDU, Violation

# How often the timers are looked at where nothing else wakes the thread.
LOOK_EVERY_S = 0.25
# PDUs, or pieces of them, that are read before the timers are looked at.
READS_A_TURN = 64
# PS3.8 9.3: PDU types. A-RELEASE-RQ, A-RELEASE-RP and A-ABORT have 4 bytes after their header.
_A_ASSOCIATE_RQ, _A_ASSOCIATE_AC, _A_ASSOCIATE_RJ = 1, 2, 3
_A_RELEASE_RQ, _A_RELEASE_RP, _A_ABORT = 5, 6, 7
_SHORT_PDUS, _SHORT_PDU_BYTES = (_A_RELEASE_RQ, _A_RELEASE_RP, _A_ABORT), 4
_SERVICE_PROVIDER = 2
# PS3.8 9.2: states and events.
_IDLE, _AWAITING_REQUEST, _ESTABLISHED, _AWAITING_CLOSE = "Sta1", "Sta2", "Sta6", "Sta13"
_CLOSED, _INVALID_PDU = "Evt17", "Evt19"
# What may come besides P-DATA-TF; in the other states a part of the release is under way.
_DUE = {_AWAITING_REQUEST: (_A_ASSOCIATE_RQ,), _ESTABLISHED: (_A_RELEASE_RQ, _A_ABORT)}


class UpperLayer(DULServiceProvider):  # type: ignore[misc]  # pynetdicom has no types
    """The upper layer of one accepted association.

    Parameters
    ----------
    association : node.door.association.AcceptedAssociation
    bell : Bell
        Rung when there is something to do; closed in the end.
    """

    socket: Connection

    def __init__(self, association: Any, bell: Bell) -> None:
        super().__init__(association)
        self._limits, self._bell = association.limits, bell
        self._idle_timer, self.artim_timer = MonotonicTimer(None), MonotonicTimer(None)
        self._run_loop_delay = 0  # the loop waits in _is_transport_event
        self.to_user_queue = _RingingQueue(association)
        self.assembly = Assembly(lambda: association._accepted_cx, association.open_sink, self._limits)
        self._pace = Pace(self._limits)
        slack = self._limits.pdu_slack_bytes
        self._longest = {
            **dict.fromkeys((_A_ASSOCIATE_AC, _A_ASSOCIATE_RJ, *_SHORT_PDUS), slack),
            _A_ASSOCIATE_RQ: self._limits.request_bytes + slack,  # written anew, it may be a little longer
            P_DATA_TF: self._limits.pdu_bytes + slack,
        }
        self._evicted = self._is_storing = False
        self._diagnostic = NOT_SPECIFIED
        self._received_before_end: int | None = None

    @property
    def silent_s(self) -> float:
        """For how long no PDU came and no answer went; 0 while a message is under way or an instance is being stored."""
        return 0.0 if self._is_storing or self.assembly.is_under_way else self._idle_timer.elapsed_s

    def idle_timer_expired(self) -> bool:
        """Tell the association's thread whether nothing came or went for too long."""
        return not self._is_storing and bool(super().idle_timer_expired())

    def evict(self) -> None:
        """Abort the association unless it is over, from any thread; the peer is given little time to hang up."""
        self._evicted = True
        self._bell.ring()

    def ring(self) -> None:
        """Have the thread look what there is to do, from any thread."""
        self._bell.ring()

    def send_pdu(self, primitive: Any) -> None:
        """Queue a primitive for the peer, from the association's thread."""
        super().send_pdu(primitive)
        self._idle_timer.restart()  # an answer is a sign of life
        self._bell.ring()

    def kill_dul(self) -> None:
        """Have the thread end."""
        super().kill_dul()
        self._bell.ring()

    def stop_dul(self) -> bool:
        """End the thread if the state machine is idle, and tell whether it was; upstream spins until the end."""
        if self.state_machine.current_state != _IDLE:
            return False
        self.kill_dul()
        self.join()
        return True

    def run_reactor(self) -> None:
        """Run upstream's loop, and leave nothing behind whatever ends it."""
        try:
            super().run_reactor()
        finally:
            if self.state_machine.current_state != _IDLE and not self.assoc.is_aborted:
                self.socket.send(Violation("failed").pdu())
            self.release()
            self.to_user_queue.put(None)  # wakes the association's thread, also where it still waits for the request

    def release(self) -> None:
        """Close the connection and leave nothing of a message that is not whole; a second call does nothing."""
        self.assembly.discard()
        self.socket.release()
        self._bell.close()

    def _process_recv_primitive(self) -> bool:
        """Take up what the user sends: one event at a time, and nothing once the association is over.

        Upstream raises where an answer is due on an association that the other side has just ended.
        """
        if not self.event_queue.empty():
            return False
        if self.state_machine.current_state == _AWAITING_CLOSE:
            while not self.to_provider_queue.empty():
                self.to_provider_queue.get_nowait()
            return False
        return bool(super()._process_recv_primitive())

    def _is_transport_event(self) -> bool:
        """Read from the connection, or wait for it; what there is to do is in the event queue then.

        Returns
        -------
        bool
            False: the idle timer goes by whole PDUs.
        """
        is_over = self.state_machine.current_state == _AWAITING_CLOSE
        if not self.event_queue.empty():
            return False
        if self._evicted and not is_over and self.to_provider_queue.empty():  # what the user sent before comes first
            self.artim_timer.timeout = self._limits.evicted_linger_s
            self._end_with(NOT_SPECIFIED)
        elif self.socket.socket is None:
            self.socket.rest(LOOK_EVERY_S)
        elif is_over:
            self._drain()
        elif self.assoc.dimse.is_full:
            self._pace.rest()
            self.socket.rest(LOOK_EVERY_S)
        else:
            self._read()
        return False

    def _read(self) -> None:
        try:
            for _ in range(READS_A_TURN):
                if not self._goes_on():
                    return
            self._check_pace()
        except Violation as violation:
            self.assoc.violated(violation.reason)
            self._end_with(violation.diagnostic)

    def _goes_on(self) -> bool:
        """Take a PDU, or else read, or else wait; tell whether there may be more to take at once."""
        pdu = self.socket.next_pdu(self._longest)
        if pdu is not None:
            return self._take(pdu)
        self.assembly.flush()
        if self.socket.read():
            return True
        if self.socket.at_end:
            self.event_queue.put(_CLOSED)
            return False
        self._check_pace()
        return self.socket.wait(LOOK_EVERY_S)

    def _take(self, pdu: memoryview) -> bool:
        """Take a whole PDU, and tell as above; upstream's decoders are given those alone whose form is known to be right."""
        self._idle_timer.restart()
        kind, state = pdu[0], self.state_machine.current_state
        if kind == P_DATA_TF and state == _ESTABLISHED:
            return self._take_data(pdu[HEADER_BYTES:])
        if kind not in _DUE.get(state, _SHORT_PDUS):
            raise Violation("unexpected PDU", UNEXPECTED_PDU)
        if kind in _SHORT_PDUS and len(pdu) != HEADER_BYTES + _SHORT_PDU_BYTES:
            raise Violation("malformed PDU", INVALID_PARAMETER)
        if kind == _A_ASSOCIATE_RQ:
            self.artim_timer.timeout = self._limits.linger_s  # from now on it is for the end
        decoded, event = self._decode_pdu(pdu)
        self._recv_pdu.put(decoded)
        self.event_queue.put(event)
        return False

    def _take_data(self, body: memoryview) -> bool:
        """Take the fragments of a P-DATA-TF, and answer or hand on the messages that they complete; tell as above."""
        goes_on = True
        for message in self.assembly.take(body):
            if message.sink:
                self._store(message)
            else:
                self.assoc.dimse.deliver(message)
            self._pace.rest()
            goes_on = self.event_queue.empty() and not self.assoc.dimse.is_full
        return goes_on

    def _store(self, message: Message) -> None:
        """Have an instance stored, and answer; meanwhile its association is not silent, however long it takes."""
        self._is_storing = True
        try:
            answer = self.assoc.store(message)
            for pdu in pdus(message.context_id, answer, self.assoc.requestor.maximum_length):
                self.socket.send(pdu)
        finally:
            self._idle_timer.restart()
            self._is_storing = False

    def _check_pace(self) -> None:
        if self.assembly.is_under_way or self.socket.has_part:
            self._pace.check(self.socket.received)
        else:
            self._pace.rest()

    def _end_with(self, diagnostic: int) -> None:
        """Have the state machine send an A-ABORT, which then says this."""
        self._diagnostic = diagnostic
        self.assembly.discard()
        self.socket.forget()
        self.event_queue.put(_INVALID_PDU)

    def _send(self, pdu: Any) -> None:
        if isinstance(pdu, A_ABORT_RQ) and pdu.source == _SERVICE_PROVIDER:
            pdu.reason_diagnostic = self._diagnostic
        super()._send(pdu)

    def _drain(self) -> None:
        """Drop what still comes until the peer hangs up, so that our last word is not lost to a TCP reset."""
        connection = self.socket
        if self._received_before_end is None:
            self._received_before_end = connection.received
        while connection.read():
            connection.forget()
            if connection.received - self._received_before_end > self._limits.drained_bytes:
                connection.close()
                return
        if connection.at_end:
            connection.close()
        else:
            connection.wait(LOOK_EVERY_S)


class _RingingQueue(queue.Queue[Any]):
    """A queue to the association's thread, which waits elsewhere."""

    def __init__(self, association: Any) -> None:
        super().__init__()
        self._association = association

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._association.ring()
