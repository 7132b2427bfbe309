"""A site's films are read as the node reads them, and a list that cannot be right is refused by its lines."""

import csv
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from node import bundle as bundles
from node.cli import app
from node.errors import ConfigError, NotAssessable, Reason
from node.gate import GateRules
from node.infer import triage
from node.operating_points import FLAGGED, NOT_FLAGGED, UNCERTAIN, answers
from node.site_cases import read_cases
from node.site_thresholds import in_force
from node.study import Finding, Prediction, Triage
from tests.bundles import SHIPPED
from tests.films import chest, dx_film, file_bytes

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
FILMS = ROOT.parent / "shared" / "data" / "cxr"
NAMES = ("Normal", "Pneumonia", "Tuberculosis")


def brightness(plane):
    """A reader that sees no more than how bright a film is: tuberculosis, as far as it goes."""
    said = float(plane.mean())
    findings = tuple(Finding(name, p, 0.0, None) for name, p in zip(NAMES, (1 - said, 0.0, said), strict=True))
    return Prediction(findings, Triage.NOT_FLAGGED, None, "Tuberculosis", np.zeros((1, 1), np.float32))


@pytest.fixture
def images(tmp_path):
    """Two pictures, a DX film of a patient, another view and another film of that patient, and a text."""
    for name, gray in (("dark.png", 60), ("bright.jpg", 200)):
        cv2.imwrite(str(tmp_path / name), np.tile(np.array([gray, gray + 20], np.uint8), (32, 16)))
    (tmp_path / "film.dcm").write_bytes(file_bytes(dx_film(chest(), PatientID="P-1")))
    (tmp_path / "again").write_bytes(file_bytes(dx_film(chest(), PatientID="P-1", InstanceNumber=2)))
    (tmp_path / "side.dcm").write_bytes(file_bytes(dx_film(chest(), ViewPosition="LL")))
    (tmp_path / "notes.txt").write_text("these are notes")
    return tmp_path


def listed(folder, *rows, columns=("file", "label")):
    path = folder / "CASES.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def read(images, path, reader=brightness):
    return read_cases(path, images, NAMES, GateRules(), reader)


def test_pictures_and_dicom_are_read_side_by_side(images):
    path = listed(images, ("dark.png", "Normal"), ("bright.jpg", "Tuberculosis"), ("film.dcm", "Pneumonia"))
    cases, left_out = read(images, path)
    assert cases.labels.tolist() == [0, 2, 1]
    assert cases.probabilities[0, 2] < 0.4 < 0.7 < cases.probabilities[1, 2]
    assert not left_out


def test_what_the_node_would_not_read_is_left_out_and_counted(images):
    def refusing(plane):
        if plane.mean() > 0.7:
            raise NotAssessable(Reason.BROKEN_PIXELS)
        return brightness(plane)

    names = ("dark.png", "bright.jpg", "side.dcm", "notes.txt")
    cases, left_out = read(images, listed(images, *((name, "Normal") for name in names)), refusing)
    assert len(cases.labels) == 1
    assert left_out == {"broken pixels": 1, "not frontal": 1, "neither DICOM nor a picture": 1}


def test_the_patient_is_the_list_s_or_the_film_s_own(images):
    rows = [
        ("film.dcm", "Normal", ""),
        ("again", "Normal", ""),
        ("dark.png", "Normal", ""),
        ("bright.jpg", "Normal", "Q"),
    ]
    cases, _ = read(images, listed(images, *rows, columns=("file", "label", "patient_id")))
    assert len(set(cases.patients)) == 3
    assert cases.patients[0] == cases.patients[1] == "P-1"
    assert cases.patients[3] == "Q"


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([("dark.png", "Normal"), ("film.dcm", "TB")], "line 3 have a label other than Normal, Pneumonia"),
        ([("Doe^John.dcm", "Normal"), ("film.dcm", "Normal")], "line 2 name a file that is not in"),
        ([("dark.png", "Normal"), ("dark.png", "Normal")], "lines 2, 3 name a file that another line names"),
        ([], "columns file, label"),
    ],
)
def test_a_list_that_cannot_be_right_is_refused_by_its_lines(images, rows, complaint):
    with pytest.raises(ConfigError, match=complaint) as refusal:
        read(images, listed(images, *rows))
    assert "Doe" not in str(refusal.value)


def test_a_list_that_is_none_is_refused(images):
    with pytest.raises(ConfigError, match="cannot be read"):
        read(images, images / "nowhere.csv")
    path = images / "CASES.csv"
    path.write_bytes("file,label\nM\xfcller.dcm,Normal\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="UTF-8"):
        read(images, path)


def test_the_answers_of_the_formulas_are_those_of_the_reader():
    rules = bundles.load(SHIPPED).rules
    said = np.random.default_rng(0).dirichlet((1, 1, 1), 500).astype(np.float32)
    words = {"urgent": FLAGGED, "flagged": FLAGGED, "uncertain": UNCERTAIN, "not_flagged": NOT_FLAGGED}
    expected = [words[triage(dict(zip(NAMES, map(float, row), strict=True)), rules)[0]] for row in said]
    assert set(expected) == {FLAGGED, UNCERTAIN, NOT_FLAGGED}
    assert answers(said, NAMES, rules).tolist() == expected


def test_the_verb_reads_real_films_and_writes_the_site_s_file(tmp_path):
    if not FILMS.exists():
        pytest.skip("shared/data/cxr is not on this machine")
    with (FILMS / "manifest.csv").open(newline="") as file:
        manifest = [row for row in csv.DictReader(file) if row["source"] == "qatar" and row["split"] == "test"]
    chosen = [row for name in ("Normal", "Tuberculosis") for row in [r for r in manifest if r["label"] == name][:30]]
    path = listed(tmp_path, *((row["file"], row["label"]) for row in chosen))
    config, out = tmp_path / "node.yaml", tmp_path / "thresholds.yaml"
    config.write_text(f"model:\n  bundle: {SHIPPED}\n  device: cpu\n")
    options = ["--prevalence", "Tuberculosis=0.02", "--sensitivity", "0.8", "--out", str(out), "--config", str(config)]
    done = CliRunner().invoke(app, ["calibrate", "--cases", str(path), "--images", str(FILMS), *options])
    assert done.exit_code == 0, done.output
    normal, tuberculosis = re.search(r"Cases: (\d+) Normal .* (\d+) Tuberculosis", done.output).groups()
    assert 20 <= int(normal) <= 30 and 20 <= int(tuberculosis) <= 30
    assert "sensitivity 80 % wanted" in done.output and "(PPV)" in done.output
    there = in_force(bundles.load(SHIPPED), out)
    assert [rule.label for rule in there.site.rules] == ["Tuberculosis"]
