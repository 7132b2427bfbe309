"""Which films are drawn, and what the network is asked of them.

Every draw is balanced over classes and, within a class, over sources: a big source else speaks for its class.
"""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt

from node.pixels import Plane
from training.augment import augmented
from training.data import Films
from training.pictures import Pictures, Rows, channels
from training.recipe import Augment

Targets = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Draws:
    """An endless stream of batches that is the same for the same seed, from any step on.

    Attributes
    ----------
    films : Films
    pictures : ndarray, (films, rows, columns) float16
    targets : ndarray, (films, 2 * classes) float32
        As `targets_of` gives them.
    rows : ndarray of int
        The films to draw from.
    batch, seed : int
    augment : Augment
    """

    films: Films
    pictures: Pictures
    targets: Targets
    rows: Rows
    batch: int
    seed: int
    augment: Augment

    def since(self, step: int) -> Generator[tuple[Plane, Targets], None, None]:
        """Yield batches from this step on: pictures, (batch, rows, columns, 3) float32, and targets; one is made ahead."""
        chance = balance(self.films, self.rows)
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self._batch, step, chance)
            for following in count(step + 1):
                ready, ahead = ahead, pool.submit(self._batch, following, chance)
                yield ready.result()

    def _batch(self, step: int, chance: npt.NDArray[np.float64]) -> tuple[Plane, Targets]:
        rng = np.random.default_rng((self.seed, step))
        rows = self.rows[rng.choice(len(self.rows), self.batch, p=chance)]
        drawn = [augmented(self.pictures[row].astype(np.float32), self.augment, rng) for row in rows]
        return channels(np.stack(drawn)), self.targets[rows]


def balance(films: Films, rows: Rows) -> npt.NDArray[np.float64]:
    """Return the chance of each of these films in a draw: equal for classes, equal for the sources of a class; sum 1."""
    labels, sources = films.labels[rows], films.sources[rows]
    chance = np.zeros(len(rows))
    for label in np.unique(labels):
        held = np.unique(sources[labels == label])
        for source in held:
            group = (labels == label) & (sources == source)
            chance[group] = 1.0 / (len(held) * group.sum())
    shares: npt.NDArray[np.float64] = chance / chance.sum()
    return shares


def targets_of(films: Films, classes: int) -> Targets:
    """Return (films, 2 * classes): the class, one hot, then which classes the film's source has outside the test split."""
    seen = films.splits != "test"
    of_source = {
        source: np.isin(np.arange(classes), films.labels[seen & (films.sources == source)])
        for source in np.unique(films.sources)
    }
    own = np.stack([of_source[source] for source in films.sources])
    return np.hstack([np.eye(classes)[films.labels], own]).astype(np.float32)
