"""Waiting for room: work outlasts a full disk, and is not begun on one."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from node import disk, log

# A full disk is looked at again this often (s).
LOOK_EVERY_S = 1.0


def wait_for_room(folder: Path, stopped: threading.Event, **fields: Any) -> bool:
    """Wait while a disk has no room for the results of one image.

    Parameters
    ----------
    folder : Path
        On the disk.
    stopped : threading.Event
        Set where nothing is to wait any more.
    **fields
        Of the alarm, which is logged once where there is no room.

    Returns
    -------
    bool
        False where the wait was ended without room.
    """
    if disk.room(folder).is_enough_to_work:
        return True
    log.alarm("disk.full", wait_s=LOOK_EVERY_S, **fields)
    while not disk.room(folder).is_enough_to_work:
        if stopped.wait(LOOK_EVERY_S):
            return False
    log.event("disk.freed", **fields)
    return True
