"""Where the lungs are on a frontal film, found with an outline, so that a heat map can be asked whether it looks there.

An outline of two lungs is laid over the film in many places and sizes; it stays where the film is darker inside than
just outside. Then each lung is moved and stretched a little by itself. A threshold would leave out what is looked for,
since a consolidated lung is as bright as the heart; an outline keeps it.

Nothing here is trained and no label is used. It draws no diagnosis and is good to a few percent of the film's width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from node.pixels import Plane

Mask = npt.NDArray[np.bool_]
Grid = npt.NDArray[np.float64]
# The cost of a width and height at each left and top.
Cost = Callable[[float, float, Grid, Grid], Grid]

# (x, y) in the unit square about both lungs; the first is the patient's right lung, at the left of the picture. Drawn on the mean
# of 271 films (61 kermany, 58 nih, 77 qatar, 75 tbx11k), each shifted and scaled onto a first sketch by this very search.
_RIGHT = (
    *((0.29, 0.00), (0.37, 0.05), (0.41, 0.15), (0.42, 0.37), (0.41, 0.51), (0.41, 0.71), (0.40, 0.84)),
    *((0.30, 0.87), (0.19, 0.92), (0.04, 1.00), (0.00, 0.79), (0.02, 0.53), (0.08, 0.28), (0.17, 0.09)),
)
_LEFT = (
    *((0.71, 0.00), (0.63, 0.05), (0.60, 0.15), (0.60, 0.32), (0.64, 0.46), (0.70, 0.59), (0.76, 0.77)),
    *((0.81, 0.88), (0.87, 0.93), (0.96, 1.00), (0.99, 0.79), (0.97, 0.53), (0.92, 0.28), (0.83, 0.09)),
)
Outline = tuple[tuple[float, float], ...]

# The search runs on this grid, whatever the film's size and shape; the other lengths are shares of its side.
_SIDE = 96
_MARGIN = 14
_RING = 7
_NEIGHBORHOOD = 14.0
# Darker than this, on a scale from the 1st to the 99th percentile, and reaching the film's border: air about the body.
_AIR = 0.12
_BORDER = 5
# The skin and the fat below it are as dark as a lung.
_RIM = 3
# Among places of equal contrast, the larger; at 0 the search is content with the upper half of the lungs.
_SIZE_REWARD = 0.3
_PRIOR = 0.1
# In standard deviations; at 0.4 one in six films of pneumonia was excluded, nearly all of them outlined well.
_LEAST_CONTRAST = 0.2


@dataclass(frozen=True)
class _Place:
    """Where an outline's unit square lies, in shares of the film's width and height, and how well it fits."""

    score: float
    width: float
    height: float
    left: float
    top: float


def mask(plane: Plane) -> Mask:
    """Return where the lungs are.

    Parameters
    ----------
    plane : ndarray, (rows, columns) float32 in [0, 1], 0 is black
        A frontal film, upright and not inverted.

    Returns
    -------
    ndarray, (rows, columns) bool
        Two lungs, always; `plausible` tells whether to believe them.

    Notes
    -----
    The numbers of the search (typical width .72 and height .65 of the film, centered at .5 and .47, how far a film may be from
    that, how air counts) were set by eye on 280 films of five sources. Of 150 others, judged by eye, 4 were clearly wrong; about
    one in twenty is rough at the apex or the base.
    """
    padded = np.pad(_local_contrast(plane), _MARGIN)
    both = _best(padded, (_RIGHT, _LEFT), np.arange(0.45, 0.97, 0.05), np.arange(0.35, 0.97, 0.05), _typical)
    drawn = np.zeros(plane.shape, np.uint8)
    for outline in (_RIGHT, _LEFT):
        widths, heights = both.width * np.arange(0.8, 1.21, 0.08), both.height * np.arange(0.76, 1.25, 0.08)
        _draw(drawn, outline, _best(padded, (outline,), widths, heights, _near(both)))
    return drawn > 0


def plausible(plane: Plane, lungs: Mask) -> bool:
    """Tell whether a mask can be the lungs of this film.

    Two separate lungs, neither larger than 2.5 times the other, together 10 to 55 % of the film, the middle of their common box
    in the film's middle half, and each darker than its surroundings.

    It excluded 8 of the 310 hardest films, pneumonia of children and adults, some of which were outlined well. It is no test of
    what a picture shows: clouds pass.

    Parameters
    ----------
    plane : ndarray, (rows, columns) float32 in [0, 1]
    lungs : ndarray, (rows, columns) bool
    """
    count, _, boxes, _ = cv2.connectedComponentsWithStats(lungs.astype(np.uint8))
    return count == 3 and _well_placed(lungs.shape, boxes[1:]) and min(contrasts(plane, lungs)) >= _LEAST_CONTRAST


def found(plane: Plane) -> Mask | None:
    """Return where the lungs are, or None where what was found is not plausible."""
    lungs = mask(plane)
    return lungs if plausible(plane, lungs) else None


def average(masks: Sequence[Mask], shape: tuple[int, int]) -> Plane:
    """Return how often each place lies in the lungs: the prior that knows no film.

    Parameters
    ----------
    masks : sequence of ndarray, (rows, columns) bool
        Of films of any size; each is brought to `shape`.
    shape : (int, int)
        Rows and columns of the answer.

    Returns
    -------
    ndarray, `shape` float32 in [0, 1]
        0 everywhere where there is no mask.
    """
    size = shape[::-1]
    total = np.zeros(shape, np.float32)
    for lungs in masks:
        total += cv2.resize(lungs.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    mean: Plane = total / np.float32(max(len(masks), 1))
    return mean


def _local_contrast(plane: Plane) -> Plane:
    """Return how much brighter each place is than its neighborhood, in its standard deviations; air counts as bright.

    Air must not look like lung, yet a bright neighbor must not draw the outline to the skin either: 0.5 is between.
    """
    gray = _stretched(cv2.resize(plane, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA))
    body = (~_air(gray)).astype(np.float32)
    gray = cv2.GaussianBlur(gray, (0, 0), 1.0)
    weight = _blurred(body) + 1e-6
    mean = _blurred(gray * body) / weight
    spread = np.sqrt(np.maximum(_blurred(gray * gray * body) / weight - mean * mean, 1e-4))
    # 0.03 of the film's range keeps noise of an even area small.
    contrast: Plane = np.where(body > 0, np.clip((gray - mean) / (spread + 0.03), -2, 2), 0.5).astype(np.float32)
    return contrast


def _stretched(gray: Plane) -> Plane:
    low, high = np.percentile(gray, (1, 99))
    stretched: Plane = np.clip((gray - low) / (high - low + 1e-6), 0, 1).astype(np.float32)
    return stretched


def _air(gray: Plane) -> Mask:
    """Return the dark areas that reach the border, or come so near that only a frame lies between."""
    _, areas = cv2.connectedComponents((gray < _AIR).astype(np.uint8))
    border = np.ones(areas.shape, bool)
    border[_BORDER:-_BORDER, _BORDER:-_BORDER] = False
    found = np.isin(areas, np.unique(areas[border])) & (areas > 0)
    air: Mask = found | _ring(found, _RIM)
    return air


def _blurred(values: Plane) -> Plane:
    blurred: Plane = cv2.GaussianBlur(values, (0, 0), _NEIGHBORHOOD)
    return blurred


@cache
def _template(outlines: tuple[Outline, ...], width: float, height: float) -> Plane:
    """Return weights whose product with a film is the mean just outside the outlines less the mean inside."""
    shape = (round(height * _SIDE) + 2 * _RING, round(width * _SIDE) + 2 * _RING)
    inside = np.zeros(shape, np.uint8)
    place = _Place(0, width * _SIDE / shape[1], height * _SIDE / shape[0], _RING / shape[1], _RING / shape[0])
    for outline in outlines:
        _draw(inside, outline, place)
    ring = _ring(inside > 0, _RING)
    template: Plane = (ring / ring.sum() - inside / inside.sum()).astype(np.float32)
    return template


def _ring(inside: Mask, width: int) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    ring: Mask = (cv2.dilate(inside.astype(np.uint8), kernel) > 0) & ~inside
    return ring


def _draw(canvas: npt.NDArray[np.uint8], outline: Outline, place: _Place) -> None:
    rows, columns = canvas.shape
    x, y = np.transpose(outline)
    corners = np.stack([(place.left + x * place.width) * columns, (place.top + y * place.height) * rows], axis=1)
    cv2.fillPoly(canvas, [np.round(corners).astype(np.int32)], 1)


def _best(
    padded: Plane, outlines: tuple[Outline, ...], widths: Iterable[float], heights: Iterable[float], cost: Cost
) -> _Place:
    """Return where, and how large, the outlines fit best."""
    fits = (_fit(padded, outlines, round(w, 3), round(h, 3), cost) for w in widths for h in heights)
    return max((fit for fit in fits if fit), key=lambda place: place.score)


def _fit(padded: Plane, outlines: tuple[Outline, ...], width: float, height: float, cost: Cost) -> _Place | None:
    """Return where outlines of one size fit best, or None where they are larger than the film."""
    template = _template(outlines, width, height)
    if template.shape[0] > padded.shape[0] or template.shape[1] > padded.shape[1]:
        return None
    contrast = cv2.matchTemplate(padded, template, cv2.TM_CCORR)
    row, column = np.mgrid[: contrast.shape[0], : contrast.shape[1]]
    left, top = (column + _RING - _MARGIN) / _SIDE, (row + _RING - _MARGIN) / _SIDE
    score = contrast * (width * height) ** _SIZE_REWARD - _PRIOR * cost(width, height, left, top)
    at = np.unravel_index(score.argmax(), score.shape)
    return _Place(float(score[at]), width, height, float(left[at]), float(top[at]))


def _typical(width: float, height: float, left: Grid, top: Grid) -> Grid:
    """Return how unlike a usual film both lungs lie."""
    size = ((width - 0.72) / 0.2) ** 2 + ((height - 0.65) / 0.25) ** 2 + (np.log(height / width / 0.9) / 0.35) ** 2
    cost: Grid = ((left + width / 2 - 0.5) / 0.15) ** 2 + ((top + height / 2 - 0.47) / 0.15) ** 2 + size
    return cost


def _near(both: _Place) -> Cost:
    """Return how unlike both lungs together one lung lies."""

    def cost(width: float, height: float, left: Grid, top: Grid) -> Grid:
        across = left + width / 2 - both.left - both.width / 2
        down = top + height / 2 - both.top - both.height / 2
        size = ((width / both.width - 1) / 0.12) ** 2 + ((height / both.height - 1) / 0.15) ** 2
        apart: Grid = (across / 0.06) ** 2 + (down / 0.06) ** 2 + size
        return apart

    return cost


def _well_placed(shape: tuple[int, ...], boxes: npt.NDArray[np.int32]) -> bool:
    areas = boxes[:, cv2.CC_STAT_AREA] / (shape[0] * shape[1])
    first, size = boxes[:, :2], boxes[:, 2:4]
    middle = (first.min(0) + (first + size).max(0)) / 2 / shape[::-1]
    return bool(areas.max() <= 2.5 * areas.min() and 0.10 <= areas.sum() <= 0.55 and (abs(middle - 0.5) <= 0.25).all())


def contrasts(plane: Plane, lungs: Mask) -> list[float]:
    """Return how much darker each area of a mask is than the ring about it, as `_local_contrast` sees the film."""
    small = cv2.resize(lungs.astype(np.uint8), (_SIDE, _SIDE), interpolation=cv2.INTER_NEAREST)
    count, labels = cv2.connectedComponents(small)
    contrast, areas = _local_contrast(plane), [labels == side for side in range(1, count)]
    return [float(contrast[_ring(area, _RING) & (labels == 0)].mean() - contrast[area].mean()) for area in areas]
