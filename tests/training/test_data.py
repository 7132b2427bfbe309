"""What would make the numbers lie is refused before any number is made."""

import cv2
import numpy as np
import pytest

from node.errors import ConfigError
from training.data import manifest_from_folders, read_films

LABELS = ("Normal", "Tuberculosis")
GOOD = [
    f"{label}-{split}.png,{label},there,{split},{label}{split},mine"
    for label in LABELS
    for split in ("train", "val", "test")
]


@pytest.fixture
def images(tmp_path):
    for row in GOOD:
        cv2.imwrite(str(tmp_path / row.split(",")[0]), np.zeros((8, 8), np.uint8))
    return tmp_path


def manifest(folder, rows, header="file,label,source,split,patient_id,licence"):
    path = folder / "manifest.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_good_manifest_is_read_as_it_is(images):
    films = read_films(manifest(images, GOOD), images, LABELS)
    assert len(films) == 6
    assert films.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert [films.files[row] for row in films.rows("val")] == ["Normal-val.png", "Tuberculosis-val.png"]
    assert films.terms == {"there": "mine"}


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("absent.png,Normal,there,train,p9,", "missing file: absent.png"),
        ("Normal-val.png,Flu,there,train,p9,", "unknown label: Flu"),
        ("Normal-val.png,Normal,there,holdout,p9,", "unknown split: holdout"),
        ("Normal-val.png,Normal,there,train,Normaltest,", "patient in two splits: there/Normaltest"),
        ("Normal-val.png,Normal,there,val,p9,", "file listed twice: Normal-val.png"),
    ],
)
def test_each_fault_is_named(images, row, complaint):
    with pytest.raises(ConfigError, match=complaint):
        read_films(manifest(images, [*GOOD, row]), images, LABELS)


def test_every_fault_is_named_at_once(images):
    with pytest.raises(ConfigError, match=r"unknown label: Flu; missing file: absent\.png"):
        read_films(manifest(images, [*GOOD, "absent.png,Flu,there,train,p9,"]), images, LABELS)


def test_a_class_without_films_in_a_split_is_named(images):
    with pytest.raises(ConfigError, match="class without films: Tuberculosis in test"):
        read_films(manifest(images, GOOD[:-1]), images, LABELS)


def test_the_same_patient_number_at_two_sources_is_two_patients(images):
    rows = [row.replace("there", f"source{n}").replace(row.split(",")[4], "1") for n, row in enumerate(GOOD)]
    assert len(set(read_films(manifest(images, rows), images, LABELS).patients)) == 6


def test_a_missing_column_and_an_absent_or_empty_manifest_are_named(images):
    with pytest.raises(ConfigError, match="lacks patient_id"):
        read_films(manifest(images, ["a,b,c,d"], "file,label,source,split"), images, LABELS)
    with pytest.raises(ConfigError, match="lists no film"):
        read_films(manifest(images, []), images, LABELS)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_films(images / "none.csv", images, LABELS)


def test_a_split_is_needed_only_for_training(images):
    rows = [",".join(row.split(",")[:3]) + ",p" for row in GOOD]
    path = manifest(images, rows, "file,label,source,patient_id")
    assert len(read_films(path, images, LABELS, split_needed=False)) == 6
    with pytest.raises(ConfigError, match="lacks split"):
        read_films(path, images, LABELS)


def test_folders_named_by_split_and_label_become_a_manifest(tmp_path):
    for split in ("train", "val", "test"):
        for label in LABELS:
            folder = tmp_path / "data" / split / label
            folder.mkdir(parents=True)
            cv2.imwrite(str(folder / f"{split}{label}.jpeg"), np.zeros((8, 8), np.uint8))
            (folder / "notes.txt").write_text("no film")
    path = tmp_path / "made" / "manifest.csv"
    assert manifest_from_folders(tmp_path / "data", path, LABELS) == 6
    films = read_films(path, tmp_path / "data", LABELS)
    assert films.files[0] == "train/Normal/trainNormal.jpeg"
    assert len(films.rows("test")) == 2
