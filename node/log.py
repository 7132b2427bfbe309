"""One line an event, of declared fields only, so that no patient's data can slip into a log.

Events are ``noun.past_participle``. A study is spoken of by its key in the spool, never by a UID or a name. Lines of
libraries, and exceptions that nobody caught, are named but their text is withheld: pydicom and pynetdicom print
attribute values.

A flood fills no disk: of each event so many lines a minute are written, and ``lines.held_back`` tells how many more there
were; a file is rolled over when it is full. A log that cannot be written stops nothing: what was lost is counted and told.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from node.errors import ConfigError
from node.rate import Rate
from node.rolling import RollingFile

# Where rich is installed structlog loads it, for tracebacks that are never printed here: 0.13 of the 0.53 s of imports before
# the node can listen (docs/performance.md).
sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None: cannot be imported
import structlog  # noqa: E402
from structlog.typing import EventDict, WrappedLogger  # noqa: E402

if sys.modules["rich"] is None:
    del sys.modules["rich"]

FILE = "CXR_NODE_LOG"
# 160 MB in all: weeks of a busy node.
FILE_BYTES, FILES_KEPT = 16 << 20, 9
# Lines a minute of each event, and of each kind of alarm that a peer can set off as often as it likes.
EVENTS, ALARMS, REPEATED = 600, 300, 20
WINDOW_S = 60.0
# What tells events of one name apart: few values each, of the configuration or of our own vocabulary.
KIND_FIELDS = ("destination", "status", "logger")
LONGEST_VALUE = 1000
FIELDS = {
    *("event", "level", "time", "role", "error", "reason", "count", "ms", "bytes", "wait_s", "logger"),
    *("study", "generation", "kind", "images", "read", "triage", "verb", "attempt", "results", "status"),
    *("destination", "ae_title", "host", "port", "calling", "address"),
    *("model", "device", "weights", "process", "code", "state", "days", "held"),
}


def _declared_only(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Drop every field that is not declared, and say how many were dropped."""
    kept = {name: _short(value) for name, value in event.items() if name in FIELDS}
    if len(kept) < len(event):
        kept["withheld"] = len(event) - len(kept)
    return kept


def _short(value: Any) -> Any:
    return f"{value[:LONGEST_VALUE]}..." if isinstance(value, str) and len(value) > LONGEST_VALUE else value


class _Lines:
    """Where lines go. What it does not take is counted, and told once it takes lines again.

    Parameters
    ----------
    write : callable
        Takes a line with its end; may raise OSError, or ValueError where it is closed.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._lost = 0

    def line(self, text: str) -> None:
        """Write a line, or count it."""
        with self._lock:
            try:
                self._write(f"{text}\n")
            except (OSError, ValueError):
                self._lost += 1
                return
            lost, self._lost = self._lost, 0
        if lost:
            alarm("lines.lost", count=lost)

    # structlog calls a logger by the name of the level.
    debug = info = warning = error = critical = line


class _WithheldText(logging.Handler):
    """Report that a library logged something, without its text."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        fields: dict[str, Any] = {"logger": record.name, "error": error}
        _say(logging.getLevelName(record.levelno).lower(), "library.logged", REPEATED, fields)


def failed(kind: type[BaseException], _: BaseException | None, trace: TracebackType | None) -> None:
    """Log an exception that ends the process by its class and its place; a hook for ``sys.excepthook``."""
    alarm("process.failed", error=kind.__name__, reason=_place(trace))


def _thread_died(fate: threading.ExceptHookArgs) -> None:
    if fate.exc_type is not SystemExit:
        alarm("thread.died", error=fate.exc_type.__name__, reason=_place(fate.exc_traceback))


def _unraisable(fate: Any) -> None:
    """Log an exception that could be raised nowhere, such as a finalizer's; Python would print it with its object."""
    alarm("exception.ignored", error=fate.exc_type.__name__, reason=_place(fate.exc_traceback))


def _place(trace: TracebackType | None) -> str:
    """Return the file and line in which an exception was raised."""
    return ", ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(trace)[-1:])


def open_log(role: str) -> None:
    """Send this process's events to standard error: JSON lines, or readable ones on a terminal.

    Where the environment variable CXR_NODE_LOG names a file, JSON lines are appended to that instead; several processes
    may share it. Whatever else could print what a process holds in memory is silenced: libraries, warnings, the hooks
    for exceptions that nobody caught, and core dumps.

    Parameters
    ----------
    role : str
        Which part of the node this process is, e.g. ``"receive"``.

    Raises
    ------
    ConfigError
        When the file cannot be written to.
    """
    global _logger, _rate
    _rate = Rate(WINDOW_S)
    file = os.environ.get(FILE)
    renderer: Any = structlog.processors.JSONRenderer()
    if not file and sys.stderr.isatty():
        renderer = structlog.dev.ConsoleRenderer(pad_event_to=22)
    lines = _Lines(_file(Path(file)) if file else _stream(sys.stderr))
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper("iso", utc=True, key="time"),
            lambda _, __, event: {"role": role, **event},
            _declared_only,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: lines,
    )
    _logger = structlog.get_logger().bind()  # asked for anew for each line, it would be a quarter of what a line costs
    _silence_libraries()
    sys.excepthook, threading.excepthook, sys.unraisablehook = failed, _thread_died, _unraisable
    leave_no_core()


def _file(path: Path) -> Callable[[str], object]:
    try:
        file = RollingFile(path, FILE_BYTES, FILES_KEPT)
    except OSError as error:
        raise ConfigError(
            f"the log {path} cannot be written ({error.strerror}). Change {FILE}, or its rights."
        ) from None
    return lambda line: file.append(line.encode("utf-8", "backslashreplace"))


def _stream(stream: Any) -> Callable[[str], object]:
    def write(line: str) -> None:
        stream.write(line)
        stream.flush()

    return write


def _silence_libraries() -> None:
    logging.root.handlers = [_WithheldText(logging.ERROR)]
    logging.raiseExceptions = False  # a handler that fails would print the record that it failed at
    for name in ("pynetdicom", "pydicom"):
        withhold(name)
    # pydicom warns of odd values with the values in the text.
    warnings.simplefilter("ignore")


def leave_no_core() -> None:
    """Have the system keep no image of this process's memory where it crashes: it holds patients' data.

    A limit of 1, for 0 leaves out files alone: a program that the system pipes dumps to gets them unless the limit is 1
    (Linux, fs/coredump.c), and no file is written below the size of a page.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    limit = 1 if hard == resource.RLIM_INFINITY else min(1, hard)
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


class Outlived:
    """A context whose faults, those that nobody foresaw, are logged by class and place and go no further.

    For the work of a thread that must not end, where what failed can be done again or dropped.

    Parameters
    ----------
    name : str
        The event that a fault makes.
    **fields
        Its fields besides ``error`` and ``reason``.

    Attributes
    ----------
    failed : bool
        Whether there was a fault.
    """

    def __init__(self, name: str, **fields: Any) -> None:
        self._name, self._fields = name, fields
        self.failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.failed = kind is not None and issubclass(kind, Exception)
        if self.failed and kind is not None:
            alarm(self._name, error=kind.__name__, reason=_place(trace), **self._fields)
        return self.failed


def withhold(library: str) -> None:
    """Take away the handlers that a library gave its logger, so that only `_WithheldText` hears it."""
    logger = logging.getLogger(library)
    logger.handlers, logger.propagate = [], True
    logger.setLevel(logging.ERROR)


def withhold_all() -> None:
    """Take away the handlers that any library has given itself by now, such as TensorFlow's once it is imported."""
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and logger.handlers:
            withhold(name)


def event(name: str, **fields: Any) -> None:
    """Log an event.

    Parameters
    ----------
    name : str
        ``noun.past_participle``, e.g. ``"instance.stored"``.
    **fields
        Names from `FIELDS`; others are withheld.
    """
    _say("info", name, EVENTS, fields)


def alarm(name: str, **fields: Any) -> None:
    """Log an event that a person should look at."""
    _say("warning", name, ALARMS, fields)


def repeated(name: str, kind: str, **fields: Any) -> None:
    """Log an alarm that a peer can set off as often as it likes: few a minute, the rest counted.

    Parameters
    ----------
    name : str
        The event.
    kind : str
        One of few: alarms of one name and kind count together.
    **fields
        As of `event`.
    """
    _say("warning", name, REPEATED, fields, (kind,))


def tell_held_back(at_once: bool = False) -> None:
    """Log how many lines were held back; done by itself before other lines, and to be done now and then where there are none.

    Parameters
    ----------
    at_once : bool
        Also of the minute that has not ended: at the end of a process.
    """
    for (name, *kind), count in _rate.held_back(at_once):
        _logger.warning("lines.held_back", held=name, reason="/".join(filter(None, kind)), count=count)


def _say(level: str, name: str, limit: int, fields: dict[str, Any], kind: tuple[str, ...] | None = None) -> None:
    """Write a line, unless there were too many of its kind in this minute."""
    tell_held_back()
    if kind is None:
        kind = tuple(str(fields.get(each, "")) for each in KIND_FIELDS)
    if _rate.admits((name, *kind), limit):
        getattr(_logger, level)(name, **{field: value for field, value in fields.items() if value is not None})


_rate = Rate(WINDOW_S)
_logger: Any = structlog.get_logger()


@contextlib.contextmanager
def native_notes_held_back() -> Iterator[None]:
    """Keep back what native code writes to standard error meanwhile, and show it only if something goes wrong.

    TensorFlow greets with notes on the processor and on drivers that no setting of its own turns off (2.21).
    """
    sys.stderr.flush()
    kept, went_well = os.dup(2), False
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
            went_well = True
        finally:
            os.dup2(kept, 2)
            if not went_well:
                notes.seek(0)
                os.write(2, notes.read())
            os.close(kept)
