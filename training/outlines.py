"""Grounds, grains, outlines and bodies: what the pictures of `training.not_films` are drawn with."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from node.film_check import CANVAS_PX as N
from node.pixels import Plane

Random = np.random.Generator
Points = npt.NDArray[np.int32]


def grain(rng: Random) -> Plane:
    """Return white noise of standard deviation 1."""
    return rng.standard_normal((N, N), np.float32)


def ground(rng: Random) -> Plane:
    """Return a plain ground, black, white or gray."""
    return np.full((N, N), rng.choice([0.0, 1.0, rng.uniform()]), np.float32)


def blurred(picture: Plane, sigma: float) -> Plane:
    """Return a picture blurred by this many pixels."""
    soft: Plane = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), sigma)
    return soft


def filled(points: Points) -> npt.NDArray[np.bool_]:
    """Return what an outline holds."""
    mask = np.zeros((N, N), np.uint8)
    cv2.fillPoly(mask, [points], 1)
    return mask > 0


def rounded(inside: npt.NDArray[np.bool_]) -> Plane:
    """Return how thick a round body of this outline is, 1 where it is thickest."""
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 3)
    thickness: Plane = np.sqrt(depth / max(depth.max(), 1))
    return thickness


def body(x: float, y: float, length: float, width: float, degrees: float) -> Plane:
    """Return the thickness of a round body with an ellipse for its outline."""
    mask = np.zeros((N, N), np.uint8)
    cv2.ellipse(mask, (int(x), int(y)), (int(length), max(2, int(width))), degrees, 0, 360, 1, -1)
    return rounded(mask > 0)


def shape(rng: Random, scale: float) -> Points:
    """Return the outline of an ellipse, rectangle, polygon or bar anywhere; small ones are common, large ones rare."""
    x, y = map(float, rng.uniform(-10, N + 10, 2))
    radius, flat, degrees = min(70.0, rng.pareto(1.5) * 6 * scale + 3), rng.uniform(0.1, 1), rng.uniform(0, 180)
    kind = rng.integers(4)
    points: npt.NDArray[np.float64] = np.array([x, y]) + rng.normal(0, radius, (rng.integers(3, 8), 2))
    if kind == 0:
        half_axes = (int(radius), max(1, int(radius * flat)))
        points = np.array(cv2.ellipse2Poly((int(x), int(y)), half_axes, int(degrees), 0, 360, 10))
    elif kind < 3:
        size = (2 * radius, 2 * radius * flat) if kind == 1 else (2.0 * N, rng.uniform(1, 12))
        points = cv2.boxPoints(((x, y), size, degrees))
    return points.astype(np.int32)


def outline(rng: Random, scale: float) -> Points:
    """Return a closed outline about the middle, a blob, a polygon or a superellipse; at scale 1 it fills a quarter or more."""
    points = _UNIT_OUTLINES[rng.integers(len(_UNIT_OUTLINES))](rng)
    points = points / np.abs(points).max(0) * N / 2 * rng.uniform(0.5, 1.05) * np.exp(rng.normal(0, 0.2, 2))
    tilt = rng.normal(0, 0.5) if rng.random() < 0.4 else 0.0
    turned = points @ np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    placed: Points = (turned * scale + N / 2 + rng.normal(0, 0.04 * N, 2)).astype(np.int32)
    return placed


def _blob(rng: Random) -> npt.NDArray[np.float64]:
    waves = [rng.normal(0, 0.25 / n) * np.cos(n * _ANGLES + rng.uniform(0, 6)) for n in range(1, 6)]
    blob: npt.NDArray[np.float64] = _CIRCLE * (1 + np.sum(waves, 0))[:, np.newaxis]
    return blob


def _polygon(rng: Random) -> npt.NDArray[np.float64]:
    corners = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
    return np.stack([np.cos(corners), np.sin(corners)], 1)


def _superellipse(rng: Random) -> npt.NDArray[np.float64]:
    superellipse: npt.NDArray[np.float64] = np.sign(_CIRCLE) * np.abs(_CIRCLE) ** rng.uniform(0.15, 1.2)
    return superellipse


_ANGLES = np.linspace(0, 2 * np.pi, 64, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1)
_UNIT_OUTLINES = (_blob, _polygon, _superellipse)


def frame(rng: Random, drawn: Plane, x: int, y: int, width: int, height: int, depth: int = 0) -> None:
    """Draw a frame, and in it lines, columns, rows or smaller frames."""
    gray = float(rng.choice([0.0, 1.0, rng.uniform()]))
    cv2.rectangle(drawn, (x, y), (x + width, y + height), gray, -1)
    if rng.random() < 0.6:
        cv2.rectangle(drawn, (x, y), (x + width, y + height), 1 - gray, int(rng.integers(1, 3)))
    if width < 14 or height < 10:
        return
    kind, count = (0 if depth > 3 else rng.integers(4)), int(rng.integers(2, 6))
    if kind == 0:
        _lines(rng, drawn, x, y, width, height, 1 - gray)
    for place in range(count if kind else 0):
        if kind == 1:
            within = (x + 2 + place * (width - 4) // count, y + 3, width // count - 4, height - 6)
        elif kind == 2:
            within = (x + 3, y + 2 + place * (height - 4) // count, width - 6, height // count - 4)
        else:
            left, top, wide, high = rng.uniform((0.02, 0.02, 0.1, 0.1), (0.6, 0.6, 0.38, 0.38))
            within = (x + int(left * width), y + int(top * height), int(wide * width), int(high * height))
        frame(rng, drawn, *within, depth + 1)


def _lines(rng: Random, drawn: Plane, x: int, y: int, width: int, height: int, gray: float) -> None:
    for line in range(y + 5, y + height - 3, int(rng.integers(3, 7))):
        cv2.line(drawn, (x + 4, line), (x + 4 + int((width - 8) * rng.uniform(0.2, 1)), line), gray, 1)
