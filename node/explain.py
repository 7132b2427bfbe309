"""The heat map, laid back on the film it explains.

The map's values are made in `node.infer`, where the feature map is: each location's share in the logit (gradient of the logit,
not of the probability, which correlates only 0.84 with it), on the bundle's absolute scale.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def on_film(heat_map: Array, shape: tuple[int, int]) -> Array:
    """Enlarge a heat map to the film's own grid.

    The model saw the whole film, resized without crop or letterbox, so the map covers the whole film as well.

    Parameters
    ----------
    heat_map : ndarray, (rows, columns) float32 in [0, 1]
    shape : (int, int)
        Rows and columns of the film.

    Returns
    -------
    ndarray, `shape` float32 in [0, 1]
        Cubic, clipped where it overshoots.

    Notes
    -----
    A cell of the map lies on its own 32nd of the input (half-pixel centers). The paddings of the five strided convolutions add up to a nominal
    shift of 15.5 input pixels; measured on chest films with the Lite0 weights, the response to a blob in the middle is
    shifted by less than 3, so none is corrected.
    """
    rows, columns = shape
    enlarged = cv2.resize(heat_map, (columns, rows), interpolation=cv2.INTER_CUBIC)
    on_grid: Array = np.clip(enlarged, 0.0, 1.0, dtype=np.float32)
    return on_grid
