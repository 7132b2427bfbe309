"""Files go to a peer in their own transfer syntax, and whatever cannot be sent is named."""

from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
)
from pynetdicom import AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from node.archive import Archive
from node.samples import FOLDER, studies
from node.send import SendError, send
from tests.peers import StoreSCP, free_port, require_peer
from tests.scp import UNCOMPRESSED, storage_scp

SAMPLES = [file for study in studies() for file in study.files]
CHILD = FOLDER / "02-normal-child" / "chest-ap.dcm"
LOSSLESS = FOLDER / "03-pneumonia-adult" / "chest-ap.dcm"
TUBERCULOSIS = FOLDER / "05-tuberculosis-adult" / "chest-pa.dcm"
EVERY_IMAGE = [
    (ComputedRadiographyImageStorage, (*UNCOMPRESSED, JPEGLosslessSV1)),
    (DigitalXRayImageStorageForPresentation, UNCOMPRESSED),
]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    with Archive(tmp_path_factory.mktemp("archive")) as archive:
        yield archive


def send_to(peer, *files, progress=None):
    return send([Path(file) for file in files], "127.0.0.1", peer.port, "ANY", "SENDER", progress)


def held(archive, file):
    """Return the path of the archive's copy of a file, or None."""
    uid = dcmread(file, force=True, stop_before_pixels=True).SOPInstanceUID
    return next((each.path for each in archive.instances if each.sop_instance_uid == uid), None)


def data_set_bytes(path):
    """Return what follows the file meta information, whose length (0002,0000) stands behind the prefix."""
    content = path.read_bytes()
    return content[144 + int.from_bytes(content[140:144], "little") :]


def test_every_sample_arrives_with_the_very_bytes_of_its_data_set(archive):
    results = send_to(archive, *SAMPLES)
    assert [result.path for result in results] == SAMPLES
    assert {(result.status, result.status_name, result.stored) for result in results} == {(0x0000, "success", True)}
    for file in SAMPLES:
        copy = held(archive, file)
        assert data_set_bytes(copy) == data_set_bytes(file)
        assert dcmread(copy).file_meta.TransferSyntaxUID == dcmread(file).file_meta.TransferSyntaxUID


@pytest.mark.peers
def test_dcmtk_takes_the_samples_too(tmp_path):
    require_peer("storescp")
    with StoreSCP(tmp_path, options=["+xa"]) as peer:
        results = send_to(peer, *SAMPLES)
    assert all(result.stored for result in results)
    assert {dcmread(file).SOPInstanceUID for file in peer.files()} == {dcmread(file).SOPInstanceUID for file in SAMPLES}


def test_progress_is_told_after_each_file(archive, tmp_path):
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" * 40)
    seen = []
    results = send_to(archive, CHILD, picture, TUBERCULOSIS, progress=seen.append)
    assert sorted(seen, key=results.index) == results


def test_each_study_has_one_association():
    with storage_scp(EVERY_IMAGE) as peer:
        results = send_to(peer, *SAMPLES[::-1])
    assert all(result.stored for result in results)
    assert len(peer.associations) == len(studies())


def test_a_context_the_peer_does_not_accept_is_named_and_the_others_go_on():
    with storage_scp([(Verification, UNCOMPRESSED), (ComputedRadiographyImageStorage, UNCOMPRESSED)]) as peer:
        results = send_to(peer, LOSSLESS, SAMPLES[0], CHILD)
    assert [result.status for result in results] == [None, None, 0x0000]
    names = [result.status_name for result in results]
    syntax = JPEGLosslessSV1.name
    assert names[0] == f"the peer does not accept Computed Radiography Image Storage in {syntax}"
    assert names[1].startswith("the peer does not accept Digital X-Ray Image Storage - For Presentation in Explicit VR")


def test_the_answer_of_the_peer_is_in_the_result():
    with storage_scp(EVERY_IMAGE) as peer:
        peer.status = 0xA700
        (refused,) = send_to(peer, TUBERCULOSIS)
        peer.status = 0xB000
        (warned,) = send_to(peer, TUBERCULOSIS)
    assert (refused.status, refused.status_name, refused.stored) == (0xA700, "refused: out of resources", False)
    assert (warned.status, warned.status_name, warned.stored) == (0xB000, "warning: coercion of data elements", True)


def test_after_an_abort_the_next_file_has_an_association_of_its_own():
    first, second = SAMPLES[-3], SAMPLES[-2]
    uid = dcmread(first).SOPInstanceUID

    def abort_once(event):
        if event.request.AffectedSOPInstanceUID == uid:
            event.assoc.abort()
        return 0x0000

    with storage_scp(EVERY_IMAGE, handlers=[(evt.EVT_C_STORE, abort_once)]) as peer:
        aborted, stored = send_to(peer, first, second)
    assert (aborted.status, stored.status) == (None, 0x0000)
    assert "ended the association before it answered" in aborted.status_name
    assert len(peer.associations) == 2


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not a DICOM file"),
        (b"hello, this is a text file " * 20, "not a DICOM file"),
        (b"\x08\x00", "not a DICOM instance: no SOP class or SOP instance UID"),
        (b"\0" * 128 + b"DICM", "not a DICOM instance: no SOP class or SOP instance UID"),
    ],
)
def test_what_is_no_dicom_instance_is_named(archive, tmp_path, content, why):
    file = tmp_path / "file"
    file.write_bytes(content)
    rest, result = send_to(archive, TUBERCULOSIS, file)
    assert rest.stored
    assert (result.path, result.status, result.status_name) == (file, None, why)


def test_a_missing_file_and_a_folder_are_named(archive, tmp_path):
    missing, folder = send_to(archive, tmp_path / "none.dcm", tmp_path)
    assert missing.status_name == "cannot be read: no such file or directory"
    assert folder.status_name == "cannot be read: is a directory"


@pytest.mark.parametrize(
    ("syntax", "implicit", "little"),
    [
        (ImplicitVRLittleEndian, True, True),
        (ExplicitVRLittleEndian, False, True),
        (ExplicitVRBigEndian, False, False),
    ],
)
def test_a_data_set_without_preamble_and_file_meta_is_sent(archive, tmp_path, syntax, implicit, little):
    file = tmp_path / "bare"
    dataset = document("2.25.1", CTImageStorage)
    dataset.save_as(file, implicit_vr=implicit, little_endian=little)
    assert file.read_bytes()[128:132] != b"DICM"
    (result,) = send_to(archive, file)
    assert result.stored
    copy = dcmread(held(archive, file))
    assert copy.file_meta.TransferSyntaxUID == syntax
    assert copy == dataset


def document(sop_instance_uid, sop_class_uid):
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class_uid, sop_instance_uid
    dataset.StudyInstanceUID = "2.25.2"
    dataset.PatientName = "SAMPLE^NONE"
    return dataset


def test_a_study_of_more_than_128_kinds_of_instance_goes_on_several_associations(tmp_path):
    classes = [context.abstract_syntax for context in AllStoragePresentationContexts[:150]]
    files = [tmp_path / f"{number}.dcm" for number in range(len(classes))]
    for number, (file, sop_class_uid) in enumerate(zip(files, classes, strict=True)):
        dataset = document(f"2.25.{1000 + number}", sop_class_uid)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.save_as(file, enforce_file_format=True)
    with storage_scp([(Verification, UNCOMPRESSED), *((each, UNCOMPRESSED) for each in classes)]) as peer:
        results = send_to(peer, *files)
    assert {result.status_name for result in results} == {"success"}
    assert {each.sop_class_uid for each in peer.received} == set(classes)
    assert len(peer.associations) == 2


def test_an_unreachable_peer_is_said_in_words():
    port = free_port()
    with pytest.raises(SendError, match=f"ANY at 127.0.0.1:{port} cannot be reached: connection refused"):
        send([CHILD], "127.0.0.1", port, "ANY", "SENDER")


def test_a_peer_that_does_not_know_the_caller_is_said_in_words():
    why = r"calling AE title not recognized\. Add SENDER to its known AE titles"
    with storage_scp(EVERY_IMAGE, require_calling_aet=["FRIEND"]) as peer, pytest.raises(SendError, match=why):
        send_to(peer, CHILD)


def test_a_peer_that_goes_away_leaves_the_rest_named(tmp_path):
    with Archive(tmp_path) as peer:
        first, *rest = send_to(peer, TUBERCULOSIS, CHILD, SAMPLES[0], progress=lambda _result: peer.stop())
    assert first.stored
    assert [result.path for result in rest] == [CHILD, SAMPLES[0]]
    assert all(result.status is None and "cannot be reached" in result.status_name for result in rest)


@pytest.mark.parametrize("title", ["", "  ", "LONGER THAN SIXTEEN", "BACK\\SLASH", "ÄE"])
def test_an_impossible_ae_title_is_refused(title):
    with pytest.raises(SendError, match="AE title"):
        send([CHILD], "127.0.0.1", 1, title, "SENDER")


def test_nothing_to_send_needs_no_peer():
    assert send([], "127.0.0.1", 1, "ANY", "SENDER") == []
