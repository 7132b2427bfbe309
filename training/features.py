"""The frozen backbone, run once over every film and kept on disk: the head then trains in seconds.

Each film is kept in a few copies, which is all the augmentation a cached feature allows: mirrored, blurred to a low effective
resolution, and with its border cut away, because resolution and border give the source of a film away.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import keras
import numpy as np
import numpy.typing as npt
from rich.progress import track

from node import network
from node.pixels import Plane, model_input, read_picture
from training.backbone import starting_model
from training.data import Films
from training.recipe import Recipe, weights_digest

Features = npt.NDArray[np.float32]
# 5 % of each side holds the collimator's edge and most markers.
_BORDER = 0.05


def cached(films: Films, recipe: Recipe, copy: str, cache: Path) -> Features:
    """Return the pooled features of one copy of every film, from the cache or by running the backbone.

    Parameters
    ----------
    films : Films
    recipe : Recipe
    copy : {"plain", "flipped", "coarse", "cropped"}
    cache : Path
        Folder of the cache.

    Returns
    -------
    ndarray, (films, channels) float32, memory-mapped
    """
    path = cache / f"{copy}-{_key(films, recipe, copy)}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part.npy")
        np.save(unfinished, _extract(films, recipe, copy))
        unfinished.rename(path)
    features: Features = np.load(path, mmap_mode="r")
    return features


def altered(plane: Plane, copy: str, coarse_px: int) -> Plane:
    """Return a copy of a plane: as it is, mirrored, coarse, or without its border."""
    changes: dict[str, Callable[[], Plane]] = {
        "plain": lambda: plane,
        "flipped": lambda: np.ascontiguousarray(plane[:, ::-1]),
        "coarse": lambda: _coarse(plane, coarse_px),
        "cropped": lambda: _cropped(plane),
    }
    return changes[copy]()


def pictures(films: Films, rows: npt.NDArray[np.int64], recipe: Recipe, copy: str = "plain") -> Plane:
    """Return model inputs, (films, rows, columns, 3) float32 in [0, 1], of the films at these positions."""

    def one(row: int) -> Plane:
        plane = altered(read_picture(films.images / str(films.files[row])), copy, recipe.features.coarse_px)
        return model_input(plane, recipe.preprocessing)

    with ThreadPoolExecutor() as pool:
        return np.stack([*pool.map(one, rows)])


def _coarse(plane: Plane, size: int) -> Plane:
    if min(plane.shape) <= size:
        return plane
    coarse: Plane = cv2.resize(plane, (size, size), interpolation=cv2.INTER_AREA)
    return coarse


def _cropped(plane: Plane) -> Plane:
    rows, columns = (round(side * _BORDER) for side in plane.shape)
    return np.ascontiguousarray(plane[rows : plane.shape[0] - rows, columns : plane.shape[1] - columns])


def _extract(films: Films, recipe: Recipe, copy: str) -> Features:
    extractor = network.feature_map(starting_model(recipe))
    pooled = keras.Sequential([extractor, keras.layers.GlobalAveragePooling2D()])
    size = recipe.features.batch
    batches = [np.arange(first, min(first + size, len(films))) for first in range(0, len(films), size)]
    parts = [
        pooled.predict_on_batch(pictures(films, rows, recipe, copy)) for rows in track(batches, f"features: {copy}")
    ]
    return np.concatenate(parts)


def _key(films: Films, recipe: Recipe, copy: str) -> str:
    """Return a name that changes with whatever changes the features."""
    weights = recipe.backbone.weights
    facts = {
        "weights": weights_digest(weights) if weights != "none" else f"random {recipe.seed}",
        "activation": recipe.backbone.activation,
        "preprocessing": recipe.preprocessing.to_json(),
        "coarse_px": recipe.features.coarse_px if copy == "coarse" else None,
        "films": [[str(file), (films.images / str(file)).stat().st_size] for file in films.files],
    }
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
