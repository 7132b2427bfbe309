"""Texts, numbers and dates that are none, too long, or meant for whoever prints them."""

from node.errors import Reason
from tests.hostile.files import PRIVATE, READ, Film, implicit_form, made, not_read
from tests.radiographs import element

IMPLICIT = "1.2.840.10008.1.2"
_ESCAPES = b"\x1b$B\x1b(J\x1b\x1b$)C\x1b-"
_TEXTS = {
    "a script": b"<script>alert(document.cookie)</script>^<img src=x onerror=alert(1)>",
    "terminal escapes": b"\x1b[2J\x1b[31mDoe\x1b]0;title\x07^Jo",
    "escapes of code extensions": b"Doe" + _ESCAPES + b"^Jo",
    "line ends": b'Doe\r\n{"event":"study.read"}\r\n^Jo',
    "nulls": b"Doe\0^J\0o\0",
    "nothing": b"",
    "spaces": b"     ",
    "carets": b"^^^^^^^^^^",
    "many groups": b"Doe^Jo=Doe^Jo=Doe^Jo=Doe^Jo",
    "backslashes": b"Doe\\Jo\\Roe\\",
    "bytes of no character set": bytes(range(128, 160)) + b"^Jo",
    "template marks": b"{{7*7}}${7*7}%n%s",
    "sixty thousand letters": b"D" * 60_000,
    "every byte": bytes(range(256)),
    "utf-8 under latin": "Dœ^Jø 胸".encode(),
    "broken utf-8": b"\xc3(\xe2\x28\xa1^\xff\xfe",
    "a path": b"../../../etc/passwd",
    "direction marks": "\u202eoJ^eoD\u202c".encode(),
}


@made(READ, each=_TEXTS, alone=True)
def patient_name_of(film: Film, value: bytes) -> bytes:
    return film.put(0x00100010, b"PN", value).encoded()


@made(READ, each=_TEXTS, alone=True)
def patient_id_of(film: Film, value: bytes) -> bytes:
    return film.put(0x00100020, b"LO", value).encoded()


@made(READ, each=["a script", "terminal escapes", "every byte", "sixty thousand letters", "line ends"], alone=True)
def study_description_of(film: Film, name: str) -> bytes:
    return film.put(0x00081030, b"LO", b"XR CHEST " + _TEXTS[name]).encoded()


@made(READ, each=["a script", "terminal escapes", "every byte", "nulls", "sixty thousand letters"], alone=True)
def accession_number_of(film: Film, name: str) -> bytes:
    return film.put(0x00080050, b"SH", _TEXTS[name]).encoded()


@made(not_read(Reason.NOT_CHEST), each=["a script", "terminal escapes", "sixty thousand letters"])
def body_part_of(film: Film, name: str) -> bytes:
    film.set(StudyDescription="XR")
    return film.put(0x00180015, b"CS", _TEXTS[name]).encoded()


@made(
    READ,
    each=[
        *("", "ISO_IR 6", "ISO_IR 192", "GB18030", "ISO 2022 IR 87", "\\ISO 2022 IR 87", "ISO_IR 999", "NONSENSE"),
        *("ISO_IR 100\\ISO_IR 192", "\\\\\\", "utf-8", "ISO 2022 IR 6\\" * 100, "../../etc", "<b>"),
    ],
    alone=True,
)
def character_set(film: Film, words: str) -> bytes:
    return film.set(SpecificCharacterSet=words, PatientName=b"M\xfcller^J\xf6").encoded()


@made(READ, alone=True)
def character_set_that_the_name_contradicts(film: Film) -> bytes:
    return film.set(SpecificCharacterSet="ISO_IR 192", PatientName=b"\xff\xfe\x80^\xc3").encoded()


@made(READ, alone=True)
def no_character_set_and_a_name_of_high_bytes(film: Film) -> bytes:
    return film.set(SpecificCharacterSet=None, PatientName=b"M\xfcller^J\xf6").encoded()


_DATES = [
    "20269999",
    "00000000",
    "19000101",
    "99991231",
    "2026-11-22",
    "22/11/2026",
    "tomorrow",
    "",
    "20260230",
    "1" * 60,
]


@made(READ, each=_DATES, alone=True)
def birth_date(film: Film, words: str) -> bytes:
    return film.set(PatientBirthDate=words).encoded()


@made(READ, each=_DATES, alone=True)
def study_date(film: Film, words: str) -> bytes:
    return film.set(StudyDate=words).encoded()


@made(READ, each=["996099", "24:00", "noon", "", "1015.999999999", "101500.1234567", "-1"], alone=True)
def study_time(film: Film, words: str) -> bytes:
    return film.set(StudyTime=words).encoded()


@made(READ, each=["+9999", "UTC", "-0000", "", "+0160"], alone=True)
def timezone(film: Film, words: str) -> bytes:
    return film.set(TimezoneOffsetFromUTC=words).encoded()


@made(READ, each=["999Y", "-01Y", "old", "", "037", "000D", "37Y"])
def patient_age(film: Film, words: str) -> bytes:
    return film.set(PatientAge=words).encoded()


@made(READ, each=["99999999999999999999", "-1", "1.5", "one", "", "0x10", "1e5", "1\\2\\3", "NaN"])
def series_number(film: Film, words: str) -> bytes:
    return film.set(SeriesNumber=words, InstanceNumber=words).encoded()


@made(READ, each=["1e400", "NaN", "-inf", "heavy", "1,5", "0" * 200])
def patient_weight(film: Film, words: str) -> bytes:
    return film.set(PatientWeight=words, PatientSize=words).encoded()


@made(READ, each=["X", "male", "", "M\\F", "\x1b"])
def patient_sex(film: Film, words: str) -> bytes:
    return film.set(PatientSex=words).encoded()


@made(READ, each=["CR\\DX", "", "cr", "<b>", "X" * 60])
def modality(film: Film, words: str) -> bytes:
    return film.set(Modality=words).encoded()


@made(not_read(Reason.NOT_FRONTAL), each=["LL", "LATERAL", "rl", "LL\\PA"])
def view_position_from_the_side(film: Film, words: str) -> bytes:
    return film.set(ViewPosition=words).encoded()


@made(READ, each=["", "??", "PA\\AP", "pa", "\x1b[0m"])
def view_position(film: Film, words: str) -> bytes:
    return film.set(ViewPosition=words).encoded()


@made(READ)
def description_of_ten_megabytes(film: Film) -> bytes:
    value = b"X" * (10 << 20)
    return film.put(PRIVATE, b"UT", value).encoded()


@made(READ, syntax=IMPLICIT, each={"comment": 0x00104000, "institution": 0x00080080, "private": 0x00291010})
def text_of_ten_megabytes_as(film: Film, tag: int) -> bytes:
    return film.put(tag, b"LO", b"X" * (10 << 20)).encoded(form=implicit_form)


@made(READ, syntax=IMPLICIT, alone=True)
def patient_id_of_a_hundred_kilobytes(film: Film) -> bytes:
    return film.put(0x00100020, b"LO", b"P" * 100_000).encoded(form=implicit_form)


@made(READ, alone=True)
def other_patient_ids_of_thirty_thousand_values(film: Film) -> bytes:
    return film.put(0x00101000, b"LO", b"P\\" * 30_000 + b"PP").encoded()


@made(READ, syntax=IMPLICIT)
def window_of_a_hundred_thousand_values(film: Film) -> bytes:
    return film.put(0x00281050, b"DS", b"2048\\" * 100_000 + b"20").encoded(form=implicit_form)


@made(READ)
def ten_thousand_private_texts(film: Film) -> bytes:
    return film.around(PRIVATE, b"".join(element(PRIVATE + i, b"LO", b"ABCD") for i in range(10_000)))
