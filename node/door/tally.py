"""What the door turned away: counted by reason, and logged, but no flood of it."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from node import audit, log
from node.door import verdict
from node.door.callers import Peer

# Rejections for who the caller is; the others are for what it speaks, or want of a place.
_FOR_WHO_IT_IS = {verdict.CALLED_AE_TITLE.reason, verdict.CALLING_AE_TITLE.reason}


class Tally:
    """Counts and logs whom the door cut off, rejected, aborted and evicted: what is counted has been logged."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Counter[str]] = {name: Counter() for name in ("cut", "rejected", "violations")}
        self._evicted = 0

    def cut(self, address: str, reason: str) -> None:
        """Note a connection that was closed before it asked for an association."""
        log.repeated("connection.cut", reason, address=address, reason=reason)
        self._count("cut", reason)

    def unproven(self, address: str, reason: str) -> None:
        """Note a connection that was closed because its TLS handshake failed."""
        audit.turned_away(address, "", reason)
        self.cut(address, reason)

    def rejected(self, peer: Peer, reason: str) -> None:
        """Note a request that was rejected."""
        log.repeated("association.rejected", reason, calling=peer.calling, address=peer.address, reason=reason)
        if reason in _FOR_WHO_IT_IS:
            audit.turned_away(peer.address, peer.calling, reason)
        self._count("rejected", reason)

    def violated(self, address: str, calling: str, reason: str) -> None:
        """Note a peer that broke the protocol or a limit, and was aborted."""
        log.repeated("association.aborted", reason, calling=calling, address=address, reason=reason)
        self._count("violations", reason)

    def evicted(self, peer: Peer) -> None:
        """Note a silent association that made way for another."""
        log.repeated("association.evicted", "", calling=peer.calling, address=peer.address)
        with self._lock:
            self._evicted += 1

    def counts(self) -> dict[str, Any]:
        """Return what was noted since the start: {"cut", "rejected", "violations"} by reason, and "evicted"."""
        with self._lock:
            return {**{name: dict(counter) for name, counter in self._counts.items()}, "evicted": self._evicted}

    def _count(self, name: str, reason: str) -> None:
        with self._lock:
            self._counts[name][reason] += 1
