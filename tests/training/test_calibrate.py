"""Temperature and cut-offs do what they say on the films they are chosen on."""

from pathlib import Path

import numpy as np
import pytest

from training import recipe as recipes
from training.calibrate import best_temperature, highest_keeping, rules_for, softmax

SHIPPED = Path(__file__).resolve().parents[2] / "config" / "training.yaml"


@pytest.mark.parametrize("truth", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_answers_is_found(truth):
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=(20000, 3)).astype(np.float32)
    drawn = np.array([rng.choice(3, p=row / row.sum()) for row in softmax(logits / truth).astype(float)])
    assert best_temperature(logits, drawn) == pytest.approx(truth, rel=0.05)


def test_the_cut_off_is_the_highest_that_keeps_the_sensitivity():
    probabilities = np.linspace(0.01, 1.0, 100).astype(np.float32)
    cut_off = highest_keeping(probabilities, 0.9)
    assert (probabilities >= cut_off).mean() == pytest.approx(0.9)
    assert (probabilities >= cut_off + 0.01).mean() < 0.9


def test_one_film_is_enough_for_a_cut_off():
    assert highest_keeping(np.array([0.7], np.float32), 0.9) == pytest.approx(0.7, abs=1e-4)


def test_the_band_lies_below_the_cut_off_of_each_abnormal_class():
    rng = np.random.default_rng(1)
    labels = rng.integers(3, size=3000)
    probabilities = softmax((rng.normal(size=(3000, 3)) + 2 * np.eye(3)[labels]).astype(np.float32))
    recipe = recipes.load(SHIPPED)
    rules = rules_for(probabilities, labels, recipe)
    assert [(rule.label, rule.urgent) for rule in rules] == [("Pneumonia", False), ("Tuberculosis", True)]
    for index, rule in enumerate(rules, start=1):
        own = probabilities[labels == index, index]
        assert rule.uncertain_from < rule.cut_off
        assert (own >= rule.cut_off).mean() == pytest.approx(recipe.calibrate.sensitivity, abs=0.002)
        assert (own >= rule.uncertain_from).mean() == pytest.approx(recipe.calibrate.uncertain_sensitivity, abs=0.002)
