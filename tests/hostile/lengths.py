"""Lengths that lie."""

from tests.hostile.files import (
    BROKEN,
    MISMATCH,
    PIXEL_DATA,
    PRIVATE,
    READ,
    REFERENCED_IMAGES,
    REFUSED,
    UNDEFINED,
    Film,
    implicit_form,
    item,
    made,
)
from tests.radiographs import element, implicit

IMPLICIT = "1.2.840.10008.1.2"
_LENGTHS = {"all ones but one": 0xFFFFFFFE, "2 GiB": 1 << 31, "4 GiB less 16": 0xFFFFFFF0, "1 MiB": 1 << 20}


@made(REFUSED, each=_LENGTHS)
def private_value_of(film: Film, length: int) -> bytes:
    return film.around(PRIVATE, element(PRIVATE, b"OB", b"", length))


@made(REFUSED, each=_LENGTHS)
def pixel_data_of(film: Film, length: int) -> bytes:
    return film.header() + element(PIXEL_DATA, b"OW", film.elements[PIXEL_DATA][1], length)


@made(REFUSED, each=_LENGTHS)
def sequence_of(film: Film, length: int) -> bytes:
    return film.around(REFERENCED_IMAGES, element(REFERENCED_IMAGES, b"SQ", item(b""), length))


@made(REFUSED, each=_LENGTHS)
def item_of(film: Film, length: int) -> bytes:
    return film.around(REFERENCED_IMAGES, element(REFERENCED_IMAGES, b"SQ", item(b"", length)))


@made(REFUSED, syntax=IMPLICIT, each=_LENGTHS)
def implicit_value_of(film: Film, length: int) -> bytes:
    return film.part(end=PRIVATE, form=implicit_form) + implicit(PRIVATE, b"", length) + bytes(100)


@made(REFUSED, each=["OB", "OW", "UT", "UC", "UR", "OF", "OD", "SV"])
def undefined_length_of_vr(film: Film, vr: str) -> bytes:
    return film.around(PRIVATE, element(PRIVATE, vr.encode(), b"")[:8] + b"\xff\xff\xff\xff")


@made(REFUSED)
def undefined_length_of_a_short_vr(film: Film) -> bytes:
    return film.around(PRIVATE, element(PRIVATE, b"LO", b"", 0xFFFF))


@made(REFUSED, each={"one byte more": 1, "two bytes more": 2})
def patient_id_with_a_length_of(film: Film, more: int) -> bytes:
    return film.around(0x00100020, element(0x00100020, b"LO", b"P-1 ", 4 + more))


@made(REFUSED)
def patient_name_that_swallows_the_header(film: Film) -> bytes:
    rest = film.part(first=0x00100011)
    return film.part(end=0x00100010) + element(0x00100010, b"PN", b"Doe^Jo", 60_000) + rest


@made(MISMATCH)
def patient_name_that_swallows_the_identifiers_and_not_the_pixels(film: Film) -> bytes:
    swallowed = film.part(first=0x00100011, end=0x00280002)
    return film.part(end=0x00100010) + element(0x00100010, b"PN", b"Doe^Jo" + swallowed) + film.part(first=0x00280002)


@made(REFUSED)
def item_that_overlaps_the_next_element(film: Film) -> bytes:
    held = element(0x00081155, b"UI", b"1.2.3\0")
    return film.around(REFERENCED_IMAGES, element(REFERENCED_IMAGES, b"SQ", item(held, len(held) + 12)))


@made(REFUSED)
def value_that_overlaps_the_end_of_its_item(film: Film) -> bytes:
    held = element(0x00081155, b"UI", b"1.2.3\0", 40)
    return film.around(REFERENCED_IMAGES, element(REFERENCED_IMAGES, b"SQ", item(held)))


@made(REFUSED)
def sequence_shorter_than_its_item(film: Film) -> bytes:
    held = item(element(0x00081155, b"UI", b"1.2.3\0"))
    return film.around(REFERENCED_IMAGES, element(REFERENCED_IMAGES, b"SQ", held, len(held) - 6))


@made(REFUSED)
def rows_of_length_zero_before_a_value(film: Film) -> bytes:
    return film.around(0x00280010, element(0x00280010, b"US", b"\x90\0", 0))


@made(lambda count: READ if count in (4, 8) else BROKEN, each=[1, 3, 4, 8])
def rows_of_bytes(film: Film, count: int) -> bytes:
    return film.put(0x00280010, b"US", bytes([144, 0, 1, 1, 1, 1, 1, 1][:count])).encoded()


@made(READ, each=[1, 3, 5, 7])
def odd_length_of_a_text(film: Film, count: int) -> bytes:
    return film.put(0x00104000, b"LT", b"x" * count).encoded()


@made(READ)
def reserved_bytes_of_a_long_vr_that_are_not_zero(film: Film) -> bytes:
    data = film.part(first=PIXEL_DATA)
    return film.header() + data[:6] + b"\x12\x34" + data[8:]


@made(REFUSED)
def short_length_in_a_long_vr(film: Film) -> bytes:
    return film.around(PRIVATE, PRIVATE.to_bytes(4, "little")[2:] + b"\x10\x10OB\x04\x00abcd")


@made(REFUSED)
def pixel_data_of_undefined_length_without_items(film: Film) -> bytes:
    return film.header() + element(PIXEL_DATA, b"OW", film.elements[PIXEL_DATA][1], UNDEFINED)
