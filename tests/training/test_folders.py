"""Folders named by split and label become a manifest; a patient is known where the file name carries one."""

import csv

import pytest

from node.errors import ConfigError
from tests.training.drawn import LABELS, write_films
from training.data import read_films
from training.folders import manifest_from_folders, patient_in_name


@pytest.fixture
def made(tmp_path):
    return tmp_path / "made" / "manifest.csv"


def lay_out(folder, *files):
    """Write a film of each name; without names, 1.png under every split and label."""
    every = [f"{split}/{label}/1.png" for split in ("train", "val", "test") for label in LABELS]
    write_films(folder, [(file,) for file in (files or every)], "file")
    return folder


def rows_of(manifest):
    with manifest.open(newline="") as stream:
        return {row["file"]: row for row in csv.DictReader(stream)}


def test_films_of_one_name_in_different_folders_are_different_patients(tmp_path, made):
    assert manifest_from_folders(lay_out(tmp_path / "data"), made, LABELS).films == 9
    films = read_films(made, tmp_path / "data", LABELS)
    assert films.files[0] == "train/Normal/1.png"
    assert len(films.rows("test")) == 3
    assert len(set(films.patients)) == 9


def test_folders_in_capitals_are_read_and_folders_of_no_class_are_told(tmp_path, made):
    folder = lay_out(tmp_path / "data", "train/NORMAL/a.jpeg", "train/pneumonia/b.JPG", "train/TURBERCULOSIS/c.png")
    (folder / "train/NORMAL/._a.jpeg").write_bytes(b"what macOS writes beside a.jpeg")
    (folder / "train/NORMAL/notes.txt").write_text("no film")
    layout = manifest_from_folders(folder, made, LABELS)
    assert layout.passed_over == ("train/TURBERCULOSIS",)
    assert [(row["file"], row["label"]) for row in rows_of(made).values()] == [
        ("train/NORMAL/a.jpeg", "Normal"),
        ("train/pneumonia/b.JPG", "Pneumonia"),
    ]


def test_folders_without_films_make_no_manifest(tmp_path, made):
    (tmp_path / "data/train/Normal").mkdir(parents=True)
    with pytest.raises(ConfigError, match="no film in"):
        manifest_from_folders(tmp_path / "data", made, LABELS)
    assert not made.exists()


@pytest.mark.parametrize(
    ("stem", "data_set", "patient"),
    [
        ("person123_bacteria_4", "Kermany", "person123_bacteria"),
        ("person123_virus_4", "Kermany", "person123_virus"),
        ("IM-0115-0001", "Kermany", "IM-0115"),
        ("IM-0429-0001-0002", "Kermany", "IM-0429"),
        ("NORMAL2-IM-0383-0001", "Kermany", "NORMAL2-IM-0383"),
        ("BACTERIA-1008087-0001", "Kermany", "BACTERIA-1008087"),
        ("00001323_001", "NIH ChestX-ray14", "00001323"),
        ("CHNCXR_0327_1", "NLM Shenzhen and Montgomery", "CHNCXR_0327"),
        ("aug0_MCUCXR_0006_0", "NLM Shenzhen and Montgomery", "MCUCXR_0006"),
        ("Tuberculosis-12", "", ""),
        ("20230101_093000", "", ""),
        ("image7", "", ""),
    ],
)
def test_the_names_of_well_known_sets_carry_the_patient(stem, data_set, patient):
    assert patient_in_name(stem) == (data_set, patient)


def test_how_many_patients_came_from_names_is_told(tmp_path, made):
    names = ("person1_bacteria_1.jpeg", "person1_bacteria_2.jpeg", "00001323_001.png", "film.png")
    folder = lay_out(tmp_path / "data", *(f"train/Pneumonia/{name}" for name in names))
    layout = manifest_from_folders(folder, made, LABELS)
    assert layout.films == 4
    assert layout.patient_in_name == {"Kermany": 2, "NIH ChestX-ray14": 1}
    assert [row["patient_id"] for row in rows_of(made).values()] == ["00001323", "", *["person1_bacteria"] * 2]


def test_a_patient_in_two_folders_of_different_splits_is_refused(tmp_path, made):
    folder = lay_out(tmp_path / "data")
    lay_out(folder, "train/Pneumonia/person7_virus_1.jpeg", "test/Pneumonia/person7_virus_2.jpeg")
    manifest_from_folders(folder, made, LABELS)
    with pytest.raises(ConfigError, match="patient in two splits: local/person7_virus"):
        read_films(made, folder, LABELS)
