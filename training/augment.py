"""A picture altered at random, anew each time it is drawn.

Two purposes. Turning, shifting, zooming, mirroring and brightness stand for how films differ in one hospital. Cutting the
border, coarsening, contrast and blank corners take away what tells one hospital from another: collimation, resolution, gray
and markers. What each of them is worth is measured, not assumed: see the recipes tried in the model card.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from node.pixels import Plane
from training.recipe import Augment

# Sides of a blanked corner, as shares of the picture's: a side marker with its frame.
_CORNER = (0.05, 0.20)


def augmented(picture: Plane, settings: Augment, rng: np.random.Generator) -> Plane:
    """Return an altered copy of a picture.

    Parameters
    ----------
    picture : ndarray, (rows, columns) float32 in [0, 1]
    settings : Augment
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, (rows, columns) float32 in [0, 1]
    """
    altered = _coarsened(picture, settings, rng)
    altered = _moved(altered, settings, rng)
    altered = _regrayed(altered, settings, rng)
    return _cornered(np.clip(altered, 0.0, 1.0), settings, rng)


def _coarsened(picture: Plane, settings: Augment, rng: np.random.Generator) -> Plane:
    if settings.coarse_px is None or rng.random() >= settings.coarse:
        return picture
    size = int(rng.integers(settings.coarse_px[0], settings.coarse_px[1] + 1))
    coarse = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    enlarged: Plane = cv2.resize(coarse, picture.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return enlarged


def _moved(picture: Plane, settings: Augment, rng: np.random.Generator) -> Plane:
    """Cut the border, turn, zoom, shift and mirror in one resampling.

    What lies outside is black or mirrored, half of the time each, so that a black edge tells nothing.
    """
    rows, columns = picture.shape
    top, bottom, left, right = rng.uniform(0.0, settings.border, 4) if settings.border else np.zeros(4)
    cut = _scaling(1 / (1 - left - right), 1 / (1 - top - bottom)) @ _shifting(-left * columns, -top * rows)
    center = _shifting(columns / 2, rows / 2)
    zoom = 1 + rng.uniform(-settings.zoom, settings.zoom)
    turn = _turning(np.deg2rad(rng.uniform(-settings.rotation_deg, settings.rotation_deg)))
    mirror = _scaling(-1.0 if rng.random() < settings.flip else 1.0, 1.0)
    shift = _shifting(*(rng.uniform(-settings.shift, settings.shift, 2) * (columns, rows)))
    matrix = shift @ center @ mirror @ turn @ _scaling(zoom, zoom) @ np.linalg.inv(center) @ cut
    edge = cv2.BORDER_CONSTANT if rng.random() < 0.5 else cv2.BORDER_REFLECT
    moved: Plane = cv2.warpAffine(picture, matrix[:2], (columns, rows), flags=cv2.INTER_LINEAR, borderMode=edge)
    return moved


def _regrayed(picture: Plane, settings: Augment, rng: np.random.Generator) -> Plane:
    gamma = np.exp(rng.uniform(-settings.gray, settings.gray))
    contrast = 1 + rng.uniform(-settings.gray, settings.gray)
    brightness = 1 + rng.uniform(-settings.brightness, settings.brightness)
    bent: Plane = cv2.pow(np.clip(picture, 0.0, 1.0), float(gamma)) if settings.gray else picture
    regrayed: Plane = ((bent - 0.5) * np.float32(contrast) + 0.5) * np.float32(brightness)
    return regrayed


def _cornered(picture: Plane, settings: Augment, rng: np.random.Generator) -> Plane:
    rows, columns = picture.shape
    for vertical in (0, 1):
        for horizontal in (0, 1):
            if rng.random() < settings.corner:
                height, width = (rng.uniform(*_CORNER, 2) * (rows, columns)).astype(int)
                top, left = vertical * (rows - height), horizontal * (columns - width)
                picture[top : top + height, left : left + width] = rng.random()
    return picture


def _shifting(x: float, y: float) -> npt.NDArray[np.float64]:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def _scaling(x: float, y: float) -> npt.NDArray[np.float64]:
    return np.diag([x, y, 1.0])


def _turning(angle: float) -> npt.NDArray[np.float64]:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])
