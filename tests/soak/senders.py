"""Who calls the node while it is soaked: modalities that send films, and callers that do everything else."""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import struct
import time
from collections.abc import Callable
from typing import Any

from tests.raw import (
    ABORT,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    STORE,
    Closed,
    Raw,
    command,
    fragment,
    pdu,
    request,
    store_request,
)
from tests.soak.films import Film

GONE = (OSError, Closed, struct.error)


class Modality:
    """Sends films and remembers which of them were acknowledged; it bears a node that is killed in the middle.

    Attributes
    ----------
    acknowledged : dict of str to Film
        By SOP Instance UID.
    latencies : list of (float, float, int)
        When a film was sent, seconds of the monotonic clock, the seconds its answer took, and the bytes of its data set.
    refused : int
        Answers other than Success.
    """

    def __init__(self) -> None:
        self.acknowledged: dict[str, Film] = {}
        self.latencies: list[tuple[float, float, int]] = []
        self.refused = 0

    def send(self, port: int, films: list[Film], leave: str = "release", within_s: float = 30.0) -> list[Film]:
        """Send films on one association, and leave it as told: ``release``, ``abort`` or ``drop``.

        Returns
        -------
        list of Film
            Those that were not acknowledged.
        """
        left = list(films)
        with contextlib.suppress(*GONE, AssertionError), Raw(port, within_s=within_s) as caller:
            caller.associate()
            while left:
                began = time.monotonic()
                status = caller.store(left[0].data_set, left[0].sop_instance_uid)
                self.latencies.append((began, time.monotonic() - began, len(left[0].data_set)))
                if status != 0x0000:
                    self.refused += 1
                    break
                film = left.pop(0)
                self.acknowledged[film.sop_instance_uid] = film
            if leave == "release":
                caller.send(pdu(RELEASE_RQ, bytes(4)))
                assert caller.answer()[0] == RELEASE_RP
            elif leave == "abort":
                caller.send(pdu(ABORT, bytes(4)))
        return left


def half_open(port: int, chosen: random.Random) -> None:
    """Connect, say a part of a request or nothing, and go."""
    with Raw(port) as caller:
        caller.send(request()[: chosen.choice((0, 1, 6, 40, 200))])


def aborted(port: int, chosen: random.Random) -> None:
    """Begin to store and abort, or just hang up, in the middle of a message."""
    begun = command(STORE, store_request()) + pdu(P_DATA, fragment(STORE, 0, bytes(20_000)))
    with Raw(port) as caller:
        caller.associate()
        caller.send(begun[: chosen.randrange(len(begun))] if chosen.random() < 0.5 else begun)
        if chosen.random() < 0.5:
            caller.send(pdu(ABORT, bytes(4)))


def unknown(port: int, chosen: random.Random) -> None:
    """Ask for an application entity that is not here."""
    with Raw(port) as caller:
        caller.rejection(called=b"NOBODY")


def malformed(port: int, chosen: random.Random) -> None:
    """Store what is no data set, and be refused."""
    with Raw(port) as caller:
        caller.associate()
        assert caller.store(chosen.randbytes(chosen.randrange(1, 5000)) * 2) != 0x0000


def echoes(port: int, chosen: random.Random) -> None:
    """Verify once, as a monitor does, or fifty times without a pause."""
    with Raw(port) as caller:
        caller.associate()
        for _ in range(chosen.choice((1, 1, 1, 50))):
            assert caller.echo() == 0x0000
        caller.send(pdu(RELEASE_RQ, bytes(4))).answer()


CALLS: tuple[Callable[[int, random.Random], None], ...] = (half_open, aborted, unknown, malformed, echoes, echoes)


class Crowd:
    """Callers that bring no film, in a process of their own, as many as are due.

    Attributes
    ----------
    made, due, failed : int
        Calls made, calls that are to have been made by now, and those that did not go as the Standard says.
    """

    def __init__(self, port: int, seed: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._made, self._due, self._failed = (context.Value("l", 0) for _ in range(3))
        given = (port, seed, self._made, self._due, self._failed)
        self._process = context.Process(target=_call, args=given, daemon=True)

    def __enter__(self) -> Crowd:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._due.value = -1
        self._process.join()

    @property
    def made(self) -> int:
        return int(self._made.value)

    @property
    def failed(self) -> int:
        return int(self._failed.value)

    def call(self, due: int) -> None:
        """Have so many calls made in all."""
        self._due.value = due


def _call(port: int, seed: int, made: Any, due: Any, failed: Any) -> None:
    chosen = random.Random(seed)
    while due.value >= 0:
        if made.value >= due.value:
            time.sleep(0.01)
            continue
        try:
            chosen.choice(CALLS)(port, chosen)
        except (*GONE, AssertionError):
            failed.value += 1
        made.value += 1
