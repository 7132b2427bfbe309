"""Who only knocks costs little and goes in time; who asks is answered; nobody keeps the others out."""

import socket

import pytest

from node.door.association import AcceptedAssociation
from node.door.listener import Listener
from node.product import IMPLEMENTATION_CLASS_UID
from tests.doors import Door, held, is_given_back, opened, threads
from tests.peers import wait_until
from tests.pki import Authority
from tests.radiographs import encoded, radiograph
from tests.raw import AC, P_DATA, RQ, Raw, command, echo_request, pdu, request

pytestmark = [
    pytest.mark.usefixtures("all_threads_end"),
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]
QUICK = {"request_s": 0.4, "place_s": 0.4, "linger_s": 0.3}


@pytest.fixture
def door(tmp_path):
    with opened(tmp_path / "spool", QUICK) as running:
        yield running


# Within the deadline


@pytest.mark.parametrize("sent", [b"", b"\1\0\0", request()[:6], request()[:20], request()[:-1]], ids=range(5))
def test_a_connection_without_a_whole_request_is_cut(door, sent):
    with door.caller() as caller:
        assert caller.send(sent).is_closed()
    door.comes_to_count("cut", {"no association request in time": 1})
    assert door.lives()


def test_a_request_that_comes_byte_by_byte_is_cut_at_the_same_deadline(door):
    with door.caller() as caller:
        assert caller.is_cut_while_sending((bytes([octet]) for octet in request()), pause_s=0.02)
    door.comes_to_count("cut", {"no association request in time": 1})


def test_a_request_in_two_pieces_is_answered(door):
    with door.caller() as caller:
        caller.send(request()[:50])
        wait_until(lambda: door.count("pending") == 1)
        assert caller.send(request()[50:]).answer()[0] == AC


def test_a_monitor_that_only_connects_leaves_nothing(door):
    door.caller().socket.close()  # what the first connection opens for good is open before the count
    door.comes_to_rest()
    before = held()
    for _ in range(100):
        door.caller().socket.close()
    door.comes_to_rest()
    wait_until(lambda: is_given_back(before))
    assert door.count("cut") == {}


def test_nobody_has_a_thread_before_the_request_is_whole(door):
    before = threads()
    callers = [door.caller().send(request()[: 20 * (number % 2)]) for number in range(40)]
    wait_until(lambda: door.count("pending") == 40)
    assert threads() <= before
    assert door.lives()
    for each in callers:
        assert each.is_closed()


# Too many


def test_of_too_many_connections_of_one_address_the_oldest_goes(tmp_path):
    with opened(tmp_path / "spool", {"arrivals_per_address": 5}) as door:
        held = [door.caller() for _ in range(8)]
        assert [each.is_closed() for each in held[:3]] == [True] * 3
        wait_until(lambda: door.count("pending") == 5)
        assert held[3].send(request()).answer()[0] == AC
        door.comes_to_count("cut", {"too many connections": 3})


def test_whoever_comes_last_finds_room_whatever_is_held(tmp_path):
    with opened(tmp_path / "spool", {"arrivals": 20, "arrivals_per_address": 10}) as door:
        held = [door.caller().send(request()[:20]) for _ in range(60)]
        assert all(door.lives() for _ in range(10))
        assert door.count("pending") <= 10
        del held


# No request


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (pdu(P_DATA, bytes(10)), (2, 2)),
        (pdu(P_DATA, b"", 0xFFFFFFFF), (2, 2)),
        (pdu(RQ, b"", 0xFFFFFFFF), (2, 6)),
        (pdu(RQ, b"", 3), (2, 6)),
        (pdu(9), (2, 1)),
        (b"GET / HTTP/1.1\r\n\r\n", (2, 1)),
        (request(contexts=[]), (2, 6)),
    ],
    ids=range(7),
)
def test_what_is_no_request_is_aborted_by_its_first_bytes(door, sent, answer):
    with door.caller() as caller:
        assert caller.send(sent).is_aborted() == answer
        assert caller.is_closed()
    assert sum(door.count("violations").values()) == 1
    assert door.lives()


def test_after_the_last_word_only_so_much_is_listened_to(tmp_path):
    with opened(tmp_path / "spool", {"linger_s": 60, "drained_bytes": 100_000}) as door, door.caller() as caller:
        assert caller.send(pdu(9)).is_aborted() == (2, 1)
        assert caller.is_cut_while_sending(bytes(10_000) for _ in range(10_000))
        door.comes_to_rest()


# Rejected


def test_rejections_say_why_and_are_counted(door):
    for asked, answer in (
        ({"version": 2}, (1, 2, 2)),
        ({"application_context": "1.2.3"}, (1, 1, 2)),
        ({"called": b"OTHER"}, (1, 1, 7)),
        ({"called": b"cxrtriage"}, (1, 1, 7)),
        ({"calling": b""}, (1, 1, 3)),
    ):
        with door.caller() as caller:
            assert caller.rejection(**asked) == answer
            assert caller.is_closed()
    assert door.count("rejected") == {
        "protocol version not supported": 1,
        "application context name not supported": 1,
        "called AE title not recognized": 2,
        "calling AE title not recognized": 1,
    }


def test_the_address_of_a_caller_is_looked_at(tmp_path):
    with opened(tmp_path / "spool", addresses={"RAW": ("10.0.0.0/8",), "PACS": ("127.0.0.0/8",)}) as door:
        with door.caller() as caller:
            assert caller.rejection() == (1, 1, 3)
        with door.caller() as caller:
            assert caller.associate(calling=b"PACS").echo() == 0x0000


# A place


def test_as_many_associations_as_there_are_places_are_served_at_once(door):
    held = [door.caller().associate() for _ in range(32)]
    assert {each.echo() for each in held} == {0x0000}
    assert door.count("established") == 32


def test_a_request_waits_for_a_place_that_is_about_to_be_free(tmp_path):
    with opened(tmp_path / "spool", {"place_s": 20}, associations=1) as door:
        first, second = door.caller().associate(), door.caller()
        assert first.echo() == 0x0000
        second.send(request())
        wait_until(lambda: door.count("pending") == 1)
        first.socket.close()
        assert second.answer()[0] == AC
        assert second.echo() == 0x0000


def test_the_end_of_an_association_does_not_wake_the_door_where_nobody_waits(door, monkeypatch):
    bell, at_work, rung = door.receiver._server._bell, threads(), []
    monkeypatch.setattr(bell, "ring", lambda ring=bell.ring: rung.append(ring()))
    assert door.lives()
    wait_until(lambda: threads() == at_work, 10, "its threads ending")
    assert not rung


def test_of_those_who_wait_the_last_to_come_gets_the_place(tmp_path):
    """In a crowd, who has waited for long is about to give up; so whoever comes is served soon or not at all."""
    with opened(tmp_path / "spool", {"place_s": 20}, associations=1) as door:
        holder = door.caller().associate()
        assert holder.echo() == 0x0000
        waiting = door.receiver._server._arrivals.waiting
        early = door.caller().send(request())
        wait_until(lambda: len(waiting()) == 1)
        late = door.caller().send(request())
        wait_until(lambda: len(waiting()) == 2)
        holder.socket.close()
        assert late.answer()[0] == AC
        assert door.count("pending") == 1
        late.socket.close()
        assert early.answer()[0] == AC


def test_a_request_that_finds_no_place_is_rejected_for_now(tmp_path):
    with opened(tmp_path / "spool", QUICK, associations=1) as door:
        with door.caller() as holder, door.caller() as other:
            assert holder.associate().echo() == 0x0000
            assert other.rejection() == (2, 3, 2)
        door.comes_to_rest()
        assert door.lives()


def test_a_caller_that_gives_up_waiting_is_forgotten(tmp_path):
    with opened(tmp_path / "spool", {"place_s": 20}, associations=1) as door:
        with door.caller() as holder, door.caller() as other:
            assert holder.associate().echo() == 0x0000
            other.send(request())
            wait_until(lambda: door.count("pending") == 1)
            other.socket.close()
            wait_until(lambda: door.count("pending") == 0)
        assert door.count("rejected") == {}


def test_an_association_that_says_nothing_makes_way(tmp_path):
    with opened(tmp_path / "spool", {"mute_s": 0.1, "place_s": 20}, associations=2) as door:
        mute = [door.caller().associate() for _ in range(2)]
        with door.caller() as caller:
            assert caller.associate().echo() == 0x0000
        assert mute[0].is_aborted() == (2, 0)
        assert mute[0].is_closed()
        assert mute[1].echo() == 0x0000
        door.comes_to_count("evicted", 1)


def test_one_caller_cannot_keep_out_the_others(tmp_path):
    with opened(tmp_path / "spool", QUICK, addresses={"PACS": ("127.0.0.1",)}, associations_per_caller=2) as door:
        held = [door.caller().associate(calling=title) for title in (b"A", b"B")]
        assert [each.echo() for each in held] == [0x0000, 0x0000]
        with door.caller() as caller:
            assert caller.rejection(calling=b"C") == (2, 3, 2)
        with door.caller() as caller:
            assert caller.associate(calling=b"PACS").echo() == 0x0000


def test_a_place_is_kept_for_those_who_are_known(tmp_path):
    with opened(tmp_path / "spool", QUICK, addresses={"PACS": ("127.0.0.1",)}, associations=8) as door:
        held = [door.caller().associate() for _ in range(7)]
        assert {each.echo() for each in held} == {0x0000}
        with door.caller() as caller:
            assert caller.rejection() == (2, 3, 2)
        with door.caller() as caller:
            assert caller.associate(calling=b"PACS").echo() == 0x0000


# Faults


def test_a_system_without_a_thread_left_rejects_for_now(door, monkeypatch):
    with monkeypatch.context() as patch, door.caller() as caller:

        def no_thread(association):
            raise RuntimeError("can't start new thread")

        patch.setattr(AcceptedAssociation, "start", no_thread)
        assert caller.rejection() == (2, 3, 1)
        assert caller.is_closed()
    assert door.count("established") == 0
    assert door.lives()


def test_a_fault_that_nobody_foresaw_costs_the_connections_at_hand_and_not_the_door(door, monkeypatch):
    with monkeypatch.context() as patch, door.caller() as caller:

        def fail(*_):
            raise ValueError

        patch.setattr(Listener, "_decide", fail)
        assert caller.send(request()).is_closed()
    assert door.lives()


def test_a_stop_closes_those_who_only_knock(tmp_path):
    with opened(tmp_path / "spool") as door:
        held = [door.caller().send(request()[:30]) for _ in range(5)]
        wait_until(lambda: door.count("pending") == 5)
    assert all(each.is_closed() for each in held)
    with pytest.raises(ConnectionRefusedError):
        Raw(door.port)


def test_a_door_that_was_never_opened_can_be_shut(tmp_path):
    with opened(tmp_path / "spool") as door:
        pass
    assert not door.receiver._server._thread.is_alive()


# TLS


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    authority = Authority(tmp_path_factory.mktemp("tls"))
    node, caller = authority.issue("node"), authority.issue("caller")
    return authority.listen(node), authority.client(caller)


@pytest.fixture
def tls_door(tmp_path, tls):
    with opened(tmp_path / "spool", QUICK, tls) as running:
        yield running


def test_a_caller_with_tls_is_answered(tls_door):
    dataset = radiograph(side_px=600)
    with tls_door.caller() as caller:
        assert caller.associate().echo() == 0x0000
        assert caller.store(encoded(dataset), dataset.SOPInstanceUID) == 0x0000


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01"])
def test_a_tls_handshake_that_does_not_come_is_cut_at_the_deadline_of_the_request(tls_door, sent):
    with Raw(tls_door.port) as caller:
        assert caller.send(sent).is_closed()
    tls_door.comes_to_count("cut", {"no TLS handshake in time": 1})
    assert tls_door.lives()


@pytest.mark.parametrize("sent", [b"", request()[:40]])
def test_a_request_that_does_not_come_over_tls_is_cut_at_the_same_deadline(tls_door, sent):
    with tls_door.caller() as caller:
        assert caller.send(sent).is_closed()
    tls_door.comes_to_count("cut", {"no association request in time": 1})


def test_a_request_without_tls_is_no_handshake(tls_door):
    with Raw(tls_door.port) as caller:
        assert caller.send(request()).is_closed()
    tls_door.comes_to_count("cut", {"no TLS": 1})
    assert tls_door.lives()


def test_a_rejection_and_an_abort_come_over_tls_too(tls_door):
    with tls_door.caller() as caller:
        assert caller.rejection(called=b"OTHER") == (1, 1, 7)
    with tls_door.caller() as caller:
        assert caller.send(pdu(9)).is_aborted() == (2, 1)
    with tls_door.caller() as caller:
        assert caller.associate().send(pdu(9)).is_aborted() == (2, 1)


def test_stuck_handshakes_keep_nobody_out(tmp_path, tls):
    with opened(tmp_path / "spool", tls=tls) as door:
        before = threads()
        held = [Raw(door.port) for _ in range(60)]
        wait_until(lambda: door.count("pending") == 60)
        assert door.lives()
        assert threads() <= before + 2
        for each in held:
            each.socket.close()
        door.comes_to_rest()


def test_what_lies_decrypted_already_is_not_waited_for(tls_door):
    """One TLS record holds several messages; poll knows nothing of those that OpenSSL has read."""
    echoes = [command(1, echo_request(number)) for number in range(1, 9)]
    with tls_door.caller() as caller:
        caller.associate().send(*echoes)
        assert [caller.status() for _ in echoes] == [0x0000] * 8


def test_the_acceptance_says_who_the_node_is(door):
    with door.caller() as caller:
        kind, body = caller.send(request()).answer()
        assert (kind, IMPLEMENTATION_CLASS_UID.encode() in body) == (AC, True)
        assert b"PYNETDICOM" not in body


def test_the_answer_is_not_held_back(door):
    with door.caller() as caller:
        caller.associate()
        (served,) = door.receiver._server.active_associations
        assert served.dul.socket.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_doors_do_not_share_what_they_count(tmp_path):
    with opened(tmp_path / "a") as one, opened(tmp_path / "b") as other:
        with one.caller() as caller:
            caller.rejection(called=b"OTHER")
        assert (one.count("rejected"), other.count("rejected")) == ({"called AE title not recognized": 1}, {})
        assert isinstance(one, Door)
