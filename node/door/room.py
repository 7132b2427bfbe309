"""The places for associations: how many in all, how many a peer may take, which are kept, and who makes way.

Only what was accepted takes a place. Where there is none for a request, an association that is silent makes way for it:
one that never sent a message rather than one that has, the more silent rather than the less. A sender whose
association was idle opens another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from node.door.callers import Peer
from node.door.limits import Limits

# One place in eight is kept for the callers that the configuration names.
KEPT_FRACTION = 8


class Guest(Protocol):
    """An association as the room sees it."""

    peer: Peer

    @property
    def has_spoken(self) -> bool:
        """Whether it ever sent a whole message."""

    @property
    def silent_s(self) -> float:
        """For how long nothing came or went; 0 while a message is under way or being answered."""

    def evict(self) -> None:
        """End it, from any thread; returns at once."""


class Room:
    """Who holds a place; safe to use from many threads.

    Parameters
    ----------
    limits : Limits
    keeps_places : bool
        Whether some places are kept for peers that are known.
    on_evicted : callable
        Told the peer whose association has made way.
    """

    def __init__(self, limits: Limits, keeps_places: bool, on_evicted: Callable[[Peer], None]) -> None:
        self._limits, self._on_evicted = limits, on_evicted
        self._for_unknown = limits.associations - (limits.associations // KEPT_FRACTION if keeps_places else 0)
        self._guests: set[Guest] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._guests)

    def enter(self, guest: Guest) -> None:
        """Give a place to an association."""
        with self._lock:
            self._guests.add(guest)

    def leave(self, guest: Guest) -> None:
        """Take back the place of an association that has ended; a second call does nothing."""
        with self._lock:
            self._guests.discard(guest)

    def has_place(self, peer: Peer) -> bool:
        """Tell whether there is a place for a peer, if need be by ending an association that is silent."""
        with self._lock:
            rivals = self._rivals(peer)
            if not rivals:
                return True
            leaver = min(filter(self._may_go, rivals), key=_rank, default=None)
            if leaver is None:
                return False
            self._guests.remove(leaver)
        leaver.evict()
        self._on_evicted(leaver.peer)
        return True

    def _rivals(self, peer: Peer) -> list[Guest]:
        """Return those of whom one has to go before the peer may come; none where there is a place."""
        same = [guest for guest in self._guests if guest.peer.account == peer.account]
        if len(same) >= self._limits.associations_per_peer:
            return same
        unknown = [guest for guest in self._guests if not guest.peer.is_known]
        if not peer.is_known and len(unknown) >= self._for_unknown:
            return unknown
        return list(self._guests) if len(self._guests) >= self._limits.associations else []

    def _may_go(self, guest: Guest) -> bool:
        return guest.silent_s > (self._limits.idle_s if guest.has_spoken else self._limits.mute_s)


def _rank(guest: Guest) -> tuple[bool, bool, float]:
    """Return in which order associations make way."""
    return guest.peer.is_known, guest.has_spoken, -guest.silent_s
