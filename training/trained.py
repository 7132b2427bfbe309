"""One trained network at work: what it says of films, kept on disk, for every stage after the training."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops
from rich.progress import track

from node import network
from node.bundle import WEIGHTS, Architecture
from training.data import Films
from training.fit import Lesson, fit
from training.pictures import Alter, Pictures, Rows, channels, picture
from training.recipe import Member, Recipe

Array = npt.NDArray[np.float32]
_SAID_AT_ONCE = 32


@dataclass(frozen=True)
class Trained:
    """A member of a run.

    Attributes
    ----------
    recipe : Recipe
    member : Member
    films : Films
    pictures : ndarray, (films, rows, columns) float16
    root : Path
        Holds the folders of networks.
    """

    recipe: Recipe
    member: Member
    films: Films
    pictures: Pictures
    root: Path

    @cached_property
    def folder(self) -> Path:
        """The network's own folder, named by what decides its weights: two runs that agree in it share the network."""
        folder = self.root / self.recipe.network_digest(self.member)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def weights(self) -> Path:
        """The trained weights."""
        return self.folder / WEIGHTS

    @property
    def architecture(self) -> Architecture:
        """The network's graph."""
        return self.recipe.architecture(self.member)

    def fit(self) -> None:
        """Train, unless that is done; an interrupted training goes on where it was."""
        if self.weights.exists():
            return
        lesson = Lesson(self.films, self.pictures, self.recipe, self.member, self.folder, self._title)
        unfinished = self.folder / f"unfinished.{WEIGHTS}"
        fit(lesson).save_weights(unfinished)
        unfinished.rename(self.weights)
        lesson.checkpoint.unlink()

    @property
    def history(self) -> list[dict[str, Any]]:
        """What the training said after each epoch."""
        rows: list[dict[str, Any]] = json.loads((self.folder / "history.json").read_text())
        return rows

    @property
    def _title(self) -> str:
        left_out = f" without {', '.join(self.recipe.data.left_out)}" if self.recipe.data.left_out else ""
        random = " from random weights" if self.recipe.backbone.weights == "none" else ""
        return f"{self.member.graph} seed {self.member.seed}{left_out}{random}"

    @cached_property
    def model(self) -> keras.Model:
        """The network with its trained weights; trains it first where that has not been done."""
        self.fit()
        model = network.build(self.architecture)
        model.load_weights(self.weights)
        return model

    @cached_property
    def head(self) -> network.Head:
        """The head as a formula."""
        return network.Head.of(self.model)

    def features(self, rows: Rows) -> Array:
        """Return the pooled features of films, (len(rows), channels)."""
        return self._kept("features", rows, self._pooled)

    def logits(self, rows: Rows, alter: Alter | None = None) -> Array:
        """Return the logits of films, (len(rows), classes), before temperature; `alter` changes each film's plane first."""
        if alter is None:
            return self.head.logits(self.features(rows))
        return self.head.logits(self._pooled(rows, alter))

    def shares(self, rows: Rows) -> Array:
        """Return each location's share in each logit, (len(rows), map rows, map columns, classes)."""
        return self._kept("shares", rows, lambda chosen: self.head.shares(self._maps(chosen)))

    def _pooled(self, rows: Rows, alter: Alter | None = None) -> Array:
        return self._through(lambda features: features.mean((1, 2)), rows, alter)

    def _maps(self, rows: Rows) -> Array:
        return self._through(lambda features: features, rows)

    @cached_property
    def _feature_map(self) -> keras.Model:
        return network.feature_map(self.model)

    def _through(self, reduced: Callable[[Array], Array], rows: Rows, alter: Alter | None = None) -> Array:
        parts = [rows[first : first + _SAID_AT_ONCE] for first in range(0, len(rows), _SAID_AT_ONCE)]
        return np.concatenate(
            [
                reduced(ops.convert_to_numpy(self._feature_map.predict_on_batch(self._pictures(part, alter))))
                for part in track(parts, self._title)
            ]
        )

    def _pictures(self, rows: Rows, alter: Alter | None) -> Array:
        if alter is None:
            return channels(self.pictures[rows])
        with ThreadPoolExecutor() as pool:
            return np.stack([*pool.map(lambda row: picture(self.films, row, self.recipe.preprocessing, alter), rows)])

    def _kept(self, name: str, rows: Rows, make: Callable[[Rows], Array]) -> Array:
        asked = hashlib.sha256(np.ascontiguousarray(rows, np.int64).tobytes()).hexdigest()[:16]
        path = self.folder / f"{name}-{asked}.npy"
        self.fit()
        if not path.exists():
            unfinished = path.with_suffix(f".{os.getpid()}.part.npy")
            np.save(unfinished, make(rows))
            unfinished.rename(path)
        found: Array = np.load(path)
        return found
