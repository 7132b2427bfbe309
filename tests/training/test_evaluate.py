"""The numbers of the card are computed as they are called."""

from pathlib import Path

import numpy as np
import pytest

from node.bundle import Rule
from training.data import Films
from training.evaluate import bootstrap, expected_calibration_error, measure, source_probe, sources_to_leave_out

NAMES = ("Normal", "Pneumonia", "Tuberculosis")
RULES = {"Pneumonia": Rule("Pneumonia", 0.5, 0.3, False), "Tuberculosis": Rule("Tuberculosis", 0.5, 0.3, True)}


def films_of(labels, sources, patients, splits=None):
    names = np.array([str(n) for n in range(len(labels))])
    splits = np.array(splits or ["test"] * len(labels))
    return Films(names, np.array(labels), np.array(sources), splits, np.array(patients), Path(), {})


def test_known_answers_give_known_metrics():
    films = films_of([0, 0, 1, 1, 2, 2], ["a"] * 4 + ["b"] * 2, [str(n) for n in range(6)])
    probabilities = np.array(
        [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8], [0.2, 0.1, 0.7]],
        np.float32,
    )
    found = measure(films, np.arange(6), probabilities, NAMES, RULES, 50)
    value = {name: triple[0] for name, triple in found["metrics"].items()}
    assert value["accuracy"] == pytest.approx(4 / 6, abs=1e-4)
    assert value["precision Normal"] == value["recall Pneumonia"] == value["sensitivity Pneumonia"] == 0.5
    assert value["specificity Pneumonia"] == 0.5
    assert value["auc Tuberculosis"] == value["f1 Tuberculosis"] == value["sensitivity Tuberculosis"] == 1.0
    assert value["auc Pneumonia"] == pytest.approx(7 / 8)
    assert found["films"] == {"Normal": 2, "Pneumonia": 2, "Tuberculosis": 2}
    assert "auc Tuberculosis" not in found["by_source"]["b"]["metrics"]


def test_patients_are_drawn_with_all_their_films():
    patients = np.array(["a"] * 99 + ["b"])
    right = np.array([1.0] * 99 + [0.0])
    drawn = bootstrap(lambda weights: {"mean": float(np.average(right, weights=weights))}, patients, 200)
    value, low, high = drawn["mean"]
    assert value == 0.99
    # Either patient alone is drawn a quarter of the time: films drawn one by one would never come near 0.
    assert (low, high) == (0.0, 1.0)


def test_confidence_that_is_right_has_no_calibration_error_and_overconfidence_has():
    labels = np.array([0] * 80 + [1] * 20)
    honest = np.tile(np.array([0.8, 0.2], np.float32), (100, 1))
    assert expected_calibration_error(labels, honest) == pytest.approx(0.0, abs=1e-4)
    assert expected_calibration_error(labels, np.tile(np.array([0.99, 0.01], np.float32), (100, 1))) == pytest.approx(
        0.19, abs=1e-3
    )


def test_a_source_is_left_out_only_where_two_classes_can_be_measured_and_every_class_still_learned():
    rows = [
        (label, source, split)
        for split in ("train", "val")
        for label, source in ((0, "a"), (1, "a"), (0, "b"), (1, "b"), (2, "c"))
    ]
    labels, sources, splits = (list(column) for column in zip(*rows, strict=True))
    patients = [str(n) for n in range(len(rows))]
    assert sources_to_leave_out(films_of(labels, sources, patients, splits)) == ["a", "b"]
    alone = [source.replace("b", "a") for source in sources]
    assert sources_to_leave_out(films_of(labels, alone, patients, splits)) == []


def test_the_probe_finds_a_source_that_shows_and_none_that_does_not():
    rng = np.random.default_rng(0)
    sources = ["a", "b"] * 200
    films = films_of([0] * 400, sources, [str(n) for n in range(400)], ["train"] * 200 + ["test"] * 200)
    noise = rng.normal(size=(400, 5)).astype(np.float32)
    shown = noise + 4 * (films.sources == "a")[:, np.newaxis]
    assert source_probe(films, shown)["balanced_accuracy"] > 0.95
    assert source_probe(films, noise)["balanced_accuracy"] < 0.65
    assert source_probe(films, noise)["chance"] == 0.5


def test_one_source_cannot_be_probed():
    films = films_of([0] * 4, ["a"] * 4, list("abcd"), ["train", "train", "test", "test"])
    assert source_probe(films, np.zeros((4, 2), np.float32))["balanced_accuracy"] is None
