"""Where a training stands, kept on disk after every epoch, so that an interrupted one goes on from there."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = list[npt.NDArray[Any]]
_GROUPS = ("weights", "average", "best", "begun", "optimizer")
_FACTS = ("stage", "epoch", "step", "best_loss", "since_better", "halvings", "history")


@dataclass
class State:
    """A training between two epochs.

    Attributes
    ----------
    weights, average, best, begun : list of ndarray
        The network as it is trained, its running average, the average of the least validation loss, and what the stage began with.
    optimizer : list of ndarray
        Empty where a stage begins.
    stage, epoch : int
        What comes next; epochs are counted within the stage.
    step : int
        Batches drawn so far, over all stages.
    best_loss : float
        Of this stage or any before.
    since_better, halvings : int
        Epochs of the stage since a better loss; how often its learning rate was halved.
    history : list of dict
        A row an epoch.
    """

    weights: Arrays
    average: Arrays
    best: Arrays
    begun: Arrays
    optimizer: Arrays = field(default_factory=list)
    stage: int = 0
    epoch: int = 0
    step: int = 0
    best_loss: float = float("inf")
    since_better: int = 0
    halvings: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def fresh(cls, weights: Arrays) -> State:
        """Begin with a network's first weights."""
        average, best, begun = ([weight.copy() for weight in weights] for _ in range(3))
        return cls(weights, average, best, begun)

    def judge(self, loss: float, patience: int) -> None:
        """Take in an epoch's validation loss: keep the average if it is better, halve the rate after half the patience."""
        if loss < self.best_loss:
            self.best_loss, self.since_better = loss, 0
            self.best = [weight.copy() for weight in self.average]
            return
        self.since_better += 1
        if self.since_better == max(1, patience // 2):
            self.halvings += 1

    def begin_stage(self, stage: int) -> None:
        """Start a stage from the best weights so far, with a new optimizer."""
        self.stage, self.epoch, self.since_better, self.halvings = stage, 0, 0, 0
        self.weights = [weight.copy() for weight in self.best]
        self.average = [weight.copy() for weight in self.best]
        self.begun = [weight.copy() for weight in self.best]
        self.optimizer = []

    def blended(self, share: float) -> Arrays:
        """Return the best weights of the stage, as to a share of them, and what the stage began with."""
        return [
            ((1 - share) * begun + share * best).astype(best.dtype)
            for begun, best in zip(self.begun, self.best, strict=True)
        ]

    def save(self, path: Path) -> None:
        """Write everything, or nothing."""
        facts = json.dumps({name: getattr(self, name) for name in _FACTS})
        arrays = {f"{group}/{n:04d}": array for group in _GROUPS for n, array in enumerate(getattr(self, group))}
        unfinished = path.with_suffix(".part.npz")
        np.savez(unfinished, facts=np.array(facts), **arrays)
        unfinished.rename(path)

    @classmethod
    def load(cls, path: Path) -> State | None:
        """Read what `save` wrote; None where there is nothing."""
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as kept:
            groups: dict[str, Any] = {
                group: [kept[name] for name in sorted(kept.files) if name.startswith(f"{group}/")] for group in _GROUPS
            }
            return cls(**groups, **json.loads(str(kept["facts"])))
