"""The process that decodes films, ``python -m node.developer``, in a child that may be lost.

A decoder is native code that a stranger's bytes are fed to. It may crash, run for minutes and heed no signal, ask for
memory without end, or leave a heap behind in which the next film comes out wrong. So the process that answers the worker
touches no film. It has loaded all that decoding needs, is of one thread, and forks: the child decodes films and lays their
prints into the tray. Its parent waits with a clock in the hand, kills it where it is late or the worker is gone, and says
how it ended. A child that met anything but a good film ends, too, and the next film gets a new one.

The worker's side is `node.darkroom`. Each message is one packet of JSON; the end of the line is the end of this process.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import mmap
import os
import select
import signal
import socket
import sys
import traceback
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import cv2
import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from node import confine
from node.errors import NotAssessable
from node.pixels import InputSpec, developed
from node.prints import MESSAGE_BYTES, print_of, put, put_note, tray_bytes

# A child that has developed so many films is replaced, for native code may leak memory.
FILMS_A_CHILD = 1000
DONE = b"+"
# Most headers are shorter.
HEADER_BYTES = 1 << 16
# From a child's last word to its end: a moment, and more where the machine has no time.
TO_END_S = 5.0


def main() -> None:
    """Run until the line ends, at whatever moment."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        _run()


def _run() -> None:
    """Answer orders until the line ends: ``LINE TRAY RULES`` are two descriptors and the rules as JSON."""
    for number in (signal.SIGINT, signal.SIGTERM):  # of a whole group or service: the worker says when this one ends
        signal.signal(number, signal.SIG_IGN)
    line, rules = socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[3])
    spec = InputSpec.from_json(rules["spec"])
    tray = memoryview(mmap.mmap(int(sys.argv[2]), tray_bytes(spec)))
    cv2.setNumThreads(1)  # a fork has one thread, whatever its parent had
    warnings.simplefilter("ignore")
    put(tray, print_of(developed(_step_wedge()), spec))  # what is loaded late is loaded now, before any fork
    confine.harden()
    gc.freeze()
    line.send(b"{}")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries write there what they think of a film
    child = _Child(rules, spec, line, tray)
    while order := line.recv(MESSAGE_BYTES):
        line.send(json.dumps(child.develop(order)).encode())


class _Child:
    """A fork of this process, made when it is needed.

    Parameters
    ----------
    rules : dict
        ``seconds`` and ``memory_mb`` that a film may take.
    spec : InputSpec
    line : socket
        To the worker.
    tray : memoryview
    """

    def __init__(self, rules: dict[str, Any], spec: InputSpec, line: socket.socket, tray: memoryview) -> None:
        self._rules, self._spec, self._line, self._tray = rules, spec, line, tray
        self._pid, self._films, self._end = 0, 0, -1
        self._orders = line

    def develop(self, order: bytes) -> dict[str, Any]:
        """Have one film developed, and say how that ended: ``exit`` is 0 where something lies in the tray."""
        if self._pid and (self._films == FILMS_A_CHILD or self._has_ended(0.0)):
            self._reap()
        if not self._pid:
            self._fork()
        self._films += 1
        put_note(self._tray, {})
        with contextlib.suppress(BrokenPipeError):
            self._orders.send(order)
        said = self._waited_for()
        if said == DONE:
            return {"exit": 0, "late": False}
        if said is not None:  # the child has nothing more to say, and ends
            self._has_ended(TO_END_S)
        return {"exit": self._reap(), "late": said is None}

    def _waited_for(self) -> bytes | None:
        """Wait for the child's word, which is empty where it ends; None where the deadline or the worker's end came first."""
        waited_for = [self._orders.fileno(), self._end, self._line.fileno()]
        ready, _, _ = select.select(waited_for, [], [], self._rules["seconds"])
        if self._orders.fileno() in ready:
            with contextlib.suppress(ConnectionResetError):
                return self._orders.recv(1)
        return b"" if ready and self._line.fileno() not in ready else None

    def _has_ended(self, within_s: float) -> bool:
        return bool(select.select([self._end], [], [], within_s)[0])

    def _reap(self) -> int:
        """End the child, where it has not ended, and return its exit status, negative for a signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        os.close(self._end)
        self._orders.close()
        self._pid = 0
        return os.waitstatus_to_exitcode(status)

    def _fork(self) -> None:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid, self._films = os.fork(), 0
        if not self._pid:
            _be_the_child(theirs, (self._orders, self._line), self._rules["memory_mb"], self._spec, self._tray)
        theirs.close()
        self._end = os.pidfd_open(self._pid)


def _be_the_child(
    orders: socket.socket, not_ours: tuple[socket.socket, ...], memory_mb: int, spec: InputSpec, tray: memoryview
) -> NoReturn:
    with _LastAct(tray):
        confine.end_with_parent()
        for each in not_ours:
            each.close()
        confine.limit_address_space(memory_mb)
        while order := orders.recv(MESSAGE_BYTES):
            if not _develop_into(tray, Path(json.loads(order)["path"]), spec):
                break
            orders.send(DONE)
    raise AssertionError("the last act ends the process")


def _develop_into(tray: memoryview, path: Path, spec: InputSpec) -> bool:
    """Lay a film's print into the tray, or a note of what is the matter with it; tell whether all is well."""
    try:
        made = print_of(developed(path), spec)
    except NotAssessable as error:
        put_note(tray, {"refused": error.reason, "detail": error.detail})
    except MemoryError:
        put_note(tray, {"memory": True})
    except cv2.error as error:
        if error.code != cv2.Error.StsNoMem:
            raise
        put_note(tray, {"memory": True})
    except OSError as error:
        put_note(tray, {"errno": error.errno or errno.EIO})
    else:
        _need_no_more(path)
        put(tray, made)
        return True
    return False


def _need_no_more(path: Path) -> None:
    """Let the system take back the memory that a film's file has in its cache, where the next film comes to lie then.

    A film is decoded once. Its header is read again, and stays.
    """
    if not path.is_file():  # opening a pipe again would wait for a second writer
        return
    with contextlib.suppress(OSError):  # a hint
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, HEADER_BYTES, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


class _LastAct:
    """Ends this process at the end of the context, and leaves a note of a fault that nobody foresaw: its class and place."""

    def __init__(self, tray: memoryview) -> None:
        self._tray = tray

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            frame = traceback.extract_tb(trace)[-1]
            put_note(self._tray, {"fault": kind.__name__, "place": f"{Path(frame.filename).name}:{frame.lineno}"})
        os._exit(0)


def _step_wedge() -> Dataset:
    """Return a film of this process's own making."""
    film, side = Dataset(), 256
    film.Rows = film.Columns = side
    film.SamplesPerPixel, film.PhotometricInterpretation, film.PixelRepresentation = 1, "MONOCHROME2", 0
    film.BitsAllocated, film.BitsStored, film.HighBit = 16, 12, 11
    film.add_new("PixelData", "OW", np.tile(np.arange(side, dtype="<u2") * 16, (side, 1)).tobytes())
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return film


if __name__ == "__main__":
    main()
