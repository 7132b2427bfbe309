"""The heat map, laid back on the film it explains.

The map's values are made in `node.infer`, where the feature map is: each location's share in the logit (gradient of the logit,
not of the probability, which correlates only 0.84 with it), on the bundle's absolute scale.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Region = tuple[float, float, float, float]

# A region begins at half of what films rightly flagged reach. Weaker parts are colored, but so diffuse that a box around them is the lung.
STANDS_OUT_FROM = 0.5
MOST_REGIONS = 3
_GRID = 256


def on_film(heat_map: Array, shape: tuple[int, int], band: slice = slice(None)) -> Array:
    """Enlarge a heat map to the film's own grid.

    The model saw the whole film, resized without crop or letterbox, so the map covers the whole film as well.

    Parameters
    ----------
    heat_map : ndarray, (rows, columns) float32 in [0, 1]
    shape : (int, int)
        Rows and columns of the film.
    band : slice
        The rows of the film that are wanted; all unless said otherwise.

    Returns
    -------
    ndarray, `shape` float32 in [0, 1], or so many of its rows
        Cubic, clipped where it overshoots.

    Notes
    -----
    A cell of the map lies on its own 32nd of the input (half-pixel centers). The paddings of the five strided convolutions add up to a nominal
    shift of 15.5 input pixels; measured on chest films with the Lite0 weights, the response to a blob in the middle is
    shifted by less than 3, so none is corrected.
    """
    rows, columns = shape
    cells: Array = np.asarray(heat_map, np.float32)
    down, across = _cubic(cells.shape[0], rows), _cubic(cells.shape[1], columns)
    enlarged: Array = np.matmul(down[band] @ cells, across.T, dtype=np.float32)
    return np.clip(enlarged, 0.0, 1.0, out=enlarged)


@lru_cache(maxsize=64)
def _cubic(cells: int, size: int) -> Array:
    """Return the matrix, (size, cells), that enlarges a row of cells as OpenCV does: with two of them a map takes a tenth of the time."""
    matrix: Array = cv2.resize(np.eye(cells, dtype=np.float32), (cells, size), interpolation=cv2.INTER_CUBIC)
    return matrix


def regions(heat_map: Array, shape: tuple[int, int]) -> list[Region]:
    """Return where a heat map stands out.

    Parameters
    ----------
    heat_map : ndarray, (rows, columns) float32 in [0, 1]
        On the absolute scale.
    shape : (int, int)
        Rows and columns of the film.

    Returns
    -------
    list of (left, top, right, bottom)
        Boxes around connected parts, in pixels of the film, (0, 0) being the top left corner of the top left pixel
        (PS3.3 C.18.6); those with the strongest values first, MOST_REGIONS at most. Empty where nothing stands out.
    """
    shares = on_film(heat_map, (_GRID, _GRID))
    count, labels, boxes, _ = cv2.connectedComponentsWithStats((shares >= STANDS_OUT_FROM).astype(np.uint8))
    by_strength = sorted(range(1, count), key=lambda label: -float(shares[labels == label].max()))
    down, across = shape[0] / _GRID, shape[1] / _GRID
    return [
        (left * across, top * down, (left + width) * across, (top + height) * down)
        for left, top, width, height, _ in (boxes[label].tolist() for label in by_strength[:MOST_REGIONS])
    ]
