"""A sender gets an answer to everything, and Success only for what lies in the spool as it was sent."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from io import BytesIO
from pathlib import Path
from socketserver import BaseServer

import pydicom
import pytest
from pydicom import Dataset, Sequence, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation
from pynetdicom import build_role, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance, Verification

from node import receive
from node.config import Listen, Settings
from node.config import Spool as SpoolSection
from node.durable import key_of
from node.errors import ConfigError
from node.product import IMPLEMENTATION_CLASS_UID, MANUFACTURER, MODEL_NAME
from node.receive import MAXIMUM_PDU_BYTES, Receiver
from node.spool import Kind, Spool
from node.storage_classes import STORAGE_CLASSES, TRANSFER_SYNTAXES
from tests.peers import free_port, wait_until
from tests.radiographs import PATIENT, STUDY_UID, element, encoded, implicit, radiograph
from tests.senders import (
    CR,
    EXPLICIT,
    HOST,
    associated,
    bring,
    context_of,
    receiving,
    request,
    send,
    send_dataset,
    todo,
)

HERE = Path(__file__).resolve().parents[1]
RETIRED = [uid for uid in STORAGE_CLASSES if pydicom.uid.UID_dictionary[uid][3] == "Retired"]


@pytest.fixture
def node(tmp_path):
    with receiving(tmp_path / "spool") as running:
        yield running


@pytest.fixture
def no_fsync(monkeypatch):
    """For many instances: that each is durable is shown elsewhere."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(autouse=True)
def quick_to_stop(monkeypatch):
    """pynetdicom looks every half second whether its server is to stop."""
    monkeypatch.setattr(BaseServer.serve_forever, "__defaults__", (0.01,))


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    wait_until(lambda: set(threading.enumerate()) <= before, 10, "the end of all threads")


# Who gets in


def test_a_c_echo_is_answered(node):
    with associated(node.port, [(Verification, EXPLICIT)]) as association:
        assert association.send_c_echo().Status == 0x0000


def rejection(port, **titles):
    association = request(port, **titles)
    assert association.is_rejected
    answer = association.acceptor.primitive
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


def test_more_associations_than_there_is_room_for_are_rejected_for_now(tmp_path, monkeypatch):
    monkeypatch.setattr(receive, "MAXIMUM_ASSOCIATIONS", 2)
    with receiving(tmp_path / "spool") as node, associated(node.port) as one, associated(node.port) as two:
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
        assert association.acceptor.maximum_length == MAXIMUM_PDU_BYTES
        (served,) = node.receiver._server.active_associations
        assert served.dul.socket.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


# What is taken


def test_success_means_the_very_bytes_are_in_the_spool(node):
    dataset = radiograph(side_px=300)
    data = encoded(dataset)
    assert len(data) > MAXIMUM_PDU_BYTES
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


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_out_of_resources_until_there_is_room(node, monkeypatch):
    dataset = radiograph()
    with associated(node.port) as association, monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
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


# When a study is complete


def test_a_study_is_settled_after_its_association_is_released(node):
    datasets = [radiograph() for _ in range(3)]
    assert bring(node.port, *datasets) == [0x0000] * 3
    wait_until(todo(node, STUDY_UID))
    (task,) = todo(node, STUDY_UID)()
    generation = node.spool.generation(task.study_key, task.generation)
    assert set(generation.instances) == {key_of(dataset.SOPInstanceUID) for dataset in datasets}


def test_a_study_is_not_settled_before_its_association_is_released(tmp_path):
    with receiving(tmp_path / "spool", settle_s=0.05, quiet_s=600) as node:
        with associated(node.port) as association:
            assert send_dataset(association, radiograph()) == 0x0000
            assert bring(node.port, radiograph("1.2.3")) == [0x0000]
            wait_until(todo(node, "1.2.3"))
            assert todo(node, STUDY_UID)() == []
        wait_until(todo(node, STUDY_UID))


def test_the_images_of_an_association_that_was_aborted_are_settled_too(tmp_path):
    with receiving(tmp_path / "spool", settle_s=0.05, quiet_s=600) as node:
        association = request(node.port)
        assert send_dataset(association, radiograph()) == 0x0000
        association.abort()
        wait_until(todo(node, STUDY_UID))


def test_the_images_of_an_association_whose_connection_was_cut_are_settled_too(tmp_path):
    with receiving(tmp_path / "spool", settle_s=0.05, quiet_s=600) as node:
        association = request(node.port)
        assert send_dataset(association, radiograph()) == 0x0000
        association.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        wait_until(todo(node, STUDY_UID))


def test_an_association_aborted_while_an_image_is_stored_does_not_hold_its_study(tmp_path, monkeypatch):
    with receiving(tmp_path / "spool", settle_s=0.05, quiet_s=600) as node:
        begun, go_on, take = threading.Event(), threading.Event(), node.spool.take

        def slowly(*arguments):
            begun.set()
            assert go_on.wait(20)
            return take(*arguments)

        monkeypatch.setattr(node.spool, "take", slowly)
        association = request(node.port)
        association.dimse_timeout = 0.5
        sending = threading.Thread(target=send_dataset_or_fail, args=(association, radiograph()))
        sending.start()
        assert begun.wait(20)
        association.abort()
        wait_until(lambda: not association.dul.is_alive())
        go_on.set()
        sending.join()
        wait_until(todo(node, STUDY_UID))


def send_dataset_or_fail(association, dataset):
    try:
        send_dataset(association, dataset)
    except (AttributeError, ValueError):
        return  # no response came


def test_a_late_image_makes_a_second_generation(node):
    bring(node.port, radiograph())
    wait_until(todo(node, STUDY_UID))
    bring(node.port, radiograph())
    wait_until(lambda: len(todo(node, STUDY_UID)()) == 2)
    first, second = node.spool.generations(key_of(STUDY_UID))
    assert (second.previous, len(second.instances)) == (first.name, 2)


def test_an_image_that_comes_again_makes_no_second_generation(node):
    dataset = radiograph()
    bring(node.port, dataset)
    wait_until(todo(node, STUDY_UID))
    bring(node.port, dataset)
    bring(node.port, radiograph("1.2.3"))
    wait_until(todo(node, "1.2.3"))
    assert len(node.spool.generations(key_of(STUDY_UID))) == 1


def test_own_results_that_come_back_are_stored_and_make_no_task(node):
    own = {"Manufacturer": MANUFACTURER, "ManufacturerModelName": MODEL_NAME}
    assert bring(node.port, radiograph(**own), radiograph("1.2.3", **own)) == [0x0000] * 2
    bring(node.port, radiograph("1.2.4"))
    wait_until(todo(node, "1.2.4"))
    assert node.kinds() == ["image", "own", "own"]
    assert len(node.spool.agenda.tasks("todo")) == 1


def test_own_results_that_come_back_do_not_hold_up_a_study(tmp_path):
    with receiving(tmp_path / "spool", settle_s=0.5, quiet_s=600) as node:
        bring(node.port, radiograph())
        bring(node.port, radiograph(Manufacturer=MANUFACTURER, ManufacturerModelName=MODEL_NAME))
        wait_until(todo(node, STUDY_UID))


def test_a_study_that_a_full_disk_could_not_settle_is_settled_when_there_is_room(tmp_path, monkeypatch):
    monkeypatch.setattr(receive, "SETTLE_AGAIN_S", 0.01)
    with receiving(tmp_path / "spool", settle_s=0.05, quiet_s=0.05) as node:
        failed, note = threading.Event(), node.spool.agenda.note

        def full_once(task):
            if not failed.is_set():
                failed.set()
                full_disk()
            note(task)

        monkeypatch.setattr(node.spool.agenda, "note", full_once)
        bring(node.port, radiograph())
        wait_until(todo(node, STUDY_UID))
        assert failed.is_set()
        assert len(node.spool.generations(key_of(STUDY_UID))) == 1


# Start and stop


def test_what_an_earlier_stop_left_is_settled_and_half_an_instance_is_removed(tmp_path):
    spool = Spool(tmp_path / "spool")
    spool.take(STUDY_UID, "1.2.3", Kind.IMAGE, (b"an image",))
    (tmp_path / "spool" / "incoming" / "0123.part").write_bytes(b"half")
    with receiving(tmp_path / "spool") as node:
        wait_until(todo(node, STUDY_UID))
        assert list((tmp_path / "spool" / "incoming").iterdir()) == []


def test_a_study_that_goes_on_after_a_restart_is_read_as_one(tmp_path):
    with receiving(tmp_path / "spool", quiet_s=600) as node, associated(node.port) as association:
        assert send_dataset(association, radiograph()) == 0x0000
    wait_until(lambda: not association.is_alive())
    with receiving(tmp_path / "spool", settle_s=0.2, quiet_s=600) as node:
        assert bring(node.port, radiograph()) == [0x0000]
        wait_until(todo(node, STUDY_UID))
        (generation,) = node.spool.generations(key_of(STUDY_UID))
        assert len(generation.instances) == 2


def receiver_at(folder, **listen):
    return Receiver(Settings(listen=Listen(**listen), spool=SpoolSection(folder=folder)), Spool(folder))


def test_a_port_that_is_taken_is_a_mistake_of_the_configuration(tmp_path):
    with socket.create_server((HOST, 0)) as holder:
        port = holder.getsockname()[1]
        receiver = receiver_at(tmp_path, port=port)
        with pytest.raises(ConfigError, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use\. Stop"):
            receiver.start()
    receiver.stop()


def test_two_receivers_cannot_share_a_port(node, tmp_path):
    with pytest.raises(ConfigError, match="cannot listen"):
        receiver_at(tmp_path / "other", port=node.port).start()


@pytest.mark.parametrize("host", ["203.0.113.7", "no host at all"])
def test_an_address_that_is_not_ours_is_a_mistake_of_the_configuration(tmp_path, host):
    with pytest.raises(ConfigError, match=f"cannot listen on {host}"):
        receiver_at(tmp_path, host=host, port=0).start()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_the_node_listens_where_it_is_told(tmp_path, host):
    with receiving(tmp_path / "spool", host=host) as node:
        assert bring(node.port, radiograph()) == [0x0000]


def test_the_port_is_the_one_of_the_configuration(tmp_path):
    port = free_port()
    with receiving(tmp_path / "spool", port=port) as node:
        assert node.port == port


def test_a_stop_aborts_what_is_in_progress_and_closes_the_port(tmp_path):
    aborted = threading.Event()
    with receiving(tmp_path / "spool") as node:
        association = request(node.port, evt_handlers=[(evt.EVT_ABORTED, lambda event: aborted.set())])
        assert send_dataset(association, radiograph()) == 0x0000
    assert aborted.wait(10)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, node.port), 5)


def test_peers_that_neither_speak_nor_hang_up_do_not_keep_the_node_from_stopping(tmp_path, monkeypatch):
    monkeypatch.setattr(receive, "ABORT_WITHIN_S", 0.2)
    with receiving(tmp_path / "spool") as node:
        silent = socket.create_connection((HOST, node.port))
        deaf = request(node.port)
        deaf.dul._is_transport_event = lambda: False
        wait_until(lambda: len(node.receiver._server.active_associations) == 2)
        receiver_threads = node.receiver._server.active_associations
    wait_until(lambda: not any(thread.is_alive() or thread.dul.is_alive() for thread in receiver_threads), 10)
    silent.close()
    del deaf.dul._is_transport_event


def test_a_receiver_can_be_started_again_on_its_spool(tmp_path):
    for number in range(3):
        with receiving(tmp_path / "spool") as node:
            assert bring(node.port, radiograph()) == [0x0000]
            assert len(node.held()) == number + 1


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


def test_a_pacs_that_does_not_negotiate_its_role_is_heard_too(node):
    assert report(node, event_information(), roles=False) == 0x0000
    assert node.spool.outbox.commitment("2.25.9")["committed"] == ["1.2"]


def test_a_commitment_that_a_pacs_reports_is_kept(node):
    assert report(node, event_information(committed=("1.2", "1.3"))) == 0x0000
    assert node.spool.outbox.commitment("2.25.9") == {"committed": ["1.2", "1.3"], "failed": []}


def test_failures_are_kept_with_their_reasons(node):
    assert report(node, event_information(failed=("1.4",)), event_type=2) == 0x0000
    ((instance, status, _),) = node.spool.outbox.commitment("2.25.9")["failed"]
    assert (instance, "0112" in status) == ("1.4", True)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize(("uid", "event_type", "status"), [("2.25.9", 9, 0x0113), ("evil/../uid", 1, 0x0115)])
def test_a_report_of_nothing_that_was_asked_is_refused_and_not_kept(node, uid, event_type, status):
    assert report(node, event_information(uid), event_type) == status
    assert list((node.spool.folder / "commitments").iterdir()) == []


def test_a_report_that_cannot_be_kept_is_not_answered_with_success(node, monkeypatch):
    monkeypatch.setattr(node.spool.outbox, "write_commitment", full_disk)
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
