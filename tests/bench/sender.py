"""The one sender of all comparisons: a socket, and the bytes of an image that lie ready.

DCMTK's storescu reads and parses each file anew, proposes PDUs by rules of its own and starts as a process; what it takes
would be a part of what is measured on a machine of two cores. This one does nothing but send: PDUs as large as the receiver
takes, 128 KiB at most, Nagle's algorithm off.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from tests.bench.images import Image
from tests.raw import AC, CR, P_DATA, RELEASE_RP, RELEASE_RQ, Raw, command, context_item, pdu, request, store_request

LARGEST_PDU = 131_072
_CONTEXT = 1


class Sent(NamedTuple):
    """What became of an image.

    Attributes
    ----------
    began, last_byte, answered : float
        Moments (s) of the clock of the day: before the first byte, when the system had taken the last one, at the answer.
    status : int
    """

    image: Image
    began: float
    last_byte: float
    answered: float
    status: int


class Sender(Raw):
    """An association for images of one transfer syntax."""

    def __init__(self, port: int, transfer_syntax_uid: str, called_ae_title: str = "CXRTRIAGE") -> None:
        super().__init__(port, within_s=300)
        contexts = [context_item(_CONTEXT, CR, [transfer_syntax_uid])]
        kind, body = self.send(request(called=called_ae_title.encode(), contexts=contexts)).answer()
        assert kind == AC, (kind, body[:8])
        accepted, largest = _answers(body)
        assert accepted, f"{called_ae_title} does not take {transfer_syntax_uid}"
        # The length of a PDU does not count its own header of 6 bytes; that of a PDV counts 2 of its 6.
        self._piece = min(largest or LARGEST_PDU, LARGEST_PDU) - 6

    def bring(self, image: Image) -> Sent:
        """Send an image and wait for the answer."""
        began = time.time()
        self.socket.sendall(command(_CONTEXT, store_request(image.sop_instance_uid)))
        for last, part in ((False, memoryview(image.head)), (True, image.rest)):
            for at in range(0, len(part), self._piece):
                piece = part[at : at + self._piece]
                control = 2 if last and at + self._piece >= len(part) else 0
                head = struct.pack(">BxLLBB", P_DATA, len(piece) + 6, len(piece) + 2, _CONTEXT, control)
                self._send_both(head, piece)
        last_byte = time.time()
        status = self.status()
        return Sent(image, began, last_byte, time.time(), status)

    def release(self) -> None:
        """Release the association."""
        kind, _ = self.send(pdu(RELEASE_RQ, bytes(4))).answer()
        assert kind == RELEASE_RP, kind

    def _send_both(self, head: bytes, piece: memoryview) -> None:
        """Send two buffers without making one of them; the system may take less than all at once."""
        sent = self.socket.sendmsg([head, piece])
        if sent < len(head) + len(piece):
            self.socket.sendall(head[sent:])
            self.socket.sendall(piece[max(0, sent - len(head)) :])


def _answers(body: bytes) -> tuple[bool, int]:
    """Return whether the one context was accepted, and the length of the longest PDU, 0 for any (PS3.8 9.3.3, Annex D.1)."""
    accepted, largest, at = False, 0, 68
    while at < len(body):
        kind, length = struct.unpack_from(">BxH", body, at)
        if kind == 0x21:
            accepted = body[at + 6] == 0
        elif kind == 0x50 and body[at + 4] == 0x51:
            (largest,) = struct.unpack_from(">L", body, at + 8)
        at += 4 + length
    return accepted, largest


def send_study(port: int, images: Sequence[Image], called_ae_title: str = "CXRTRIAGE") -> list[Sent]:
    """Send images of one transfer syntax on an association of their own."""
    with Sender(port, images[0].transfer_syntax_uid, called_ae_title) as sender:
        sent = [sender.bring(image) for image in images]
        sender.release()
    return sent


def at_once(senders: int, work: Callable[[int], Sequence[Sent]]) -> list[Sent]:
    """Have several senders work at the same time, each told its number."""
    with ThreadPoolExecutor(senders) as pool:
        sent = [each for found in pool.map(work, range(senders)) for each in found]
    assert all(each.status == 0x0000 for each in sent), {hex(each.status) for each in sent}
    return sent
