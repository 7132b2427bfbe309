"""Films side by side as the network gets them: what tells the sources apart shows at one glance.

Classes are rows and sources are columns. Where a column's films share a border, a blur or a marker that its neighbor's lack, the
network can see it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from node.pixels import InputSpec, model_input, read_picture
from training.data import Films
from training.duplicates import Pair

_PAPER, _INK, _MUTED, _EMPTY, _ALERT = "#ffffff", "#1f2933", "#6b7680", "#f1f3f5", "#d55e00"
_MARGIN, _GAP, _SEAM = 32, 24, 4  # pixels: of the page, between cells, between the films of a cell
_TITLE, _NAME, _SMALL = 34, 28, 20  # type sizes in pixels
_SIDE = 2  # films of a cell, across and down
_LEAST = 144  # pixels of a film on paper: smaller model inputs are enlarged, each pixel to a square of its own
_PAIRS_ACROSS, _PAIRS = 3, 12
_FOR_SPLIT = 60  # pixels, of the word before a film's name

Tile = npt.NDArray[np.uint8]
Point = tuple[float, float]


def contact_sheet(films: Films, labels: tuple[str, ...], spec: InputSpec, path: Path) -> None:
    """Draw four train films of each class and source, chosen by chance, no two of one patient.

    Parameters
    ----------
    films : Films
    labels : tuple of str
    spec : InputSpec
        How the films become the network's input.
    path : Path
        The PNG to write; color, as high and wide as it takes.
    """
    sources = sorted(set(films.sources[films.rows("train")].tolist()))
    width, height = (_SIDE * side + _SEAM for side in _tile_size(spec))
    left, top = _MARGIN + _room_for(labels), _MARGIN + 4 * _TITLE
    step = height + _SMALL + 2 * _GAP
    page = _page(left + len(sources) * (width + _GAP) - _GAP + _MARGIN, top + len(labels) * step)
    _head(
        page,
        "What the network is given to learn from",
        f"Training films, chosen by chance, as model input: {_words(spec)}",
    )
    for column, source in enumerate(sources):
        _write(page, (left + column * (width + _GAP), top - _GAP / 2), source, _NAME, anchor="ls")
    for row, label in enumerate(labels):
        _write(page, (_MARGIN, top + row * step), label, _NAME, anchor="lt")
        for column, source in enumerate(sources):
            held = np.flatnonzero((films.labels == row) & (films.sources == source) & (films.splits == "train"))
            _cell(page, (left + column * (width + _GAP), top + row * step), films, held, spec)
    page.save(path)


def pairs_sheet(films: Films, pairs: Sequence[Pair], spec: InputSpec, path: Path) -> None:
    """Draw the first twelve pairs of films side by side, for a person to say whether they are of one patient.

    Parameters
    ----------
    films : Films
    pairs : sequence of Pair
    spec : InputSpec
    path : Path
        The PNG to write.
    """
    shown = pairs[:_PAIRS]
    width, height = _tile_size(spec)
    across, down = 2 * width + _SEAM + _GAP, height + 2 * _SMALL + 2 * _GAP
    lines = -(-len(shown) // _PAIRS_ACROSS)
    page = _page(2 * _MARGIN + _PAIRS_ACROSS * across - _GAP, _MARGIN + 3 * _TITLE + lines * down)
    of = f"The nearest {len(shown)} of {len(pairs)}" if len(pairs) > len(shown) else f"All {len(pairs)}"
    _head(
        page,
        "One patient in two splits?",
        f"{of} look-alikes in different splits, left and right; bits of 256 that differ",
    )
    for number, pair in enumerate(shown):
        x = _MARGIN + number % _PAIRS_ACROSS * across
        y = _MARGIN + 3 * _TITLE + number // _PAIRS_ACROSS * down
        for side, row in enumerate((pair.one, pair.other)):
            page.paste(Image.fromarray(_tile(films, row, spec)), (x + side * (width + _SEAM), y))
            below = y + height + _GAP / 4 + side * 1.2 * _SMALL
            _write(page, (x, below), str(films.splits[row]), _SMALL)
            name = _fitting(str(films.files[row]), 2 * width - _FOR_SPLIT - 2 * _SMALL)
            _write(page, (x + _FOR_SPLIT, below), name, _SMALL, _MUTED)
        _write(page, (x + 2 * width + _SEAM, y + height + _GAP / 4), str(pair.bits), _SMALL, _INK, "ra")
    page.save(path)


def _cell(
    page: Image.Image, corner: tuple[int, int], films: Films, held: npt.NDArray[np.int64], spec: InputSpec
) -> None:
    x, y = corner
    width, height = _tile_size(spec)
    whole = (_SIDE * width + _SEAM, _SIDE * height + _SEAM)
    if not len(held):
        ImageDraw.Draw(page).rectangle((x, y, x + whole[0] - 1, y + whole[1] - 1), _EMPTY)
        _write(page, (x + whole[0] / 2, y + whole[1] / 2), "no film", _NAME, _ALERT, "mm")
        return
    for number, row in enumerate(_chosen(films, held)):
        place = (x + number % _SIDE * (width + _SEAM), y + number // _SIDE * (height + _SEAM))
        page.paste(Image.fromarray(_tile(films, row, spec)), place)
    patients = len(set(films.patients[held].tolist()))
    _write(
        page,
        (x, y + whole[1] + _GAP / 4),
        f"{_count(len(held), 'film')} of {_count(patients, 'patient')}",
        _SMALL,
        _MUTED,
    )


def _chosen(films: Films, held: npt.NDArray[np.int64]) -> list[int]:
    """Return positions of films of different patients; the same each time."""
    first = {films.patients[row]: int(row) for row in np.random.default_rng(0).permutation(held)}
    return [*first.values()][: _SIDE * _SIDE]


def _tile(films: Films, row: int, spec: InputSpec) -> Tile:
    """Return a film as the network gets it, (rows, columns) uint8."""
    given = model_input(read_picture(films.images / str(films.files[row])), spec)[..., 0]
    enlarged = np.kron(np.round(given * 255).astype(np.uint8), np.ones((_times(spec), _times(spec)), np.uint8))
    tile: Tile = enlarged.astype(np.uint8)
    return tile


def _times(spec: InputSpec) -> int:
    return -(-_LEAST // min(spec.rows, spec.columns))


def _tile_size(spec: InputSpec) -> tuple[int, int]:
    return spec.columns * _times(spec), spec.rows * _times(spec)


def _words(spec: InputSpec) -> str:
    stretched = (
        f", percentiles {spec.percentiles[0]:g} and {spec.percentiles[1]:g} black and white" if spec.percentiles else ""
    )
    return f"{spec.columns} by {spec.rows} pixels{stretched}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number != 1 else ''}"


def _page(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), _PAPER)


def _head(page: Image.Image, title: str, below: str) -> None:
    _write(page, (_MARGIN, _MARGIN), title, _TITLE)
    _write(page, (_MARGIN, _MARGIN + 1.3 * _TITLE), below, _SMALL, _MUTED)


def _write(page: Image.Image, place: Point, text: str, size: int, color: str = _INK, anchor: str = "la") -> None:
    ImageDraw.Draw(page).text(place, text, color, ImageFont.load_default(size), anchor)


def _room_for(labels: tuple[str, ...]) -> int:
    return round(max(ImageFont.load_default(_NAME).getlength(label) for label in labels)) + _GAP


def _fitting(text: str, width: int) -> str:
    """Cut the front of a text that is too long; the end of a file's name tells more."""
    font = ImageFont.load_default(_SMALL)
    while font.getlength(text) > width:
        text = "…" + text[2:]
    return text
