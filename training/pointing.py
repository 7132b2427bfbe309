"""Does a heat map look into a region of its film? Two questions, asked of the map and of what knows no disease.

The map is enlarged to the film as the node enlarges it (`node.explain.on_film`), then::

    peak    does its highest point lie in the region? (the pointing game of Zhang et al. 2016)
    mass    what share of its sum lies in the region? (the energy-based pointing game of Wang et al. 2020)

References
----------
Zhang et al. 2016, Top-down Neural Attention by Excitation Backprop, arXiv:1608.00507; Wang et al. 2020, Score-CAM,
arXiv:1910.01279, section 4.3.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from node.explain import on_film
from node.pixels import Plane

Mask = npt.NDArray[np.bool_]
HeatMap = npt.NDArray[np.float32]


def looks(region: Mask, tolerance: float, heat_maps: Mapping[str, HeatMap], lungs: Mask | None) -> dict[str, float]:
    """Ask every looker whether it looks into a region of one film.

    Parameters
    ----------
    region : ndarray, (rows, columns) bool
    tolerance : float
        In pixels: a peak closer than this to the region is a hit.
    heat_maps : mapping of str to ndarray, (map rows, map columns) at least 0
        By looker, on any scale. An empty map hits nothing, and its mass is not defined.
    lungs : ndarray, (rows, columns) bool, optional
        Of this film; without them that looker's answers are not defined.

    Returns
    -------
    dict of str to float
        "peak LOOKER" and "mass LOOKER", NaN where not defined. Lookers besides the maps: "center", the middle of the film, which
        has a peak alone; "lungs" and "anywhere", any point of the film's lungs and of the film, all alike.
    """
    hit = near(region, tolerance)
    found = {
        "peak center": float(hit[hit.shape[0] // 2, hit.shape[1] // 2]),
        "peak anywhere": float(hit.mean()),
        "mass anywhere": float(region.mean()),
        "peak lungs": float(hit[lungs].mean()) if lungs is not None else np.nan,
        "mass lungs": float(region[lungs].mean()) if lungs is not None else np.nan,
    }
    for name, heat_map in heat_maps.items():
        large = enlarged(heat_map, region.shape)
        found[f"peak {name}"] = float(hit[peak_of(large)]) if large.any() else 0.0
        found[f"mass {name}"] = float(large[region].sum() / large.sum()) if large.any() else np.nan
    return found


def enlarged(heat_map: HeatMap, shape: tuple[int, ...]) -> Plane:
    """Enlarge a map of any scale to a film; its highest cell becomes 0.5, so that nothing is clipped and the peak is one point."""
    rows, columns = shape
    highest = float(heat_map.max()) or 1.0
    return on_film((heat_map / (2 * highest)).astype(np.float32), (rows, columns))


def peak_of(heat_map: Plane) -> tuple[int, int]:
    """Return row and column of the highest point."""
    row, column = np.unravel_index(int(heat_map.argmax()), heat_map.shape)
    return int(row), int(column)


def near(region: Mask, tolerance: float) -> Mask:
    """Return the region and the pixels closer to it than `tolerance` pixels."""
    distance = cv2.distanceTransform((~region).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    close: Mask = region | (distance < tolerance)
    return close
