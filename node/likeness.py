"""How like a film is to those the model was trained on, told from the model's own features.

The likeness is the mean cosine similarity to the k nearest of a few hundred training films, which the bundle carries. Below
the bundle's cut-off a film is called unlike. That warns and refuses nothing: measured once, on features of EfficientNetB0 at
128 px with k = 10, it told photographs (AUC .998), other radiographs (.94), turned (.98) and inverted films (.85) from chest
films, but took 4 of 7 real chest films of other machines for strange.

References
----------
Sun et al. 2022, Out-of-Distribution Detection with Deep Nearest Neighbors, arXiv:2204.06507.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from node.errors import BundleError

_FEATURES = "features"
_PLACES = 1e4

Array = npt.NDArray[np.float32]


def likeness(features: Array, bank: Array, k: int) -> Array:
    """Return how like each film is to the films of a bank.

    Parameters
    ----------
    features : ndarray, (films, channels) float32
        Pooled features; those of an ensemble's members side by side.
    bank : ndarray, (films of the bank, channels) float32
        Each of length 1, as `read_bank` gives them: making them so anew took longer than all else here.
    k : int
        Nearest neighbors, at most the films of the bank.

    Returns
    -------
    ndarray, (films,) float32 in [-1, 1]
        Mean cosine similarity to the k nearest; 0 where all features of a film are 0.

    Raises
    ------
    ValueError
        Where the bank has fewer than k films.
    """
    if k > len(bank):
        raise ValueError(f"{k} nearest neighbors are asked for in a bank of {len(bank)} films")
    cosines = unit(features) @ bank.T
    nearest: Array = np.partition(cosines, len(bank) - k, axis=1)[:, len(bank) - k :].mean(1, dtype=np.float32)
    return nearest


def bank_bytes(features: Array) -> bytes:
    """Return the file that keeps a bank: features of length 1, in half precision, as NPZ without pickle.

    Parameters
    ----------
    features : ndarray, (films, channels) float32
        Of training films, some hundred of each class, of all sources alike.
    """
    buffer = BytesIO()
    np.savez(buffer, allow_pickle=False, **{_FEATURES: unit(features).astype(np.float16)})
    return buffer.getvalue()


def read_bank(path: Path) -> Array:
    """Read what `bank_bytes` gave, (films, channels) float32, each of length 1.

    Raises
    ------
    BundleError
        Where the file holds no bank.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            bank: Array = archive[_FEATURES].astype(np.float32)
    except (OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, BadZipFile) as error:
        raise BundleError(f"{path}: holds no features of training films; export the bundle again: {error}") from error
    if bank.ndim != 2 or not bank.size or not np.isfinite(bank).all():
        raise BundleError(f"{path}: holds no features of training films; export the bundle again")
    return unit(bank)


def choose_cut_off(likenesses: Array, unlike: float) -> float:
    """Return the cut-off, to four places, below which at most this share of films lies.

    Parameters
    ----------
    likenesses : ndarray, (films,) float32
        Of films like those the node will see: the validation films, none of which is in the bank.
    unlike : float
        Share of them that may be called unlike, e.g. 0.01.
    """
    return float(np.floor(float(np.quantile(likenesses, unlike)) * _PLACES) / _PLACES)


def unit(features: Array) -> Array:
    """Return features at length 1, (films, channels) float32; where all of a film are 0 they stay so."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit: Array = np.divide(features, lengths, out=np.zeros_like(features, np.float32), where=lengths > 0)
    return unit
