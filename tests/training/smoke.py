"""The smallest training there is, on whatever backend KERAS_BACKEND names; run as a program, with a folder to work in."""

import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from node.pixels import InputSpec
from training import recipe as recipes
from training.backbone import starting_model
from training.checkpoint import State
from training.data import Films
from training.fit import Lesson, fit
from training.recipe import Member, Stage


def main(folder):
    """Train on stripes, and say whether every loss was a number and the weights moved; eighteen steps need not lower a loss."""
    recipe = recipes.load(Path(__file__).resolve().parents[2] / "config" / "training.yaml", weights="none")
    settings = replace(recipe.fit, stages=(Stage("all", 3, 0.003),), steps_per_epoch=6, batch=6, average=0.5)
    recipe = replace(recipe, fit=settings, preprocessing=InputSpec(32, 32))
    labels = np.tile([0, 1, 2], 12)
    names = np.array([str(number) for number in range(len(labels))])
    splits = np.repeat(["train", "val", "test"], 12)
    films = Films(names, labels, np.full(len(labels), "a"), splits, names, folder, {})
    pictures = np.random.default_rng(0).random((len(labels), 32, 32)) * 0.3
    for picture, label in zip(pictures, labels, strict=True):
        picture[8 * label + 4 : 8 * label + 10] += 0.6
    lesson = Lesson(films, pictures.astype(np.float16), recipe, Member(seed=1), folder, "smoke")
    before = starting_model(recipe, lesson.member).get_weights()
    after = fit(lesson).get_weights()
    losses = [value for row in State.load(lesson.checkpoint).history for value in (row["loss"], row["val_loss"])]
    moved = any(np.abs(new - old).max() > 1e-4 for new, old in zip(after, before, strict=True))
    print(keras.backend.backend(), "trained" if moved and np.isfinite(losses).all() else f"failed: {losses}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
