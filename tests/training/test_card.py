"""The card says of the data what the data are."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from training import recipe as recipes
from training.calibrate import Calibrated
from training.card import card
from training.data import Films
from training.evaluate import measure
from training.run import Run

SHIPPED = Path(__file__).resolve().parents[2] / "config" / "training.yaml"


def card_of(tmp_path, groups):
    """Write the card of a run whose sources hold these classes, ten test films of each, all called right."""
    (tmp_path / "manifest.csv").write_text("file\n")
    recipe = recipes.load(SHIPPED, tmp_path / "manifest.csv", tmp_path, "none")
    recipe = replace(recipe, notes=("all films are of left hands",))
    rows = [group for group in groups for _ in range(10)]
    labels, sources = (np.array(column) for column in zip(*rows, strict=True))
    names = np.array([str(number) for number in range(len(rows))])
    run = Run(recipe, tmp_path)
    run.__dict__["films"] = Films(names, labels, sources, np.full(len(rows), "test"), names, tmp_path, {"a": "CC0"})
    said = (np.eye(3)[labels] * 0.97 + 0.01).astype(np.float32)
    metrics = measure(run.films, np.arange(len(rows)), said, recipe.labels, {}, 10)
    metrics["controls"] = {"source_from_normal_films": {"sources": [], "balanced_accuracy": None, "chance": None}}
    return card(run, Calibrated("0" * 64, 1.0, (), {}, {}), metrics)


def test_classes_that_no_source_holds_together_are_named(tmp_path):
    written = card_of(tmp_path, [(0, "a"), (1, "a"), (0, "b"), (2, "b")])
    assert "No source holds both pneumonia and tuberculosis" in written
    assert "No source holds both normal" not in written
    assert "Class goes with source" in written


def test_a_source_with_every_class_is_not_called_confounded(tmp_path):
    written = card_of(tmp_path, [(0, "a"), (1, "a"), (2, "a")])
    assert "No source holds both" not in written
    assert "Class goes with source" not in written


def test_the_card_carries_notes_numbers_and_terms(tmp_path):
    written = card_of(tmp_path, [(0, "a"), (1, "a"), (2, "a")])
    assert "- all films are of left hands." in written
    assert "Accuracy 1.000 [1.000, 1.000]" in written
    assert "its weights: not stated" in written
    assert "| a | 10 | 10 | 10 | 0 / 0 / 30 | CC0 |" in written


def test_what_was_not_measured_is_called_so(tmp_path):
    assert "what this model is worth at another hospital is unknown" in card_of(
        tmp_path, [(0, "a"), (1, "a"), (2, "a")]
    )
