"""A study's answer as an HL7 v2.5.1 message ORU^R01, sent by MLLP.

It names the patient and the order as the film does. It states no priority (OBR-5 and OBR-27 are empty), so an order keeps its
own; an answer that found something is marked abnormal (OBX-8), one that found nothing is not called normal; every result is
preliminary (P), for nobody has read it yet.

References
----------
HL7 v2.5.1 2.7 (escape sequences), 7.3.1 (ORU^R01); MLLP Release 1; table 0078 (abnormal flags), 0085 and 0123 (statuses).
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Message
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message

from node.codes import probability_of
from node.config_notify import HL7
from node.notices import Form
from node.notify.way import TIMEOUT_S, NotSent, why
from node.product import NAME, PRIVATE_SCHEME
from node.tls.contexts import of_server

_SECTION = "notify.hl7"
_BEGIN, _END = b"\x0b", b"\x1c\r"
_LONGEST_ANSWER = 1 << 16
_TAKEN = ("AA", "CA")
_ESCAPED = {"\\": r"\E", "|": r"\F", "^": r"\S", "~": r"\R", "&": r"\T"}
_SEXES = ("F", "M", "O")
_PRELIMINARY, _ABNORMAL = "P", "A"
_TEST = {"PatientID": "TEST-CXR-NODE", "PatientName": "TEST^CXR NODE"}


class ORUWay:
    """Sends messages to one receiver, each on a connection of its own.

    Parameters
    ----------
    hl7 : HL7
    """

    def __init__(self, hl7: HL7) -> None:
        self._hl7 = hl7

    def check(self) -> None:
        """Look at its files.

        Raises
        ------
        ConfigError
            When a certificate cannot be used.
        """
        if self._hl7.tls:
            of_server(f"{_SECTION}.tls", self._hl7.tls, self._hl7.host)

    def send(self, message: Form) -> None:
        """Send a message and wait for its acknowledgment.

        Raises
        ------
        NotSent, ConfigError
        """
        content = composed(message, self._hl7)
        try:
            with self._connected() as connection:
                connection.sendall(b"".join((_BEGIN, content.encode(), b"\r", _END)))
                answer = _answer(connection)
        except OSError as error:
            raise NotSent(f"{self._hl7.host} did not take it: {why(error)}") from None
        _be_taken(answer, control_id(message), self._hl7.host)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        with socket.create_connection((self._hl7.host, self._hl7.port), TIMEOUT_S) as plain:
            if self._hl7.tls is None:
                yield plain
                return
            tls = of_server(f"{_SECTION}.tls", self._hl7.tls, self._hl7.host)
            with tls.context().wrap_socket(plain, server_hostname=tls.server_name) as encrypted:
                yield encrypted


def control_id(message: Form) -> str:
    """Return MSH-10: the same at each attempt, so that a receiver may know a repeated message."""
    return str(message["id"])[:20]


def composed(message: Form, hl7: HL7) -> str:
    """Return a message as HL7 v2.5.1, held against the structure of ORU^R01.

    Parameters
    ----------
    message : dict
        Of a study, with ``header``; or a test, which is about no real patient.
    hl7 : HL7

    Raises
    ------
    NotSent
        Where a film lacks what such a message must have.
    """
    header = _TEST if message["kind"] == "test" else message["header"]
    if not header.get("PatientID"):
        raise NotSent("the film has no Patient ID, and no message can be about nobody")
    try:
        made = Message("ORU_R01", version="2.5.1", validation_level=VALIDATION_LEVEL.STRICT)
        _fill_header(made.msh, message, hl7)
        result = made.add_group("ORU_R01_PATIENT_RESULT")
        _fill_patient(result.add_group("ORU_R01_PATIENT").pid, header)
        _fill_observations(result.add_group("ORU_R01_ORDER_OBSERVATION"), message, header)
        made.validate()
        return str(made.to_er7())
    except HL7apyException as error:  # its text may hold a value of the film
        raise NotSent(f"the film's header makes no valid message ({type(error).__name__})") from None


def _fill_header(msh: Any, message: Form, hl7: HL7) -> None:
    msh.msh_3, msh.msh_4 = _escaped(message["node"]), hl7.sending_facility
    msh.msh_5, msh.msh_6 = hl7.receiving_application, hl7.receiving_facility
    msh.msh_7 = _moment(message["at"])
    msh.msh_9, msh.msh_10 = "ORU^R01^ORU_R01", control_id(message)
    msh.msh_11 = "T" if message["kind"] == "test" else "P"
    msh.msh_18 = "UNICODE UTF-8"


def _fill_patient(pid: Any, header: Form) -> None:
    pid.pid_1 = "1"
    pid.pid_3 = "^".join((_escaped(header["PatientID"]), "", "", _escaped(header.get("IssuerOfPatientID", "")), "PI"))
    pid.pid_5 = _name(header.get("PatientName", ""))
    pid.pid_7 = _digits(header.get("PatientBirthDate", ""), 8)
    pid.pid_8 = header["PatientSex"] if header.get("PatientSex") in _SEXES else ""


def _fill_observations(order: Any, message: Form, header: Form) -> None:
    obr, accession = order.obr, _escaped(header.get("AccessionNumber", ""))
    obr.obr_1, obr.obr_3, obr.obr_18 = "1", accession, accession
    obr.obr_4 = f"CXR_TRIAGE^{NAME}^{PRIVATE_SCHEME}"
    date = _digits(header.get("StudyDate", ""), 8)
    obr.obr_7 = date and f"{date}{_digits(header.get('StudyTime', '')[:6], 6)}"
    obr.obr_22 = _moment(message["at"])
    obr.obr_24, obr.obr_25 = "RAD", _PRELIMINARY
    order.nte.nte_1, order.nte.nte_3 = "1", _escaped(message["notice"])
    for number, (kind, identifier, value, flag) in enumerate(_observations(message), start=1):
        obx = order.add_group("ORU_R01_OBSERVATION").obx
        obx.obx_1, obx.obx_2, obx.obx_3, obx.obx_5 = str(number), kind, identifier, value
        obx.obx_8, obx.obx_11 = flag, _PRELIMINARY
        obx.obx_14 = _moment(str(message.get("done", message["at"])))


def _observations(message: Form) -> Iterator[tuple[str, str, str, str]]:
    """Yield (value type, identifier, value, abnormal flag) of each observation."""
    flag = _ABNORMAL if message.get("answer") in ("urgent", "flagged") else ""
    yield "ST", f"ANSWER^Answer of the AI^{PRIVATE_SCHEME}", _escaped(message["summary"]), flag
    for label, probability in message.get("probabilities", {}).items():
        code = probability_of(label)
        yield "NM", f"{code.value}^{code.meaning}^{PRIVATE_SCHEME}", f"{probability:.4f}", ""
    for warning in message.get("warnings", ()):
        yield "ST", f"WARNING^Warning about the film^{PRIVATE_SCHEME}", _escaped(warning.replace("_", " ").lower()), ""
    if uid := message.get("study_instance_uid"):
        yield "ST", "110180^Study Instance UID^DCM", _escaped(uid), ""


def _name(name: str) -> str:
    """Return a DICOM person name (PS3.5 6.2.1: family, given, middle, prefix, suffix) as XPN, which swaps the last two."""
    parts = [_escaped(part.strip()) for part in name.partition("=")[0].split("^")]
    family, given, middle, prefix, suffix = (*parts, "", "", "", "", "")[:5]
    return "^".join((family, given, middle, suffix, prefix)).rstrip("^")


def _escaped(value: str) -> str:
    """Return text with what separates fields, components and lines made harmless (HL7 v2.5.1 2.7.1)."""
    return "".join(f"{_ESCAPED[each]}\\" if each in _ESCAPED else each if each.isprintable() else " " for each in value)


def _digits(value: str, count: int) -> str:
    return value if re.fullmatch(rf"[0-9]{{{count}}}", value) else ""


def _moment(iso: str) -> str:
    return f"{datetime.fromisoformat(iso).astimezone(UTC):%Y%m%d%H%M%S}+0000"


def _answer(connection: socket.socket) -> bytes:
    """Read up to the end of a block, for no longer than an answer may take."""
    deadline_s, answer = time.monotonic() + TIMEOUT_S, b""
    while _END not in answer:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        connection.settimeout(left_s)
        part = connection.recv(4096)
        answer += part
        if not part or len(answer) > _LONGEST_ANSWER:
            raise ConnectionAbortedError(None, "no acknowledgment came")
    return answer


def _be_taken(answer: bytes, control: str, host: str) -> None:
    """Raise NotSent unless an acknowledgment says that this very message was taken. Its texts may name the patient."""
    content = answer.partition(_BEGIN)[2].partition(_END)[0].decode("utf-8", "replace")
    try:
        acknowledgment = parse_message(content)
        code, about = acknowledgment.msa.msa_1.value, acknowledgment.msa.msa_2.value
    except HL7apyException:
        raise NotSent(f"{host} answered with something that is no HL7 acknowledgment") from None
    if code not in _TAKEN or about != control:
        known = code if code in ("AE", "AR", "CE", "CR", *_TAKEN) else "no known code"
        raise NotSent(f"{host} acknowledged with {known}{'' if about == control else ', of another message'}")
