"""The head is drawn evenly over classes and sources, and learns."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training import recipe as recipes
from training.data import Films
from training.fit import balance, fit_head

SHIPPED = Path(__file__).resolve().parents[2] / "config" / "training.yaml"


def films_of(*groups):
    """Make films of (label, source, split, count)."""
    rows = [group[:3] for group in groups for _ in range(group[3])]
    names = np.array([str(number) for number in range(len(rows))])
    labels, sources, splits = (np.array(column) for column in zip(*rows, strict=True))
    return Films(names, labels, sources, splits, names, Path(), {})


@pytest.fixture(scope="module")
def recipe():
    recipe = recipes.load(SHIPPED)
    return replace(recipe, fit=replace(recipe.fit, epochs=3, steps_per_epoch=20, learning_rate=0.01))


@pytest.fixture(scope="module")
def films():
    groups = [(0, "a"), (1, "a"), (0, "b"), (2, "b"), (2, "c")]
    return films_of(
        *[(*group, split, count) for group in groups for split, count in (("train", 60), ("val", 30), ("test", 30))]
    )


def features_of(films, strength=1.0):
    """Make features of which the first three tell the class."""
    features = np.random.default_rng(1).normal(size=(len(films), 16)).astype(np.float32)
    features[np.arange(len(films)), films.labels] += strength
    return features


def accuracy(head, films, features, split):
    rows = films.rows(split)
    return (head.logits(features[rows]).argmax(1) == films.labels[rows]).mean()


def test_a_draw_is_even_over_classes_and_over_the_sources_of_a_class():
    films = films_of((0, "a", "train", 90), (0, "b", "train", 10), (1, "a", "train", 5))
    chance = balance(films, np.arange(len(films)))
    assert chance.sum() == pytest.approx(1)
    assert chance[:90].sum() == pytest.approx(chance[90:100].sum()) == pytest.approx(0.25)
    assert chance[100:].sum() == pytest.approx(0.5)


def test_the_head_learns_what_the_features_tell(films, recipe):
    features = features_of(films, 4.0)
    head = fit_head(films, [features], recipe).head
    assert accuracy(head, films, features, "test") > 0.9


def test_the_head_learns_nothing_from_noise(films, recipe):
    features = features_of(films, 0.0)
    head = fit_head(films, [features], recipe).head
    assert accuracy(head, films, features, "test") < 0.6


def test_the_normal_class_has_logit_zero(films, recipe):
    features = features_of(films)
    logits = fit_head(films, [features], recipe).head.logits(features)
    assert np.abs(logits[:, 0]).max() < 1e-5
    assert np.abs(logits[:, 1:]).max() > 0.1


def test_a_source_left_out_changes_nothing_whatever_its_features(films, recipe):
    features = features_of(films)
    spoiled = np.where((films.sources == "c")[:, np.newaxis], 1e3, features).astype(np.float32)
    one, other = (fit_head(films, [given], recipe, left_out="c").head for given in (features, spoiled))
    np.testing.assert_array_equal(one.kernel, other.kernel)


def test_the_test_split_changes_nothing(films, recipe):
    features = features_of(films)
    spoiled = np.where((films.splits == "test")[:, np.newaxis], 1e3, features).astype(np.float32)
    one, other = (fit_head(films, [given], recipe).head for given in (features, spoiled))
    np.testing.assert_array_equal(one.kernel, other.kernel)


def test_the_loss_within_a_source_does_not_learn_a_class_that_has_no_other_beside_it():
    """All of the loss within the source: a source of one class teaches nothing, so its films pull no logit."""
    recipe = recipes.load(SHIPPED)
    groups = [(0, "a"), (1, "a"), (2, "c")]
    films = films_of(*[(*group, split, 60) for group in groups for split in ("train", "val", "test")])
    features = features_of(films, 4.0)
    settings = replace(recipe.fit, epochs=3, steps_per_epoch=20, learning_rate=0.01)
    within, over_all = (
        fit_head(films, [features], replace(recipe, fit=replace(settings, own_source=share))).head
        for share in (1.0, 0.0)
    )
    third = films.rows("test")[films.labels[films.rows("test")] == 2]
    assert (over_all.logits(features[third]).argmax(1) == 2).mean() > 0.8
    assert (within.logits(features[third]).argmax(1) == 2).mean() < 0.6
