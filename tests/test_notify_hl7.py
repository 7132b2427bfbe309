"""An answer reaches a real MLLP receiver as a valid ORU^R01 that another library reads, and lowers no priority."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from pydicom import dcmread

from node.config_notify import HL7, Receiver
from node.errors import Reason
from node.journey import Journey
from node.notices import Box, of_test
from node.notify.oru import ORUWay, composed
from node.notify.postman import Round
from node.notify.way import NotSent
from node.product import NOTICE
from node.study import Triage
from tests.filled import PATIENT, FilledSpool, settings_for
from tests.inboxes import engine, silence
from tests.peers import HOST, free_port
from tests.pki import EXPIRED, Authority
from tests.scp import raw_server

TO = {"host": "localhost", "sending_facility": "RAD", "receiving_application": "RIS", "receiving_facility": "HOSPITAL"}


def receiver(port: int, **more: Any) -> Receiver:
    return Receiver(
        name="oncall", hl7=HL7(**TO, port=port, **more), identifiers="plain", about=("urgent", "flagged", "not_flagged")
    )


@pytest.fixture
def noted(tmp_path: Path) -> Any:
    """Have a study read and posted, and give the message that is noted of it."""
    filled = FilledSpool(tmp_path / "spool")

    def note(triage: Triage = Triage.URGENT, **read: Any) -> dict[str, Any]:
        settings = settings_for(tmp_path, notify=(receiver(2575),))
        task = filled.read(triage, **read)
        Journey(settings, filled.spool, cast(Any, None), cast(Any, None), {}).post(task)
        (notice,) = Box(filled.spool.folder).waiting("oncall")
        Box(filled.spool.folder).sent(notice)
        header = dcmread(next(filled.spool.study_folder(task.study_key).glob("*.dcm")))
        return notice.message | {"expected_uid": str(header.StudyInstanceUID)}

    return note


def test_an_urgent_answer_arrives_as_a_message_about_the_patient_and_the_order(noted: Any) -> None:
    message = noted()
    with engine() as kept:
        ORUWay(receiver(kept.port).hl7).send(message)
    (got,) = kept.messages
    parse_message(str(got), validation_level=VALIDATION_LEVEL.STRICT).validate()
    assert [str(got["MSH.3"]), str(got["MSH.4"]), str(got["MSH.5"]), str(got["MSH.6"])] == [
        "CXRTRIAGE",
        "RAD",
        "RIS",
        "HOSPITAL",
    ]
    assert (str(got.segment("MSH")[9]), str(got["MSH.10"]), str(got["MSH.11"])) == (
        "ORU^R01^ORU_R01",
        message["id"][:20],
        "P",
    )
    assert got.extract_field("PID", 1, 3, 1, 1) == PATIENT["PatientID"]
    assert [got.extract_field("PID", 1, 5, 1, part) for part in (1, 2)] == PATIENT["PatientName"].split("^")
    assert str(got["PID.7"]) == PATIENT["PatientBirthDate"]
    assert str(got["OBR.3"]) == PATIENT["AccessionNumber"]
    observed = {str(segment[3]).split("^")[0]: str(segment[5]) for segment in got.segments("OBX")}
    assert observed["ANSWER"] == "URGENT: Tuberculosis"
    assert observed["PROBABILITY_TB"] == "0.9130"
    assert observed["110180"] == message["expected_uid"]
    assert NOTICE in str(got["NTE.3"])


@pytest.mark.parametrize("triage", [Triage.URGENT, Triage.FLAGGED, Triage.NOT_FLAGGED])
def test_no_message_states_a_priority_or_calls_a_film_normal(noted: Any, triage: Triage) -> None:
    with engine() as kept:
        ORUWay(receiver(kept.port).hl7).send(noted(triage))
    (got,) = kept.messages
    obr = got.segment("OBR")
    assert [str(obr[number]) for number in (5, 25)] == ["", "P"]
    assert len(obr) <= 27 or not str(obr[27])
    assert "TQ1" not in str(got)
    flags = {str(segment[8]) for segment in got.segments("OBX")}
    assert flags == ({"A", ""} if triage in (Triage.URGENT, Triage.FLAGGED) else {""})
    assert {str(segment[11]) for segment in got.segments("OBX")} == {"P"}


def test_what_the_header_says_makes_no_other_segment_or_field(noted: Any) -> None:
    message = noted()
    message["header"] |= {
        "PatientName": "O|Neil & Sons\\X\r\nPID|2^Jo~hn^^Dr^Jr=ideographic",
        "PatientID": "1|2^3&4~5\\6",
        "PatientBirthDate": "1947|",
        "PatientSex": "M|F",
        "AccessionNumber": "A\rOBX|9",
    }
    with engine() as kept:
        ORUWay(receiver(kept.port).hl7).send(message)
    (got,) = kept.messages
    assert len(list(got.segments("PID"))) == 1
    assert got.extract_field("PID", 1, 3, 1, 1) == "1|2^3&4~5\\6"
    name = [got.extract_field("PID", 1, 5, 1, part) for part in range(1, 6)]
    assert name == ["O|Neil & Sons\\X  PID|2", "Jo~hn", "", "Jr", "Dr"]
    assert [str(got[f"PID.{number}"]) for number in (7, 8)] == ["", ""]
    assert str(got["OBR.3"]) == "A OBX|9"


def test_a_film_without_a_patient_id_makes_no_message(noted: Any) -> None:
    message = noted()
    message["header"]["PatientID"] = ""
    with engine() as kept, pytest.raises(NotSent, match="no Patient ID"):
        ORUWay(receiver(kept.port).hl7).send(message)
    assert kept.messages == []


def test_a_test_message_is_marked_as_training_and_is_about_no_real_patient(tmp_path: Path) -> None:
    with engine() as kept:
        ORUWay(receiver(kept.port).hl7).send(of_test(settings_for(tmp_path)))
    (got,) = kept.messages
    assert (str(got["MSH.11"]), got.extract_field("PID", 1, 3, 1, 1)) == ("T", "TEST-CXR-NODE")


@pytest.mark.parametrize(
    ("code", "about", "words"),
    [("AE", "", "acknowledged with AE"), ("AR", "", "acknowledged with AR"), ("AA", "999", "AA, of another message")],
)
def test_a_message_counts_as_taken_where_it_is_acknowledged_itself(
    noted: Any, code: str, about: str, words: str
) -> None:
    message = noted()
    with engine() as kept:
        kept.code, kept.about = code, about
        with pytest.raises(NotSent, match=words):
            ORUWay(receiver(kept.port).hl7).send(message)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "no acknowledgment came"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no acknowledgment came"),
        (b"\x0bnothing\x1c\r", "no HL7 acknowledgment"),
        (b"\x0bMSH|^~\\&|\x1c\r", "no known code"),
        (b"\x0b" + b"x" * 100_000, "no acknowledgment came"),
    ],
)
def test_an_answer_that_is_none_is_no_acknowledgment(noted: Any, answer: bytes, words: str) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(answer)
        with suppress(OSError):  # the sender has hung up
            connection.shutdown(socket.SHUT_RDWR)

    message = noted()
    with raw_server(serve) as port, pytest.raises(NotSent, match=words):
        ORUWay(HL7(host=HOST, port=port)).send(message)


def test_a_receiver_that_is_away_or_hangs_is_not_waited_for_long(noted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.notify.oru.TIMEOUT_S", 1.0)
    message = noted()
    with pytest.raises(NotSent, match="Connection refused"):
        ORUWay(HL7(host=HOST, port=free_port())).send(message)
    with silence() as port, pytest.raises(NotSent, match="no answer in time"):
        ORUWay(HL7(host=HOST, port=port)).send(message)


def test_by_tls_a_receiver_must_prove_who_it_is(noted: Any, tmp_path: Path) -> None:
    authority, message = Authority(tmp_path / "pki"), noted()
    own = authority.issue("node")
    with engine(authority.server(authority.issue("engine"))) as kept:
        ORUWay(receiver(kept.port, tls=authority.destination(own)).hl7).send(message)
        with pytest.raises(NotSent):
            ORUWay(receiver(kept.port).hl7).send(message)
    assert len(kept.messages) == 1
    with (
        engine(authority.server(authority.issue("old", **EXPIRED))) as kept,
        pytest.raises(NotSent, match="has expired"),
    ):
        ORUWay(receiver(kept.port, tls=authority.destination(own)).hl7).send(message)
    assert kept.messages == []


def test_a_message_is_sent_by_the_postman_too(noted: Any, tmp_path: Path) -> None:
    noted(Triage.FLAGGED, refused=(Reason.NOT_FRONTAL,))
    filled = FilledSpool(tmp_path / "spool2")
    settings = settings_for(tmp_path, notify=(receiver(2575),)).model_copy()
    task = filled.read(Triage.FLAGGED)
    Journey(settings, filled.spool, cast(Any, None), cast(Any, None), {}).post(task)
    box = Box(filled.spool.folder)
    with engine() as kept:
        Round(box, "oncall", ORUWay(receiver(kept.port).hl7)).turn(threading.Event())
    assert len(kept.messages) == 1
    assert box.waiting("oncall") == []


def test_what_is_composed_is_the_same_at_each_attempt(noted: Any) -> None:
    message = noted()
    assert composed(message, HL7(host=HOST)) == composed(message, HL7(host=HOST))
