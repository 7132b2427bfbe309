"""What the door turned away: counted by reason, and logged, but no flood of it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from node import log
from node.door.callers import Peer

# So many lines in so many seconds of each event and reason; more of them say nothing new, and fill the disk.
LINES, WINDOW_S = 20, 60.0


@dataclass(slots=True)
class _Window:
    begun_s: float
    logged: int = 0
    withheld: int = 0


class Hush:
    """Logs alarms, and of those that repeat themselves only so many a minute; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: dict[tuple[str, str], _Window] = {}

    def alarm(self, name: str, kind: str, **fields: Any) -> None:
        """Log an alarm, or withhold it; the first of the next minute tells in ``count`` how many were.

        Parameters
        ----------
        name : str
            The event.
        kind : str
            One of few: alarms of one name and kind count together.
        **fields
            As of `node.log.alarm`.
        """
        with self._lock:
            window = self._windows.setdefault((name, kind), _Window(time.monotonic()))
            withheld = 0
            if time.monotonic() - window.begun_s > WINDOW_S:
                withheld = window.withheld
                self._windows[name, kind] = window = _Window(time.monotonic())
            window.logged += 1
            if window.logged > LINES:
                window.withheld += 1
                return
        log.alarm(name, **fields, **({"count": withheld} if withheld else {}))


class Tally:
    """Counts and logs whom the door cut off, rejected, aborted and evicted."""

    def __init__(self) -> None:
        self._hush = Hush()
        self._lock = threading.Lock()
        self._counts: dict[str, Counter[str]] = {name: Counter() for name in ("cut", "rejected", "violations")}
        self._evicted = 0

    def cut(self, address: str, reason: str) -> None:
        """Note a connection that was closed before it asked for an association."""
        self._count("cut", reason)
        self._hush.alarm("connection.cut", reason, address=address, reason=reason)

    def rejected(self, peer: Peer, reason: str) -> None:
        """Note a request that was rejected."""
        self._count("rejected", reason)
        self._hush.alarm("association.rejected", reason, calling=peer.calling, address=peer.address, reason=reason)

    def violated(self, address: str, calling: str, reason: str) -> None:
        """Note a peer that broke the protocol or a limit, and was aborted."""
        self._count("violations", reason)
        self._hush.alarm("association.aborted", reason, calling=calling, address=address, reason=reason)

    def evicted(self, peer: Peer) -> None:
        """Note a silent association that made way for another."""
        with self._lock:
            self._evicted += 1
        self._hush.alarm("association.evicted", "", calling=peer.calling, address=peer.address)

    def counts(self) -> dict[str, Any]:
        """Return what was noted since the start: {"cut", "rejected", "violations"} by reason, and "evicted"."""
        with self._lock:
            return {**{name: dict(counter) for name, counter in self._counts.items()}, "evicted": self._evicted}

    def _count(self, name: str, reason: str) -> None:
        with self._lock:
            self._counts[name][reason] += 1
