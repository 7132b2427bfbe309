"""The request for an association, judged on its bytes before pynetdicom sees any of them.

pynetdicom's decoders raise whatever they meet in a malformed request, on a thread of its own. So the request is taken
apart here, and what pynetdicom reads is written anew from what was understood. Items of unknown type, which the Standard
has skipped, and negotiations that the node takes no part in are left out: left unanswered, they are declined.

References
----------
DICOM PS3.8 9.3.2 (A-ASSOCIATE-RQ), Annex D; PS3.7 Annex D.3.3 (user information).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

from node import message_bytes
from node.door.verdict import INVALID_PARAMETER, UNEXPECTED_PDU, UNRECOGNIZED_PDU, Violation
from node.storage_classes import STORAGE_CLASSES

HEADER_BYTES = 6
A_ASSOCIATE_RQ, LAST_PDU_TYPE = 1, 7
APPLICATION_CONTEXT_NAME = "1.2.840.10008.3.1.1.1"  # PS3.7 A.2.1: the only one there is
_ITEMS_AT = 74
_APPLICATION_CONTEXT, _PRESENTATION_CONTEXT, _USER_INFORMATION = 0x10, 0x20, 0x50
_ABSTRACT_SYNTAX, _TRANSFER_SYNTAX = 0x30, 0x40
_MAXIMUM_LENGTH, _IMPLEMENTATION_CLASS, _ROLE_SELECTION, _IMPLEMENTATION_VERSION = 0x51, 0x52, 0x54, 0x55
# A response needs room in a P-DATA-TF behind the header of its PDV (PS3.8 9.3.5.1).
_LEAST_MAXIMUM_LENGTH, _USUAL_MAXIMUM_LENGTH = 16, 16_384
_IS_AE_TITLE = re.compile(rb"[\x20-\x5b\x5d-\x7e]{1,16}").fullmatch


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A proposed presentation context."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Role:
    """A proposal of who is SCU and SCP of a SOP class (PS3.7 D.3.3.4)."""

    sop_class_uid: str
    scu: bool
    scp: bool


@dataclass(slots=True)
class AssociationRequest:
    """What an A-ASSOCIATE-RQ asks for.

    Attributes
    ----------
    protocol_version : int
        A bit for each version that the requestor speaks; of a request without bit 0, nothing further is read.
    called, calling : str
        AE titles without padding; empty where the field holds none.
    application_context : str
    contexts : list of ProposedContext
    maximum_length : int
        The longest P-DATA-TF that the requestor takes; 0 is any, and where it does not say, the usual 16 KiB are assumed.
    implementation_class_uid, implementation_version_name : str
    roles : list of Role
    """

    protocol_version: int
    called: str
    calling: str
    application_context: str = ""
    contexts: list[ProposedContext] = field(default_factory=list)
    maximum_length: int = _USUAL_MAXIMUM_LENGTH
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    roles: list[Role] = field(default_factory=list)

    @classmethod
    def decode(cls, pdu: bytes | bytearray) -> Self:
        """Take a whole PDU apart.

        Raises
        ------
        Violation
            When it is not what the Standard describes.
        """
        version: int = struct.unpack_from(">H", pdu, HEADER_BYTES)[0]
        request = cls(version, _ae_title(pdu[10:26]), _ae_title(pdu[26:42]))
        if version & 1:
            for kind, value in _items(memoryview(bytes(pdu))[_ITEMS_AT:]):
                request._take(kind, value)
            request._check()
        return request

    @property
    def brings_instances(self) -> bool:
        """Whether it proposes to store any: a C-ECHO by itself does not, nor does the report of a storage commitment."""
        return any(context.abstract_syntax in STORAGE_CLASSES for context in self.contexts)

    def encode(self) -> bytes:
        """Write the request anew, as version 1."""
        called, calling = (title.encode().ljust(16) for title in (self.called, self.calling))
        items = [
            struct.pack(">Hxx16s16s32x", 1, called, calling),
            _item(_APPLICATION_CONTEXT, self.application_context.encode()),
            *(_item(_PRESENTATION_CONTEXT, _context_value(context)) for context in self.contexts),
            _item(_USER_INFORMATION, b"".join(self._user_information())),
        ]
        body = b"".join(items)
        return struct.pack(">BxL", A_ASSOCIATE_RQ, len(body)) + body

    def _user_information(self) -> Iterator[bytes]:
        yield _item(_MAXIMUM_LENGTH, struct.pack(">L", self.maximum_length))
        if self.implementation_class_uid:
            yield _item(_IMPLEMENTATION_CLASS, self.implementation_class_uid.encode())
        for role in self.roles:
            yield _item(_ROLE_SELECTION, _role_value(role))
        if self.implementation_version_name:
            yield _item(_IMPLEMENTATION_VERSION, self.implementation_version_name.encode())

    def _take(self, kind: int, value: memoryview) -> None:
        if kind == _APPLICATION_CONTEXT:
            self.application_context = _uid(value)
        elif kind == _PRESENTATION_CONTEXT:
            self.contexts.append(_context(value))
        elif kind == _USER_INFORMATION:
            for each, information in _items(value):
                self._take_user_information(each, information)

    def _take_user_information(self, kind: int, value: memoryview) -> None:
        if kind == _MAXIMUM_LENGTH and len(value) == 4:
            self.maximum_length = int.from_bytes(value, "big")
        elif kind == _IMPLEMENTATION_CLASS:
            self.implementation_class_uid = _uid_if_any(value)
        elif kind == _IMPLEMENTATION_VERSION:
            self.implementation_version_name = _ae_title(bytes(value[:16]))
        elif kind == _ROLE_SELECTION:
            role = _role(value)
            if role.scu or role.scp:  # neither is no proposal
                self.roles.append(role)

    def _check(self) -> None:
        ids = [context.context_id for context in self.contexts]
        if not ids or len(set(ids)) < len(ids):
            raise _malformed()
        if 0 < self.maximum_length < _LEAST_MAXIMUM_LENGTH:
            raise _malformed()


def length_of(header: bytes | bytearray, limit_bytes: int) -> int:
    """Return how long the first PDU of a connection is, by the 6 bytes of its header.

    Raises
    ------
    Violation
        When it is no A-ASSOCIATE-RQ, or one whose length cannot be right.
    """
    kind, length = struct.unpack(">BxL", header)
    if kind != A_ASSOCIATE_RQ:
        known = 0 < kind <= LAST_PDU_TYPE
        raise Violation("no association request", UNEXPECTED_PDU if known else UNRECOGNIZED_PDU)
    if not _ITEMS_AT <= HEADER_BYTES + length <= limit_bytes:
        raise _malformed()
    return HEADER_BYTES + int(length)


def _malformed() -> Violation:
    return Violation("malformed association request", INVALID_PARAMETER)


def _items(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield (type, value) of the items one after the other."""
    at = 0
    while at < len(data):
        if len(data) - at < 4:
            raise _malformed()
        kind, length = struct.unpack_from(">BxH", data, at)
        at += 4 + length
        if at > len(data):
            raise _malformed()
        yield kind, data[at - length : at]


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def _ae_title(value: bytes | bytearray) -> str:
    """Return an AE title without its padding, some of which is zeros; empty where it is none (PS3.5 6.2)."""
    title = bytes(value).rstrip(b"\0").strip(b" ")
    return title.decode() if _IS_AE_TITLE(title) else ""


def _uid(value: memoryview) -> str:
    """Return a UID that must be there."""
    uid = _uid_if_any(value)
    if not uid:
        raise _malformed()
    return uid


def _uid_if_any(value: memoryview) -> str:
    """Return a UID without its padding, also one that breaks the rules for UIDs; empty where it cannot be one.

    What nobody knows is not accepted anyway.
    """
    uid = bytes(value).rstrip(b"\0 ")
    return uid.decode() if message_bytes.COULD_BE_UID(uid) else ""


def _context(value: memoryview) -> ProposedContext:
    if len(value) < 4 or not value[0] & 1:  # PS3.8 9.3.2.2: odd
        raise _malformed()
    syntaxes: dict[int, list[str]] = {_ABSTRACT_SYNTAX: [], _TRANSFER_SYNTAX: []}
    for kind, uid in _items(value[4:]):
        if kind in syntaxes:
            syntaxes[kind].append(_uid(uid))
    if len(syntaxes[_ABSTRACT_SYNTAX]) != 1 or not syntaxes[_TRANSFER_SYNTAX]:
        raise _malformed()
    return ProposedContext(value[0], syntaxes[_ABSTRACT_SYNTAX][0], tuple(syntaxes[_TRANSFER_SYNTAX]))


def _context_value(context: ProposedContext) -> bytes:
    syntaxes = (_item(_TRANSFER_SYNTAX, uid.encode()) for uid in context.transfer_syntaxes)
    abstract_syntax = _item(_ABSTRACT_SYNTAX, context.abstract_syntax.encode())
    return struct.pack(">Bxxx", context.context_id) + abstract_syntax + b"".join(syntaxes)


def _role(value: memoryview) -> Role:
    length = int.from_bytes(value[:2], "big")
    if len(value) != 2 + length + 2:
        raise _malformed()
    return Role(_uid(value[2 : 2 + length]), bool(value[-2]), bool(value[-1]))


def _role_value(role: Role) -> bytes:
    uid = role.sop_class_uid.encode()
    return struct.pack(">H", len(uid)) + uid + bytes((role.scu, role.scp))
