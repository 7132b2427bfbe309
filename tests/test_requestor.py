"""Contracts with pynetdicom: each fails when an upgrade changes what ``node.requestor`` leans on."""

import resource
import socket
import threading
import time
from inspect import getsource as source
from io import BytesIO

import pytest
from pynetdicom import AE, Association, fsm
from pynetdicom.dimse_primitives import C_ECHO, C_STORE, N_EVENT_REPORT
from pynetdicom.dul import DULServiceProvider
from pynetdicom.sop_class import ComprehensiveSRStorage, Verification
from pynetdicom.transport import AddressInformation, AssociationSocket

from node import requestor
from node.requestor import RequestorAE, keep_apart, next_response, send_whole_messages
from tests.scp import HOST, raw_server, storage_scp


def c_store_response(message_id=1):
    response = C_STORE()
    response.MessageIDBeingRespondedTo = message_id
    response.AffectedSOPClassUID = ComprehensiveSRStorage
    response.AffectedSOPInstanceUID = "2.25.1"
    response.Status = 0x0000
    return response


@pytest.fixture
def association():
    return Association(AE("CXRTRIAGE"), "requestor")


def associate(port, **attributes):
    entity = RequestorAE("CXRTRIAGE")
    for name, value in attributes.items():
        setattr(entity, name, value)
    entity.add_requested_context(Verification)
    return entity.associate(HOST, port)


def test_stock_pynetdicom_drops_a_response_its_reactor_has_taken(association):
    association._serve_request(c_store_response(), 1)
    assert association.dimse.msg_queue.empty()


def test_a_response_is_kept_from_the_reactor_for_the_requestor(association):
    keep_apart(association)
    response = c_store_response()
    association.dimse.msg_queue.put((1, response))
    assert association.dimse.get_msg(block=False) == (None, None), "what the reactor sees"
    assert next_response(association, 0.1) is response
    assert next_response(association, 0.01) is None


def test_a_request_of_the_peer_reaches_the_reactor_and_not_the_requestor(association):
    keep_apart(association)
    request = C_ECHO()
    request.MessageID = 7
    request.AffectedSOPClassUID = Verification
    association.dimse.msg_queue.put((3, request))
    assert next_response(association, 0.01) is None
    assert association.dimse.get_msg(block=False) == (3, request)


def test_upstreams_own_ways_of_asking_get_their_response(association):
    keep_apart(association)
    association.dimse.msg_queue.put((1, response := c_store_response()))
    assert association.dimse.get_msg(block=True) == (1, response)
    association.dimse_timeout = 0.01
    assert association.dimse.get_msg(block=True) == (None, None)


def test_the_reactor_takes_from_the_queue_that_responses_come_through(association):
    """The cause of the loss: one cycle of the stock reactor empties the queue the requestor waits on."""
    association.dimse.msg_queue.put((1, c_store_response()))
    association.dul.start = lambda: None
    association._kill = False
    association.dul.is_alive = lambda: False  # ends the reactor after its first cycle
    association._run_reactor()
    assert association.dimse.msg_queue.empty()


def long_c_store():
    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = ComprehensiveSRStorage
    request.AffectedSOPInstanceUID = "2.25.1"
    request.Priority = 0
    request.DataSet = BytesIO(bytes(100_000))
    return request


def event_report_response():
    response = N_EVENT_REPORT()
    response.MessageIDBeingRespondedTo = 1
    response.Status = 0x0000
    return response


def contexts_in_the_order_of_sending(association):
    """Send a long C-STORE on context 1 and, as soon as its first PDU is out, an N-EVENT-REPORT response on context 3."""
    sent, begun = [], threading.Event()

    def record(p_data):
        sent.append(p_data.presentation_data_value_list[0][0])
        begun.set()
        time.sleep(0.02)

    association.dul.send_pdu = record
    association.acceptor.maximum_length = 16382
    storing = threading.Thread(target=association.dimse.send_msg, args=(long_c_store(), 1))
    storing.start()
    begun.wait()
    association.dimse.send_msg(event_report_response(), 3)
    storing.join()
    return sent


def test_stock_pynetdicom_sends_two_messages_through_each_other(association):
    contexts = contexts_in_the_order_of_sending(association)
    assert contexts[-1] == 1
    assert 3 in contexts


def test_a_message_is_sent_whole_before_the_next(association):
    send_whole_messages(association)
    contexts = contexts_in_the_order_of_sending(association)
    assert len(contexts) > 6
    assert contexts == [1] * (len(contexts) - 1) + [3]


def test_a_requested_association_runs_over_our_connection_with_nagle_off():
    with storage_scp() as scp:
        association = associate(scp.port)
        connection = association.dul.socket
        assert isinstance(connection, requestor.TransportConnection)
        assert connection.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert association.send_c_echo().Status == 0x0000
        assert connection.last_sent_s > 0
        association.release()


def test_the_names_overridden_are_still_those_of_pynetdicom():
    for name in ("connect", "recv", "send", "ready", "_shutdown_socket", "provider_queue", "event_queue"):
        assert hasattr(AssociationSocket, name)
    assert hasattr(AE, "_create_socket")


def test_a_refused_connection_keeps_its_reason_and_leaves_no_open_socket():
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
    association = associate(port)
    assert not association.is_established
    assert isinstance(association.dul.socket.failure, ConnectionRefusedError)
    assert association.dul.socket.socket is None


def test_a_pdu_longer_than_any_due_ends_the_association_without_being_read():
    def claim_4_gigabytes(connection):
        connection.recv(65536)
        connection.sendall(b"\x02\x00\xff\xff\xff\xff" + bytes(1000))

    with raw_server(claim_4_gigabytes) as port:
        association = associate(port)
    assert not association.is_established
    assert association.is_aborted


def test_a_pdu_that_stops_in_its_middle_is_not_waited_for_without_end(monkeypatch):
    monkeypatch.setattr(requestor, "PDU_TIMEOUT_S", 0.3)

    def send_half(connection):
        connection.recv(65536)
        connection.sendall(b"\x02\x00\x00\x00\x01\x00" + bytes(20))

    with raw_server(send_half) as port:
        association = associate(port)
        association.dul.join(10)
        assert not association.dul.is_alive()
    assert not association.is_established


def test_a_pdu_that_trickles_is_not_waited_for_without_end(monkeypatch):
    monkeypatch.setattr(requestor, "PDU_TIMEOUT_S", 0.5)
    cut = threading.Event()

    def trickle(connection):
        connection.recv(65536)
        connection.sendall(b"\x02\x00\x00\x00\x10\x00")
        try:
            while True:
                connection.sendall(b"\x00")
                time.sleep(0.05)
        except OSError:
            cut.set()

    with raw_server(trickle) as port:
        association = associate(port)
        assert cut.wait(10)
    assert not association.is_established


def test_a_descriptor_above_1023_can_be_used():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit[1] < 1300:
        pytest.skip("this machine allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit[0], 1300), limit[1]))
    spare = [socket.socket() for _ in range(1100)]
    try:
        with socket.create_server((HOST, 0)) as listener:
            connection = requestor.TransportConnection(
                Association(AE(), "requestor"), address=AddressInformation(HOST, 0)
            )
            assert connection.socket.fileno() > 1023
            connection.assoc.connection_timeout = 5
            connection._open(listener.getsockname())
            assert connection.ready is False
            accepted, _ = listener.accept()
            accepted.sendall(b"x")
            deadline = time.monotonic() + 5
            while not connection.ready and time.monotonic() < deadline:
                time.sleep(0.01)
            assert connection.ready is True
            connection.close()
            accepted.close()
    finally:
        for each in spare:
            each.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


def test_a_connection_can_be_cut_twice_and_after_it_is_closed():
    with storage_scp() as scp:
        association = associate(scp.port)
        association.dul.socket.cut()
        association.dul.join(10)
        association.dul.socket.cut()
        assert not association.dul.is_alive()


def test_an_idle_association_looks_for_nothing_by_the_clock_and_is_awake_at_once(monkeypatch):
    looks = []
    is_readable = requestor.TransportConnection._is_readable
    monkeypatch.setattr(
        requestor.TransportConnection, "_is_readable", lambda each: looks.append(1) or is_readable(each)
    )
    with storage_scp() as scp:
        association = associate(scp.port)
        before = len(looks)
        time.sleep(1.0)
        assert len(looks) - before < 20, "upstream's own looks a thousand times a second"
        assert association.send_c_echo().Status == 0x0000
        association.release()
        association.dul.join(10)
        assert not association.dul.is_alive()
        assert association.dul.socket.bell.fileno() == -1, "its descriptors are given back"


def test_the_parts_that_are_woken_are_still_those_of_pynetdicom(association):
    assert association.dul._run_loop_delay > 0
    assert isinstance(association._reactor_checkpoint, threading.Event)
    assert association._reactor_checkpoint.is_set()
    for name in ("send_pdu", "kill_dul", "_kill_thread", "event_queue", "to_provider_queue", "state_machine"):
        assert hasattr(association.dul, name)
    loop = source(DULServiceProvider.run_reactor)
    assert "time.sleep(self._run_loop_delay)" in loop
    assert "self._reactor_checkpoint.wait()" in source(Association._run_reactor)
    assert "assoc.dimse.msg_queue.put((None, None))" in source(fsm.AA_4)
