"""Weights in half the space: what a bundle ships, where the recipe wants it small.

The large kernels, nearly all of the numbers, are rounded to 16 bit; small ones, biases and the statistics of
BatchNormalization stay as they are. Keras widens the kernels again as it loads them, so nothing else knows of it, and the
network computes in 32 bit as before.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import h5py
import numpy as np

from node.errors import BundleError

# Smaller kernels are those of the first blocks and the depthwise convolutions, whose errors grow through all that follows.
# Measured on the golden films with two trained networks: rounded as well, they change a probability by up to .003 and .004;
# left alone, by .0007 and .0002.
_LARGE = 50_000
# The largest finite number of IEEE 754 binary16.
_LARGEST = 65504.0


def half_precision(path: Path) -> bytes:
    """Return a weights file of Keras with its large kernels as float16.

    Parameters
    ----------
    path : Path
        A ``.weights.h5`` file.

    Raises
    ------
    BundleError
        Where a weight is too large for 16 bit, or not finite.
    """
    buffer = BytesIO()
    with h5py.File(path) as source, h5py.File(buffer, "w") as target:

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset):
                made = target.create_dataset(name, data=_rounded(item[()], f"{path}: {name}"))
            else:
                made = target.create_group(name)
            made.attrs.update(item.attrs)

        source.visititems(copy)
        target.attrs.update(source.attrs)
    return buffer.getvalue()


def _rounded(values: np.ndarray, name: str) -> np.ndarray:
    """Return large kernels in half precision, and everything else unchanged."""
    if values.ndim < 2 or values.size < _LARGE:
        return values
    if not np.abs(values).max() <= _LARGEST:
        raise BundleError(f"{name} does not fit in 16 bit; set export.half_precision: false in the recipe")
    return values.astype(np.float16)
