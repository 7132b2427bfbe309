"""What is said of heat maps is what they do: measured on drawn films with maps that are known to look well or badly."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from node.bundle import Rule
from node.errors import ConfigError
from training.data import read_films
from training.explanation import maps_of, measure, rightly_flagged, summarized
from training.explanation_pictures import draw, groups, mean_map
from training.recipe import Boxes

pytestmark = pytest.mark.slow

LABELS = ("Normal", "Pneumonia", "Tuberculosis")
CALIBRATED = SimpleNamespace(
    temperature=1.0,
    rules=(Rule("Pneumonia", 0.5, 0.3, False), Rule("Tuberculosis", 0.5, 0.3, True)),
    reference_share={"Pneumonia": 1.0, "Tuberculosis": 1.0},
)
# Of a map of 7 by 7: in the drawn right lung, and in a corner of the film.
LUNG_CELL, CORNER_CELL = (3, 2), (6, 0)
# The right lung's middle, on a film of 160 rows and 140 columns.
BOX = "30,60,30,30"


class Run:
    """As much of a run as is asked: one cell of each map holds all that speaks for the film's class."""

    def __init__(self, films, recipe, cell, strength=2.0, random=None):
        self.films, self.recipe, self.cell, self.strength, self.random = films, recipe, cell, strength, random

    def shares(self, rows):
        shares = np.zeros((len(rows), 7, 7, 3), np.float32)
        for place, row in enumerate(rows):
            shares[(place, *self.cell, self.films.labels[row])] = self.strength
        shares[..., 0] = 0.0
        return shares

    def logits(self, rows):
        return self.shares(rows).sum((1, 2))


def drawn_film(path):
    plane = np.full((160, 140), 170, np.uint8)
    for middle in (40, 100):
        cv2.ellipse(plane, (middle, 75), (20, 50), 0, 0, 360, 70, -1)
    cv2.imwrite(str(path), plane)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    lines = ["file,label,source,patient_id,split"]
    for split in ("train", "val", "test"):
        for label, source in (("Normal", "a"), ("Pneumonia", "a"), ("Pneumonia", "b"), ("Tuberculosis", "b")):
            for number in (1, 2):
                name = f"{split}-{label}-{source}{number}.png"
                drawn_film(folder / name)
                lines.append(f"{name},{label},{source},{split}{label}{number},{split}")
    (folder / "manifest.csv").write_text("\n".join(lines))
    boxes = ["file,set,finding,x,y,w,h"]
    for name, readers in (("train-Pneumonia-a1", "one"), ("val-Pneumonia-a1", "one"), ("test-Pneumonia-b2", "two")):
        boxes.append(f"{name}.png,{readers},Lung Opacity,{BOX}")
    boxes += [f"test-Normal-a1.png,two,Lung Opacity,{BOX}", f"elsewhere.png,two,Lung Opacity,{BOX}"]
    (folder / "boxes.csv").write_text("\n".join(boxes))
    return read_films(folder / "manifest.csv", folder, LABELS)


@pytest.fixture
def run(films):
    def made(cell=LUNG_CELL, boxes=True, random=True, strength=2.0):
        settings = Boxes(films.images / "boxes.csv", "Pneumonia", ("Lung Opacity",)) if boxes else None
        recipe = SimpleNamespace(
            labels=LABELS, boxes=settings, evaluate=SimpleNamespace(resamples=20, random_control=random)
        )
        return Run(films, recipe, cell, strength, Run(films, recipe, CORNER_CELL))

    return made


def value(group, name):
    return group["metrics"][name][0]


def test_maps_in_the_lungs_and_in_the_box_are_told_from_maps_in_a_corner(run):
    found = measure(run(), CALIBRATED)
    lungs, boxes = found["lungs"]["Pneumonia"]["all"], found["boxes"]["readers"]["all"]["every film, with a map"]
    for group in (lungs, boxes):
        assert value(group, "peak model") == 1.0
        assert value(group, "peak random") == 0.0
        assert value(group, "mass model") > 0.7
        assert value(group, "mass random") < 0.1
    assert value(boxes, "mass anywhere") == pytest.approx(30 * 30 / (160 * 140), abs=1e-4)
    assert value(boxes, "peak center") == 1.0  # 10 pixels beside the box, which is within the tolerance
    assert value(lungs, "peak center") == 0.0
    assert 0 < value(boxes, "peak lungs") < 1


def test_the_measurement_can_be_written_as_json_and_says_how_many_films_it_is_of(run):
    found = json.loads(json.dumps(measure(run(), CALIBRATED), allow_nan=False))
    assert {label: of["all"]["films"] for label, of in found["lungs"].items()} == {"Pneumonia": 4, "Tuberculosis": 2}
    assert {source: of["films"] for source, of in found["lungs"]["Pneumonia"]["by_source"].items()} == {"a": 2, "b": 2}
    assert found["lungs"]["Pneumonia"]["all"]["without_lungs"] == 0
    assert found["boxes"]["not_in_manifest"] == 1
    counts = {name: [of[key] for key in ("films", "boxes")] for name, of in found["boxes"]["readers"]["all"].items()}
    assert counts == {
        "every film": [4, 4],
        "not trained on": [3, 3],
        "every film, with a map": [3, 3],
        "not trained on, with a map": [2, 2],
    }
    assert found["boxes"]["readers"]["one"]["not trained on"]["films"] == 1


def test_a_film_without_a_map_is_a_miss_and_counts_no_mass(run):
    boxes = measure(run(), CALIBRATED)["boxes"]["readers"]["all"]["every film"]
    assert value(boxes, "peak model") == 0.75
    assert value(boxes, "mass model") > 0.7


def test_films_without_plausible_lungs_are_counted_and_not_used(run, films, monkeypatch):
    monkeypatch.setattr("training.lungs.found", lambda plane: None)
    found = measure(run(), CALIBRATED)
    assert found["lungs"]["Pneumonia"]["all"] == {"films": 0, "patients": 0, "metrics": {}, "without_lungs": 4}
    assert found["boxes"]["without_lungs"] == 4
    metrics = found["boxes"]["readers"]["all"]["every film"]["metrics"]
    assert "peak lungs" not in metrics
    assert metrics["peak model"][0] == 0.75


def test_a_recipe_without_boxes_or_control_measures_the_rest(run):
    found = measure(run(boxes=False, random=False), CALIBRATED)
    assert found["boxes"] is None
    assert value(found["lungs"]["Tuberculosis"]["all"], "peak model") == 1.0
    assert "peak random" not in found["lungs"]["Tuberculosis"]["all"]["metrics"]


def test_a_class_that_the_recipe_does_not_have_is_refused(run):
    asked = run()
    asked.recipe.boxes = Boxes(asked.recipe.boxes.file, "Measles", ("Lung Opacity",))
    with pytest.raises(ConfigError, match=r"boxes\.label is Measles"):
        measure(asked, CALIBRATED)


def test_where_nothing_is_flagged_nothing_is_measured_or_drawn(run):
    silent = run(boxes=False, strength=0.0)
    found = measure(silent, CALIBRATED)
    assert [of["all"]["films"] for of in found["lungs"].values()] == [0, 0]
    assert draw(silent, CALIBRATED) == {}


def test_only_films_flagged_as_what_they_are_count(run, films):
    assert {label: set(films.files[rows]) for label, rows in rightly_flagged(run(), CALIBRATED).items()} == {
        "Pneumonia": {f"test-Pneumonia-{name}.png" for name in ("a1", "a2", "b1", "b2")},
        "Tuberculosis": {"test-Tuberculosis-b1.png", "test-Tuberculosis-b2.png"},
    }


def test_a_map_keeps_what_speaks_for_the_class_where_all_in_all_the_odds_are_against_it(run, films):
    asked = run()
    asked.shares = lambda rows: (
        np.tile(np.array([0, -1, 0], np.float32), (len(rows), 7, 7, 1)) + Run.shares(asked, rows)
    )
    rows = np.flatnonzero((films.labels == 1) & (films.splits == "test"))
    heat_map = maps_of(asked, rows, "Pneumonia")["model"][0]
    assert np.flatnonzero(heat_map).tolist() == [np.ravel_multi_index(LUNG_CELL, (7, 7))]


def test_a_mean_is_over_the_films_that_define_it(films):
    table = [{"peak model": 1.0, "mass model": 0.5}, {"peak model": 0.0, "mass model": float("nan")}]
    found = summarized(table, films, np.array([0, 1]), 10)
    assert found["metrics"]["peak model"][0] == 0.5
    assert found["metrics"]["mass model"][0] == 0.5


def test_every_film_counts_alike_in_a_mean_map_and_empty_ones_do_not():
    maps = np.zeros((3, 2, 2), np.float32)
    maps[0, 0, 0], maps[1, 1, 1] = 1.0, 100.0
    assert mean_map(maps).tolist() == [[2.0, 0.0], [0.0, 2.0]]
    assert not mean_map(maps[2:]).any()


def test_both_pictures_are_drawn(run, films):
    asked = run()
    assert [*groups(films, rightly_flagged(asked, CALIBRATED))] == [
        ("Pneumonia", "a"),
        ("Pneumonia", "b"),
        ("Tuberculosis", "b"),
    ]
    pictures = draw(asked, CALIBRATED)
    assert set(pictures) == {"explanation-maps", "explanation-examples"}
    for content in pictures.values():
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape[0] > 500 and image.shape[1] > 1000
        colorful = image.max(2).astype(int) - image.min(2) > 80
        assert colorful.sum() > 2000
