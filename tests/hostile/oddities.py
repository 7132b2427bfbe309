"""What real modalities and archives do against the Standard, or with retired parts of it. All of it is read."""

from tests.hostile.files import PIXEL_DATA, PRIVATE, READ, REFERENCED_IMAGES, UNDEFINED, Film, implicit_form, item, made
from tests.radiographs import element, implicit
from tests.walks import ITEM_DELIMITER, SEQUENCE_DELIMITER

IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
_END = implicit(SEQUENCE_DELIMITER, b"")


@made(READ)
def film_as_it_should_be(film: Film) -> bytes:
    return film.encoded()


@made(READ, each=[1, 2, 3, 7, 8, 10, 512])
def zeros_behind_the_data_set(film: Film, count: int) -> bytes:
    return film.behind(bytes(count))


@made(READ, syntax=IMPLICIT, each=[1, 2, 8, 100])
def zeros_behind_an_implicit_data_set(film: Film, count: int) -> bytes:
    return film.encoded(form=implicit_form) + bytes(count)


@made(READ, syntax=BIG_ENDIAN, each=[2, 9])
def zeros_behind_a_big_endian_data_set(film: Film, count: int) -> bytes:
    return film.recoded(BIG_ENDIAN) + bytes(count)


@made(READ, each={"right": 0, "wrong": 1000})
def group_lengths_that_are(film: Film, more: int) -> bytes:
    groups = sorted({tag >> 16 for tag in film.elements})
    parts = []
    for group in groups:
        content = film.part(group << 16, (group + 1) << 16)
        parts += [element(group << 16, b"UL", (len(content) + more).to_bytes(4, "little")), content]
    return b"".join(parts)


@made(READ)
def length_to_end(film: Film) -> bytes:
    return film.put(0x00080001, b"UL", b"\0\1\0\0").put(0x00080010, b"SH", b"ACR-NEMA 2.0").encoded()


@made(READ, each={"an attribute": 0x00104000, "the name": 0x00100010, "the last": 0x7FE10011})
def odd_length_of(film: Film, tag: int) -> bytes:
    return film.put(tag, b"LO", b"Doe^Jo!").encoded()


@made(READ)
def data_set_trailing_padding(film: Film) -> bytes:
    return film.behind(element(0xFFFCFFFC, b"OB", bytes(126)))


@made(READ)
def retired_attributes(film: Film) -> bytes:
    film.put(0x00080040, b"US", b"\0\0").put(0x00200070, b"LO", b"1 ").put(0x00280005, b"US", b"\2\0")
    return film.put(0x00280200, b"US", b"\0\0").put(0x40000010, b"LT", b"x ").put(0x00180040, b"IS", b"1 ").encoded()


@made(READ)
def curve_of_group_5000(film: Film) -> bytes:
    return film.put(0x50000005, b"US", b"\2\0").put(0x50003000, b"OW", b"\1\2\3\4").encoded()


@made(READ)
def overlay_of_its_own(film: Film) -> bytes:
    film.put(0x60000010, b"US", b"\x90\0").put(0x60000011, b"US", b"\x90\0").put(0x60000040, b"CS", b"G ")
    return film.put(0x60000100, b"US", b"\1\0").put(0x60003000, b"OW", bytes(144 * 144 // 8)).encoded()


@made(READ)
def digital_signature_behind_the_pixels(film: Film) -> bytes:
    return film.behind(element(0xFFFAFFFA, b"SQ", item(element(0x04000100, b"UI", b"1.2.3\0"))))


@made(READ)
def items_with_lengths_and_no_delimiters(film: Film) -> bytes:
    held = item(element(0x00081155, b"UI", b"1.2.3\0"))
    return film.around(REFERENCED_IMAGES, element(REFERENCED_IMAGES, b"SQ", held * 3))


@made(READ)
def items_with_lengths_in_a_sequence_without(film: Film) -> bytes:
    held = item(element(0x00081155, b"UI", b"1.2.3\0"))
    return film.around(REFERENCED_IMAGES, element(REFERENCED_IMAGES, b"SQ", held * 3 + _END, UNDEFINED))


@made(READ)
def items_without_lengths_in_a_sequence_with(film: Film) -> bytes:
    held = item(element(0x00081155, b"UI", b"1.2.3\0"), UNDEFINED) + implicit(ITEM_DELIMITER, b"")
    return film.around(REFERENCED_IMAGES, element(REFERENCED_IMAGES, b"SQ", held * 3))


@made(READ)
def private_sequence_of_vr_un_and_undefined_length(film: Film) -> bytes:
    inner = implicit(0x00291011, b"ABCD") + implicit(0x00291012, item(implicit(0x00080100, b"X ")) + _END, UNDEFINED)
    return film.around(PRIVATE, element(PRIVATE, b"UN", item(inner) + _END, UNDEFINED))


@made(READ)
def private_sequence_of_vr_un_with_a_length(film: Film) -> bytes:
    return film.put(PRIVATE, b"UN", item(implicit(0x00291011, b"ABCD"))).encoded()


@made(READ, each=["OB", "LO", "UN"])
def private_sequence_under_a_wrong_vr(film: Film, vr: str) -> bytes:
    return film.put(PRIVATE, vr.encode(), item(implicit(0x00291011, b"ABCD"))).encoded()


@made(READ)
def pixel_data_as_bytes(film: Film) -> bytes:
    return film.put(PIXEL_DATA, b"OB", film.elements[PIXEL_DATA][1]).encoded()


@made(READ)
def eight_bit_pixels_as_words(film: Film) -> bytes:
    return film.put(PIXEL_DATA, b"OW", film.eight_bit().tobytes()).encoded()


@made(READ)
def icon_in_the_header(film: Film) -> bytes:
    icon = (
        element(0x00280010, b"US", b"\2\0") + element(0x00280011, b"US", b"\2\0") + element(PIXEL_DATA, b"OB", bytes(4))
    )
    return film.around(0x00880200, element(0x00880200, b"SQ", item(icon)))


@made(READ)
def texts_padded_by_nulls(film: Film) -> bytes:
    return film.put(0x00080060, b"CS", b"CR\0\0").put(0x00280004, b"CS", b"MONOCHROME2\0\0\0").encoded()


@made(READ)
def empty_type_1_attributes(film: Film) -> bytes:
    return film.put(0x00200013, b"IS", b"").put(0x00080008, b"CS", b"").put(0x00180015, b"CS", b"").encoded()


@made(READ)
def window_of_many_with_explanations(film: Film) -> bytes:
    film.set(WindowCenter="2048\\1000\\3000", WindowWidth="4096\\500\\500")
    return film.put(0x00281055, b"LO", b"NORMAL\\HARDER\\SOFTER ").encoded()


@made(READ)
def decimal_strings_longer_than_sixteen(film: Film) -> bytes:
    return film.set(WindowCenter="2048.00000000000000001", WindowWidth="4096.0000000000000000").encoded()


@made(READ)
def integer_string_with_a_point(film: Film) -> bytes:
    return film.set(SeriesNumber="1.0", InstanceNumber=" 2.000").encoded()


@made(READ)
def modality_of_another_class(film: Film) -> bytes:
    return film.set(Modality="DX").encoded()
