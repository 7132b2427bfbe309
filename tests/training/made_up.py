"""A run that never trained: films and logits are made up, so that what must be found is known."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from node.bundle import Rule
from node.pixels import read_picture
from training import recipe as recipes
from training.calibrate import Calibrated, best_temperature, softmax
from training.data import Films
from training.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("Normal", "Pneumonia", "Tuberculosis")
RULES = {
    "Pneumonia": Rule("Pneumonia", 0.5, 0.3, False),
    "Tuberculosis": Rule("Tuberculosis", 0.5, 0.3, True),
}
# Class and source of each group of films; sex, age and view are known at clinic alone.
GROUPS = ((0, "clinic"), (1, "clinic"), (0, "ward"), (1, "ward"), (0, "camp"), (2, "camp"), (2, "bus"))
EACH = {"train": 8, "val": 16, "test": 24}


def recipe(**evaluate: Any) -> Recipe:
    """Return the shipped recipe, with few resamples."""
    shipped = recipes.load(ROOT / "config" / "training.yaml")
    return replace(shipped, evaluate=replace(shipped.evaluate, **{"resamples": 60, **evaluate}), tried=())


def films_of(labels: Any, sources: Any, patients: Any = None, splits: Any = None, **known: Any) -> Films:
    """Return films from columns; every film is a patient of its own in the test split where nothing else is said."""
    count = len(labels)
    return Films(
        files=np.array([f"{number}.png" for number in range(count)]),
        labels=np.array(labels),
        sources=np.array(sources, str),
        splits=np.array(["test"] * count if splits is None else splits),
        patients=np.array([str(number) for number in range(count)] if patients is None else patients),
        images=Path(),
        terms={"clinic": "CC0"},
        **{name: np.array(values, str) for name, values in known.items()},
    )


def grouped_films() -> Films:
    """Return films of every group and split; two follow each other of one patient."""
    rows = [(*group, split, n) for group in GROUPS for split, count in EACH.items() for n in range(count)]
    labels, sources, splits, numbers = zip(*rows, strict=True)
    known = [source == "clinic" for source in sources]
    return films_of(
        labels,
        sources,
        [f"{source}/{label}{split}{number // 2}" for label, source, split, number in rows],
        splits,
        sex=["MF"[n // 2 % 2] if here else "" for here, n in zip(known, numbers, strict=True)],
        age=[str(20 + 30 * (n // 2 % 3)) if here else "1-5y(cohort)" for here, n in zip(known, numbers, strict=True)],
        view=["PA" if here and n % 4 < 2 else "AP" for here, n in zip(known, numbers, strict=True)],
    )


@dataclass
class Member:
    """As much of `training.recipe.Member` as is asked."""

    graph: str = "EfficientNetB0"
    seed: int = 1
    working_px: int | None = None


@dataclass
class MadeUpRun:
    """As much of `training.run.Run` as the evaluation asks for.

    Attributes
    ----------
    separation : float
        How far the logit of the right class lies above the others, in standard deviations; 0 knows nothing.
    asked : list
        What it was asked to train: the source left out, or "random".
    """

    folder: Path
    films: Films = field(default_factory=grouped_films)
    recipe: Recipe = field(default_factory=recipe)
    separation: float = 3.0
    outside: float = 0.5
    seeds: tuple[int, ...] = (1,)
    asked: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.folder.parent

    @property
    def member(self) -> Member:
        return Member(seed=self.seeds[0])

    @property
    def members(self) -> tuple["MadeUpRun", ...]:
        return tuple(replace(self, seeds=(seed,), folder=self.folder.parent / f"network{seed}") for seed in self.seeds)

    @property
    def random(self) -> "MadeUpRun":
        self.asked.append("random")
        return replace(self, separation=0.0)

    def without(self, source: str) -> "MadeUpRun":
        self.asked.append(source)
        return replace(self, separation=self.outside)

    def logits(self, rows: Any, alter: Callable[[Any], Any] | None = None) -> Any:
        """Return made-up logits; what alters the plane of a film blurs what is said of it as much."""
        rng = np.random.default_rng(self.seeds[0])
        said = rng.normal(size=(len(self.films), len(NAMES))) + self.separation * np.eye(3)[self.films.labels]
        if alter is not None:
            plane = np.random.default_rng(5).random((40, 30)).astype(np.float32)
            said = said + rng.normal(size=said.shape) * 20 * np.abs(alter(plane) - plane).mean()
        return said[rows].astype(np.float32)

    def features(self, rows: Any) -> Any:
        """Return features that give the source away."""
        known = np.unique(self.films.sources, return_inverse=True)[1][rows]
        return np.eye(known.max() + 1)[known] + np.random.default_rng(0).normal(size=(len(rows), known.max() + 1)) / 4

    def calibrated(self) -> Calibrated:
        """Return a calibration whose rules are `RULES`."""
        rows = self.films.rows("val")
        temperature = best_temperature(self.logits(rows), self.films.labels[rows])
        return Calibrated("0" * 64, temperature, tuple(RULES.values()), {"Pneumonia": 0.5, "Tuberculosis": 0.6}, {})


def probabilities_of(films: Films, separation: float = 3.0, seed: int = 0) -> Any:
    """Return made-up probabilities that favor the right class."""
    noise = np.random.default_rng(seed).normal(size=(len(films), len(NAMES)))
    return softmax((noise + separation * np.eye(3)[films.labels]).astype(np.float32))


def film(path: Path, number: int = 0, bits: int = 8) -> Path:
    """Write a picture of a golden film, a little darker for each number."""
    plane = read_picture(next((ROOT / "models").glob("*/golden/nih-normal.jpg"))) * (1 - 0.02 * number)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.round(plane * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16))
    return path
