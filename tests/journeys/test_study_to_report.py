"""A study in, a result in the PACS: the node's main job with a real Orthanc, real DCMTK tools and the real model."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    SecondaryCaptureImageStorage,
)

from node.durable import key_of
from tests.journeys.films import SAMPLES, as_new_study, file_of
from tests.peers import HOST, Instance, Orthanc, require_peer, storescu
from tests.running import AE_TITLE, RunningNode, study_uid, values
from tests.syntaxes import SYNTAXES, in_transfer_syntax
from tests.validators import dciodvfy_errors, dsr2html

pytestmark = [pytest.mark.peers, pytest.mark.slow]

DX, CR = "01-normal-adult", "02-normal-child"
SR_AND_SC = {ComprehensiveSRStorage, SecondaryCaptureImageStorage}


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    require_peer("orthanc")
    with Orthanc(tmp_path_factory.mktemp("pacs")) as orthanc:
        yield orthanc


@pytest.fixture(scope="module")
def node(pacs: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    to_pacs = {"name": "pacs", "ae_title": pacs.ae_title, "host": HOST, "port": pacs.port}
    with RunningNode(tmp_path_factory.mktemp("node"), [to_pacs]) as running:
        pacs.add_modality("node", AE_TITLE, HOST, running.port)
        running.wait_until_working()
        yield running


def results(pacs: Orthanc, uid: str) -> list[Instance]:
    """What the PACS holds of a study beside the films."""
    return [instance for instance in pacs.instances(uid) if instance.sop_class_uid in SR_AND_SC]


def download(pacs: Orthanc, instance: Instance) -> Dataset:
    return dcmread(io.BytesIO(pacs.download(instance.id)))


def report_of(pacs: Orthanc, uid: str) -> Dataset:
    (report,) = [each for each in results(pacs, uid) if each.sop_class_uid == ComprehensiveSRStorage]
    return download(pacs, report)


@pytest.mark.parametrize("name", SYNTAXES)
@pytest.mark.parametrize("sample", [DX, CR], ids=["DX", "CR"])
def test_a_film_in_any_transfer_syntax_gets_a_report_and_a_picture_in_its_own_study(
    pacs: Orthanc, node: RunningNode, tmp_path: Path, sample: str, name: str
) -> None:
    film = as_new_study(sample)
    path = in_transfer_syntax(film, name, tmp_path)
    sent = storescu(node.port, [path], options=SYNTAXES[name].storescu_options)
    assert sent.returncode == 0, sent.stdout
    node.wait_until_delivered(film.StudyInstanceUID)
    assert {each.sop_class_uid for each in results(pacs, film.StudyInstanceUID)} == SR_AND_SC
    report = report_of(pacs, film.StudyInstanceUID)
    assert (report.PatientID, report.PatientName) == (film.PatientID, film.PatientName)
    assert "NOT ANALYSED" not in report.SeriesDescription


def test_one_film_gets_the_same_probabilities_in_every_lossless_transfer_syntax(
    pacs: Orthanc, node: RunningNode, tmp_path: Path
) -> None:
    found = {}
    for name in [name for name, syntax in SYNTAXES.items() if syntax.is_lossless]:
        film = as_new_study(DX)
        path = in_transfer_syntax(film, name, tmp_path)
        assert storescu(node.port, [path], options=SYNTAXES[name].storescu_options).returncode == 0
        node.wait_until_delivered(film.StudyInstanceUID)
        found[name] = values(report_of(pacs, film.StudyInstanceUID))
    assert len(found) >= 6
    assert all(numbers == found["explicit"] for numbers in found.values()), found


@pytest.mark.parametrize("name", SYNTAXES)
def test_orthanc_sends_a_monochrome1_film_in_any_transfer_syntax_and_finds_the_results(
    pacs: Orthanc, node: RunningNode, tmp_path: Path, name: str
) -> None:
    film = as_new_study("04-pneumonia-child")
    assert film.PhotometricInterpretation == "MONOCHROME1"
    path = in_transfer_syntax(film, name, tmp_path)
    pacs.store_to("node", [pacs.upload(path.read_bytes())])
    node.wait_until_delivered(film.StudyInstanceUID)
    assert {each.sop_class_uid for each in results(pacs, film.StudyInstanceUID)} == SR_AND_SC
    assert "NOT ANALYSED" not in report_of(pacs, film.StudyInstanceUID).SeriesDescription


def test_orthanc_sends_a_study_and_finds_the_results_in_it(pacs: Orthanc, node: RunningNode, tmp_path: Path) -> None:
    first = as_new_study(DX)
    films = [first, as_new_study(DX, StudyInstanceUID=first.StudyInstanceUID, InstanceNumber=2)]
    ids = [pacs.upload(file_of(film, tmp_path).read_bytes()) for film in films]
    pacs.store_to("node", ids)
    uid = films[0].StudyInstanceUID
    node.wait_until_delivered(uid)
    held = results(pacs, uid)
    assert sorted(each.modality for each in held) == ["OT"] * len(films) + ["SR"]
    assert "Based on 2 of 2 images" in impression(report_of(pacs, uid))


def test_every_object_is_valid_and_shows_each_probability_beside_its_name(
    pacs: Orthanc, node: RunningNode, tmp_path: Path
) -> None:
    for name, sample in SAMPLES.items():
        uid = study_uid(sample.files[0])
        assert storescu(node.port, list(sample.files), options=["-xs"]).returncode == 0, name
        node.wait_until_delivered(uid)
        for instance in results(pacs, uid):
            path = tmp_path / f"{instance.id}.dcm"
            path.write_bytes(pacs.download(instance.id))
            assert dciodvfy_errors(path) == [], name
            if instance.modality == "SR":
                page = dsr2html(path)
                for label, number in values(dcmread(path)).items():
                    assert f"{label}" in page
                    assert f"{number:g}" in page
    assert "NOT ANALYSED" in report_of(pacs, study_uid(SAMPLES["07-step-wedge"].files[0])).SeriesDescription


def test_the_results_coming_back_with_the_whole_study_make_no_new_report(
    pacs: Orthanc, node: RunningNode, tmp_path: Path
) -> None:
    film = as_new_study(DX)
    uid = film.StudyInstanceUID
    pacs.store_to("node", [pacs.upload(file_of(film, tmp_path).read_bytes())])
    node.wait_until_delivered(uid)
    before = results(pacs, uid)
    pacs.store_to("node", [each.id for each in pacs.instances(uid)])
    other = as_new_study(CR)
    pacs.store_to("node", [pacs.upload(file_of(other, tmp_path).read_bytes())])
    node.wait_until_delivered(other.StudyInstanceUID)  # the node has gone on to later work
    assert results(pacs, uid) == before
    assert len(node.spool.generations(key_of(uid))) == 1


def test_a_late_image_makes_a_new_report_that_names_the_old_one(
    pacs: Orthanc, node: RunningNode, tmp_path: Path
) -> None:
    first = as_new_study(DX)
    late = as_new_study(DX, StudyInstanceUID=first.StudyInstanceUID, InstanceNumber=2)
    uid = first.StudyInstanceUID
    assert storescu(node.port, [file_of(first, tmp_path)]).returncode == 0
    node.wait_until_delivered(uid)
    old = report_of(pacs, uid)
    assert storescu(node.port, [file_of(late, tmp_path)]).returncode == 0
    node.wait_until_delivered(uid, generations=2)
    reports = [download(pacs, each) for each in results(pacs, uid) if each.modality == "SR"]
    (new,) = [report for report in reports if report.SOPInstanceUID != old.SOPInstanceUID]
    named = new.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == old.SOPInstanceUID
    assert new.SeriesInstanceUID != old.SeriesInstanceUID
    assert "Replaces the report" in impression(new)


def test_the_picture_of_a_flagged_film_is_coloured_and_research_only(pacs: Orthanc, node: RunningNode) -> None:
    uid = study_uid(SAMPLES["05-tuberculosis-adult"].files[0])
    assert storescu(node.port, list(SAMPLES["05-tuberculosis-adult"].files), options=["-xs"]).returncode == 0
    node.wait_until_delivered(uid)
    (picture,) = [download(pacs, each) for each in results(pacs, uid) if each.modality == "OT"]
    pixels = picture.pixel_array.astype(int)
    assert np.ptp(pixels, axis=2).max() > 100, "the banner at least has a color"
    assert picture.ContentQualification == "RESEARCH"
    assert picture.BurnedInAnnotation == "YES"


def test_the_same_study_sent_twice_gets_one_set_of_results(pacs: Orthanc, node: RunningNode, tmp_path: Path) -> None:
    film = as_new_study(CR)
    path = file_of(film, tmp_path)
    for _ in range(2):
        assert storescu(node.port, [path]).returncode == 0
    node.wait_until_delivered(film.StudyInstanceUID)
    assert sorted(each.modality for each in results(pacs, film.StudyInstanceUID)) == ["OT", "SR"]


def test_no_log_line_holds_anything_of_the_patient(pacs: Orthanc, node: RunningNode, tmp_path: Path) -> None:
    marks = {
        "PatientName": "Zzyzx^Quintessa",
        "PatientID": "PID-48151623",
        "AccessionNumber": "ACC-42108",
        "PatientBirthDate": "19331207",
    }
    film = as_new_study(DX, **marks)
    broken = as_new_study(DX, **{**marks, "PatientBirthDate": "31/12/1960", "StudyDate": "19330230"})
    for each in (film, broken):
        assert storescu(node.port, [file_of(each, tmp_path)]).returncode == 0
        node.wait_until_delivered(each.StudyInstanceUID)
    written = node.log.read_text()
    for value in (
        *["Zzyzx", "Quintessa", "PID-48151623", "ACC-42108", "19331207", "31/12/1960"],
        film.StudyInstanceUID,
    ):
        assert value not in written


def impression(report: Dataset) -> str:
    """The Impression (121073, DCM) of a report."""
    for section in report.ContentSequence:
        for item in section.get("ContentSequence", ()):
            if item.ConceptNameCodeSequence[0].CodeValue == "121073":
                return str(item.TextValue)
    raise AssertionError("the report has no impression")
