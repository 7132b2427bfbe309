"""Encapsulated pixel data whose items, offsets or frames are not what they should be."""

import struct
from functools import cache

import imagecodecs
import numpy as np

from node.errors import Reason
from tests.hostile.files import (
    BITS,
    BROKEN,
    PIXEL_DATA,
    READ,
    REFUSED,
    SEQUENCE_DELIMITER,
    UNDEFINED,
    Film,
    item,
    made,
    not_read,
    stored_values,
)
from tests.radiographs import element, implicit

JPEG_LS = "1.2.840.10008.1.2.4.80"
END = implicit(SEQUENCE_DELIMITER, b"")


@cache
def stream() -> bytes:
    """Return the film as a JPEG-LS stream of even length."""
    data: bytes = imagecodecs.jpegls_encode(stored_values())
    return data + b"\0" * (len(data) % 2)


def offsets(*values: int) -> bytes:
    return item(struct.pack(f"<{len(values)}L", *values))


@made(READ, syntax=JPEG_LS)
def empty_offset_table(film: Film) -> bytes:
    return film.fragments(item(b"") + item(stream()) + END)


@made(READ, syntax=JPEG_LS)
def offset_table_of_one_frame(film: Film) -> bytes:
    return film.fragments(offsets(0) + item(stream()) + END)


@made(READ, syntax=JPEG_LS, each=[2, 3, 7])
def frame_in_fragments(film: Film, count: int) -> bytes:
    size = (len(stream()) // count + 2) // 2 * 2
    parts = [stream()[at : at + size] for at in range(0, len(stream()), size)]
    return film.fragments(item(b"") + b"".join(item(part) for part in parts) + END)


@made(READ, syntax=JPEG_LS)
def fragment_of_odd_length(film: Film) -> bytes:
    return film.fragments(item(b"") + item(stream()[:101]) + item(stream()[101:]) + END)


@made(READ, syntax=JPEG_LS)
def empty_fragments_between(film: Film) -> bytes:
    return film.fragments(item(b"") + item(b"") + item(stream()) + item(b"") * 3 + END)


@made(READ, syntax=JPEG_LS)
def delimiter_with_a_length(film: Film) -> bytes:
    return film.fragments(item(b"") + item(stream()) + implicit(SEQUENCE_DELIMITER, b"", 4))


@made(REFUSED, syntax=JPEG_LS)
def offset_table_that_is_the_frame(film: Film) -> bytes:
    return film.fragments(item(stream()) + END)


@made(BROKEN, syntax=JPEG_LS, each={"beyond the end": 1 << 20, "all ones": UNDEFINED, "not at the start": 8})
def offset_table_that_points(film: Film, offset: int) -> bytes:
    return film.fragments(offsets(offset) + item(stream()) + END)


@made(BROKEN, syntax=JPEG_LS)
def offset_table_of_more_frames_than_one(film: Film) -> bytes:
    return film.fragments(offsets(0, 500, 400) + item(stream()) + END)


@made(BROKEN, syntax=JPEG_LS)
def offset_table_of_odd_length(film: Film) -> bytes:
    return film.fragments(item(b"\0\0\0\0\0") + item(stream()) + END)


@made(REFUSED, syntax=JPEG_LS)
def no_delimiter_at_the_end(film: Film) -> bytes:
    return film.fragments(item(b"") + item(stream()))


@made(REFUSED, syntax=JPEG_LS)
def no_items_at_all(film: Film) -> bytes:
    return film.fragments(END)


@made(REFUSED, syntax=JPEG_LS)
def offset_table_alone(film: Film) -> bytes:
    return film.fragments(item(b"") + END)


@made(BROKEN, syntax=JPEG_LS)
def all_fragments_empty(film: Film) -> bytes:
    return film.fragments(item(b"") + item(b"") * 5 + END)


@made(REFUSED, syntax=JPEG_LS, each={"beyond the end": 1 << 24, "all ones": UNDEFINED, "all ones but one": 0xFFFFFFFE})
def fragment_with_a_length(film: Film, length: int) -> bytes:
    return film.fragments(item(b"") + item(stream(), length) + END)


@made(REFUSED, syntax=JPEG_LS)
def fragment_a_byte_too_short(film: Film) -> bytes:
    return film.fragments(item(b"") + item(stream(), len(stream()) - 1) + END)


@made(REFUSED, syntax=JPEG_LS)
def stream_without_items(film: Film) -> bytes:
    return film.fragments(stream() + END)


@made(REFUSED, syntax=JPEG_LS)
def data_elements_in_the_place_of_fragments(film: Film) -> bytes:
    return film.fragments(item(b"") + element(0x00280010, b"US", b"\1\0") + END)


@made(REFUSED, syntax=JPEG_LS)
def item_delimiter_among_the_fragments(film: Film) -> bytes:
    return film.fragments(item(b"") + item(stream()) + implicit(0xFFFEE00D, b"") + END)


@made(REFUSED, syntax=JPEG_LS)
def pixel_data_with_a_length(film: Film) -> bytes:
    items = item(b"") + item(stream()) + END
    return film.around(PIXEL_DATA, element(PIXEL_DATA, b"OB", items))


@made(REFUSED, syntax=JPEG_LS)
def two_hundred_thousand_empty_fragments(film: Film) -> bytes:
    return film.fragments(item(b"") * 200_001 + END)


@made(READ, syntax=JPEG_LS)
def more_fragments_than_frames(film: Film) -> bytes:
    return film.set(NumberOfFrames="1").fragments(offsets(0) + item(stream()) + item(b"\0\0") * 3 + END)


@made(not_read(Reason.MULTI_FRAME), syntax=JPEG_LS)
def more_frames_than_fragments(film: Film) -> bytes:
    return film.set(NumberOfFrames="4").fragments(item(b"") + item(stream()) + END)


@made(
    READ,
    syntax=JPEG_LS,
    each={
        "that fits": (0, len(stream())),
        "beyond the end": (1 << 40, 1 << 40),
        "of huge frames": (0, 1 << 62),
        "of no frames": (0, 0),
    },
)
def extended_offset_table(film: Film, table: tuple[int, int]) -> bytes:
    offset, length = (struct.pack("<Q", value) for value in table)
    return (
        film.put(0x7FE00001, b"OV", offset).put(0x7FE00002, b"OV", length).fragments(item(b"") + item(stream()) + END)
    )


@made(READ, syntax=JPEG_LS)
def extended_offset_table_of_odd_length(film: Film) -> bytes:
    return film.put(0x7FE00001, b"OV", b"\0" * 7).fragments(item(b"") + item(stream()) + END)


@made(READ, syntax=JPEG_LS)
def frame_followed_by_an_element(film: Film) -> bytes:
    return film.fragments(item(b"") + item(stream()) + END) + element(0xFFFCFFFC, b"OB", bytes(10))


@made(READ, syntax="1.2.840.10008.1.2.1.98")
def encapsulated_uncompressed_frame(film: Film) -> bytes:
    return film.encapsulated(stored_values().tobytes())


@made(BROKEN, syntax="1.2.840.10008.1.2.1.98", each=[-2, 2, 1000])
def encapsulated_uncompressed_frame_longer_by(film: Film, more: int) -> bytes:
    return film.encapsulated((stored_values().tobytes() + bytes(1000))[: 2 * 144 * 144 + more])


@made(BROKEN, syntax=JPEG_LS)
def frame_of_another_film_size(film: Film) -> bytes:
    small: bytes = imagecodecs.jpegls_encode(np.ascontiguousarray(stored_values()[:100, :100] >> (BITS - 8)))
    return film.encapsulated(small + b"\0" * (len(small) % 2))
