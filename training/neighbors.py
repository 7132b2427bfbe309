"""The training films that the node holds a film against, and from which likeness on it calls one unlike them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from node.bundle import NEIGHBORS, Likeness
from node.likeness import bank_bytes, choose_cut_off, likeness, read_bank
from training.draws import balance
from training.run import Array, Rows, Run

_PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


@dataclass(frozen=True)
class Neighbors:
    """What a bundle needs to tell what is unlike the training films.

    Attributes
    ----------
    bank : bytes
        The file of their features.
    settings : Likeness
    reference : dict
        How like them the validation films are, for a running node to compare itself with.
    """

    bank: bytes
    settings: Likeness
    reference: dict[str, Any]


def neighbors(run: Run) -> Neighbors:
    """Choose the bank among the training films, balanced over classes and sources, and the cut-off on the validation films."""
    wanted = run.recipe.export
    bank = bank_bytes(run.features(_chosen(run)))
    found = _likeness(run.features(used(run, "val")), bank, wanted.neighbors)
    return Neighbors(
        bank,
        Likeness(wanted.neighbors, choose_cut_off(found, wanted.unlike_share)),
        {
            "likeness_percentiles": list(_PERCENTILES),
            "likeness": np.percentile(found, _PERCENTILES).round(4).tolist(),
        },
    )


def used(run: Run, split: str) -> Rows:
    """Return the films of a split that the run learns from."""
    rows = run.films.rows(split)
    return rows[~np.isin(run.films.sources[rows], run.recipe.data.left_out)]


def _chosen(run: Run) -> Rows:
    """Return the films of the bank."""
    rows = used(run, "train")
    size = min(run.recipe.export.bank_films, len(rows))
    rng = np.random.default_rng(run.recipe.members[0].seed)
    return np.sort(rng.choice(rows, size, replace=False, p=balance(run.films, rows)))


def _likeness(features: Array, bank: bytes, k: int) -> Array:
    """Return the likeness to the bank as the node will read it."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / NEIGHBORS
        path.write_bytes(bank)
        return likeness(features, read_bank(path), k)
