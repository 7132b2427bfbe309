"""Results to the PACS software the node will meet: Orthanc and DCMTK's storescp."""

import os
import queue
import signal
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import evt
from pynetdicom.sop_class import (
    ComprehensiveSRStorage,
    SecondaryCaptureImageStorage,
    StorageCommitmentPushModel,
    Verification,
)

from node import commitment, requestor
from node.config import Destination
from node.deliver import StorageSCU
from node.errors import Parked, TryAgain
from tests.peers import HOST, Orthanc, StoreSCP, require_peer, wait_until
from tests.scp import RESULT_CLASSES, UNCOMPRESSED, instance, storage_scp, write, write_picture

pytestmark = pytest.mark.peers


def scu_of(peer, ae_title=None):
    destination = Destination(name="pacs", ae_title=ae_title or peer.ae_title, host=HOST, port=peer.port)
    return StorageSCU(destination, "CXRTRIAGE")


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    require_peer("orthanc")
    with Orthanc(tmp_path_factory.mktemp("orthanc")) as orthanc:
        yield orthanc


@pytest.fixture
def storescp(tmp_path):
    require_peer("storescp")
    with StoreSCP(tmp_path / "storescp") as storescp:
        yield storescp


def test_orthanc_keeps_a_report_and_a_picture_as_they_were_sent(orthanc, tmp_path):
    report, picture = write(instance(), tmp_path / "report.dcm"), write_picture(tmp_path / "picture.dcm")
    with scu_of(orthanc) as scu:
        for path in (report, picture):
            assert scu.store([path]).status.code == 0x0000
    for path in (report, picture):
        sent = dcmread(path)
        (kept,) = orthanc.instances(sent.StudyInstanceUID)
        assert (kept.sop_class_uid, kept.sop_instance_uid) == (sent.SOPClassUID, sent.SOPInstanceUID)
        assert dcmread(BytesIO(orthanc.download(kept.id))) == sent


@pytest.mark.parametrize("sop_class_uid", RESULT_CLASSES, ids=lambda uid: uid.name)
def test_orthanc_takes_every_class_of_result(orthanc, tmp_path, sop_class_uid):
    dataset = instance(sop_class_uid)
    with scu_of(orthanc) as scu:
        scu.store([write(dataset, tmp_path / "result.dcm")])
    (kept,) = orthanc.instances(dataset.StudyInstanceUID)
    assert kept.sop_class_uid == sop_class_uid


def test_the_same_bytes_can_be_sent_twice(orthanc, tmp_path):
    dataset = instance()
    path = write(dataset, tmp_path / "report.dcm")
    with scu_of(orthanc) as scu:
        assert scu.store([path]).status.outcome == scu.store([path]).status.outcome == "delivered"
    assert len(orthanc.instances(dataset.StudyInstanceUID)) == 1


def test_orthanc_that_restarts_between_two_results_gets_both(tmp_path):
    require_peer("orthanc")
    first, second = instance(), instance()
    with Orthanc(tmp_path / "orthanc") as orthanc, scu_of(orthanc) as scu:
        scu.store([write(first, tmp_path / "first.dcm")])
        orthanc.stop()
        with pytest.raises(TryAgain, match="cannot be reached"):
            scu.store([write(second, tmp_path / "second.dcm")])
        orthanc.start()
        scu.store([tmp_path / "second.dcm"])
        for dataset in (first, second):
            assert len(orthanc.instances(dataset.StudyInstanceUID)) == 1


def test_orthanc_that_checks_its_ae_title_parks_a_wrong_one(tmp_path):
    require_peer("orthanc")
    with (
        Orthanc(tmp_path / "orthanc", options={"DicomCheckCalledAet": True}) as orthanc,
        scu_of(orthanc, ae_title="WRONG") as scu,
        pytest.raises(Parked, match="called AE title not recognized"),
    ):
        scu.echo()


def test_orthanc_that_does_not_know_the_node_parks_what_it_will_not_take(tmp_path):
    require_peer("orthanc")
    options = {"DicomAlwaysAllowStore": False, "DicomAlwaysAllowEcho": False}
    path = write(instance(), tmp_path / "report.dcm")
    with Orthanc(tmp_path / "orthanc", options=options) as orthanc, scu_of(orthanc) as scu:
        with pytest.raises(Parked, match="calling AE title not recognized"):
            scu.store([path])
        orthanc.add_modality("node", "CXRTRIAGE", HOST, 11112)
        assert scu.store([path]).status.code == 0x0000


def event_listener():
    """Run the node's side of a commitment result that comes on an association of the PACS."""
    reports = queue.Queue()

    def keep(event):
        status = commitment.answer_event_report(event.event_type, event.event_information, reports.put)
        return status, None

    contexts = [(StorageCommitmentPushModel, UNCOMPRESSED), (Verification, UNCOMPRESSED)]
    handlers = [(evt.EVT_N_EVENT_REPORT, keep)]
    roles = [StorageCommitmentPushModel]
    return storage_scp(contexts, handlers, ae_title="CXRTRIAGE", scu_roles=roles), reports


def test_orthanc_commits_to_what_it_holds_and_names_what_it_does_not(orthanc, tmp_path):
    listener, reports = event_listener()
    with listener as node, scu_of(orthanc) as scu:
        orthanc.add_modality("node", "CXRTRIAGE", HOST, node.port)
        stored = [
            scu.store([write(instance(), tmp_path / "report.dcm")]),
            scu.store([write_picture(tmp_path / "picture.dcm")]),
        ]
        references = [(each.sop_class_uid, each.sop_instance_uid) for each in stored]
        scu.request_commitment(references, "2.25.901")
        whole = reports.get(timeout=20)
        scu.request_commitment([*references, (ComprehensiveSRStorage, "2.25.404")], "2.25.902")
        partial = reports.get(timeout=20)
    held = {each.sop_instance_uid for each in stored}
    assert (whole.transaction_uid, set(whole.committed), whole.failed) == ("2.25.901", held, ())
    assert (partial.transaction_uid, set(partial.committed)) == ("2.25.902", held)
    ((missing, reason),) = partial.failed
    assert missing == "2.25.404"
    assert reason.code == 0x0112


def test_storescp_gets_the_very_bytes(storescp, tmp_path):
    path = write(instance(), tmp_path / "report.dcm")
    with scu_of(storescp) as scu:
        assert scu.echo() > 0
        assert scu.store([path]).transfer_syntax_uid == ExplicitVRLittleEndian
    (received,) = storescp.files()
    assert dcmread(received) == dcmread(path)


def test_storescp_that_accepts_only_implicit_vr_gets_it(tmp_path):
    require_peer("storescp")
    path = write(instance(SecondaryCaptureImageStorage), tmp_path / "picture.dcm")
    with StoreSCP(tmp_path / "storescp", options=["+xi"]) as storescp:
        with scu_of(storescp) as scu:
            assert scu.store([path]).transfer_syntax_uid == ImplicitVRLittleEndian
        (received,) = storescp.files()
    assert dcmread(received).file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert dcmread(received).SOPInstanceUID == dcmread(path).SOPInstanceUID


def test_storescp_that_refuses_every_association_is_parked(tmp_path):
    require_peer("storescp")
    with (
        StoreSCP(tmp_path / "storescp", options=["--refuse"]) as storescp,
        scu_of(storescp) as scu,
        pytest.raises(Parked, match="refused the association"),
    ):
        scu.store([write(instance(), tmp_path / "report.dcm")])


@pytest.mark.parametrize("option", ["--abort-after", "--abort-during"])
def test_storescp_that_aborts_is_tried_again(tmp_path, option):
    require_peer("storescp")
    with (
        StoreSCP(tmp_path / "storescp", options=[option]) as storescp,
        scu_of(storescp) as scu,
        pytest.raises(TryAgain, match="ended the association"),
    ):
        scu.store([write_picture(tmp_path / "picture.dcm", side_px=1200)])


def test_a_pacs_that_stops_reading_is_not_waited_for_without_end(storescp, tmp_path, monkeypatch):
    path = write_picture(tmp_path / "picture.dcm", side_px=2400)
    with scu_of(storescp) as scu:
        scu.echo()
        os.kill(storescp.process.pid, signal.SIGSTOP)
        try:
            monkeypatch.setattr(requestor, "PDU_TIMEOUT_S", 0.5)
            with pytest.raises(TryAgain, match="stopped reading"):
                scu.store([path])
        finally:
            monkeypatch.undo()
            os.kill(storescp.process.pid, signal.SIGCONT)
        assert scu.store([path]).status.code == 0x0000


def test_a_hundred_results_go_over_one_association(storescp, tmp_path):
    with scu_of(storescp) as scu:
        for number in range(100):
            dataset = instance(sop_instance_uid=generate_uid())
            scu.store([write(dataset, tmp_path / f"{number}.dcm")])
    wait_until(lambda: len(storescp.files()) == 100, what="a hundred files")
