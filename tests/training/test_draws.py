"""Draws are even over classes and sources, the same again for the same seed, and go on from any step."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from training.data import Films
from training.draws import Draws, balance, targets_of
from training.recipe import Augment

GENTLE = Augment(
    rotation_deg=5, shift=0, zoom=0, flip=0.5, brightness=0, border=0, coarse_px=None, coarse=0, gray=0, corner=0
)


def films_of(*groups):
    """Make films of (label, source, split, count)."""
    rows = [group[:3] for group in groups for _ in range(group[3])]
    names = np.array([str(number) for number in range(len(rows))])
    labels, sources, splits = (np.array(column) for column in zip(*rows, strict=True))
    return Films(names, labels, sources, splits, names, Path(), {})


@pytest.fixture
def draws():
    films = films_of((0, "a", "train", 30), (1, "a", "train", 5), (2, "b", "train", 5), (0, "b", "test", 3))
    pictures = np.random.default_rng(0).random((len(films), 16, 16)).astype(np.float16)
    return Draws(films, pictures, targets_of(films, 3), films.rows("train"), 8, 7, GENTLE)


def test_a_draw_is_even_over_classes_and_over_the_sources_of_a_class():
    films = films_of((0, "a", "train", 90), (0, "b", "train", 10), (1, "a", "train", 5))
    chance = balance(films, np.arange(len(films)))
    assert chance.sum() == pytest.approx(1)
    assert chance[:90].sum() == pytest.approx(chance[90:100].sum()) == pytest.approx(0.25)
    assert chance[100:].sum() == pytest.approx(0.5)


def test_a_batch_holds_pictures_of_three_channels_and_their_targets(draws):
    pictures, targets = next(draws.since(0))
    assert pictures.shape == (8, 16, 16, 3) and pictures.dtype == np.float32
    assert targets.shape == (8, 6)
    np.testing.assert_array_equal(pictures[..., 0], pictures[..., 2])


def test_draws_go_on_from_a_step_as_if_they_had_never_stopped(draws):
    whole = list(islice(draws.since(0), 5))
    later = list(islice(draws.since(3), 2))
    for (one, its_targets), (other, other_targets) in zip(whole[3:], later, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(its_targets, other_targets)


def test_films_of_other_splits_are_never_drawn(draws):
    seen = np.concatenate([targets for _, targets in islice(draws.since(0), 40)])
    # The test films are the only normal ones of source b, so no target may show that source with class 0.
    assert not ((seen[:, 0] == 1) & (seen[:, 5] == 1)).any()
    assert {tuple(row[:3]) for row in seen} == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}


def test_the_own_classes_of_a_source_are_those_it_has_outside_the_test_split():
    films = films_of((0, "a", "train", 1), (1, "a", "val", 1), (2, "a", "test", 1), (2, "b", "train", 1))
    np.testing.assert_array_equal(targets_of(films, 3)[:, 3:], [[1, 1, 0]] * 3 + [[0, 0, 1]])
