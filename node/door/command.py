"""The command set of a DIMSE message, judged on its bytes before pynetdicom decodes it; a C-STORE's is decoded here.

A decoder of data sets raises whatever it meets in a malformed one. A command set is far less than a data set: one
transfer syntax, one group, no sequences. So it is taken apart here, and pynetdicom is given only those elements of it
that a request is made of, each of the right form. Of a C-STORE it is given none: what upstream makes of its request and
its answer (a data set, a message, a primitive) was a third of the Python that an image cost the receiver.

References
----------
DICOM PS3.7 6.3.1 (command sets are in Implicit VR Little Endian), 9.3 and 10.3 (the messages), Annex E (the elements).
"""

from __future__ import annotations

from dataclasses import dataclass

from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from node import message_bytes
from node.door.verdict import INVALID_PARAMETER, UNEXPECTED_PARAMETER, Violation
from node.message_bytes import (
    AFFECTED_CLASS,
    AFFECTED_INSTANCE,
    C_STORE_RQ,
    C_STORE_RSP,
    COMMAND_FIELD,
    DATA_SET_TYPE,
    MESSAGE_ID,
    MESSAGE_ID_RESPONDED_TO,
    NO_DATA_SET,
    STATUS,
    short,
    text,
)

C_ECHO_RQ, N_EVENT_REPORT_RQ, N_ACTION_RQ, C_CANCEL_RQ = 0x0030, 0x0100, 0x0130, 0x0FFF
_ERROR_COMMENT = 0x0902
_REQUESTED_CLASS, _REQUESTED_INSTANCE, _EVENT_TYPE, _ACTION_TYPE = 0x0003, 0x1001, 0x1002, 0x1008
_UIDS = {AFFECTED_CLASS, _REQUESTED_CLASS, AFFECTED_INSTANCE, _REQUESTED_INSTANCE}

# What each request that upstream decodes cannot do without.
_NEEDED = {
    C_ECHO_RQ: {AFFECTED_CLASS, MESSAGE_ID},
    N_EVENT_REPORT_RQ: {AFFECTED_CLASS, AFFECTED_INSTANCE, MESSAGE_ID, _EVENT_TYPE},
    N_ACTION_RQ: {_REQUESTED_CLASS, _REQUESTED_INSTANCE, MESSAGE_ID, _ACTION_TYPE},
    C_CANCEL_RQ: {MESSAGE_ID_RESPONDED_TO},
}
# Of which SOP class a request is; for a C-STORE, whose classes are many, a status is answered (PS3.7 9.1.1.1.9).
_SOP_CLASSES = {
    C_ECHO_RQ: Verification,
    N_EVENT_REPORT_RQ: StorageCommitmentPushModel,
    N_ACTION_RQ: StorageCommitmentPushModel,
}
_ALWAYS = {COMMAND_FIELD, DATA_SET_TYPE}
_LAST_FRAGMENT_OF_A_COMMAND = b"\3"  # PS3.8 E.2


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """What a C-STORE asks.

    Parameters
    ----------
    message_id : int
    sop_class_uid, sop_instance_uid : str
        As the command says; the data set may say otherwise.
    has_data_set : bool
    """

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_data_set: bool = True


def decode(command_set: bytes | bytearray, context_id: int) -> StoreRequest | DIMSEMessage:
    """Decode the command set of a request.

    Parameters
    ----------
    command_set : bytes-like
        As it came, whole.
    context_id : int
        Of the presentation context it came on.

    Returns
    -------
    StoreRequest or pynetdicom.dimse_messages.DIMSEMessage
        Of the latter a ``C_ECHO_RQ``, ``N_EVENT_REPORT_RQ``, ``N_ACTION_RQ`` or ``C_CANCEL_RQ``.

    Raises
    ------
    Violation
        When it is malformed, lacks what its request needs, or is no request of these.
    """
    elements = _elements(memoryview(bytes(command_set)))
    command_field = _number(elements, COMMAND_FIELD)
    if command_field == C_STORE_RQ:
        return _store_request(elements)
    needed = _NEEDED.get(command_field)
    if needed is None:
        raise Violation("unexpected command")
    given = b"".join(_encoded(element, elements) for element in sorted(needed | _ALWAYS))
    data = P_DATA()
    data.presentation_data_value_list.append((context_id, _LAST_FRAGMENT_OF_A_COMMAND + given))
    message = DIMSEMessage()
    message.decode_msg(data)  # turns it into the message of its class
    return message


def _store_request(elements: dict[int, memoryview]) -> StoreRequest:
    return StoreRequest(
        _number(elements, MESSAGE_ID),
        _uid(elements, AFFECTED_CLASS).decode("ascii"),
        _uid(elements, AFFECTED_INSTANCE).decode("ascii"),
        _number(elements, DATA_SET_TYPE) != NO_DATA_SET,
    )


def has_data_set(message: DIMSEMessage) -> bool:
    """Tell whether a data set follows the command (PS3.7 E.1, Command Data Set Type)."""
    return bool(message.command_set.CommandDataSetType != NO_DATA_SET)


def check_context(message: DIMSEMessage, abstract_syntax: str) -> None:
    """Refuse a request on a presentation context that was accepted for something else.

    Raises
    ------
    Violation
    """
    command_set = message.command_set
    due = _SOP_CLASSES.get(command_set.CommandField)
    named = command_set.get("AffectedSOPClassUID") or command_set.get("RequestedSOPClassUID")
    if due and not due == named == abstract_syntax:
        raise Violation("request on another context", UNEXPECTED_PARAMETER)


def store_response(request: StoreRequest, status: int, comment: str = "") -> bytes:
    """Encode the command set of the response to a C-STORE.

    Parameters
    ----------
    request : StoreRequest
    status : int
    comment : str
        Of at most 64 characters, for the sender's log; what is not ASCII becomes a question mark.

    References
    ----------
    PS3.7 Table 9.3-2.
    """
    return message_bytes.command_set(
        text(AFFECTED_CLASS, request.sop_class_uid),
        short(COMMAND_FIELD, C_STORE_RSP),
        short(MESSAGE_ID_RESPONDED_TO, request.message_id),
        short(DATA_SET_TYPE, NO_DATA_SET),
        short(STATUS, status),
        text(_ERROR_COMMENT, comment, pad=b" ") if comment else b"",
        text(AFFECTED_INSTANCE, request.sop_instance_uid),
    )


def _malformed() -> Violation:
    return Violation("malformed command set", INVALID_PARAMETER)


def _elements(data: memoryview) -> dict[int, memoryview]:
    """Return the values by element number; of an element that is there twice, the first."""
    try:
        return message_bytes.elements(data)
    except ValueError:
        raise _malformed() from None


def _number(elements: dict[int, memoryview], element: int) -> int:
    value = elements.get(element, b"")
    if len(value) != 2:
        raise _malformed()
    return int.from_bytes(value, "little")


def _uid(elements: dict[int, memoryview], element: int) -> bytes:
    value = bytes(elements.get(element, b"")).rstrip(b"\0 ")
    if not message_bytes.COULD_BE_UID(value):
        raise _malformed()
    return value


def _encoded(element: int, elements: dict[int, memoryview]) -> bytes:
    """Write an element anew, once it has the form it must have (PS3.7 Table E.1-1: all are numbers or UIDs)."""
    if element in _UIDS:
        value = _uid(elements, element)
        value += b"\0" * (len(value) % 2)
    else:
        value = _number(elements, element).to_bytes(2, "little")
    return message_bytes.element(element, value)
