"""What would happen to a file: the same answers as the door, the gate and the preprocessing of the node give."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import (
    ComprehensiveSRStorage,
    CTImageStorage,
    SecondaryCaptureImageStorage,
)

from node.pixels import InputSpec, model_input, read_dicom
from node.product import MANUFACTURER, MODEL_NAME
from node.trial import Trial, attempt
from tests.bundles import SHIPPED
from tests.films import chest, cr_film, dx_film, file_bytes
from tests.running import REPOSITORY

pytestmark = pytest.mark.slow

RULES: dict[str, Any] = {
    "memory_mb": 2048,
    "spec": InputSpec().to_json(),
    "read_secondary_capture": False,
    "minimum_px": 128,
    "age_years": None,
    "film_check": "",
}


def tried(tmp_path: Path, content: bytes, **rules: Any) -> Trial:
    path = tmp_path / "file.dcm"
    path.write_bytes(content)
    return attempt(path, RULES | rules)


def steps(trial: Trial) -> list[tuple[str, str]]:
    return [(step.name, step.outcome) for step in trial.steps]


@pytest.mark.parametrize("film", [dx_film(), cr_film()])
def test_a_chest_film_is_taken_and_read_and_shown_as_the_model_sees_it(tmp_path: Path, film: Any) -> None:
    found = tried(tmp_path, file_bytes(film))
    assert found.headline == "Taken and read"
    assert steps(found)[:3] == [("Association", "accepted"), ("Door", "0x0000"), ("Gate", "passes")]
    assert (found.rows, found.columns) == (224, 224)
    seen = np.frombuffer(base64.b64decode(found.seen), np.uint8).reshape(224, 224)
    expected = model_input(read_dicom(tmp_path / "file.dcm"), InputSpec())[..., 0]
    assert np.abs(seen / 255 - expected).max() < 0.003


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"PatientSpeciesDescription": "Canis lupus"}, "not a chest radiograph"),
        ({"ViewPosition": "LL"}, "the model reads frontal views only"),
        ({"PatientAge": "003Y"}, "patient age outside the model's range"),
    ],
)
def test_what_the_gate_refuses_is_told_in_the_report_s_words(
    tmp_path: Path, attributes: dict[str, Any], words: str
) -> None:
    found = tried(tmp_path, file_bytes(cr_film(**attributes)), age_years=[18, 110])
    assert found.headline == "Taken, and not read"
    assert (found.steps[-1].name, found.steps[-1].passed) == ("Gate", False)
    assert words in found.steps[-1].why
    assert not found.seen


def test_a_film_that_is_cut_short_is_refused_as_the_receiver_does(tmp_path: Path) -> None:
    found = tried(tmp_path, file_bytes(dx_film())[:-1000])
    assert found.headline == "Refused with 0xC210"
    assert found.steps[-1].name == "Door"


@pytest.mark.parametrize(
    "content", [b"", b"not DICOM at all", bytes(132), bytes(128) + b"DICM", file_bytes(dx_film())[:200], b"\xff" * 5000]
)
def test_what_is_no_dicom_file_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    assert tried(tmp_path, content).headline == "No DICOM file"


def test_kinds_of_objects_and_encodings_that_nobody_takes_are_told(tmp_path: Path) -> None:
    protocol = dx_film(SOPClassUID="1.2.840.10008.5.1.4.38.1")
    protocol.file_meta.MediaStorageSOPClassUID = protocol.SOPClassUID
    assert "this SOP class is not accepted" in tried(tmp_path, file_bytes(protocol)).steps[-1].why
    unknown = file_bytes(dx_film()).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0")
    assert "its transfer syntax is not accepted" in tried(tmp_path, unknown).steps[-1].why


def test_what_is_no_radiograph_is_taken_and_not_read(tmp_path: Path) -> None:
    for uid, modality in ((CTImageStorage, "CT"), (SecondaryCaptureImageStorage, "OT"), (ComprehensiveSRStorage, "SR")):
        film = dx_film(SOPClassUID=uid, Modality=modality)
        film.file_meta.MediaStorageSOPClassUID = uid
        assert tried(tmp_path, file_bytes(film)).headline == "Taken, and not read"


def test_the_node_s_own_results_are_left_alone(tmp_path: Path) -> None:
    own = dx_film(Manufacturer=MANUFACTURER, ManufacturerModelName=MODEL_NAME)
    assert tried(tmp_path, file_bytes(own)).headline == "Taken, and left alone"


def test_a_picture_that_is_no_chest_film_is_refused_by_the_film_check(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).random((256, 256), np.float32)
    found = tried(tmp_path, file_bytes(dx_film(noise)), film_check=str(SHIPPED / "film_check.npz"))
    assert found.headline == "Taken, and not read"
    assert found.steps[-1].name == "Film check"
    assert found.seen  # what it was judged by


def test_the_process_answers_in_json_without_writing_a_file_and_says_nothing_of_the_patient(tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    path.write_bytes(file_bytes(dx_film(chest(), PatientName="Recognizable^Rosalind", PatientID="MRN-4711")))
    with path.open("rb") as film:
        command = [sys.executable, "-m", "node.trial", json.dumps(RULES)]
        done = subprocess.run(command, stdin=film, capture_output=True, cwd=REPOSITORY, check=True, timeout=120)
    assert done.stdout[:1] == b"+"
    assert json.loads(done.stdout[1:])["headline"] == "Taken and read"
    assert b"Rosalind" not in done.stdout and b"4711" not in done.stdout


def test_a_film_that_takes_more_memory_than_it_may_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    path.write_bytes(file_bytes(dx_film(np.tile(chest(1000, 1000), (5, 5)))))
    with path.open("rb") as film:
        command = [sys.executable, "-m", "node.trial", json.dumps(RULES | {"memory_mb": 64})]
        done = subprocess.run(command, stdin=film, capture_output=True, cwd=REPOSITORY, check=True, timeout=120)
    found = json.loads(done.stdout[1:])
    assert found["headline"] == "Taken, and not read"
    assert found["steps"][-1]["why"].startswith("decoding takes more memory")
