"""Compressed streams that are cut, lie about their size, or are of another kind than the transfer syntax says."""

import struct
import zlib
from collections.abc import Callable
from functools import cache
from io import BytesIO

import imagecodecs
import numpy as np
from PIL import Image

from node.errors import Reason
from tests.hostile.files import BITS, BROKEN, FORMAT, READ, SIDE_PX, Answer, Film, made, not_read, stored_values

JPEG, JPEG_EXTENDED, JPEG_LOSSLESS = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG_2000, RLE, JPEG_XL = (
    *("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"),
    *("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.110"),
)
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"


def _even(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)


def _rle(words: np.ndarray) -> bytes:
    """Encode each byte plane, the highest first, in literal runs (PS3.5 Annex G)."""
    planes = [(words >> 8).astype(np.uint8).tobytes(), (words & 255).astype(np.uint8).tobytes()]
    coded = []
    for plane in planes:
        runs = (plane[at : at + 128] for at in range(0, len(plane), 128))
        coded.append(_even(b"".join(bytes([len(run) - 1]) + run for run in runs)))
    return struct.pack("<16L", 2, 64, 64 + len(coded[0]), *[0] * 13) + b"".join(coded)


@cache
def stream(uid: str) -> bytes:
    """Return the film as a stream of a transfer syntax."""
    words = stored_values()
    encoders: dict[str, Callable[[], bytes]] = {
        JPEG: lambda: imagecodecs.jpeg8_encode((words >> (BITS - 8)).astype(np.uint8), level=90),
        JPEG_LOSSLESS: lambda: imagecodecs.jpeg8_encode(words, lossless=True, bitspersample=BITS),
        JPEG_LS: lambda: imagecodecs.jpegls_encode(words),
        JPEG_2000: lambda: imagecodecs.jpeg2k_encode(words, codecformat="j2k", reversible=True, level=0),
        RLE: lambda: _rle(words),
        JPEG_XL: lambda: imagecodecs.jpegxl_encode(words, lossless=True),
    }
    return _even(encoders[uid]())


_ALL = {"jpeg": JPEG, "lossless": JPEG_LOSSLESS, "ls": JPEG_LS, "2000": JPEG_2000, "rle": RLE, "xl": JPEG_XL}


def _sent(film: Film, uid: str, data: bytes) -> bytes:
    if uid == JPEG:
        film.eight_bit()
    return film.encapsulated(_even(data))


def _for_each_syntax(answer: Answer, name: str, change: Callable[[bytes], bytes]) -> None:
    """Register a file for each transfer syntax, whose stream is changed in one way."""
    for word, uid in _ALL.items():

        def make(film: Film, uid: str = uid) -> bytes:
            return _sent(film, uid, change(stream(uid)))

        make.__name__, make.__module__ = f"{word}_stream_{name}", __name__
        made(answer, syntax=uid)(make)


_for_each_syntax(READ, "as it should be", lambda data: data)
_for_each_syntax(BROKEN, "cut in its first half", lambda data: data[: len(data) // 3])
_for_each_syntax(BROKEN, "cut to its first bytes", lambda data: data[:20])
_for_each_syntax(BROKEN, "without its beginning", lambda data: data[64:])
_for_each_syntax(BROKEN, "of zeros", lambda data: bytes(len(data)))
_for_each_syntax(BROKEN, "of ones", lambda data: b"\xff" * len(data))
_for_each_syntax(BROKEN, "that is a PNG", lambda data: imagecodecs.png_encode(stored_values()))


@made(BROKEN, syntax=JPEG, each=[name for name in _ALL if name not in ("jpeg", "lossless", "ls")])
def jpeg_that_is(film: Film, name: str) -> bytes:
    return _sent(film, JPEG, stream(_ALL[name]))


@made(BROKEN, syntax=JPEG_2000, each=[name for name in _ALL if name != "2000"])
def jpeg_2000_that_is(film: Film, name: str) -> bytes:
    return _sent(film, JPEG_2000, stream(_ALL[name]))


@made(BROKEN, syntax=RLE, each=[name for name in _ALL if name != "rle"])
def rle_that_is(film: Film, name: str) -> bytes:
    return _sent(film, RLE, stream(_ALL[name]))


@made(BROKEN, syntax=JPEG_LS, each=["jpeg", "2000", "rle", "xl"])
def jpeg_ls_that_is(film: Film, name: str) -> bytes:
    return _sent(film, JPEG_LS, stream(_ALL[name]))


def _with_size(data: bytes, marker: bytes, rows: int, columns: int) -> bytes:
    """Return a JPEG stream whose frame header says another size."""
    at = data.index(marker) + 5
    return data[:at] + struct.pack(">HH", rows, columns) + data[at + 4 :]


_SIZES = {
    "65535 x 65535": (65535, 65535),
    "nothing": (0, 0),
    "one row more": (SIDE_PX + 1, SIDE_PX),
    "one column less": (SIDE_PX, SIDE_PX - 1),
    "no columns": (SIDE_PX, 0),
}


@made(BROKEN, syntax=JPEG, each=_SIZES)
def jpeg_that_says_a_size_of(film: Film, size: tuple[int, int]) -> bytes:
    return _sent(film, JPEG, _with_size(stream(JPEG), b"\xff\xc0", *size))


@made(BROKEN, syntax=JPEG_LOSSLESS, each=_SIZES)
def jpeg_lossless_that_says_a_size_of(film: Film, size: tuple[int, int]) -> bytes:
    return _sent(film, JPEG_LOSSLESS, _with_size(stream(JPEG_LOSSLESS), b"\xff\xc3", *size))


@made(BROKEN, syntax=JPEG_LS, each=_SIZES)
def jpeg_ls_that_says_a_size_of(film: Film, size: tuple[int, int]) -> bytes:
    return _sent(film, JPEG_LS, _with_size(stream(JPEG_LS), b"\xff\xf7", *size))


@made(
    BROKEN,
    syntax=JPEG_2000,
    each={"65535 x 65535": 65535, "4 G x 4 G": 0xFFFFFFFF, "nothing": 0, "one more": SIDE_PX + 1},
)
def jpeg_2000_that_says_a_size_of(film: Film, side: int) -> bytes:
    data = stream(JPEG_2000)
    at = data.index(b"\xff\x4f\xff\x51") + 8
    return _sent(film, JPEG_2000, data[:at] + struct.pack(">LL", side, side) + data[at + 8 :])


@made(FORMAT, syntax=JPEG)
def jpeg_that_agrees_with_a_header_of_65535(film: Film) -> bytes:
    film.eight_bit()
    film.set(Rows=65535, Columns=65535)
    return film.encapsulated(_even(_with_size(stream(JPEG), b"\xff\xc0", 65535, 65535)))


@made(not_read(Reason.PIXEL_FORMAT), syntax=JPEG_LS, each={"65535": 65535, "40000": 40000})
def deep_stream_that_agrees_with_a_header_of(film: Film, side: int) -> bytes:
    film.set(Rows=side, Columns=side)
    return film.encapsulated(_even(_with_size(stream(JPEG_LS), b"\xff\xf7", side, side)))


@made(BROKEN, syntax=RLE, each=[0, 1, 3, 4, 15, 16, 0xFFFFFFFF])
def rle_of_segments(film: Film, count: int) -> bytes:
    return _sent(film, RLE, struct.pack("<L", count) + stream(RLE)[4:])


@made(BROKEN, syntax=RLE, each={"backwards": (5000, 64), "beyond the end": (64, 1 << 30), "into the header": (0, 8)})
def rle_with_offsets(film: Film, offsets: tuple[int, int]) -> bytes:
    return _sent(film, RLE, struct.pack("<LLL", 2, *offsets) + stream(RLE)[12:])


@made(BROKEN, syntax=RLE)
def rle_bomb(film: Film) -> bytes:
    planes = b"\x81\x00" * (1 << 19)
    return _sent(film, RLE, struct.pack("<16L", 2, 64, 64 + len(planes), *[0] * 13) + planes + planes)


@made(BROKEN, syntax=DEFLATED_FRAMES, each=["bomb", "garbage"])
def deflated_frame_that_is(film: Film, kind: str) -> bytes:
    engine = zlib.compressobj(9, wbits=-15)
    data = engine.compress(bytes(1 << 26)) + engine.flush() if kind == "bomb" else b"garbage " * 100
    return _sent(film, DEFLATED_FRAMES, data)


@made(not_read(Reason.COLOR), syntax=JPEG, each={"RGB": 3, "CMYK": 4})
def jpeg_in_a_gray_film_that_is(film: Film, components: int) -> bytes:
    plane = (stored_values() >> (BITS - 8)).astype(np.uint8)
    color = np.ascontiguousarray(np.repeat(plane[..., np.newaxis], components, axis=2))
    buffer = BytesIO()
    Image.fromarray(color, mode={3: "RGB", 4: "CMYK"}[components]).save(buffer, "JPEG")
    return _sent(film, JPEG, buffer.getvalue())


@made(not_read(Reason.COLOR), syntax=JPEG_2000)
def jpeg_2000_in_a_gray_film_that_is_color(film: Film) -> bytes:
    color = np.ascontiguousarray(np.repeat(stored_values()[..., np.newaxis], 3, axis=2))
    return _sent(film, JPEG_2000, imagecodecs.jpeg2k_encode(color, codecformat="j2k", level=0))


@made(not_read(Reason.NOT_A_CHEST_FILM), syntax=JPEG_2000)
def sixteen_bits_in_a_film_of_eight(film: Film) -> bytes:
    film.eight_bit()
    return film.encapsulated(stream(JPEG_2000))


@made(READ, syntax=JPEG)
def eight_bits_in_a_film_of_sixteen(film: Film) -> bytes:
    film.set(WindowCenter=None, WindowWidth=None)
    return film.encapsulated(stream(JPEG))


@made(BROKEN, syntax=JPEG)
def jpeg_without_its_end(film: Film) -> bytes:
    return _sent(film, JPEG, stream(JPEG).rstrip(b"\0").removesuffix(b"\xff\xd9"))


@made(BROKEN, syntax=JPEG)
def jpeg_that_ends_before_its_scan(film: Film) -> bytes:
    data = stream(JPEG)
    return _sent(film, JPEG, data[: data.index(b"\xff\xda")] + b"\xff\xd9")


@made(READ, syntax=JPEG)
def jpeg_with_a_thumbnail_before_it(film: Film) -> bytes:
    data = stream(JPEG)
    comment = b"\xff\xfe" + struct.pack(">H", 102) + b"\xff\xd8\xff\xd9" * 25
    return _sent(film, JPEG, data[:2] + comment + data[2:])
