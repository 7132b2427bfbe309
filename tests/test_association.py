import socket
import threading
import time
from io import BytesIO

import pytest
from pynetdicom import build_context, evt
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.sop_class import ComprehensiveSRStorage, Verification

from node import association, product, requestor
from node.association import AssociationEnded, Peer, RequestedAssociation
from node.errors import Parked, TryAgain
from tests.scp import HOST, raw_server, storage_scp


def peer_at(port, ae_title="PACS", host=HOST):
    return Peer("pacs", ae_title, host, port, "CXRTRIAGE")


def associate(port, sop_classes=(Verification,), **peer):
    return RequestedAssociation(peer_at(port, **peer), [build_context(each) for each in sop_classes])


def c_echo():
    request = C_ECHO()
    request.AffectedSOPClassUID = Verification
    return request


def ask(standing):
    (context_id,) = standing.accepted.values()
    return standing.ask(c_echo(), context_id)


@pytest.fixture
def short_waits(monkeypatch):
    monkeypatch.setattr(association, "ACSE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(association, "DIMSE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(association, "RELEASE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(requestor, "PDU_TIMEOUT_S", 0.5)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    deadline = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_an_answer_comes_with_its_status():
    with storage_scp() as scp:
        standing = associate(scp.port)
        assert ask(standing).Status == 0x0000
        standing.release()
        assert scp.released.wait(5)
        assert not standing.is_established


def test_the_node_names_its_own_implementation():
    with storage_scp() as scp:
        standing = associate(scp.port)
        (acceptor,) = scp.associations
        assert acceptor.requestor.implementation_class_uid == product.IMPLEMENTATION_CLASS_UID
        assert acceptor.requestor.implementation_version_name is None
        standing.release()


def test_each_question_has_its_own_message_id():
    seen = []
    handlers = [(evt.EVT_C_ECHO, lambda event: seen.append(event.message_id) or 0x0000)]
    with storage_scp(handlers=handlers) as scp:
        standing = associate(scp.port)
        standing._message_id = 0xFFFE
        for _ in range(3):
            ask(standing)
        standing.release()
    assert seen == [0xFFFF, 1, 2]


def test_a_response_to_another_message_is_not_taken_for_the_answer():
    with storage_scp() as scp:
        standing = associate(scp.port)
        stale = c_echo()
        stale.MessageIDBeingRespondedTo = 999
        stale.Status = 0xC000
        standing._association.dimse.msg_queue.put((1, stale))
        assert ask(standing).Status == 0x0000
        standing.release()


# PS3.8 Table 9-21
@pytest.mark.parametrize(
    ("result", "source", "reason", "error", "words"),
    [
        (1, 1, 1, Parked, "no reason given"),
        (1, 1, 2, Parked, "application context name not supported"),
        (1, 1, 3, Parked, "calling AE title not recognized. Add CXRTRIAGE to its known AE titles."),
        (1, 1, 7, Parked, "called AE title not recognized. Set the destination's ae_title to the one it answers to."),
        (1, 2, 1, Parked, "no reason given"),
        (1, 2, 2, Parked, "protocol version not supported"),
        (2, 3, 1, TryAgain, "temporary congestion"),
        (2, 3, 2, TryAgain, "local limit exceeded"),
        (2, 1, 1, TryAgain, "no reason given"),
    ],
)
def test_a_rejection_is_judged_by_its_result_and_told_by_its_reason(result, source, reason, error, words):
    def reject(event):
        event.assoc.acse.send_reject(result, source, reason)
        event.assoc.kill()

    with storage_scp(handlers=[(evt.EVT_REQUESTED, reject)]) as scp, pytest.raises(error) as refusal:
        associate(scp.port)
    start = f"destination 'pacs' (PACS at 127.0.0.1:{scp.port}) refused the association: {words}"
    assert str(refusal.value).startswith(start)


def test_a_reason_the_standard_does_not_know_is_told_by_its_number():
    assert "reason 1/9" in str(association.rejection(peer_at(104), 1, 1, 9))


def test_a_pacs_that_does_not_know_the_node_says_so():
    with storage_scp(require_calling_aet=["OTHER"]) as scp, pytest.raises(Parked, match="Add CXRTRIAGE"):
        associate(scp.port)


def test_a_wrong_ae_title_is_parked():
    with (
        storage_scp(require_called_aet=True) as scp,
        pytest.raises(Parked, match="called AE title not recognized"),
    ):
        associate(scp.port, ae_title="WRONG")


def test_a_pacs_with_no_association_left_is_tried_again():
    with storage_scp(maximum_associations=1) as scp:
        first = associate(scp.port)
        with pytest.raises(TryAgain, match="local limit exceeded"):
            associate(scp.port)
        first.release()


def test_a_rejection_faster_than_pynetdicom_looks_is_still_a_rejection(monkeypatch):
    create_socket = requestor.RequestorAE._create_socket

    def look_late(self, assoc, *rest):
        connection = create_socket(self, assoc, *rest)
        wait = connection._ready.wait
        connection._ready.wait = lambda: wait() and assoc.dul.join(10)
        return connection

    monkeypatch.setattr(requestor.RequestorAE, "_create_socket", look_late)
    with storage_scp(require_called_aet=True) as scp, pytest.raises(Parked, match="called AE title not recognized"):
        associate(scp.port, ae_title="WRONG")


def test_a_pacs_that_accepts_no_class_is_parked_and_told_which_there_are():
    contexts = [(Verification, ["1.2.840.10008.1.2"])]
    with storage_scp(contexts) as scp, pytest.raises(Parked, match="Comprehensive SR Storage"):
        associate(scp.port, [ComprehensiveSRStorage])


def test_a_refused_connection_is_tried_again():
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(TryAgain, match="cannot be reached: connection refused"):
        associate(port)


def test_a_host_that_does_not_answer_is_tried_again(monkeypatch):
    monkeypatch.setattr(association, "CONNECTION_TIMEOUT_S", 0.3)
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen(0)
        # A full backlog makes the kernel ignore further connections, as a silent host does.
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        with pytest.raises(TryAgain, match="no answer to the connection"):
            associate(listener.getsockname()[1])
        for filler in fillers:
            filler.close()


def test_a_host_name_nobody_knows_is_tried_again():
    with pytest.raises(TryAgain, match="cannot be reached"):
        associate(104, host="pacs.invalid")


def test_a_peer_that_takes_the_connection_and_says_nothing_is_tried_again(short_waits):
    with raw_server(lambda connection: None) as port, pytest.raises(TryAgain, match="not the association within"):
        associate(port)


def test_a_peer_that_is_no_dicom_peer_is_tried_again(short_waits):
    def speak_http(connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

    with raw_server(speak_http) as port, pytest.raises(TryAgain, match="Check that it is DICOM"):
        associate(port)


def test_a_peer_that_hangs_up_on_the_request_is_tried_again():
    with (
        raw_server(lambda connection: connection.close()) as port,
        pytest.raises(TryAgain, match="ended the connection"),
    ):
        associate(port)


def test_a_peer_that_aborts_on_the_request_is_tried_again():
    abort = b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x00"
    with raw_server(lambda connection: connection.sendall(abort)) as port, pytest.raises(TryAgain):
        associate(port)


def test_a_peer_that_accepts_and_then_says_nothing_is_tried_again_and_aborted(short_waits):
    answer, aborted = threading.Event(), threading.Event()
    handlers = [
        (evt.EVT_C_ECHO, lambda event: answer.wait(20) and 0x0000),
        (evt.EVT_CONN_CLOSE, lambda event: aborted.set()),
    ]
    with storage_scp(handlers=handlers) as scp:
        standing = associate(scp.port)
        with pytest.raises(TryAgain, match="gave no answer within"):
            ask(standing)
        assert not standing.is_established
        assert aborted.wait(5)
        answer.set()


def test_a_peer_that_aborts_instead_of_an_answer_has_ended_the_association():
    handlers = [(evt.EVT_C_ECHO, lambda event: event.assoc.abort() or 0x0000)]
    with storage_scp(handlers=handlers) as scp:
        standing = associate(scp.port)
        with pytest.raises(AssociationEnded, match="ended the association before it answered"):
            ask(standing)
        assert not standing.is_established


def test_a_peer_that_loses_the_connection_has_ended_the_association():
    handlers = [(evt.EVT_C_ECHO, lambda event: event.assoc.dul.socket._shutdown_socket() or 0x0000)]
    with storage_scp(handlers=handlers) as scp:
        standing = associate(scp.port)
        with pytest.raises(AssociationEnded):
            ask(standing)


@pytest.mark.slow
def test_no_response_is_lost_beside_a_busy_thread():
    stop = threading.Event()

    def be_busy():
        while not stop.is_set():
            sum(range(1000))

    busy = threading.Thread(target=be_busy)
    with storage_scp() as scp:
        standing = associate(scp.port)
        busy.start()
        try:
            answers = [ask(standing).Status for _ in range(600)]
        finally:
            stop.set()
            busy.join()
            standing.release()
    assert answers == [0x0000] * 600


def narrow_line(to_port, bytes_a_second):
    """Relay to a port as slowly as a narrow line does, with no room on the way."""

    def relay(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        onward = socket.create_connection((HOST, to_port))
        back = threading.Thread(target=pump, args=(onward, connection, 0), daemon=True)
        back.start()
        pump(connection, onward, 16384 / bytes_a_second)
        back.join(5)
        onward.close()

    def pump(source, sink, pause_s):
        try:
            while part := source.recv(16384):
                sink.sendall(part)
                time.sleep(pause_s)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return

    return raw_server(relay)


@pytest.mark.slow
def test_a_long_message_over_a_narrow_line_is_given_the_time_it_needs(monkeypatch):
    seconds = 1.5
    monkeypatch.setattr(association, "DIMSE_TIMEOUT_S", seconds)
    monkeypatch.setattr(requestor, "SEND_BUFFER_BYTES", 8192)
    request = C_STORE()
    request.AffectedSOPClassUID = ComprehensiveSRStorage
    request.AffectedSOPInstanceUID = "2.25.1"
    request.Priority = 0
    request.DataSet = BytesIO(bytes(200_000))
    with storage_scp() as scp, narrow_line(scp.port, bytes_a_second=100_000) as port:
        standing = associate(port, [ComprehensiveSRStorage])
        (context_id,) = standing.accepted.values()
        started_s = time.monotonic()
        assert standing.ask(request, context_id).Status == 0x0000
        assert time.monotonic() - started_s > seconds
        standing.release()


def test_pynetdicom_does_not_end_an_association_by_a_timer_of_its_own():
    with storage_scp() as scp:
        standing = associate(scp.port)
        assert standing._association.dul._idle_timer.timeout is None
        standing.release()


def test_a_peer_that_does_not_answer_the_release_is_aborted(short_waits):
    with storage_scp() as scp:
        standing = associate(scp.port)
        (acceptor,) = scp.associations
        acceptor.acse.is_release_requested = lambda: False
        standing.release()
        assert not standing.is_established


def test_a_release_by_the_peer_is_noticed():
    with storage_scp() as scp:
        standing = associate(scp.port)
        (acceptor,) = scp.associations
        acceptor.release()
        deadline = time.monotonic() + 5
        while standing.is_established and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not standing.is_established
        with pytest.raises(AssociationEnded):
            ask(standing)
