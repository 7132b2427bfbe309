"""A receiver whose door has limits that a test need not wait for, and what it leaves behind."""

import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from node.config import Listen, ListenTLS, Settings, Study
from node.config import Spool as SpoolSection
from node.receive import Receiver
from node.spool import Spool
from tests.peers import wait_until
from tests.raw import Raw


@dataclass(frozen=True)
class Door:
    """A receiver at work."""

    receiver: Receiver
    spool: Spool
    port: int
    tls: ssl.SSLContext | None = None

    def caller(self, within_s: float = 30.0) -> Raw:
        """Connect to it; whatever is waited for must come within this time."""
        return Raw(self.port, self.tls, within_s)

    def count(self, name: str) -> Any:
        return self.receiver.door()[name]

    def comes_to_count(self, name: str, wanted: Any) -> None:
        """Wait until it has counted what is wanted: a caller may learn its fate before that is noted."""
        wait_until(lambda: self.count(name) == wanted, 10, f"{wanted} under {name!r}")

    def files(self) -> list[Path]:
        """Every file of the spool, but for what is in quarantine."""
        found = (path for path in self.spool.folder.rglob("*") if path.is_file())
        return [path for path in found if path.parent.name != "quarantine"]

    def lives(self) -> bool:
        """Whether it answers a C-ECHO."""
        with self.caller() as caller:
            return caller.associate().echo() == 0x0000

    def comes_to_rest(self) -> None:
        """Wait until nobody is connected any more."""
        wait_until(lambda: (self.count("pending"), self.count("established")) == (0, 0), 10, "everybody leaving")


@contextmanager
def opened(
    folder: Path,
    limits: dict[str, Any] | None = None,
    tls: tuple[ListenTLS, ssl.SSLContext] | None = None,
    **listen: Any,
) -> Iterator[Door]:
    """Run a receiver on a spool folder and a free port; with TLS, by its files and a client's context."""
    settings = Settings(
        listen=Listen(**{"port": 0, "tls": tls[0] if tls else False} | listen),
        spool=SpoolSection(folder=folder),
        study=Study(settle_s=0.05, quiet_s=0.3),
    )
    spool = Spool(folder)
    receiver = Receiver(settings, spool)
    receiver._limits = replace(receiver._limits, **(limits or {}))
    try:
        yield Door(receiver, spool, receiver.start(), tls[1] if tls else None)
    finally:
        receiver.stop()


def threads() -> int:
    return threading.active_count()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (a count, not paths)


def held() -> tuple[int, int]:
    """Threads and descriptors of this process."""
    return threads(), descriptors()


def is_given_back(before: tuple[int, int]) -> bool:
    """Whether it has no more of either than before; it may have fewer, for what ended before that may just have been going."""
    return all(now <= then for now, then in zip(held(), before, strict=True))
