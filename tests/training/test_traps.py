"""What would mislead is said in words, and nothing is said where there is nothing to say."""

from pathlib import Path

import numpy as np
import pytest

from training.data import Films
from training.duplicates import Duplicates, Kind, Pair
from training.traps import ENOUGH, never_together, told_by_source, traps

LABELS = ("Normal", "Pneumonia", "Tuberculosis")
NOTHING = Duplicates([], [], [])


def films_of(groups, count=ENOUGH, films_a_patient=2, splits=("train", "val", "test")):
    """Make films of (label, source) in every split."""
    rows = [(*group, split) for group in groups for split in splits for _ in range(count)]
    labels, sources, splits = (np.array(column) for column in zip(*rows, strict=True))
    files = np.array([f"{number}.png" for number in range(len(rows))])
    patients = np.array([f"p{number // films_a_patient}" for number in range(len(rows))])
    return Films(files, labels, sources, splits, patients, Path(), {})


EVERYTHING = [(label, source) for label in range(3) for source in "ab"]


def said(films, found=NOTHING):
    return " ".join(traps(films, LABELS, found))


def test_nothing_is_said_of_films_without_traps():
    assert said(films_of(EVERYTHING)) == ""


def test_classes_that_no_source_holds_together_are_named():
    films = films_of([(0, "a"), (1, "a"), (0, "b"), (2, "b")])
    assert never_together(films, LABELS) == [("Pneumonia", "Tuberculosis")]
    assert "No source holds both Pneumonia and Tuberculosis" in said(films)
    assert "No source holds both Normal" not in said(films)


def test_a_class_of_one_source_and_a_source_of_one_class_are_named():
    films = films_of([(0, "a"), (1, "a"), (2, "b")])
    assert "Tuberculosis comes from b alone" in said(films)
    assert "One class alone in b (Tuberculosis)" in said(films)


def test_how_far_the_source_alone_tells_the_class_is_counted():
    films = films_of([(0, "a"), (1, "a"), (2, "b"), (2, "c")])
    assert told_by_source(films) == pytest.approx((0.75, 0.5))
    assert "names the class of 75% of the train films; knowing nothing, of 50%" in said(films)


def test_films_of_one_source_are_said_to_hide_it():
    words = said(films_of([(label, "a") for label in range(3)]))
    assert "All films are of one source" in words
    assert "comes from" not in words


def test_few_validation_films_are_counted():
    words = said(films_of(EVERYTHING, count=ENOUGH // 2))
    assert f"Few films in val (Pneumonia {2 * (ENOUGH // 2)}, Tuberculosis {2 * (ENOUGH // 2)})" in words


def test_a_source_that_is_never_tested_is_named():
    films = films_of(EVERYTHING)
    films.splits[(films.sources == "b") & (films.splits == "test")] = "train"
    assert "No test film of b: the test split says nothing of it" in said(films)


def test_a_source_whose_films_are_a_patient_each_is_named():
    assert "As many patients as films in a and b" in said(films_of(EVERYTHING, films_a_patient=1))


def test_look_alikes_and_one_film_under_two_labels_are_told():
    films = films_of(EVERYTHING)
    other = int(np.flatnonzero(films.labels == 2)[0])
    words = said(films, Duplicates([], [Pair(Kind.NEAR, 4, 0, other)], [Pair(Kind.LOOK_ALIKE, 40, 0, 1)]))
    assert f"One film under two labels, 1 times, as 0.png (Normal) = {other}.png (Tuberculosis)" in words
    assert "1 pairs of films in different splits look alike" in words
