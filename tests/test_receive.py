"""A sender gets an answer to everything, and Success only for what lies in the spool as it was sent."""

import os
import socket
import threading
from io import BytesIO

import pydicom
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation
from pynetdicom import evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import Verification

from node.door.limits import Limits
from node.durable import key_of
from node.product import IMPLEMENTATION_CLASS_UID, MANUFACTURER, MODEL_NAME
from node.storage_classes import STORAGE_CLASSES, TRANSFER_SYNTAXES
from tests.peers import wait_until
from tests.radiographs import PATIENT, STUDY_UID, element, encoded, implicit, radiograph
from tests.senders import (
    CR,
    EXPLICIT,
    associated,
    bring,
    context_of,
    receiving,
    request,
    send,
    send_dataset,
)
from tests.spools import no_space

RETIRED = [uid for uid in STORAGE_CLASSES if pydicom.uid.UID_dictionary[uid][3] == "Retired"]
pytestmark = pytest.mark.usefixtures("quick_to_stop", "all_threads_end")


# Who gets in


def test_a_c_echo_is_answered(node):
    with associated(node.port, [(Verification, EXPLICIT)]) as association:
        assert association.send_c_echo().Status == 0x0000


def rejection(port, **titles):
    association = request(port, **titles)
    # pynetdicom's requestor leaves a rejection in its queue where that comes before it looks whether it is connected.
    answer = association.acceptor.primitive or association.dul.receive_pdu()
    return answer.result, answer.result_source, answer.diagnostic


@pytest.mark.parametrize("called", ["OTHER", "cxrtriage", "CXRTRIAGE2", "X"])
def test_a_call_under_another_title_is_rejected(node, called):
    assert rejection(node.port, called=called) == (1, 1, 7)


def test_a_caller_that_is_not_on_the_list_is_rejected_and_one_that_is_is_not(tmp_path):
    with receiving(tmp_path / "spool", callers=("PACS", "MODALITY 1")) as node:
        assert rejection(node.port, calling="STRANGER") == (1, 1, 3)
        for calling in ("PACS", "MODALITY 1"):
            assert bring(node.port, radiograph(), calling=calling) == [0x0000]


def test_without_a_list_every_caller_is_answered(node):
    assert bring(node.port, radiograph(), calling="ANYBODY") == [0x0000]


def test_more_associations_than_there_is_room_for_are_rejected_for_now(tmp_path):
    with (
        receiving(tmp_path / "spool", associations=2) as node,
        associated(node.port) as one,
        associated(node.port) as two,
    ):
        assert [send_dataset(each, radiograph()) for each in (one, two)] == [0x0000, 0x0000]
        assert rejection(node.port) == (2, 3, 2)
        two.release()
        wait_until(lambda: len(node.receiver._server.active_associations) == 1)
        assert bring(node.port, radiograph()) == [0x0000]
        assert send_dataset(one, radiograph()) == 0x0000


def test_every_transfer_syntax_of_the_standard_is_accepted_for_an_image(node):
    contexts = [(CR, uid) for uid in TRANSFER_SYNTAXES]
    assert 40 < len(contexts) <= 128
    with associated(node.port, contexts) as association:
        assert len(association.accepted_contexts) == len(contexts)


def test_every_storage_class_of_the_standard_is_accepted(node):
    classes = list(STORAGE_CLASSES)
    accepted = set()
    for first in range(0, len(classes), 128):
        some = classes[first : first + 128]
        with associated(node.port, [(uid, EXPLICIT) for uid in some]) as association:
            accepted |= {context.abstract_syntax for context in association.accepted_contexts}
    assert accepted == set(classes)


def test_a_class_that_is_no_storage_class_of_a_study_is_not_accepted(node):
    hanging_protocol, study_root_find = "1.2.840.10008.5.1.4.38.1", "1.2.840.10008.5.1.4.1.2.2.1"
    with associated(
        node.port, [(CR, EXPLICIT), (hanging_protocol, EXPLICIT), (study_root_find, EXPLICIT)]
    ) as association:
        assert [context.abstract_syntax for context in association.accepted_contexts] == [CR]


def test_large_pdus_are_agreed_and_answers_are_not_held_back(node):
    with associated(node.port) as association:
        assert association.acceptor.maximum_length == Limits().pdu_bytes
        (served,) = node.receiver._server.active_associations
        assert served.dul.socket.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_a_caller_that_takes_short_pdus_alone_gets_its_answer_in_pieces(node):
    pieces = []
    handlers = [
        (evt.EVT_PDU_RECV, lambda event: pieces.append(event.pdu) if isinstance(event.pdu, P_DATA_TF) else None)
    ]
    dataset = radiograph()
    with associated(node.port, max_pdu=64, evt_handlers=handlers) as association:
        assert send(association, encoded(dataset), dataset.SOPInstanceUID).Status == 0x0000
    assert len(pieces) > 1
    assert max(piece.pdu_length for piece in pieces) <= 64


# What is taken


def test_success_means_the_very_bytes_are_in_the_spool(node):
    dataset = radiograph(side_px=300)
    data = encoded(dataset)
    assert len(data) > Limits().pdu_bytes
    with associated(node.port) as association:
        assert send(association, data, dataset.SOPInstanceUID).Status == 0x0000
        assert node.held() == {dataset.SOPInstanceUID: (EXPLICIT, data)}


def test_the_file_is_a_dicom_file_that_says_what_it_holds(node):
    dataset = radiograph()
    bring(node.port, dataset)
    path = node.spool.instance_path(key_of(STUDY_UID), key_of(dataset.SOPInstanceUID))
    read = dcmread(path)
    assert {element.keyword: str(element.value) for element in read.file_meta if element.VR == "UI"} == {
        "MediaStorageSOPClassUID": CR,
        "MediaStorageSOPInstanceUID": dataset.SOPInstanceUID,
        "TransferSyntaxUID": EXPLICIT,
        "ImplementationClassUID": IMPLEMENTATION_CLASS_UID,
    }
    assert read.file_meta.FileMetaInformationVersion == b"\0\1"
    assert read.pixel_array.shape == (8, 8)


def test_every_transfer_syntax_is_stored_as_it_came(node, no_fsync):
    sent = {}
    with associated(node.port, [(CR, uid) for uid in TRANSFER_SYNTAXES]) as association:
        for uid in TRANSFER_SYNTAXES:
            dataset = radiograph()
            if UID(uid).is_encapsulated:
                dataset.PixelData = encapsulate([b"\xff\xd8 a frame "])
                dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
            data = encoded(dataset, uid)
            assert send(association, data, dataset.SOPInstanceUID, CR, uid).Status == 0x0000, uid
            sent[dataset.SOPInstanceUID] = (uid, data)
    assert node.held() == sent


def test_every_storage_class_is_stored_retired_ones_too(node, no_fsync):
    assert len(RETIRED) > 15
    classes, sent = list(STORAGE_CLASSES), set()
    for first in range(0, len(classes), 128):
        some = classes[first : first + 128]
        with associated(node.port, [(uid, EXPLICIT) for uid in some]) as association:
            for uid in some:
                dataset = radiograph(SOPClassUID=uid, side_px=2)
                assert send_dataset(association, dataset) == 0x0000, STORAGE_CLASSES[uid]
                sent.add(dataset.SOPInstanceUID)
    assert set(node.held()) == sent


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "image"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11"}, "document"),
        ({"Manufacturer": MANUFACTURER, "ManufacturerModelName": MODEL_NAME}, "own"),
        ({"Manufacturer": MANUFACTURER, "ManufacturerModelName": "another"}, "image"),
        ({"Manufacturer": "another", "ManufacturerModelName": MODEL_NAME}, "image"),
    ],
)
def test_an_instance_is_kept_by_its_kind(node, changes, kind):
    assert bring(node.port, radiograph(**changes)) == [0x0000]
    assert node.kinds() == [kind]


def test_the_same_instance_again_is_success_and_one_file(node):
    dataset = radiograph()
    assert bring(node.port, dataset, dataset) == [0x0000, 0x0000]
    assert bring(node.port, dataset, calling="ANOTHER") == [0x0000]
    assert len(node.held()) == 1


def test_an_instance_of_a_uid_that_is_held_with_other_content_is_refused(node):
    first = radiograph(SOPInstanceUID="1.2.3.4")
    second = radiograph(SOPInstanceUID="1.2.3.4", Rows=4)
    with associated(node.port) as association:
        assert send(association, encoded(first), "1.2.3.4").Status == 0x0000
        answer = send(association, encoded(second), "1.2.3.4")
    assert (answer.Status, answer.ErrorComment) == (0xC210, "SOP Instance UID is held with other content")
    assert node.held() == {"1.2.3.4": (EXPLICIT, encoded(first))}


def test_of_two_senders_of_one_uid_with_other_content_at_once_one_succeeds(node):
    answers, barrier = {}, threading.Barrier(4)

    def bring_rows(rows):
        dataset = radiograph(SOPInstanceUID="1.2.3.4", Rows=rows)
        with associated(node.port) as association:
            barrier.wait()
            answers[rows] = send(association, encoded(dataset), "1.2.3.4").Status

    threads = [threading.Thread(target=bring_rows, args=(rows,)) for rows in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers.values()) == [0x0000, 0xC210, 0xC210, 0xC210]
    (winner,) = (rows for rows, status in answers.items() if status == 0x0000)
    path = node.spool.instance_path(key_of(STUDY_UID), key_of("1.2.3.4"))
    assert dcmread(path).Rows == winner


# What is refused, and how it is said


def refused(node, data, sop_instance_uid="1.2.3.4", **announced):
    """Send what is to be refused; gives status and comment. The association goes on, and nothing is kept."""
    with associated(
        node.port, [(CR, EXPLICIT), (str(DigitalXRayImageStorageForPresentation), EXPLICIT)]
    ) as association:
        answer = send(association, data, sop_instance_uid, **announced)
        assert (answer.AffectedSOPInstanceUID, answer.MessageIDBeingRespondedTo) == (sop_instance_uid, 7)
        assert 0 < len(answer.ErrorComment) <= 64
        assert not any(value in answer.ErrorComment for value in PATIENT.values())
        assert node.held() == {}
        assert send_dataset(association, radiograph()) == 0x0000
    return answer.Status, answer.ErrorComment


def test_another_instance_than_announced_is_a_mismatch(node):
    dataset = radiograph(SOPInstanceUID="1.2.3.5")
    assert refused(node, encoded(dataset)) == (0xA900, "SOP Instance UID differs from the command's")


def test_another_class_than_announced_is_a_mismatch(node):
    data = encoded(radiograph(SOPInstanceUID="1.2.3.4"))
    announced = {"sop_class_uid": str(DigitalXRayImageStorageForPresentation)}
    assert refused(node, data, **announced) == (0xA900, "SOP Class UID differs from the command's")


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_an_instance_without_a_study_or_series_is_a_mismatch(node, keyword):
    status, comment = refused(node, encoded(radiograph(SOPInstanceUID="1.2.3.4", **{keyword: None})))
    assert (status, comment[-27:]) == (0xA900, "UID is missing or malformed")


WHOLE = encoded(radiograph(SOPInstanceUID="1.2.3.4"))


@pytest.mark.parametrize(
    ("data", "comment"),
    [
        (WHOLE[:-1], "a value overruns its place"),
        (WHOLE[:-130], "the data set is cut short"),
        (WHOLE[:100], "the data set is cut short"),
        (WHOLE + b"\1", "the data set is cut short"),
        (b"\0", "the data set is cut short"),
        (b"", "the data set is empty"),
        (b"no data set at all, not at all", "no value representation"),
        (WHOLE.replace(b"UI", b"U1"), "no value representation"),
        (element(0x00081140, b"SQ", implicit(0xFFFEE000, b"", 2**32 - 1), 2**32 - 1) * 9999, "nested too deeply"),
        (encoded(radiograph(SOPInstanceUID="1.2.3.4", Rows=100)), "pixel data is shorter than the image"),
    ],
    ids=range(10),
)
def test_what_is_cut_short_or_broken_cannot_be_understood(node, data, comment):
    status, said = refused(node, data)
    assert status == 0xC210
    assert comment in said


def test_a_request_that_is_none_ends_the_association_for_its_sender_would_wait_for_ever(node):
    """A C-STORE without an instance UID, and a response to nothing."""
    nameless, response = C_STORE(), C_STORE()
    nameless.MessageID = response.MessageIDBeingRespondedTo = 7
    nameless.AffectedSOPClassUID, nameless.Priority, nameless.DataSet = CR, 2, BytesIO(WHOLE)
    response.Status = 0x0000
    for message in (nameless, response):
        with associated(node.port) as association:
            association.dimse.send_msg(message, context_of(association, CR, EXPLICIT))
            wait_until(lambda association=association: association.is_aborted, 10)
    assert node.held() == {}
    assert bring(node.port, radiograph()) == [0x0000]


def test_an_instance_on_a_context_of_another_class_is_refused(node):
    dataset = radiograph(SOPClassUID=DigitalXRayImageStorageForPresentation)
    with associated(node.port, [(CR, EXPLICIT), (Verification, EXPLICIT)]) as association:
        for abstract_syntax in (CR, Verification):
            context_id = context_of(association, abstract_syntax, EXPLICIT)
            answer = send(
                association, encoded(dataset), dataset.SOPInstanceUID, dataset.SOPClassUID, context_id=context_id
            )
            assert (answer.Status, answer.ErrorComment) == (
                0x0122,
                "SOP Class UID differs from the presentation context's",
            )
        assert node.held() == {}
        assert send_dataset(association, radiograph()) == 0x0000


def test_a_full_disk_is_out_of_resources_until_there_is_room(node, monkeypatch):
    dataset = radiograph()
    with associated(node.port) as association, monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        answer = send(association, encoded(dataset), dataset.SOPInstanceUID)
        assert (answer.Status, answer.ErrorComment[:34]) == (0xA700, "the spool does not take the instan")
        assert [path for path in node.spool.folder.rglob("*") if path.is_file()] == []
        patch.undo()
        assert send_dataset(association, dataset) == 0x0000


@pytest.mark.parametrize("error", [ValueError(PATIENT["PatientName"]), KeyError("x"), RecursionError(), MemoryError()])
def test_a_fault_that_nobody_foresaw_is_answered_too(node, monkeypatch, error):
    def fail(*_):
        raise error

    with associated(node.port) as association, monkeypatch.context() as patch:
        patch.setattr(node.spool, "take", fail)
        dataset = radiograph()
        answer = send(association, encoded(dataset), dataset.SOPInstanceUID)
        assert answer.Status == 0xC211
        assert not answer.ErrorComment
        patch.undo()
        assert send_dataset(association, dataset) == 0x0000
