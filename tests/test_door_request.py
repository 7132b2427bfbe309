"""A request for an association is understood, or refused, before pynetdicom sees a byte of it; then it cannot fail there."""

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.presentation import negotiate_as_acceptor

from node.door import request as door
from node.door.limits import Limits
from node.door.request import AssociationRequest, ProposedContext, Role, length_of
from node.door.verdict import INVALID_PARAMETER, UNEXPECTED_PDU, UNRECOGNIZED_PDU, Violation
from tests.raw import (
    COMMITMENT,
    CR,
    EXPLICIT,
    IMPLICIT,
    VERIFICATION,
    context_item,
    item,
    pdu,
    request,
    user_information,
)

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI")


def role_item(uid: bytes = COMMITMENT.encode(), scu: int = 0, scp: int = 1, length: int | None = None) -> bytes:
    return item(0x54, struct.pack(">H", len(uid) if length is None else length) + uid + bytes((scu, scp)))


def seen_by_pynetdicom(asked: AssociationRequest) -> Any:
    """What pynetdicom makes of a request that was let through."""
    decoded = A_ASSOCIATE_RQ()
    decoded.decode(asked.encode())
    return decoded.to_primitive()


# What is understood


def test_a_request_is_taken_apart() -> None:
    more = user_information(role_item(), item(0x55, b"TOOLKIT 1"), maximum_length=65_536)
    asked = AssociationRequest.decode(request(information=more))
    assert (asked.protocol_version, asked.called, asked.calling) == (1, "CXRTRIAGE", "RAW")
    assert asked.application_context == door.APPLICATION_CONTEXT_NAME
    assert asked.contexts[:2] == [ProposedContext(1, VERIFICATION, (IMPLICIT,)), ProposedContext(3, CR, (EXPLICIT,))]
    assert (asked.maximum_length, asked.implementation_class_uid) == (65_536, "1.2.3.4")
    assert (asked.implementation_version_name, asked.roles) == ("TOOLKIT 1", [Role(COMMITMENT, False, True)])


def test_what_is_passed_on_says_the_same() -> None:
    asked = AssociationRequest.decode(request(information=user_information(role_item(), item(0x55, b"TOOLKIT 1"))))
    assert AssociationRequest.decode(asked.encode()) == asked
    primitive = seen_by_pynetdicom(asked)
    assert (primitive.called_ae_title, primitive.calling_ae_title) == ("CXRTRIAGE", "RAW")
    assert [context.context_id for context in primitive.presentation_context_definition_list] == [1, 3, 5, 7]
    assert [type(each).__name__ for each in primitive.user_information] == [
        "MaximumLengthNotification",
        "ImplementationClassUIDNotification",
        "SCP_SCU_RoleSelectionNegotiation",
        "ImplementationVersionNameNotification",
    ]


def test_padding_of_any_kind_is_no_part_of_a_title_or_uid() -> None:
    padded = context_item(1, VERIFICATION + "\0", [IMPLICIT + " ", EXPLICIT + "\0\0"])
    asked = AssociationRequest.decode(request(called=b"  CXRTRIAGE", pad=b"\0", contexts=[padded]))
    assert (asked.called, asked.calling) == ("CXRTRIAGE", "RAW")
    assert asked.contexts == [ProposedContext(1, VERIFICATION, (IMPLICIT, EXPLICIT))]


@pytest.mark.parametrize("title", [b"", b"\xff\xfe", b"A\\B", b"A\tB", b"A\0B"])
def test_what_is_no_ae_title_is_none(title: bytes) -> None:
    assert AssociationRequest.decode(request(calling=title)).calling == ""


def test_items_of_unknown_type_and_negotiations_the_node_takes_no_part_in_are_left_out() -> None:
    strange = item(0x99, b"what is this")
    user_identity, asynchronous, extended = item(0x58, b"\1\0\0\4ann\0\0"), item(0x53, bytes(4)), item(0x56, b"\0\3abc")
    asked = AssociationRequest.decode(
        request(
            contexts=[strange, context_item(1, CR, [EXPLICIT])],
            information=user_information(strange, user_identity, asynchronous, extended),
        )
    )
    assert [type(each).__name__ for each in seen_by_pynetdicom(asked).user_information] == [
        "MaximumLengthNotification",
        "ImplementationClassUIDNotification",
    ]


def test_a_request_that_says_nothing_of_itself_is_taken_with_the_usual_maximum_length() -> None:
    asked = AssociationRequest.decode(request(information=b""))
    assert asked.maximum_length == 16_384
    assert seen_by_pynetdicom(asked).maximum_length_received == 16_384


@pytest.mark.parametrize("uid", [b"", b"\xff" * 9, b"1" * 65])
def test_a_requestor_need_not_say_rightly_what_it_is(uid: bytes) -> None:
    asked = AssociationRequest.decode(request(information=user_information(item(0x52, uid), item(0x55, uid))))
    assert (asked.implementation_class_uid, len(asked.implementation_version_name) <= 16) == ("", True)
    assert seen_by_pynetdicom(asked).maximum_length_received == 16_384


def test_a_role_that_is_neither_is_no_proposal() -> None:
    assert AssociationRequest.decode(request(information=user_information(role_item(scu=0, scp=0)))).roles == []


def test_of_another_version_nothing_more_is_read() -> None:
    asked = AssociationRequest.decode(request(version=2, contexts=[b"nonsense"]))
    assert (asked.protocol_version, asked.contexts) == (2, [])


# What is refused


@pytest.mark.parametrize(
    "asked",
    [
        request(contexts=[]),
        request(contexts=[context_item(2, CR, [EXPLICIT])]),
        request(contexts=[context_item(0, CR, [EXPLICIT])]),
        request(contexts=[context_item(1, CR, [EXPLICIT])] * 2),
        request(contexts=[context_item(1, CR, [])]),
        request(contexts=[context_item(1, "", [EXPLICIT])]),
        request(contexts=[context_item(1, CR, [""])]),
        request(contexts=[context_item(1, CR, ["1" * 65])]),
        request(contexts=[context_item(1, CR, ["1.2\\3"])]),
        request(contexts=[item(0x20, b"\1\0")]),
        request(contexts=[item(0x20, bytes((1, 0, 0, 0)) + item(0x40, EXPLICIT.encode()))]),
        request(contexts=[item(0x20, bytes((1, 0, 0, 0)) + 2 * item(0x30, CR.encode()) + item(0x40, b"1.2"))]),
        request(contexts=[item(0x20, bytes((1, 0, 0, 0)) + item(0x30, CR.encode(), 500))]),
        request(application_context=""),
        request(information=user_information(maximum_length=7)),
        request(information=user_information(role_item(length=500))),
        request(information=user_information(item(0x54, b"\0"))),
        request(information=item(0x50, b"\0\0", 60_000)),
        request() + b"\0\0\0",
    ],
    ids=range(19),
)
def test_a_malformed_request_is_a_violation(asked: bytes) -> None:
    with pytest.raises(Violation) as violation:
        AssociationRequest.decode(asked)
    assert (violation.value.reason, violation.value.diagnostic) == ("malformed association request", INVALID_PARAMETER)


@pytest.mark.parametrize(
    ("header", "diagnostic"),
    [
        (pdu(4, b"", 100), UNEXPECTED_PDU),
        (pdu(7, b"", 4), UNEXPECTED_PDU),
        (pdu(0, b"", 100), UNRECOGNIZED_PDU),
        (b"GET / ", UNRECOGNIZED_PDU),
        (b"\x16\x03\x01\x02\x00\x01", UNRECOGNIZED_PDU),
        (pdu(1, b"", 67), INVALID_PARAMETER),
        (pdu(1, b"", 0), INVALID_PARAMETER),
        (pdu(1, b"", Limits().request_bytes), INVALID_PARAMETER),
        (pdu(1, b"", 0xFFFFFFFF), INVALID_PARAMETER),
    ],
)
def test_what_is_no_request_is_told_by_its_header(header: bytes, diagnostic: int) -> None:
    with pytest.raises(Violation) as violation:
        length_of(header, Limits().request_bytes)
    assert violation.value.diagnostic == diagnostic


def test_the_length_of_a_request_is_told_by_its_header() -> None:
    assert length_of(request()[:6], Limits().request_bytes) == len(request())
    assert length_of(pdu(1, b"", Limits().request_bytes - 6), Limits().request_bytes) == Limits().request_bytes


def test_all_contexts_with_all_transfer_syntaxes_fit_into_the_limit() -> None:
    from node.storage_classes import STORAGE_CLASSES, TRANSFER_SYNTAXES

    classes = sorted(STORAGE_CLASSES, key=len)[-128:]
    proposed = [context_item(2 * number + 1, uid, TRANSFER_SYNTAXES) for number, uid in enumerate(classes)]
    assert len(request(contexts=proposed)) < Limits().request_bytes


# Whatever is let through


def negotiated(asked: AssociationRequest) -> None:
    """Have pynetdicom do with a request what it does with each."""
    primitive = seen_by_pynetdicom(asked)
    both = build_context(COMMITMENT)
    both.scu_role = both.scp_role = True
    roles = {role.sop_class_uid: (role.scu, role.scp) for role in asked.roles}
    proposed = primitive.presentation_context_definition_list
    results, replies = negotiate_as_acceptor(proposed, [build_context(CR, [EXPLICIT]), both], roles)
    assert len(results) == len(asked.contexts)
    for reply in replies:
        reply.from_primitive()


WHOLE = request(information=user_information(role_item(), item(0x55, b"TOOLKIT 1"), item(0x53, bytes(4))))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_request_with_bytes_changed_is_refused_in_our_words_or_understood_by_pynetdicom(draw: st.DataObject) -> None:
    data = bytearray(WHOLE)
    for _ in range(draw.draw(st.integers(1, 5))):
        data[draw.draw(st.integers(6, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        asked = AssociationRequest.decode(data)
    except Violation:
        return
    if asked.protocol_version & 1 and asked.called and asked.calling and asked.application_context:
        negotiated(asked)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(WHOLE) - 74), st.binary(max_size=30))
def test_a_request_cut_short_or_continued_is_refused_or_understood(cut: int, more: bytes) -> None:
    try:
        asked = AssociationRequest.decode(WHOLE[: len(WHOLE) - cut] + more)
    except Violation:
        return
    if asked.application_context:
        negotiated(asked)
