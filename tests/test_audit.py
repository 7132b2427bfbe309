"""Audit records say who brought what and who was turned away, as PS3.15 A.5 has it, and never stand in a study's way."""

import base64
import json
import os
import pwd
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree
from pydicom import dcmread
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage, generate_uid
from typer.testing import CliRunner

from node import audit, audit_message, log
from node.cli import app
from node.config import Audit, Destination, Listen, Settings
from node.durable import key_of
from node.errors import ConfigError
from node.study import Triage
from tests.doors import opened as door_opened
from tests.filled import PATIENT, FilledSpool
from tests.peers import wait_until
from tests.pki import Authority
from tests.radiographs import radiograph
from tests.raw import Closed, Raw, request
from tests.senders import CR, bring, receiving

SCHEMA = etree.RelaxNG(etree.parse(Path(__file__).with_name("audit_message.rng")))
# RFC 5424 6: PRI and VERSION, TIMESTAMP, HOSTNAME, APP-NAME, PROCID, MSGID, no STRUCTURED-DATA, MSG with its BOM.
SYSLOG = re.compile(
    rb"<(\d+)>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [!-~]{1,255} cxr-node \d+ DICOM\+RFC3881 - \xef\xbb\xbf(<.*)",
    re.DOTALL,
)
PACS = Destination(name="pacs", ae_title="ORTHANC", host="10.1.2.3", port=4242)


def parsed(line):
    """The message of a syslog line, valid by the schema, with its priority."""
    found = SYSLOG.fullmatch(line)
    assert found, line
    root = etree.fromstring(found[2])
    assert SCHEMA.validate(root), SCHEMA.error_log
    return root, int(found[1])


def messages(path):
    """Every message of a file, in order."""
    return [parsed(line)[0] for line in path.read_bytes().splitlines()]


def event(root):
    """What a message is about: codes of event and type, action, outcome."""
    found = root.find("EventIdentification")
    kind = found.find("EventTypeCode")
    named = [found.find("EventID").get("csd-code"), kind.get("csd-code") if kind is not None else None]
    return (*named, found.get("EventActionCode"), found.get("EventOutcomeIndicator"))


def participants(root):
    """Role code, AE title, address and whether it asked, of each participant."""
    return [
        (
            each.find("RoleIDCode").get("csd-code") if each.find("RoleIDCode") is not None else None,
            each.get("AlternativeUserID", "").removeprefix("AETITLES="),
            each.get("NetworkAccessPointID"),
            each.get("UserIsRequestor"),
        )
        for each in root.findall("ActiveParticipant")
    ]


def objects(root):
    """ID code and ID of each object."""
    return [
        (each.find("ParticipantObjectIDTypeCode").get("csd-code"), each.get("ParticipantObjectID"))
        for each in root.findall("ParticipantObjectIdentification")
    ]


def sop_classes(root):
    return {each.get("UID"): int(each.get("NumberOfInstances")) for each in root.iter("SOPClass")}


@contextmanager
def trail(folder, role="receive", **options):
    """Keep a trail in a file; gives the file, whole once it is left."""
    path = folder / "audit.log"
    with audit.opened(Settings(audit=Audit(**{"file": path} | options)), role):
        yield path


def transfers(path):
    return [root for root in messages(path) if event(root)[0] == "110104"]


# The node itself


def test_a_process_records_its_start_and_its_stop(tmp_path):
    with trail(tmp_path, "work") as path:
        pass
    start, stop = messages(path)
    assert event(start) == ("110100", "110120", "E", "0")
    assert event(stop) == ("110100", "110121", "E", "0")
    ((role, title, _, asked),) = participants(start)
    assert (role, title, asked) == ("110150", "CXRTRIAGE", "false")
    assert start.find("ActiveParticipant").get("UserName") == "cxr-node work"
    assert start.find("AuditSourceIdentification").get("AuditSourceID").startswith("CXRTRIAGE@")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_process_that_fails_records_a_stop_that_says_so(tmp_path):
    with pytest.raises(ValueError, match="x"), trail(tmp_path) as path:
        raise ValueError("x")
    assert event(messages(path)[-1]) == ("110100", "110121", "E", "8")


def test_without_a_place_for_records_nothing_is_done_and_no_thread_runs():
    before = set(threading.enumerate())
    with audit.opened(Settings(), "receive"):
        audit.turned_away("::1", "X", "called AE title not recognized")
        audit.sent(PACS, audit.study_of("key", Path("there is none")), {CR: 1})
        assert set(threading.enumerate()) <= before


def test_a_file_that_cannot_be_written_is_told_before_the_start(tmp_path):
    settings = Settings(audit=Audit(file=tmp_path / "missing" / "audit.log"))
    with pytest.raises(ConfigError, match=r"audit\.file: .*cannot be written"), audit.opened(settings, "receive"):
        raise AssertionError("it started")


# Instances that come


def test_an_association_that_brings_two_studies_leaves_a_record_of_each(tmp_path):
    first, second = radiograph(generate_uid()), radiograph(generate_uid())
    more = radiograph(first.StudyInstanceUID)
    with trail(tmp_path) as path, receiving(tmp_path / "spool") as node:
        assert bring(node.port, first, second, more, calling="MODALITY") == [0, 0, 0]
    found = {objects(root)[0]: root for root in transfers(path)}
    assert set(found) == {("STUDY_KEY", key_of(each.StudyInstanceUID)) for each in (first, second)}
    root = found["STUDY_KEY", key_of(first.StudyInstanceUID)]
    assert event(root) == ("110104", None, "C", "0")
    sender, receiver = participants(root)
    assert sender == ("110153", "MODALITY", "127.0.0.1", "true")
    assert (receiver[0], receiver[1], receiver[3]) == ("110152", "CXRTRIAGE", "false")
    assert sop_classes(root) == {CR: 2}


def test_instances_that_were_held_already_have_a_record_that_says_so(tmp_path):
    held, new = radiograph(), radiograph()
    with trail(tmp_path) as path, receiving(tmp_path / "spool") as node:
        bring(node.port, held)
        bring(node.port, held, new)
    assert sorted((event(root)[2], *sop_classes(root).values()) for root in transfers(path)) == [
        ("C", 1),
        ("C", 1),
        ("R", 1),
    ]


def test_what_was_refused_is_no_transfer(tmp_path):
    film = radiograph()
    del film.StudyInstanceUID
    with trail(tmp_path) as path, receiving(tmp_path / "spool") as node:
        (status,) = bring(node.port, film)
    assert status == 0xA900
    assert transfers(path) == []


def test_no_patient_and_no_uid_is_named_unless_the_configuration_asks_for_it(tmp_path):
    film = radiograph(PatientID="PID-4711")
    with trail(tmp_path) as path, receiving(tmp_path / "spool") as node:
        bring(node.port, film)
    written = path.read_text("utf-8")
    assert "PID-4711" not in written
    assert film.StudyInstanceUID not in written
    assert film.SOPInstanceUID not in written
    (root,) = transfers(path)
    assert objects(root)[1] == ("2", "withheld")


def test_where_it_does_the_records_are_as_the_standard_has_them(tmp_path):
    film = radiograph(PatientID="PID-4711 <&>\x07")
    with trail(tmp_path, identifiers="plain") as path, receiving(tmp_path / "spool") as node:
        bring(node.port, film)
    (root,) = transfers(path)
    assert objects(root) == [("110180", film.StudyInstanceUID), ("2", "PID-4711 <&>?")]
    assert str(film.PatientName) not in path.read_text("utf-8")


def test_an_association_that_never_ends_does_not_put_its_records_off_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(audit, "STUDIES_PUT_OFF", 2)

    class Association:
        class requestor:  # noqa: N801
            ae_title, address = "CT", "::1"

    with trail(tmp_path) as path:
        arrivals = audit.Arrivals()
        for number in range(4):
            arrivals.stored(Association, audit_message.Study(f"study {number}"), CR, is_new=True)
        wait_until(lambda: len(transfers(path)) == 3, 10, "records of the first three studies")


# Results that go


def test_results_that_a_destination_took_are_recorded(tmp_path):
    with trail(tmp_path, "work") as path:
        audit.sent(PACS, audit_message.Study("a" * 32), {ComprehensiveSRStorage: 1, SecondaryCaptureImageStorage: 2})
    (root,) = transfers(path)
    assert event(root) == ("110104", None, "R", "0")  # whether they were held before, only the destination knows
    sender, receiver = participants(root)
    assert (sender[0], sender[1], sender[3]) == ("110153", "CXRTRIAGE", "true")
    assert receiver == ("110152", "ORTHANC", "10.1.2.3", "false")
    assert sop_classes(root) == {ComprehensiveSRStorage: 1, SecondaryCaptureImageStorage: 2}
    assert objects(root) == [("STUDY_KEY", "a" * 32), ("2", "withheld")]


# Results that a person decides on


def decisions(path):
    """Who decided what of which object, in order."""
    return [
        (
            root.find("ActiveParticipant").get("UserID"),
            base64.b64decode(root.find(".//ParticipantObjectDetail[@type='Decision']").get("value")).decode(),
            objects(root)[0][1],
        )
        for root in messages(path)
        if event(root) == ("110103", None, "U", "0")
    ]


def test_what_a_person_decides_is_recorded(tmp_path):
    with trail(tmp_path, "web") as path:
        audit.decided("withhold", "status page, 10.1.2.3", audit_message.Study("a" * 32))
        audit.decided("release", "anna", audit_message.Study("b" * 32))
    assert decisions(path) == [("status page, 10.1.2.3", "withhold", "a" * 32), ("anna", "release", "b" * 32)]


@pytest.fixture
def waiting(tmp_path):
    """A study whose results wait for a person, and a configuration: gives the task and a function that runs a command."""
    filled = FilledSpool(tmp_path / "spool")
    task = filled.read(Triage.URGENT)
    filled.spool.agenda.finished(task)
    filled.spool.agenda.keep_back(replace(task, verb="post"))
    config, spool = tmp_path / "node.yaml", str(filled.spool.folder)

    def run(verb, **how):
        form = {"mode": "supervised", "spool": {"folder": spool}, "audit": {"file": str(tmp_path / "audit.log")} | how}
        config.write_text(json.dumps(form))
        return CliRunner().invoke(app, [verb, task.study_key, "--config", str(config)]).exit_code

    return filled.spool, task, run


def test_the_commands_record_what_took_effect_and_who_ran_them(tmp_path, waiting):
    _, task, run = waiting
    assert [run("withhold"), run("withhold"), run("release")] == [0, 1, 0]
    who = pwd.getpwuid(os.getuid()).pw_name
    assert decisions(tmp_path / "audit.log") == [(who, "withhold", task.study_key), (who, "release", task.study_key)]
    stops = [event(root) for root in messages(tmp_path / "audit.log") if event(root)[1] == "110121"]
    assert [outcome for *_, outcome in stops] == ["0", "4", "0"], "what cannot be done is no failure of the program"


def test_they_name_study_and_patient_where_the_configuration_asks_for_it(tmp_path, waiting):
    spool, task, run = waiting
    (film,), (result,) = (
        list(spool.study_folder(task.study_key).glob(each)) for each in ("*.dcm", "*/results/*/*/*.dcm")
    )
    result.write_bytes(film.read_bytes())
    assert run("release", identifiers="plain") == 0
    (root,) = (root for root in messages(tmp_path / "audit.log") if event(root)[0] == "110103")
    assert objects(root) == [("110180", dcmread(film).StudyInstanceUID), ("2", PATIENT["PatientID"])]


def test_what_cannot_be_recorded_is_done_all_the_same_and_told(tmp_path, waiting, said):
    spool, task, run = waiting
    assert run("release", identifiers="plain") == 0, (
        "the result of this test is no DICOM file, so its patient is not known"
    )
    assert spool.agenda.tasks("todo") == [replace(task, verb="post")]
    assert [name for name, _ in said] == ["audit.failed"]


# Callers that are turned away


def alerts(path):
    """Reason, and AE title and address of the caller, of each alert."""
    found = []
    for root in messages(path):
        if event(root)[0] == "110113":
            assert event(root) == ("110113", "110126", "E", "4")
            assert root.find("ActiveParticipant").get("UserIsRequestor") == "true"
            detail = root.find("ParticipantObjectIdentification/ParticipantObjectDetail")
            assert detail.get("type") == "Alert Description"
            found.append((base64.b64decode(detail.get("value")).decode(), *participants(root)[-1][1:3]))
    return found


def test_wrong_titles_and_wrong_addresses_are_alerts(tmp_path):
    listen = {"callers": ("PACS", "ELSEWHERE"), "addresses": {"ELSEWHERE": ("10.9.9.9",)}}
    with trail(tmp_path) as path, door_opened(tmp_path / "spool", **listen) as door:
        for asked in ({"called": b"OTHER", "calling": b"PACS"}, {"calling": b"STRANGER"}, {"calling": b"ELSEWHERE"}):
            with door.caller() as caller:
                caller.rejection(**asked)
    assert alerts(path) == [
        ("called AE title not recognized", "PACS", "127.0.0.1"),
        ("calling AE title not recognized", "STRANGER", "127.0.0.1"),
        ("calling AE title not recognized", "ELSEWHERE", "127.0.0.1"),
    ]


def test_a_caller_without_tls_or_without_a_certificate_is_an_alert(tmp_path):
    authority = Authority(tmp_path / "pki")
    server, client = authority.listen(authority.issue("node")), authority.client()
    with trail(tmp_path) as path, door_opened(tmp_path / "spool", tls=(server, client)) as door:
        with Raw(door.port) as caller:
            assert caller.is_cut_while_sending([request()]) or caller.is_closed()
        with pytest.raises((OSError, Closed)), door.caller() as caller:
            caller.associate()
        wait_until(lambda: sum(door.count("cut").values()) == 2, 10, "both being turned away")
    assert alerts(path) == [("no TLS", "", "127.0.0.1"), ("no client certificate", "", "127.0.0.1")]


def test_a_flood_of_strangers_is_recorded_in_part_and_the_rest_counted(tmp_path):
    with trail(tmp_path) as path:
        for _ in range(audit.ALERTS + 40):
            audit.turned_away("10.1.2.3", "X", "calling AE title not recognized")
    found = alerts(path)
    assert len(found) == audit.ALERTS + 1
    assert found[-1][0] == "calling AE title not recognized: 40 more in a minute"


def test_alerts_are_sent_as_warnings_and_the_rest_as_notices(tmp_path):
    with trail(tmp_path) as path:
        audit.turned_away("::1", "X", "no TLS")
    assert [parsed(line)[1] for line in path.read_bytes().splitlines()] == [85, 84, 85]


# What goes wrong


@pytest.fixture
def said(monkeypatch):
    """Alarms that were logged."""
    found = []
    monkeypatch.setattr(log, "alarm", lambda name, **fields: found.append((name, fields.get("count"))))
    return found


def test_a_file_on_a_full_disk_stops_nothing_and_is_written_once_there_is_room(tmp_path, monkeypatch, said):
    full, write = [True], audit.RollingFile.append

    def append(file, line):
        if full[0]:
            raise OSError(28, "No space left on device")
        return write(file, line)

    monkeypatch.setattr(audit.RollingFile, "append", append)
    with trail(tmp_path) as path:
        wait_until(lambda: ("audit.failed", None) in said, 10, "the alarm")
        full[0] = False
    assert [event(root)[1] for root in messages(path)] == ["110120", "110121"]
    assert not [count for name, count in said if name == "audit.lost"]


def test_what_no_outlet_takes_is_counted_and_the_process_ends_in_time(tmp_path, monkeypatch, said):
    def append(*_):
        raise OSError

    monkeypatch.setattr(audit.RollingFile, "append", append)
    monkeypatch.setattr(audit, "LAST_RECORDS_S", 0.2)
    monkeypatch.setattr(audit, "WAITING", 5)
    with trail(tmp_path):
        for number in range(20):
            audit.turned_away("::1", "X", f"reason {number}")
    assert sum(count for name, count in said if name == "audit.lost") == 22


def test_records_that_make_way_for_new_ones_are_counted(tmp_path, monkeypatch, said):
    monkeypatch.setattr(audit, "FILE_BYTES", 3000)
    monkeypatch.setattr(audit, "FILES_KEPT", 1)
    with trail(tmp_path) as path:
        for number in range(20):
            audit.sent(PACS, audit_message.Study(f"{number:032}"), {CR: 1})
    dropped = sum(count for name, count in said if name == "audit.dropped")
    kept = [line for each in (path, path.with_name("audit.log.1")) for line in each.read_bytes().splitlines()]
    assert dropped + len(kept) == 22
    assert dropped > 0


def test_it_brings_no_library_along_that_the_receiver_does_without():
    code = "import sys, json, node.audit; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pydicom", "PIL", "cryptography"} & set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "syslog", ["10.1.2.3:514", "tcp://10.1.2.3:514", "udp://10.1.2.3", "udp://:514", "udp://h:x", "udp://h:1/p"]
)
def test_a_receiver_that_is_none_is_refused(syslog):
    with pytest.raises(ValueError, match="must be udp://HOST:PORT"):
        Audit(syslog=syslog)


def test_tls_and_its_scheme_go_together(tmp_path):
    with pytest.raises(ValueError, match="go together"):
        Audit(syslog="tls://10.1.2.3:6514")
    with pytest.raises(ValueError, match="go together"):
        Audit(syslog="udp://10.1.2.3:514", tls=Authority(tmp_path).destination())


def test_the_titles_of_the_configuration_are_told(tmp_path):
    settings = Settings(listen=Listen(ae_title="READER"), audit=Audit(file=tmp_path / "a"))
    with audit.opened(settings, "receive"):
        pass
    assert participants(messages(tmp_path / "a")[0])[0][1] == "READER"
