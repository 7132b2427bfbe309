"""Heat maps to look at: the mean map of each class and source, and single films with their maps and the readers' boxes.

The color scale, inferno, grows evenly in lightness, as on the node's own pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle

from node.explain import on_film
from node.network import evidence
from node.pixels import Plane, read_picture
from training import lungs
from training.boxes import Box, covered, read_boxes
from training.calibrate import Calibrated, softmax
from training.data import Films
from training.explanation import TOLERANCE_PX, maps_of, rightly_flagged
from training.pointing import enlarged, near, peak_of
from training.run import Array, Rows, Run

_INK, _WIDTH, _DPI, _COLUMNS = "#1f2933", 11.0, 130, 4
_BOX, _LUNGS = "#56b4e9", "white"
# The side mean films are drawn at; the smallest film of these data has 128 pixels.
_SIDE = 224
_OPACITY = 0.75
# Of films with boxes that were not trained on.
_MOST_BOXED = 8
_LOOKERS = {"model": "model", "random": "control: from random weights"}


@dataclass(frozen=True)
class Example:
    """A film, the class whose map is drawn over it, and boxes, if readers drew any."""

    row: int
    label: str
    boxes: tuple[Box, ...] = ()


def draw(run: Run, calibrated: Calibrated) -> dict[str, bytes]:
    """Draw the heat maps of a run.

    Parameters
    ----------
    run : Run
    calibrated : Calibrated

    Returns
    -------
    dict of str to bytes
        PNG by name: ``explanation-maps`` where any test film is rightly flagged, and ``explanation-examples`` where there is any to show.
    """
    flagged = rightly_flagged(run, calibrated)
    examples = [*_boxed(run), *_one_each(run.films, flagged)]
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 10, "text.color": _INK}):
        found = {}
        if any(len(rows) for rows in flagged.values()):
            found["explanation-maps"] = _png(_mean_maps(run, flagged))
        if examples:
            found["explanation-examples"] = _png(_examples(run, calibrated, examples))
    return found


def groups(films: Films, flagged: dict[str, Rows]) -> dict[tuple[str, str], Rows]:
    """Return the rows of each label and source that has any."""
    return {
        (label, str(source)): rows[films.sources[rows] == source]
        for label, rows in flagged.items()
        for source in np.unique(films.sources[rows])
    }


def mean_map(heat_maps: Array) -> Array:
    """Return the mean of maps, (films, rows, columns), each film counting alike; 1 is what an even spread would give."""
    totals = heat_maps.mean((1, 2), keepdims=True)
    kept = totals[:, 0, 0] > 0
    mean: Array = (heat_maps[kept] / totals[kept]).mean(0) if kept.any() else np.zeros_like(heat_maps[0])
    return mean


def _mean_maps(run: Run, flagged: dict[str, Rows]) -> Figure:
    columns = groups(run.films, flagged)
    maps = {key: maps_of(run, rows, key[0]) for key, rows in columns.items()}
    lookers = [*next(iter(maps.values()))]
    means = {(looker, key): mean_map(maps[key][looker]) for looker in lookers for key in columns}
    # The control's corners would leave no colors for the model.
    scale = Normalize(0, max(float(means["model", key].max()) for key in columns))
    figure = _figure(_row_height(len(columns)) * len(lookers) + 1.0)
    axes = figure.subplots(len(lookers), len(columns), squeeze=False)
    for across, (key, rows) in enumerate(columns.items()):
        film, outline = _mean_film(run.films, rows)
        for down, looker in enumerate(lookers):
            axis = axes[down, across]
            _overlay(axis, film, _spread(means[looker, key]), scale)
            axis.contour(outline, [0.5], colors=_LUNGS, linewidths=1.0)
            if not down:
                axis.set_title(f"{key[0]}, {key[1]}\n{len(rows)} films", fontsize=10)
    for down, looker in enumerate(lookers):
        axes[down, 0].set_ylabel(_LOOKERS[looker])
    _colorbar(figure, axes, scale, "mean evidence; 1: spread evenly", extend="max")
    figure.supxlabel(
        "Mean heat map of test films rightly flagged, on their mean film. White: where half of these films have lungs.",
        fontsize=10,
    )
    return figure


def _examples(run: Run, calibrated: Calibrated, examples: list[Example]) -> Figure:
    rows = np.array([example.row for example in examples])
    shares = np.asarray(run.shares(rows))
    probabilities = softmax(shares.sum((1, 2)) / calibrated.temperature)
    lines = -(-len(examples) // _COLUMNS)
    figure = _figure((_row_height(_COLUMNS) + 0.4) * lines + 0.6)
    axes = figure.subplots(lines, _COLUMNS, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    scale = Normalize(0, 1)
    for axis, example, own, said in zip(axes.flat, examples, shares, probabilities, strict=False):
        index = run.recipe.labels.index(example.label)
        heat_map = evidence(own)[..., index] / calibrated.reference_share[example.label]
        title = _example(axis, run.films, example, heat_map, scale)
        axis.set_title(f"{run.films.sources[example.row]}: {example.label} {said[index]:.2f}\n{title}", fontsize=9)
    _colorbar(figure, axes, scale, "evidence, on the node's scale")
    figure.supxlabel(
        "Films chosen by chance: with readers' boxes (blue), not trained on; then test films rightly flagged. "
        f"White: lungs as found; cross: peak,\nin a box as well where it is less than {TOLERANCE_PX:.0f} pixels beside it.",
        fontsize=10,
    )
    return figure


def _example(axis: Any, films: Films, example: Example, heat_map: Array, scale: Normalize) -> str:
    """Draw one film, and return what there is to say of its map."""
    plane = read_picture(films.images / str(films.files[example.row]))
    _overlay(axis, plane, on_film(np.clip(heat_map, 0, 1).astype(np.float32), plane.shape), scale)
    axis.set_axis_off()
    found = lungs.found(plane)
    if found is not None:
        axis.contour(found, [0.5], colors=_LUNGS, linewidths=0.8)
    for box in example.boxes:
        axis.add_patch(Rectangle((box.x, box.y), box.width, box.height, fill=False, edgecolor=_BOX, linewidth=1.6))
    if not heat_map.max() > 0:
        return "nothing shown: log odds against it"
    row, column = peak_of(enlarged(heat_map, plane.shape))
    axis.plot(column, row, marker="x", color=_LUNGS, markersize=8, markeredgewidth=2)
    if example.boxes:
        hit = near(covered(list(example.boxes), plane.shape), TOLERANCE_PX)[row, column]
        return "peak in a box" if hit else "peak in no box"
    if found is None:
        return "no plausible lungs found"
    return "peak in the lungs" if found[row, column] else "peak outside the lungs"


def _boxed(run: Run) -> list[Example]:
    """Return some films with boxes that were not trained on."""
    settings, films = run.recipe.boxes, run.films
    if settings is None:
        return []
    boxes = read_boxes(settings)
    rows = np.flatnonzero(np.isin(films.files, list(boxes)) & (films.splits != "train"))
    chosen = np.random.default_rng(0).permutation(rows)[:_MOST_BOXED]
    return [Example(int(row), settings.label, tuple(boxes[str(films.files[row])])) for row in chosen]


def _one_each(films: Films, flagged: dict[str, Rows]) -> Iterator[Example]:
    """Yield one film of each label and source."""
    rng = np.random.default_rng(0)
    for (label, _), rows in groups(films, flagged).items():
        yield Example(int(rng.choice(rows)), label)


def _mean_film(films: Films, rows: Rows) -> tuple[Plane, Plane]:
    """Return the mean of films, and how often each place lies in their lungs; both are squares."""
    total, masks = np.zeros((_SIDE, _SIDE), np.float32), []
    for row in rows:
        plane = read_picture(films.images / str(films.files[row]))
        total += cv2.resize(plane, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        found = lungs.found(plane)
        masks += [] if found is None else [found]
    return total / np.float32(len(rows)), lungs.average(masks, (_SIDE, _SIDE))


def _spread(mean: Array) -> Plane:
    """Enlarge a mean map, whose values are not in [0, 1], to the size of a mean film."""
    large: Plane = np.maximum(cv2.resize(mean, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC), 0.0)
    return large


def _overlay(axis: Any, film: Plane, heat_map: Plane, scale: Normalize) -> None:
    """Lay a map over a film; the stronger, the less the film shows through."""
    low, high = np.percentile(film, (1, 99))
    axis.imshow(film, cmap="gray", vmin=low, vmax=high)
    opacity = _OPACITY * np.clip(scale(heat_map), 0, 1)
    axis.imshow(heat_map, cmap="inferno", norm=scale, alpha=opacity)
    axis.set(xticks=[], yticks=[])


def _figure(height: float) -> Figure:
    return Figure(figsize=(_WIDTH, height), layout=ConstrainedLayoutEngine(h_pad=0.08))


def _row_height(columns: int) -> float:
    """Return the height of a row of squares, in inches; the color bar takes its share of the width."""
    return 0.92 * _WIDTH / max(columns, 3)


def _colorbar(figure: Figure, axes: Any, scale: Normalize, words: str, extend: str = "neither") -> None:
    bar = figure.colorbar(ScalarMappable(scale, "inferno"), ax=axes, shrink=0.6, pad=0.01, aspect=25, extend=extend)
    bar.set_label(words)


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()
