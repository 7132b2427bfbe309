"""Whether an instance that comes again in another encoding is the one that is held.

A PACS recompresses what it keeps, and sends it again. Files that differ may then hold the same instance, which only
decoding can tell; and decoders are native code that strangers' bytes have crashed. So the two are compared in a process
of their own (`node.same_instance`), one pair at a time, within bounds of time and memory, and what it cannot tell is no.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
from pathlib import Path

from node.errors import OutOfResources

# Starting Python and its libraries takes a second, decoding the largest radiograph another; a busy machine takes longer.
# The sender waits for its answer, by default of most toolkits for 30 s and longer.
COMPARE_WITHIN_S = 20.0
WAIT_FOR_TURN_S = 8.0

_TURN = threading.Lock()


def is_same_instance(held: Path, other: Path) -> bool:
    """Tell whether two DICOM files hold the same attributes and pixels.

    Parameters
    ----------
    held, other : Path

    Returns
    -------
    bool
        False, too, where it cannot be told.

    Raises
    ------
    OutOfResources
        When it, or other pairs before it, take too long: the sender may try again.
    """
    if not _may_be_recoded(held, other):
        return False
    if not _TURN.acquire(timeout=WAIT_FOR_TURN_S):
        raise OutOfResources("too many instances come again in other encodings")
    try:
        program = [sys.executable, "-m", "node.same_instance", str(held), str(other)]
        silent = subprocess.DEVNULL
        done = subprocess.run(  # noqa: S603
            program, stdin=silent, stdout=silent, stderr=silent, timeout=COMPARE_WITHIN_S, check=False
        )
        return done.returncode == 0
    except subprocess.TimeoutExpired:
        raise OutOfResources("comparing with the instance that is held takes too long") from None
    finally:
        _TURN.release()


def _may_be_recoded(held: Path, other: Path) -> bool:
    """Tell whether a difference may be one of encoding: of the same length in the same transfer syntax it is of content."""
    heads = [_head(path) for path in (held, other)]
    return all(heads) and (heads[0] != heads[1] or held.stat().st_size != other.stat().st_size)


def _head(path: Path) -> bytes:
    """Return what stands before the data set of a file that the node wrote (`node.file_head`), empty for another."""
    with path.open("rb") as file:
        start = file.read(144)
        if start[128:132] != b"DICM" or len(start) < 144:
            return b""
        return start + file.read(*struct.unpack_from("<L", start, 140))
