"""An association that stands while there is something to send: opened on demand, reused, released once it is idle."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from pynetdicom.presentation import PresentationContext

from node.association import AssociationEnded, EventReportHandler, Peer, RequestedAssociation

T = TypeVar("T")


class StandingAssociation:
    """At most one association with a peer, for one piece of work at a time; safe to use from many threads.

    Parameters
    ----------
    peer : Peer
    contexts : Sequence of PresentationContext
        What to propose.
    on_event_report : callable
        Answers an N-EVENT-REPORT; called from another thread.
    idle_s : float
        How long an idle association is kept.
    """

    def __init__(
        self,
        peer: Peer,
        contexts: Sequence[PresentationContext],
        on_event_report: EventReportHandler,
        idle_s: float,
    ) -> None:
        self._peer = peer
        self._contexts = contexts
        self._on_event_report = on_event_report
        self._idle_s = idle_s
        self._lock = threading.RLock()
        self._association: RequestedAssociation | None = None
        self._idle_timer: threading.Timer | None = None
        self._used_s = 0.0

    def do(self, work: Callable[[RequestedAssociation], T]) -> T:
        """Do some work on the association.

        Where the peer turns out to have ended an association that was kept, the work is done once more on a fresh one:
        peers close idle associations, and some do not say so before the next message.

        Parameters
        ----------
        work : callable
            Takes the association. It must bear being done twice.

        Returns
        -------
        object
            What the work returns.

        Raises
        ------
        TryAgain, Parked
            From opening the association, or from the work.
        """
        with self._lock:
            kept = self._standing() is not None
            try:
                return self._do(work)
            except AssociationEnded:
                if not kept:
                    raise
                return self._do(work)

    def close(self) -> None:
        """Release the association, if there is one."""
        with self._lock:
            self._stop_timer()
            association, self._association = self._association, None
            if association is not None:
                association.release()

    def close_if_idle(self) -> None:
        """Release the association where it was not used for ``idle_s``; it is called by a timer of its own."""
        with self._lock:
            left_s = self._used_s + self._idle_s - time.monotonic()
            if left_s <= 0:
                self.close()
            else:
                self._look_again_in(left_s)

    def _do(self, work: Callable[[RequestedAssociation], T]) -> T:
        association = self._standing() or self._open()
        try:
            return work(association)
        finally:
            self._used_s = time.monotonic()

    def _standing(self) -> RequestedAssociation | None:
        standing = self._association is not None and self._association.is_established
        return self._association if standing else None

    def _open(self) -> RequestedAssociation:
        self._association = None
        self._association = RequestedAssociation(self._peer, self._contexts, self._on_event_report)
        self._look_again_in(self._idle_s)
        return self._association

    def _look_again_in(self, seconds: float) -> None:
        self._stop_timer()
        self._idle_timer = threading.Timer(seconds, self.close_if_idle)
        self._idle_timer.daemon = True
        self._idle_timer.start()

    def _stop_timer(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._idle_timer = None
