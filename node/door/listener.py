"""The port: one thread that accepts connections, reads their requests, and hands over those that may have an association.

No connection has a thread of its own before its request is whole and accepted, and nothing here waits for a peer: a
handshake, a request, a place and a last word each have their deadline.
"""

from __future__ import annotations

import contextlib
import errno
import resource
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation, AssociationServer

from node import log
from node.bell import Bell
from node.door import verdict
from node.door.arrival import Arrival, Gone, NoTLS, Stage
from node.door.arrivals import Arrivals
from node.door.association import AcceptedAssociation
from node.door.callers import Callers, Peer, plain
from node.door.limits import Limits
from node.door.messages import Message, OpenSink
from node.door.room import Room
from node.door.tally import Tally
from node.door.verdict import Violation
from node.tls import failures
from node.tls.contexts import Credentials

# Connections that are accepted before others are looked at again.
ACCEPTED_A_TURN = 64
# How often deadlines are looked at while there are any.
LOOK_EVERY_S = 0.25
# A backlog for as many as may arrive; the system has its own bound (net.core.somaxconn).
BACKLOG = 512
# An association's descriptors: its connection, its bell, its instance's file and what storing opens; and what a process has
# anyway.
DESCRIPTORS_EACH, DESCRIPTORS_BESIDES = 8, 128
Store = Callable[[AcceptedAssociation, Message, PresentationContext], tuple[int, str]]
_OUT_OF_DESCRIPTORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Listener(AssociationServer):  # type: ignore[misc]  # pynetdicom has no types
    """Listens for associations; made by ``AE.make_server(..., server_class=Listener)``.

    Parameters
    ----------
    limits : Limits
    callers : Callers
    open_sink : callable
        Opens a sink for the data set of a C-STORE.
    store : callable
        Takes an association, the message of a C-STORE and its presentation context, stores what its sink holds and
        returns the status and comment (empty: none) to answer; called on a thread of the association's.
    on_ended : callable
        Told each association that has ended, on its own thread.
    tls : Credentials or None
        Of the port; connections are then encrypted from their first byte, by what the files hold when they come.
    is_short : callable
        Tells whether the disk is short of room: who would bring instances is then rejected for now.

    Attributes
    ----------
    room : Room
    tally : Tally
    address_info : pynetdicom.transport.AddressInformation
        Where it listens, which all associations share.
    """

    request_queue_size = BACKLOG

    def __init__(
        self,
        *args: Any,
        limits: Limits,
        callers: Callers,
        open_sink: OpenSink,
        store: Store,
        on_ended: Callable[[Any], None],
        tls: Credentials | None = None,
        is_short: Callable[[], bool] = lambda: False,
        **options: Any,
    ) -> None:
        limits = replace(limits, arrivals=_arrivals_allowed(limits))
        self.limits, self.open_sink, self.store = limits, open_sink, store
        self._callers, self._on_ended, self._is_short = callers, on_ended, is_short
        self.tally, self._tls = Tally(), tls
        self.room = Room(limits, callers.knows_any, self.tally.evicted)
        self._arrivals = Arrivals(limits)
        self._stopping, self._look_due_s = False, 0.0
        super().__init__(*args, **options)
        self.address_info = AddressInformation.from_tuple(self.server_address)  # asks the system for the name's address
        self.ae.maximum_associations = sys.maxsize  # upstream's own limit; the room has ours
        self.socket.setblocking(False)
        self._bell = Bell()
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self.serve_forever, name="door", daemon=True)

    def start(self) -> None:
        """Begin to accept connections."""
        self._thread.start()

    def shutdown(self) -> None:
        """Close the port, and every connection that has no association yet."""
        self._stopping = True
        self._bell.ring()
        if self._thread.is_alive():
            self._thread.join()
        self.server_close()

    def ended(self, association: Any) -> None:
        """Note that an association has ended, from its own thread."""
        self.room.leave(association)
        self._on_ended(association)
        # One may wait for this place: each is among the arrivals before it asks for one, so none asks in vain and is missed here.
        if self._arrivals:
            self._bell.ring()

    def counts(self) -> dict[str, Any]:
        """Return how many connections there are now, and what was noted since the start."""
        return {"pending": len(self._arrivals), "established": len(self.room), **self.tally.counts()}

    def serve_forever(self, poll_interval: float = LOOK_EVERY_S) -> None:
        """Look after the port until it is shut down."""
        self._selector.register(self.socket, selectors.EVENT_READ)
        self._selector.register(self._bell, selectors.EVENT_READ)
        while not self._stopping:
            with log.Outlived("door.failed") as turn:
                self._turn(poll_interval)
            if turn.failed:
                self._drop_all()
        self._drop_all()
        self._selector.close()
        self._bell.close()

    def _turn(self, poll_interval: float) -> None:
        """Wait for something to happen, and see to it; now and then, to those who wait and those whose time is up."""
        for key, _ in self._selector.select(poll_interval if self._arrivals else None):
            if key.fileobj is self.socket:
                self._accept()
            elif key.data in self._arrivals:
                self._go_on(key.data)
            else:  # a place is free
                self._bell.silence()
                self._look_due_s = 0.0
        if time.monotonic() >= self._look_due_s:
            self._look_due_s = time.monotonic() + LOOK_EVERY_S
            self._look_around()

    def _look_around(self) -> None:
        for arrival in self._arrivals.waiting():
            self._decide(arrival)
        for arrival in self._arrivals.overdue():
            if arrival.stage is not Stage.LEAVING:
                self.tally.cut(arrival.address, f"no {arrival.stage.value} in time")
            self._drop(arrival)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_A_TURN):
            try:
                connection, address = self.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _OUT_OF_DESCRIPTORS:
                    self._make_way(self._arrivals.least_missed())
                    return
                continue  # the peer has gone already
            self._welcome(connection, plain(address[0]))

    def _welcome(self, connection: socket.socket, address: str) -> None:
        self._make_way(self._arrivals.too_many(address))
        try:
            arrival = Arrival(connection, address, self.limits, self._tls.context() if self._tls else None)
        except OSError:  # the peer has gone already
            connection.close()
            return
        self._arrivals.add(arrival)
        self._selector.register(arrival.connection, selectors.EVENT_READ, arrival)
        self._go_on(arrival)

    def _make_way(self, arrival: Arrival | None) -> None:
        if arrival:
            self.tally.cut(arrival.address, "too many connections")
            self._drop(arrival)

    def _go_on(self, arrival: Arrival) -> None:
        """See to a connection on which something happened."""
        try:
            if arrival.stage is Stage.LEAVING:
                if not arrival.drain():
                    self._drop(arrival)
            elif arrival.stage is Stage.WAITING:
                self._drop(arrival)  # it has gone, or speaks before it is answered
            elif arrival.read_request():
                self._listen_to(arrival)
                self._decide(arrival)
            else:
                self._listen_to(arrival)
        except Violation as violation:
            self.tally.violated(arrival.address, "", violation.reason)
            self._say(arrival, violation.pdu())
        except Gone:  # a monitor that only connects, say
            self._drop(arrival)
        except NoTLS:
            self.tally.unproven(arrival.address, "no TLS")
            self._drop(arrival)
        except OSError as failure:
            if arrival.stage is Stage.HANDSHAKE:
                self._refuse_handshake(arrival, failure)
            else:
                self._drop(arrival)

    def _decide(self, arrival: Arrival) -> None:
        """Hand over a connection whose request is whole, have it wait for a place, or reject it."""
        peer = self._callers.peer(arrival.asked, arrival.address)
        rejection = self._callers.rejection(arrival.asked, arrival.address)
        if rejection is None and arrival.asked.brings_instances and self._is_short():
            rejection = verdict.NO_ROOM
        if rejection is None:
            if self.room.has_place(peer):
                self._hand_over(arrival, peer)
                return
            if arrival.wait_for_place():
                return
            rejection = verdict.LOCAL_LIMIT
        self.tally.rejected(peer, rejection.reason)
        self._say(arrival, rejection.pdu())

    def _hand_over(self, arrival: Arrival, peer: Peer) -> None:
        self._forget(arrival)
        association: AcceptedAssociation | None = None
        try:
            association = AcceptedAssociation(self, peer, arrival.connection, arrival.asked.encode())
            association.start()
        except (OSError, RuntimeError):  # the system has no descriptor or no thread left
            self.tally.rejected(peer, verdict.TEMPORARY_CONGESTION.reason)
            with contextlib.suppress(OSError):
                arrival.say(verdict.TEMPORARY_CONGESTION.pdu())
            if association:
                association.give_up()
            arrival.connection.close()

    def _refuse_handshake(self, arrival: Arrival, failure: OSError) -> None:
        self.tally.unproven(arrival.address, failures.of_caller(failure))
        try:
            arrival.say_no_more()
            self._listen_to(arrival)
        except OSError:
            self._drop(arrival)

    def _say(self, arrival: Arrival, last_word: bytes) -> None:
        try:
            arrival.say(last_word)
            self._listen_to(arrival)
        except OSError:
            self._drop(arrival)

    def _listen_to(self, arrival: Arrival) -> None:
        """Wait for what the connection awaits now: a handshake may have waited to write."""
        self._selector.modify(arrival.connection, arrival.awaits, arrival)

    def _forget(self, arrival: Arrival) -> None:
        self._arrivals.remove(arrival)
        self._selector.unregister(arrival.connection)

    def _drop(self, arrival: Arrival) -> None:
        self._forget(arrival)
        arrival.connection.close()

    def _drop_all(self) -> None:
        for arrival in self._arrivals:
            self._drop(arrival)


def _arrivals_allowed(limits: Limits) -> int:
    """Return how many may arrive, once this process's limit of descriptors is as high as it takes and the system lets it.

    Where that is not enough, three in four descriptors are left to associations and their files.
    """
    others = DESCRIPTORS_EACH * limits.associations + DESCRIPTORS_BESIDES
    wanted = limits.arrivals + others
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limits.arrivals
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return min(limits.arrivals, max(most - others, most // 4))
