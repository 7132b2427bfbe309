"""A connection is read in large pieces, PDU by PDU, its length known before its body; it never waits too long."""

import os
import queue
import resource
import socket
import threading
import time
from types import SimpleNamespace

import pytest

from node.bell import Bell
from node.door.clock import MonotonicTimer, Pace
from node.door.connection import BUFFER_BYTES, HEADER_BYTES, LARGE_BUFFER_PDUS, Connection
from node.door.limits import Limits
from node.door.verdict import Violation
from tests.raw import P_DATA, RELEASE_RQ, RQ, pdu

LONGEST = {P_DATA: 100_000, RELEASE_RQ: 100, RQ: 100_000}


class Pair:
    """A connection, the other end of it, and the events it makes."""

    def __init__(self, **limits):
        near, self.far = socket.socketpair()
        near.setblocking(False)
        self.events = queue.Queue()
        association = SimpleNamespace(dul=SimpleNamespace(event_queue=self.events))
        self.bell = Bell()
        self.near = Connection(association, near, pdu(RQ, b"request"), self.bell, Limits(**limits))

    def next(self):
        """The next PDU, once it has come."""
        for _ in range(1000):
            found = self.near.next_pdu(LONGEST)
            if found is not None:
                return bytes(found)
            if not self.near.read() and self.near.at_end:
                return None
        raise AssertionError("nothing came")

    def close(self):
        self.near.release()
        self.far.close()
        self.bell.close()


@pytest.fixture
def pair():
    made = Pair()
    yield made
    made.close()


@pytest.fixture
def started(pair):
    """A connection whose request has been taken."""
    assert pair.next() == pdu(RQ, b"request")
    return pair


# Reading


def test_a_connection_is_announced_and_has_its_request_already(pair):
    assert pair.events.get_nowait() == "Evt5"
    assert pair.near.has_part
    assert pair.next() == pdu(RQ, b"request")
    assert not pair.near.has_part


def test_pdus_come_whole_in_their_order_however_they_are_cut(started):
    sent = [
        pdu(P_DATA, bytes([number]) * size) for number, size in enumerate((0, 1, 5, 70_000, 100, 99_999, 3, 60_000))
    ]
    whole = b"".join(sent)

    def send():
        for at in range(0, len(whole), 7001):
            started.far.sendall(whole[at : at + 7001])

    sender = threading.Thread(target=send)
    sender.start()
    received = []
    while len(received) < len(sent):
        found = started.near.next_pdu(LONGEST)
        if found is not None:
            received.append(bytes(found))
        elif not started.near.read():
            started.near.wait(1)
    sender.join()
    assert received == sent
    assert started.near.received == len(whole)


def test_a_pdu_is_judged_by_its_header_before_its_body_is_there(started):
    started.far.sendall(pdu(P_DATA, b"", 100_001))
    with pytest.raises(Violation, match="PDU too long"):
        started.next()
    started.near.forget()
    started.far.sendall(pdu(99, b"", 0xFFFFFFFF))
    with pytest.raises(Violation, match="unknown PDU type"):
        started.next()


def test_the_buffer_is_small_until_a_pdu_does_not_fit_into_it(started):
    started.far.sendall(pdu(P_DATA, bytes(9)))
    assert started.next()
    assert len(started.near._buffer) == BUFFER_BYTES
    started.far.sendall(pdu(P_DATA, bytes(100_000)))
    assert started.next()
    assert len(started.near._buffer) == LARGE_BUFFER_PDUS * (HEADER_BYTES + Limits().pdu_bytes)
    started.near.release()
    assert len(started.near._buffer) == 0


def test_pdus_of_the_announced_length_leave_no_piece_of_one_at_the_buffers_end(started, monkeypatch):
    longest, moved = Limits().pdu_bytes, []
    make_room = Connection._make_room
    monkeypatch.setattr(Connection, "_make_room", lambda near, size: (moved.append(size), make_room(near, size)))
    sender = threading.Thread(target=started.far.sendall, args=(pdu(P_DATA, bytes(longest)) * (3 * LARGE_BUFFER_PDUS),))
    sender.start()
    for _ in range(3 * LARGE_BUFFER_PDUS):
        while started.near.next_pdu({P_DATA: longest}) is None:
            if not started.near.read():
                started.near.wait(30)
    sender.join()
    assert moved == [HEADER_BYTES + longest], "once, for the buffer to become large"


def test_the_end_of_a_connection_is_noticed_after_what_came_before_it(started):
    started.far.sendall(pdu(P_DATA, b"last"))
    started.far.close()
    assert started.next() == pdu(P_DATA, b"last")
    assert started.next() is None
    assert started.near.at_end


def test_a_connection_that_was_reset_or_closed_is_at_its_end(started):
    started.near.release()
    assert started.near.read() is False
    assert started.near.at_end


# Waiting


def test_a_wait_ends_when_bytes_come_or_the_bell_rings(started):
    for end in (lambda: started.far.sendall(b"x"), started.bell.ring):
        timer = threading.Timer(0.05, end)
        timer.start()
        begun = time.monotonic()
        assert started.near.wait(30) is (end != started.bell.ring)
        assert time.monotonic() - begun < 20
        timer.join()
        started.near.read()
    assert started.near.wait(0) is False, "neither"
    started.far.sendall(b"x")
    started.bell.ring()
    assert started.near.wait(30) is False, "both: what the bell was rung for comes first"


def test_a_rest_ends_when_the_bell_rings_and_not_when_bytes_come(started):
    started.far.sendall(b"x")
    begun = time.monotonic()
    started.near.rest(0.2)
    assert time.monotonic() - begun > 0.15
    started.bell.ring()
    begun = time.monotonic()
    started.near.rest(30)
    assert time.monotonic() - begun < 20


def test_a_bell_may_be_rung_any_number_of_times_and_after_it_is_gone():
    bell = Bell()
    for _ in range(100_000):
        bell.ring()
    bell.silence()
    bell.close()
    bell.ring()
    bell.silence()
    assert bell.fileno() == -1


def test_a_connection_is_cut_from_another_thread(started):
    timer = threading.Timer(0.05, started.near.cut)
    timer.start()
    while started.near.read() or not started.near.at_end:
        started.near.wait(30)
    timer.join()
    assert started.far.recv(1) == b""


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 1100, reason="this system has few descriptors")
def test_a_descriptor_of_any_number_can_be_waited_for(monkeypatch):
    """select.select, which pynetdicom waits with, knows 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1100), hard))
    near, far = socket.socketpair()
    high = socket.socket(fileno=os.dup2(near.fileno(), 1050))
    high.setblocking(False)
    association = SimpleNamespace(dul=SimpleNamespace(event_queue=queue.Queue()))
    connection = Connection(association, high, b"", Bell(), Limits())
    far.sendall(pdu(P_DATA, b"data"))
    connection.wait(30)
    assert connection.read()
    connection.release()
    near.close()
    far.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# Sending


def test_what_is_sent_comes_whole_however_slowly_the_peer_reads(started):
    data = os.urandom(3_000_000)
    sender = threading.Thread(target=started.near.send, args=(data,))
    sender.start()
    received = b""
    while len(received) < len(data):
        received += started.far.recv(65_536)
    sender.join()
    assert received == data


def test_a_peer_that_does_not_read_loses_its_connection():
    pair = Pair(send_s=0.2)
    pair.near.send(bytes(20_000_000))
    assert [pair.events.get_nowait(), pair.events.get_nowait()] == ["Evt5", "Evt17"]
    pair.close()


def test_sending_on_a_connection_that_is_closed_tells_the_state_machine(started):
    started.near.close()
    assert [started.events.get_nowait(), started.events.get_nowait()] == ["Evt5", "Evt17"]
    started.near.send(b"too late")
    assert started.events.get_nowait() == "Evt17"
    started.near.cut()


# The clock


def test_the_timer_is_pynetdicoms_on_the_monotonic_clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "time", lambda: pytest.fail("the wall clock may be set"))
    timer = MonotonicTimer(5)
    assert (timer.expired, timer.remaining, timer.elapsed_s) == (False, 5, 0)
    timer.start()
    now[0] += 4
    assert (timer.expired, timer.remaining, timer.elapsed_s) == (False, 1, 4)
    now[0] += 2
    assert (timer.expired, timer.remaining) == (True, -1)
    timer.stop()
    assert (timer.expired, timer.elapsed_s) == (False, 0), "upstream's goes on being expired"
    timer.restart()
    now[0] += 4
    assert (timer.expired, timer.elapsed_s) == (False, 4)
    now[0] += 100
    timer.timeout = None
    assert (timer.expired, timer.remaining) == (False, 1)


def test_the_pace_is_that_of_a_whole_window(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pace = Pace(Limits(rate_bytes_s=100, rate_window_s=10.0))
    pace.check(0)
    for received in (10, 1100, 2101):
        now[0] += 5.5
        pace.check(received)
    now[0] += 9
    pace.check(2101)
    now[0] += 10.1
    with pytest.raises(Violation, match="too slow"):
        pace.check(2200)


def test_what_rests_has_no_pace(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pace = Pace(Limits(rate_bytes_s=100, rate_window_s=10.0))
    for _ in range(5):
        pace.check(0)
        now[0] += 9
        pace.rest()
        now[0] += 9
