import threading
from io import BytesIO
from itertools import pairwise

import pytest
from pydicom import Dataset, dcmread
from pydicom.filereader import read_dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit
from pynetdicom import evt
from pynetdicom.sop_class import (
    BasicTextSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
    StorageCommitmentPushModel,
    Verification,
)

from node import association, deliver
from node.config import Destination
from node.deliver import GIVE_UP_AFTER_S, StorageSCU, backoff_s
from node.errors import Parked, TryAgain
from tests.scp import (
    EVERYTHING,
    HOST,
    RESULT_CLASSES,
    UNCOMPRESSED,
    instance,
    storage_scp,
    write,
    write_picture,
)


def scu_of(scp, **settings):
    destination = Destination(name="pacs", ae_title="PACS", host=HOST, port=scp.port)
    return StorageSCU(destination, "CXRTRIAGE", **settings)


@pytest.fixture
def report(tmp_path):
    return write(instance(), tmp_path / "report.dcm")


@pytest.fixture
def reports(tmp_path):
    """One report in the three forms a destination is offered, the richest first."""
    classes = (ComprehensiveSRStorage, EnhancedSRStorage, BasicTextSRStorage)
    return [write(instance(each), tmp_path / f"{number}.dcm") for number, each in enumerate(classes)]


@pytest.fixture(scope="module")
def pacs():
    with storage_scp() as scp:
        yield scp


@pytest.fixture
def scu(pacs):
    pacs.status = 0x0000
    pacs.received.clear()
    with scu_of(pacs) as scu:
        yield scu


def test_a_report_arrives_byte_for_byte(scu, pacs, report):
    stored = scu.store([report])
    (received,) = pacs.received
    assert stored.status.code == 0x0000
    assert (stored.sop_class_uid, stored.sop_instance_uid) == (received.sop_class_uid, received.sop_instance_uid)
    assert received.transfer_syntax_uid == stored.transfer_syntax_uid == ExplicitVRLittleEndian
    assert report.read_bytes().endswith(received.data_set)
    assert read_dataset(BytesIO(received.data_set), False, True) == dcmread(report)


@pytest.mark.parametrize("sop_class_uid", RESULT_CLASSES, ids=lambda uid: uid.name)
def test_every_class_of_result_is_proposed_and_stored(scu, pacs, tmp_path, sop_class_uid):
    scu.store([write(instance(sop_class_uid), tmp_path / "result.dcm")])
    assert [each.sop_class_uid for each in pacs.received] == [sop_class_uid]


def test_a_large_picture_arrives_whole(scu, pacs, tmp_path):
    path = write_picture(tmp_path / "picture.dcm", side_px=1200)
    scu.store([path])
    assert len(pacs.received[0].data_set) > 4_000_000
    assert path.read_bytes().endswith(pacs.received[0].data_set)


@pytest.mark.parametrize("code", [0xB000, 0xB006, 0xB007, 0x0111, 0x0107, 0xB123])
def test_a_warning_is_delivered_and_kept(scu, pacs, report, code):
    pacs.status = code
    stored = scu.store([report])
    assert stored.status.code == code
    assert len(pacs.received) == 1


@pytest.mark.parametrize("code", [0xA700, 0xA7FF, 0x0110, 0x0213, 0x0210, 0xFE00, 0x0099])
def test_a_passing_failure_is_tried_again(scu, pacs, report, code):
    pacs.status = code
    with pytest.raises(TryAgain, match=f"0x{code:04X}"):
        scu.store([report])


@pytest.mark.parametrize("code", [0xA900, 0xA9FF, 0xC000, 0xCFFF, 0x0117, 0x0122, 0x0124, 0xA800])
def test_a_lasting_failure_is_parked(scu, pacs, report, code):
    pacs.status = code
    with pytest.raises(Parked, match=f"0x{code:04X}") as refusal:
        scu.store([report])
    assert "run cxr-node retry" in str(refusal.value)
    assert f"destination 'pacs' (PACS at {HOST}:{pacs.port})" in str(refusal.value)


def test_a_refused_instance_does_not_end_the_association(scu, pacs, report):
    before = len(pacs.associations)
    pacs.status = 0xC000
    with pytest.raises(Parked):
        scu.store([report])
    pacs.status = 0x0000
    scu.store([report])
    assert len(pacs.associations) == before + 1


def test_no_word_about_the_patient_is_in_a_message(scu, pacs, report):
    patient = dcmread(report)
    pacs.status = Dataset()
    pacs.status.Status = 0xC000
    pacs.status.ErrorComment = f"cannot store {patient.PatientName} {patient.PatientID}"
    with pytest.raises(Parked) as refusal:
        scu.store([report])
    assert "Nobody" not in str(refusal.value)
    assert "INVENTED" not in str(refusal.value)


def test_the_first_form_the_pacs_accepts_is_sent(reports):
    contexts = [(BasicTextSRStorage, UNCOMPRESSED), (EnhancedSRStorage, UNCOMPRESSED)]
    with storage_scp(contexts) as scp, scu_of(scp) as scu:
        stored = scu.store(reports)
        assert [each.sop_class_uid for each in scp.received] == [EnhancedSRStorage]
    assert stored.sop_class_uid == EnhancedSRStorage
    assert stored.sop_instance_uid == dcmread(reports[1]).SOPInstanceUID


def test_a_pacs_that_takes_only_basic_text_gets_basic_text(reports):
    with storage_scp([(BasicTextSRStorage, UNCOMPRESSED)]) as scp, scu_of(scp) as scu:
        assert scu.store(reports).sop_class_uid == BasicTextSRStorage


def test_a_class_refused_only_when_it_is_sent_gives_way_to_the_next_form(reports):
    seen = []

    def refuse_comprehensive(event):
        seen.append(event.request.AffectedSOPClassUID)
        return 0x0122 if seen[-1] == ComprehensiveSRStorage else 0x0000

    with storage_scp(handlers=[(evt.EVT_C_STORE, refuse_comprehensive)]) as scp, scu_of(scp) as scu:
        assert scu.store(reports).sop_class_uid == EnhancedSRStorage
    assert seen == [ComprehensiveSRStorage, EnhancedSRStorage]


def test_a_pacs_that_takes_no_form_is_told_what_to_accept(reports):
    with storage_scp([(SecondaryCaptureImageStorage, UNCOMPRESSED)]) as scp, scu_of(scp) as scu:
        with pytest.raises(Parked, match="accepts no form of this result") as refusal:
            scu.store(reports)
        assert scp.received == []
    assert "Comprehensive SR Storage or Enhanced SR Storage or Basic Text SR Storage" in str(refusal.value)
    assert "Implicit VR Little Endian" in str(refusal.value)


def test_a_pacs_that_takes_only_implicit_vr_gets_implicit_vr(report):
    with storage_scp([(ComprehensiveSRStorage, [ImplicitVRLittleEndian])]) as scp, scu_of(scp) as scu:
        stored = scu.store([report])
        (received,) = scp.received
    assert stored.transfer_syntax_uid == received.transfer_syntax_uid == ImplicitVRLittleEndian
    assert read_dataset(BytesIO(received.data_set), True, True).TextValue == "Research use only"


def test_a_compressed_picture_is_sent_compressed_where_that_is_accepted(tmp_path):
    path = write_picture(tmp_path / "picture.dcm", compressed=True)
    contexts = [(SecondaryCaptureImageStorage, [JPEGBaseline8Bit, *UNCOMPRESSED])]
    with storage_scp(contexts) as scp, scu_of(scp) as scu:
        assert scu.store([path]).transfer_syntax_uid == JPEGBaseline8Bit
        assert path.read_bytes().endswith(scp.received[0].data_set)


def test_a_compressed_picture_is_unpacked_for_a_pacs_without_jpeg(tmp_path):
    path = write_picture(tmp_path / "picture.dcm", compressed=True)
    with storage_scp([(SecondaryCaptureImageStorage, UNCOMPRESSED)]) as scp, scu_of(scp) as scu:
        stored = scu.store([path])
        received = read_dataset(BytesIO(scp.received[0].data_set), False, True)
    assert stored.transfer_syntax_uid == ExplicitVRLittleEndian
    assert stored.sop_instance_uid == dcmread(path).SOPInstanceUID
    assert received.PhotometricInterpretation == "RGB"


def test_a_missing_file_is_parked_before_the_pacs_is_called(tmp_path):
    with storage_scp() as scp, scu_of(scp) as scu:
        with pytest.raises(Parked, match="cannot be read"):
            scu.store([tmp_path / "absent.dcm"])
        assert scp.associations == []


def test_an_abort_in_the_middle_of_a_store_is_tried_again(report):
    handlers = [(evt.EVT_C_STORE, lambda event: event.assoc.abort() or 0x0000)]
    with (
        storage_scp(handlers=handlers) as scp,
        scu_of(scp) as scu,
        pytest.raises(TryAgain, match="ended the association"),
    ):
        scu.store([report])


def test_a_pacs_that_hangs_is_tried_again_and_the_next_instance_gets_a_fresh_association(report, monkeypatch):
    answer = threading.Event()
    handlers = [(evt.EVT_C_STORE, lambda event: answer.wait(20) and 0x0000)]
    with storage_scp(handlers=handlers) as scp, scu_of(scp) as scu:
        monkeypatch.setattr(association, "DIMSE_TIMEOUT_S", 0.5)
        with pytest.raises(TryAgain, match="gave no answer"):
            scu.store([report])
        monkeypatch.undo()
        answer.set()
        assert scu.store([report]).status.code == 0x0000
        assert len(scp.associations) == 2


def test_an_association_refused_for_good_is_parked(report):
    with (
        storage_scp(require_calling_aet=["OTHER"]) as scp,
        scu_of(scp) as scu,
        pytest.raises(Parked, match="Add CXRTRIAGE to its known AE titles"),
    ):
        scu.store([report])


def test_an_echo_tells_its_milliseconds(scu):
    assert scu.echo() > 0


def test_an_echo_raises_as_a_store_does():
    with storage_scp() as scp:
        scu = scu_of(scp)
    with pytest.raises(TryAgain, match="connection refused"):
        scu.echo()
    with storage_scp(EVERYTHING[:1]) as scp, scu_of(scp) as scu, pytest.raises(Parked, match="Verification"):
        scu.echo()
    handlers = [(evt.EVT_C_ECHO, lambda event: 0x0122)]
    with storage_scp(handlers=handlers) as scp, scu_of(scp) as scu, pytest.raises(Parked, match="0x0122"):
        scu.echo()


def test_a_destination_that_hangs_delays_no_other(report):
    answer, asked = threading.Event(), threading.Event()

    def answer_late(event):
        asked.set()
        return answer.wait(20) and 0x0000

    handlers = [(evt.EVT_C_STORE, answer_late)]
    with (
        storage_scp(handlers=handlers) as sick,
        storage_scp() as well,
        scu_of(sick) as to_sick,
        scu_of(well) as to_well,
    ):
        waiting = threading.Thread(target=to_sick.store, args=([report],))
        waiting.start()
        assert asked.wait(10)
        assert to_well.store([report]).status.code == 0x0000
        assert waiting.is_alive()
        answer.set()
        waiting.join()


def commitment_scp(report_result):
    """Run an SCP that calls ``report_result(association, action information)`` once it has taken a request."""

    def on_action(event):
        information = event.action_information
        threading.Timer(0.05, report_result, (event.assoc, information)).start()
        return 0x0000, None

    return storage_scp(handlers=[(evt.EVT_N_ACTION, on_action)])


def test_a_result_on_the_same_association_is_kept_and_answered():
    answered, kept, done = [], [], threading.Event()

    def report_result(acceptor, information):
        status, _ = acceptor.send_n_event_report(information, 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1")
        answered.append(status.Status)
        done.set()

    with commitment_scp(report_result) as scp, scu_of(scp, keep_commitment=kept.append) as scu:
        scu.request_commitment([(ComprehensiveSRStorage, "2.25.1"), (SecondaryCaptureImageStorage, "2.25.2")], "2.25.9")
        assert done.wait(10)
    (result,) = kept
    assert result.transaction_uid == "2.25.9"
    assert result.committed == ("2.25.1", "2.25.2")
    assert answered == [0x0000]


def test_a_result_that_cannot_be_kept_is_not_answered_with_success():
    answered, done = [], threading.Event()

    def full_disk(_result):
        raise OSError(28, "No space left on device")

    def report_result(acceptor, information):
        status, _ = acceptor.send_n_event_report(information, 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1")
        answered.append(status.Status)
        done.set()

    with commitment_scp(report_result) as scp, scu_of(scp, keep_commitment=full_disk) as scu:
        scu.request_commitment([(ComprehensiveSRStorage, "2.25.1")], "2.25.9")
        assert done.wait(10)
        assert scu.echo() > 0
    assert answered == [0x0110]


def test_a_pacs_without_storage_commitment_is_parked():
    with (
        storage_scp([(Verification, UNCOMPRESSED)]) as scp,
        scu_of(scp) as scu,
        pytest.raises(Parked, match="does not accept Storage Commitment Push Model"),
    ):
        scu.request_commitment([(ComprehensiveSRStorage, "2.25.1")], "2.25.9")


@pytest.mark.parametrize(
    ("code", "error"), [(0x0213, TryAgain), (0x0110, TryAgain), (0x0124, Parked), (0x0123, Parked)]
)
def test_a_refused_commitment_request_is_judged(code, error):
    handlers = [(evt.EVT_N_ACTION, lambda event: (code, None))]
    with storage_scp(handlers=handlers) as scp, scu_of(scp) as scu, pytest.raises(error, match=f"0x{code:04X}"):
        scu.request_commitment([(ComprehensiveSRStorage, "2.25.1")], "2.25.9")


def test_the_association_requests_what_the_node_needs_and_each_syntax_by_itself():
    contexts = [(each.abstract_syntax, list(each.transfer_syntax)) for each in deliver._proposed_contexts()]
    assert len(contexts) <= 128
    assert all(len(syntaxes) == 1 for _, syntaxes in contexts)
    for sop_class_uid in RESULT_CLASSES:
        assert (sop_class_uid, [ExplicitVRLittleEndian]) in contexts
        assert (sop_class_uid, [ImplicitVRLittleEndian]) in contexts
    assert (SecondaryCaptureImageStorage, [JPEGBaseline8Bit]) in contexts


def test_the_backoff_grows_from_seconds_to_ten_minutes():
    waits = [backoff_s(attempt) for attempt in range(1, 40)]
    assert 1.5 <= waits[0] <= 2
    assert all(450 <= wait <= 600 for wait in waits[9:])
    assert all(later > earlier for earlier, later in pairwise(waits[:9]))


def test_the_backoff_is_the_same_each_time_and_spread_over_deliveries():
    assert backoff_s(7, "2.25.1/pacs") == backoff_s(7, "2.25.1/pacs")
    assert len({backoff_s(7, f"2.25.{number}/pacs") for number in range(100)}) > 50


def test_no_delivery_is_given_up_before_three_days():
    assert GIVE_UP_AFTER_S == 3 * 24 * 3600
    assert sum(backoff_s(attempt) for attempt in range(1, 10_000)) > GIVE_UP_AFTER_S
