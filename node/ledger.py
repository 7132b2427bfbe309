"""The queue's book, asked about many tasks at once, and kept short.

A worker that cannot reach a PACS over a weekend would otherwise fill the disk with attempts that nobody reads again: the
spool, not the book, knows what became of a study.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from dbos import DBOS

from node import log

LIVE = ("ENQUEUED", "DELAYED", "PENDING")
DONE = "SUCCESS"
# Long enough that no task that was just handed over is taken twice; were it, its stages would find their work done.
KEPT_S = 3600.0
# So many at once: well below the number of parameters that SQLite takes, and a lock of some milliseconds.
AT_ONCE = 250
# In one go, which holds up the clerk. Once a minute, it is more than a worker gets done.
FORGOTTEN_AT_MOST = 4000
DAMAGED = ".damaged"


def states(names: Iterable[str], longest_wait_s: float = math.inf) -> dict[str, str]:
    """Look tasks up in the book.

    Parameters
    ----------
    names : iterable of str
        Names of tasks, which are the identifiers of their workflows.
    longest_wait_s : float
        Seconds. What is to wait for longer is let go now: the book keeps the moment at which a wait ends, so where the
        clock is set back by a day, work would rest for a day.

    Returns
    -------
    dict of str to str
        The state of each that the book knows.
    """
    wanted = list(names)
    found: dict[str, str] = {}
    latest_ms = (time.time() + longest_wait_s) * 1000
    for first in range(0, len(wanted), AT_ONCE):
        some = wanted[first : first + AT_ONCE]
        for status in DBOS.list_workflows(workflow_ids=some, load_input=False, load_output=False):
            found[status.workflow_id] = status.status
            if status.status == "DELAYED" and (status.delay_until_epoch_ms or 0) > latest_ms:
                DBOS.set_workflow_delay(status.workflow_id, delay_seconds=0)
    return found


def forget_done(kept_s: float = KEPT_S) -> int:
    """Take out of the book what ended well some time ago; what failed stays until the clerk has judged it.

    Parameters
    ----------
    kept_s : float
        Seconds since its end.

    Returns
    -------
    int
        How many workflows were taken out.
    """
    before = datetime.fromtimestamp(time.time() - kept_s, UTC).isoformat()
    forgotten = 0
    while forgotten < FORGOTTEN_AT_MOST:
        found = DBOS.list_workflows(
            status=DONE, completed_before=before, limit=AT_ONCE, load_input=False, load_output=False
        )
        if not found:
            break
        DBOS.delete_workflows([status.workflow_id for status in found])
        forgotten += len(found)
    return forgotten


def set_aside_if_damaged(book: Path) -> bool:
    """Give a book that SQLite cannot read another name, so that a new one is begun: the spool knows of all work.

    Parameters
    ----------
    book : Path
        The file, which need not be there.

    Returns
    -------
    bool
        Whether it was damaged.
    """
    if not book.exists():
        return False
    try:
        with contextlib.closing(sqlite3.connect(book)) as opened:
            if opened.execute("PRAGMA quick_check(1)").fetchone() == ("ok",):
                return False
    except sqlite3.OperationalError:  # a full disk, or a file that this user may not read: no fault of the book's
        return False
    except sqlite3.DatabaseError:
        pass
    # What SQLite left beside it belongs to it, and must not meet the new one.
    for path in book.parent.glob(f"{book.name}*"):
        if not path.name.endswith(DAMAGED):
            path.rename(path.with_name(f"{path.name}{DAMAGED}"))
    log.alarm("book.damaged")
    return True
