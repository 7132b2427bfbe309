"""Audit messages as the Standard has them, in XML.

References
----------
DICOM PS3.15 A.5 (A.5.1 the schema; A.5.3.1, A.5.3.6, A.5.3.7, A.5.3.11 and A.5.3.12 those used here).
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree.ElementTree import Element, SubElement

from node.product import PRIVATE_SCHEME

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
CREATE, READ, UPDATE, EXECUTE = "C", "R", "U", "E"


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


@dataclass(frozen=True, slots=True)
class Node:
    """One side of a transfer."""

    ae_title: str
    address: str
    user: str = ""


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who records.

    Parameters
    ----------
    own : Node
        This process.
    role : str
        Its part of the node.
    is_plain : bool
        Whether studies and patients are named as the Standard has it.
    """

    own: Node
    role: str
    is_plain: bool


def activity(reporter: Reporter, kind: Code, outcome: str) -> Element:
    """Return an Application Activity message (PS3.15 A.5.3.1)."""
    root = _message(APPLICATION_ACTIVITY, EXECUTE, outcome, kind)
    _participant(root, reporter.own, APPLICATION, is_requestor=False, name=f"cxr-node {reporter.role}")
    _source(root, reporter)
    return root


def transferred(
    reporter: Reporter, action: str, sender: Node, receiver: Node, study: Study, sop_classes: Mapping[str, int]
) -> Element:
    """Return a DICOM Instances Transferred message (PS3.15 A.5.3.7); who sends by C-STORE is who asked for it."""
    root = _message(INSTANCES_TRANSFERRED, action, SUCCESS)
    _participant(root, sender, SOURCE, is_requestor=True)
    _participant(root, receiver, DESTINATION, is_requestor=False)
    _source(root, reporter)
    _about(root, reporter, study, sop_classes)
    return root


def accessed(reporter: Reporter, address: str, study: Study) -> Element:
    """Return a DICOM Instances Accessed message (PS3.15 A.5.3.6)."""
    root = _message(INSTANCES_ACCESSED, READ, SUCCESS)
    _participant(root, Node("", address), None, is_requestor=True)
    _participant(root, reporter.own, APPLICATION, is_requestor=False)
    _source(root, reporter)
    _about(root, reporter, study, {})
    return root


def decided(reporter: Reporter, what: str, by: str, study: Study) -> Element:
    """Return a DICOM Instances Accessed message (PS3.15 A.5.3.6): the results stay as they are, where they stand is updated."""
    root = _message(INSTANCES_ACCESSED, UPDATE, SUCCESS)
    _participant(root, Node("", reporter.own.address, by), None, is_requestor=True)
    _participant(root, reporter.own, APPLICATION, is_requestor=False)
    _source(root, reporter)
    _about(root, reporter, study, {}, decision=what)
    return root


def authenticated(reporter: Reporter, kind: Code, outcome: str, address: str) -> Element:
    """Return a User Authentication message (PS3.15 A.5.3.12); the page knows one password and no names."""
    root = _message(USER_AUTHENTICATION, EXECUTE, outcome, kind)
    _participant(root, Node("", address), None, is_requestor=True)
    _participant(root, reporter.own, APPLICATION, is_requestor=False)
    _source(root, reporter)
    return root


def _about(
    root: Element, reporter: Reporter, study: Study, sop_classes: Mapping[str, int], decision: str | None = None
) -> None:
    """Add the study that a message is about, what was decided of it, and its patient."""
    named = (STUDY_INSTANCE_UID, study.uid) if reporter.is_plain else (STUDY_KEY, study.key)
    about = _object(root, "2", "3", *named, study.key)
    if decision:
        _detail(about, "Decision", decision)
    description = SubElement(about, "ParticipantObjectDescription")
    for uid, count in sorted(sop_classes.items()):
        SubElement(description, "SOPClass", UID=_text(uid), NumberOfInstances=str(count))
    # The Standard wants the patient named. Where the configuration does not, the place is kept and says so.
    _object(root, "1", "1", PATIENT_NUMBER, (reporter.is_plain and study.patient_id) or WITHHELD, WITHHELD)


def alert(reporter: Reporter, reason: str, address: str, calling: str) -> Element:
    """Return a Security Alert message for a caller that was rejected (PS3.15 A.5.3.11); that it was, mended the matter."""
    root = _message(SECURITY_ALERT, EXECUTE, MINOR_FAILURE, NODE_AUTHENTICATION)
    _participant(root, reporter.own, APPLICATION, is_requestor=True)
    if address:
        _participant(root, Node(calling, address), None, is_requestor=False)
    _source(root, reporter)
    about = _object(root, "2", "13", NODE_ID, address or reporter.own.address, calling or "unknown")
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


def _participant(root: Element, node: Node, role: Code | None, is_requestor: bool, name: str = "") -> None:
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


def _source(root: Element, reporter: Reporter) -> None:
    """Say who reports: an application server (PS3.15 A.5.1.2.1)."""
    source = f"{reporter.own.ae_title}@{reporter.own.address}"
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
