"""Audit records: who brought, fetched, looked at and decided on which study, who was turned away, and when the node ran.

``opened`` begins the trail of one process; without it, and where the configuration names nowhere to send records to,
everything here does nothing. Nothing waits for a record to be written, and none that cannot be written stops a study:
records wait in a bounded queue, and what is lost is counted and alarmed.

References
----------
DICOM PS3.15 A.5 (messages: `node.audit_message`), A.6 (transport).
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from node import audit_message, log, syslog
from node.audit_message import Node, Reporter, Study
from node.config import Destination, Settings
from node.errors import ConfigError, ReleaseError
from node.rate import Rate
from node.rolling import RollingFile

# About a million records.
FILE_BYTES, FILES_KEPT = 32 << 20, 31
# So many records wait for a receiver that is away, and it is tried again after 1, 2, 4 ... 30 s.
WAITING, LONGEST_PAUSE_S = 10_000, 30.0
# At the end of a process, what waits gets this long.
LAST_RECORDS_S = 3.0
# Callers can be turned away as often as they like: so many a minute are recorded each, the others together.
ALERTS, WINDOW_S = 60, 60.0
# Records of one association are not put off beyond so many studies.
STUDIES_PUT_OFF = 200


@contextlib.contextmanager
def opened(settings: Settings, role: str) -> Iterator[None]:
    """Keep the trail of this process: record its start, and at the end how it ended.

    Parameters
    ----------
    settings : Settings
    role : str

    Raises
    ------
    ConfigError
        When the file cannot be written to, or a certificate cannot be used.
    """
    global _trail
    outlets = _outlets(settings)
    if not outlets:
        yield
        return
    _trail = _Trail(settings, role, outlets)
    outcome = audit_message.SERIOUS_FAILURE
    try:
        _trail.record(audit_message.activity(_trail.reporter, audit_message.APPLICATION_START, audit_message.SUCCESS))
        yield
        outcome = audit_message.SUCCESS
    except SystemExit:
        outcome = audit_message.SUCCESS
        raise
    except ReleaseError:  # what a person asked for cannot be done, and the program is well
        outcome = audit_message.MINOR_FAILURE
        raise
    finally:
        _trail.tell_held_back(at_once=True)
        _trail.record(audit_message.activity(_trail.reporter, audit_message.APPLICATION_STOP, outcome))
        _trail.close()
        _trail = None


def turned_away(address: str, calling: str, reason: str) -> None:
    """Record that a caller was rejected for what it is: its AE titles, its address, or its certificate.

    Parameters
    ----------
    address : str
        IP address.
    calling : str
        Calling AE title; empty where none is known yet.
    reason : str
        One of few.
    """
    if _trail:
        _trail.tell_held_back()
        if _trail.rate.admits((reason,), ALERTS):
            _trail.record(audit_message.alert(_trail.reporter, reason, address, calling), syslog.WARNING)


def tell_held_back() -> None:
    """Record how many callers were turned away without a record of their own, once a minute has passed."""
    if _trail:
        _trail.tell_held_back()


def sent(destination: Destination, study: Study, sop_classes: Mapping[str, int]) -> None:
    """Record that a destination has taken results.

    Parameters
    ----------
    destination : Destination
    study : Study
    sop_classes : mapping of str to int
        How many instances of each SOP Class UID.
    """
    if _trail:
        reporter, other = _trail.reporter, Node(destination.ae_title, destination.host)
        message = audit_message.transferred(reporter, audit_message.READ, reporter.own, other, study, sop_classes)
        _trail.record(message)


def logged_in(address: str, succeeded: bool) -> None:
    """Record that somebody logged in at the status page, or tried to with a wrong password; floods are cut short.

    Parameters
    ----------
    address : str
        IP address of the browser, or of the proxy before the page.
    succeeded : bool
    """
    if _trail and _trail.rate.admits(("login" if succeeded else "login with a wrong password",), ALERTS):
        outcome = audit_message.SUCCESS if succeeded else audit_message.MINOR_FAILURE
        message = audit_message.authenticated(_trail.reporter, audit_message.LOGIN, outcome, address)
        _trail.record(message, syslog.NOTICE if succeeded else syslog.WARNING)


def logged_out(address: str) -> None:
    """Record that somebody logged out."""
    if _trail:
        logout = audit_message.LOGOUT, audit_message.SUCCESS
        _trail.record(audit_message.authenticated(_trail.reporter, *logout, address))


def looked_at(address: str, study: Study) -> None:
    """Record that films of a study were shown on the status page.

    Parameters
    ----------
    address : str
        IP address of the browser, or of the proxy before the page.
    study : Study
    """
    if _trail:
        _trail.record(audit_message.accessed(_trail.reporter, address, study))


def decided(what: str, by: str, study: Study) -> None:
    """Record that a person had the results of a study sent, or kept from being sent.

    Parameters
    ----------
    what : {"release", "withhold"}
    by : str
        Who, as far as that is known.
    study : Study
    """
    if _trail:
        _trail.record(audit_message.decided(_trail.reporter, what, by, study))


def study_of(key: str, instance: Path | None) -> Study:
    """Return which study an instance belongs to; it is opened only where records name studies by their own UIDs."""
    if _trail is None or not _trail.reporter.is_plain or instance is None:
        return Study(key)
    from pydicom import dcmread  # late: the receiver chooses what pydicom brings along

    header = dcmread(instance, stop_before_pixels=True, specific_tags=["StudyInstanceUID", "PatientID"])
    return Study(key, str(header.StudyInstanceUID), str(header.get("PatientID", "")))


@dataclass(slots=True)
class _Arrived:
    """What one association has brought of one study."""

    study: Study
    new: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)


class Arrivals:
    """What associations bring, recorded by study at the end of each; safe to use from many threads.

    One record an association and study, not one an instance: that is what the Standard's message is made for, and a CT
    would make a thousand. New instances and those that were held already take a record each.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._arrived: dict[int, dict[str, _Arrived]] = {}

    def stored(self, association: Any, study: Study, sop_class_uid: str, is_new: bool) -> None:
        """Note an instance that was answered with Success."""
        if not _trail:
            return
        with self._lock:
            studies = self._arrived.setdefault(id(association), {})
            arrived = studies.setdefault(study.key, _Arrived(study))
            (arrived.new if is_new else arrived.held)[sop_class_uid] += 1
            is_full = len(studies) > STUDIES_PUT_OFF
        if is_full:
            self.ended(association)

    def ended(self, association: Any) -> None:
        """Record what an association has brought since the last record; a second call does nothing."""
        with self._lock:
            studies = self._arrived.pop(id(association), {})
        trail = _trail
        if not trail:
            return
        other = Node(association.requestor.ae_title, association.requestor.address)
        for arrived in studies.values():
            for action, counts in ((audit_message.CREATE, arrived.new), (audit_message.READ, arrived.held)):
                if counts:
                    trail.record(
                        audit_message.transferred(
                            trail.reporter, action, other, trail.reporter.own, arrived.study, counts
                        )
                    )


class _Trail:
    """Where the records of this process go."""

    def __init__(self, settings: Settings, role: str, outlets: list[_Outlet]) -> None:
        own = Node(settings.listen.ae_title, syslog.host_name(), str(os.getpid()))
        self.reporter = Reporter(own, role, settings.audit.identifiers == "plain")
        self.rate = Rate(WINDOW_S)
        self._outlets = outlets

    def record(self, root: Element, severity: int = syslog.NOTICE) -> None:
        """Have a message written to every outlet."""
        content = ElementTree.tostring(root, "utf-8")
        for outlet in self._outlets:
            outlet.put(syslog.message(content, datetime.now(UTC), severity))

    def tell_held_back(self, at_once: bool = False) -> None:
        """Record how many callers were turned away without a record of their own."""
        for (reason,), count in self.rate.held_back(at_once):
            self.record(
                audit_message.alert(self.reporter, f"{reason}: {count} more in a minute", "", ""), syslog.WARNING
            )

    def close(self) -> None:
        """Write what waits, as far as that is possible in a few seconds."""
        deadline_s = time.monotonic() + LAST_RECORDS_S
        for outlet in self._outlets:
            outlet.close(deadline_s)


class _Outlet:
    """A queue of records and the thread that writes them, in their order, trying again what could not be written.

    Parameters
    ----------
    name : str
        For alarms.
    write : callable
        Takes one syslog message; may raise OSError.
    """

    def __init__(self, name: str, write: Callable[[bytes], None]) -> None:
        self._name, self._write = name, write
        self._queue: queue.Queue[bytes | None] = queue.Queue(WAITING)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"audit {name}", daemon=True)
        self._thread.start()

    def put(self, message: bytes) -> None:
        """Queue a record; where too many wait, it is lost."""
        try:
            self._queue.put_nowait(message)
        except queue.Full:
            log.alarm("audit.lost", destination=self._name, count=1)

    def close(self, deadline_s: float) -> None:
        """Give the thread until a monotonic time to write what waits; the rest is lost."""
        self._closing.set()
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(max(0.0, deadline_s - time.monotonic()))
        lost = sum(1 for message in list(self._queue.queue) if message)
        if lost:
            log.alarm("audit.lost", destination=self._name, count=lost)

    def _run(self) -> None:
        while True:
            message = self._queue.get()
            if message is None or not self._written(message):
                return

    def _written(self, message: bytes) -> bool:
        """Write a record, however often that takes; False where the process ends before."""
        pause_s = 1.0
        while True:
            with log.Outlived("audit.failed", destination=self._name) as attempt:
                self._write(message)
            if not attempt.failed:
                return True
            if self._closing.is_set():
                log.alarm("audit.lost", destination=self._name, count=1)
                return False
            self._closing.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


_trail: _Trail | None = None


def _outlets(settings: Settings) -> list[_Outlet]:
    """Return where records go by the configuration."""
    audit, found = settings.audit, []
    if audit.file:
        found.append(_Outlet("file", _file(audit.file)))
    if audit.syslog:
        found.append(_Outlet("syslog", _transport(settings).send))
    return found


def _file(path: Path) -> Callable[[bytes], None]:
    try:
        file = RollingFile(path, FILE_BYTES, FILES_KEPT)
    except OSError as error:
        raise ConfigError(
            f"audit.file: {path} cannot be written ({error.strerror}). Name another, or mend its rights."
        ) from None

    def write(message: bytes) -> None:
        dropped = file.append(message + b"\n")
        if dropped:
            log.alarm("audit.dropped", destination="file", count=dropped)

    return write


def _transport(settings: Settings) -> syslog.Transport:
    audit = settings.audit
    receiver = urlsplit(audit.syslog)
    assert receiver.hostname and receiver.port, "the configuration was checked"
    if audit.tls is None:
        return syslog.OverUDP(receiver.hostname, receiver.port)
    from node.tls.contexts import of_server  # late: only where records go by TLS

    tls = of_server("audit.tls", audit.tls, receiver.hostname)
    return syslog.OverTLS(receiver.hostname, receiver.port, tls.context, tls.server_name)
