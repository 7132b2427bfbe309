"""The embedded archive is a real PACS to whoever talks DICOM to it."""

import socket
import threading
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import (
    ComprehensiveSRStorage,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
    StorageCommitmentPushModel,
    Verification,
)

from node.archive import Archive
from node.errors import CannotUnderstand
from node.requestor import RequestorAE
from node.samples import FOLDER

CHILD = FOLDER / "02-normal-child" / "chest-ap.dcm"
LOSSLESS = FOLDER / "03-pneumonia-adult" / "chest-ap.dcm"
TUBERCULOSIS = FOLDER / "05-tuberculosis-adult" / "chest-pa.dcm"


@pytest.fixture
def archive(tmp_path):
    with Archive(tmp_path / "archive") as archive:
        yield archive


def associate(archive, *contexts, **options):
    entity = RequestorAE("SENDER")  # pynetdicom's own AE loses a response now and then
    for abstract_syntax, *transfer_syntaxes in contexts:
        entity.add_requested_context(abstract_syntax, transfer_syntaxes or None)
    association = entity.associate("127.0.0.1", archive.port, ae_title="ARCHIVE", **options)
    assert association.is_established
    return association


def store(archive, *files):
    instances = [dcmread(file) for file in files]
    contexts = {(each.SOPClassUID, each.file_meta.TransferSyntaxUID) for each in instances}
    association = associate(archive, *contexts)
    statuses = [association.send_c_store(each).Status for each in instances]
    association.release()
    return statuses


def document(sop_class_uid):
    """Return a bare data set of a SOP class, in Implicit VR Little Endian."""
    dataset = Dataset()
    dataset.SOPClassUID = sop_class_uid
    dataset.SOPInstanceUID, dataset.StudyInstanceUID = "2.25.11", "2.25.12"
    dataset.file_meta = Dataset()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    return dataset


def test_an_echo_is_answered(archive):
    association = associate(archive, (Verification,))
    assert association.send_c_echo().Status == 0x0000
    association.release()


def test_an_instance_is_a_file_with_the_very_data_set_that_was_sent(archive):
    assert store(archive, LOSSLESS) == [0x0000]
    (instance,) = archive.instances
    sent, kept = dcmread(LOSSLESS), dcmread(instance.path)
    assert kept == sent
    assert kept.PixelData == sent.PixelData
    assert kept.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
    assert instance.sop_instance_uid == sent.SOPInstanceUID
    assert instance.study_instance_uid == sent.StudyInstanceUID
    assert instance.calling_ae_title == "SENDER"


def test_a_study_is_a_folder_and_no_identifier_is_in_a_path(archive):
    store(archive, CHILD, TUBERCULOSIS)
    paths = [instance.path for instance in archive.instances]
    assert sorted(archive.folder.rglob("*.dcm")) == sorted(paths)
    assert len({path.parent for path in paths}) == 2
    assert not any("2.25." in str(path) for path in paths)


def test_nothing_but_whole_files_is_left(archive):
    store(archive, CHILD, LOSSLESS, TUBERCULOSIS)
    assert [path.suffix for path in archive.folder.rglob("*") if path.is_file()] == [".dcm"] * 3


def test_an_instance_sent_twice_is_held_once(archive):
    assert store(archive, CHILD, CHILD) == [0x0000, 0x0000]
    assert len(archive.instances) == 1


@pytest.mark.parametrize("sop_class_uid", [ComprehensiveSRStorage, SecondaryCaptureImageStorage])
def test_reports_and_pictures_are_taken_as_well(archive, sop_class_uid):
    association = associate(archive, (sop_class_uid,))
    assert association.send_c_store(document(sop_class_uid)).Status == 0x0000
    association.release()
    assert [instance.sop_class_uid for instance in archive.instances] == [sop_class_uid]


def test_every_transfer_syntax_of_an_image_is_accepted(archive):
    syntaxes = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.201"]
    association = associate(archive, *((DigitalXRayImageStorageForPresentation, syntax) for syntax in syntaxes))
    assert [context.transfer_syntax[0] for context in association.accepted_contexts] == syntaxes
    association.release()


def test_a_data_set_that_is_not_the_announced_instance_is_refused(archive):
    association = associate(archive, (ComputedRadiographyImageStorage,))
    association._reactor_checkpoint.clear()  # pynetdicom's own send_c_store would not lie
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = ComputedRadiographyImageStorage, "2.25.99"
    request.DataSet = BytesIO(encode(document(ComputedRadiographyImageStorage), True, True))
    association.dimse.send_msg(request, 1)
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    association.release()
    assert response.Status == 0xA900
    assert archive.instances == ()


def test_a_data_set_without_study_is_refused(archive):
    orphan = document(ComprehensiveSRStorage)
    del orphan.StudyInstanceUID
    association = associate(archive, (ComprehensiveSRStorage,))
    assert association.send_c_store(orphan).Status == CannotUnderstand.status
    association.release()


def test_waiting_ends_when_the_instances_are_there(archive):
    sender = threading.Thread(target=store, args=(archive, CHILD, TUBERCULOSIS))
    sender.start()
    came = archive.wait_for(lambda instances: len(instances) == 2, timeout_s=30)
    sender.join()
    assert came


def test_waiting_for_what_never_comes_ends_too(archive):
    assert not archive.wait_for(lambda instances: bool(instances), timeout_s=0.05)


def test_the_callback_gets_the_file_and_the_data_set_before_the_answer(tmp_path):
    seen = []

    def on_stored(path: Path, dataset: Dataset) -> None:
        seen.append((path.is_file(), dataset.SOPInstanceUID))

    with Archive(tmp_path, on_stored=on_stored) as archive:
        store(archive, CHILD)
        assert seen == [(True, dcmread(CHILD).SOPInstanceUID)]


def test_two_archives_do_not_share_a_port(tmp_path):
    with Archive(tmp_path / "one") as one, Archive(tmp_path / "two") as two:
        assert one.port != two.port
        with pytest.raises(OSError, match="in use"):
            Archive(tmp_path / "three", port=one.port).start()


def test_after_the_stop_nobody_answers_and_the_files_stay(tmp_path):
    with Archive(tmp_path) as archive:
        store(archive, CHILD)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", archive.port))
    assert archive.instances[0].path.is_file()


class CommitmentSCU:
    """A storage commitment SCU that listens for the result on a port of its own."""

    def __init__(self) -> None:
        self.results = []
        self.came = threading.Event()
        self.entity = AE("SENDER")
        self.entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        self.server = self.entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self.take)]
        )
        self.port = self.server.server_address[1]

    def take(self, event):
        self.results.append((event.event_type, event.event_information))
        self.came.set()
        return 0x0000, None

    def request(self, archive, *references):
        information = Dataset()
        information.TransactionUID = "2.25.4711"
        information.ReferencedSOPSequence = []
        for sop_class_uid, sop_instance_uid in references:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
            information.ReferencedSOPSequence.append(item)
        association = associate(archive, (StorageCommitmentPushModel,))
        instance = "1.2.840.10008.1.20.1.1"
        status, _ = association.send_n_action(information, 1, StorageCommitmentPushModel, instance)
        association.release()
        return status.Status


@pytest.fixture
def scu():
    scu = CommitmentSCU()
    yield scu
    scu.entity.shutdown()


def test_commitment_to_what_is_held_is_reported_on_an_association_of_its_own(archive, scu):
    store(archive, CHILD)
    held = dcmread(CHILD)
    archive.know("SENDER", "127.0.0.1", scu.port)
    assert scu.request(archive, (held.SOPClassUID, held.SOPInstanceUID)) == 0x0000
    assert scu.came.wait(30)
    ((event_type, result),) = scu.results
    assert event_type == 1
    assert result.TransactionUID == "2.25.4711"
    assert [item.ReferencedSOPInstanceUID for item in result.ReferencedSOPSequence] == [held.SOPInstanceUID]
    assert "FailedSOPSequence" not in result


def test_no_commitment_is_given_to_what_is_not_held(archive, scu):
    store(archive, CHILD)
    held = dcmread(CHILD)
    archive.know("SENDER", "127.0.0.1", scu.port)
    scu.request(archive, (held.SOPClassUID, held.SOPInstanceUID), (held.SOPClassUID, "2.25.404"))
    assert scu.came.wait(30)
    ((event_type, result),) = scu.results
    assert event_type == 2
    assert [item.ReferencedSOPInstanceUID for item in result.ReferencedSOPSequence] == [held.SOPInstanceUID]
    assert [(item.ReferencedSOPInstanceUID, item.FailureReason) for item in result.FailedSOPSequence] == [
        ("2.25.404", 0x0112)
    ]


def test_commitment_is_refused_to_whom_nobody_can_report(archive, scu):
    assert scu.request(archive, ("1.2.840.10008.5.1.4.1.1.1", "2.25.404")) == 0x0110
