"""Image Pixel modules that do not fit the pixels."""

from node.errors import Reason
from tests.hostile.files import (
    BROKEN,
    FORMAT,
    NO_PIXELS,
    PIXEL_DATA,
    READ,
    REFUSED,
    Film,
    made,
    not_read,
    stored_values,
)

COLOR, MULTI_FRAME, TOO_SMALL, NO_FILM = (
    not_read(reason) for reason in (Reason.COLOR, Reason.MULTI_FRAME, Reason.TOO_SMALL, Reason.NOT_A_CHEST_FILM)
)


@made(REFUSED, each={"65535 x 65535": (65535, 65535), "one row more": (145, 144), "one column more": (144, 145)})
def image_larger_than_its_pixels(film: Film, size: tuple[int, int]) -> bytes:
    return film.set(Rows=size[0], Columns=size[1]).encoded()


@made(BROKEN, each={"no rows": (0, 144), "no columns": (144, 0), "neither": (0, 0), "half the rows": (143, 144)})
def image_of(film: Film, size: tuple[int, int]) -> bytes:
    return film.set(Rows=size[0], Columns=size[1]).encoded()


@made(TOO_SMALL, each={"1 x 1": (1, 1), "64 x 64": (64, 64), "127 rows": (127, 144), "1 row": (1, 20_000)})
def image_as_small_as(film: Film, size: tuple[int, int]) -> bytes:
    return film.set(Rows=size[0], Columns=size[1], PixelData=bytes(2 * size[0] * size[1])).encoded()


@made(BROKEN, each=["Rows", "Columns"])
def image_without(film: Film, keyword: str) -> bytes:
    return film.set(**{keyword: None}).encoded()


@made(FORMAT, each={"1": 1, "12": 12, "none": 0, "no allocated": None})
def bits_allocated_of(film: Film, bits: int | None) -> bytes:
    return film.set(BitsAllocated=bits).encoded()


@made(REFUSED, each=[32, 64, 24, 17, 65535])
def bits_allocated_without_the_bytes_of(film: Film, bits: int) -> bytes:
    return film.set(BitsAllocated=bits).encoded()


@made(FORMAT, each=[32, 64])
def bits_allocated_with_all_bytes_of(film: Film, bits: int) -> bytes:
    return film.set(BitsAllocated=bits, PixelData=stored_values().tobytes() * (bits // 16)).encoded()


@made(BROKEN)
def eight_bits_allocated_and_sixteen_sent(film: Film) -> bytes:
    return film.set(BitsAllocated=8).encoded()


@made(READ, each={"more than allocated": 17, "none": 0, "65535": 65535, "none stated": None, "too few": 10, "all": 16})
def bits_stored(film: Film, bits: int | None) -> bytes:
    return film.set(BitsStored=bits).encoded()


@made(READ, each={"of 15": 15, "of 0": 0, "of 65535": 65535, "missing": None, "of 13": 13})
def high_bit(film: Film, bit: int | None) -> bytes:
    return film.set(HighBit=bit).encoded()


@made(lambda value: NO_FILM if value == 1 else READ, each={"missing": None, "of 1": 1, "of 7": 7})
def pixel_representation(film: Film, value: int | None) -> bytes:
    return film.set(PixelRepresentation=value).encoded()


@made(REFUSED, each=[2, 3, 4])
def samples_per_pixel_in_a_gray_film(film: Film, samples: int) -> bytes:
    return film.set(SamplesPerPixel=samples).encoded()


@made(COLOR, each=[3, 4])
def samples_per_pixel_with_all_bytes(film: Film, samples: int) -> bytes:
    return film.set(SamplesPerPixel=samples, PixelData=stored_values().tobytes() * samples).encoded()


@made(READ, each={"none": 0, "missing": None})
def samples_per_pixel(film: Film, samples: int | None) -> bytes:
    return film.set(SamplesPerPixel=samples).encoded()


@made(READ, each={"of 1": 1, "of 7": 7})
def planar_configuration(film: Film, value: int) -> bytes:
    return film.set(PlanarConfiguration=value).encoded()


@made(COLOR, each=["RGB", "PALETTE COLOR", "YBR_FULL", "CMYK", "rgb"])
def photometric_interpretation_of_color(film: Film, words: str) -> bytes:
    return film.set(PhotometricInterpretation=words).encoded()


@made(FORMAT, each={"unknown": "MONOCHROME3", "empty": "", "missing": None, "two": "MONOCHROME1\\MONOCHROME2"})
def photometric_interpretation(film: Film, words: str | None) -> bytes:
    return film.set(PhotometricInterpretation=words).encoded()


@made(READ, each=["MONOCHROME2\0", "monochrome2", " MONOCHROME2  "])
def photometric_interpretation_written(film: Film, words: str) -> bytes:
    return film.set(PhotometricInterpretation=words).encoded()


@made(READ, each=["0", "-1", "1.0", "two", "", "-2147483648", "\\", "1\\5", "nan"])
def number_of_frames(film: Film, words: str) -> bytes:
    return film.set(NumberOfFrames=words).encoded()


@made(REFUSED, each=["2", "+2", "2147483647", "99999999999999999999"])
def number_of_frames_that_are_not_there(film: Film, words: str) -> bytes:
    return film.set(NumberOfFrames=words).encoded()


@made(MULTI_FRAME, each=["2", "2.0", "2\\1"])
def number_of_frames_that_are_there(film: Film, words: str) -> bytes:
    return film.set(NumberOfFrames=words, PixelData=stored_values().tobytes() * 2).encoded()


@made(MULTI_FRAME, each=["1e9", "3.5"])
def number_of_frames_that_is_no_integer(film: Film, words: str) -> bytes:
    return film.set(NumberOfFrames=words).encoded()


@made(BROKEN, each={"a row": 288, "half as much": 144 * 144, "a kilobyte": 1024})
def pixel_data_longer_by(film: Film, count: int) -> bytes:
    return film.set(PixelData=stored_values().tobytes() + bytes(count)).encoded()


@made(READ, each=[2, 100, 286])
def pixel_data_padded_by(film: Film, count: int) -> bytes:
    return film.set(PixelData=stored_values().tobytes() + bytes(count)).encoded()


@made(NO_PIXELS, each=["CR"])
def no_pixel_data_in_an_image(film: Film, _: str) -> bytes:
    return film.set(PixelData=None).encoded()


@made(NO_PIXELS)
def a_url_in_the_place_of_pixel_data(film: Film) -> bytes:
    return film.set(PixelData=None, PixelDataProviderURL="http://192.0.2.1/film").encoded()


@made(FORMAT, each={"float": (0x7FE00008, b"OF"), "double": (0x7FE00009, b"OD")})
def pixel_data_that_are(film: Film, given: tuple[int, bytes]) -> bytes:
    film.set(PixelData=None, BitsAllocated=32)
    return film.put(*given, bytes(4 * 144 * 144)).encoded()


@made(REFUSED, each={"float": (0x7FE00008, b"OF"), "double": (0x7FE00009, b"OD")})
def pixel_data_beside_those_that_are(film: Film, given: tuple[int, bytes]) -> bytes:
    return film.put(*given, bytes(64)).encoded()


@made(BROKEN, each={"zeros": b"\0\0", "ones": b"\xff\xff", "a gray": b"\x00\x04"})
def film_of_nothing_but(film: Film, word: bytes) -> bytes:
    return film.put(PIXEL_DATA, b"OW", word * 144 * 144).encoded()


@made(NO_FILM)
def film_of_noise(film: Film) -> bytes:
    import numpy as np

    noise = np.random.default_rng(1).integers(0, 4096, (144, 144), np.uint16)
    return film.put(PIXEL_DATA, b"OW", noise.tobytes()).encoded()
