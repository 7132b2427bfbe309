"""A client without a DICOM library: it puts on the wire whatever it is told to, and reads PDUs.

It knows the encodings by itself, so that no mistake of the node's or pynetdicom's hides another.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Iterable, Sequence
from typing import Self

HOST, NODE, CALLER = "127.0.0.1", "CXRTRIAGE", "RAW"
VERIFICATION, CR, HANGING_PROTOCOL = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.38.1"
COMMITMENT, COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
IMPLICIT, EXPLICIT, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
RQ, AC, RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
C_STORE, C_ECHO, C_FIND, N_EVENT_REPORT, N_ACTION, C_CANCEL = 0x0001, 0x0030, 0x0020, 0x0100, 0x0130, 0x0FFF
# The presentation contexts that a client proposes unless it is told otherwise, by ID.
CONTEXTS = {1: (VERIFICATION, [IMPLICIT]), 3: (CR, [EXPLICIT]), 5: (CR, [DEFLATED]), 7: (COMMITMENT, [EXPLICIT])}
ECHO, STORE, STORE_DEFLATED, COMMIT = CONTEXTS
NO_DATA_SET, DATA_SET = 0x0101, 0x0001


def pdu(kind: int, body: bytes = b"", length: int | None = None) -> bytes:
    """A PDU, whose header may lie about its length."""
    return struct.pack(">BxL", kind, len(body) if length is None else length) + body


def item(kind: int, value: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BxH", kind, len(value) if length is None else length) + value


def context_item(context_id: int, abstract_syntax: str, transfer_syntaxes: Iterable[str]) -> bytes:
    syntaxes = b"".join(item(0x40, uid.encode()) for uid in transfer_syntaxes)
    return item(0x20, bytes((context_id, 0, 0, 0)) + item(0x30, abstract_syntax.encode()) + syntaxes)


def user_information(*more: bytes, maximum_length: int = 16_384) -> bytes:
    return item(0x50, item(0x51, struct.pack(">L", maximum_length)) + item(0x52, b"1.2.3.4") + b"".join(more))


def request(
    called: bytes = NODE.encode(),
    calling: bytes = CALLER.encode(),
    version: int = 1,
    application_context: str = APPLICATION_CONTEXT,
    contexts: Iterable[bytes] | None = None,
    information: bytes | None = None,
    pad: bytes = b" ",
) -> bytes:
    """An A-ASSOCIATE-RQ."""
    proposed = [context_item(number, *syntaxes) for number, syntaxes in CONTEXTS.items()]
    body = struct.pack(">Hxx", version) + called.ljust(16, pad) + calling.ljust(16, pad) + bytes(32)
    body += item(0x10, application_context.encode()) + b"".join(proposed if contexts is None else contexts)
    return pdu(RQ, body + (user_information() if information is None else information))


def fragment(context_id: int, control: int, data: bytes, length: int | None = None) -> bytes:
    """A presentation data value; control bit 0 is of a command, bit 1 of the last fragment."""
    return struct.pack(">LBB", len(data) + 2 if length is None else length, context_id, control) + data


def command(context_id: int, command_set: bytes) -> bytes:
    return pdu(P_DATA, fragment(context_id, 3, command_set))


def data_set(context_id: int, data: bytes, piece: int = 16_000) -> bytes:
    """P-DATA-TF PDUs of a data set in pieces."""
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)] or [b""]
    whole = [pdu(P_DATA, fragment(context_id, 0, each)) for each in pieces[:-1]]
    return b"".join([*whole, pdu(P_DATA, fragment(context_id, 2, pieces[-1]))])


def elements(**values: int | str | bytes | None) -> bytes:
    """A command set of elements named ``x0100`` and so on; a number is a US, a text a UID, None left out."""
    found = []
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(value, int):
            value = struct.pack("<H", value)
        elif isinstance(value, str):
            value = value.encode() + b"\0" * (len(value) % 2)
        found.append(struct.pack("<HHL", 0, int(name[1:], 16), len(value)) + value)
    return b"".join(found)


def store_request(
    uid: str | bytes | None = "1.2.3.4", sop_class: str | None = CR, kind: int = DATA_SET, **more: object
) -> bytes:
    """The command set of a C-STORE-RQ."""
    given = {"x0002": sop_class, "x0100": C_STORE, "x0110": 7, "x0700": 0, "x0800": kind, "x1000": uid}
    return elements(**(given | more))  # type: ignore[arg-type]


def echo_request(message_id: int | None = 9, sop_class: str | None = VERIFICATION, **more: object) -> bytes:
    """The command set of a C-ECHO-RQ."""
    return elements(**({"x0002": sop_class, "x0100": C_ECHO, "x0110": message_id, "x0800": NO_DATA_SET} | more))  # type: ignore[arg-type]


def values_of(command_set: bytes) -> dict[int, bytes]:
    """The elements of a command set."""
    found, at = {}, 0
    while at < len(command_set):
        _, element, length = struct.unpack_from("<HHL", command_set, at)
        found[element] = command_set[at + 8 : at + 8 + length]
        at += 8 + length
    return found


class Closed(Exception):
    """The node closed the connection."""


class Raw:
    """A connection to a node.

    Parameters
    ----------
    port : int
    tls : ssl.SSLContext, optional
        Of a client; the handshake is done at once.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None, within_s: float = 30.0) -> None:
        self.socket = socket.create_connection((HOST, port), within_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *data: bytes) -> Self:
        self.socket.sendall(b"".join(data))
        return self

    def answer(self) -> tuple[int, bytes]:
        """The next PDU: its type and body."""
        kind, length = struct.unpack(">BxL", self._read(6))
        return kind, self._read(length)

    def associate(self, **asked: object) -> Self:
        """Ask for an association and get it."""
        kind, body = self.send(request(**asked)).answer()  # type: ignore[arg-type]
        assert kind == AC, (kind, body[:8])
        return self

    def rejection(self, **asked: object) -> tuple[int, ...]:
        """Ask for an association and be rejected: result, source and reason."""
        kind, body = self.send(request(**asked)).answer()  # type: ignore[arg-type]
        assert kind == RJ, kind
        return tuple(body[1:])

    def response(self) -> dict[int, bytes]:
        """The elements of the next response's command set."""
        kind, body = self.answer()
        assert kind == P_DATA, (kind, body[:8])
        length, _, control = struct.unpack_from(">LBB", body)
        assert control == 3 and len(body) == 4 + length
        return values_of(body[6:])

    def status(self) -> int:
        """The status of the next response."""
        return struct.unpack("<H", self.response()[0x0900])[0]  # type: ignore[no-any-return]

    def echo(self) -> int:
        return self.send(command(ECHO, echo_request())).status()

    def store(self, data: bytes, uid: str = "1.2.3.4", context_id: int = STORE) -> int:
        return self.send(command(context_id, store_request(uid)), data_set(context_id, data, 130_000 // 8)).status()

    def is_aborted(self) -> tuple[int, int]:
        """Be aborted and hung up on: source and reason."""
        kind, body = self.answer()
        assert kind == ABORT, (kind, body[:8])
        return body[2], body[3]

    def is_cut_while_sending(self, pieces: Iterable[bytes], pause_s: float = 0.0) -> bool:
        """Whether the node hangs up before all is sent."""
        try:
            for piece in pieces:
                self.send(piece)
                time.sleep(pause_s)
        except (ConnectionError, ssl.SSLEOFError):
            return True
        return False

    def is_closed(self) -> bool:
        """Whether nothing comes any more but the end."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise Closed
            data += part
        return data


def outcome(caller: Raw, *data: bytes) -> Sequence[int] | str:
    """What became of what was sent: a status, the fields of an A-ABORT, or that the connection was closed."""
    try:
        kind, body = caller.send(*data).answer()
    except (Closed, ConnectionError):
        return "closed"
    if kind == ABORT:
        return tuple(body[2:4])
    assert kind == P_DATA, kind
    return struct.unpack("<H", values_of(body[6:])[0x0900])
