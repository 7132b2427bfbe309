"""The C-STORE of a requested association, encoded and decoded here in place of pynetdicom.

What upstream makes of a C-STORE and its response (data sets, messages, a primitive, a PDU and a turn of its loop for each
16 kB, and lines for a log that nobody reads) was most of the Python that storing a result took. Every other message, and a
response that is not as it should be or that explains a failure, still goes upstream's way. Without `store_by_hand`
all do.

Everything here leans on names that pynetdicom keeps to itself; the contract tests fail when they change.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any

from pynetdicom import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA

from node import message_bytes

_LAST_FRAGMENT_OF_A_COMMAND = message_bytes.COMMAND | message_bytes.LAST


@dataclass(frozen=True, slots=True)
class _Whole:
    """A message in all its PDUs; it stands where upstream has one fragment."""

    pdus: bytes


def store_by_hand(association: Association) -> None:
    """Send each C-STORE as one item of the upper layer's queue, and decode its response here.

    The state machine still says whether it may be sent, and its thread still sends it: an SSL object is for one thread.

    Parameters
    ----------
    association : pynetdicom.Association
        One whose threads have not begun.
    """
    _send_whole(association)
    _take_responses(association)


def _send_whole(association: Association) -> None:
    dimse, dul = association.dimse, association.dul
    send_message, send_pdu = dimse.send_msg, dul._send

    def send(primitive: Any, context_id: int) -> None:
        if not _is_store_request(primitive):
            send_message(primitive, context_id)
            return
        p_data = P_DATA()
        whole = _Whole(_pdus(primitive, context_id, dimse.maximum_pdu_size))
        p_data.presentation_data_value_list.append((context_id, whole))
        dul.send_pdu(p_data)

    def send_as_it_is(pdu: Any) -> None:
        value = pdu.presentation_data_value_items[0].presentation_data_value if isinstance(pdu, P_DATA_TF) else None
        if isinstance(value, _Whole):
            dul.socket.send(value.pdus)
        else:
            send_pdu(pdu)

    dimse.send_msg, dul._send = send, send_as_it_is


def _is_store_request(primitive: Any) -> bool:
    return isinstance(primitive, C_STORE) and primitive.is_valid_request and primitive.MoveOriginatorMessageID is None


def _pdus(request: C_STORE, context_id: int, longest_bytes: int) -> bytes:
    uids = request.AffectedSOPClassUID, request.AffectedSOPInstanceUID
    command = message_bytes.store_request(request.MessageID, *uids, request.Priority)
    data_set = request.DataSet.getvalue()
    parts = chain(
        message_bytes.fragments(context_id, message_bytes.COMMAND, command, longest_bytes),
        message_bytes.fragments(context_id, message_bytes.DATA_SET, data_set, longest_bytes),
    )
    return b"".join(chain.from_iterable(parts))


def _take_responses(association: Association) -> None:
    dimse = association.dimse
    receive = dimse.receive_primitive

    def take(p_data: P_DATA) -> None:
        response = _store_response(p_data) if dimse.message is None else None
        if response is None:
            receive(p_data)
        else:
            dimse.msg_queue.put((p_data.presentation_data_value_list[0][0], response))

    dimse.receive_primitive = take


def _store_response(p_data: P_DATA) -> C_STORE | None:
    """Return the response that one fragment is, or None."""
    if len(p_data.presentation_data_value_list) != 1:
        return None
    _, value = p_data.presentation_data_value_list[0]
    decoded = message_bytes.store_response(value[1:]) if value[:1] == bytes((_LAST_FRAGMENT_OF_A_COMMAND,)) else None
    if decoded is None:
        return None
    response = C_STORE()
    response.MessageIDBeingRespondedTo, response.Status = decoded
    return response
