"""How the answers hold when the film is noisier, softer, flatter, more compressed, darker or lighter than those learned from.

Each alteration is applied to the film's plane, before the model's own preprocessing: what a worse machine, a poorer exposure or a
lossy archive would have sent. Strengths are of the full range of gray, or of the film's longer side, so that films of other
sizes are altered alike.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from node.pixels import Plane
from training.calibrate import Calibrated, softmax
from training.data import Films
from training.measure import MACRO, Answered, group
from training.pictures import Alter
from training.run import Run
from training.statistics import Rows


@dataclass(frozen=True)
class Alteration:
    """One way a film gets worse.

    Attributes
    ----------
    name : str
    meaning : str
        What a strength is, for a reader.
    strengths : tuple of float
        In the order in which they are drawn.
    untouched : float
        The strength that would change nothing; it stands among the others where a picture shows them.
    apply : callable
        From (plane, strength) to plane.
    """

    name: str
    meaning: str
    strengths: tuple[float, ...]
    untouched: float
    apply: Callable[[Plane, float], Plane]

    def at(self, strength: float) -> Alter:
        """Return the change of a plane at one strength."""
        return lambda plane: self.apply(plane, strength)


def noisy(plane: Plane, deviation: float) -> Plane:
    """Add Gaussian noise; its seed is the film's own content, so that every run sees the same film."""
    rng = np.random.default_rng(zlib.crc32(np.ascontiguousarray(plane).tobytes()))
    return _gray(plane + rng.normal(0.0, deviation, plane.shape).astype(np.float32))


def blurred(plane: Plane, share: float) -> Plane:
    """Blur with a Gaussian whose standard deviation is this share of the longer side."""
    deviation = share * max(plane.shape)
    return _gray(cv2.GaussianBlur(plane, (0, 0), deviation, borderType=cv2.BORDER_REPLICATE))


def contrasted(plane: Plane, factor: float) -> Plane:
    """Stretch or squeeze the gray values about their mean; what leaves the range is cut off."""
    mean = plane.mean()
    return _gray((plane - mean) * factor + mean)


def compressed(plane: Plane, quality: float) -> Plane:
    """Encode as JPEG of this quality and decode again."""
    encoded = cv2.imencode(".jpg", np.round(plane * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
    decoded: Plane = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.float32)
    return _gray(decoded * np.float32(1 / 255))


def brightened(plane: Plane, offset: float) -> Plane:
    """Add a constant; what leaves the range is cut off, as in a film that is over- or underexposed."""
    return _gray(plane + offset)


def curved(plane: Plane, gamma: float) -> Plane:
    """Raise the gray values to a power: below 1 lighter, above 1 darker, nothing cut off."""
    return _gray(np.power(plane, gamma))


ALTERATIONS = (
    Alteration("noise", "standard deviation, share of the full range of gray", (0.01, 0.02, 0.05, 0.10), 0.0, noisy),
    Alteration("blur", "standard deviation, share of the longer side", (0.002, 0.004, 0.008, 0.016), 0.0, blurred),
    Alteration("contrast", "factor about the mean", (0.25, 0.5, 1.5, 2.0), 1.0, contrasted),
    Alteration("JPEG", "quality", (75, 50, 25, 10), 100, compressed),
    Alteration("brightness", "added, share of the full range of gray", (-0.3, -0.15, 0.15, 0.3), 0.0, brightened),
    Alteration("gamma", "exponent; above 1 is darker", (0.5, 0.7, 1.5, 2.0), 1.0, curved),
)


def robustness(run: Run, calibrated: Calibrated) -> dict[str, Any]:
    """Measure a run on altered test films.

    Returns
    -------
    dict
        JSON-ready: how many films and how they were chosen, ``untouched``, and for each of ``alterations`` its meaning and, by
        strength, accuracy and AUC with intervals.
    """
    films, recipe = run.films, run.recipe
    rows = sample(films, films.rows("test"), recipe.evaluate.robustness_films)
    wanted = (
        "accuracy",
        f"auc {MACRO}",
        *(f"auc {name}" for name in recipe.labels),
        "sensitivity any",
        "specificity any",
    )
    rules = {rule.label: rule for rule in calibrated.rules}

    def measured(alter: Alter | None) -> dict[str, Any]:
        probabilities = softmax(run.logits(rows, alter=alter) / calibrated.temperature)
        found = group(Answered.of(films, rows, probabilities, recipe.labels, rules), recipe.evaluate.resamples)[
            "metrics"
        ]
        return {name: found[name] for name in wanted if name in found}

    return {
        "films": len(rows),
        "of": len(films.rows("test")),
        "untouched": measured(None),
        "alterations": {
            one.name: {
                "meaning": one.meaning,
                "untouched": one.untouched,
                "strengths": [{"strength": strength, **measured(one.at(strength))} for strength in one.strengths],
            }
            for one in ALTERATIONS
        },
    }


def sample(films: Films, rows: Rows, most: int) -> Rows:
    """Return at most so many of these films, every class and source with its share; always the same ones."""
    if len(rows) <= most:
        return rows
    chance = np.random.default_rng(0).random(len(rows))
    ranked = rows[np.lexsort((chance, films.sources[rows], films.labels[rows]))]
    return np.sort(ranked[np.linspace(0, len(rows) - 1, most).round().astype(int)])


def _gray(plane: Plane) -> Plane:
    return np.clip(plane, 0.0, 1.0).astype(np.float32)
