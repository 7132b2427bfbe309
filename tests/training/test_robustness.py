"""Films are made worse as stated, the same way each time, and measured on a sample that is like the whole."""

import numpy as np
import pytest

from tests.films import chest
from tests.training.made_up import MadeUpRun, films_of
from tests.training.made_up import recipe as recipe_of
from training.robustness import ALTERATIONS, robustness, sample

pytestmark = pytest.mark.slow

BY_NAME = {one.name: one for one in ALTERATIONS}
EVERY = [(one.name, strength) for one in ALTERATIONS for strength in one.strengths]


@pytest.fixture
def plane():
    return chest(256, 220)


@pytest.mark.parametrize(("name", "strength"), EVERY)
def test_an_altered_film_is_a_film_and_another_one(plane, name, strength):
    before = plane.copy()
    found = BY_NAME[name].at(strength)(plane)
    assert found.dtype == np.float32
    assert found.shape == plane.shape
    assert 0 <= found.min() <= found.max() <= 1
    assert np.abs(found - plane).mean() > 1e-4
    np.testing.assert_array_equal(plane, before)


@pytest.mark.parametrize("name", [one.name for one in ALTERATIONS if one.name != "blur"])
def test_at_the_strength_that_changes_nothing_nothing_changes(plane, name):
    found = BY_NAME[name].at(BY_NAME[name].untouched)(plane)
    # JPEG at its best still rounds to 8 bit and back.
    np.testing.assert_allclose(found, plane, atol=0.02)


@pytest.mark.parametrize("one", ALTERATIONS, ids=lambda one: one.name)
def test_further_from_the_untouched_film_is_worse(plane, one):
    sides = [[s for s in one.strengths if s < one.untouched], [s for s in one.strengths if s > one.untouched]]
    for side in sides:
        ranked = sorted(side, key=lambda strength: abs(strength - one.untouched))
        harm = [np.abs(one.at(strength)(plane) - plane).mean() for strength in ranked]
        assert harm == sorted(harm)


def test_noise_is_the_same_for_the_same_film_and_another_for_another(plane):
    noise = BY_NAME["noise"].at(0.05)
    np.testing.assert_array_equal(noise(plane), noise(plane))
    other = chest(256, 220, opacity=True)
    middle = slice(100, 150)
    assert not np.allclose((noise(plane) - plane)[middle], (noise(other) - other)[middle], atol=1e-3)


def test_blur_is_of_the_films_size():
    fine, coarse = (BY_NAME["blur"].at(0.016)(chest(side, side)) for side in (512, 128))
    np.testing.assert_allclose(fine.reshape(128, 4, 128, 4).mean((1, 3)), coarse, atol=0.06)


def test_a_sample_has_every_class_and_source_in_its_share():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    films = films_of(labels, np.where(np.arange(1000) % 2, "a", "b"))
    chosen = sample(films, np.arange(1000), 100)
    assert len(set(chosen)) == 100
    assert np.bincount(labels[chosen]).tolist() == [60, 30, 10]
    assert abs((films.sources[chosen] == "a").sum() - 50) <= 2
    np.testing.assert_array_equal(chosen, sample(films, np.arange(1000), 100))


def test_few_films_are_all_taken():
    rows = np.arange(3, 9)
    np.testing.assert_array_equal(sample(films_of([0] * 9, ["a"] * 9), rows, 20), rows)


def test_every_alteration_is_measured_at_every_strength_beside_the_untouched_films(tmp_path):
    run = MadeUpRun(tmp_path, recipe=recipe_of(robustness_films=40, resamples=10))
    found = robustness(run, run.calibrated())
    assert (found["films"], found["of"]) == (40, 168)
    assert set(found["alterations"]) == set(BY_NAME)
    for name, one in found["alterations"].items():
        assert [at["strength"] for at in one["strengths"]] == list(BY_NAME[name].strengths)
    worst = found["alterations"]["contrast"]["strengths"][0]
    assert worst["accuracy"][0] < found["untouched"]["accuracy"][0]
