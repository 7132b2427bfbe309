"""The sample studies are what they say they are, in every byte."""

import hashlib
import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import yaml
from pydicom import dcmread
from pydicom.encaps import get_frame
from pydicom.uid import ImplicitVRLittleEndian, JPEGLosslessSV1

from node.errors import NotAssessable
from node.gate import GateRules, judge
from node.pixels import read_dicom, read_picture
from node.samples import FOLDER, studies
from tests.peers import require_peer

PICTURES = Path(__file__).resolve().parents[2] / "shared" / "data" / "cxr"
ENTRIES = [
    {**file, "study": study["name"]}
    for study in yaml.safe_load((FOLDER / "samples.yaml").read_text("utf-8"))["studies"]
    for file in study["files"]
]
FILES = [FOLDER / entry["file"] for entry in ENTRIES]
LOSSLESS = FOLDER / "03-pneumonia-adult" / "chest-ap.dcm"
INVERTED = FOLDER / "04-pneumonia-child" / "chest-ap.dcm"
IDENTIFYING = (
    "PatientName",
    "PatientID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "InstitutionName",
    "StationName",
)

each_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["file"])
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")


@pytest.fixture
def pictures():
    if not PICTURES.is_dir():
        pytest.skip("the pictures the samples were made from are not beside this checkout")
    return PICTURES


def native_bytes(file):
    """Return the stored values as Pixel Data would hold them without compression."""
    dataset = dcmread(file)
    if dataset.file_meta.TransferSyntaxUID == JPEGLosslessSV1:
        values = imagecodecs.ljpeg_decode(get_frame(dataset.PixelData, 0, number_of_frames=1))
    else:
        values = dataset.pixel_array
    return values.astype("u1" if dataset.BitsAllocated == 8 else "<u2").tobytes()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@each_entry
def test_a_file_and_its_pixels_are_those_of_the_list(entry):
    file = FOLDER / entry["file"]
    assert sha256(file.read_bytes()) == entry["sha256"]
    assert sha256(native_bytes(file)) == entry["pixels_sha256"]


def test_the_list_names_every_file_and_no_other():
    assert sorted(FILES) == sorted(FOLDER.rglob("*.dcm"))
    assert [file for study in studies() for file in study.files] == FILES


def test_all_samples_together_stay_small():
    assert sum(file.stat().st_size for file in FILES) < 4_000_000


@each_file
def test_a_header_has_no_error_for_dciodvfy(file):
    program = shutil.which("dciodvfy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert program, "dciodvfy comes with the development requirements"
    checked = subprocess.run([program, str(file)], capture_output=True, text=True, check=False)
    said = checked.stdout + checked.stderr
    assert re.search(r"^(DXImageForPresentation|CRImage)$", said, re.MULTILINE), said
    assert "Error" not in said
    assert checked.returncode == 0


@each_file
def test_a_header_says_that_it_is_no_patients(file):
    dataset = dcmread(file, stop_before_pixels=True)
    number = ["ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN"][int(file.parent.name[:2]) - 1]
    assert str(dataset.PatientName) == f"SAMPLE^{number}"
    assert dataset.PatientID == f"CXR-SAMPLE-{file.parent.name[:2]}"
    assert dataset.PatientIdentityRemoved == "YES"
    assert "esearch and education only" in dataset.ImageComments
    assert all("SAMPLE" in str(dataset.get(keyword)).upper() for keyword in IDENTIFYING)
    assert not any(element.tag.is_private for element in dataset.iterall())


def test_every_identifier_is_its_own():
    headers = [dcmread(file, stop_before_pixels=True) for file in FILES]
    assert len({header.SOPInstanceUID for header in headers}) == len(FILES)
    assert len({header.StudyInstanceUID for header in headers}) == len(studies())
    assert all(header.SOPInstanceUID.startswith("2.25.") for header in headers)
    for study in studies():
        assert len({dcmread(file, stop_before_pixels=True).StudyInstanceUID for file in study.files}) == 1


def test_the_samples_show_what_they_were_chosen_for():
    assert {study.truth for study in studies()} == {"Normal", "Pneumonia", "Tuberculosis", None}
    headers = [dcmread(file, stop_before_pixels=True) for file in FILES]
    assert {header.PhotometricInterpretation for header in headers} == {"MONOCHROME1", "MONOCHROME2"}
    assert {header.Modality for header in headers} == {"CR", "DX"}
    assert {header.BitsStored for header in headers} == {8, 10, 12}
    assert {JPEGLosslessSV1, ImplicitVRLittleEndian} < {header.file_meta.TransferSyntaxUID for header in headers}
    assert any(len(study.files) == 2 for study in studies())


@pytest.mark.parametrize("study", studies(), ids=lambda study: study.name)
def test_the_gate_does_as_the_list_expects(study):
    for file in study.files:
        header = dcmread(file, stop_before_pixels=True)
        if study.expected == "read":
            judge(header, GateRules())
        else:
            assert study.expected == "not analysed"
            with pytest.raises(NotAssessable, match="NOT_CHEST"):
                judge(header, GateRules())


@each_entry
def test_a_film_displays_as_its_picture(entry, pictures):
    if entry["picture"] is None:
        pytest.skip("drawn, not wrapped")
    plane = read_dicom(FOLDER / entry["file"])
    np.testing.assert_allclose(plane, read_picture(pictures / entry["picture"]), rtol=0, atol=1e-6)


def test_the_inverted_film_is_stored_inverted(pictures):
    dataset = dcmread(INVERTED)
    (picture,) = (entry["picture"] for entry in ENTRIES if FOLDER / entry["file"] == INVERTED)
    assert dataset.PhotometricInterpretation == "MONOCHROME1"
    correlation = np.corrcoef(dataset.pixel_array.ravel(), read_picture(pictures / picture).ravel())[0, 1]
    assert correlation == pytest.approx(-1)


@pytest.mark.peers
def test_dcmtk_decompresses_the_lossless_film_to_the_same_values(tmp_path):
    raw = tmp_path / "raw.dcm"
    subprocess.run([require_peer("dcmdjpeg"), str(LOSSLESS), str(raw)], check=True)
    assert dcmread(LOSSLESS).file_meta.TransferSyntaxUID == JPEGLosslessSV1
    assert not dcmread(raw).file_meta.TransferSyntaxUID.is_compressed
    assert native_bytes(raw) == native_bytes(LOSSLESS)


@pytest.mark.peers
def test_the_tool_makes_the_same_bytes_again(tmp_path, pictures, monkeypatch):
    require_peer("dcmcjpeg")
    monkeypatch.syspath_prepend(Path(__file__).parent / "tools")
    importlib.import_module("make_samples").make(pictures, tmp_path)
    made = {file.relative_to(tmp_path): sha256(file.read_bytes()) for file in tmp_path.rglob("*") if file.is_file()}
    shipped = {file.relative_to(FOLDER): sha256(file.read_bytes()) for file in [*FILES, FOLDER / "samples.yaml"]}
    assert made == shipped


@each_entry
def test_the_attribution_names_the_file_and_its_picture(entry):
    text = (FOLDER / "ATTRIBUTION.md").read_text("utf-8")
    (row,) = (line for line in text.splitlines() if f"| `{entry['file']}` |" in line)
    if entry["picture"]:
        identifier = Path(entry["picture"]).name.rsplit("_", 1)[0].removeprefix("aug0_")
        assert f"| {identifier} |" in row
        assert identifier in text.split("## Sources and licenses")[1]
