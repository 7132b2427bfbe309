"""Elements where they do not belong: other groups, other orders, twice."""

from tests.hostile.files import (
    CR,
    MISMATCH,
    PIXEL_DATA,
    PRIVATE,
    READ,
    REFUSED,
    Film,
    made,
    uid_of,
)
from tests.radiographs import element, implicit


@made(REFUSED, each={"syntax": 0x00020010, "instance": 0x00020003, "length": 0x00020000})
def file_meta_in_the_data_set(film: Film, tag: int) -> bytes:
    return element(tag, b"UI", b"1.2.840.10008.1.2.1\0") + film.encoded()


@made(REFUSED)
def whole_file_with_preamble_as_data_set(film: Film) -> bytes:
    meta = element(0x00020000, b"UL", bytes(4)) + element(0x00020010, b"UI", b"1.2.840.10008.1.2.1\0")
    return bytes(128) + b"DICM" + meta + film.encoded()


@made(REFUSED)
def preamble_without_prefix(film: Film) -> bytes:
    return bytes(128) + film.encoded()


@made(REFUSED, each={"affected class": 0x00000002, "command field": 0x00000100, "status": 0x00000900})
def command_element(film: Film, tag: int) -> bytes:
    return element(tag, b"UI", b"1.2\0") + film.encoded()


@made(REFUSED, each=[0x00040010, 0x00060010, 0x00010010, 0x00030010])
def group_below_8(film: Film, tag: int) -> bytes:
    return element(tag, b"LO", b"ABCD") + film.encoded()


@made(REFUSED)
def command_element_behind_the_pixel_data(film: Film) -> bytes:
    return film.behind(element(0x00000100, b"US", b"\1\0"))


@made(
    REFUSED, each={"FFFE,E000": 0xFFFEE000, "FFFE,E00D": 0xFFFEE00D, "FFFE,E0DD": 0xFFFEE0DD, "FFFE,0010": 0xFFFE0010}
)
def group_of_delimiters(film: Film, tag: int) -> bytes:
    return film.around(PRIVATE, implicit(tag, b""))


@made(READ)
def group_ffff(film: Film) -> bytes:
    return film.behind(element(0xFFFFFFFF, b"LO", b"ABCD"))


@made(READ)
def patient_group_before_the_identifying_group(film: Film) -> bytes:
    return film.part(0x00100000, 0x00180000) + film.part(end=0x00100000) + film.part(0x00180000)


@made(READ)
def header_in_reverse_order(film: Film) -> bytes:
    tags = sorted((tag for tag in film.elements if tag != PIXEL_DATA), reverse=True)
    return b"".join(film.part(tag, tag + 1) for tag in tags) + film.part(first=PIXEL_DATA)


@made(REFUSED, each={"the patient": 0x00100000, "study and series": 0x00200000, "the image": 0x00280000})
def pixel_data_before(film: Film, tag: int) -> bytes:
    return film.part(end=tag) + film.part(first=PIXEL_DATA) + film.part(first=tag, end=PIXEL_DATA)


@made(REFUSED)
def pixel_data_first(film: Film) -> bytes:
    return film.part(first=PIXEL_DATA) + film.header()


@made(REFUSED)
def another_study_behind_the_pixel_data(film: Film) -> bytes:
    return film.behind(element(0x0020000D, b"UI", uid_of("another study").encode()))


@made(REFUSED)
def another_patient_behind_the_pixel_data(film: Film) -> bytes:
    return film.behind(element(0x00100020, b"LO", b"P-2 "))


@made(
    REFUSED,
    each={
        "class": (0x00080016, CR.encode()),
        "study": (0x0020000D, b"1.2.3.4\0"),
        "series": (0x0020000E, b"1.2.3.4\0"),
        "instance": (0x00080018, b"1.2.3.4\0"),
        "patient": (0x00100020, b"P-2 "),
        "rows": (0x00280010, b"\x10\0"),
        "bits": (0x00280100, b"\x08\0"),
    },
)
def stated_twice_and_differently(film: Film, given: tuple[int, bytes]) -> bytes:
    tag, value = given
    vr = film.elements[tag][0]
    other = element(tag, vr, value + b"\0" * (len(value) % 2) if tag != 0x00080016 else b"1.2.840.10008.5.1.4.1.1.2\0")
    return film.part(end=tag) + other + film.part(first=tag)


@made(REFUSED)
def pixel_data_twice(film: Film) -> bytes:
    return film.behind(film.part(first=PIXEL_DATA))


@made(READ, each={"study": 0x0020000D, "patient": 0x00100020})
def stated_twice_and_alike(film: Film, tag: int) -> bytes:
    return film.part(end=tag + 1) + film.part(first=tag)


@made(READ)
def description_twice(film: Film) -> bytes:
    return film.part(end=0x00081030) + element(0x00081030, b"LO", b"CHEST1") + film.part(first=0x00081030)


@made(READ)
def private_elements_without_their_creator(film: Film) -> bytes:
    return film.put(0x00291010, b"LO", b"ABCD").put(0x00311055, b"UN", b"\1\2\3\4").encoded()


@made(READ)
def private_creator_that_is_empty(film: Film) -> bytes:
    return film.put(0x00290010, b"LO", b"").put(0x00291010, b"LO", b"ABCD").encoded()


@made(READ)
def private_creator_in_its_own_block_twice(film: Film) -> bytes:
    return film.put(0x00290010, b"LO", b"ACME").put(0x00290011, b"LO", b"ACME").encoded()


@made(READ)
def private_elements_with_odd_numbers(film: Film) -> bytes:
    return film.put(0x00090001, b"LO", b"ABCD").put(0x000900FF, b"UN", b"").encoded()


@made(MISMATCH)
def identifiers_in_a_private_group_alone(film: Film) -> bytes:
    value = film.elements[0x0020000D][1]
    return film.set(StudyInstanceUID=None).put(0x00211010, b"UI", value).encoded()
