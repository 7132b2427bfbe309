"""One run's folder: what each stage leaves for the next."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from node import network
from node.bundle import WEIGHTS
from node.errors import ConfigError
from training.data import Films, read_films
from training.features import Features, cached
from training.recipe import Recipe

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Run:
    """A recipe at work under a folder of runs.

    Attributes
    ----------
    recipe : Recipe
    root : Path
        Holds the runs, and the features they share.
    """

    recipe: Recipe
    root: Path

    @cached_property
    def folder(self) -> Path:
        """The run's own folder, named by the recipe's digest."""
        folder = self.root / self.recipe.digest()
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def weights(self) -> Path:
        """The trained network's weights."""
        return self.folder / WEIGHTS

    @cached_property
    def films(self) -> Films:
        """The films, checked."""
        return read_films(self.recipe.data.manifest, self.recipe.data.images, self.recipe.labels)

    @cached_property
    def copies(self) -> list[Features]:
        """The features of each copy, the plain one first."""
        names = dict.fromkeys(("plain", *self.recipe.features.copies))
        return [cached(self.films, self.recipe, name, self.root / "features") for name in names]

    @cached_property
    def plain(self) -> Features:
        """The features of the films as they are: what val and test films are measured on."""
        return cached(self.films, self.recipe, "plain", self.root / "features")

    @cached_property
    def head(self) -> network.Head:
        """The trained head.

        Raises
        ------
        ConfigError
            Where the run has not been fitted.
        """
        if not self.weights.exists():
            raise ConfigError(f"{self.weights} is missing: run `cxr-train fit` first")
        model = network.build(self.recipe.architecture)
        model.load_weights(self.weights)
        return network.Head.of(model)

    @cached_property
    def random(self) -> Run:
        """The same run on a random backbone: the control."""
        return Run(replace(self.recipe, backbone=replace(self.recipe.backbone, weights="none")), self.root)

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
