"""The last look: a result that would break a viewer, or is another patient's, is not sent."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from highdicom.sr import ImageContentItem
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import CTImageStorage

from node import codes
from node.errors import ReportError
from node.report import Encoded, ResultObject, compose
from node.report.check import check
from node.report.identity import identity_of
from tests.films import dx_film, parsed
from tests.readings import OPTIONS, URGENT, lateral, source

IDENTITY = identity_of(parsed(dx_film()))


@pytest.fixture(scope="module")
def results() -> dict[str, ResultObject]:
    study = source((dx_film(), URGENT), lateral())
    viewer, air = (compose(study, OPTIONS, profile) for profile in ("viewer", "air"))
    return {"viewer": viewer[0], "picture": viewer[1], "air": air[0]}


def spoiled(result: ResultObject, change: Callable[[Dataset], None], preference: int = 0) -> ResultObject:
    encoded = result.encodings[preference]
    dataset = dcmread(BytesIO(encoded.data))
    change(dataset)
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=False)
    return ResultObject(result.kind, (replace(encoded, data=buffer.getvalue()),))


def impression(dataset: Dataset) -> Dataset:
    return dataset.ContentSequence[1].ContentSequence[0]


def number(dataset: Dataset) -> Dataset:
    return dataset.ContentSequence[2].ContentSequence[1].ContentSequence[0]


def film_reference(dataset: Dataset) -> Dataset:
    return dataset.ContentSequence[2].ContentSequence[0].ContentSequence[0].ReferencedSOPSequence[0]


def put_an_image_into_a_container(dataset: Dataset) -> None:
    film = film_reference(dataset).ReferencedSOPClassUID, dx_film().SOPInstanceUID
    item = ImageContentItem(codes.SOURCE, *film, relationship_type="CONTAINS")
    dataset.ContentSequence[1].ContentSequence.append(item)


def give_a_number_a_child(dataset: Dataset) -> None:
    number(dataset).ContentSequence = [impression(dataset)]


SPOILED: list[tuple[str, str, Callable[[Dataset], Any]]] = [
    ("viewer", "root|container is not SEPARATE", lambda d: setattr(d, "ContinuityOfContent", "CONTINUOUS")),
    (
        "viewer",
        "container is not SEPARATE",
        lambda d: setattr(d.ContentSequence[2], "ContinuityOfContent", "CONTINUOUS"),
    ),
    ("viewer", "container is empty", lambda d: setattr(d.ContentSequence[1], "ContentSequence", [])),
    ("viewer", "image stands directly in a container", put_an_image_into_a_container),
    ("viewer", "no name or no relation", lambda d: delattr(impression(d), "ConceptNameCodeSequence")),
    ("viewer", "no name or no relation", lambda d: delattr(impression(d), "RelationshipType")),
    ("viewer", "number has items below it", give_a_number_a_child),
    ("viewer", "text is empty", lambda d: setattr(impression(d), "TextValue", "")),
    ("viewer", "not in the evidence", lambda d: setattr(film_reference(d), "ReferencedSOPInstanceUID", "1.2.3")),
    (
        "viewer",
        "as an image that is none",
        lambda d: setattr(film_reference(d), "ReferencedSOPClassUID", d.SOPClassUID),
    ),
    ("viewer", "complete, unverified", lambda d: setattr(d, "VerificationFlag", "VERIFIED")),
    ("viewer", "PatientID differs", lambda d: setattr(d, "PatientID", "P-003")),
    ("viewer", "PatientName differs", lambda d: setattr(d, "PatientName", "??")),
    ("viewer", "AccessionNumber differs", lambda d: delattr(d, "AccessionNumber")),
    ("viewer", "StudyInstanceUID differs", lambda d: setattr(d, "StudyInstanceUID", "1.2.3")),
    ("viewer", "not the SOP instance it is announced as", lambda d: setattr(d, "SOPInstanceUID", "1.2.3")),
    ("viewer", "names another SOP instance", lambda d: setattr(d.file_meta, "MediaStorageSOPInstanceUID", "1.2.3")),
    ("viewer", "SeriesDescription is longer", lambda d: setattr(d, "SeriesDescription", "x" * 65)),
    ("viewer", "StationName is longer", lambda d: setattr(d, "StationName", "x" * 17)),
    ("air", "container is not SEPARATE", lambda d: setattr(d.ContentSequence[-1], "ContinuityOfContent", "CONTINUOUS")),
    ("picture", "taken for an original", lambda d: setattr(d, "BurnedInAnnotation", "NO")),
    ("picture", "taken for an original", lambda d: setattr(d, "ImageType", ["ORIGINAL", "PRIMARY"])),
    ("picture", "somebody could measure", lambda d: setattr(d, "PixelSpacing", [1, 1])),
    ("picture", "size that rows and columns say", lambda d: setattr(d, "Rows", d.Rows + 1)),
    (
        "picture",
        "not whole",
        lambda d: setattr(d, "PixelData", encapsulate([next(generate_frames(d.PixelData, number_of_frames=1))[:-40]])),
    ),
    ("picture", "PatientID differs", lambda d: setattr(d, "PatientID", "P-003")),
]


@pytest.mark.parametrize(("which", "rule", "change"), SPOILED, ids=[f"{which}: {rule}" for which, rule, _ in SPOILED])
def test_a_result_that_breaks_a_rule_is_not_sent(
    which: str, rule: str, change: Callable[[Dataset], None], results: dict[str, ResultObject]
) -> None:
    with pytest.raises(ReportError, match=rule):
        check(spoiled(results[which], change), IDENTITY, "air" if which == "air" else "viewer")


@pytest.mark.parametrize("which", ["viewer", "air", "picture"])
def test_a_result_as_it_was_composed_breaks_none(which: str, results: dict[str, ResultObject]) -> None:
    check(results[which], IDENTITY, "air" if which == "air" else "viewer")
    check(spoiled(results[which], lambda d: None), IDENTITY, "air" if which == "air" else "viewer")


def test_every_encoding_is_looked_through(results: dict[str, ResultObject]) -> None:
    bad = spoiled(results["viewer"], lambda d: setattr(d, "PatientID", "P-003"), preference=2).encodings[0]
    with pytest.raises(ReportError, match="PatientID"):
        check(ResultObject("triage_report", (*results["viewer"].encodings[:2], bad)), IDENTITY, "viewer")


def test_measurement_groups_without_a_region_do_not_reach_a_viewer(results: dict[str, ResultObject]) -> None:
    with pytest.raises(ReportError, match="no region"):
        check(results["air"], IDENTITY, "viewer")


def test_a_basic_text_report_with_numbers_is_not_sent(results: dict[str, ResultObject]) -> None:
    def call_it_basic(dataset: Dataset) -> None:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"

    encoded = spoiled(results["viewer"], call_it_basic).encodings[0]
    basic: Encoded = replace(encoded, sop_class_uid="1.2.840.10008.5.1.4.1.1.88.11")
    with pytest.raises(ReportError, match="may not have"):
        check(ResultObject("triage_report", (basic,)), IDENTITY, "viewer")


def test_a_wrong_transfer_syntax_is_not_announced(results: dict[str, ResultObject]) -> None:
    wrong = replace(results["picture"].encodings[0], transfer_syntax_uid="1.2.840.10008.1.2.1")
    with pytest.raises(ReportError, match="transfer syntax"):
        check(ResultObject("picture", (wrong,)), IDENTITY, "viewer")


def test_no_message_quotes_a_value(results: dict[str, ResultObject]) -> None:
    with pytest.raises(ReportError) as refused:
        check(spoiled(results["viewer"], lambda d: setattr(d, "PatientName", "Zyx^Wvu")), IDENTITY, "viewer")
    assert "Zyx" not in str(refused.value) and "Moyo" not in str(refused.value)


def test_an_image_of_another_kind_is_still_an_image(results: dict[str, ResultObject]) -> None:
    fine = spoiled(results["viewer"], lambda d: setattr(film_reference(d), "ReferencedSOPClassUID", CTImageStorage))
    check(fine, IDENTITY, "viewer")
