"""Every film as the network gets it, made once by the node's own function and kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.progress import track

from node.pixels import InputSpec, Plane, model_input, read_picture
from training.data import Films

Pictures = npt.NDArray[np.float16]
Rows = npt.NDArray[np.int64]
Alter = Callable[[Plane], Plane]


def cached(films: Films, spec: InputSpec, cache: Path) -> Pictures:
    """Return the picture of every film, from the cache or by making it.

    Parameters
    ----------
    films : Films
    spec : InputSpec
    cache : Path
        Folder of the cache.

    Returns
    -------
    ndarray, (films, spec.rows, spec.columns) float16 in [0, 1], memory-mapped
        One channel, the other two are equal. Rounded to 11 bits, which is finer than the films' 8.
    """
    path = cache / f"{_key(films, spec)}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.part.npy")
        kept = np.lib.format.open_memmap(unfinished, "w+", np.float16, (len(films), spec.rows, spec.columns))
        with ThreadPoolExecutor() as pool:
            made = pool.map(lambda row: picture(films, row, spec), range(len(films)))
            for row, one in track(enumerate(made), "pictures", total=len(films)):
                kept[row] = one[..., 0]
        kept.flush()
        unfinished.rename(path)
    pictures: Pictures = np.load(path, mmap_mode="r")
    return pictures


def picture(films: Films, row: int, spec: InputSpec, alter: Alter | None = None) -> Plane:
    """Return the model input, (rows, columns, 3) float32 in [0, 1], of one film, its plane altered before if asked."""
    plane = read_picture(films.images / str(films.files[row]))
    return model_input(alter(plane) if alter else plane, spec)


def channels(pictures: npt.NDArray[np.floating]) -> Plane:
    """Return pictures of one channel, (..., rows, columns), as the network takes them, (..., rows, columns, 3) float32."""
    return np.repeat(np.asarray(pictures, np.float32)[..., np.newaxis], 3, axis=-1)


def _key(films: Films, spec: InputSpec) -> str:
    """Return a name that changes with whatever changes the pictures."""
    sizes = [[str(file), (films.images / str(file)).stat().st_size] for file in films.files]
    return hashlib.sha256(json.dumps([spec.to_json(), sizes]).encode()).hexdigest()[:16]
