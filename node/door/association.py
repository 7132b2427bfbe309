"""An association that was accepted: pynetdicom's, on our connection and upper layer, with the service chosen by message.

Its thread is born with a whole, acceptable request in hand. Whatever ends it, its connection is closed, no file is left
of a message that was not whole or not answered, and its place is free again.
"""

from __future__ import annotations

import queue
import socket
from typing import TYPE_CHECKING, Any

from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_CANCEL, C_ECHO, N_ACTION, N_EVENT_REPORT
from pynetdicom.service_class import VerificationServiceClass
from pynetdicom.service_class_n import StorageCommitmentServiceClass
from pynetdicom.transport import AddressInformation

from node import dimse, log
from node.bell import Bell
from node.door import command
from node.door.callers import Peer
from node.door.connection import Connection
from node.door.messages import Message
from node.door.upper_layer import UpperLayer

if TYPE_CHECKING:
    from node.door.listener import Listener

# How often the thread looks for a timeout where no message wakes it.
LOOK_EVERY_S = 0.5
# How long the two threads may take until the request, which is there already, has gone from the one to the other.
ACSE_TIMEOUT_S = 30.0
# By message, for upstream goes by the SOP class that the message names. A C-STORE is not among them: the upper layer has it
# answered in its own thread.
_SERVICES = {
    C_ECHO: VerificationServiceClass,
    N_EVENT_REPORT: StorageCommitmentServiceClass,
    N_ACTION: StorageCommitmentServiceClass,
}


class AcceptedAssociation(Association):  # type: ignore[misc]  # pynetdicom has no types
    """The acceptor's side of one association.

    Parameters
    ----------
    server : Listener
    peer : Peer
    connected : socket.socket
        Non-blocking; not the caller's any more.
    request : bytes
        The A-ASSOCIATE-RQ.
    """

    def __init__(self, server: Listener, peer: Peer, connected: socket.socket, request: bytes) -> None:
        super().__init__(server.ae, MODE_ACCEPTOR)
        self._server: Listener = server
        self.peer, self.limits, self.open_sink = peer, server.limits, server.open_sink
        self.name = f"AcceptorThread@{peer.address}"  # AssociationServer.active_associations goes by this name
        self._is_serving = False
        bell = Bell()
        self.dul, self.dimse = UpperLayer(self, bell), MessageQueue(self)
        # Now that there are timers to set.
        self.acse_timeout, self.network_timeout = ACSE_TIMEOUT_S, self.limits.silence_s
        self.set_socket(Connection(self, connected, request, bell, self.limits))
        self._introduce()
        self._bind_handlers()
        server.room.enter(self)

    def _introduce(self) -> None:
        """Say who we are, as upstream's RequestHandler does; the presentation contexts are shared, not copied."""
        entity, acceptor = self._server.ae, self.acceptor
        acceptor.ae_title, acceptor.maximum_length = self._server.ae_title, self.limits.pdu_bytes
        acceptor.implementation_class_uid = entity.implementation_class_uid
        acceptor.implementation_version_name = entity.implementation_version_name
        acceptor.supported_contexts = self._server.contexts
        acceptor.address_info = self._server.address_info
        self.requestor.address_info = AddressInformation.from_tuple((self.peer.address, 0))
        self.requestor.ae_title = self.peer.calling

    def _bind_handlers(self) -> None:
        for event, handlers in self._server._handlers.items():
            for handler in (handlers,) if event.is_intervention else handlers:
                self.bind(event, *handler)

    @property
    def has_spoken(self) -> bool:
        """Whether it ever sent a whole message."""
        return bool(self.dul.assembly.has_spoken)

    @property
    def silent_s(self) -> float:
        """For how long nothing came or went; 0 while a message is under way or being answered."""
        return 0.0 if self._is_serving or self.dimse.holds_a_message else float(self.dul.silent_s)

    def evict(self) -> None:
        """End it, from any thread; returns at once."""
        self.dul.evict()

    def cut(self) -> None:
        """Close its connection, from any thread."""
        self.dul.socket.cut()

    def give_up(self) -> None:
        """Leave nothing behind where its thread could not be started."""
        self._server.room.leave(self)
        self.dul.release()

    def ring(self) -> None:
        """Have its thread look what there is to do."""
        self.dimse.ring()

    def store(self, message: Message) -> bytes:
        """Have an instance stored, in the upper layer's thread.

        Returns
        -------
        bytes
            The command set of the response.
        """
        status, comment = dimse.FAULT, ""
        with log.Outlived("instance.failed"):
            status, comment = self._server.store(self, message, self._accepted_cx[message.context_id])
        return command.store_response(message.asked, status, comment)

    def violated(self, reason: str) -> None:
        """Note that the peer broke the protocol or a limit."""
        self._server.tally.violated(self.peer.address, self.peer.calling, reason)

    def kill(self) -> None:
        """End the association; upstream waits until the peer has ended it where it gives one up that still stands."""
        self.dul.evict()
        super().kill()

    def run_reactor(self) -> None:
        """Run upstream's loop, and leave nothing behind whatever ends it."""
        try:
            super().run_reactor()
        finally:
            if self.dul.is_alive():
                self.dul.evict()
                self.dul.join()
            self.dul.release()
            self._server.ended(self)

    def _serve_request(self, msg: Any, context_id: int) -> None:
        self._is_serving = self._is_paused = True
        try:
            _SERVICES[type(msg)](self).SCP(msg, self._accepted_cx[context_id])
        finally:
            self._is_serving = self._is_paused = False


class MessageQueue(DIMSEServiceProvider):  # type: ignore[misc]  # pynetdicom has no types
    """The whole messages that wait for their answers; whoever asks for the next one waits, where upstream's naps."""

    @property
    def holds_a_message(self) -> bool:
        """Whether a message waits."""
        return any(message for _, message in list(self.msg_queue.queue))

    @property
    def is_full(self) -> bool:
        """Whether reading has to stop for now."""
        return bool(self.msg_queue.qsize() >= self.assoc.limits.queued)

    def deliver(self, message: Message) -> None:
        """Queue a message; a C-CANCEL is none to answer, and cancels nothing here (PS3.7 9.3.2.3)."""
        if not isinstance(message.asked, C_CANCEL):
            self.msg_queue.put((message.context_id, message.asked))

    def get_msg(self, block: bool = False) -> tuple[int | None, Any]:
        """Return the context ID and primitive of the next message, (None, None) when there is none for a while."""
        was_full = self.is_full
        try:
            found: tuple[int | None, Any] = self.msg_queue.get(timeout=LOOK_EVERY_S)
        except queue.Empty:
            return None, None
        if was_full:
            self.dul.ring()
        return found

    def ring(self) -> None:
        """End a wait for a message."""
        self.msg_queue.put((None, None))
