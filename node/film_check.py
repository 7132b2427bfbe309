"""The node's own look at a film before the model speaks: whether it is a chest film at all, its right way up, mostly empty.

One small measure answers the first three. A picture's *features* are its directions (a histogram of gradient directions in
each of 8 x 8 cells) and its grays. Turning a picture by quarter turns or inverting it only changes their places and signs, so
one pass gives the features of the picture in eight *poses*. A network of one hidden layer says how much each looks like an
upright chest film; the pose that does best tells turn and inversion. That pose must also lie near the plane that the films
learned from span (their principal components). Such a pair is needed: the network alone, shown no other radiograph in
training, took a hip for an inverted chest, and the distance alone takes smooth photographs for films.

The parameters are one file without code, made by `training.film_check`, where the measurements are. Nothing here needs
TensorFlow: a few milliseconds a film.

References
----------
Dalal and Triggs 2005, Histograms of Oriented Gradients for Human Detection, IEEE CVPR, 886-893.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np
import numpy.typing as npt

from node.area import area_mean
from node.errors import BundleError
from node.pixels import Plane

Array = npt.NDArray[np.float32]

CANVAS_PX = 128
POSES = 8
_SIDE_PX, _CELLS, _DIRECTIONS, _GRAYS = 64, 8, 8, 16
FEATURES = _CELLS * _CELLS * _DIRECTIONS + _GRAYS * _GRAYS

# A border row or column counts as empty where nine tenths of it are within this of black or of white: a marker may stand in it.
_EMPTY_WITHIN, _EMPTY_SHARE = 0.04, 0.9
# Where fewer rows or columns of the canvas are filled there is no content to look at, and all of them are looked at.
_LEAST_CONTENT_PX = 8
# In cells without any edge the directions are noise of a few thousandths: they count for nothing.
_FAINT = 0.01


@dataclass(frozen=True)
class FilmLook:
    """What the look at one film found.

    Attributes
    ----------
    is_film : bool
        Whether this can be a frontal chest film in any pose. Where it is not, `quarter_turns` and `inverted` mean nothing.
    quarter_turns : int
        0 to 3, the counter-clockwise quarter turns the film seems to have had. A mirrored film counts as upright.
    inverted : bool
        Whether black and white seem exchanged.
    collimated : bool
        Whether less of the picture than of nearly all films learned from is more than an empty border.
    chest : float
        Logit of being a frontal chest film in its best pose rather than anything else; `is_film` asks for much of it.
    distance : float
        From the films learned from, in the same pose; `is_film` asks for little.
    advantage : float
        By how much the best pose's logit exceeds that of the film as it is; 0 where that is the best.
    content : float
        In [0, 1], the share of the picture within its border's empty rows and columns.
    """

    is_film: bool
    quarter_turns: int
    inverted: bool
    collimated: bool
    chest: float
    distance: float
    advantage: float
    content: float


@dataclass(frozen=True)
class FilmCheck:
    """The parameters of the look; each attribute is an array of that name in the file.

    Attributes
    ----------
    hidden_weights : ndarray, (FEATURES, units) float32
    hidden_bias, output_weights : ndarray, (units,) float32
    output_bias : ndarray, () float32
    mean : ndarray, (FEATURES,) float32
    axes : ndarray, (FEATURES, components) float32
        Orthonormal: the principal components of the films learned from.
    least_chest, most_distance, least_advantage, least_content : ndarray, () float32
        The cut-offs of `FilmLook.is_film` (the first two), of another pose than upright, and of `FilmLook.collimated`.
    """

    hidden_weights: Array
    hidden_bias: Array
    output_weights: Array
    output_bias: Array
    mean: Array
    axes: Array
    least_chest: Array
    most_distance: Array
    least_advantage: Array
    least_content: Array

    @classmethod
    def load(cls, path: Path) -> FilmCheck:
        """Read what `to_bytes` gave.

        Raises
        ------
        BundleError
            Names the file, where it does not hold these arrays in shapes that fit together, all finite.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                check = cls(**{name: archive[name].astype(np.float32) for name in cls.__dataclass_fields__})
        except (OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, BadZipFile) as error:
            raise BundleError(f"{path}: holds no film check; export the bundle again: {error}") from error
        if wrong := check._misfits():
            raise BundleError(f"{path}: {', '.join(wrong)} not of the shape or values needed; export the bundle again")
        return check

    def to_bytes(self) -> bytes:
        """Return the file's content, NPZ without pickle; equal parameters give equal bytes."""
        buffer = BytesIO()
        np.savez(buffer, allow_pickle=False, **{name: getattr(self, name) for name in self.__dataclass_fields__})
        return buffer.getvalue()

    def look(self, plane: Plane) -> FilmLook:
        """Look at one film.

        Parameters
        ----------
        plane : ndarray, (rows, columns) float32 in [0, 1], 0 is black
            As `node.pixels` gives it: not empty, finite.
        """
        return self.judge(*features(plane))

    def judge(self, features: Array, content: float) -> FilmLook:
        """Judge what `features` gave of one film."""
        poses = in_each_pose(features)
        logits = self.logits(poses)
        best = int(logits.argmax())
        chest, distance = float(logits[best]), float(self.distances(poses[best]))
        advantage = float(logits[best] - logits[0])
        if advantage <= self.least_advantage:
            best = 0
        return FilmLook(
            is_film=bool(chest >= self.least_chest and distance <= self.most_distance),
            quarter_turns=-best % 4,
            inverted=best >= POSES // 2,
            collimated=bool(content < self.least_content),
            chest=chest,
            distance=distance,
            advantage=advantage,
            content=content,
        )

    def logits(self, features: Array) -> Array:
        """Return how much features look like those of an upright chest film, (..., FEATURES) to (...)."""
        hidden = np.maximum(features @ self.hidden_weights + self.hidden_bias, 0)
        logits: Array = hidden @ self.output_weights + self.output_bias
        return logits

    def distances(self, features: Array) -> Array:
        """Return the distance of features from the films' principal components, (..., FEATURES) to (...)."""
        off = features - self.mean
        within = off @ self.axes
        squared = (off * off).sum(-1) - (within * within).sum(-1)
        distances: Array = np.sqrt(np.maximum(squared, 0))
        return distances

    def _misfits(self) -> list[str]:
        units, components = self.hidden_bias.size, self.axes.shape[-1] if self.axes.ndim else 0
        shapes = {"hidden_weights": (FEATURES, units), "hidden_bias": (units,), "output_weights": (units,)}
        shapes |= {"mean": (FEATURES,), "axes": (FEATURES, components)}
        arrays = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return [n for n, array in arrays.items() if array.shape != shapes.get(n, ()) or not np.isfinite(array).all()]


def features(plane: Plane) -> tuple[Array, float]:
    """Return the features of a picture as it is, (FEATURES,) float32, and the share of it that is no empty border."""
    canvas = stretched(area_mean(plane, CANVAS_PX, CANVAS_PX))
    rows, columns = _content(canvas)
    content = canvas[rows, columns]
    thumbnail = stretched(cv2.resize(content, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA))
    grays = cv2.resize(thumbnail, (_GRAYS, _GRAYS), interpolation=cv2.INTER_AREA) - 0.5
    found = np.concatenate([_directions(thumbnail).ravel(), grays.ravel()]).astype(np.float32)
    return found, content.size / canvas.size


def in_each_pose(features: Array) -> Array:
    """Return the features in eight poses, (..., FEATURES) to (..., 8, FEATURES) float32.

    Pose 0 is the picture as it is; 1, 2 and 3 are it turned by as many quarters counter-clockwise; 4 to 7 the same inverted.
    """
    return features[..., _PLACES] * _SIGNS


def stretched(plane: Plane) -> Plane:
    """Return a picture with its 1st and 99th percentiles at 0 and 1; one of nearly one gray value becomes flat."""
    low, high = np.percentile(plane, (1, 99))
    gray: Plane = np.clip((plane - np.float32(low)) / np.float32(max(high - low, 1e-3)), 0, 1)
    return gray


def _content(canvas: Plane) -> tuple[slice, slice]:
    """Return the rows and columns within the empty border; all of them where next to nothing would be left."""
    rows = _filled(canvas)
    return rows, _filled(canvas[rows].T)


def _filled(canvas: Plane) -> slice:
    empty = (canvas < _EMPTY_WITHIN) | (canvas > 1 - _EMPTY_WITHIN)
    filled = np.flatnonzero(empty.mean(1) < _EMPTY_SHARE)
    if not filled.size or filled[-1] - filled[0] < _LEAST_CONTENT_PX:
        return slice(0, len(canvas))
    return slice(int(filled[0]), int(filled[-1]) + 1)


def _directions(thumbnail: Plane) -> Array:
    """Return the strength of the gradient's eight directions in each cell, (cells, cells, directions), on a local scale.

    Direction 0 points right, 2 up: a quarter turn counter-clockwise moves each by two, an inversion by four.
    """
    framed = cv2.copyMakeBorder(thumbnail, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    right = (framed[1:-1, 2:] - framed[1:-1, :-2]) / 2
    up = (framed[:-2, 1:-1] - framed[2:, 1:-1]) / 2
    place = np.arctan2(up, right) * (_DIRECTIONS / (2 * np.pi)) % _DIRECTIONS
    away = np.abs(place[..., np.newaxis] - np.arange(_DIRECTIONS))
    nearness = np.maximum(1 - np.minimum(away, _DIRECTIONS - away), 0)
    strength = (np.hypot(up, right)[..., np.newaxis] * nearness).astype(np.float32)
    cells = cv2.resize(strength, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    around = cv2.blur(cells.sum(-1), (3, 3), borderType=cv2.BORDER_REPLICATE)
    local: Array = np.sqrt(cells / (around[..., np.newaxis] + _FAINT))
    return local


def _pose_tables() -> tuple[npt.NDArray[np.intp], Array]:
    """Return where each pose takes each feature from, and its sign, both (8, FEATURES)."""
    directions = np.arange(_CELLS * _CELLS * _DIRECTIONS).reshape(_CELLS, _CELLS, _DIRECTIONS)
    grays = np.arange(directions.size, FEATURES).reshape(_GRAYS, _GRAYS)
    places, signs = np.empty((POSES, FEATURES), np.intp), np.ones((POSES, FEATURES), np.float32)
    for pose in range(POSES):
        turns, inverted = pose % 4, pose >= POSES // 2
        shift = 2 * turns + (_DIRECTIONS // 2 if inverted else 0)
        turned = np.roll(np.rot90(directions, turns), shift, axis=2)
        places[pose] = np.concatenate([turned.ravel(), np.rot90(grays, turns).ravel()])
        signs[pose, directions.size :] = -1 if inverted else 1
    return places, signs


_PLACES, _SIGNS = _pose_tables()
