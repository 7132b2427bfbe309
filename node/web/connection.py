"""A connection to the status page: for one answer, for so long, and one of so many.

uvicorn waits without end for a request that has begun, so that a thousand of them would take every descriptor of the
process, and ``/readyz`` would be silent where nothing is wrong.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

# Seconds from the first byte's way in to the last one's way out: several times what a page takes on a busy machine.
LIFE_S = 60.0
# Well below 1024, the usual bound on a process's descriptors; a page, a probe and a Prometheus need three.
MOST = 256
# Connections that the system accepts in one go, before the oldest can make way.
BACKLOG = 128
# One answer a connection: what is idle between two cannot pile up, and nothing is cut that is being answered in time.
CLOSE = {"connection": "close"}


class Connection(H11Protocol):
    """A connection that ends when its time is up, or when the last of too many comes and it has waited the longest."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, and have the one that waits the longest make way where there are too many."""
        super().connection_made(transport)
        self._since_s = self.loop.time()
        self._end = self.loop.call_later(LIFE_S, transport.abort)
        if len(self.connections) > MOST:
            oldest = min(self.connections, key=_least_worth)
            self.connections.discard(oldest)
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._end.cancel()
        super().connection_lost(exc)


def _least_worth(connection: Any) -> tuple[bool, float]:
    """Order connections: those that have not asked yet first, the oldest of them before the others."""
    return connection.cycle is not None, connection._since_s
