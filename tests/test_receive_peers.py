"""The receiver as DCMTK's and Orthanc's senders meet it."""

import threading

import pytest
from pydicom import dcmread
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from node.durable import key_of
from tests.peers import Orthanc, StoreSCP, echoscu, storescu, wait_until
from tests.radiographs import PATIENT, SHARED, STUDY_UID, radiograph, split, write_file
from tests.senders import HOST, NODE, receiving, todo

pytestmark = pytest.mark.peers
# The option that makes storescu propose a transfer syntax.
UNCOMPRESSED = {
    ImplicitVRLittleEndian: "-xi",
    ExplicitVRLittleEndian: "-xe",
    ExplicitVRBigEndian: "-xb",
    DeflatedExplicitVRLittleEndian: "-xd",
}
COMPRESSED = {
    JPEGBaseline8Bit: "-xy",
    JPEGExtended12Bit: "-xx",
    JPEGLosslessSV1: "-xs",
    JPEGLSLossless: "-xt",
    JPEGLSNearLossless: "-xu",
    JPEG2000Lossless: "-xv",
    JPEG2000: "-xw",
    RLELossless: "-xr",
}


def transfer_syntax_of(path):
    return split(path)[0]


def shared_radiographs():
    """The shared files that have all their identifiers and say their transfer syntax; of two with one UID the first."""
    films = {}
    for path in sorted(SHARED.glob("*.dcm")):
        dataset = dcmread(path, force=True, stop_before_pixels=True)
        if dataset.get("SeriesInstanceUID") and "TransferSyntaxUID" in dataset.file_meta:
            films.setdefault(str(dataset.SOPInstanceUID), path)
    return films


def test_a_c_echo_of_dcmtk_is_answered_under_the_nodes_own_title_alone(node):
    assert echoscu(node.port)
    assert not echoscu(node.port, called_ae_title="OTHER")


def test_a_call_under_another_title_is_told_why(node, tmp_path):
    refused = storescu(node.port, [write_file(tmp_path / "film.dcm", radiograph())], called_ae_title="OTHER")
    assert refused.returncode != 0
    assert "Called AE Title Not Recognized" in refused.stdout


def test_a_caller_that_is_not_on_the_list_is_told_why(tmp_path):
    film = write_file(tmp_path / "film.dcm", radiograph())
    with receiving(tmp_path / "spool", callers=("PACS",)) as node:
        refused = storescu(node.port, [film], calling_ae_title="STRANGER")
        assert refused.returncode != 0
        assert "Calling AE Title Not Recognized" in refused.stdout
        assert storescu(node.port, [film], calling_ae_title="PACS").returncode == 0


@pytest.mark.parametrize("transfer_syntax_uid", UNCOMPRESSED, ids=lambda uid: uid.name)
def test_what_storescu_sends_is_held_byte_for_byte(node, tmp_path, transfer_syntax_uid):
    """DCMTK's own receiver, told to preserve bits, is the witness of what was sent."""
    option = UNCOMPRESSED[transfer_syntax_uid]
    film = write_file(tmp_path / "film.dcm", radiograph(side_px=300), transfer_syntax_uid)
    with StoreSCP(tmp_path / "witness", options=["+B", "+xa"]) as witness:
        assert storescu(witness.port, [film], called_ae_title="STORESCP", options=[option]).returncode == 0
        assert storescu(node.port, [film], options=[option]).returncode == 0
        (seen,) = (split(path) for path in witness.files())
    (held,) = node.held().values()
    assert held == seen
    assert held[0] == transfer_syntax_uid


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.skipif(not SHARED.exists(), reason="the shared radiographs are not on this machine")
def test_real_radiographs_are_held_byte_for_byte_in_their_own_transfer_syntax(node, tmp_path):
    films = shared_radiographs().values()
    assert len({transfer_syntax_of(film) for film in films}) > 6
    with StoreSCP(tmp_path / "witness", options=["+B", "+xa"]) as witness:
        for film in films:
            options = [{**UNCOMPRESSED, **COMPRESSED}[UID(transfer_syntax_of(film))]]
            assert storescu(witness.port, [film], called_ae_title="STORESCP", options=options).returncode == 0, film
            sent = storescu(node.port, [film], options=options)
            assert sent.returncode == 0, sent.stdout
        seen = {str(dcmread(path).SOPInstanceUID): split(path) for path in witness.files()}
    assert node.held() == seen
    assert len(seen) == len(films) > 12


def test_a_study_of_many_films_is_settled_as_one_after_its_release(node, tmp_path):
    films = [write_file(tmp_path / f"{number}.dcm", radiograph()) for number in range(12)]
    assert storescu(node.port, films).returncode == 0
    wait_until(todo(node, STUDY_UID))
    (generation,) = node.spool.generations(key_of(STUDY_UID))
    assert set(generation.instances) == {key_of(str(dcmread(film).SOPInstanceUID)) for film in films}


def test_what_was_acknowledged_of_an_aborted_association_is_settled(tmp_path):
    film = write_file(tmp_path / "film.dcm", radiograph())
    with receiving(tmp_path / "spool", settle_s=0.05, quiet_s=600) as node:
        storescu(node.port, [film], options=["--abort"])
        wait_until(todo(node, STUDY_UID))
        assert len(node.held()) == 1


def test_films_sent_one_association_each_are_settled_as_one(tmp_path):
    films = [write_file(tmp_path / f"{number}.dcm", radiograph()) for number in range(4)]
    with receiving(tmp_path / "spool", settle_s=1.0, quiet_s=1.5) as node:
        for film in films:
            assert storescu(node.port, [film]).returncode == 0
        wait_until(todo(node, STUDY_UID))
        assert [len(generation.instances) for generation in node.spool.generations(key_of(STUDY_UID))] == [4]


def test_eight_senders_at_once_are_all_served(node, tmp_path):
    films = [write_file(tmp_path / f"{number}.dcm", radiograph(f"1.2.{number}")) for number in range(8)]
    codes = {}

    def bring(film):
        codes[film] = storescu(node.port, [film], options=["--repeat", "5"]).returncode

    threads = [threading.Thread(target=bring, args=(film,)) for film in films]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == dict.fromkeys(films, 0)
    assert set(node.held()) == {str(dcmread(film).SOPInstanceUID) for film in films}
    wait_until(lambda: len(node.spool.agenda.tasks("todo")) == 8)


def test_a_film_that_is_refused_is_said_to_be(node, tmp_path):
    whole = write_file(tmp_path / "whole.dcm", radiograph())
    other = write_file(tmp_path / "other.dcm", radiograph(SOPInstanceUID=dcmread(whole).SOPInstanceUID, Rows=4))
    assert storescu(node.port, [whole]).returncode == 0
    refused = storescu(node.port, [other], options=["-d"])
    assert refused.returncode != 0
    assert "0xc210" in refused.stdout
    assert "SOP Instance UID is held with other content" in refused.stdout
    assert [transfer_syntax for transfer_syntax, _ in node.held().values()] == [ExplicitVRLittleEndian]


def test_orthanc_verifies_the_node_and_sends_it_a_study(node, tmp_path):
    films = [write_file(tmp_path / f"{number}.dcm", radiograph()) for number in range(3)]
    with Orthanc(tmp_path / "orthanc") as pacs:
        pacs.add_modality("node", NODE, HOST, node.port)
        assert pacs.echo("node")
        pacs.store_to("node", [pacs.upload(film.read_bytes()) for film in films])
    wait_until(todo(node, STUDY_UID))
    (generation,) = node.spool.generations(key_of(STUDY_UID))
    assert set(generation.instances) == {key_of(str(dcmread(film).SOPInstanceUID)) for film in films}
    assert {str(dcmread(path).PatientID) for path in node.spool.study_folder(key_of(STUDY_UID)).glob("*.dcm")} == {
        PATIENT["PatientID"]
    }
