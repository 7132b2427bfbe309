"""What the kernel holds a process to, whatever native code in it does: memory, files, core dumps, its parent's life."""

from __future__ import annotations

import ctypes
import resource
import signal
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_LIBC = ctypes.CDLL(None, use_errno=True)
_PRCTL = _LIBC.prctl
_MIB = 1 << 20
# malloc.h and mallopt(3): the number of heaps; from how many bytes an allocation has a mapping of its own, at most 32 MiB; and how much of a heap's end
# may be free before it is given back. To set one of the last two fixes the other at 128 KiB.
_M_ARENA_MAX, _M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -8, -3, -1
_MALLOC = {_M_ARENA_MAX: 2, _M_MMAP_THRESHOLD: 32 * _MIB, _M_TRIM_THRESHOLD: 256 * _MIB}
_OPEN_FILES = 32


def harden() -> None:
    """Forbid this process what it has no need of: core dumps, which hold films, writing to files, more rights, many files."""
    _lower(resource.RLIMIT_CORE, 1)  # 0 would leave out files alone: see log.leave_no_core
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _PRCTL(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def end_with_parent() -> None:
    """Have the kernel kill this process when the thread that forked it ends."""
    _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def limit_address_space(more_mb: int) -> None:
    """Refuse this process more than so many MiB of address space beyond what it has: a MemoryError, or native code's end."""
    _lower(resource.RLIMIT_AS, _has_bytes("VmSize") + more_mb * _MIB)


def limit_data(more_mb: int) -> None:
    """As `limit_address_space`, of writable private memory alone: drivers reserve address space that they never use."""
    _lower(resource.RLIMIT_DATA, _has_bytes("VmData") + more_mb * _MIB)


def share_memory_among_threads() -> None:
    """Give the threads of this process two heaps that keep what they have, where they would take one each; before there are any.

    What a thread has let go stays in its heap. With one for each of twenty threads, memory grew in steps of 16 MB for as
    long as films of other sizes, and other threads, came along. And heaps that give their ends back are handed 2,000
    empty pages anew for each film. Without the C library of GNU nothing is done.
    """
    if hasattr(_LIBC, "mallopt"):
        for option, value in _MALLOC.items():
            _LIBC.mallopt(option, value)


def _lower(kind: int, limit: int) -> None:
    """Lower a soft limit, never above the hard one."""
    _, hard = resource.getrlimit(kind)
    bound = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (bound, hard))


def _has_bytes(name: str) -> int:
    """Return a size of this process that the kernel states in kB."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
