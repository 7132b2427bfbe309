"""From a reading to the objects that are sent: which ones, in which order, and the same each time."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    JPEGBaseline8Bit,
    SecondaryCaptureImageStorage,
)

from node import codes
from node.errors import Reason, ReportError
from node.gate import is_own_object
from node.report import EXTRAS, ReportOptions, ResultObject, compose, rehearse
from node.report.picture import draw
from node.study import StudyReading
from tests.films import chest, dx_film, parsed
from tests.readings import (
    FLAGGED,
    LATERAL,
    MODEL,
    NORMAL,
    OPTIONS,
    TIMES,
    UNCERTAIN,
    URGENT,
    lateral,
    source,
    studies,
)

PRIORITY, NORMALITY, SUMMARY = (c.value for c in (codes.PRIORITY, codes.NORMALITY, codes.CAD_SUMMARY))


def opened(result: ResultObject, preference: int = 0) -> Dataset:
    return dcmread(BytesIO(result.encodings[preference].data))


def report_of(*study: tuple[Dataset, Any], profile: Any = "viewer", **options: Any) -> Dataset:
    options.setdefault("heat_map", "off")
    return opened(compose(source(*study), replace(OPTIONS, **options), profile)[0])


def tree(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", []):
        yield child
        yield from tree(child)


def name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def values(report: Dataset) -> dict[str, str]:
    """Code values of the coded answers, the study's first."""
    held: dict[str, str] = {}
    for item in tree(report):
        if item.ValueType == "CODE":
            held.setdefault(name(item), item.ConceptCodeSequence[0].get("CodeValue", ""))
    return held


def evidence(report: Dataset) -> set[str]:
    return {
        str(reference.ReferencedSOPInstanceUID)
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }


def test_the_report_goes_first_and_then_a_picture_of_each_image_that_was_read() -> None:
    results = compose(source((dx_film(), URGENT), lateral(), (dx_film(InstanceNumber=3), NORMAL)), OPTIONS, "viewer")
    assert [result.kind for result in results] == ["triage_report", "picture", "picture"]


def test_the_triage_report_is_offered_in_three_sop_classes_each_an_instance_of_its_own() -> None:
    report = compose(source((dx_film(), URGENT)), OPTIONS, "viewer")[0]
    offered = [encoded.sop_class_uid for encoded in report.encodings]
    assert offered == [ComprehensiveSRStorage, EnhancedSRStorage, BasicTextSRStorage]
    assert len({encoded.sop_instance_uid for encoded in report.encodings}) == 3
    assert len({opened(report, preference).SeriesInstanceUID for preference in range(3)}) == 3
    assert report.sop_instance_uid == report.encodings[0].sop_instance_uid


def test_ai_results_are_offered_in_three_sop_classes() -> None:
    report = compose(source((dx_film(), URGENT)), OPTIONS, "air")[0]
    assert report.kind == "ai_results"
    offered = [encoded.sop_class_uid for encoded in report.encodings]
    assert offered == [Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage]


@pytest.mark.parametrize(
    ("heat_map", "drawn"),
    [("all", ["map 1", "map 2", "map 3"]), ("flagged", ["map 1"]), ("off", [])],
)
def test_the_heat_map_option_says_which_images_get_a_picture(heat_map: Any, drawn: list[str]) -> None:
    said = [(dx_film(), URGENT), (dx_film(InstanceNumber=2), NORMAL), (dx_film(InstanceNumber=3), UNCERTAIN)]
    results = compose(source(*said), replace(OPTIONS, heat_map=heat_map), "viewer")
    assert [opened(result).SeriesDescription[-5:] for result in results[1:]] == drawn


def test_a_film_is_asked_for_only_where_it_gets_a_picture() -> None:
    asked: list[str] = []

    def plane(key: str) -> Any:
        asked.append(key)
        return chest(64, 56)

    compose(source((dx_film(), URGENT), lateral(), plane=plane), OPTIONS, "viewer")
    compose(source((dx_film(), URGENT), plane=plane), replace(OPTIONS, heat_map="off"), "viewer")
    assert asked == ["key1"]


def test_a_study_that_was_not_analysed_is_reported_unless_nobody_wants_that() -> None:
    assert [r.kind for r in compose(source(lateral()), OPTIONS, "viewer")] == ["triage_report"]
    assert compose(source(lateral()), replace(OPTIONS, not_analysed=False), "viewer") == []
    assert compose(source((dx_film(), NORMAL)), replace(OPTIONS, not_analysed=False), "viewer") != []


def test_a_study_of_this_node_s_own_results_gets_none() -> None:
    assert compose(source((dx_film(), (Reason.OWN_OBJECT, ""))), OPTIONS, "viewer") == []


def test_own_results_in_a_study_are_neither_counted_nor_named() -> None:
    own = dx_film(InstanceNumber=2)
    report = report_of((dx_film(), NORMAL), (own, (Reason.OWN_OBJECT, "")))
    assert "Based on 1 of 1 image." in report.ContentSequence[1].ContentSequence[0].TextValue
    assert own.SOPInstanceUID not in evidence(report)


@pytest.mark.parametrize("name", studies())
def test_the_gate_knows_every_result_as_this_node_s_own(name: str) -> None:
    for profile in ("viewer", "air"):
        for result in compose(source(*studies()[name]), OPTIONS, profile):
            assert all(is_own_object(opened(result, preference)) for preference in range(len(result.encodings)))


@pytest.mark.parametrize(
    ("study", "priority", "normality", "summary"),
    [
        ("urgent", codes.URGENT, codes.ABNORMAL, codes.WITH_FINDINGS),
        ("flagged", codes.ROUTINE, codes.ABNORMAL, codes.WITH_FINDINGS),
        ("pair", codes.ROUTINE, codes.ABNORMAL, codes.WITH_FINDINGS),
        ("normal", codes.ROUTINE, codes.NORMAL, codes.WITHOUT_FINDINGS),
        ("not flagged", codes.ROUTINE, codes.UNDETERMINED, codes.WITHOUT_FINDINGS),
        ("uncertain", None, codes.UNDETERMINED, codes.NONE_SUCCEEDED),
        ("not analysed", None, codes.UNDETERMINED, codes.NONE_SUCCEEDED),
        ("turned", codes.URGENT, codes.ABNORMAL, codes.WITH_FINDINGS),
        ("inverted", None, codes.UNDETERMINED, codes.NONE_SUCCEEDED),
        ("unlike", codes.ROUTINE, codes.UNDETERMINED, codes.WITHOUT_FINDINGS),
        ("no film", None, codes.UNDETERMINED, codes.NONE_SUCCEEDED),
    ],
)
@pytest.mark.parametrize("profile", ["viewer", "air"])
def test_the_answer_is_coded(study: str, profile: str, priority: Any, normality: Any, summary: Any) -> None:
    held = values(report_of(*studies()[study], profile=profile))
    assert held.get(PRIORITY) == (priority.value if priority else None)
    assert (held[NORMALITY], held[SUMMARY]) == (normality.value, summary.value)


def test_the_numbers_of_an_image_hang_below_its_normality_side_by_side() -> None:
    findings = report_of((dx_film(), URGENT)).ContentSequence[2]
    numbers = findings.ContentSequence[1].ContentSequence
    held = {name(item): float(item.MeasuredValueSequence[0].NumericValue) for item in numbers}
    assert held["PROBABILITY_TB"] == 93.0
    assert held["SPREAD_TB"] == 4.0
    assert held["CUTOFF_TB"] == 60.0
    assert held["PROBABILITY_NO"] == 2.1
    assert "CUTOFF_NO" not in held


def test_a_reason_not_read_is_coded_for_the_image_it_is_about() -> None:
    section = report_of((dx_film(), URGENT), lateral()).ContentSequence[3]
    reason = section.ContentSequence[1].ConceptCodeSequence[0]
    assert (reason.CodeValue, reason.CodingSchemeDesignator) == ("NOT_FRONTAL", "99CXRTRIAGE")
    image = section.ContentSequence[0].ContentSequence[0]
    assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == lateral()[0].SOPInstanceUID


def warnings_below(item: Dataset) -> list[tuple[str, str]]:
    """Code value and scheme of each warning directly below an item."""
    held = [c.ConceptCodeSequence[0] for c in item.ContentSequence if name(c) == codes.IMAGE_WARNING.value]
    return [(code.CodeValue, code.CodingSchemeDesignator) for code in held]


def test_a_warning_is_coded_in_the_section_of_the_image_it_is_about() -> None:
    report = report_of(*studies()["warned"])
    first, second = (item for item in report.ContentSequence if name(item) == codes.FINDINGS.value)
    assert warnings_below(first) == [(code.value, "99CXRTRIAGE") for code in codes.WARNINGS.values()]
    assert warnings_below(second) == [("LOOKS_COLLIMATED", "99CXRTRIAGE")]
    assert [item.ValueType for item in second.ContentSequence] == ["TEXT", "CODE", "CODE"]
    assert warnings_below(report_of((dx_film(), URGENT)).ContentSequence[2]) == []


def test_a_basic_text_report_says_a_warning_as_text() -> None:
    results = compose(source(*studies()["turned"]), replace(OPTIONS, heat_map="off"), "viewer")
    section = opened(results[0], 2).ContentSequence[2]
    said = [item.TextValue for item in section.ContentSequence if name(item) == codes.IMAGE_WARNING.value]
    assert said == ["Looks turned"]


@pytest.mark.parametrize("profile", ["viewer", "air"])
@pytest.mark.parametrize(("study", "numbers"), [("turned", 0), ("inverted", 0), ("unlike", 8), ("urgent", 8)])
def test_probabilities_that_do_not_hold_are_given_to_no_machine(study: str, numbers: int, profile: Any) -> None:
    report = report_of(*studies()[study], profile=profile)
    measured = {codes.CERTAINTY.value, codes.THRESHOLD.value}
    held = [item for item in tree(report) if item.ValueType == "NUM"]
    assert len([item for item in held if profile == "viewer" or name(item) in measured]) == numbers


def test_ai_results_warn_in_each_group_of_the_image_and_for_the_study() -> None:
    report = report_of(*studies()["warned"], profile="air")
    groups = [item for item in tree(report) if name(item) == "125007"]
    assert len(groups) == 6
    assert [len(warnings_below(group)) for group in groups] == [4, 4, 4, 1, 1, 1]
    assert [value for value, _ in warnings_below(report.ContentSequence[-1])] == list(codes.WARNINGS)


def test_many_images_are_told_by_reason_with_ten_references_and_all_are_evidence() -> None:
    report = report_of(*studies()["many slices"])
    sections = [item for item in report.ContentSequence if name(item) == codes.FINDINGS.value]
    assert len(sections) == 3  # the film, the slices, the document
    assert "38 of 39 images" in sections[1].ContentSequence[0].TextValue
    assert len(sections[1].ContentSequence[0].ContentSequence) == 10
    assert "Other objects: 1" in sections[2].ContentSequence[0].TextValue
    assert "ContentSequence" not in sections[2].ContentSequence[0]
    assert evidence(report) == {film.SOPInstanceUID for film, _ in studies()["many slices"]}


def test_evidence_names_the_images_and_the_pictures_under_their_own_study() -> None:
    results = compose(source((dx_film(), URGENT), lateral()), OPTIONS, "viewer")
    report = opened(results[0])
    assert evidence(report) == {dx_film().SOPInstanceUID, lateral()[0].SOPInstanceUID, results[1].sop_instance_uid}
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == report.StudyInstanceUID == dx_film().StudyInstanceUID
    assert [len(series.ReferencedSOPSequence) for series in study.ReferencedSeriesSequence] == [2, 1]


def test_ai_results_show_the_heat_map_of_the_class_it_explains() -> None:
    results = compose(source((dx_film(), URGENT)), OPTIONS, "air")
    shown = [item for item in tree(opened(results[0])) if name(item) == codes.GRAD_CAM.value]
    assert [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in shown] == [results[1].sop_instance_uid]


def test_ai_results_of_a_study_not_analysed_have_no_measurements() -> None:
    names = {name(item) for item in report_of(lateral(), profile="air").ContentSequence}
    assert codes.IMAGING_MEASUREMENTS.value not in names
    assert codes.QUALITATIVE_EVALUATIONS.value in names


def test_a_new_report_names_the_one_it_replaces() -> None:
    first = report_of((dx_film(), NORMAL))
    second = source((dx_film(), NORMAL), (dx_film(InstanceNumber=2), FLAGGED), previous=first)
    report = opened(compose(second, OPTIONS, "viewer")[0])
    (study,) = report.PredecessorDocumentsSequence
    named = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == first.SOPInstanceUID != report.SOPInstanceUID
    assert report.SeriesInstanceUID != first.SeriesInstanceUID
    assert "(image 2 arrived later)" in report.ContentSequence[1].ContentSequence[0].TextValue


@pytest.mark.parametrize("profile", ["viewer", "air"])
def test_the_same_reading_gives_the_same_bytes_whenever_it_is_composed(profile: Any) -> None:
    first = compose(source((dx_film(), URGENT), lateral()), OPTIONS, profile)
    time.sleep(1.1)  # the library stamps whole seconds
    assert compose(source((dx_film(), URGENT), lateral()), OPTIONS, profile) == first


def test_both_profiles_make_the_same_picture() -> None:
    viewer, air = (compose(source((dx_film(), URGENT)), OPTIONS, profile)[1] for profile in ("viewer", "air"))
    assert viewer == air


@pytest.mark.parametrize(
    "change",
    [
        {"language": "de"},
        {"config_digest": "another"},
        {"ae_title": "OTHER"},
        {"map_opacity": 0.4},
        {"device_uid": "1.2.3"},
    ],
)
def test_other_options_make_other_instances(change: dict[str, Any]) -> None:
    assert not uids(OPTIONS) & uids(replace(OPTIONS, **change))


def test_another_model_makes_other_instances() -> None:
    retrained = source((dx_film(), URGENT))
    reading = retrained.reading
    other = StudyReading(
        reading.study_key, reading.generation, reading.images, replace(MODEL, weights_sha256="f" * 64), TIMES
    )
    again = {r.sop_instance_uid for r in compose(replace(retrained, reading=other), OPTIONS, "viewer")}
    assert not uids(OPTIONS) & again


def test_a_late_image_makes_other_instances() -> None:
    later = compose(source((dx_film(), URGENT), (dx_film(InstanceNumber=2), NORMAL)), OPTIONS, "viewer")
    assert not uids(OPTIONS) & {result.sop_instance_uid for result in later}


def test_the_model_s_device_uid_changes_with_its_weights() -> None:
    report = report_of((dx_film(), URGENT))
    acquired, model = report.ContributingEquipmentSequence
    assert (acquired.Manufacturer, acquired.StationName) == ("ACME XR", "XR1")
    assert (model.ManufacturerModelName, model.SoftwareVersions) == (MODEL.name, MODEL.version)
    assert model.DeviceUID.startswith("2.25.")
    assert model.DeviceUID != report.AuthorObserverSequence[0].DeviceUID


def test_a_header_that_is_missing_is_refused() -> None:
    study = source((dx_film(), URGENT))
    with pytest.raises(ReportError, match="has no header"):
        compose(replace(study, headers={}), OPTIONS, "viewer")


def test_what_reports_share_within_a_process_shows_in_none_of_them() -> None:
    said = {name: source(*studies()[name]) for name in ("urgent", "normal", "not analysed", "many slices")}
    work = [(name, profile) for name in said for profile in ("viewer", "air")]
    alone = {each: compose(said[each[0]], OPTIONS, each[1]) for each in work}  # type: ignore[arg-type]
    with ThreadPoolExecutor(4) as threads:
        futures = [(each, threads.submit(compose, said[each[0]], OPTIONS, each[1])) for each in 3 * work]  # type: ignore[arg-type]
        assert all(future.result() == alone[each] for each, future in futures)


@pytest.mark.parametrize("heat_map", ["all", "flagged", "off"])
def test_a_rehearsal_goes_all_the_way_that_a_real_study_goes(heat_map: Any) -> None:
    rehearsed = rehearse(replace(OPTIONS, heat_map=heat_map), ("viewer", "air"))
    pictures = [] if heat_map == "off" else ["picture"]
    assert [result.kind for result in rehearsed] == ["triage_report", *pictures, "ai_results", *pictures]
    assert not any(opened(result).PatientID for result in rehearsed)


def test_the_picture_is_a_derived_secondary_capture_of_its_film() -> None:
    picture = opened(compose(source((dx_film(), URGENT)), OPTIONS, "viewer")[1])
    assert picture.SOPClassUID == SecondaryCaptureImageStorage
    assert list(picture.ImageType) == ["DERIVED", "SECONDARY"]
    assert (picture.Modality, picture.ConversionType, picture.BurnedInAnnotation) == ("OT", "WSD", "YES")
    assert (picture.ContentQualification, picture.RecognizableVisualFeatures) == ("RESEARCH", "NO")
    assert picture.SourceImageSequence[0].ReferencedSOPInstanceUID == dx_film().SOPInstanceUID
    assert picture.DerivationCodeSequence[0].CodeValue == "130403"
    assert (picture.SeriesDescription, picture.SeriesNumber) == ("AI TB 93% map 1", 903)
    assert (picture.BodyPartExamined, list(picture.PatientOrientation)) == ("CHEST", ["L", "F"])
    assert picture.StudyDescription == "XR CHEST"
    assert not {"PixelSpacing", "ImagerPixelSpacing", "FrameOfReferenceUID"} & {element.keyword for element in picture}
    assert picture.pixel_array.shape == (picture.Rows, picture.Columns, 3)


def test_the_picture_is_a_jpeg_stream_that_says_so_and_unpacks_to_what_was_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr("node.report.capture.draw", lambda *given: drawn.append(draw(*given)) or drawn[0])
    (encoded,) = compose(source((dx_film(), URGENT)), OPTIONS, "viewer")[1].encodings
    picture = dcmread(BytesIO(encoded.data))
    assert encoded.transfer_syntax_uid == picture.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert (picture.PhotometricInterpretation, picture.LossyImageCompression) == ("YBR_FULL_422", "01")
    assert picture.LossyImageCompressionMethod == "ISO_10918_1"
    assert len(encoded.data) < picture.Rows * picture.Columns * 3 / 5
    picture.decompress(generate_instance_uid=False)
    assert (picture.PhotometricInterpretation, picture.LossyImageCompression) == ("RGB", "01")
    assert np.abs(picture.pixel_array.astype(int) - drawn[0]).mean() < 1.5


def test_the_kept_time_is_when_the_reading_started_on_the_node_s_clock_in_the_picture_too() -> None:
    report, picture = (opened(result) for result in compose(source((dx_film(), URGENT)), OPTIONS, "viewer"))
    started = TIMES.started.astimezone()
    assert report.ContentTime == picture.ContentTime == picture.TimeOfSecondaryCapture == f"{started:%H%M%S}"
    assert report.SeriesDate == report.InstanceCreationDate == f"{started:%Y%m%d}"


def test_a_header_says_lateral_where_the_gate_says_not_frontal() -> None:
    film = parsed(dx_film(ViewPosition=..., ViewCodeSequence=...))
    text = report_of((film, LATERAL)).ContentSequence[1].ContentSequence[0].TextValue
    assert "Reason: lateral view" in text


def uids(options: ReportOptions) -> set[str]:
    results = compose(source((dx_film(), URGENT)), options, "viewer")
    return {encoded.sop_instance_uid for result in results for encoded in result.encodings}


def written_by_the_library(dataset: Dataset) -> bytes:
    for _ in dataset.iterall():  # each value is taken out of its bytes
        pass
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return buffer.getvalue()


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("profile", ["viewer", "air"])
def test_a_result_is_what_the_library_makes_of_it(profile: Any, language: str) -> None:
    said, options = source((dx_film(), URGENT), lateral()), replace(OPTIONS, language=language, extra=EXTRAS)
    for result in compose(said, options, profile):
        for encoded in result.encodings:
            dataset = dcmread(BytesIO(encoded.data))
            assert encoded.data.endswith(written_by_the_library(dataset))
