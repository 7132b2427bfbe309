"""A watch over work that may never end: wound before each piece, it ends this process where it runs down.

A hang in native code comes back to no handler of Python's, and may hold the interpreter's lock. So the watch is a timer of
the kernel, whose signal is taken by a handler in C (`faulthandler`): that writes down where every thread stands, functions
and lines and no values, and lets the signal end the process. Whoever supervises the process starts it again; the next one
says in the log where its predecessor hung or crashed.
"""

from __future__ import annotations

import faulthandler
import re
import signal
from pathlib import Path

_FRAME = re.compile(r'File "(?:[^"\n]*/)?([^/"\n]+)", line (\d+) in')
_THREAD = re.compile(r"^(?:Current thread|Thread) 0x", re.MULTILINE)
_PLACES = 5


def open_trace(path: Path) -> str:
    """Have traces written to a file from now on, those of crashes too.

    Returns
    -------
    str
        Where the process stood that wrote to it last, the innermost place first; empty where that ended in peace.
    """
    try:
        left = path.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        left = ""
    trace = path.open("wb", buffering=0)
    faulthandler.enable(trace)
    faulthandler.register(
        signal.SIGALRM, trace, chain=True
    )  # to what the signal does by itself, which is to end the process
    return _places(left)


def wind(seconds: float) -> None:
    """End this process after so many seconds, unless the watch is wound again or stopped before."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


def stop() -> None:
    """Stop the watch."""
    signal.setitimer(signal.ITIMER_REAL, 0)


def _places(left: str) -> str:
    """Return the places of the thread that was reading a study, else of the one that crashed, from what was written."""
    found = [_FRAME.findall(thread) for thread in _THREAD.split(left)[1:]]
    reading = [frames for frames in found if any(file == "reading.py" for file, _ in frames)]
    frames = next(iter([*reading, *found]), [])
    return ", ".join(f"{file}:{line}" for file, line in frames[:_PLACES])
