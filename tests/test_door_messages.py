"""Messages are put together fragment by fragment, one at a time, and whatever breaks the rules is a violation."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom import build_context, dimse_messages, dimse_primitives, pdu

from node.door import command
from node.door.limits import Limits
from node.door.messages import Assembly, Message, pdus
from node.door.verdict import Violation
from tests.raw import (
    C_CANCEL,
    C_FIND,
    C_STORE,
    COMMIT,
    COMMITMENT,
    COMMITMENT_INSTANCE,
    CONTEXTS,
    CR,
    DATA_SET,
    ECHO,
    EXPLICIT,
    N_ACTION,
    N_EVENT_REPORT,
    NO_DATA_SET,
    STORE,
    VERIFICATION,
    echo_request,
    elements,
    fragment,
    store_request,
)

COMMAND, LAST = 1, 2
REPORT = elements(x0002=COMMITMENT, x0100=N_EVENT_REPORT, x0110=3, x0800=DATA_SET, x1000=COMMITMENT_INSTANCE, x1002=1)
ACTION = elements(x0003=COMMITMENT, x0100=N_ACTION, x0110=4, x0800=NO_DATA_SET, x1001=COMMITMENT_INSTANCE, x1008=1)


class Sink:
    """Remembers what became of it."""

    def __init__(self) -> None:
        self.data, self.discarded = b"", 0
        self.taken: list[memoryview] = []

    def write(self, data: memoryview) -> None:
        self.taken.append(data)

    def flush(self) -> None:
        self.data += b"".join(self.taken)
        self.taken = []

    def discard(self) -> None:
        self.discarded += 1


class Bench(Assembly):
    """An assembly on the presentation contexts of `tests.raw`, with the sinks it opened."""

    def __init__(self, **limits: int) -> None:
        self.sinks: list[Sink] = []
        accepted = {number: build_context(uid, syntaxes) for number, (uid, syntaxes) in CONTEXTS.items()}
        super().__init__(lambda: accepted, self.open, Limits(**limits))  # type: ignore[arg-type]

    def open(self, request: Any, context: Any) -> Sink:
        assert (request.sop_class_uid, context.transfer_syntax) == (context.abstract_syntax, [EXPLICIT])
        self.sinks.append(Sink())
        return self.sinks[-1]

    def takes(self, *fragments: bytes) -> list[Message]:
        return list(self.take(memoryview(b"".join(fragments))))


def violation(bench: Bench, *fragments: bytes) -> str:
    with pytest.raises(Violation) as found:
        bench.takes(*fragments)
    return found.value.reason


# Whole messages


def test_a_message_without_a_data_set_is_whole_with_its_command() -> None:
    (message,) = Bench().takes(fragment(ECHO, COMMAND | LAST, echo_request(9)))
    assert (message.context_id, message.asked.MessageID, message.sink) == (ECHO, 9, None)
    assert message.asked.is_valid_request


def test_the_data_set_of_a_c_store_goes_to_its_sink_as_it_comes() -> None:
    bench = Bench()
    assert bench.takes(fragment(STORE, COMMAND | LAST, store_request("1.2.3.4")), fragment(STORE, 0, b"ab")) == []
    assert bench.sinks[0].data == b""
    bench.flush()
    assert (bench.is_under_way, bench.has_spoken, bench.sinks[0].data) == (True, False, b"ab")
    (message,) = bench.takes(fragment(STORE, 0, b"cd"), fragment(STORE, LAST, b"e"))
    assert (message.sink, bench.sinks[0].data) == (bench.sinks[0], b"abcde")
    assert (message.asked.sop_class_uid, message.asked.sop_instance_uid) == (CR, "1.2.3.4")
    assert (bench.is_under_way, bench.has_spoken, bench.sinks[0].discarded) == (False, True, 0)


def test_a_c_store_without_a_data_set_has_an_empty_sink() -> None:
    bench = Bench()
    (message,) = bench.takes(fragment(STORE, COMMAND | LAST, store_request(kind=NO_DATA_SET)))
    assert (message.sink, bench.sinks[0].data) == (bench.sinks[0], b"")


def test_a_command_may_come_in_pieces_and_fragments_may_share_a_pdu() -> None:
    bench, whole = Bench(), store_request()
    for octet in whole[:-1]:
        assert bench.takes(fragment(STORE, COMMAND, bytes([octet]))) == []
    first, second = bench.takes(
        fragment(STORE, COMMAND | LAST, whole[-1:]),
        fragment(STORE, LAST, b"data"),
        fragment(ECHO, COMMAND | LAST, echo_request()),
    )
    assert (type(first.asked).__name__, type(second.asked).__name__) == ("StoreRequest", "C_ECHO")
    assert bench.sinks[0].data == b"data"


def test_the_data_set_of_another_message_is_collected() -> None:
    bench = Bench()
    (message,) = bench.takes(
        fragment(COMMIT, COMMAND | LAST, REPORT), fragment(COMMIT, 0, b"in"), fragment(COMMIT, LAST, b"formation")
    )
    assert message.asked.EventInformation.getvalue() == b"information"
    assert (message.sink, bench.sinks) == (None, [])


def test_a_request_for_commitment_and_a_cancellation_are_understood() -> None:
    cancel = elements(x0100=C_CANCEL, x0120=7, x0800=NO_DATA_SET)
    action, cancellation = Bench().takes(
        fragment(COMMIT, COMMAND | LAST, ACTION), fragment(STORE, COMMAND | LAST, cancel)
    )
    assert action.asked.is_valid_request
    assert cancellation.asked.MessageIDBeingRespondedTo == 7


def test_elements_that_a_request_does_not_need_are_left_aside_whatever_they_hold() -> None:
    odd = {"x0000": b"\1\2\3", "x0600": b"\xff" * 7, "x1030": b"\\\\\0", "x1031": b"", "x0700": b"", "x5555": b"?"}
    (message,) = Bench().takes(
        fragment(STORE, COMMAND | LAST, store_request(**odd)),  # type: ignore[arg-type]
        fragment(STORE, LAST, b""),
    )
    assert message.asked == command.StoreRequest(7, CR, "1.2.3.4")
    odd.pop("x1031")
    (message,) = Bench().takes(fragment(ECHO, COMMAND | LAST, echo_request(**odd)))  # type: ignore[arg-type]
    assert message.asked.is_valid_request


def test_a_c_store_says_what_it_asks_without_a_priority_too() -> None:
    (message,) = Bench().takes(fragment(STORE, COMMAND | LAST, store_request(x0700=None, kind=NO_DATA_SET)))
    assert message.asked == command.StoreRequest(7, CR, "1.2.3.4", has_data_set=False)


def test_what_is_not_whole_is_discarded_once() -> None:
    bench = Bench()
    bench.takes(fragment(STORE, COMMAND | LAST, store_request()), fragment(STORE, 0, b"half"))
    bench.discard()
    bench.discard()
    assert (bench.sinks[0].discarded, bench.is_under_way) == (1, False)


# What breaks the rules


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0" * 5,
        fragment(ECHO, COMMAND | LAST, b"", length=0),
        fragment(ECHO, COMMAND | LAST, b"", length=1),
        fragment(ECHO, COMMAND | LAST, b"abc", length=100),
        fragment(ECHO, COMMAND | LAST, b"abc", length=0xFFFFFFFF),
        fragment(ECHO, COMMAND, b"") + b"\0\0",
    ],
)
def test_a_malformed_list_of_values_is_a_violation(body: bytes) -> None:
    assert violation(Bench(), body) == "malformed P-DATA"


def test_a_data_set_without_a_command_is_a_violation() -> None:
    assert violation(Bench(), fragment(STORE, LAST, b"data")) == "no command where one is due"
    bench = Bench()
    bench.takes(fragment(ECHO, COMMAND | LAST, echo_request()))
    assert violation(bench, fragment(ECHO, LAST, b"data")) == "no command where one is due"


@pytest.mark.parametrize("context_id", [0, 2, 99, 255])
def test_a_context_that_was_not_accepted_is_a_violation(context_id: int) -> None:
    assert violation(Bench(), fragment(context_id, COMMAND | LAST, echo_request())) == "no command where one is due"


def test_messages_that_interleave_are_a_violation() -> None:
    begun = fragment(STORE, COMMAND | LAST, store_request())
    for other in (
        fragment(ECHO, COMMAND | LAST, echo_request()),
        fragment(STORE, COMMAND | LAST, store_request()),
        fragment(ECHO, 0, b"data"),
    ):
        assert violation(Bench(), begun, other) == "interleaved messages"
    assert violation(Bench(), fragment(STORE, COMMAND, b"half"), fragment(STORE, 0, b"data")) == "interleaved messages"
    assert violation(Bench(), fragment(STORE, COMMAND, b""), fragment(ECHO, COMMAND, b"")) == "interleaved messages"


@pytest.mark.parametrize(
    "command_set",
    [
        b"",
        b"\0" * 7,
        b"\xff" * 40,
        store_request(None),
        store_request(""),
        store_request("1" * 65),
        store_request("1.2\\1.3"),
        store_request("1.\u00fc"),
        store_request(sop_class=None),
        store_request(x0110=b"\1"),
        store_request(x0110=b"\1\0\0\0"),
        store_request(x0800=None),
        store_request(x0100=None),
        store_request()[:-1],
        store_request() + b"\0",
        echo_request(None),
        echo_request(sop_class=None),
        elements(x0100=C_CANCEL, x0800=NO_DATA_SET),
        store_request().replace(b"\0\0\2\0", b"\2\0\2\0", 1),
    ],
    ids=range(19),
)
def test_a_malformed_command_set_is_a_violation(command_set: bytes) -> None:
    assert violation(Bench(), fragment(STORE, COMMAND | LAST, command_set)) == "malformed command set"


@pytest.mark.parametrize("field", [C_FIND, 0x8001, 0x8030, 0x0021, 0x0010, 0x0110, 0x0120, 0x0140, 0x0150, 0x7777])
def test_a_response_to_nothing_and_a_service_that_is_not_here_are_violations(field: int) -> None:
    command_set = elements(x0002=CR, x0100=field, x0110=1, x0120=1, x0800=NO_DATA_SET, x0900=0, x1000="1.2.3")
    assert violation(Bench(), fragment(STORE, COMMAND | LAST, command_set)) == "unexpected command"


@pytest.mark.parametrize(
    ("context_id", "command_set"),
    [
        (STORE, echo_request()),
        (ECHO, echo_request(sop_class=CR)),
        (STORE, REPORT),
        (ECHO, ACTION),
        (COMMIT, elements(x0003=VERIFICATION, x0100=N_ACTION, x0110=4, x0800=NO_DATA_SET, x1001="1.2", x1008=1)),
    ],
)
def test_a_request_on_a_context_of_another_service_is_a_violation(context_id: int, command_set: bytes) -> None:
    assert violation(Bench(), fragment(context_id, COMMAND | LAST, command_set)) == "request on another context"


def test_what_has_no_end_is_a_violation() -> None:
    many = fragment(STORE, COMMAND, b"\0" * 1000) * 70
    assert violation(Bench(), many) == "command set too large"
    assert violation(Bench(), fragment(STORE, COMMAND, b"") * 1001) == "empty fragments"
    begun = fragment(STORE, COMMAND | LAST, store_request())
    assert violation(Bench(), begun, fragment(STORE, 0, b"") * 1001) == "empty fragments"
    assert violation(Bench(information_bytes=10), fragment(COMMIT, 3, REPORT), fragment(COMMIT, 0, b"x" * 11)) == (
        "data set too large"
    )


# Whatever is let through


def sent_again(asked: command.StoreRequest) -> bytes:
    return elements(
        x0002=asked.sop_class_uid,
        x0100=C_STORE,
        x0110=asked.message_id,
        x0800=DATA_SET if asked.has_data_set else NO_DATA_SET,
        x1000=asked.sop_instance_uid,
    )


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@settings(max_examples=300, deadline=None)
@given(st.sampled_from([store_request(), echo_request(), REPORT, ACTION]), st.data())
def test_a_command_set_with_bytes_changed_is_refused_in_our_words_or_a_valid_request(
    whole: bytes, draw: st.DataObject
) -> None:
    data = bytearray(whole)
    for _ in range(draw.draw(st.integers(1, 5))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        message = command.decode(data, 1)
    except Violation:
        return
    if isinstance(message, command.StoreRequest):
        assert command.decode(sent_again(message), 1) == message
        return
    primitive = message.message_to_primitive()
    assert primitive.is_valid_request or message.command_set.CommandField == C_CANCEL
    assert command.has_data_set(message) in (True, False)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([ECHO, STORE, COMMIT, 9]), st.integers(0, 255), st.binary(max_size=40))))
def test_fragments_in_any_order_are_messages_or_a_violation(fragments: list[tuple[int, int, bytes]]) -> None:
    bench = Bench()
    try:
        for each in fragments:
            bench.takes(fragment(*each))
    except Violation:
        bench.discard()
    assert all(sink.discarded <= 1 for sink in bench.sinks)


def test_the_first_of_two_elements_counts() -> None:
    twice = store_request() + elements(x0100=C_FIND, x1000="9.9")
    (message,) = Bench().takes(fragment(STORE, COMMAND | LAST, twice), fragment(STORE, LAST, b"x"))
    assert (type(message.asked).__name__, message.asked.sop_instance_uid) == ("StoreRequest", "1.2.3.4")
    assert C_STORE == command.C_STORE_RQ


# The answer to a C-STORE


def answered_by_upstream(uid: str, status: int, comment: str, longest_bytes: int) -> list[bytes]:
    answer = dimse_primitives.C_STORE()
    answer.MessageIDBeingRespondedTo, answer.Status = 7, status
    answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID, answer.ErrorComment = CR, uid, comment or None
    message = dimse_messages.C_STORE_RSP()
    message.primitive_to_message(answer)
    found = []
    for data in message.encode_msg(STORE, longest_bytes):
        sent = pdu.P_DATA_TF()
        sent.from_primitive(data)
        found.append(sent.encode())
    return found


@pytest.mark.parametrize("longest_bytes", [0, 16, 64, 65, 116, 16_384])
@pytest.mark.parametrize("uid", ["1.2.3", "1.2.3.4"])
@pytest.mark.parametrize(("status", "comment"), [(0, ""), (0xA700, "no room"), (0xC000, "cannot be understood")])
def test_the_answer_to_a_c_store_is_to_the_byte_what_upstream_sends(
    longest_bytes: int, uid: str, status: int, comment: str
) -> None:
    answer = command.store_response(command.StoreRequest(7, CR, uid), status, comment)
    assert list(pdus(STORE, answer, longest_bytes)) == answered_by_upstream(uid, status, comment, longest_bytes)


def test_an_answer_that_just_fits_is_one_pdu_and_one_byte_less_makes_two() -> None:
    assert [len(list(pdus(1, bytes(80), longest))) for longest in (86, 85)] == [1, 2]


def test_a_comment_in_other_letters_than_ascii_does_not_keep_an_answer_from_being_sent() -> None:
    assert b"na?ve " in command.store_response(command.StoreRequest(7, CR, "1.2"), 0xC000, "na\u00efve")
