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
    """Counts and logs whom the door cut off, rejected, aborted and evicted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Counter[str]] = {name: Counter() for name in ("cut", "rejected", "violations")}
        self._evicted = 0

    def cut(self, address: str, reason: str) -> None:
        """Note a connection that was closed before it asked for an association."""
        self._count("cut", reason)
        log.repeated("connection.cut", reason, address=address, reason=reason)

    def unproven(self, address: str, reason: str) -> None:
        """Note a connection that was closed because its TLS handshake failed."""
        self.cut(address, reason)
        audit.turned_away(address, "", reason)

    def rejected(self, peer: Peer, reason: str) -> None:
        """Note a request that was rejected."""
        self._count("rejected", reason)
        log.repeated("association.rejected", reason, calling=peer.calling, address=peer.address, reason=reason)
        if reason in _FOR_WHO_IT_IS:
            audit.turned_away(peer.address, peer.calling, reason)

    def violated(self, address: str, calling: str, reason: str) -> None:
        """Note a peer that broke the protocol or a limit, and was aborted."""
        self._count("violations", reason)
        log.repeated("association.aborted", reason, calling=calling, address=address, reason=reason)

    def evicted(self, peer: Peer) -> None:
        """Note a silent association that made way for another."""
        with self._lock:
            self._evicted += 1
        log.repeated("association.evicted", "", calling=peer.calling, address=peer.address)

    def counts(self) -> dict[str, Any]:
        """Return what was noted since the start: {"cut", "rejected", "violations"} by reason, and "evicted"."""
        with self._lock:
            return {**{name: dict(counter) for name, counter in self._counts.items()}, "evicted": self._evicted}

    def _count(self, name: str, reason: str) -> None:
        with self._lock:
            self._counts[name][reason] += 1
