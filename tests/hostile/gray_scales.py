"""Gray scale attributes that lie. None may show a film inverted, drowned or as a fault; the pixels themselves are sound."""

import struct

from node.errors import Reason
from tests.hostile.files import BROKEN, PIXEL_DATA, READ, Film, item, made, not_read, stored_values
from tests.radiographs import element

NO_FILM = not_read(Reason.NOT_A_CHEST_FILM)
_WIDTHS = ["0", "-1", "-4096", "NaN", "inf", "1e308", "1e-300", "1,5", "", "wide", "0\\0", "4096\\", "\\4096"]


# A window of hardly any width makes the film black and white, as it says.
@made(lambda words: NO_FILM if words == "1e-300" else READ, each=_WIDTHS)
def window_width(film: Film, words: str) -> bytes:
    return film.set(WindowWidth=words).encoded()


@made(READ, each=["NaN", "1e308", "-1e308", "1e999", "", "middle", "2048,5", "99999999999999999999", "\\\\\\"])
def window_center(film: Film, words: str) -> bytes:
    return film.set(WindowCenter=words).encoded()


@made(READ)
def a_hundred_windows_of_nothing(film: Film) -> bytes:
    return film.set(WindowCenter="\\".join(["-9999"] * 100), WindowWidth="\\".join(["1"] * 100)).encoded()


@made(READ)
def centers_without_widths(film: Film) -> bytes:
    return film.set(WindowWidth=None, WindowCenter="10\\20\\30").encoded()


@made(READ, each=["0", "-0", "", "NaN", "inf", "one", "1,0", "1\\2", "1e-300"])
def rescale_slope(film: Film, words: str) -> bytes:
    return film.set(RescaleIntercept="0", RescaleSlope=words, WindowCenter=None, WindowWidth=None).encoded()


@made(BROKEN, each=["1e308", "-1e307", "9e306"])
def rescale_slope_beyond_numbers(film: Film, words: str) -> bytes:
    return film.set(RescaleIntercept="0", RescaleSlope=words).encoded()


@made(READ, each=["NaN", "inf", "-1024", "none", "-1,5", ""])
def rescale_intercept(film: Film, words: str) -> bytes:
    return film.set(RescaleIntercept=words, RescaleSlope="1").encoded()


@made(BROKEN)
def rescale_intercept_that_drowns_the_film(film: Film) -> bytes:
    return film.set(RescaleIntercept="1e300", RescaleSlope="1").encoded()


@made(READ)
def rescale_slope_that_is_negative(film: Film) -> bytes:
    inverted = (4095 - stored_values()).astype("<u2").tobytes()
    return film.set(RescaleIntercept="4095", RescaleSlope="-1", PixelData=inverted).encoded()


@made(READ, each=["", "SIGMOID", "LINEAR_EXACT", "NONSENSE", "linear", "LINEAR\\SIGMOID"])
def voi_lut_function(film: Film, words: str) -> bytes:
    return film.set(VOILUTFunction=words).encoded()


@made(READ, each=["INVERSE", "IDENTITY", "SIDEWAYS", "", "INVERSE\\IDENTITY"])
def presentation_lut_shape(film: Film, words: str) -> bytes:
    return film.set(PresentationLUTShape=words).encoded()


def _lut(entries: int, first: int, bits: int, data: bytes, vr: bytes = b"OW", form: bytes = b"US") -> bytes:
    descriptor = struct.pack("<HHH", entries, first, bits)
    return item(element(0x00283002, form, descriptor) + element(0x00283006, vr, data))


def _ramp(count: int, top: int = 65535) -> bytes:
    return struct.pack(f"<{count}H", *(top * i // (count - 1) for i in range(count)))


_LUTS = {
    "as it should be": _lut(4096, 0, 16, _ramp(4096)),
    "of no entries": _lut(0, 0, 16, _ramp(4096)),
    "with entries missing": _lut(4096, 0, 16, _ramp(1000)),
    "with more entries than stated": _lut(256, 0, 16, _ramp(4096)),
    "whose first value is beyond the film": _lut(4096, 60_000, 16, _ramp(4096)),
    "whose first value is negative": _lut(4096, 65_535, 16, _ramp(4096)),
    "of 8 bits with values of 16": _lut(4096, 0, 8, _ramp(4096)),
    "of 16 bits with values of 8": _lut(4096, 0, 16, _ramp(4096, 255)),
    "of no bits": _lut(4096, 0, 0, _ramp(4096)),
    "of 255 bits": _lut(4096, 0, 255, _ramp(4096)),
    "of 8 bits in bytes": _lut(256, 0, 8, bytes(range(256)), b"OB"),
    "of one gray": _lut(4096, 0, 16, b"\x00\x80" * 4096),
    "without data": item(element(0x00283002, b"US", struct.pack("<HHH", 4096, 0, 16))),
    "with empty data": _lut(4096, 0, 16, b""),
    "with an odd length of data": _lut(4096, 0, 16, _ramp(4096)[:-1]),
    "without a descriptor": item(element(0x00283006, b"OW", _ramp(4096))),
    "with a descriptor of two values": item(
        element(0x00283002, b"US", b"\x00\x10\x00\x00") + element(0x00283006, b"OW", _ramp(4096))
    ),
    "with a descriptor of text": item(
        element(0x00283002, b"LO", b"4096\\0\\16 ") + element(0x00283006, b"OW", _ramp(4096))
    ),
    "with a signed descriptor": _lut(4096, 0, 16, _ramp(4096), b"OW", b"SS"),
    "with data of vr US": _lut(4096, 0, 16, _ramp(4096), b"US"),
    "with data of text": _lut(4096, 0, 16, b"ramp", b"LT"),
    "of an empty item": item(b""),
    "of no item": b"",
}
# What lies above the last entry is as bright as that (PS3.3 C.11.2.1.1): of these films little is left but white.
_WHITE = {
    name: _LUTS.pop(name) for name in ("with entries missing", "with more entries than stated", "of 8 bits in bytes")
}


@made(NO_FILM, each=_WHITE)
def voi_lut_that_whitens(film: Film, lut: bytes) -> bytes:
    return film.around(0x00283010, element(0x00283010, b"SQ", lut))


@made(NO_FILM, each=_WHITE)
def modality_lut_that_whitens(film: Film, lut: bytes) -> bytes:
    film.set(WindowCenter=None, WindowWidth=None)
    return film.around(0x00283000, element(0x00283000, b"SQ", lut))


@made(READ, each=_LUTS)
def voi_lut(film: Film, lut: bytes) -> bytes:
    film.set(WindowCenter=None, WindowWidth=None)
    return film.around(0x00283010, element(0x00283010, b"SQ", lut))


@made(READ)
def voi_lut_beyond_the_film_beside_a_window(film: Film) -> bytes:
    return film.around(0x00283010, element(0x00283010, b"SQ", _LUTS["whose first value is beyond the film"]))


_FLAT = {"whose first value is beyond the film", "whose first value is negative", "of one gray"}


@made(READ, each={name: lut for name, lut in _LUTS.items() if name not in _FLAT})
def modality_lut(film: Film, lut: bytes) -> bytes:
    film.set(WindowCenter=None, WindowWidth=None)
    return film.around(0x00283000, element(0x00283000, b"SQ", lut))


@made(BROKEN, each={name: _LUTS[name] for name in sorted(_FLAT)})
def modality_lut_that_flattens(film: Film, lut: bytes) -> bytes:
    return film.around(0x00283000, element(0x00283000, b"SQ", lut))


@made(BROKEN, each={"all": (0, 65535), "upside down": (65535, 0)})
def pixel_padding_range_of(film: Film, padding: tuple[int, int]) -> bytes:
    return film.set(PixelPaddingValue=padding[0]).put(0x00280121, b"US", struct.pack("<H", padding[1])).encoded()


@made(READ, each={"beyond the film": 65535, "of black": 0})
def pixel_padding_value(film: Film, value: int) -> bytes:
    return film.set(PixelPaddingValue=value).encoded()


@made(READ, each={"a text": b"none", "of four bytes": b"\0\0\0\0", "empty": b""})
def pixel_padding_value_that_is(film: Film, value: bytes) -> bytes:
    return film.put(0x00280120, b"LO", value).encoded()


@made(NO_FILM)
def pixel_padding_of_nearly_all(film: Film) -> bytes:
    return film.set(PixelPaddingValue=20).put(0x00280121, b"US", struct.pack("<H", 4090)).encoded()


@made(READ, each={"smallest": 0x00280106, "largest": 0x00280107})
def pixel_value_that_lies_as_the(film: Film, tag: int) -> bytes:
    return film.put(tag, b"US", b"\xff\xff").encoded()


@made(READ)
def overlay_in_the_pixels_that_are_not_there(film: Film) -> bytes:
    film.put(0x60000010, b"US", b"\x90\0").put(0x60000011, b"US", b"\x90\0")
    return film.put(0x60000100, b"US", b"\x01\0").put(0x60000102, b"US", b"\x0f\0").encoded()


@made(READ)
def overlay_larger_than_the_film(film: Film) -> bytes:
    film.put(0x60000010, b"US", b"\xff\xff").put(0x60000011, b"US", b"\xff\xff")
    return film.put(0x60003000, b"OW", b"\0\0").encoded()


@made(READ)
def film_stored_inverted_and_said_to_be(film: Film) -> bytes:
    inverted = (4095 - stored_values()).astype("<u2").tobytes()
    return film.set(PhotometricInterpretation="MONOCHROME1").put(PIXEL_DATA, b"OW", inverted).encoded()
