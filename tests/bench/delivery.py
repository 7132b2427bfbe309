"""What it takes to store a result: the node's standing association against pynetdicom as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pynetdicom import AE
from pynetdicom.sop_class import ComprehensiveSRStorage, SecondaryCaptureImageStorage

from node.config import Destination
from node.deliver import StorageSCU
from tests.bench.measured import Amount, Measured
from tests.peers import HOST, Orthanc, Peer, StoreSCP
from tests.scp import instance, write, write_picture

PART = "delivery"
ABOUT = "Storing a result at a PACS: the node's standing association against pynetdicom as it comes."
LATENCY = "ms until answered"
OBJECTS_A_ROUND = 20
KEPT, NEW = "pynetdicom, association kept", "pynetdicom, one association an object"


def case(size: str, peer: str) -> str:
    return f"{size} to {peer}"


def measure(folder: Path, amount: Amount) -> Iterator[Measured]:
    """Store new objects of two sizes at two peers, the three ways taking turns.

    No way's association stands while it is another's turn: pynetdicom's threads look for work a thousand times a second, which
    slows down whoever else is in the process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with Orthanc(folder / "orthanc") as orthanc, StoreSCP(folder / "storescp", options=["--fork"]) as storescp:
        for name, peer in (("Orthanc", orthanc), ("storescp", storescp)):
            for size, make in SIZES.items():
                for _ in range(amount.rounds):
                    for subject, begin in WAYS.items():
                        with ExitStack() as standing:
                            way = begin(peer, standing)
                            way(make(folder))
                            for _ in range(OBJECTS_A_ROUND):
                                yield from _timed(case(size, name), subject, way, make(folder))


def _timed(where: str, subject: str, way: Callable[[Path], object], path: Path) -> Iterator[Measured]:
    began, worked = time.perf_counter(), time.process_time()
    way(path)
    yield Measured(where, subject, LATENCY, 1000 * (time.perf_counter() - began))
    yield Measured(where, subject, "CPU ms an object", 1000 * (time.process_time() - worked))


def _report(folder: Path) -> Path:
    return write(instance(text="words " * 1600), folder / "report.dcm")


def _picture(folder: Path) -> Path:
    return write_picture(folder / "picture.dcm", side_px=1000)


SIZES: dict[str, Callable[[Path], Path]] = {"10 kB": _report, "3 MB": _picture}


def _node(peer: Peer, standing: ExitStack) -> Callable[[Path], object]:
    at = Destination(name="pacs", ae_title=peer.ae_title, host=HOST, port=peer.port)  # type: ignore[attr-defined]
    scu = StorageSCU(at, "CXRTRIAGE")
    standing.callback(scu.close)
    return lambda path: scu.store([path])


class _Stock:
    """pynetdicom with all its defaults."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._entity = AE("STOCK")
        for uid in (ComprehensiveSRStorage, SecondaryCaptureImageStorage):
            self._entity.add_requested_context(uid)

    def _associate(self) -> Any:
        title = self._peer.ae_title  # type: ignore[attr-defined]
        association = self._entity.associate(HOST, self._peer.port, ae_title=title)
        assert association.is_established
        return association


class _Kept(_Stock):
    """On one association, opened anew where it was lost: now and then pynetdicom misses an answer, and aborts after 30 s."""

    def __init__(self, peer: Peer, standing: ExitStack) -> None:
        super().__init__(peer)
        self._association: Any = self._associate()
        standing.callback(lambda: self._association.release())

    def __call__(self, path: Path) -> None:
        if not self._association.is_established:
            self._association = self._associate()
        self._association.send_c_store(path)


class _Each(_Stock):
    """On an association of its own."""

    def __call__(self, path: Path) -> None:
        association = self._associate()
        association.send_c_store(path)
        association.release()


WAYS: dict[str, Callable[[Peer, ExitStack], Callable[[Path], object]]] = {
    "node": _node,
    KEPT: _Kept,
    NEW: lambda peer, _: _Each(peer),
}
