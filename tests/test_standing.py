import threading
import time

import pytest
from pynetdicom import build_context, evt
from pynetdicom.dimse_primitives import C_ECHO
from pynetdicom.sop_class import Verification

from node.association import AssociationEnded, Peer
from node.standing import StandingAssociation
from tests.peers import wait_until
from tests.scp import HOST, storage_scp


def standing_at(port, idle_s=60.0):
    peer = Peer("pacs", "PACS", HOST, port, "CXRTRIAGE")
    return StandingAssociation(peer, [build_context(Verification)], lambda event: (0x0000, None), idle_s)


def echo(association):
    request = C_ECHO()
    request.AffectedSOPClassUID = Verification
    (context_id,) = association.accepted.values()
    return association.ask(request, context_id).Status


def test_one_association_serves_many_questions():
    with storage_scp() as scp:
        standing = standing_at(scp.port)
        assert [standing.do(echo) for _ in range(5)] == [0x0000] * 5
        assert len(scp.associations) == 1
        standing.close()
        assert scp.released.wait(5)


def test_nothing_is_opened_before_there_is_something_to_do():
    with storage_scp() as scp:
        standing = standing_at(scp.port)
        standing.close_if_idle()
        standing.close()
        assert scp.associations == []


def test_an_idle_association_is_released_by_itself():
    with storage_scp() as scp:
        standing = standing_at(scp.port, idle_s=0.2)
        standing.do(echo)
        assert scp.released.wait(10)
        assert standing.do(echo) == 0x0000
        assert len(scp.associations) == 2
        standing.close()


def test_an_association_in_use_is_not_idle():
    with storage_scp() as scp:
        standing = standing_at(scp.port, idle_s=0.6)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            standing.do(echo)
            standing.close_if_idle()
        assert len(scp.associations) == 1
        standing.close()


def test_many_threads_share_one_association_in_turn():
    answers = []
    with storage_scp() as scp:
        standing = standing_at(scp.port)
        threads = [threading.Thread(target=lambda: answers.append(standing.do(echo))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        standing.close()
        assert len(scp.associations) == 1
    assert answers == [0x0000] * 8


def test_an_association_the_peer_released_meanwhile_is_opened_again():
    with storage_scp() as scp:
        standing = standing_at(scp.port)
        standing.do(echo)
        scp.associations[0].release()
        assert standing.do(echo) == 0x0000
        assert len(scp.associations) == 2
        standing.close()


def test_a_kept_association_that_proves_dead_is_replaced_at_once():
    aborts = iter([False, True, False])
    handlers = [(evt.EVT_C_ECHO, lambda event: event.assoc.abort() or 0x0000 if next(aborts) else 0x0000)]
    with storage_scp(handlers=handlers) as scp:
        standing = standing_at(scp.port)
        assert standing.do(echo) == 0x0000
        assert standing.do(echo) == 0x0000
        assert len(scp.associations) == 2
        standing.close()


def test_a_fresh_association_that_is_ended_is_left_to_the_clock():
    handlers = [(evt.EVT_C_ECHO, lambda event: event.assoc.abort() or 0x0000)]
    with storage_scp(handlers=handlers) as scp:
        standing = standing_at(scp.port)
        with pytest.raises(AssociationEnded):
            standing.do(echo)
        assert len(scp.associations) == 1
        standing.close()


def test_no_timer_is_left_after_closing():
    with storage_scp() as scp:
        standing = standing_at(scp.port)
        standing.do(echo)
        standing.close()
        wait_until(lambda: not any(isinstance(each, threading.Timer) for each in threading.enumerate()))
