"""The card says of the data what the data are, and nothing that was not measured."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt

from tests.training.made_up import MadeUpRun, films_of
from tests.training.made_up import recipe as recipe_of
from training.calibrate import points_for, softmax
from training.card import card
from training.evaluate import evaluate
from training.recipe import Tried
from training.summary import targets

pytestmark = pytest.mark.slow


def card_of(folder, groups=None, notes=("all films are of left hands",), tried=(), **settings):
    """Write the card of a made-up run; `groups` are class and source of films, 20 in each split."""
    measured = {"resamples": 10, "robustness_films": 0, "leave_one_source_out": False, "random_control": False}
    recipe = replace(recipe_of(**measured | settings), notes=notes, tried=tried)
    run = MadeUpRun(Path(folder) / "abc", recipe=recipe)
    if groups:
        rows = [(*group, split) for group in groups for split in ("train", "val", "test") for _ in range(20)]
        labels, sources, splits = zip(*rows, strict=True)
        run.films = films_of(labels, sources, splits=splits)
        run.films.terms["a"] = "CC0"
    calibrated = run.calibrated()
    rows = run.films.rows("val")
    probabilities = softmax(run.logits(rows) / calibrated.temperature)
    points = points_for(probabilities, run.films.labels[rows], run.films.patients[rows], recipe)
    calibrated = replace(calibrated, points={label: point.to_json() for label, point in points.items()})
    metrics = evaluate(run, calibrated)
    return card(run, calibrated, metrics | {"targets": targets(metrics, recipe.targets)})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return card_of(tmp_path_factory.mktemp("runs"), robustness_films=20, leave_one_source_out=True, random_control=True)


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
    assert "| a | 60 | 60 | 60 | 180 | 60 / 60 / 60 | CC0 |" in written
    assert "EfficientNetB0 of Keras Applications" in written


def test_cut_offs_stand_with_what_they_were_chosen_to_give_and_how_surely(tmp_path):
    written = card_of(tmp_path, [(0, "a"), (1, "a"), (2, "a")])
    chosen = written.split("As chosen on the validation films")[1].split("On the test films")[0]
    row = next(line for line in chosen.splitlines() if line.startswith("| Pneumonia"))
    assert row.count("[") == 5
    assert row.endswith("| 20 of 20 patients |")


def test_what_was_not_measured_is_called_so(tmp_path):
    written = card_of(tmp_path)
    assert "what this model is worth at another hospital is unknown" in written
    assert "at a hospital it never saw was not measured" in written
    assert "Worse films" not in written


def test_use_limits_and_ethics_are_there(whole):
    for words in (
        "never replaces a reader",
        "Research and education only",
        "not for diagnosis",
        "What it is for",
        "Ethical notes",
        "Cut-offs do not transfer",
        "no evidence",
    ):
        assert words in whole
    assert whole.index("Limits, before any table") < whole.index("| class |")


def test_every_part_that_was_measured_is_told(whole):
    for heading in (
        "Targets",
        "Sources left out",
        "Controls",
        "Groups of patients",
        "Worse films",
        "Films and their terms",
        "How it was made",
    ):
        assert f"\n## {heading}" in whole
    assert "| nlm_shenzhen" not in whole
    assert "No source of tuberculosis tells patients apart by sex, age or view" in whole


def test_a_target_says_whether_it_was_met_and_how_to_find_the_number_again(whole):
    row = next(line for line in whole.splitlines() if line.startswith("| accuracy, test films"))
    assert "at least 0.90" in row
    assert "`cxr-train evaluate`" in row
    missing = next(line for line in whole.splitlines() if line.startswith("| AUC, nlm_shenzhen left out"))
    assert "not measured" in missing


def test_recipes_that_were_tried_are_told_row_by_row(tmp_path):
    rows = (Tried("plain", "accuracy 0.93", "AUC 0.69", "too simple"), Tried("masked", "0.91", "0.72", "kept"))
    written = card_of(tmp_path, tried=rows)
    assert "| plain | accuracy 0.93 | AUC 0.69 | too simple |" in written
    assert "| masked | 0.91 | 0.72 | kept |" in written
    assert "Recipes that were tried" not in card_of(tmp_path)


def test_every_table_of_the_card_is_one_to_a_markdown_reader(whole):
    shown = MarkdownIt("commonmark").enable("table").render(whole)
    assert shown.count("<table>") == sum(line.startswith("| --- |") for line in whole.splitlines())
    assert "<p>|" not in shown


def test_numbers_are_those_that_were_measured(tmp_path):
    run = MadeUpRun(
        tmp_path, recipe=recipe_of(resamples=10, robustness_films=0, leave_one_source_out=False, random_control=False)
    )
    metrics = evaluate(run, run.calibrated())
    value = metrics["metrics"]["accuracy"][0]
    assert f"Accuracy {value:.3f} [" in card(run, run.calibrated(), metrics)
    right = np.trace(np.array(metrics["confusion"])) / np.sum(metrics["confusion"])
    assert value == pytest.approx(right, abs=1e-4)
