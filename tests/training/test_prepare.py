"""`cxr-train prepare`: what it prints, writes and refuses."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
from rich.console import Console

from node.errors import ConfigError
from node.pixels import InputSpec
from tests.training.drawn import LABELS, drawn, every_group, write_films
from training import recipe as recipes
from training.prepare import prepare

SHIPPED = Path(__file__).resolve().parents[2] / "config" / "training.yaml"


@pytest.fixture
def run(tmp_path):
    """Prepare the films of the folder; return what was printed, and what is in prepare.json."""

    def prepared(manifest=None):
        recipe = recipes.load(SHIPPED, manifest or tmp_path / "data/manifest.csv", tmp_path / "data")
        recipe = replace(recipe, preprocessing=InputSpec(rows=48, columns=48))
        console = Console(width=300, record=True)
        prepare(recipe, tmp_path / "runs", console)
        return console.export_text(), json.loads((tmp_path / "runs/prepare/prepare.json").read_text())

    return prepared


def test_films_are_counted_by_class_source_and_split(tmp_path, run):
    rows = [(*row, "F", "") for row in every_group()]
    write_films(tmp_path / "data", rows, "file,label,source,split,patient_id,sex,view")
    printed, found = run()
    assert next(line.split() for line in printed.splitlines() if "here" in line.split()) == [
        *("Normal", "here", "2", "2", "2", "6", "6", "all", "-", "-")
    ]  # fmt: skip
    there = found["classes"]["Tuberculosis"]["there"]
    assert there == {
        "train": 2,
        "val": 2,
        "test": 2,
        "films": 6,
        "patients": 6,
        "known": {"sex": 6, "age": 0, "view": 0},
    }
    assert found["films"] == 36
    assert "Films in two splits: none" in printed
    assert {path.name for path in (tmp_path / "runs/prepare").iterdir()} == {
        *("contact_sheet.png", "duplicates.csv", "prepare.json")
    }


def test_unreadable_films_and_duplicates_within_a_split_are_told(tmp_path, run):
    write_films(tmp_path / "data", every_group())
    (tmp_path / "data/here/Normal-val-0.png").write_bytes(b"no picture")
    shutil.copy(tmp_path / "data/here/Normal-train-0.png", tmp_path / "data/here/Normal-train-1.png")
    printed, found = run()
    assert "left out by every stage: 1" in printed
    assert "here/Normal-val-0.png: picture not decoded" in printed
    assert "Pairs within one split: 1 same file" in printed
    assert found["unreadable"] == {"here/Normal-val-0.png": "picture not decoded"}
    assert found["films"] == 35


def test_one_film_in_two_splits_is_refused_and_every_pair_listed(tmp_path, run):
    write_films(tmp_path / "data", every_group())
    shutil.copy(tmp_path / "data/here/Normal-train-0.png", tmp_path / "data/there/Normal-test-0.png")
    with pytest.raises(ConfigError, match=r"every pair is in .*duplicates\.csv.*Normal-train-0.*Normal-test-0"):
        run()
    assert "Normal-test-0.png" in (tmp_path / "runs/prepare/duplicates.csv").read_text()


def test_the_warnings_are_printed_and_kept(tmp_path, run):
    write_films(tmp_path / "data", every_group(["here"]))
    printed, found = run()
    assert "All films are of one source" in printed
    assert any("All films are of one source" in warning for warning in found["warnings"])


def kaggle(folder, **others):
    """Lay out three films of every split and label."""
    names = {"train": "person1_bacteria_{}.jpeg", "val": "person2_bacteria_{}.jpeg", "test": "film{}.jpeg"} | others
    files = [f"{s}/{label.upper()}/{n.format(k)}" for s, n in names.items() for label in LABELS for k in range(3) if n]
    for number, file in enumerate(files):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / file), drawn(number))


def test_folders_become_a_manifest_and_it_is_said_whose_patients_are_known(tmp_path, run):
    kaggle(tmp_path / "data")
    printed, found = run()
    assert "made of the folders, 27 films" in printed
    assert "18 by file names as Kermany's; 9 films count as a patient each" in printed
    assert found["patients"] == 2 + 9
    assert (tmp_path / "data/manifest.csv").exists()


def test_a_manifest_made_of_folders_that_are_refused_is_not_left_behind(tmp_path, run):
    kaggle(tmp_path / "data", val="")
    with pytest.raises(ConfigError, match="no film in val"):
        run()
    assert not (tmp_path / "data/manifest.csv").exists()
    kaggle(tmp_path / "data")
    run()


def test_a_manifest_of_the_user_is_left_where_it_is_even_if_refused(tmp_path, run):
    manifest = write_films(tmp_path / "data", every_group(["here"])[:-2])
    with pytest.raises(ConfigError, match="class without films"):
        run()
    assert manifest.exists()
