"""A watch over work that may never end: wound before each piece, it ends this process where it runs down.

A hang in native code heeds no signal and no exception, and may hold the interpreter's lock. So the watch is a thread of C
(`faulthandler`), which writes down where every thread stands, functions and lines and no values, and exits. Whoever
supervises the process starts it again; the next one says in the log where its predecessor hung or crashed.
"""

from __future__ import annotations

import faulthandler
import re
import sys
import time
from pathlib import Path
from typing import IO, Any

_FRAME = re.compile(r'File "(?:[^"\n]*/)?([^/"\n]+)", line (\d+) in')
_THREAD = re.compile(r"^(?:Current thread|Thread) 0x", re.MULTILINE)
_PLACES = 5

# A watch that is wound anew starts a thread anew, half a millisecond; by less than this (s) it is left as it runs.
_TOLERANCE_S = 1.0

_trace: IO[Any] = sys.stderr
_runs_down_s = -1.0


def open_trace(path: Path) -> str:
    """Have traces written to a file from now on, those of crashes too.

    Returns
    -------
    str
        Where the process stood that wrote to it last, the innermost place first; empty where that ended in peace.
    """
    global _trace
    try:
        left = path.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        left = ""
    _trace = path.open("wb", buffering=0)
    faulthandler.enable(_trace)
    return _places(left)


def wind(seconds: float) -> None:
    """End this process after so many seconds, or one less, unless the watch is wound again or stopped before."""
    global _runs_down_s
    end_s = time.monotonic() + seconds
    if 0 <= end_s - _runs_down_s < _TOLERANCE_S:
        return
    _runs_down_s = end_s
    faulthandler.dump_traceback_later(seconds, exit=True, file=_trace)


def stop() -> None:
    """Stop the watch."""
    global _runs_down_s
    _runs_down_s = -1.0
    faulthandler.cancel_dump_traceback_later()


def _places(left: str) -> str:
    """Return the places of the thread that was reading a study, else of the one that crashed, from what was written."""
    found = [_FRAME.findall(thread) for thread in _THREAD.split(left)[1:]]
    reading = [frames for frames in found if any(file == "reading.py" for file, _ in frames)]
    frames = next(iter([*reading, *found]), [])
    return ", ".join(f"{file}:{line}" for file, line in frames[:_PLACES])
