"""Small films with bytes, lengths and blocks changed at random: each is taken, or refused in words of ours."""

from __future__ import annotations

import random
import tracemalloc
import zlib
from collections.abc import Callable
from functools import cache

import pytest

from node.door.inspect import inspect
from node.errors import ReceiveError
from tests.hostile.files import CR, EXPLICIT, PIXEL_DATA, Film, item
from tests.radiographs import PATIENT, element
from tests.walks import nested

IMPLICIT, BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
JPEG_LS = "1.2.840.10008.1.2.4.80"
MUTATIONS_A_FILM = 200
# Far below a bomb's worth, far above what any of these small films needs.
MEMORY_BYTES = 80 << 20


def film(**values: str | int | bytes | None) -> Film:
    small = Film("mutated").set(Rows=8, Columns=8, PixelData=bytes(range(128)), **PATIENT)
    return small.set(**values)


def with_sequences() -> bytes:
    reference = item(element(0x00081155, b"UI", b"1.2.3\0"))
    private = element(0x00291010, b"UN", item(b"\x29\0\x11\x10\4\0\0\0ABCD") + item(b""))
    return (
        film().part(end=0x00081140)
        + element(0x00081140, b"SQ", reference * 3)
        + film().part(0x00081140, 0x00291010)
        + private
        + film().part(0x00291010)
    )


@cache
def films() -> dict[str, tuple[str, bytes]]:
    frames = item(b"") + item(b"\xff\xd8 frame \xff\xd9") * 3 + b"\xfe\xff\xdd\xe0\0\0\0\0"
    plain = film().encoded()
    engine = zlib.compressobj(9, wbits=-15)
    return {
        "explicit": (EXPLICIT, plain),
        "implicit": (IMPLICIT, film().recoded(IMPLICIT)),
        "big endian": (BIG_ENDIAN, film().recoded(BIG_ENDIAN)),
        "deflated": (DEFLATED, engine.compress(plain) + engine.flush()),
        "encapsulated": (JPEG_LS, film().fragments(frames)),
        "sequences": (EXPLICIT, with_sequences()),
        "deep": (EXPLICIT, film().around(0x00081140, nested(40))),
        "icon": (
            EXPLICIT,
            film().around(0x00880200, element(0x00880200, b"SQ", item(element(PIXEL_DATA, b"OW", b"\0\0")))),
        ),
        "padded": (EXPLICIT, plain + bytes(64)),
        "many": (
            EXPLICIT,
            film().around(0x00310010, b"".join(element(0x00310010 + i, b"LO", b"") for i in range(300))),
        ),
    }


def flip(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def overwrite(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF))


def lie(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    words = (b"\xff\xff\xff\xff", b"\xfe\xff\xff\xff", b"\0\0\0\0", b"\xff\xff", b"\0\0\0\x80", b"\1\0\0\0")
    word = chance.choice(words)
    data[at : at + len(word)] = word


def remove(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    del data[at : at + chance.randrange(1, 64)]


def repeat(data: bytearray, chance: random.Random) -> None:
    at, length = chance.randrange(len(data)), chance.randrange(1, 256)
    data[at:at] = data[at : at + length] * chance.randrange(1, 20)


def move(data: bytearray, chance: random.Random) -> None:
    at, to, length = chance.randrange(len(data)), chance.randrange(len(data)), chance.randrange(1, 128)
    data[to:to] = data[at : at + length]


def delimit(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    data[at:at] = chance.choice((b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0")) + b"\xff\xff\xff\xff"


def cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


CHANGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(flip, overwrite, overwrite, lie, lie),
    *(remove, repeat, move, delimit, cut),
)


@pytest.mark.parametrize("name", films())
def test_a_film_that_is_changed_anyhow_is_taken_or_refused_in_few_words_and_little_memory(name: str) -> None:
    syntax, data = films()[name]
    chance, taken, comments = random.Random(name), 0, set[str]()
    tracemalloc.start()
    try:
        for _ in range(MUTATIONS_A_FILM):
            changed = bytearray(data)
            for _ in range(chance.randrange(1, 4)):
                if changed:
                    chance.choice(CHANGES)(changed, chance)
            try:
                found = inspect(bytes(changed), syntax, CR, film().uid)
                assert 1 <= len(found.study_instance_uid) <= 64
                taken += 1
            except ReceiveError as refusal:
                comments.add(refusal.comment)
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES
    finally:
        tracemalloc.stop()
    assert taken < MUTATIONS_A_FILM * 3 // 4
    assert all(0 < len(comment) <= 64 for comment in comments)
    assert not [comment for comment in comments if any(value in comment for value in PATIENT.values())]
