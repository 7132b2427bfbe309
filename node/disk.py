"""How much room a disk has, and how much of it is kept for what was acknowledged already.

Two bounds. Below the *reserve* no new image is taken, while everything that was acknowledged is read, answered and
delivered. Where not even the room of one result is left, because others fill the disk, that work waits as well.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

# The results of an image are a picture of up to 12 MB and some small files.
WORK_BYTES = 16 << 20
# A file system that counts its files can run out of them with room left; so many are kept.
FILES_KEPT = 1000
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Room:
    """The room of a disk at one moment.

    Attributes
    ----------
    free_bytes, total_bytes : int
        As the service's user has them: what a file system keeps for root is not free.
    reserve_bytes : int
    files_left : int or None
        How many more files it takes, None where it does not count them.
    """

    free_bytes: int
    total_bytes: int
    reserve_bytes: int = 0
    files_left: int | None = None

    @property
    def is_short(self) -> bool:
        """Whether the reserve has begun: no new image is to be taken."""
        few_files = self.files_left is not None and self.files_left < FILES_KEPT
        return self.reserve_bytes > 0 and (self.free_bytes < self.reserve_bytes or few_files)

    @property
    def is_enough_to_work(self) -> bool:
        """Whether the results of what was acknowledged can be written."""
        return self.free_bytes >= WORK_BYTES


def room(folder: Path, reserve_bytes: int = 0) -> Room:
    """Ask how much room there is where a folder is, or will be; takes a few microseconds.

    Parameters
    ----------
    folder : Path
    reserve_bytes : int
        0: nothing is kept.

    Raises
    ------
    PermissionError
        When this user may not look there.
    """
    try:
        found = os.statvfs(folder)
    except FileNotFoundError:
        found = os.statvfs(next(path for path in folder.resolve().parents if path.exists()))
    files_left = found.f_favail if found.f_files else None
    return Room(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, reserve_bytes, files_left)


def is_full(error: OSError) -> bool:
    """Tell whether an error says that the disk, or this user's share of it, is full: the clock acts next."""
    return error.errno in _FULL
