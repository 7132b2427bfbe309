"""A group that is read worse stands out, one that is not does not, and what cannot be known is said."""

import numpy as np
import pytest

from tests.training.made_up import NAMES, RULES, films_of, grouped_films, probabilities_of
from training.fairness import age_band, fairness
from training.measure import Answered

pytestmark = pytest.mark.slow


def fair(films, probabilities, resamples=200, **settings):
    rows = np.arange(len(films))
    answered = Answered.of(films, rows, probabilities, NAMES, RULES)
    return fairness(films, rows, answered, resamples, **settings)


def two_sexes(count=200):
    return films_of(np.arange(count) % 2, ["a"] * count, sex=["MF"[n // 2 % 2] for n in range(count)])


def test_a_group_that_is_read_worse_is_found_with_its_gap():
    films = two_sexes()
    probabilities = probabilities_of(films, 6.0)
    wrong = np.flatnonzero((films.sex == "F") & (np.arange(len(films)) % 3 == 0))
    probabilities[wrong] = np.roll(probabilities[wrong], 1, axis=1)
    women = fair(films, probabilities)["attributes"]["sex"]["groups"]["women"]
    gap, low, high = women["gap"]["accuracy"]
    assert gap == pytest.approx(-1 / 3, abs=0.05)
    assert low < gap < high < 0
    assert "accuracy" in women["differs"]


def test_groups_that_are_read_alike_do_not_differ():
    films = two_sexes()
    found = fair(films, probabilities_of(films, 1.0))
    groups = found["attributes"]["sex"]["groups"]
    assert all(group["gap"]["accuracy"][1] < 0 < group["gap"]["accuracy"][2] for group in groups.values())
    assert found["excluding_zero"] <= found["comparisons"] * 0.2


def test_a_gap_is_the_difference_of_the_two_groups():
    films = two_sexes()
    groups = fair(films, probabilities_of(films, 1.0))["attributes"]["sex"]["groups"]
    men, women = groups["men"], groups["women"]
    for name, (gap, *_) in men["gap"].items():
        assert gap == pytest.approx(men["metrics"][name][0] - women["metrics"][name][0], abs=2e-4)


def test_groups_are_told_apart_only_within_sources_that_hold_both():
    films = grouped_films()
    found = fair(films, probabilities_of(films), by_source=False)["attributes"]
    # Everywhere else the view is the same throughout: it would stand for the source.
    assert found["view"]["sources"] == ["clinic"]
    assert (
        sum(sum(one["films"].values()) for one in found["view"]["groups"].values()) == (films.sources == "clinic").sum()
    )


def test_what_cannot_be_known_is_said_in_words():
    films = grouped_films()
    said = fair(films, probabilities_of(films))["unknown"]
    assert said == [
        "bus, camp, ward: sex, age and view are not stated film by film, or are the same throughout.",
        "No source of tuberculosis tells patients apart by sex, age or view: whether tuberculosis is read alike in all of them "
        "cannot be known from these films.",
    ]


def test_where_nothing_is_stated_one_sentence_says_so():
    films = films_of([0, 1, 2] * 10, ["a"] * 30)
    found = fair(films, probabilities_of(films))
    assert found["attributes"] == {}
    assert found["comparisons"] == 0
    assert found["unknown"] == [
        "No source tells patients apart by sex, age or view: whether it reads all alike cannot be known from these films."
    ]


def test_too_few_patients_are_counted_and_not_measured():
    films = films_of([0, 1] * 20, ["a"] * 36 + ["b"] * 4)
    small = fair(films, probabilities_of(films))["attributes"]["source"]["groups"]["b"]
    assert (small["patients"], small["metrics"], small["gap"]) == (4, {}, {})


@pytest.mark.parametrize(
    ("stated", "band"),
    [
        ("57", "40-59 years"),
        ("057Y", "40-59 years"),
        ("17", "0-17 years"),
        ("18", "18-39 years"),
        ("60", "60 years and over"),
        ("3.5", "0-17 years"),
        ("006M", ""),
        ("1-5y(cohort)", ""),
        ("", ""),
        ("411", ""),
    ],
)
def test_an_age_in_years_has_a_band_and_nothing_else_has(stated, band):
    assert age_band(stated) == band
