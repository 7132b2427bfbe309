"""The receiver's housekeeper: it forgets studies whose time is up, and clears up what was refused or half deleted.

A study is forgotten whole or not at all, and only when nothing of it is left to do (`Spool.is_through`). The receiver does
it, because it alone brings new work: a look and a lock in one process decide, whatever the worker does meanwhile.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

from node import log
from node.config import Spool as Rules
from node.quarantine import Quarantine
from node.spool import Spool

# So much work at once, so often: a fiftieth of a processor at most, and no image waits for it.
TURN_S, EVERY_S = 0.2, 10.0
# A study of which something came or went within this time stays, however little room there is.
GRACE_S = 3600.0
_DAY_S, _BLOCK_BYTES = 86_400.0, 512


class Keeper:
    """Keeps the spool in bounds, on a thread of its own.

    Parameters
    ----------
    spool : Spool
    rules : Rules
        The section of the configuration.
    quarantine : Quarantine

    Attributes
    ----------
    forgotten : int
        Studies, since the start.
    """

    def __init__(self, spool: Spool, rules: Rules, quarantine: Quarantine) -> None:
        self._spool, self._quarantine = spool, quarantine
        self._keep_s, self._keep_bytes = rules.keep_days * _DAY_S, rules.keep_gb * 2**30
        self.forgotten = 0
        self._round = self._go_round()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the study at hand."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def turn(self) -> None:
        """Go on with the round for a moment; a round that has come to its end begins anew the next time."""
        deadline_s = time.monotonic() + TURN_S
        for _ in self._round:
            if time.monotonic() > deadline_s or self._stopped.is_set():
                return
        self._round = self._go_round()

    def _run(self) -> None:
        while not self._stopped.wait(EVERY_S):
            with log.Outlived("keeping.failed", wait_s=EVERY_S):
                self.turn()

    def _go_round(self) -> Iterator[None]:
        """Look at every study, then forget those that are to go, a step at a time."""
        self._spool.empty_trash()
        self._quarantine.prune()
        if not (self._keep_s or self._keep_bytes):
            return
        held = []
        for study_key in self._spool.studies():
            held.append((self._spool.touched(study_key), study_key, self._size(study_key)))
            yield
        total = sum(size for *_, size in held)
        for touched, study_key, size in sorted(held):
            age_s = time.time() - touched
            is_old = 0 < self._keep_s < age_s
            if not is_old and not 0 < self._keep_bytes < total:
                return
            untouched_s = max(GRACE_S, self._keep_s) if is_old else GRACE_S
            if self._forget(study_key, untouched_s):
                total -= size
                self.forgotten += 1
                log.event("study.forgotten", study=study_key, bytes=size, reason="age" if is_old else "room")
            yield

    def _forget(self, study_key: str, untouched_s: float) -> bool:
        """Forget a study if it may go; one that the disk holds on to keeps no other."""
        try:
            return self._spool.forget(study_key, untouched_s)
        except OSError as error:
            log.repeated("forgetting.failed", "", study=study_key, error=type(error).__name__)
            return False

    def _size(self, study_key: str) -> int:
        """Return how much room a study takes, in bytes; asked only where there is a bound."""
        if not self._keep_bytes:
            return 0
        size, folders = 0, [str(self._spool.study_folder(study_key))]
        while folders:
            try:
                for entry in os.scandir(folders.pop()):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        size += entry.stat(follow_symlinks=False).st_blocks * _BLOCK_BYTES
            except FileNotFoundError:
                continue  # the worker replaces files while they are looked at
        return size
