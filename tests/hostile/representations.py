"""Value representations that are unknown, wrong, or no value representations."""

from tests.hostile.files import (
    BROKEN,
    MISMATCH,
    NO_PIXELS,
    PIXEL_DATA,
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

_END = implicit(SEQUENCE_DELIMITER, b"")


@made(REFUSED, each={"zeros": b"\0\0", "spaces": b"  ", "lower case": b"lo", "digits": b"12", "ones": b"\xff\xff"})
def vr_of(film: Film, vr: bytes) -> bytes:
    return film.around(PRIVATE, element(PRIVATE, vr, b"ABCD"))


@made(REFUSED, each={"half garbage": b"L\0", "half lower": b"Lo", "a sign": b"A-"})
def vr_that_is(film: Film, vr: bytes) -> bytes:
    return film.around(PRIVATE, element(PRIVATE, vr, b"ABCD"))


@made(REFUSED)
def vr_to_come_with_a_long_length(film: Film) -> bytes:
    return film.around(PRIVATE, PRIVATE.to_bytes(4, "little")[2:] + b"\x10\x10ZZ\0\0\x04\0\0\0abcd")


@made(REFUSED)
def vr_that_is_unknown_with_a_short_length(film: Film) -> bytes:
    return film.around(PRIVATE, element(PRIVATE, b"ZZ", b"ABCD"))


@made(READ, each=["UN", "OB", "LT", "DS", "US", "FD", "AT", "SL", "SV", "PN"])
def private_value_of_vr(film: Film, vr: str) -> bytes:
    return film.put(PRIVATE, vr.encode(), b"ABCDEFGH").encoded()


@made(READ, each=["LO", "UN", "OB", "UI", "FD"])
def station_name_of_vr(film: Film, vr: str) -> bytes:
    return film.put(0x00081010, vr.encode(), b"ROOM 1  ").encoded()


@made(READ, each=["UN", "SH", "CS", "ST"])
def study_uid_of_vr(film: Film, vr: str) -> bytes:
    return film.put(0x0020000D, vr.encode(), film.elements[0x0020000D][1]).encoded()


@made(MISMATCH, each=["OB", "US", "AT", "OW", "FD"])
def study_uid_of_a_binary_vr(film: Film, vr: str) -> bytes:
    return film.put(0x0020000D, vr.encode(), film.elements[0x0020000D][1]).encoded()


@made(MISMATCH)
def study_uid_that_is_a_sequence(film: Film) -> bytes:
    return film.around(0x0020000D, element(0x0020000D, b"SQ", item(b"")))


@made(lambda vr: BROKEN if vr == "OB" else READ, each=["UN", "SS", "OB", "UL"])
def rows_of_vr(film: Film, vr: str) -> bytes:
    return film.put(0x00280010, vr.encode(), b"\x90\0" + b"\0\0" * (vr == "UL")).encoded()


@made(BROKEN, each={"a text": (b"LO", b"many"), "a sequence": (b"SQ", b"")})
def rows_that_are(film: Film, given: tuple[bytes, bytes]) -> bytes:
    return film.put(0x00280010, *given).encoded()


@made(READ, each=["OB", "UN", "OW"])
def pixel_data_of_vr(film: Film, vr: str) -> bytes:
    return film.put(PIXEL_DATA, vr.encode(), film.elements[PIXEL_DATA][1]).encoded()


@made(lambda vr: BROKEN if vr == "UT" else NO_PIXELS, each=["UT", "SQ of nothing"])
def pixel_data_that_is(film: Film, vr: str) -> bytes:
    if vr == "UT":
        return film.put(PIXEL_DATA, b"UT", film.elements[PIXEL_DATA][1]).encoded()
    return film.header() + element(PIXEL_DATA, b"SQ", b"")


@made(REFUSED)
def pixel_data_that_is_a_sequence_of_an_item(film: Film) -> bytes:
    return film.header() + element(PIXEL_DATA, b"SQ", item(film.elements[PIXEL_DATA][1]))


@made(READ)
def private_sequence_of_vr_un(film: Film) -> bytes:
    return film.around(PRIVATE, element(PRIVATE, b"UN", item(implicit(0x00291011, b"ABCD")) + _END, UNDEFINED))


@made(READ)
def private_sequence_of_vr_un_with_a_length_and_explicit_inside(film: Film) -> bytes:
    return film.put(PRIVATE, b"UN", item(element(0x00291011, b"LO", b"ABCD"))).encoded()


@made(REFUSED)
def sequence_of_vr_un_that_holds_no_items(film: Film) -> bytes:
    return film.around(PRIVATE, element(PRIVATE, b"UN", b"just bytes, and many of them", UNDEFINED))


@made(READ)
def sequence_of_the_standard_of_vr_un(film: Film) -> bytes:
    inner = item(implicit(0x00081155, b"1.2.3\0"))
    return film.around(REFERENCED_IMAGES, element(REFERENCED_IMAGES, b"UN", inner))


@made(READ)
def sequence_of_the_standard_that_is_a_text(film: Film) -> bytes:
    return film.put(REFERENCED_IMAGES, b"LO", b"none").encoded()


@made(READ)
def text_of_the_standard_that_is_a_sequence(film: Film) -> bytes:
    return film.around(0x00081010, element(0x00081010, b"SQ", item(element(0x00081155, b"UI", b"1.2.3\0"))))


@made(NO_PIXELS)
def pixel_data_that_is_empty(film: Film) -> bytes:
    return film.set(Rows=0).put(PIXEL_DATA, b"OW", b"").encoded()
