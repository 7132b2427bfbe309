"""Identifiers that are none, or not those that the sender announced."""

from node.errors import Reason
from tests.hostile.files import ANOTHER_CLASS, CR, KEPT, MISMATCH, READ, Film, made, not_read

DX, CT = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.2"
COMPREHENSIVE_SR, PDF = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.104.1"
_NONE = {
    "empty": "",
    "65 digits": "1." + "2" * 63,
    "200 digits": "1" * 200,
    "letters": "1.2.abc",
    "a path": "../../../../tmp/evil",
    "an absolute path": "/etc/passwd",
    "two of them": "1.2.3\\1.2.4",
    "a space within": "1.2 .3",
    "a null within": "1.2\0.3",
    "a line feed": "1.2\n.3",
    "a name": "Doe^Jo",
    "a percent": "%s%n%x",
    "a query": "1' OR '1'='1",
    "markup": "<b>1</b>",
    "high letters": "1.2.\xe9",
    "a minus": "-1.2",
    "spaces alone": "   ",
    "a comma": "1,2",
    "full width": "\xa01.2",
}
_KEYWORDS = {"study": "StudyInstanceUID", "series": "SeriesInstanceUID"}


@made(MISMATCH, each=_NONE)
def study_uid_that_is(film: Film, value: str) -> bytes:
    return film.set(StudyInstanceUID=value).encoded()


@made(MISMATCH, each=_NONE)
def series_uid_that_is(film: Film, value: str) -> bytes:
    return film.set(SeriesInstanceUID=value).encoded()


@made(MISMATCH, each=_NONE)
def instance_uid_that_is(film: Film, value: str) -> bytes:
    return film.set(SOPInstanceUID=value).encoded()


@made(MISMATCH, each=["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def no_element_of(film: Film, keyword: str) -> bytes:
    return film.set(**{keyword: None}).encoded()


@made(
    READ,
    each={"a null": "\0", "a space": " ", "many nulls": "\0" * 10, "many spaces": " " * 10, "both": " \0"},
    alone=True,
)
def study_uid_padded_by(film: Film, padding: str) -> bytes:
    return film.set(StudyInstanceUID=film.study_uid + padding).encoded()


@made(READ, each={"a null": "\0", "a space": " ", "two nulls": "\0\0"})
def instance_uid_padded_by(film: Film, padding: str) -> bytes:
    return film.set(SOPInstanceUID=film.uid + padding).encoded()


@made(
    READ,
    each={"leading zeros": "1.02.0003", "no dot": "12345", "dots alone": "1..2", "a dot at the end": "1.2."},
    alone=True,
)
def series_uid_against_the_rules_with(film: Film, value: str) -> bytes:
    return film.set(SeriesInstanceUID=value).encoded()


@made(READ, alone=True)
def study_uid_of_64_digits(film: Film) -> bytes:
    return film.set(StudyInstanceUID=(film.study_uid + "." + "7" * 64)[:64]).encoded()


@made(READ, alone=True)
def study_series_and_instance_uid_that_are_one(film: Film) -> bytes:
    return film.set(StudyInstanceUID=film.uid, SeriesInstanceUID=film.uid).encoded()


@made(MISMATCH, announced="1.2.3.4")
def instance_other_than_announced(film: Film) -> bytes:
    return film.encoded()


@made(MISMATCH)
def instance_uid_with_a_digit_more_than_announced(film: Film) -> bytes:
    return film.set(SOPInstanceUID=film.uid + "0").encoded()


@made(MISMATCH, each={"CT": CT, "DX": DX, "SR": COMPREHENSIVE_SR, "no class": "1.2.3"})
def class_other_than_announced(film: Film, uid: str) -> bytes:
    return film.set(SOPClassUID=uid).encoded()


@made(READ, sop_class=DX)
def film_of_class_dx(film: Film) -> bytes:
    return film.set(SOPClassUID=DX, Modality="DX", PresentationIntentType="FOR PRESENTATION").encoded()


@made(not_read(Reason.WRONG_MODALITY), sop_class=CT)
def film_announced_and_written_as_a_ct(film: Film) -> bytes:
    return film.set(SOPClassUID=CT, Modality="CT").encoded()


@made(not_read(Reason.NOT_AN_IMAGE), sop_class=COMPREHENSIVE_SR, alone=True)
def film_announced_and_written_as_a_report(film: Film) -> bytes:
    return film.set(SOPClassUID=COMPREHENSIVE_SR, Modality="SR").encoded()


@made(not_read(Reason.NOT_AN_IMAGE), sop_class=PDF, alone=True)
def document_of_class_pdf_that_is_a_program(film: Film) -> bytes:
    film.set(SOPClassUID=PDF, Modality="DOC", PixelData=None, MIMETypeOfEncapsulatedDocument="application/x-sh")
    return film.put(0x00420011, b"OB", b"#!/bin/sh\nrm -rf /\n\0").encoded()


@made(KEPT)
def film_that_says_this_node_has_made_it(film: Film) -> bytes:
    from node.product import MANUFACTURER, MODEL_NAME

    return film.set(Manufacturer=MANUFACTURER, ManufacturerModelName=MODEL_NAME).encoded()


@made(ANOTHER_CLASS, sop_class=CT, each=[CR])
def film_on_the_context_of_a_ct(film: Film, uid: str) -> bytes:
    return film.set(SOPClassUID=uid).encoded()
