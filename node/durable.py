"""Files that survive a power cut: written under another name, fsynced, renamed, their folder fsynced."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import mmap
import os
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

# Data of patients: the service's own user alone may look.
FOLDER_MODE, FILE_MODE = 0o700, 0o600
# No write takes so long (s): what still has its first name then was left by a process that was killed at it.
LEFT_AFTER_S = 3600.0
# So many files are fsynced at once, each thread doing so many one after the other: a thread for each file is no sooner done, and
# takes twice the CPU time.
AT_ONCE, EACH = 6, 3
# The disk is told to begin with each so many bytes of a file that comes, and its fsync then waits for the last of them
# alone: four associations that send 10 MB each bring a quarter more images a second, one of them half as many again.
# A little less than what one read of a connection brings (`node.door.connection`), or it would begin at every second one.
BEGIN_EVERY_BYTES = 1_000_000
_SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h
# From so many bytes on a piece of a file is given its place on the disk at once: else ext4 reserves one for each page, which is
# a quarter of what the write costs it.
PLACED_FROM_BYTES = 1 << 17
_FALLOC_FL_KEEP_SIZE = 1  # linux/falloc.h


@lru_cache(maxsize=1024)  # each image of a study asks for the study's, twice
def key_of(uid: str) -> str:
    """Return the name a UID has in the spool: 32 hexadecimal digits of its SHA-256, so that no peer names a file."""
    return hashlib.sha256(uid.encode()).hexdigest()[:32]


def make_folder(folder: Path | str) -> None:
    """Make a folder and its missing parents, each readable by this user alone and durable in its own parent."""
    if os.path.isdir(folder):  # noqa: PTH112  # asked for each instance, of which there are many; Path.is_dir costs more
        return
    folder = Path(folder)
    make_folder(folder.parent)
    folder.mkdir(FOLDER_MODE, exist_ok=True)
    sync_folder(folder.parent)


def write_new(path: Path, parts: Iterable[bytes | memoryview], lasts: bool = True) -> None:
    """Write a new file and fsync it; its folder is the caller's to fsync. Where the disk is full, nothing of it is left.

    Parameters
    ----------
    path : Path
    parts : iterable of bytes-like
    lasts : bool
        Whether it is to outlive the machine; without, it outlives this process alone, and is not fsynced.

    Raises
    ------
    FileExistsError
        When the file is there already.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            if lasts:
                os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise


def begin_writing(descriptor: int, offset: int, count: int) -> None:
    """Have the disk begin with a part of a file, without waiting for it; a hint, which promises nothing (sync_file_range(2)).

    Parameters
    ----------
    descriptor : int
    offset, count : int
        In bytes.
    """
    if _sync_file_range is not None:
        _sync_file_range(descriptor, offset, count, _SYNC_FILE_RANGE_WRITE)


def give_place(descriptor: int, offset: int, count: int) -> None:
    """Have the file system find a place for a part of a file that is about to be written; a hint, which promises nothing.

    Not `os.posix_fallocate`: where the file system cannot, that writes zeros in its stead (fallocate(2)).

    Parameters
    ----------
    descriptor : int
    offset, count : int
        In bytes.
    """
    if _fallocate is not None:
        _fallocate(descriptor, _FALLOC_FL_KEEP_SIZE, offset, count)


# Linux alone has them.
_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)
if _sync_file_range is not None:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
_fallocate = getattr(ctypes.CDLL(None), "fallocate64", None)
if _fallocate is not None:
    _fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class NewFile:
    """A new file that is written as its bytes come; it is then kept under another name, or nothing of it is left.

    Parameters
    ----------
    path : Path

    Raises
    ------
    FileExistsError
        When the file is there already.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._is_kept = path, False
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE)
        self._size = self._begun = 0

    def write(self, *parts: bytes | memoryview) -> None:
        """Append bytes, in one call of the system unless it takes them piecemeal."""
        rest = [memoryview(part) for part in parts]
        if (count := sum(map(len, rest))) >= PLACED_FROM_BYTES:
            give_place(self._descriptor, self._size, count)
        while rest:
            count = os.writev(self._descriptor, rest)
            self._size += count
            while rest and count >= len(rest[0]):
                count -= len(rest.pop(0))
            if count:
                rest[0] = rest[0][count:]
        if self._size - self._begun >= BEGIN_EVERY_BYTES:
            begin_writing(self._descriptor, self._begun, self._size - self._begun)
            self._begun = self._size

    def content(self) -> memoryview:
        """Return what was written, mapped and not copied; the file must not be empty."""
        return memoryview(mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ))

    def sync(self) -> None:
        """Fsync the file; its folder, once it has its name, is the caller's to fsync."""
        os.fsync(self._descriptor)

    def keep_as(self, path: Path | str) -> None:
        """Give the file another name, under which it stays."""
        os.rename(self.path, path)  # noqa: PTH104  # Path.rename makes another Path
        self._is_kept = True

    def discard(self) -> None:
        """Close the file, and remove it unless it was kept; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            if not self._is_kept:
                self.path.unlink(missing_ok=True)


def sync_folder(folder: Path | str) -> None:
    """Fsync a folder, so that a rename or link in it is on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(paths: Iterable[Path]) -> None:
    """Fsync files and folders side by side: the file system's journal then takes several in one turn of the disk.

    Raises
    ------
    OSError
        When one of them cannot be synced.
    """
    waiting = list(paths)
    threads = max(1, min(AT_ONCE, -(-len(waiting) // EACH)))
    ours, *others = (waiting[first::threads] for first in range(threads))
    elsewhere = [_side_by_side().submit(_sync_each, share) for share in others]
    try:
        _sync_each(ours)
    finally:
        wait(elsewhere)
    for share in elsewhere:
        share.result()


@cache
def _side_by_side() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AT_ONCE, "sync")


def _sync_each(paths: Iterable[Path]) -> None:
    for path in paths:
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, form: dict[str, Any], lasts: bool = True) -> None:
    """Write or replace a JSON file; readers see the old one or the new one, never a part.

    Parameters
    ----------
    path : Path
    form : dict
    lasts : bool
        Whether it is to outlive the machine, or this process alone.
    """
    make_folder(path.parent)
    replace_file(path, json.dumps(form, sort_keys=True).encode(), lasts)


def replace_file(path: Path, content: bytes, lasts: bool = True) -> None:
    """Write or replace a file; otherwise as `write_json`."""
    part = path.with_name(f".{uuid.uuid4().hex}")
    write_new(part, (content,), lasts)
    try:
        part.rename(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    if lasts:
        sync_folder(path.parent)


def clear_left(folder: Path) -> None:
    """Remove what `write_json` left half written in a folder and those below, where its process was killed."""
    for left in folder.rglob(".*"):
        with contextlib.suppress(FileNotFoundError):  # another process is writing just now
            if time.time() - left.stat().st_mtime > LEFT_AFTER_S:
                left.unlink()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that `write_json` wrote."""
    form: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return form
