"""One line an event, of declared fields only, so that no patient's data can slip into a log.

Events are ``noun.past_participle``. A study is spoken of by its key in the spool, never by a UID or a name. Lines of
libraries, and exceptions that nobody caught, are named but their text is withheld: pydicom and pynetdicom print
attribute values.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog
from structlog.typing import EventDict, WrappedLogger

FILE = "CXR_NODE_LOG"
FIELDS = {
    *("event", "level", "time", "role", "error", "reason", "count", "ms", "bytes", "wait_s", "logger"),
    *("study", "generation", "kind", "images", "read", "triage", "verb", "attempt", "results", "status"),
    *("destination", "ae_title", "host", "port", "calling", "address"),
    *("model", "device", "weights", "process", "code", "state"),
}


def _declared_only(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Drop every field that is not declared, and say how many were dropped."""
    kept = {name: value for name, value in event.items() if name in FIELDS}
    if len(kept) < len(event):
        kept["withheld"] = len(event) - len(kept)
    return kept


class _WithheldText(logging.Handler):
    """Report that a library logged something, without its text."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        fields: dict[str, Any] = {"logger": record.name, "error": error}
        structlog.get_logger().log(
            record.levelno, "library.logged", **{name: value for name, value in fields.items() if value}
        )


def failed(kind: type[BaseException], _: BaseException | None, trace: TracebackType | None) -> None:
    """Log an exception that ends the process by its class and its place; a hook for ``sys.excepthook``."""
    alarm("process.failed", error=kind.__name__, reason=_place(trace))


def _thread_died(fate: threading.ExceptHookArgs) -> None:
    if fate.exc_type is not SystemExit:
        alarm("thread.died", error=fate.exc_type.__name__, reason=_place(fate.exc_traceback))


def _place(trace: TracebackType | None) -> str:
    """Return the file and line in which an exception was raised."""
    return ", ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(trace)[-1:])


def open_log(role: str) -> None:
    """Send this process's events to standard error: JSON lines, or readable ones on a terminal.

    Where the environment variable CXR_NODE_LOG names a file, JSON lines are appended to that instead.

    Parameters
    ----------
    role : str
        Which part of the node this process is, e.g. ``"receive"``.
    """
    renderer: Any = structlog.processors.JSONRenderer()
    file = os.environ.get(FILE)
    stream = Path(file).open("a", encoding="utf-8") if file else sys.stderr  # noqa: SIM115 (open for the process's life)
    if stream.isatty():
        renderer = structlog.dev.ConsoleRenderer(pad_event_to=22)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper("iso", utc=True, key="time"),
            lambda _, __, event: {"role": role, **event},
            _declared_only,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    logging.root.handlers = [_WithheldText(logging.ERROR)]
    for name in ("dbos", "pynetdicom", "pydicom"):
        withhold(name)
    sys.excepthook, threading.excepthook = failed, _thread_died
    # pydicom warns of odd values with the values in the text.
    warnings.simplefilter("ignore")


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


def event(name: str, **fields: Any) -> None:
    """Log an event.

    Parameters
    ----------
    name : str
        ``noun.past_participle``, e.g. ``"instance.stored"``.
    **fields
        Names from `FIELDS`; others are withheld.
    """
    structlog.get_logger().info(name, **fields)


def alarm(name: str, **fields: Any) -> None:
    """Log an event that a person should look at."""
    structlog.get_logger().warning(name, **fields)


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
