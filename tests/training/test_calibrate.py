"""Temperature and cut-offs do what they say on the films they are chosen on, and what is kept of them comes back."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from node.bundle import weights_digest
from node.operating_points import CALIBRATED_FOR
from training import recipe as recipes
from training.calibrate import Calibrated, best_temperature, calibrate, points_for, rules_for, softmax

pytestmark = pytest.mark.slow

SHIPPED = Path(__file__).resolve().parents[2] / "config" / "training.yaml"


@dataclass
class Answered:
    """A run that is trained already: it knows what it says of its validation films."""

    recipe: recipes.Recipe
    films: SimpleNamespace
    said: np.ndarray
    members: tuple

    def logits(self, rows):
        return self.said[rows]

    def shares(self, rows):
        return np.repeat(np.repeat(self.said[rows][:, None, None] / 4, 2, 1), 2, 2)


def drawn(films, seed=1):
    """Return labels and the logits of a model that is usually right."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=films)
    logits = (rng.normal(size=(films, 3)) + 2 * np.eye(3)[labels]).astype(np.float32)
    return labels, logits - logits[:, :1]


@pytest.fixture
def recipe():
    return recipes.load(SHIPPED)


@pytest.fixture
def run(tmp_path, recipe):
    labels, logits = drawn(600)
    splits = np.array(["train", "val", "val"] * 200)
    films = SimpleNamespace(
        labels=labels, patients=np.arange(600).astype(str), rows=lambda split: np.flatnonzero(splits == split)
    )
    weights = [tmp_path / name for name in ("one", "two")]
    for path in weights:
        path.write_bytes(path.name.encode())
    return Answered(recipe, films, logits, tuple(SimpleNamespace(weights=path) for path in weights))


@pytest.mark.parametrize("truth", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_answers_is_found(truth):
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=(20000, 3)).astype(np.float32)
    answered = np.array([rng.choice(3, p=row / row.sum()) for row in softmax(logits / truth).astype(float)])
    assert best_temperature(logits, answered) == pytest.approx(truth, rel=0.05)


def test_the_band_lies_below_the_cut_off_of_each_abnormal_class_and_both_are_whole_percents(recipe):
    labels, logits = drawn(3000)
    probabilities = softmax(logits)
    rules = rules_for(probabilities, labels, recipe)
    assert [(rule.label, rule.urgent) for rule in rules] == [("Pneumonia", False), ("Tuberculosis", True)]
    for index, rule in enumerate(rules, start=1):
        own = probabilities[labels == index, index]
        assert rule.uncertain_from < rule.cut_off
        assert rule.cut_off == round(rule.cut_off, 2) and rule.uncertain_from == round(rule.uncertain_from, 2)
        assert recipe.calibrate.sensitivity <= (own >= rule.cut_off).mean() < recipe.calibrate.sensitivity + 0.02
        below = 1 - recipe.calibrate.uncertain_sensitivity
        assert below - 0.02 < (own < rule.uncertain_from).mean() <= below


def test_the_points_are_those_of_the_rules_with_intervals_around_them(recipe):
    labels, logits = drawn(600)
    probabilities, patients = softmax(logits), np.arange(600).astype(str)
    points = points_for(probabilities, labels, patients, recipe)
    for rule in rules_for(probabilities, labels, recipe):
        point = points[rule.label]
        assert (point.cut_off[0], point.uncertain_from[0]) == (rule.cut_off, rule.uncertain_from)
        for value, low, high in (point.cut_off, point.sensitivity, point.specificity, point.coverage):
            assert low < value < high


def test_a_calibration_is_bound_to_the_weights_of_every_member(run):
    found = calibrate(run)
    digests = [recipes.file_digest(member.weights) for member in run.members]
    assert found.weights_sha256 == weights_digest(digests)
    run.members[1].weights.write_bytes(b"trained again")
    assert calibrate(run).weights_sha256 != found.weights_sha256


def test_a_calibration_survives_json(run):
    found = calibrate(run)
    assert Calibrated.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert set(found.points) == {"Pneumonia", "Tuberculosis"}


def test_the_reference_is_of_the_validation_films_alone_and_says_what_the_cut_offs_are_for(run):
    reference = calibrate(run).reference
    assert reference["films"] == 400
    assert sum(reference["triage"].values()) == 400
    assert {sum(counts) for counts in reference["probability_counts"].values()} == {400}
    assert reference[CALIBRATED_FOR] == {"sensitivity": 0.9, "uncertain_share": 0.05}


def test_a_network_whose_maps_are_empty_divides_nothing_by_nothing(run):
    run.shares = lambda rows: np.zeros((len(rows), 2, 2, 3), np.float32)
    assert all(share > 0 for share in calibrate(run).reference_share.values())
