"""Where a run's heat maps look: into the lungs, and into the boxes that readers drew; beside lookers that never saw disease.

The lookers, of which `training.pointing` asks two questions::

    model           the run's maps
    random          maps of the same recipe trained from random weights
    average lungs   one map for every film: how often each place lies in the lungs
    center          the middle of the film
    lungs           any point in the film's lungs, all alike
    anywhere        any point of the film, all alike: what chance gives

A map is the positive part of the shares: `node.network.evidence` before it is reduced, which has the same peak in the same
place, and is there as well where the log odds are against the class and the node shows nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from node.errors import ConfigError
from node.infer import triage
from node.pixels import Plane, read_picture
from training import lungs
from training.boxes import Box, covered, read_boxes
from training.calibrate import Calibrated, softmax
from training.data import Films
from training.lungs import Mask
from training.pointing import looks
from training.recipe import Boxes
from training.run import Array, Rows, Run
from training.statistics import Values, Weights, bootstrap, ratio

# Zhang et al. 2016 (arXiv:1608.00507) count a peak less than 15 pixels away; their films were as large as these, some 500 pixels.
TOLERANCE_PX = 15.0
_PRIOR_SHAPE = (64, 64)
_EVERYONE = "all"


@dataclass(frozen=True)
class Scene:
    """A film's rows and columns, and its lungs; None where no plausible ones were found."""

    shape: tuple[int, int]
    lungs: Mask | None


def measure(run: Run, calibrated: Calibrated) -> dict[str, Any]:
    """Measure where a run's heat maps look.

    Parameters
    ----------
    run : Run
        The control from random weights takes part where the recipe asks for it, and is trained on first use.
    calibrated : Calibrated

    Returns
    -------
    dict
        JSON-ready. ``lungs``: by class and source, maps of test films rightly flagged. ``boxes``: by readers, maps of films with boxes;
        None where the recipe names no boxes. Each group has ``films``, ``patients`` and ``metrics``, which are [value, low,
        high] by "peak LOOKER" and "mass LOOKER".
    """
    flagged = rightly_flagged(run, calibrated)
    rows = np.concatenate([*flagged.values()])
    scenes = scenes_of(run.films, rows)
    prior = lungs.average([scene.lungs for scene in scenes if scene.lungs is not None], _PRIOR_SHAPE)
    settings = run.recipe.boxes
    return {
        "tolerance_px": TOLERANCE_PX,
        "lungs": _in_lungs(run, flagged, dict(zip(rows.tolist(), scenes, strict=True)), prior),
        "boxes": _in_boxes(run, settings, prior) if settings else None,
    }


def rightly_flagged(run: Run, calibrated: Calibrated) -> dict[str, Rows]:
    """Return the test films that the node would flag as what they are, by abnormal label."""
    films, names = run.films, run.recipe.labels
    rows = films.rows("test")
    rules = {rule.label: rule for rule in calibrated.rules}
    probabilities = softmax(run.logits(rows) / calibrated.temperature)
    said = np.array([triage(dict(zip(names, map(float, row), strict=True)), rules)[1] or "" for row in probabilities])
    truth = np.array(names)[films.labels[rows]]
    return {name: rows[(said == name) & (truth == name)] for name in names if name in rules}


def maps_of(run: Run, rows: Rows, label: str) -> dict[str, Array]:
    """Return the maps of a class, (films, map rows, map columns) at least 0, of the model and of the random control."""
    index = run.recipe.labels.index(label)
    runs = {"model": run, "random": run.random} if run.recipe.evaluate.random_control else {"model": run}
    # A run keeps what it was asked: all test films are asked for at once, whichever of them are wanted.
    test = run.films.rows("test")
    within = bool(np.isin(rows, test).all())
    asked, places = (test, np.searchsorted(test, rows)) if within else (rows, np.arange(len(rows)))
    return {name: np.maximum(np.asarray(each.shares(asked))[places, ..., index], 0.0) for name, each in runs.items()}


def scenes_of(films: Films, rows: Rows) -> list[Scene]:
    """Find the lungs of films."""

    def one(row: int) -> Scene:
        plane = read_picture(films.images / str(films.files[row]))
        return Scene(plane.shape, lungs.found(plane))

    with ThreadPoolExecutor() as pool:
        return [*pool.map(one, rows.tolist())]


def summarized(table: Sequence[Mapping[str, float]], films: Films, rows: Rows, resamples: int) -> dict[str, Any]:
    """Return the mean of each column over films that define it, with its 95 % interval by patient."""
    names = sorted({name for line in table for name in line})
    values = np.array([[line.get(name, np.nan) for name in names] for line in table])
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)

    def means(weights: Weights) -> dict[str, Values]:
        table_weights = weights.astype(float)
        return dict(zip(names, ratio(table_weights @ filled, table_weights @ known).T, strict=True))

    patients = films.patients[rows]
    return {
        "films": len(rows),
        "patients": len(np.unique(patients)),
        "metrics": bootstrap(means, patients, resamples) if len(rows) else {},
    }


def _in_lungs(run: Run, flagged: Mapping[str, Rows], scenes: Mapping[int, Scene], prior: Plane) -> dict[str, Any]:
    """Return, by class and by source, how the maps of films rightly flagged look into the lungs."""
    found = {}
    for label, rows in flagged.items():
        believed = np.array([scenes[row].lungs is not None for row in rows.tolist()], bool)
        kept = rows[believed]
        heat_maps = maps_of(run, kept, label)
        table = [_into_lungs(scenes[int(row)], _at(heat_maps, place, prior)) for place, row in enumerate(kept)]
        found[label] = {
            _EVERYONE: _group(run, table, kept) | {"without_lungs": int((~believed).sum())},
            "by_source": _by_source(run, table, kept, rows[~believed]),
        }
    return found


def _by_source(run: Run, table: list[dict[str, float]], kept: Rows, strange: Rows) -> dict[str, Any]:
    films = run.films
    found = {}
    for source in np.unique(films.sources[np.concatenate([kept, strange])]):
        own = np.flatnonzero(films.sources[kept] == source)
        count = int((films.sources[strange] == source).sum())
        found[str(source)] = _group(run, [table[i] for i in own], kept[own]) | {"without_lungs": count}
    return found


def _into_lungs(scene: Scene, heat_maps: Mapping[str, Array]) -> dict[str, float]:
    assert scene.lungs is not None
    return looks(scene.lungs, 0.0, heat_maps, None)


def _in_boxes(run: Run, settings: Boxes, prior: Plane) -> dict[str, Any]:
    """Return, by set of readers, how the maps of films with boxes look into them."""
    if settings.label not in run.recipe.labels:
        raise ConfigError(f"boxes.label is {settings.label}, which is no class of the recipe; mend the recipe")
    films, boxes = run.films, read_boxes(settings)
    rows = np.flatnonzero(np.isin(films.files, list(boxes)))
    drawn = [boxes[str(file)] for file in films.files[rows]]
    scenes, heat_maps = scenes_of(films, rows), maps_of(run, rows, settings.label)
    shown = np.asarray(run.shares(rows))[..., run.recipe.labels.index(settings.label)].sum((1, 2)) > 0
    readers = sorted({box.readers for each in drawn for box in each})
    found = {}
    for chosen in ([_EVERYONE] if len(readers) > 1 else []) + readers:
        own = [[box for box in each if chosen in (_EVERYONE, box.readers)] for each in drawn]
        table = [
            _into_boxes(each, scene, _at(heat_maps, place, prior)) if each else {}
            for place, (each, scene) in enumerate(zip(own, scenes, strict=True))
        ]
        found[chosen] = _subsets(run, rows, own, table, shown)
    return {
        "label": settings.label,
        "findings": list(settings.findings),
        "not_in_manifest": len(boxes) - len(rows),
        "without_lungs": sum(scene.lungs is None for scene in scenes),
        "readers": found,
    }


def _into_boxes(boxes: list[Box], scene: Scene, heat_maps: Mapping[str, Array]) -> dict[str, float]:
    return looks(covered(boxes, scene.shape), TOLERANCE_PX, heat_maps, scene.lungs)


def _subsets(
    run: Run, rows: Rows, boxes: list[list[Box]], table: list[dict[str, float]], shown: Mask
) -> dict[str, dict[str, Any]]:
    """Return the films of one set of readers: all, those not trained on, and of either those whose map the node shows."""
    boxed = np.array([bool(each) for each in boxes])
    unseen = boxed & (run.films.splits[rows] != "train")
    chosen = {"every film": boxed, "not trained on": unseen}
    chosen |= {f"{name}, with a map": films & shown for name, films in chosen.items()}
    found = {}
    for name, films in chosen.items():
        places = np.flatnonzero(films)
        count = sum(len(boxes[place]) for place in places)
        found[name] = _group(run, [table[place] for place in places], rows[places]) | {"boxes": count}
    return found


def _group(run: Run, table: Sequence[Mapping[str, float]], rows: Rows) -> dict[str, Any]:
    return summarized(table, run.films, rows, run.recipe.evaluate.resamples)


def _at(heat_maps: Mapping[str, Array], place: int, prior: Plane) -> dict[str, npt.NDArray[np.float32]]:
    """Return one film's map of every looker that has one."""
    return {name: each[place] for name, each in heat_maps.items()} | {"average lungs": prior}
