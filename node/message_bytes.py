"""A DIMSE message as bytes: the elements of its command set, and the fragments of it that P-DATA-TF PDUs carry.

pynetdicom makes a data set, a message and a primitive for each PDU of what is written here in a few lines.

References
----------
DICOM PS3.7 6.3.1 (command sets are in Implicit VR Little Endian), 9.3.1 (C-STORE), Annex E (the elements); PS3.8 9.3.5 and
Annex E (presentation data values).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

C_STORE_RQ, C_STORE_RSP = 0x0001, 0x8001
GROUP_LENGTH, AFFECTED_CLASS, COMMAND_FIELD = 0x0000, 0x0002, 0x0100
MESSAGE_ID, MESSAGE_ID_RESPONDED_TO, PRIORITY, DATA_SET_TYPE = 0x0110, 0x0120, 0x0700, 0x0800
STATUS, AFFECTED_INSTANCE = 0x0900, 0x1000
A_DATA_SET, NO_DATA_SET = 0x0001, 0x0101  # anything but 0101H says that there is one (PS3.7 E.1); this is pynetdicom's

COMMAND, DATA_SET, LAST = 1, 0, 2  # the bits of a message control header (PS3.8 E.2)
P_DATA_TF = 4  # PS3.8 9.3.5: the type of the PDUs that carry fragments
FRAGMENT_HEADER_BYTES = 6  # PS3.8 9.3.5.1: what comes before a fragment and counts in the PDU's length

# PS3.7 Table 9.3-2 without the elements that explain a failure; the lengths of those that are no UID.
_STORE_RESPONSE = {GROUP_LENGTH: 4, COMMAND_FIELD: 2, MESSAGE_ID_RESPONDED_TO: 2, DATA_SET_TYPE: 2, STATUS: 2}
# At most as long as a UID (PS3.5 9.1) and printable. What breaks the other rules for one nobody knows, and it is answered as such.
COULD_BE_UID = re.compile(rb"[\x21-\x5b\x5d-\x7e]{1,64}").fullmatch
_PADDED_UID = re.compile(rb"[0-9.]{1,64}\0?").fullmatch  # PS3.5 9.1


def element(number: int, value: bytes) -> bytes:
    """Encode an element of group 0000."""
    return struct.pack("<HHL", 0, number, len(value)) + value


def short(number: int, value: int) -> bytes:
    """Encode an element of the value representation US."""
    return struct.pack("<HHLH", 0, number, 2, value)


def text(number: int, value: str, pad: bytes = b"\0") -> bytes:
    """Encode an element of text, padded to an even length; what is not ASCII becomes a question mark."""
    encoded = value.encode("ascii", "replace")
    return element(number, encoded + pad * (len(encoded) % 2))


def command_set(*encoded: bytes) -> bytes:
    """Join encoded elements, and put their group length before them."""
    joined = b"".join(encoded)
    return element(GROUP_LENGTH, struct.pack("<L", len(joined))) + joined


def elements(data: memoryview) -> dict[int, memoryview]:
    """Return the values of a command set by element number; of an element that is there twice, the first.

    Raises
    ------
    ValueError
        When it is malformed, or another group is in it.
    """
    found: dict[int, memoryview] = {}
    at = 0
    while at < len(data):
        if len(data) - at < 8:
            raise ValueError("an element is cut off")
        group, number, length = struct.unpack_from("<HHL", data, at)
        at += 8 + length
        if group != 0 or at > len(data):
            raise ValueError("an element is of another group, or longer than the command set")
        found.setdefault(number, data[at - length : at])
    return found


def store_request(message_id: int, sop_class_uid: str, sop_instance_uid: str, priority: int) -> bytes:
    """Encode the command set of a C-STORE request.

    Parameters
    ----------
    message_id : int
    sop_class_uid, sop_instance_uid : str
    priority : int
        0, 1 and 2 are medium, high and low.

    References
    ----------
    PS3.7 Table 9.3-1.
    """
    return command_set(
        text(AFFECTED_CLASS, sop_class_uid),
        short(COMMAND_FIELD, C_STORE_RQ),
        short(MESSAGE_ID, message_id),
        short(PRIORITY, priority),
        short(DATA_SET_TYPE, A_DATA_SET),
        text(AFFECTED_INSTANCE, sop_instance_uid),
    )


def store_response(command: bytes) -> tuple[int, int] | None:
    """Decode the command set of a response to a C-STORE, where it is one as it should be and explains no failure.

    Parameters
    ----------
    command : bytes
        Any command set, whole.

    Returns
    -------
    (message ID being responded to, status), or None
        None for everything else, well-formed or not.

    References
    ----------
    PS3.7 Table 9.3-2.
    """
    try:
        found = elements(memoryview(command))
    except ValueError:
        return None
    uids = [found.pop(each) for each in (AFFECTED_CLASS, AFFECTED_INSTANCE) if each in found]
    if not all(_PADDED_UID(uid) for uid in uids) or {each: len(found[each]) for each in found} != _STORE_RESPONSE:
        return None
    if len(command) != sum(8 + len(value) for value in (*uids, *found.values())):  # one of them is there twice
        return None
    numbers = {each: int.from_bytes(value, "little") for each, value in found.items()}
    if (numbers[COMMAND_FIELD], numbers[DATA_SET_TYPE]) != (C_STORE_RSP, NO_DATA_SET):
        return None
    return numbers[MESSAGE_ID_RESPONDED_TO], numbers[STATUS]


def fragments(context_id: int, kind: int, data: bytes, longest_bytes: int) -> Iterator[tuple[bytes, memoryview]]:
    """Cut a command set or a data set into fragments, one for each P-DATA-TF PDU.

    Parameters
    ----------
    context_id : int
    kind : int
        `COMMAND` or `DATA_SET`.
    data : bytes
    longest_bytes : int
        How much the peer lets follow a PDU's header; 0: any length (PS3.8 D.1).

    Yields
    ------
    (bytes, memoryview)
        What comes before a fragment in its PDU, and the fragment.

    Raises
    ------
    ValueError
        When so short a PDU has no room for a fragment.
    """
    most = longest_bytes - FRAGMENT_HEADER_BYTES if longest_bytes else max(len(data), 1)
    if most < 1:
        raise ValueError(f"no fragment fits into a PDU of {longest_bytes} bytes")
    whole = memoryview(data)
    for at in range(0, len(data), most):
        fragment = whole[at : at + most]
        control = kind | (LAST if at + most >= len(data) else 0)
        lengths = len(fragment) + FRAGMENT_HEADER_BYTES, len(fragment) + 2
        yield struct.pack(">BxLLBB", P_DATA_TF, *lengths, context_id, control), fragment
