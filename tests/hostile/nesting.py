"""Sequences that are too deep, never end, or end too often."""

from node.door.walk import DEPTH_LIMIT
from tests.hostile.files import (
    ITEM_DELIMITER,
    PRIVATE,
    READ,
    REFERENCED_IMAGES,
    REFUSED,
    SEQUENCE_DELIMITER,
    UNDEFINED,
    Film,
    item,
    made,
)
from tests.radiographs import element, implicit
from tests.walks import nested

END_OF_ITEM, END_OF_SEQUENCE = implicit(ITEM_DELIMITER, b""), implicit(SEQUENCE_DELIMITER, b"")
_REFERENCE = element(0x00081155, b"UI", b"1.2.3\0")


def sequence(content: bytes, length: int | None = UNDEFINED) -> bytes:
    return element(REFERENCED_IMAGES, b"SQ", content, length)


def _with(film: Film, *parts: bytes) -> bytes:
    return film.around(REFERENCED_IMAGES, b"".join(parts))


@made(REFUSED, each=[DEPTH_LIMIT + 1, 250, 1000, 20_000])
def nested_to_depth(film: Film, depth: int) -> bytes:
    return _with(film, nested(depth))


@made(READ, each=[6, DEPTH_LIMIT])
def nested_within_bounds_to_depth(film: Film, depth: int) -> bytes:
    return _with(film, nested(depth))


@made(REFUSED)
def opened_twenty_thousand_times_and_never_closed(film: Film) -> bytes:
    return film.part(end=REFERENCED_IMAGES) + nested(20_000)[: 20_000 * 20]


@made(REFUSED, each=[65, 5000])
def nested_with_explicit_lengths_to_depth(film: Film, depth: int) -> bytes:
    content = b""
    for _ in range(depth):
        content = sequence(item(content), None)
    return _with(film, content)


@made(REFUSED)
def nested_in_values_of_vr_un(film: Film) -> bytes:
    inner = implicit(PRIVATE, b"", UNDEFINED) + item(b"", UNDEFINED)
    opening = element(PRIVATE, b"UN", b"", UNDEFINED) + item(b"", UNDEFINED) + inner * 1000
    return film.around(PRIVATE, opening + (END_OF_ITEM + END_OF_SEQUENCE) * 1001)


@made(REFUSED)
def sequence_never_closed(film: Film) -> bytes:
    return _with(film, sequence(item(_REFERENCE)))


@made(REFUSED)
def item_never_closed(film: Film) -> bytes:
    return _with(film, sequence(item(_REFERENCE, UNDEFINED), UNDEFINED))


@made(REFUSED)
def item_of_undefined_length_closed_by_the_sequence(film: Film) -> bytes:
    return _with(film, sequence(item(_REFERENCE, UNDEFINED), UNDEFINED), END_OF_SEQUENCE)


@made(REFUSED)
def item_outside_of_any_sequence(film: Film) -> bytes:
    return _with(film, item(_REFERENCE))


@made(REFUSED)
def item_within_an_item(film: Film) -> bytes:
    return _with(film, sequence(item(item(_REFERENCE)), None))


@made(REFUSED)
def element_in_a_sequence_without_an_item(film: Film) -> bytes:
    return _with(film, sequence(_REFERENCE, None))


@made(REFUSED)
def end_of_item_doubled(film: Film) -> bytes:
    return _with(film, sequence(item(_REFERENCE, UNDEFINED), UNDEFINED), END_OF_ITEM, END_OF_ITEM, END_OF_SEQUENCE)


@made(REFUSED)
def end_of_sequence_doubled(film: Film) -> bytes:
    return _with(film, sequence(item(_REFERENCE)), END_OF_SEQUENCE, END_OF_SEQUENCE)


@made(REFUSED)
def end_of_item_where_there_is_none(film: Film) -> bytes:
    return _with(film, END_OF_ITEM)


@made(REFUSED)
def end_of_sequence_where_there_is_none(film: Film) -> bytes:
    return _with(film, END_OF_SEQUENCE)


@made(REFUSED)
def delimiter_of_an_unknown_kind(film: Film) -> bytes:
    return _with(film, sequence(implicit(0xFFFEE0AA, b"")), END_OF_SEQUENCE)


@made(REFUSED)
def ends_in_the_wrong_order(film: Film) -> bytes:
    return _with(film, sequence(item(_REFERENCE, UNDEFINED)), END_OF_SEQUENCE, END_OF_ITEM)


@made(READ)
def delimiters_with_lengths_that_mean_nothing(film: Film) -> bytes:
    ends = implicit(ITEM_DELIMITER, b"", 7) + implicit(SEQUENCE_DELIMITER, b"", 9)
    return _with(film, sequence(item(_REFERENCE, UNDEFINED)), ends)


@made(READ)
def a_hundred_thousand_empty_items(film: Film) -> bytes:
    return _with(film, sequence(item(b"") * 100_000, None))


@made(REFUSED)
def three_hundred_thousand_empty_items(film: Film) -> bytes:
    return _with(film, sequence(item(b"") * 300_000, None))


@made(READ)
def identifiers_of_another_study_in_a_sequence(film: Film) -> bytes:
    inner = element(0x0020000D, b"UI", b"1.2.3.4\0") + element(0x0020000E, b"UI", b"1.2.3.5\0")
    return _with(film, sequence(item(element(0x00100020, b"LO", b"OTHER ") + inner), None))


@made(READ)
def pixel_data_of_another_size_in_an_icon(film: Film) -> bytes:
    icon = element(0x00280010, b"US", b"\xff\xff") + element(0x7FE00010, b"OW", b"\0\0")
    return film.around(0x00880200, element(0x00880200, b"SQ", item(icon)))


@made(READ)
def sequence_that_is_empty(film: Film) -> bytes:
    return _with(film, sequence(b"", None), element(0x00081115, b"SQ", END_OF_SEQUENCE, UNDEFINED))
