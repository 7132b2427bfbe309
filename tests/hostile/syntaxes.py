"""Data sets in another encoding than their transfer syntax says, and deflated ones."""

import struct
import zlib

from tests.hostile.files import (
    EXPLICIT,
    MISMATCH,
    PIXEL_DATA,
    READ,
    REFUSED,
    Film,
    implicit_form,
    made,
)
from tests.radiographs import element

IMPLICIT, BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
_UNCOMPRESSED = {"implicit": IMPLICIT, "explicit": EXPLICIT, "big endian": BIG_ENDIAN}


@made(REFUSED, each={name: uid for name, uid in _UNCOMPRESSED.items() if uid != EXPLICIT})
def explicit_that_is(film: Film, uid: str) -> bytes:
    return film.recoded(uid)


@made(REFUSED, syntax=IMPLICIT, each={name: uid for name, uid in _UNCOMPRESSED.items() if uid != IMPLICIT})
def implicit_that_is(film: Film, uid: str) -> bytes:
    return film.recoded(uid)


@made(REFUSED, syntax=BIG_ENDIAN, each={name: uid for name, uid in _UNCOMPRESSED.items() if uid != BIG_ENDIAN})
def big_endian_that_is(film: Film, uid: str) -> bytes:
    return film.recoded(uid)


@made(REFUSED, syntax=JPEG_BASELINE)
def compressed_that_is_implicit_and_native(film: Film) -> bytes:
    return film.recoded(IMPLICIT)


@made(READ, syntax=IMPLICIT)
def implicit_as_it_should_be(film: Film) -> bytes:
    return film.recoded(IMPLICIT)


@made(READ, syntax=BIG_ENDIAN)
def big_endian_as_it_should_be(film: Film) -> bytes:
    return film.recoded(BIG_ENDIAN)


@made(REFUSED)
def explicit_that_turns_implicit_in_the_middle(film: Film) -> bytes:
    return film.part(end=0x00200000) + film.part(first=0x00200000, form=implicit_form)


@made(REFUSED, syntax=IMPLICIT)
def implicit_that_turns_explicit_in_the_middle(film: Film) -> bytes:
    return film.part(end=0x00200000, form=implicit_form) + film.part(first=0x00200000)


@made(REFUSED)
def byte_order_that_turns_in_the_middle(film: Film) -> bytes:
    swapped = struct.pack(">HH2sHH", 0x0028, 0x0010, b"US", 2, 144)
    return film.around(0x00280010, swapped)


@made(REFUSED)
def rows_in_the_other_byte_order(film: Film) -> bytes:
    return film.put(0x00280010, b"US", (144).to_bytes(2, "big")).encoded()


def _deflate(data: bytes, wbits: int = -15) -> bytes:
    engine = zlib.compressobj(9, wbits=wbits)
    return engine.compress(data) + engine.flush()


@made(READ, syntax=DEFLATED)
def deflated_as_it_should_be(film: Film) -> bytes:
    return _deflate(film.encoded())


@made(READ, syntax=DEFLATED)
def deflated_and_padded(film: Film) -> bytes:
    return _deflate(film.encoded()) + b"\0"


@made(REFUSED, syntax=DEFLATED, each={"zlib": 15, "gzip": 31})
def deflated_with_the_header_of(film: Film, wbits: int) -> bytes:
    return _deflate(film.encoded(), wbits)


@made(REFUSED, syntax=DEFLATED)
def deflated_that_is_not(film: Film) -> bytes:
    return film.encoded()


@made(REFUSED)
def explicit_that_is_deflated(film: Film) -> bytes:
    return _deflate(film.encoded())


@made(REFUSED, syntax=DEFLATED, each=[1, 2, 100, 5000])
def deflated_and_cut_by_bytes(film: Film, count: int) -> bytes:
    return _deflate(film.encoded())[:-count]


@made(REFUSED, syntax=DEFLATED)
def deflated_to_nothing(film: Film) -> bytes:
    return _deflate(b"")


@made(REFUSED, syntax=DEFLATED)
def deflated_and_empty(film: Film) -> bytes:
    return b""


@made(REFUSED, syntax=DEFLATED)
def deflated_with_a_block_of_no_known_type(film: Film) -> bytes:
    # Any other byte may be changed unseen: a raw stream has no checksum (RFC 1951, 3.2.3).
    data = bytearray(_deflate(film.encoded()))
    data[0] |= 0b110
    return bytes(data)


@made(REFUSED, syntax=DEFLATED)
def deflated_twice(film: Film) -> bytes:
    return _deflate(_deflate(film.encoded()))


@made(READ, syntax=DEFLATED)
def deflated_with_more_behind_it(film: Film) -> bytes:
    return _deflate(film.encoded()) + b"garbage behind the stream" * 100


@made(REFUSED, syntax=DEFLATED)
def deflated_bomb_of_half_a_gigabyte(film: Film) -> bytes:
    return _bomb(film, 32)


@made(REFUSED, syntax=DEFLATED)
def deflated_bomb_just_above_what_is_inflated(film: Film) -> bytes:
    return _bomb(film, 8)


def _bomb(film: Film, blocks: int) -> bytes:
    engine = zlib.compressobj(9, wbits=-15)
    head = film.encoded() + element(0x7FE10010, b"OB", b"", blocks << 24)
    data = engine.compress(head) + b"".join(engine.compress(bytes(1 << 24)) for _ in range(blocks))
    return data + engine.flush()


@made(REFUSED, syntax=DEFLATED)
def deflated_nesting_of_a_million(film: Film) -> bytes:
    return _deflate(film.part(end=0x00081140) + element(0x00081140, b"SQ", b"", 0xFFFFFFFF) * 1_000_000)


@made(MISMATCH, syntax=DEFLATED)
def deflated_instance_of_another_uid(film: Film) -> bytes:
    return _deflate(film.set(SOPInstanceUID="1.2.3.4").encoded())


@made(REFUSED, syntax="1.2.840.10008.1.2.1.98")
def encapsulated_uncompressed_that_is_native(film: Film) -> bytes:
    return film.encoded()


@made(REFUSED, each=["explicit"])
def encapsulated_under_a_native_syntax(film: Film, _: str) -> bytes:
    return film.encapsulated(film.elements[PIXEL_DATA][1])
