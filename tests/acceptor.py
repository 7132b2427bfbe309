"""The acceptor's end of a connection, without a DICOM library: a PACS that does whatever it is told to."""

from __future__ import annotations

import socket
import struct

from tests.raw import AC, P_DATA, Raw, elements, item, pdu, values_of


class Acceptor(Raw):
    """One accepted connection."""

    def __init__(self, accepted: socket.socket) -> None:
        self.socket = accepted

    def accept(self) -> Acceptor:
        """Read the A-ASSOCIATE-RQ and accept every context, with the first transfer syntax of each."""
        _, body = self.answer()
        results, at = b"", 68
        while at < len(body):
            kind, length = struct.unpack_from(">BxH", body, at)
            value = body[at + 4 : at + 4 + length]
            if kind == 0x20:
                results += item(0x21, bytes((value[0], 0, 0, 0)) + value[value.index(b"\x40\x00", 4) :])
            at += 4 + length
        user = item(0x50, item(0x51, struct.pack(">L", 16_384)) + item(0x52, b"1.2.3.4"))
        body = body[:68] + item(0x10, b"1.2.840.10008.3.1.1.1") + results + user
        self.send(pdu(AC, body))
        return self

    def take_store(self) -> tuple[int, dict[int, bytes]]:
        """Read a whole C-STORE-RQ: its presentation context ID and command set."""
        request: dict[int, bytes] = {}
        while True:
            kind, body = self.answer()
            assert kind == P_DATA, kind
            at = 0
            while at < len(body):
                length, context_id, control = struct.unpack_from(">LBB", body, at)
                if control & 1:
                    request = values_of(body[at + 6 : at + 4 + length])
                elif control & 2:
                    return context_id, request
                at += 4 + length

    def response(self, request: dict[int, bytes], status: int = 0x0000) -> bytes:  # type: ignore[override]
        return elements(
            x0002=request[0x0002],
            x0100=0x8001,
            x0120=request[0x0110],
            x0800=0x0101,
            x0900=status,
            x1000=request[0x1000],
        )
