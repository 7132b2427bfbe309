"""What is no data set at all, and data sets of a strange size."""

import io
import random
import zipfile
from collections.abc import Callable

import imagecodecs

from node.errors import Reason
from tests.hostile.files import (
    MISMATCH,
    PRIVATE,
    READ,
    REFUSED,
    Film,
    made,
    not_read,
    stored_values,
)
from tests.radiographs import element

JPEG_BASELINE, DEFLATED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.1.99"


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("../../evil"), b"evil")
    return buffer.getvalue()


_STRANGERS: dict[str, Callable[[], bytes]] = {
    "one byte": lambda: b"\x08",
    "one null": lambda: b"\0",
    "nulls": lambda: bytes(10_000),
    "ones": lambda: b"\xff" * 10_000,
    "random bytes": lambda: random.Random(1).randbytes(10_000),
    "a PNG": lambda: bytes(imagecodecs.png_encode(stored_values())),
    "a ZIP": _zip,
    "a PDF": lambda: b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF\n",
    "a program": lambda: b"\x7fELF\x02\x01\x01" + bytes(57),
    "a script": lambda: b"#!/bin/sh\nrm -rf /\n",
    "JSON": lambda: b'{"00080016": {"vr": "UI"}}',
    "XML": lambda: b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "a pickle": lambda: b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n.",
    "a TIFF": lambda: b"II*\0\x08\0\0\0" + bytes(100),
    "HTTP": lambda: b"GET / HTTP/1.1\r\nHost: node\r\n\r\n",
    "an association request": lambda: b"\x01\0\0\0\0\xcd\0\1\0\0" + b"CXRTRIAGE       " * 2 + bytes(32),
    "a JPEG": lambda: bytes(imagecodecs.jpeg8_encode((stored_values() >> 4).astype("u1"))),
}


@made(REFUSED, each=_STRANGERS)
def not_a_data_set_but(film: Film, make: Callable[[], bytes]) -> bytes:
    return make()


@made(
    lambda name: MISMATCH if name == "a TIFF" else REFUSED,
    syntax="1.2.840.10008.1.2",
    each=[name for name in _STRANGERS if name != "an association request"],
)
def not_an_implicit_data_set_but(film: Film, name: str) -> bytes:
    return _STRANGERS[name]()


@made(REFUSED, syntax=JPEG_BASELINE, each=["a JPEG", "a PNG", "random bytes"])
def not_a_compressed_data_set_but(film: Film, name: str) -> bytes:
    return _STRANGERS[name]()


@made(REFUSED, syntax=DEFLATED, each=["a PNG", "random bytes", "nulls", "a ZIP"])
def not_a_deflated_data_set_but(film: Film, name: str) -> bytes:
    return _STRANGERS[name]()


@made(MISMATCH)
def one_element_alone(film: Film) -> bytes:
    return element(0x00080060, b"CS", b"CR")


@made(not_read(Reason.NO_PIXELS), alone=True)
def identifiers_alone(film: Film) -> bytes:
    keep = {0x00080016, 0x00080018, 0x0020000D, 0x0020000E}
    film.elements = {tag: held for tag, held in film.elements.items() if tag in keep}
    return film.encoded()


@made(REFUSED)
def a_million_tiny_elements(film: Film) -> bytes:
    return film.around(PRIVATE, element(PRIVATE, b"UN", b"") * 1_000_000)


@made(READ)
def a_hundred_thousand_tiny_elements(film: Film) -> bytes:
    return film.around(PRIVATE, b"".join(element(0x00310000 + (i << 1), b"CS", b"") for i in range(0x2000, 0x7000)))


@made(REFUSED)
def two_films_one_behind_the_other(film: Film) -> bytes:
    return film.encoded() + Film("another").encoded()


@made(REFUSED, each=[1, 3, 4, 100])
def film_followed_by_bytes_of_rubbish(film: Film, count: int) -> bytes:
    return film.behind(random.Random(2).randbytes(count).replace(b"\0", b"\1"))
