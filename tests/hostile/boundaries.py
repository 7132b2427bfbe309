"""Data sets that end too early, at every kind of boundary."""

from tests.hostile.files import (
    ITEM_DELIMITER,
    MISMATCH,
    NO_PIXELS,
    PIXEL_DATA,
    REFERENCED_IMAGES,
    REFUSED,
    SEQUENCE_DELIMITER,
    UNDEFINED,
    Film,
    item,
    made,
)
from tests.radiographs import element, implicit

_SEQUENCE = (
    element(REFERENCED_IMAGES, b"SQ", b"", UNDEFINED)
    + item(element(0x00081155, b"UI", b"1.2.3\0"), UNDEFINED)
    + implicit(ITEM_DELIMITER, b"")
    + implicit(SEQUENCE_DELIMITER, b"")
)


@made(REFUSED)
def nothing_at_all(film: Film) -> bytes:
    return b""


@made(REFUSED, each=[1, 2, 4, 5, 6, 7, 8, 9])
def cut_in_the_first_element_after_bytes(film: Film, count: int) -> bytes:
    return film.encoded()[:count]


@made(REFUSED, each=[1, 2, 100, 10_000, 2 * 144 * 144 - 1])
def cut_in_the_pixel_data_by_bytes(film: Film, count: int) -> bytes:
    return film.encoded()[:-count]


@made(REFUSED, each=[1, 4, 6, 8, 11])
def cut_in_the_head_of_the_pixel_data_after_bytes(film: Film, count: int) -> bytes:
    return film.header() + film.part(first=PIXEL_DATA)[:count]


@made(NO_PIXELS)
def cut_before_the_pixel_data(film: Film) -> bytes:
    return film.header()


@made(NO_PIXELS, each={"rows": 0x00280010, "the image pixel module": 0x00280002, "the series number": 0x00200011})
def cut_before(film: Film, tag: int) -> bytes:
    return film.part(end=tag)


@made(MISMATCH, each={"series": 0x0020000E, "study": 0x0020000D, "patient": 0x00100010, "instance": 0x00080018})
def cut_before_the_uid_of_the(film: Film, tag: int) -> bytes:
    return film.part(end=tag)


@made(REFUSED, each=[0, 1])
def pixel_data_of_announced_length_and_bytes(film: Film, count: int) -> bytes:
    return film.header() + element(PIXEL_DATA, b"OW", bytes(count), 2 * 144 * 144)


@made(REFUSED, each=[12, 16, 20, 28, 34, 40, len(_SEQUENCE) - 8, len(_SEQUENCE) - 1])
def cut_in_a_sequence_after_bytes(film: Film, count: int) -> bytes:
    return film.part(end=REFERENCED_IMAGES) + _SEQUENCE[:count]


@made(REFUSED, each=[3, 7])
def cut_in_a_length_at_the_end_after_bytes(film: Film, count: int) -> bytes:
    return film.behind(element(0x7FE10010, b"LO", b"AB")[:count])


@made(REFUSED)
def first_half(film: Film) -> bytes:
    return film.encoded()[: len(film.encoded()) // 2]


@made(REFUSED)
def second_half(film: Film) -> bytes:
    return film.encoded()[len(film.encoded()) // 2 + 1 :]


@made(REFUSED)
def first_byte_lost(film: Film) -> bytes:
    return film.encoded()[1:]


@made(REFUSED)
def a_hole_in_the_header(film: Film) -> bytes:
    data = film.encoded()
    return data[:300] + data[317:]


@made(REFUSED)
def a_stuttered_block_in_the_header(film: Film) -> bytes:
    data = film.encoded()
    return data[:301] + data[270:]
