"""One run's folder: a recipe at work, the networks it trains, and what each stage leaves for the next."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from node import network
from node.errors import ConfigError
from training import pictures
from training.data import Films, read_films
from training.fingerprints import CACHE
from training.pictures import Alter, Pictures, Rows
from training.recipe import Recipe
from training.trained import Array, Trained

__all__ = ["Array", "Rows", "Run"]


@dataclass(frozen=True)
class Run:
    """A recipe at work under a folder of runs.

    What it says of films is the mean of its members' logits.

    Attributes
    ----------
    recipe : Recipe
    root : Path
        Holds the runs, and the networks and pictures they share.
    """

    recipe: Recipe
    root: Path

    @cached_property
    def folder(self) -> Path:
        """The run's own folder, named by the recipe's digest."""
        folder = self.root / self.recipe.digest()
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @cached_property
    def films(self) -> Films:
        """The films, checked."""
        data = self.recipe.data
        return read_films(data.manifest, data.images, self.recipe.labels, cache=self.root / CACHE)

    @cached_property
    def pictures(self) -> Pictures:
        """Every film as the networks get it."""
        return pictures.cached(self.films, self.recipe.preprocessing, self.root / "pictures")

    @cached_property
    def members(self) -> tuple[Trained, ...]:
        """The networks of the ensemble, trained or to be trained."""
        return tuple(
            Trained(self.recipe, member, self.films, self.pictures, self.root / "networks")
            for member in self.recipe.members
        )

    def fit(self) -> None:
        """Train the members that are not trained yet."""
        for member in self.members:
            member.fit()

    def logits(self, rows: Rows, alter: Alter | None = None) -> Array:
        """Return the logits of films, (len(rows), classes) float32, before temperature.

        Parameters
        ----------
        rows : ndarray of int
            Positions of the films.
        alter : callable, optional
            Changes each film's plane, float32 (rows, columns) in [0, 1], before it becomes the model's input.
        """
        said: Array = np.mean([member.logits(rows, alter) for member in self.members], axis=0)
        return said

    def features(self, rows: Rows) -> Array:
        """Return the pooled features of films, (len(rows), channels of all members) float32."""
        return np.concatenate([member.features(rows) for member in self.members], axis=1)

    def shares(self, rows: Rows) -> Array:
        """Return each location's share in each logit, (len(rows), map rows, map columns, classes) float32."""
        return np.asarray(ops.convert_to_numpy(network.mean_shares([member.shares(rows) for member in self.members])))

    def without(self, source: str) -> Run:
        """Return the same recipe without any film of a source, trained as the recipe's controls are."""
        data = replace(self.recipe.data, left_out=(*self.recipe.data.left_out, source))
        return self._control(replace(self.recipe, data=data))

    @cached_property
    def random(self) -> Run:
        """The same recipe from random weights: what the data give away by themselves."""
        backbone = replace(self.recipe.backbone, weights="none", origin="random")
        return self._control(replace(self.recipe, backbone=backbone))

    def alone(self, member: Trained) -> Run:
        """Return the run of one member."""
        return self._sharing(replace(self.recipe, members=(member.member,)))

    def keep(self, name: str, form: Any) -> None:
        """Write a stage's JSON."""
        (self.folder / f"{name}.json").write_text(json.dumps(form, indent=1) + "\n")

    def kept(self, name: str) -> Any:
        """Read an earlier stage's JSON.

        Raises
        ------
        ConfigError
            Where that stage has not been run.
        """
        path = self.folder / f"{name}.json"
        try:
            return json.loads(path.read_text())
        except FileNotFoundError as error:
            raise ConfigError(f"{path} is missing: run the stage before, or `cxr-train all`") from error

    def _control(self, recipe: Recipe) -> Run:
        settings = recipe.evaluate
        fit = replace(recipe.fit, stages=recipe.fit.stages[: settings.stages])
        return self._sharing(replace(recipe, members=recipe.members[: settings.members], fit=fit))

    def _sharing(self, recipe: Recipe) -> Run:
        """Return another run on the same films, without reading them again."""
        other = Run(recipe, self.root)
        other.__dict__.update(films=self.films, pictures=self.pictures)
        return other
