"""A C-STORE that is encoded and decoded by hand is to the byte what pynetdicom makes of it, and goes out whole.

The contracts with pynetdicom are among them: they fail when an upgrade changes what ``node.store_by_hand`` leans on.
"""

import struct
from inspect import getsource as source
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import AE, Association, build_context, fsm
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP, DIMSEMessage
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.sop_class import ComprehensiveSRStorage, Verification

from node import message_bytes
from node.association import Peer, RequestedAssociation
from node.requestor import TransportConnection, keep_apart, next_response
from node.store_by_hand import store_by_hand
from tests.raw import NO_DATA_SET, elements
from tests.scp import HOST, storage_scp

CONTEXT, STORED = 5, 0x8001


def c_store(data_set=b"12", uid="1.2.3", message_id=7, priority=0):
    request = C_STORE()
    request.MessageID, request.Priority, request.DataSet = message_id, priority, BytesIO(data_set)
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = ComprehensiveSRStorage, uid
    return request


def by_upstream(request, longest_bytes):
    """The P-DATA-TF PDUs of a request, as pynetdicom encodes them."""
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    return b"".join(P_DATA_TF(each).encode() for each in message.encode_msg(CONTEXT, longest_bytes))


class Recorder:
    """Stands for the connection: what each call of `send` was given."""

    def __init__(self):
        self.sent = []

    def send(self, data):
        self.sent.append(bytes(data))


@pytest.fixture
def association():
    """Not connected; what its upper layer is told to send is sent by `sent`, as the state machine does it."""
    found = Association(AE("CXRTRIAGE"), "requestor")
    keep_apart(found)
    store_by_hand(found)
    found.dul.socket = Recorder()
    found.acceptor.maximum_length = 16_382
    return found


def sent(association):
    association.dul.state_machine.current_state = "Sta6"
    while association.dul._process_recv_primitive():
        association.dul.state_machine.do_action(association.dul.event_queue.get_nowait())
    return association.dul.socket.sent


# The request


@pytest.mark.parametrize("longest_bytes", [0, 7, 16, 64, 128, 16_382])
@pytest.mark.parametrize("data_set", [b"", b"12", bytes(range(250)), bytes(1000)])
@pytest.mark.parametrize("uid", ["1.2.3", "1.2.3.4", "1." + 62 * "2"])
def test_a_request_is_to_the_byte_what_upstream_sends(association, longest_bytes, data_set, uid):
    association.acceptor.maximum_length = longest_bytes
    request = c_store(data_set, uid, message_id=0xFFFF, priority=2)
    association.dimse.send_msg(request, CONTEXT)
    assert b"".join(sent(association)) == by_upstream(request, longest_bytes)


def test_a_request_is_one_item_of_the_queue_and_is_sent_at_once(association):
    request = c_store(bytes(100_000))
    association.dimse.send_msg(request, CONTEXT)
    assert association.dul.to_provider_queue.qsize() == 1
    assert sent(association) == [by_upstream(request, 16_382)]


def test_a_request_is_sent_where_the_state_machine_allows_it_alone(association):
    association.dimse.send_msg(c_store(), CONTEXT)
    association.dul.state_machine.current_state = "Sta7"
    assert association.dul._process_recv_primitive()
    with pytest.raises(fsm.InvalidEventError):
        association.dul.state_machine.do_action(association.dul.event_queue.get_nowait())
    assert association.dul.socket.sent == []


def test_a_pdu_too_short_for_any_fragment_is_an_error_as_it_is_upstream(association):
    association.acceptor.maximum_length = 6
    with pytest.raises(ArithmeticError):
        by_upstream(c_store(), 6)
    with pytest.raises(ValueError, match="no fragment fits"):
        association.dimse.send_msg(c_store(), CONTEXT)


def test_what_is_no_plain_request_to_store_is_left_to_upstream(association):
    moved, echo = c_store(), C_ECHO()
    moved.MoveOriginatorMessageID, moved.MoveOriginatorApplicationEntityTitle = 3, "MOVER"
    echo.MessageID, echo.AffectedSOPClassUID = 1, Verification
    association.dimse.send_msg(moved, CONTEXT)
    association.dimse.send_msg(echo, CONTEXT)
    *of_moved, of_echo = sent(association)
    assert b"".join(of_moved) == by_upstream(moved, 16_382)
    assert b"MOVER" in of_moved[0]
    assert of_echo[12:].endswith(struct.pack("<HHLH", 0, 0x0800, 2, NO_DATA_SET))


# The response


def response(**other):
    numbers = {"x0100": STORED, "x0120": 7, "x0800": NO_DATA_SET, "x0900": 0xB000}
    given = {"x0002": ComprehensiveSRStorage} | numbers | {"x1000": "1.2.3"} | other
    return elements(x0000=struct.pack("<L", len(elements(**given))), **given)


def taken(association, *fragments):
    """Receive a PDU of these fragments, and return what the requestor is given."""
    p_data = P_DATA()
    p_data.presentation_data_value_list.extend((CONTEXT, each) for each in fragments)
    association.dimse.receive_primitive(p_data)
    return next_response(association, 0.01)


@pytest.fixture
def upstream(association, monkeypatch):
    """Count the messages that upstream decodes."""
    decoded = []
    decode = DIMSEMessage.decode_msg
    monkeypatch.setattr(DIMSEMessage, "decode_msg", lambda *given: decoded.append(1) or decode(*given))
    return decoded


@pytest.mark.parametrize("without", [(), ("x0002",), ("x1000",), ("x0002", "x1000")])
def test_a_response_is_decoded_without_upstream_though_it_names_no_instance(association, upstream, without):
    answer = taken(association, b"\3" + response(**dict.fromkeys(without)))
    assert (answer.MessageIDBeingRespondedTo, answer.Status) == (7, 0xB000)
    assert upstream == []


NOT_AS_IT_SHOULD_BE = {
    "an offending element": response(x0901=struct.pack("<HH", 0x0010, 0x0010)),
    "an error comment": response(x0902=b"no such thing "),
    "no message ID": response(x0120=None),
    "no status": response(x0900=None),
    "of a C-ECHO": response(x0100=0x8030),
    "no group length": elements(x0100=STORED, x0120=7, x0800=NO_DATA_SET, x0900=0),
    "two statuses": response() + elements(x0900=0),
    "a UID padded by a space": response(x1000=b"1.2.3 "),
    "a UID of letters": response(x1000=b"abc\0"),
    "an empty UID": response(x1000=b""),
}


@pytest.mark.parametrize("command_set", NOT_AS_IT_SHOULD_BE.values(), ids=NOT_AS_IT_SHOULD_BE)
def test_a_response_that_is_not_as_it_should_be_goes_the_way_of_upstream(association, upstream, command_set):
    assert message_bytes.store_response(command_set) is None
    taken(association, b"\3" + command_set)
    assert upstream == [1]


@pytest.mark.parametrize("command_set", [b"", response()[:-1], response() + b"\0", b"\1" + response()[1:]])
def test_what_is_no_command_set_is_not_decoded(command_set):
    assert message_bytes.store_response(command_set) is None


def test_a_response_in_pieces_or_beside_another_goes_the_way_of_upstream(association, upstream):
    command_set = response()
    assert taken(association, b"\1" + command_set[:20]) is None
    assert taken(association, b"\3" + command_set[20:]).Status == 0xB000
    assert taken(association, b"\1" + command_set[:20], b"\3" + command_set[20:]).Status == 0xB000
    assert len(upstream) == 3


def test_a_response_that_follows_half_a_message_is_taken_for_its_rest(association, upstream):
    assert taken(association, b"\1") is None
    assert taken(association, b"\3" + response()).Status == 0xB000
    assert len(upstream) == 2


@given(st.lists(st.tuples(st.integers(0, len(response()) - 1), st.integers(0, 255)), max_size=3))
def test_what_is_decoded_with_bytes_changed_is_what_upstream_decodes(changes):
    changed = bytearray(response())
    for at, byte in changes:
        changed[at] = byte
    found = message_bytes.store_response(bytes(changed))
    if found is not None:
        p_data, message = P_DATA(), DIMSEMessage()
        p_data.presentation_data_value_list.append((CONTEXT, b"\3" + bytes(changed)))
        assert message.decode_msg(p_data)
        assert isinstance(message, C_STORE_RSP)
        primitive = message.message_to_primitive()
        assert found == (primitive.MessageIDBeingRespondedTo, primitive.Status)
        assert not primitive.is_valid_request


# With a PACS


def test_a_message_of_many_pdus_is_sent_by_one_call_and_arrives_whole(monkeypatch):
    calls, send = [], TransportConnection.send
    monkeypatch.setattr(TransportConnection, "send", lambda self, data: calls.append(len(data)) or send(self, data))
    with storage_scp() as scp:
        peer = Peer("pacs", "PACS", HOST, scp.port, "CXRTRIAGE")
        standing = RequestedAssociation(peer, [build_context(ComprehensiveSRStorage)])
        (context_id,) = standing.accepted.values()
        calls.clear()
        assert standing.ask(c_store(bytes(200_000)), context_id).Status == 0x0000
        assert len(calls) == 1
        assert scp.received[0].data_set == bytes(200_000)
        standing.release()


# Contracts


def test_the_places_that_are_replaced_are_still_those_of_pynetdicom():
    assert "dul._send(P_DATA_TF(primitive))" in source(fsm.DT_1)
    assert 'dul.assoc.dimse.receive_primitive(cast("P_DATA", pdu.to_primitive()))' in source(fsm.DT_2)
    assert "self.dul.send_pdu(pdata)" in source(DIMSEServiceProvider.send_msg)
    assert "if self.message is None:" in source(DIMSEServiceProvider.receive_primitive)
    assert "self.msg_queue.put((context_id, " in source(DIMSEServiceProvider.receive_primitive)
    assert "self.socket.send(pdu.encode())" in source(DULServiceProvider._send)
    assert fsm.TRANSITION_TABLE["Evt9", "Sta6"] == "DT-1"


def test_a_pdu_made_of_a_primitive_holds_what_the_primitive_held():
    p_data, value = P_DATA(), object()
    p_data.presentation_data_value_list.append((CONTEXT, value))
    (item,) = P_DATA_TF(p_data).presentation_data_value_items
    assert item.presentation_data_value is value
