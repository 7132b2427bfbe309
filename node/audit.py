"""Audit records: who brought, fetched, looked at and decided on which study, who was turned away, and when the node ran.

``opened`` begins the trail of one process; without it, and where the configuration names nowhere to send records to,
everything here does nothing. Nothing waits for a record to be written, and none that cannot be written stops a study:
records wait in a bounded queue, and what is lost is counted and alarmed.

References
----------
DICOM PS3.15 A.5 (messages; A.5.1 the schema; A.5.3.1, A.5.3.6, A.5.3.7, A.5.3.11 and A.5.3.12 those used here), A.6
(transport).
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
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
from xml.etree.ElementTree import Element, SubElement

from node import log, syslog
from node.config import Destination, Settings
from node.errors import ConfigError
from node.product import PRIVATE_SCHEME
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
WITHHELD = "withheld"

Code = tuple[str, str, str]
_DCM = "DCM"
APPLICATION_ACTIVITY: Code = ("110100", _DCM, "Application Activity")
APPLICATION_START: Code = ("110120", _DCM, "Application Start")
APPLICATION_STOP: Code = ("110121", _DCM, "Application Stop")
INSTANCES_ACCESSED: Code = ("110103", _DCM, "DICOM Instances Accessed")
INSTANCES_TRANSFERRED: Code = ("110104", _DCM, "DICOM Instances Transferred")
SECURITY_ALERT: Code = ("110113", _DCM, "Security Alert")
USER_AUTHENTICATION: Code = ("110114", _DCM, "User Authentication")
LOGIN: Code = ("110122", _DCM, "Login")
LOGOUT: Code = ("110123", _DCM, "Logout")
NODE_AUTHENTICATION: Code = ("110126", _DCM, "Node Authentication")
APPLICATION: Code = ("110150", _DCM, "Application")
DESTINATION: Code = ("110152", _DCM, "Destination Role ID")
SOURCE: Code = ("110153", _DCM, "Source Role ID")
STUDY_INSTANCE_UID: Code = ("110180", _DCM, "Study Instance UID")
NODE_ID: Code = ("110182", _DCM, "Node ID")
PATIENT_NUMBER: Code = ("2", "RFC-3881", "Patient Number")
# In place of the UID where identifiers are not to be told: the study's name in spool, log and status page.
STUDY_KEY: Code = ("STUDY_KEY", PRIVATE_SCHEME, "Digest of the Study Instance UID")

SUCCESS, MINOR_FAILURE, SERIOUS_FAILURE = "0", "4", "8"
_CREATE, _READ, _UPDATE, _EXECUTE = "C", "R", "U", "E"


@dataclass(frozen=True, slots=True)
class Study:
    """Which study instances belong to.

    Parameters
    ----------
    key : str
        Its key in the spool.
    uid, patient_id : str
        They are recorded where the configuration says so, and nowhere else.
    """

    key: str
    uid: str = ""
    patient_id: str = ""


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
    outcome = SERIOUS_FAILURE
    try:
        _trail.record(_activity(_trail, APPLICATION_START, SUCCESS))
        yield
        outcome = SUCCESS
    except SystemExit:
        outcome = SUCCESS
        raise
    finally:
        _trail.tell_held_back(at_once=True)
        _trail.record(_activity(_trail, APPLICATION_STOP, outcome))
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
            _trail.record(_alert(_trail, reason, address, calling), syslog.WARNING)


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
        other = _Node(destination.ae_title, destination.host)
        _trail.record(_transferred(_trail, _READ, _trail.own, other, study, sop_classes))


def logged_in(address: str, succeeded: bool) -> None:
    """Record that somebody logged in at the status page, or tried to with a wrong password; floods are cut short.

    Parameters
    ----------
    address : str
        IP address of the browser, or of the proxy before the page.
    succeeded : bool
    """
    if _trail and _trail.rate.admits(("login" if succeeded else "login with a wrong password",), ALERTS):
        outcome = SUCCESS if succeeded else MINOR_FAILURE
        _trail.record(_authenticated(_trail, LOGIN, outcome, address), syslog.NOTICE if succeeded else syslog.WARNING)


def logged_out(address: str) -> None:
    """Record that somebody logged out."""
    if _trail:
        _trail.record(_authenticated(_trail, LOGOUT, SUCCESS, address))


def looked_at(address: str, study: Study) -> None:
    """Record that films of a study were shown on the status page.

    Parameters
    ----------
    address : str
        IP address of the browser, or of the proxy before the page.
    study : Study
    """
    if _trail:
        _trail.record(_accessed(_trail, address, study))


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
        _trail.record(_decided(_trail, what, by, study))


def study_of(key: str, instance: Path | None) -> Study:
    """Return which study an instance belongs to; it is opened only where records name studies by their own UIDs."""
    if _trail is None or not _trail.is_plain or instance is None:
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
        other = _Node(association.requestor.ae_title, association.requestor.address)
        for arrived in studies.values():
            for action, counts in ((_CREATE, arrived.new), (_READ, arrived.held)):
                if counts:
                    trail.record(_transferred(trail, action, other, trail.own, arrived.study, counts))


@dataclass(frozen=True, slots=True)
class _Node:
    """One side of a transfer."""

    ae_title: str
    address: str
    user: str = ""


class _Trail:
    """Where the records of this process go."""

    def __init__(self, settings: Settings, role: str, outlets: list[_Outlet]) -> None:
        self.own = _Node(settings.listen.ae_title, syslog.host_name(), str(os.getpid()))
        self.role, self.is_plain = role, settings.audit.identifiers == "plain"
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
            self.record(_alert(self, f"{reason}: {count} more in a minute", "", ""), syslog.WARNING)

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


def _activity(trail: _Trail, kind: Code, outcome: str) -> Element:
    """Return an Application Activity message (PS3.15 A.5.3.1)."""
    root = _message(APPLICATION_ACTIVITY, _EXECUTE, outcome, kind)
    _participant(root, trail.own, APPLICATION, is_requestor=False, name=f"cxr-node {trail.role}")
    _source(root, trail)
    return root


def _transferred(
    trail: _Trail, action: str, sender: _Node, receiver: _Node, study: Study, sop_classes: Mapping[str, int]
) -> Element:
    """Return a DICOM Instances Transferred message (PS3.15 A.5.3.7); who sends by C-STORE is who asked for it."""
    root = _message(INSTANCES_TRANSFERRED, action, SUCCESS)
    _participant(root, sender, SOURCE, is_requestor=True)
    _participant(root, receiver, DESTINATION, is_requestor=False)
    _source(root, trail)
    _about(root, trail, study, sop_classes)
    return root


def _accessed(trail: _Trail, address: str, study: Study) -> Element:
    """Return a DICOM Instances Accessed message (PS3.15 A.5.3.6)."""
    root = _message(INSTANCES_ACCESSED, _READ, SUCCESS)
    _participant(root, _Node("", address), None, is_requestor=True)
    _participant(root, trail.own, APPLICATION, is_requestor=False)
    _source(root, trail)
    _about(root, trail, study, {})
    return root


def _decided(trail: _Trail, what: str, by: str, study: Study) -> Element:
    """Return a DICOM Instances Accessed message (PS3.15 A.5.3.6): the results stay as they are, where they stand is updated."""
    root = _message(INSTANCES_ACCESSED, _UPDATE, SUCCESS)
    _participant(root, _Node("", trail.own.address, by), None, is_requestor=True)
    _participant(root, trail.own, APPLICATION, is_requestor=False)
    _source(root, trail)
    _about(root, trail, study, {}, decision=what)
    return root


def _authenticated(trail: _Trail, kind: Code, outcome: str, address: str) -> Element:
    """Return a User Authentication message (PS3.15 A.5.3.12); the page knows one password and no names."""
    root = _message(USER_AUTHENTICATION, _EXECUTE, outcome, kind)
    _participant(root, _Node("", address), None, is_requestor=True)
    _participant(root, trail.own, APPLICATION, is_requestor=False)
    _source(root, trail)
    return root


def _about(
    root: Element, trail: _Trail, study: Study, sop_classes: Mapping[str, int], decision: str | None = None
) -> None:
    """Add the study that a message is about, what was decided of it, and its patient."""
    named = (STUDY_INSTANCE_UID, study.uid) if trail.is_plain else (STUDY_KEY, study.key)
    about = _object(root, "2", "3", *named, study.key)
    if decision:
        _detail(about, "Decision", decision)
    description = SubElement(about, "ParticipantObjectDescription")
    for uid, count in sorted(sop_classes.items()):
        SubElement(description, "SOPClass", UID=_text(uid), NumberOfInstances=str(count))
    # The Standard wants the patient named. Where the configuration does not, the place is kept and says so.
    _object(root, "1", "1", PATIENT_NUMBER, (trail.is_plain and study.patient_id) or WITHHELD, WITHHELD)


def _alert(trail: _Trail, reason: str, address: str, calling: str) -> Element:
    """Return a Security Alert message for a caller that was rejected (PS3.15 A.5.3.11); that it was, mended the matter."""
    root = _message(SECURITY_ALERT, _EXECUTE, MINOR_FAILURE, NODE_AUTHENTICATION)
    _participant(root, trail.own, APPLICATION, is_requestor=True)
    if address:
        _participant(root, _Node(calling, address), None, is_requestor=False)
    _source(root, trail)
    about = _object(root, "2", "13", NODE_ID, address or trail.own.address, calling or "unknown")
    _detail(about, "Alert Description", reason)
    return root


def _message(event: Code, action: str, outcome: str, kind: Code | None = None) -> Element:
    root = Element("AuditMessage")
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    named = {"EventActionCode": action, "EventDateTime": moment, "EventOutcomeIndicator": outcome}
    identification = SubElement(root, "EventIdentification", named)
    _code(identification, "EventID", event)
    if kind:
        _code(identification, "EventTypeCode", kind)
    return root


def _participant(root: Element, node: _Node, role: Code | None, is_requestor: bool, name: str = "") -> None:
    named = {"UserID": node.user or node.address}
    if node.ae_title:
        named["AlternativeUserID"] = f"AETITLES={node.ae_title}"  # PS3.15 A.5.2.2
    if name:
        named["UserName"] = name
    named["UserIsRequestor"] = str(is_requestor).lower()
    named["NetworkAccessPointID"] = node.address
    named["NetworkAccessPointTypeCode"] = "2" if _is_ip(node.address) else "1"
    participant = SubElement(root, "ActiveParticipant", {key: _text(value) for key, value in named.items()})
    if role:
        _code(participant, "RoleIDCode", role)


def _source(root: Element, trail: _Trail) -> None:
    """Say who reports: an application server (PS3.15 A.5.1.2.1)."""
    source = f"{trail.own.ae_title}@{trail.own.address}"
    identification = SubElement(root, "AuditSourceIdentification", AuditSourceID=_text(source))
    SubElement(identification, "AuditSourceTypeCode", {"csd-code": "4"})


def _object(root: Element, kind: str, role: str, id_code: Code, identifier: str, name: str) -> Element:
    """Add what the event was about; newer editions of the schema may go without a name, older ones demand it."""
    named = {
        "ParticipantObjectID": identifier,
        "ParticipantObjectTypeCode": kind,
        "ParticipantObjectTypeCodeRole": role,
    }
    about = SubElement(root, "ParticipantObjectIdentification", {key: _text(value) for key, value in named.items()})
    _code(about, "ParticipantObjectIDTypeCode", id_code)
    SubElement(about, "ParticipantObjectName").text = _text(name)
    return about


def _detail(parent: Element, kind: str, value: str) -> None:
    SubElement(parent, "ParticipantObjectDetail", type=kind, value=base64.b64encode(value.encode()).decode())


def _code(parent: Element, name: str, code: Code) -> None:
    value, scheme, meaning = code
    SubElement(parent, name, {"csd-code": value, "codeSystemName": scheme, "originalText": meaning})


def _text(value: str) -> str:
    """Return a value without what XML cannot hold, and without what would end a line (XML 1.0, 2.2)."""
    return "".join(character if character.isprintable() else "?" for character in value)


def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True
