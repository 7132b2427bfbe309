"""Where readers saw the finding: rectangles on films, of one or more sets of readers."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node.errors import ConfigError
from training.recipe import Boxes

COLUMNS = ("file", "set", "finding", "x", "y", "w", "h")

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Box:
    """A rectangle on a film, in the film's own pixels, x to the right and y down; `readers` is the set it is of."""

    readers: str
    x: float
    y: float
    width: float
    height: float


def read_boxes(settings: Boxes) -> dict[str, list[Box]]:
    """Read the boxes of the recipe's findings, by film.

    Returns
    -------
    dict of str to list of Box
        By file, as the manifest names it.

    Raises
    ------
    ConfigError
        Where the file cannot be read, lacks a column, holds something else than numbers, or no box of these findings.
    """
    try:
        with settings.file.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise ConfigError(f"{settings.file}: cannot be read: {error.strerror}; mend boxes in the recipe") from error
    lacking = [column for column in COLUMNS if not rows or column not in rows[0]]
    if lacking:
        raise ConfigError(f"{settings.file}: lacks {', '.join(lacking)}; mend boxes in the recipe")
    found = defaultdict(list)
    for number, row in enumerate(rows, 2):
        if row["finding"] in settings.findings:
            found[row["file"]].append(_box(row, f"{settings.file}, line {number}"))
    if not found:
        raise ConfigError(f"{settings.file}: holds no box of {', '.join(settings.findings)}; mend boxes in the recipe")
    return dict(found)


def covered(boxes: list[Box], shape: tuple[int, int]) -> Mask:
    """Return the pixels that lie in any of the boxes, `shape` bool."""
    drawn = np.zeros(shape, bool)
    for box in boxes:
        top, bottom = round(box.y), round(box.y + box.height)
        left, right = round(box.x), round(box.x + box.width)
        drawn[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
    return drawn


def _box(row: dict[str, str], where: str) -> Box:
    try:
        x, y, width, height = (float(row[name]) for name in ("x", "y", "w", "h"))
    except ValueError as error:
        raise ConfigError(f"{where}: x, y, w and h are numbers; mend the file") from error
    return Box(row["set"], x, y, width, height)
