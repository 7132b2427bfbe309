"""Readers' boxes are read whole or refused with a word to the person who can mend it."""

from dataclasses import replace
from pathlib import Path

import pytest

from node.errors import ConfigError
from training import recipe as recipes
from training.boxes import Box, covered, read_boxes
from training.recipe import Boxes

RECIPE = Path(__file__).resolve().parents[2] / "config" / "training.yaml"
HEAD = "file,set,finding,x,y,w,h\n"


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "boxes.csv"
        path.write_text(text)
        return Boxes(path, "Pneumonia", ("Pneumonia", "Lung Opacity"))

    return write


def test_boxes_of_the_findings_asked_for_are_read_by_film(written):
    settings = written(
        HEAD
        + "a.png,first,Pneumonia,1,2,3,4\na.png,second,Lung Opacity,5.5,6,7,8\n"
        + "b.png,first,Cardiomegaly,1,2,3,4\nc.png,second,Lung Opacity,0,0,9,9\n"
    )
    assert read_boxes(settings) == {
        "a.png": [Box("first", 1, 2, 3, 4), Box("second", 5.5, 6, 7, 8)],
        "c.png": [Box("second", 0, 0, 9, 9)],
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "lacks file"),
        ("file,set,finding,x,y,w\na,b,Pneumonia,1,2,3\n", "lacks h;"),
        (HEAD + "a,b,Pneumonia,1,2,3,wide\n", "line 2: x, y, w and h are numbers"),
        (HEAD + "a,b,Cardiomegaly,1,2,3,4\n", "holds no box of Pneumonia, Lung Opacity"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(written, text, complaint):
    with pytest.raises(ConfigError, match=complaint):
        read_boxes(written(text))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_boxes(Boxes(tmp_path / "none.csv", "Pneumonia", ("Pneumonia",)))


def test_boxes_cover_their_pixels_together_and_end_at_the_film():
    drawn = covered([Box("r", 1, 2, 3, 2), Box("r", 2, 3, 2, 2), Box("r", -5, 7, 6, 90)], (10, 8))
    assert drawn[2:4, 1:4].all() and drawn[3:5, 2:4].all()
    assert drawn[7:, :1].all()
    assert drawn.sum() == 6 + 4 - 2 + 3


def test_boxes_are_measured_with_and_change_no_run(written, tmp_path):
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("file,label,source,split,patient_id\n")
    without = replace(recipes.load(RECIPE, manifest), boxes=None)
    settings = written(HEAD)
    assert replace(without, boxes=settings).digest() == without.digest()


def test_a_recipe_can_name_boxes(tmp_path):
    path = tmp_path / "training.yaml"
    text = RECIPE.read_text()
    assert "boxes: null" in text
    path.write_text(text.replace("boxes: null", "boxes: {file: b.csv, label: Pneumonia, findings: [Pneumonia]}"))
    assert recipes.load(path).boxes == Boxes(Path("b.csv"), "Pneumonia", ("Pneumonia",))
