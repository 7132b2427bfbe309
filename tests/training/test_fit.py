"""A network learns stage by stage, goes on where it was interrupted, and sees only the films it may."""

import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
import pytest

from node import network
from node.pixels import InputSpec
from training import fit as fitting
from training import recipe as recipes
from training.backbone import starting_model
from training.checkpoint import State
from training.data import Films
from training.fit import Lesson, fit, rate, unfreeze
from training.pictures import channels
from training.recipe import Member, Stage

ROOT = Path(__file__).resolve().parents[2]
SIDE = 32
# Tracing the graph of a stage takes most of the time, and a busy machine makes that long.
pytestmark = [pytest.mark.training, pytest.mark.timeout(900)]


def films_of(*groups):
    """Make films of (label, source, split, count)."""
    rows = [group[:3] for group in groups for _ in range(group[3])]
    names = np.array([str(number) for number in range(len(rows))])
    labels, sources, splits = (np.array(column) for column in zip(*rows, strict=True))
    return Films(names, labels, sources, splits, names, Path(), {})


@pytest.fixture(scope="module")
def films():
    groups = [(0, "a"), (1, "a"), (0, "b"), (2, "b"), (2, "c")]
    return films_of(*[(*group, split, 8) for group in groups for split in ("train", "val", "test")])


@pytest.fixture(scope="module")
def pictures(films):
    """The class is seen in where the bright stripe lies."""
    made = np.random.default_rng(0).random((len(films), SIDE, SIDE)) * 0.3
    for picture, label in zip(made, films.labels, strict=True):
        picture[8 * label + 4 : 8 * label + 10] += 0.6
    return made.astype(np.float16)


@pytest.fixture(scope="module")
def recipe():
    recipe = recipes.load(ROOT / "config" / "training.yaml", weights="none")
    stages = (Stage("head", 1, 0.01), Stage("block6", 2, 0.002))
    small = replace(recipe.fit, stages=stages, steps_per_epoch=5, batch=8, average=0.5, patience=5)
    augment = replace(recipe.augment, shift=0.02, rotation_deg=2, border=0.02, coarse=0.0, corner=0.0, zoom=0.02)
    return replace(recipe, fit=small, preprocessing=InputSpec(SIDE, SIDE), augment=augment)


def lesson(films, pictures, recipe, folder):
    folder.mkdir(parents=True, exist_ok=True)
    return Lesson(films, pictures, recipe, Member(seed=1), folder, "test")


@pytest.fixture(scope="module")
def whole(films, pictures, recipe, tmp_path_factory):
    """A training that nobody interrupted: its folder and its network."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, fit(lesson(films, pictures, recipe, folder))


def briefly(recipe, **settings):
    """One short stage, where what is asked does not depend on stages."""
    return replace(recipe, fit=replace(recipe.fit, stages=(Stage("block7", 1, 0.002),), **settings))


def weights_of(model):
    return np.concatenate([weight.ravel() for weight in model.get_weights()])


def test_the_loss_falls(films, pictures, recipe, tmp_path):
    """By batches of 32: with 8, what BatchNormalization takes for the mean of a batch sways the loss by more than it falls."""
    stages = (Stage("all", 6, 0.003),)
    longer = replace(recipe, fit=replace(recipe.fit, stages=stages, steps_per_epoch=8, batch=32))
    taught = lesson(films, pictures, longer, tmp_path)
    fit(taught)
    losses = [row["loss"] for row in State.load(taught.checkpoint).history]
    assert len(losses) == 6
    assert losses[-1] < 0.5 * losses[0]


def test_an_interrupted_training_ends_as_one_that_was_not(films, pictures, recipe, whole, tmp_path, monkeypatch):
    broken = lesson(films, pictures, recipe, tmp_path / "broken")
    real = fitting._validate

    def interrupted(*arguments):
        if State.load(broken.checkpoint) and State.load(broken.checkpoint).step >= 10:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(fitting, "_validate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(broken)
    monkeypatch.setattr(fitting, "_validate", real)
    stopped_at = State.load(broken.checkpoint).step
    resumed = fit(broken)
    assert stopped_at == 10
    assert State.load(broken.checkpoint).step == 15
    np.testing.assert_allclose(weights_of(resumed), weights_of(whole[1]), atol=1e-5)


def test_films_left_out_and_test_films_change_nothing(films, pictures, recipe, tmp_path):
    without = replace(briefly(recipe), data=replace(recipe.data, left_out=("c",)))
    spoiled = pictures.copy()
    spoiled[(films.sources == "c") | (films.splits == "test")] = 1.0
    one = fit(lesson(films, pictures, without, tmp_path / "one"))
    other = fit(lesson(films, spoiled, without, tmp_path / "other"))
    np.testing.assert_array_equal(weights_of(one), weights_of(other))


def test_another_seed_draws_other_films_and_starts_from_another_head(films, pictures, recipe, tmp_path):
    one, other = (
        replace(lesson(films, pictures, recipe, tmp_path / str(seed)), member=Member(seed=seed)) for seed in (1, 2)
    )
    batches = [next(fitting._draws(each).since(0))[0] for each in (one, other)]
    heads = [starting_model(recipe, each.member).get_layer("head_logits").get_weights()[0] for each in (one, other)]
    assert np.abs(batches[0] - batches[1]).max() > 0.1
    assert np.abs(heads[0] - heads[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("unfrozen_from", "learns", "rests"),
    [
        ("head", [], ["stem_conv", "block7a_project_conv", "top_conv"]),
        ("block6", ["block6a_expand_conv", "block7a_project_conv", "top_bn"], ["stem_conv", "block5c_project_conv"]),
        ("all", ["stem_conv", "block1a_dwconv", "top_conv"], []),
    ],
)
def test_a_stage_lets_learn_what_lies_above_its_block_and_nothing_below(recipe, unfrozen_from, learns, rests):
    model = network.build(recipe.architecture(Member(seed=1)))
    unfreeze(model, unfrozen_from)
    backbone = model.get_layer(network.BACKBONE)
    assert all(backbone.get_layer(name).trainable for name in learns)
    assert not any(backbone.get_layer(name).trainable for name in rests)
    assert model.get_layer("head_logits").trainable


def test_frozen_layers_keep_their_weights_and_their_statistics(recipe, whole):
    untrained, trained = starting_model(recipe, Member(seed=1)), whole[1]
    for name, same in (("block1a_bn", True), ("block5a_dwconv", True), ("block6a_bn", False), ("top_conv", False)):
        before, after = (
            model.get_layer(network.BACKBONE).get_layer(name).get_weights() for model in (untrained, trained)
        )
        assert all(np.array_equal(b, a) for b, a in zip(before, after, strict=True)) == same, name


def test_the_rate_rises_over_a_tenth_then_falls_to_nothing_and_is_halved_when_asked():
    stage = Stage("all", 1, 0.1)
    rates = [rate(stage, 100, step, 0) for step in range(100)]
    assert all(a < b for a, b in pairwise(rates[:10]))
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert max(rates) <= 0.1 and rates[-1] < 0.001
    assert rate(stage, 100, 50, 2) == pytest.approx(rates[50] / 4)


def test_a_stage_without_a_better_loss_is_slowed_then_over_and_the_best_is_kept():
    state = State.fresh([np.zeros(2, np.float32)])
    state.average = [np.ones(2, np.float32)]
    state.judge(0.5, patience=4)
    state.average = [np.full(2, 9.0, np.float32)]
    halved = []
    for _ in range(4):
        state.judge(0.6, patience=4)
        halved.append(state.halvings)
    assert halved == [0, 1, 1, 1]
    assert state.since_better == 4
    np.testing.assert_array_equal(state.best[0], np.ones(2))


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    arrays = [np.arange(3, dtype=np.float32), np.ones((2, 2), np.float32)]
    state = State(*([a + more for a in arrays] for more in range(5)), stage=1, epoch=2)
    state.history = [{"step": 5, "stage": "head", "loss": 0.25}]
    state.best_loss = 0.125
    state.save(tmp_path / "checkpoint.npz")
    read = State.load(tmp_path / "checkpoint.npz")
    for group in ("weights", "average", "best", "begun", "optimizer"):
        for one, other in zip(getattr(state, group), getattr(read, group), strict=True):
            np.testing.assert_array_equal(one, other)
    assert (read.stage, read.epoch, read.best_loss, read.history) == (1, 2, 0.125, state.history)


@pytest.mark.parametrize(("share", "kept"), [(0.0, 1.0), (0.25, 1.5), (1.0, 3.0)])
def test_what_is_kept_lies_between_the_beginning_of_the_last_stage_and_its_best(share, kept):
    state = State.fresh([np.float32([1.0])])
    state.begin_stage(1)
    state.average = [np.float32([3.0])]
    state.judge(0.5, patience=4)
    np.testing.assert_array_equal(state.blended(share), [[kept]])


def test_a_training_of_several_stages_keeps_a_blend_and_one_of_a_single_stage_its_best(
    films, pictures, recipe, tmp_path
):
    several = lesson(films, pictures, replace(recipe, fit=replace(recipe.fit, blend=0.5)), tmp_path / "several")
    kept = fit(several).get_weights()
    state = State.load(several.checkpoint)
    for one, begun, best in zip(kept, state.begun, state.best, strict=True):
        np.testing.assert_allclose(one, (begun + best) / 2, rtol=1e-6)
    single = lesson(films, pictures, briefly(recipe, blend=0.5), tmp_path / "single")
    kept = fit(single).get_weights()
    for one, best in zip(kept, State.load(single.checkpoint).best, strict=True):
        np.testing.assert_array_equal(one, best)


def test_an_epoch_leaves_its_figures_for_people_and_programs(whole):
    folder, _ = whole
    rows = json.loads((folder / "history.json").read_text())
    assert [row["stage"] for row in rows] == ["head", "block6", "block6"]
    assert [row["step"] for row in rows] == [5, 10, 15]
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert any((folder / "tensorboard").iterdir())


def test_the_network_that_a_training_returns_says_what_its_file_says(films, pictures, recipe, tmp_path):
    model = fit(lesson(films, pictures, briefly(recipe), tmp_path))
    model.save_weights(tmp_path / "model.weights.h5")
    read = network.build(recipe.architecture(Member(seed=1)))
    read.load_weights(tmp_path / "model.weights.h5")
    shown = channels(pictures[:4])
    np.testing.assert_allclose(model.predict_on_batch(shown), read.predict_on_batch(shown), atol=1e-5)


def test_mixed_precision_trains_and_keeps_float32_weights(films, pictures, recipe, tmp_path):
    mixed = briefly(recipe, precision="mixed_bfloat16")
    model = fit(lesson(films, pictures, mixed, tmp_path))
    assert {str(weight.dtype) for weight in model.trainable_weights} == {"float32"}
    assert np.isfinite(weights_of(model)).all()
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_the_training_runs_on_other_backends_of_keras(backend, tmp_path, other_backend):
    other_backend(backend)
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("smoke.py")), str(tmp_path)],
        env={"KERAS_BACKEND": backend, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.split()[-2:] == [backend, "trained"]
