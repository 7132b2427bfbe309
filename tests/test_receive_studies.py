"""A study is settled when its senders have gone, whatever became of them; a receiver starts and stops cleanly."""

import socket
import threading

import pytest
from pynetdicom import evt

from node import receive
from node.config import Listen, Settings
from node.config import Spool as SpoolSection
from node.durable import key_of
from node.errors import ConfigError
from node.product import MANUFACTURER, MODEL_NAME
from node.receive import Receiver
from node.spool import Kind, Spool
from tests.peers import free_port, wait_until
from tests.radiographs import STUDY_UID, radiograph
from tests.senders import (
    HOST,
    associated,
    bring,
    receiving,
    request,
    send_dataset,
    todo,
)
from tests.spools import no_space

pytestmark = pytest.mark.usefixtures("quick_to_stop", "all_threads_end")


# When a study is complete


def test_a_study_is_settled_after_its_association_is_released(tmp_path):
    datasets = [radiograph() for _ in range(3)]
    with receiving(tmp_path / "spool", settle_s=0.05, quiet_s=600) as node:
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
                no_space()
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
        wait_until(lambda: (node.receiver.door()["pending"], node.receiver.door()["established"]) == (1, 1))
        receiver_threads = node.receiver._server.active_associations
    wait_until(lambda: not any(thread.is_alive() or thread.dul.is_alive() for thread in receiver_threads), 10)
    silent.close()
    del deaf.dul._is_transport_event


def test_a_receiver_can_be_started_again_on_its_spool(tmp_path):
    for number in range(3):
        with receiving(tmp_path / "spool") as node:
            assert bring(node.port, radiograph()) == [0x0000]
            assert len(node.held()) == number + 1
