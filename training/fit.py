"""One network trained by gradual unfreezing: the head, then deeper and deeper blocks.

Half of the loss is over all classes, half over those that exist in the film's own source: it can then only be lowered by what
differs between films of one source, not by what differs between sources (measured: +.035 [.005, .056] AUC on a source left out).
What is kept is a running average of the weights, from the epoch of the least validation loss; and of that and what the last stage
began with, the weighted mean (Wortsman et al. 2022, Robust fine-tuning of zero-shot models, arXiv:2109.01903).
"""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from node import network
from training.backbone import starting_model
from training.checkpoint import Arrays, State
from training.data import Films
from training.draws import Draws, Targets, balance, targets_of
from training.logbook import Logbook
from training.pictures import Pictures, Rows, channels
from training.recipe import Fit, Member, Recipe, Stage

_EXCLUDED = -1e9
_WARM_UP = 0.1
# Copying the weights into the average at every step would cost 2 % of it.
_AVERAGE_EVERY = 5
_SAID_AT_ONCE = 32


@dataclass(frozen=True)
class Lesson:
    """What one network is trained on, and where its checkpoint and logs are.

    Attributes
    ----------
    films : Films
    pictures : ndarray, (films, rows, columns) float16
    recipe : Recipe
    member : Member
    folder : Path
    title : str
        For the progress bar.
    """

    films: Films
    pictures: Pictures
    recipe: Recipe
    member: Member
    folder: Path
    title: str

    def rows(self, split: str) -> Rows:
        """Return the positions of a split's films that the recipe does not leave out."""
        rows = self.films.rows(split)
        return rows[~np.isin(self.films.sources[rows], self.recipe.data.left_out)]

    @property
    def checkpoint(self) -> Path:
        """Where the training stands."""
        return self.folder / "checkpoint.npz"


def fit(lesson: Lesson) -> keras.Model:
    """Train on the train split, choose the epoch on the val split; go on from the checkpoint where there is one.

    Returns
    -------
    keras.Model
        With the weights to keep, in float32.
    """
    settings = lesson.recipe.fit
    keras.config.set_dtype_policy(settings.precision)
    try:
        model = starting_model(lesson.recipe, lesson.member)
        state = State.load(lesson.checkpoint) or State.fresh(model.get_weights())
        with _bar() as bar:
            task = bar.add_task(lesson.title, total=_steps(settings), completed=state.step, said="")
            for number in range(state.stage, len(settings.stages)):
                if number > state.stage:
                    state.begin_stage(number)
                    state.save(lesson.checkpoint)
                _run_stage(lesson, model, state, lambda **said: bar.update(task, **said))
    finally:
        keras.config.set_dtype_policy("float32")
    trained = network.build(lesson.recipe.architecture(lesson.member))
    # A first stage begins with a head that has learned nothing.
    set_weights(trained, state.blended(settings.blend if len(settings.stages) > 1 else 1.0))
    return trained


def set_weights(model: keras.Model, weights: Arrays) -> None:
    """Give a network its weights, and its Normalization the mean and variance among them.

    That layer computes with copies, which Keras makes anew when a file is loaded and not when weights are set.
    """
    model.set_weights(weights)
    for layer in model.get_layer(network.BACKBONE).layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def rate(stage: Stage, steps: int, step: int, halvings: int) -> float:
    """Return the learning rate of a step of a stage: up a line over the first tenth, down a cosine to 0, and halved."""
    done = step / steps
    risen = min(1.0, (step + 1) / (_WARM_UP * steps))
    return float(stage.learning_rate * risen * 0.5 * (1 + math.cos(math.pi * done)) * 0.5**halvings)


def unfreeze(model: keras.Model, unfrozen_from: str) -> None:
    """Let the head learn, and the backbone's layers from the first of a block on.

    A frozen BatchNormalization keeps the statistics it has, too.
    """
    backbone = model.get_layer(network.BACKBONE)
    backbone.trainable = True
    learns = unfrozen_from == "all"
    for layer in backbone.layers:
        learns = learns or (unfrozen_from != "head" and layer.name.startswith(unfrozen_from))
        layer.trainable = learns


def _run_stage(lesson: Lesson, model: keras.Model, state: State, say: Any) -> None:
    settings, stage = lesson.recipe.fit, lesson.recipe.fit.stages[state.stage]
    steps = settings.steps_per_epoch
    optimizer = _compiled(model, lesson.recipe, stage, state)
    logbook = Logbook(lesson.folder, state.history)
    with closing(_draws(lesson).since(state.step)) as draws:
        for epoch in range(state.epoch, stage.epochs):
            if state.since_better >= settings.patience:
                say(advance=(stage.epochs - epoch) * steps)
                return
            model.reset_metrics()
            for step in range(epoch * steps, (epoch + 1) * steps):
                optimizer.learning_rate = rate(stage, stage.epochs * steps, step, state.halvings)
                loss = float(model.train_on_batch(*next(draws)))
                state.step += 1
                if state.step % _AVERAGE_EVERY == 0:
                    _take_in(state, model.get_weights(), settings.average)
                say(advance=1, said=f"{stage.unfrozen_from}: loss {loss:.3f}, best val {state.best_loss:.3f}")
            state.weights, state.epoch = model.get_weights(), epoch + 1
            val = _validate(lesson, model, state)
            state.optimizer = [ops.convert_to_numpy(variable) for variable in optimizer.variables]
            state.judge(val["val_loss"], settings.patience)
            logbook.write(
                {"step": state.step, "stage": stage.unfrozen_from, "loss": loss, **val}
                | {"learning_rate": float(ops.convert_to_numpy(optimizer.learning_rate))}
            )
            state.save(lesson.checkpoint)


def _compiled(model: keras.Model, recipe: Recipe, stage: Stage, state: State) -> keras.optimizers.Optimizer:
    unfreeze(model, stage.unfrozen_from)
    model.set_weights(state.weights)
    model.compile(
        optimizer=keras.optimizers.AdamW(stage.learning_rate, weight_decay=recipe.fit.weight_decay),
        loss=_loss(recipe),
    )
    optimizer = model.optimizer
    optimizer.build(model.trainable_variables)
    for variable, value in zip(optimizer.variables, state.optimizer, strict=False):
        variable.assign(value)
    return optimizer


def _draws(lesson: Lesson) -> Draws:
    recipe, member = lesson.recipe, lesson.member
    targets = targets_of(lesson.films, len(recipe.classes))
    return Draws(
        lesson.films, lesson.pictures, targets, lesson.rows("train"), recipe.fit.batch, member.seed, recipe.augment
    )


def _take_in(state: State, weights: list[Any], decay: float) -> None:
    """Move the average towards the weights."""
    for average, weight in zip(state.average, weights, strict=True):
        average += (weight - average) * average.dtype.type(1 - decay**_AVERAGE_EVERY)


def _validate(lesson: Lesson, model: keras.Model, state: State) -> dict[str, float]:
    """Measure the averaged network on the validation films, balanced as the draws are; the model keeps its own weights."""
    rows = lesson.rows("val")
    classes = len(lesson.recipe.classes)
    targets = targets_of(lesson.films, classes)[rows]
    model.set_weights(state.average)
    parts = [
        ops.convert_to_numpy(model.predict_on_batch(channels(lesson.pictures[rows[first : first + _SAID_AT_ONCE]])))
        for first in range(0, len(rows), _SAID_AT_ONCE)
    ]
    model.set_weights(state.weights)
    logits = np.concatenate(parts).astype(np.float32)
    losses = ops.convert_to_numpy(_loss(lesson.recipe)(targets, logits))
    weight = balance(lesson.films, rows)
    right = logits.argmax(1) == lesson.films.labels[rows]
    return {"val_loss": float(losses @ weight), "val_accuracy": float(right @ weight)}


def _loss(recipe: Recipe) -> Any:
    classes, share = len(recipe.classes), recipe.fit.own_source

    def loss(targets: Targets, logits: Any) -> Any:
        targets, logits = ops.convert_to_tensor(targets), ops.cast(logits, "float32")
        truth, own = targets[:, :classes], targets[:, classes:]
        over_all = -ops.sum(truth * ops.log_softmax(logits), -1)
        over_own = -ops.sum(truth * ops.log_softmax(logits + (1.0 - own) * _EXCLUDED), -1)
        return (1.0 - share) * over_all + share * over_own

    return loss


def _steps(settings: Fit) -> int:
    return sum(stage.epochs for stage in settings.stages) * settings.steps_per_epoch


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, TextColumn("{task.fields[said]}"))
