"""What an established association may do, what ends it, and that nothing is left of it but what was answered."""

import socket
import struct
import threading
import time

import pytest
from pynetdicom.acse import ACSE
from pynetdicom.dul import DULServiceProvider
from structlog.testing import capture_logs

from node.door.upper_layer import UpperLayer
from tests.doors import held, is_given_back, opened
from tests.peers import wait_until
from tests.radiographs import encoded, radiograph
from tests.raw import (
    ABORT,
    AC,
    C_CANCEL,
    C_FIND,
    COMMIT,
    COMMITMENT,
    COMMITMENT_INSTANCE,
    DATA_SET,
    DEFLATED,
    ECHO,
    N_ACTION,
    N_EVENT_REPORT,
    NO_DATA_SET,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    STORE,
    VERIFICATION,
    command,
    context_item,
    data_set,
    echo_request,
    elements,
    fragment,
    outcome,
    pdu,
    request,
    store_request,
)
from tests.walks import nested

pytestmark = [
    pytest.mark.usefixtures("all_threads_end"),
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]
QUICK = {"linger_s": 0.3, "evicted_linger_s": 0.2}


@pytest.fixture
def door(tmp_path):
    with opened(tmp_path / "spool", QUICK) as running:
        yield running


# Every message gets a status or an A-ABORT

REPORT = {"x0002": COMMITMENT, "x0100": N_EVENT_REPORT, "x0110": 3, "x1000": COMMITMENT_INSTANCE, "x1002": 1}
ACTION = {"x0003": COMMITMENT, "x0100": N_ACTION, "x0110": 4, "x1001": COMMITMENT_INSTANCE, "x1008": 1}
STORING = command(STORE, store_request())
SMALL = elements(x0100=0x8001, x0120=7, x0800=NO_DATA_SET, x0900=0)
MALFORMED = {
    "a response to nothing": (command(STORE, SMALL), (2, 0)),
    "a service that is not here": (
        command(ECHO, elements(x0002=VERIFICATION, x0100=C_FIND, x0110=1, x0800=NO_DATA_SET)),
        (2, 0),
    ),
    "no instance UID": (command(STORE, store_request(None)), (2, 6)),
    "an empty instance UID": (command(STORE, store_request("")), (2, 6)),
    "no message ID": (command(STORE, store_request(x0110=None)), (2, 6)),
    "no command field": (command(STORE, store_request(x0100=None)), (2, 6)),
    "a command that is none": (command(STORE, b"\xff" * 99), (2, 6)),
    "a command cut short": (command(STORE, store_request()[:-3]), (2, 6)),
    "a context that was not accepted": (command(99, echo_request()), (2, 5)),
    "a C-ECHO on a context for images": (command(STORE, echo_request()), (2, 5)),
    "a report on a context for images": (command(STORE, elements(**REPORT, x0800=NO_DATA_SET)), (2, 5)),
    "a data set without a command": (data_set(STORE, b"data"), (2, 5)),
    "messages that interleave": (STORING + command(ECHO, echo_request()), (2, 5)),
    "an empty P-DATA-TF": (pdu(P_DATA), (2, 6)),
    "a value that overruns its P-DATA-TF": (pdu(P_DATA, fragment(ECHO, 3, b"abc", 500)), (2, 6)),
    "empty values without end": (pdu(P_DATA, fragment(STORE, 1, b"") * 2000), (2, 0)),
    "a P-DATA-TF longer than agreed": (pdu(P_DATA, b"", 140_000), (2, 0)),
    "a P-DATA-TF of 4 GB": (pdu(P_DATA, b"", 0xFFFFFFFF), (2, 0)),
    "a PDU type that is none": (pdu(9), (2, 1)),
    "a second request": (request(), (2, 2)),
    "an acceptance": (pdu(2, bytes(4)), (2, 2)),
    "a release that is too long": (pdu(RELEASE_RQ, bytes(9)), (2, 6)),
    "a release response to nothing": (pdu(RELEASE_RP, bytes(4)), (2, 2)),
    "a C-STORE of the Verification SOP class": (
        command(STORE, store_request(sop_class=VERIFICATION)) + data_set(STORE, b"data"),
        (0x0122,),
    ),
    "a C-STORE on a context for C-ECHO": (command(ECHO, store_request()) + data_set(ECHO, b"data"), (0x0122,)),
    "a C-STORE without a data set": (command(STORE, store_request(kind=NO_DATA_SET)), (0xC210,)),
    "an empty data set": (STORING + data_set(STORE, b""), (0xC210,)),
    "no data set at all": (STORING + data_set(STORE, b"not at all"), (0xC210,)),
    "20,000 nested sequences": (STORING + data_set(STORE, nested(20_000)), (0xC210,)),
    "another instance than announced": (STORING + data_set(STORE, encoded(radiograph())), (0xA900,)),
    "a report of nothing": (command(COMMIT, elements(**REPORT, x0800=NO_DATA_SET)), (0x0115,)),
    "a report that is nested": (
        command(COMMIT, elements(**REPORT, x0800=DATA_SET)) + data_set(COMMIT, nested(5_000)),
        (0x0115,),
    ),
    "a report without end": (
        command(COMMIT, elements(**REPORT, x0800=DATA_SET)) + data_set(COMMIT, bytes(1_100_000)),
        (2, 0),
    ),
    "a request for commitment": (command(COMMIT, elements(**ACTION, x0800=NO_DATA_SET)), (0x0211,)),
}


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize(("sent", "answer"), MALFORMED.values(), ids=MALFORMED)
def test_what_is_malformed_gets_a_status_or_an_a_abort(door, sent, answer):
    with door.caller(within_s=5) as caller:
        assert outcome(caller.associate(), sent) == answer
        if len(answer) == 1:
            assert caller.echo() == 0x0000, "the association goes on"
        else:
            assert caller.is_closed()
            wait_until(lambda: sum(door.count("violations").values()) == 1)
    door.comes_to_rest()
    assert door.files() == []
    assert door.lives()


def test_a_cancellation_of_nothing_is_passed_over(door):
    with door.caller() as caller:
        caller.associate().send(command(STORE, elements(x0100=C_CANCEL, x0120=7, x0800=NO_DATA_SET)))
        assert caller.echo() == 0x0000


def test_the_deflated_transfer_syntax_is_not_accepted_for_what_pynetdicom_would_inflate(door):
    with door.caller() as caller:
        kind, body = caller.send(request(contexts=[context_item(1, COMMITMENT, [DEFLATED])])).answer()
        answer = body[body.index(b"\x21\0") :]  # a presentation context item: 4 bytes of head, ID, reserved, result
        assert (kind, answer[4], answer[6]) == (AC, 1, 4), "transfer syntaxes not supported (PS3.8 Table 9-18)"


def test_a_response_fits_what_the_requestor_takes(door):
    smallest = struct.pack(">BxHL", 0x51, 4, 16)
    with door.caller() as caller:
        caller.associate(information=struct.pack(">BxH", 0x50, len(smallest)) + smallest)
        caller.send(command(ECHO, echo_request()))
        pieces = []
        while not pieces or pieces[-1][1][5] != 3:
            pieces.append(caller.answer())
        assert {kind for kind, _ in pieces} == {P_DATA}
        assert max(len(body) for _, body in pieces) <= 16


# Nothing is left of what was not answered

BEGUN = STORING + pdu(P_DATA, fragment(STORE, 0, bytes(100_000)))


@pytest.fixture
def storing(door):
    """A caller in the middle of a data set."""
    with door.caller() as caller:
        caller.associate().send(BEGUN)
        wait_until(lambda: [path.stat().st_size > 100_000 for path in door.files()] == [True])
        yield caller


def reset(caller):
    caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    caller.socket.close()


@pytest.mark.parametrize(
    "end",
    [
        lambda caller: caller.send(pdu(ABORT, bytes(4))),
        lambda caller: caller.send(pdu(RELEASE_RQ, bytes(4))),
        lambda caller: caller.send(pdu(9)),
        lambda caller: caller.socket.close(),
        lambda caller: caller.socket.shutdown(socket.SHUT_WR),
        reset,
    ],
    ids=["abort", "release", "violation", "close", "half close", "reset"],
)
def test_an_association_that_ends_in_the_middle_of_an_image_leaves_no_file(door, storing, end):
    end(storing)
    door.comes_to_rest()
    assert door.files() == []


def test_an_association_that_makes_way_leaves_no_file(door, storing):
    (association,) = door.receiver._server.active_associations
    association.evict()
    door.comes_to_rest()
    assert door.files() == []


def test_a_stop_in_the_middle_of_an_image_leaves_no_file(tmp_path):
    with opened(tmp_path / "spool", QUICK) as door:
        caller = door.caller().associate().send(BEGUN)
        wait_until(door.files)
    wait_until(lambda: door.files() == [])
    assert caller.is_aborted() == (0, 0)


def test_sixty_aborted_images_leave_no_file_thread_or_descriptor(door):
    assert door.lives()
    door.comes_to_rest()
    before = held()
    for number in range(60):
        with door.caller() as caller:
            caller.associate().send(BEGUN[: len(BEGUN) - 1000 * number], pdu(ABORT, bytes(4)) if number % 2 else b"")
    door.comes_to_rest()
    wait_until(lambda: is_given_back(before), 10, "threads and descriptors as before")
    assert door.files() == []


# Too slow, too large, too silent


def test_an_image_that_stops_coming_is_given_up(tmp_path):
    with opened(tmp_path / "spool", QUICK | {"rate_window_s": 0.3}) as door, door.caller() as caller:
        caller.associate().send(BEGUN)
        assert caller.is_aborted() == (2, 0)
        door.comes_to_rest()
        assert door.files() == []
        door.comes_to_count("violations", {"too slow": 1})


def test_a_pdu_that_comes_byte_by_byte_is_given_up(tmp_path):
    with opened(tmp_path / "spool", QUICK | {"rate_window_s": 0.3}) as door, door.caller() as caller:
        caller.associate()
        assert caller.is_cut_while_sending((bytes([octet]) for octet in STORING * 10), pause_s=0.02)
        door.comes_to_count("violations", {"too slow": 1})


def test_an_image_that_comes_slowly_but_steadily_is_taken(tmp_path):
    dataset = radiograph(side_px=60)
    sent = command(STORE, store_request(str(dataset.SOPInstanceUID))) + data_set(STORE, encoded(dataset))
    with opened(tmp_path / "spool", {"rate_window_s": 0.2, "rate_bytes_s": 2000}) as door, door.caller() as caller:
        caller.associate()
        for at in range(0, len(sent), 400):
            caller.send(sent[at : at + 400])
            time.sleep(0.05)
        assert caller.status() == 0x0000


def test_an_association_between_messages_may_rest_for_longer_than_a_message(tmp_path):
    with opened(tmp_path / "spool", {"rate_window_s": 0.1}) as door, door.caller() as caller:
        assert caller.associate().echo() == 0x0000
        time.sleep(0.8)
        assert caller.echo() == 0x0000


def test_an_association_that_is_silent_is_ended(tmp_path):
    with opened(tmp_path / "spool", QUICK | {"silence_s": 0.5}) as door, door.caller() as caller:
        assert caller.associate().echo() == 0x0000
        assert caller.is_aborted() == (0, 0)
        door.comes_to_rest()


def test_an_association_whose_image_takes_long_to_store_is_not_silent(tmp_path, monkeypatch):
    dataset = radiograph()
    with opened(tmp_path / "spool", QUICK | {"silence_s": 0.6}) as door, door.caller() as caller:
        take = door.spool.take
        monkeypatch.setattr(door.spool, "take", lambda *given: time.sleep(1.2) or take(*given))
        assert caller.associate().store(encoded(dataset), dataset.SOPInstanceUID) == 0x0000
        assert caller.echo() == 0x0000


def test_an_object_that_is_too_large_is_refused_and_the_association_goes_on(tmp_path):
    dataset, other = radiograph(side_px=400), radiograph()
    with opened(tmp_path / "spool", {"object_bytes": 200_000}) as door, door.caller() as caller:
        assert caller.associate().store(encoded(dataset), dataset.SOPInstanceUID) == 0xA700
        assert door.files() == []
        assert caller.store(encoded(other), other.SOPInstanceUID) == 0x0000


def test_a_data_set_without_end_is_given_up(tmp_path):
    limits = QUICK | {"object_bytes": 100_000, "swallowed_bytes": 1_000_000}
    with opened(tmp_path / "spool", limits) as door, door.caller() as caller:
        caller.associate().send(STORING)
        assert caller.is_cut_while_sending(pdu(P_DATA, fragment(STORE, 0, bytes(60_000))) for _ in range(2000))
        door.comes_to_count("violations", {"data set without end": 1})
        assert door.files() == []


# Several messages, and answers that come too late


def test_messages_that_do_not_wait_for_their_answers_are_answered_in_turn(door):
    datasets = [radiograph() for _ in range(12)]
    with door.caller() as caller:
        caller.associate()
        for dataset in datasets:
            caller.send(command(STORE, store_request(str(dataset.SOPInstanceUID))), data_set(STORE, encoded(dataset)))
        responses = [caller.response() for _ in datasets]
    assert [response[0x1000].rstrip(b"\0").decode() for response in responses] == [
        str(dataset.SOPInstanceUID) for dataset in datasets
    ]
    assert {response[0x0900] for response in responses} == {b"\0\0"}
    assert len([path for path in door.files() if path.suffix == ".dcm"]) == 12


@pytest.mark.parametrize("sent", [pdu(9), pdu(ABORT, bytes(4)), b""], ids=["violation", "abort", "close"])
def test_an_answer_to_a_caller_that_has_gone_meanwhile_harms_nobody(door, monkeypatch, sent):
    begun, go_on, take = threading.Event(), threading.Event(), door.spool.take

    def slowly(*given):
        begun.set()
        assert go_on.wait(20)
        return take(*given)

    monkeypatch.setattr(door.spool, "take", slowly)
    dataset = radiograph()
    with door.caller() as caller:
        caller.associate()
        caller.send(command(STORE, store_request(str(dataset.SOPInstanceUID))), data_set(STORE, encoded(dataset)))
        assert begun.wait(20)
        caller.send(sent).socket.shutdown(socket.SHUT_WR)
    go_on.set()
    door.comes_to_rest()
    assert door.lives()
    assert len([path for path in door.files() if path.suffix == ".dcm"]) == 1


# Faults of pynetdicom's, or ours


@pytest.fixture
def died(monkeypatch):
    """The faults that threads ended with, of which a process of the node logs the class and place."""
    heard = []
    monkeypatch.setattr(threading, "excepthook", lambda fate: heard.append(fate.exc_type))
    return heard


@pytest.mark.parametrize(
    ("part", "method"), [(ACSE, "negotiate_association"), (DULServiceProvider, "_decode_pdu")], ids=["ACSE", "decoder"]
)
def test_a_fault_while_an_association_is_negotiated_is_an_abort(door, monkeypatch, died, part, method):
    def fail(*_):
        raise IndexError

    with monkeypatch.context() as patch, door.caller() as caller:
        patch.setattr(part, method, fail)
        assert caller.send(request()).is_aborted()[0] == 2
        assert caller.is_closed()
    door.comes_to_rest()
    assert door.lives()
    assert set(died) <= {IndexError}


def test_a_fault_of_the_state_machine_is_an_abort_and_leaves_no_file(door, storing, monkeypatch, died):
    def fail(event):
        raise ValueError(event)

    (association,) = door.receiver._server.active_associations
    monkeypatch.setattr(association.dul.state_machine, "do_action", fail)
    storing.send(pdu(RELEASE_RQ, bytes(4)))
    assert storing.is_aborted() == (2, 0)
    door.comes_to_rest()
    assert door.files() == []
    assert died == [ValueError]


def test_an_association_whose_request_gets_lost_on_the_way_is_given_up(door, monkeypatch):
    def wait_and_find_nothing(layer, **_):
        wait_until(lambda: layer.state_machine.current_state == "Sta3")

    with monkeypatch.context() as patch, door.caller() as caller:
        patch.setattr(UpperLayer, "receive_pdu", wait_and_find_nothing)
        assert caller.send(request()).is_aborted() == (2, 0)
        assert caller.is_closed()
    door.comes_to_rest()


@pytest.mark.parametrize("round_", range(20))
def test_a_release_is_answered_and_not_aborted(door, round_):
    with door.caller() as caller:
        assert caller.associate().echo() == 0x0000
        assert caller.send(pdu(RELEASE_RQ, bytes(4))).answer() == (RELEASE_RP, bytes(4))
    door.comes_to_rest()


def test_a_release_is_given_time_until_the_peer_hangs_up(door):
    with door.caller() as caller:
        caller.associate().send(pdu(RELEASE_RQ, bytes(4)))
        assert caller.answer()[0] == RELEASE_RP
        assert caller.is_closed()
        door.comes_to_rest()


def test_of_a_flood_of_the_same_only_some_is_said(door):
    with capture_logs() as said:
        for _ in range(30):
            with door.caller() as caller:
                assert caller.send(pdu(9)).is_aborted() == (2, 1)
    found = [(line["event"], line["reason"]) for line in said]
    assert found == [("association.aborted", "no association request")] * 20
    door.comes_to_count("violations", {"no association request": 30})
