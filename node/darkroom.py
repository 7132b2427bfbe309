"""Where films are decoded: in processes that may hang, crash or ask for too much, while the worker goes on.

The worker holds a line to a *developer* (`node.developer`), which decodes each film in a child of its own, with a deadline
and a limit of memory. A film that is too slow or brings its child down gets a second chance; the second time it is a film
that cannot be decoded, and its report says so. What happens to the developer itself is no film's doing: it is started
again, and where that does not help, a person must look.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self

from node import log
from node.errors import InferenceError, NotAssessable, Reason
from node.pixels import InputSpec
from node.prints import MESSAGE_BYTES, Print, Spoiled, note_in, taken, tray_bytes

# A film that brings its decoder down this often is not tried again.
CHANCES = 2
# Python and its libraries load within a second, and on a machine that has no time within a minute.
START_WITHIN_S = 120.0
# The developer keeps the deadline; one that does not answer for so much longer is ended, too.
GRACE_S = 10.0
_LONGEST_DETAIL = 64
_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # The C library gives large blocks back to the system after each film, and the next one pays for fresh pages: 31 ms of
    # CPU for a film of 10 MB in place of 26. So up to a quarter of a gigabyte is kept.
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
}
_REASONS = {str(reason): reason for reason in Reason}


class _Lost(Exception):
    """The developer is gone or does not answer."""


class Darkroom:
    """Decodes films in another process.

    It is started at once, and ends with this process or with `close`.

    Parameters
    ----------
    spec : InputSpec
        What the networks are to see.
    seconds : float
        How long decoding one film may take.
    memory_mb : int
        How many MiB decoding one film may take.
    """

    def __init__(self, spec: InputSpec, seconds: float, memory_mb: int) -> None:
        self._spec, self._seconds = spec, seconds
        self._rules = json.dumps({"spec": spec.to_json(), "seconds": seconds, "memory_mb": memory_mb})
        self._lock = threading.Lock()
        self._started = False
        descriptor = os.memfd_create("tray", os.MFD_CLOEXEC)  # it has no name that could outlive its users
        os.ftruncate(descriptor, tray_bytes(spec))
        self._tray_descriptor = descriptor
        self._memory = mmap.mmap(descriptor, tray_bytes(spec))
        self._tray = memoryview(self._memory)
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The developer's process."""
        return self._developer.pid

    @property
    def longest_s(self) -> float:
        """How long `develop` may take at most where the machine does its part."""
        return START_WITHIN_S + CHANCES * (self._seconds + GRACE_S)

    def develop(self, path: Path) -> Print:
        """Decode a film and make its print.

        Parameters
        ----------
        path : Path
            A DICOM file.

        Raises
        ------
        NotAssessable
            Where the film cannot be read, as `node.pixels.read_dicom` has it; NOT_DECODED where decoding it takes too much
            memory, or twice was too slow or crashed.
        InferenceError
            Where the process for it cannot work, or meets a fault that nobody foresaw.
        OSError
            Where the file cannot be read.
        """
        with self._lock:
            for chance in range(1, CHANCES + 1):
                made, trouble = self._print(path)
                if made is not None:
                    return made
                log.alarm("film.not_decoded", reason=trouble, attempt=chance)
        raise NotAssessable(Reason.NOT_DECODED, trouble)

    def close(self) -> None:
        """End the developer, unless a film is in its hands: it then ends with this process."""
        if not self._lock.acquire(blocking=False):
            return
        self._end()
        self._tray.release()
        self._memory.close()
        os.close(self._tray_descriptor)

    def _print(self, path: Path) -> tuple[Print | None, str]:
        """Try once: the print, or what happened to the process that was to make it."""
        ended = self._ask(path)
        if ended.get("late"):
            return None, "decoder: too slow"
        if ended.get("exit") != 0:
            return None, "decoder: crashed"
        try:
            _look_for_trouble(note_in(self._tray))
            return taken(self._tray, self._spec), ""
        except Spoiled:
            return None, "decoder: crashed"

    def _ask(self, path: Path) -> dict[str, Any]:
        """Have the developer handle a film; one that is gone is replaced, once."""
        if self._developer.poll() is not None:
            self._restart()
        for _ in range(2):
            try:
                self._await_start()
                self._line.send(json.dumps({"path": str(path)}).encode())
                return self._answer(self._seconds + GRACE_S)
            except (_Lost, OSError):
                self._restart()
        raise InferenceError("the process that decodes films ends or does not answer; the study is parked")

    def _answer(self, within_s: float) -> dict[str, Any]:
        self._line.settimeout(within_s)
        message = self._line.recv(MESSAGE_BYTES)
        if not message:
            raise _Lost
        answer: dict[str, Any] = json.loads(message)
        return answer

    def _await_start(self) -> None:
        if not self._started:
            self._answer(START_WITHIN_S)
            self._started = True

    def _start(self) -> None:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        descriptors = there.fileno(), self._tray_descriptor
        command = [sys.executable, "-m", "node.developer", *map(str, descriptors), self._rules]
        # One thread: it forks. Its own session: what a terminal sends to all of a group is not for it.
        self._developer = subprocess.Popen(  # noqa: S603 (nothing of it comes from outside)
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parents[1],
            env={**os.environ, **_ENVIRONMENT},
            pass_fds=descriptors,
            start_new_session=True,
        )
        there.close()
        self._line, self._started = here, False

    def _restart(self) -> None:
        self._end()
        log.alarm("process.died", process="developer", code=self._developer.returncode)
        self._start()

    def _end(self) -> None:
        self._line.close()
        self._developer.send_signal(signal.SIGKILL)
        self._developer.wait()


def _look_for_trouble(note: dict[str, Any]) -> None:
    """Raise what the child met; its words are cut short, for a stranger's bytes may have written them."""
    match note:
        case {"refused": str(reason), "detail": str(detail)} if reason in _REASONS:
            raise NotAssessable(_REASONS[reason], detail[:_LONGEST_DETAIL] if detail.isprintable() else "")
        case {"memory": True}:
            raise NotAssessable(Reason.NOT_DECODED, "decoder: out of memory")
        case {"errno": int(number)}:
            raise OSError(number, os.strerror(number))
        case {"fault": str(kind), "place": str(place)} if kind.isidentifier():
            place = place if place.isprintable() else ""
            raise InferenceError(f"unexpected {kind} at {place[:_LONGEST_DETAIL]} in decoding; please report it")
