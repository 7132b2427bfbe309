"""What is kept of a film once it is decoded: the little that the networks, the film check and the report look at.

A *print* of a film is a megabyte where its plane is thirty. It is made where the film is decoded (`node.developer`), and
goes to where it is read through a *tray*, a piece of memory that two processes share. What lies in a tray is measured
and checked before it is believed: it was put there by a process that has handled a stranger's bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from node.area import area_mean_and_half
from node.film_check import FEATURES, features
from node.pixels import Film, InputSpec, Plane, model_gray, stretched

Array = npt.NDArray[np.float32]
Gray = npt.NDArray[np.uint8]

# Pixels. At a film height of 1024 the large answer reads in a thumbnail, and a side still fits two on a 2 Mpx screen.
FILM_HEIGHT = 1024
FILM_WIDEST = 1536

# The longest message between the process that makes prints and the one that has them made; it may hold a path.
MESSAGE_BYTES = 16_384
# A tray begins with a note, JSON that ends with a zero byte; the arrays follow one after the other.
_NOTE_BYTES = 4096


class Spoiled(ValueError):
    """What lies in a tray is no print."""


@dataclass(frozen=True)
class Print:
    """One film as the rest of the node sees it.

    Attributes
    ----------
    gray : ndarray, (rows, columns) float32 in [0, 1]
        `node.pixels.model_gray` of the film.
    features : ndarray, (FEATURES,) float32
    content : float
        Both as `node.film_check.features` gives them.
    picture : ndarray, (rows, columns) uint8
        The film as a report shows it, 0 is black; at most FILM_HEIGHT by FILM_WIDEST.
    """

    gray: Plane
    features: Array
    content: float
    picture: Gray


def print_of(film: Film | Plane, spec: InputSpec) -> Print:
    """Make the print of a film.

    Parameters
    ----------
    film : Film, or ndarray, (rows, columns) float32 in [0, 1]
        As `node.pixels` gives it: not empty, finite.
    spec : InputSpec
    """
    gray, smaller = _for_model_and_looks(film, spec)
    found, content = features(smaller)
    return Print(gray, found, content, shown(smaller))


def _for_model_and_looks(film: Film | Plane, spec: InputSpec) -> tuple[Plane, Plane]:
    """Return the film as the networks are given it, and at the size at which it is looked at.

    To look at, half its size is as good for a film of more than twice the size it is shown at. The mean of four has a way
    of its own in OpenCV. With it, the resizing for looks takes 5 ms in place of 12 for 2500 x 2048.
    """
    rows, columns = film.shape
    halves = min(FILM_HEIGHT / rows, FILM_WIDEST / columns) <= 0.5 and not rows % 2 and not columns % 2
    if halves and spec.interpolation == "area" and spec.rows < rows and spec.columns <= columns:
        mean, half = area_mean_and_half(film, spec.rows, spec.columns)
        return stretched(mean, spec.percentiles), half
    plane = film[:]
    smaller = cv2.resize(plane, (columns // 2, rows // 2), interpolation=cv2.INTER_AREA) if halves else plane
    return model_gray(plane, spec), smaller


def shown(plane: Plane) -> Gray:
    """Return a film at the size it is shown at, 8 bit; one of that size already keeps its grays."""
    rows, columns = plane.shape
    scale = min(FILM_HEIGHT / rows, FILM_WIDEST / columns)
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    # Between neighbors where hardly any falls out: the mean over areas takes 3 ms there for the same picture.
    kind = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_LINEAR if scale > 0.5 else cv2.INTER_AREA
    gray: Gray = cv2.resize(cv2.convertScaleAbs(plane, alpha=255), size, interpolation=kind)
    return gray


def tray_bytes(spec: InputSpec) -> int:
    """Return how large a tray must be for any print that `spec` makes."""
    return _NOTE_BYTES + 4 * (spec.rows * spec.columns + FEATURES) + FILM_HEIGHT * FILM_WIDEST


def put_note(tray: memoryview, note: dict[str, Any]) -> None:
    """Write a note alone, in place of what was in the tray."""
    written = json.dumps(note).encode()[: _NOTE_BYTES - 1] + b"\0"
    tray[: len(written)] = written


def put(tray: memoryview, made: Print) -> None:
    """Lay a print into a tray."""
    at = _NOTE_BYTES
    for written in (made.gray.tobytes(), made.features.tobytes(), made.picture.tobytes()):
        tray[at : at + len(written)] = written
        at += len(written)
    put_note(tray, {"picture": made.picture.shape, "content": made.content})


def note_in(tray: memoryview) -> dict[str, Any]:
    """Read the note in a tray.

    Raises
    ------
    Spoiled
        Where it is none.
    """
    written, end, _ = bytes(tray[:_NOTE_BYTES]).partition(b"\0")
    try:
        note = json.loads(written)
    except ValueError:
        note = None
    if not end or not isinstance(note, dict):
        raise Spoiled
    return note


def taken(tray: memoryview, spec: InputSpec) -> Print:
    """Take a print out of a tray: a copy, which nobody changes any more.

    Raises
    ------
    Spoiled
        Where sizes or values are not those of a print.
    """
    rows, columns, content = _measures(note_in(tray))
    behind = np.frombuffer(tray, np.uint8, offset=_NOTE_BYTES)
    numbers, inputs = 4 * (spec.rows * spec.columns + FEATURES), spec.rows * spec.columns
    floats = behind[:numbers].view(np.float32).copy()
    picture = behind[numbers : numbers + rows * columns].reshape(rows, columns).copy()
    gray, found = floats[:inputs].reshape(spec.rows, spec.columns), floats[inputs:]
    if not (np.isfinite(found).all() and gray.min() >= 0 and gray.max() <= 1):  # NaN is neither
        raise Spoiled
    return Print(gray, found, content, picture)


def _measures(note: dict[str, Any]) -> tuple[int, int, float]:
    match note:
        case {"picture": [int(rows), int(columns)], "content": float(content)}:
            if 1 <= rows <= FILM_HEIGHT and 1 <= columns <= FILM_WIDEST and 0 <= content <= 1:
                return rows, columns, content
    raise Spoiled
