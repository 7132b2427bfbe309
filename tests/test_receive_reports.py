"""A commitment that a PACS reports is kept; what the receiver says of all it gets names no patient."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom import Dataset, Sequence
from pynetdicom import build_role
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from tests.peers import wait_until
from tests.radiographs import PATIENT, encoded, radiograph
from tests.senders import (
    CR,
    EXPLICIT,
    HOST,
    associated,
    bring,
    request,
    send,
    send_dataset,
)
from tests.spools import no_space

HERE = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.usefixtures("quick_to_stop", "all_threads_end")


# Storage commitment


def event_information(transaction_uid="2.25.9", committed=("1.2",), failed=()):
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = Sequence([referenced(uid) for uid in committed])
    if failed:
        information.FailedSOPSequence = Sequence([referenced(uid, 0x0112) for uid in failed])
    return information


def referenced(uid, reason=None):
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CR, uid
    if reason:
        item.FailureReason = reason
    return item


def report(node, information, event_type=1, roles=True):
    """Report a commitment as a PACS does, on an association of its own; gives the status."""
    proposed = [build_role(StorageCommitmentPushModel, scp_role=True)] if roles else []
    with associated(node.port, [(StorageCommitmentPushModel, EXPLICIT)], ext_neg=proposed) as association:
        assert association.accepted_contexts[0].as_scp is roles
        instance = StorageCommitmentPushModelInstance
        status, _ = association.send_n_event_report(information, event_type, StorageCommitmentPushModel, instance)
        return status.Status


@pytest.fixture
def asked(node):
    """A node that waits for a report on this transaction."""
    node.spool.outbox.expect_commitment("2.25.9")
    return node


def test_a_pacs_that_does_not_negotiate_its_role_is_heard_too(asked):
    assert report(asked, event_information(), roles=False) == 0x0000
    assert asked.spool.outbox.commitment("2.25.9")["committed"] == ["1.2"]


def test_a_commitment_that_a_pacs_reports_is_kept(asked):
    assert report(asked, event_information(committed=("1.2", "1.3"))) == 0x0000
    assert asked.spool.outbox.commitment("2.25.9") == {"committed": ["1.2", "1.3"], "failed": []}


def test_failures_are_kept_with_their_reasons(asked):
    assert report(asked, event_information(failed=("1.4",)), event_type=2) == 0x0000
    ((instance, status, _),) = asked.spool.outbox.commitment("2.25.9")["failed"]
    assert (instance, "0112" in status) == ("1.4", True)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize(("uid", "event_type", "status"), [("2.25.9", 9, 0x0113), ("evil/../uid", 1, 0x0115)])
def test_a_report_of_nothing_that_was_asked_is_refused_and_not_kept(node, uid, event_type, status):
    assert report(node, event_information(uid), event_type) == status
    assert list((node.spool.folder / "commitments").iterdir()) == []


def test_a_report_that_nobody_waits_for_is_heard_and_not_kept(node):
    """It came twice, or late, or by mistake; a refusal would have the peer report it over and over."""
    assert [report(node, event_information(f"2.25.{number}")) for number in range(3)] == [0x0000] * 3
    assert list((node.spool.folder / "commitments").iterdir()) == []


def test_a_report_that_cannot_be_kept_is_not_answered_with_success(node, monkeypatch):
    monkeypatch.setattr(node.spool.outbox, "write_commitment", no_space)
    assert report(node, event_information()) == 0x0110


# What is said of it all


class Process:
    """The receiver as a process of its own, with everything it says."""

    def __init__(self, folder):
        self.config, self.said = folder / "node.yaml", folder / "said"
        self.config.write_text(
            f"listen: {{port: 0}}\nspool: {{folder: {folder}/spool}}\nstudy: {{settle_s: 0.1, quiet_s: 0.2}}\n"
        )
        command = [sys.executable, "-m", "node", "serve", "--role", "receive", "--config", str(self.config)]
        with self.said.open("wb") as output:
            self.process = subprocess.Popen(command, cwd=HERE, stdout=output, stderr=subprocess.STDOUT)
        wait_until(lambda: self.process.poll() is not None or "listener.opened" in self.text(), what="the listener")
        self.port = self.lines()[0]["port"]

    def text(self):
        return self.said.read_text()

    def lines(self):
        return [json.loads(line) for line in self.text().splitlines()]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@pytest.fixture
def process(tmp_path):
    running = Process(tmp_path)
    yield running
    running.process.kill()
    running.process.wait()


@pytest.mark.filterwarnings("ignore")
def test_no_word_of_a_patient_is_said_of_whole_or_broken_instances(process):
    whole = radiograph()
    data = encoded(whole)
    broken = [data[:-1], data[:90], data.replace(b"PN", b"pn"), b"\0" * 8 + data]
    odd = radiograph(PatientBirthDate=None)
    odd.add_new("PatientBirthDate", "LO", "15/02/1961 " + PATIENT["PatientName"])
    odd_data = encoded(odd).replace(b"\x10\x00\x30\x00LO", b"\x10\x00\x30\x00DA")
    with associated(process.port, calling="MODALITY 9") as association:
        statuses = [send(association, each, whole.SOPInstanceUID).Status for each in (data, *broken)]
        statuses.append(send(association, odd_data, odd.SOPInstanceUID).Status)
        statuses.append(send(association, encoded(radiograph()), whole.SOPInstanceUID).Status)
        statuses.append(send(association, encoded(radiograph(StudyInstanceUID=None)), "1.2.3").Status)
        statuses.append(send(association, encoded(radiograph(SOPInstanceUID="1.2", Rows=999)), "1.2").Status)
    assert statuses == [0x0000, 0xC210, 0xC210, 0xC210, 0xC210, 0x0000, 0xA900, 0xA900, 0xC210]
    assert bring(process.port, radiograph(PatientName="x" * 200, AccessionNumber="y" * 300)) == [0x0000]
    request(process.port, called="OTHER")
    wait_until(lambda: "study.settled" in process.text())
    assert process.stop() == 0
    events = [line["event"] for line in process.lines()]
    assert events.count("instance.stored") == 3
    assert events.count("instance.refused") == 7
    assert events.count("association.rejected") == 1
    assert events[-1] == "listener.closed"
    refusal = next(line for line in process.lines() if line["event"] == "instance.refused")
    assert (refusal["status"], refusal["calling"], refusal["address"]) == ("0xC210", "MODALITY 9", HOST)
    assert (refusal["level"], refusal["reason"]) == ("warning", f"a value overruns its place at byte {len(data) - 128}")
    said = process.text()
    words = [*PATIENT.values(), *PATIENT["PatientName"].split("^"), "15/02/1961", "xxxx", "yyyy"]
    assert not [word for word in words if word in said]
    uids = [whole.SOPInstanceUID, whole.StudyInstanceUID, whole.SeriesInstanceUID, odd.SOPInstanceUID]
    assert not [uid for uid in uids if uid in said]


def test_a_process_with_an_open_association_stops_when_it_is_told(process):
    association = request(process.port)
    assert send_dataset(association, radiograph()) == 0x0000
    silent = socket.create_connection((HOST, process.port))
    assert process.stop() == 0
    silent.close()
    wait_until(lambda: association.is_aborted)
