"""Pictures and grids made smaller: each new cell is the mean over the area that it covers."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]

# Sizes whose weights are kept: films of one site come in few.
_SIZES_KEPT = 64
# Bands of so many bytes are still in a core's cache of 1 to 2 MB when they are looked at again.
_BAND_BYTES = 1 << 19


class Rows(Protocol):
    """A plane, or what makes the rows of one when they are asked for: ``rows[start:stop]`` are (any, columns) float32."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""

    def __getitem__(self, rows: slice, /) -> Plane:
        """Return these rows."""


def area_mean(plane: Plane, rows: int, columns: int) -> Plane:
    """Resize a plane by `cv2.INTER_AREA`, and in a third of its time where it becomes smaller both ways.

    OpenCV goes through the columns of each row one by one. Here rows are brought together first, by a product of a few
    weights with as many whole rows, and OpenCV has the columns of what is left: 1.4 ms for 2500 x 2048 to 224 x 224, not 5.1.

    Parameters
    ----------
    plane : ndarray, (any, any) float32
    rows, columns : int

    Returns
    -------
    ndarray, (rows, columns) float32
        OpenCV's own to 1e-6 of the largest value.
    """
    if rows < plane.shape[0] and columns <= plane.shape[1]:
        fewer = np.empty((rows, plane.shape[1]), np.float32)
        _bring_together(plane, _weights(plane.shape[0], rows), 0, fewer)
        plane = fewer
    smaller: Plane = cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_AREA)
    return smaller


def area_mean_and_half(film: Rows, rows: int, columns: int) -> tuple[Plane, Plane]:
    """Return what `area_mean` gives, and the film at half its size, by the mean of four, bit for bit.

    Both are taken of one band of rows after the other: a film of 20 MB goes through a core's cache, not through memory.
    What that saves is in docs/performance.md.

    Parameters
    ----------
    film : Rows, (even, even)
    rows, columns : int
        Of the mean; less than the film's rows, and no more than its columns.

    Returns
    -------
    mean : ndarray, (rows, columns) float32
    half : ndarray, (film.shape[0] // 2, film.shape[1] // 2) float32
    """
    size, width = film.shape
    fewer, half = np.empty((rows, width), np.float32), np.empty((size // 2, width // 2), np.float32)
    weights = _weights(size, rows)
    at_once = max(1, _BAND_BYTES // (4 * width) * rows // size)
    for row in range(0, rows, at_once):
        some = weights[row : row + at_once]
        # From pair to pair: where bands share rows, these are looked at twice.
        start, stop = some[0][0] // 2 * 2, (some[-1][0] + len(some[-1][1]) + 1) // 2 * 2
        band = film[start:stop]
        _bring_together(band, some, start, fewer[row:])
        cv2.resize(band, (width // 2, len(band) // 2), half[start // 2 : stop // 2], interpolation=cv2.INTER_AREA)
    mean: Plane = cv2.resize(fewer, (columns, rows), interpolation=cv2.INTER_AREA)
    return mean, half


def _bring_together(band: Plane, weights: list[tuple[int, Plane]], start: int, out: Plane) -> None:
    """Make each row of `out` by its weights from rows of a plane, of which `band` begins at row `start`."""
    for row, (first, shares) in enumerate(weights):
        np.dot(shares, band[first - start : first - start + len(shares)], out=out[row])


def area_matrix(source: int, target: int) -> Plane:
    """Return the matrix that takes `source` cells in a row to `target` cells over the same length, each a mean.

    Each new cell is the mean of the old ones it covers, weighted by how much of each: what OpenCV calls INTER_AREA. Transposed
    it goes the other way and spreads each cell's content evenly over the cells that lie in it, so that the sum stays.

    Returns
    -------
    ndarray, (target, source) float32
        Each row sums to 1.
    """
    new, old = np.arange(target)[:, np.newaxis] / target, np.arange(source) / source
    covered = np.minimum(new + 1 / target, old + 1 / source) - np.maximum(new, old)
    matrix: Plane = (np.maximum(covered, 0.0) * target).astype(np.float32)
    return matrix


@lru_cache(maxsize=_SIZES_KEPT)
def _weights(size: int, smaller: int) -> list[tuple[int, Plane]]:
    """Return the rows of the matrix without their zeros, each with the place at which it begins."""
    found = []
    for shares in area_matrix(size, smaller):
        covered = np.flatnonzero(shares)
        found.append((int(covered[0]), shares[covered[0] : covered[-1] + 1].copy()))
    return found
