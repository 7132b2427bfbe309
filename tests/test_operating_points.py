"""Cut-offs lie where they are said to lie, keep what they promise, and are known as surely as it is said."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.bundle import Rule
from node.operating_points import (
    ClassFilms,
    choose,
    conformal_bound,
    coverage,
    fewest_films,
    highest_keeping,
    interval,
    measured,
    place,
    rates,
    whole_percents,
)

NAMES = ("Normal", "Pneumonia", "Tuberculosis")
RULES = {"Pneumonia": Rule("Pneumonia", 0.6, 0.4, False), "Tuberculosis": Rule("Tuberculosis", 0.5, 0.3, True)}


def alone(films):
    """A patient a film."""
    return np.array([f"patient {number}" for number in range(films)])


def films_of(own, normal):
    return ClassFilms(np.asarray(own), np.asarray(normal), alone(len(own)), alone(len(normal)))


@pytest.mark.parametrize("percent", range(100))
def test_a_whole_percent_stays_itself(percent):
    assert whole_percents(np.array([percent / 100]))[0] == percent / 100


@given(st.floats(0, 1, width=32))
def test_rounding_never_puts_a_film_below_its_own_cut_off(probability):
    cut_off = float(whole_percents(np.array([probability]))[0])
    assert probability - 0.01 - 1e-9 < cut_off <= probability


def test_no_cut_off_is_a_hundred_percent_for_no_report_says_so_of_a_film():
    assert whole_percents(np.array([1.0, 0.999])).tolist() == [0.99, 0.99]


@pytest.mark.parametrize(("films", "share"), [(1, 0.9), (10, 0.9), (19, 0.5), (100, 0.9), (100, 1.0), (137, 0.95)])
def test_the_cut_off_is_the_highest_that_keeps_the_sensitivity(films, share):
    own = np.random.default_rng(films).permutation(np.linspace(0.2, 0.9, films))
    cut_off = highest_keeping(own, share)[0]
    assert (own >= cut_off).mean() >= share
    assert (own >= cut_off + 0.01).mean() < share


def test_weights_count_films_as_copies_would():
    own = np.random.default_rng(0).random(40)
    times = np.random.default_rng(1).integers(0, 4, (5, 40))
    expected = [highest_keeping(np.repeat(own, row), 0.9)[0] for row in times]
    assert highest_keeping(own, 0.9, times.astype(float)).tolist() == expected


@pytest.mark.parametrize(
    ("films", "share", "rank"), [(19, 0.05, 1), (38, 0.05, 1), (39, 0.05, 2), (9, 0.1, 1), (199, 0.05, 10)]
)
def test_the_band_begins_at_the_rank_that_the_finite_sample_asks_for(films, share, rank):
    own = np.random.default_rng(films).permutation(np.arange(1, films + 1) / 250)
    assert conformal_bound(own, share)[0] == whole_percents(np.array([rank / 250]))[0]


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.2])
def test_with_too_few_films_nothing_is_promised_and_everything_is_uncertain(share):
    enough = fewest_films(share)
    own = np.linspace(0.5, 0.9, enough)
    assert conformal_bound(own, share)[0] == 0.5
    assert conformal_bound(own[1:], share)[0] == 0.0
    assert conformal_bound(own[1:], share, np.ones((3, enough - 1))).tolist() == [0.0] * 3


@pytest.mark.parametrize("films", [19, 60, 200])
def test_of_new_films_at_most_the_promised_share_falls_below_the_band(films):
    """The conformal promise, over many calibrations: without rounding the share lost is floor(share (n + 1)) / (n + 1)."""
    rng = np.random.default_rng(films)
    lost = [(rng.beta(4, 2, 200) < conformal_bound(rng.beta(4, 2, films), 0.05)[0]).mean() for _ in range(1000)]
    assert np.mean(lost) <= 0.05
    assert np.mean(lost) > np.floor(0.05 * (films + 1)) / (films + 1) - 0.02


def test_a_sensitivity_above_the_coverage_leaves_no_band():
    own = np.linspace(0.01, 1.0, 100)
    pair = place(own, sensitivity=0.99, share=0.2)
    assert pair.cut_off == pair.uncertain_from == 0.02


def test_what_a_cut_off_gives_is_counted():
    found = measured(films_of([0.2, 0.5, 0.6, 0.9], [0.1, 0.1, 0.3, 0.7, 0.8]), RULES["Tuberculosis"])
    assert (found.sensitivity[0], found.specificity[0], found.coverage[0]) == (0.75, 0.6, 0.75)
    assert (found.films, found.patients) == (4, 4)
    assert found.cut_off == (0.5, 0.5, 0.5)


def test_twenty_of_twenty_are_not_called_certain():
    # The ends of Jeffreys' interval for 20 of 20 and for 18 of 20: quantiles of Beta(20.5, 0.5) and Beta(18.5, 2.5).
    assert interval(rates(np.ones(20, bool), alone(20))) == pytest.approx((1.0, 0.884, 1.0), abs=0.012)
    some = np.arange(20) < 18
    assert interval(rates(some, alone(20))) == pytest.approx((0.9, 0.717, 0.979), abs=0.012)


def test_films_of_one_patient_count_as_one_witness():
    hit = np.tile([True] * 9 + [False], 10)
    as_one = interval(rates(hit, np.repeat(alone(10), 10)))
    apart = interval(rates(hit, alone(100)))
    together = interval(rates(np.repeat(hit[:10], 10), np.repeat(alone(10), 10)))
    assert apart[2] - apart[1] == pytest.approx(0.12, abs=0.02)
    # Ten patients alike in their share vary less than ten of whom one has none: what is drawn is patients.
    assert as_one[2] - as_one[1] < together[2] - together[1]
    assert together == pytest.approx(interval(rates(hit[:10], alone(10))), abs=0.001)


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    """Choosing on 40 films, over many samples: the true sensitivity of the chosen cut-off, and the true cut-off."""
    rng = np.random.default_rng(3)
    everyone, normals = np.sort(rng.beta(4, 2, 50_000)), rng.beta(2, 5, 50_000)
    true_cut_off = float(highest_keeping(everyone, 0.9)[0])
    held = {"cut_off": 0, "sensitivity": 0, "specificity": 0}
    for _ in range(200):
        found = choose(films_of(rng.choice(everyone, 40), rng.choice(normals, 40)), 0.9, 0.05)
        truth = {
            "cut_off": true_cut_off,
            "sensitivity": (everyone >= found.cut_off[0]).mean(),
            "specificity": (normals < found.cut_off[0]).mean(),
        }
        for name, value in truth.items():
            low, high = getattr(found, name)[1:]
            held[name] += low - 0.005 <= value <= high + 0.005
    assert all(count >= 0.9 * 200 for count in held.values()), held


def test_without_normal_films_there_is_no_specificity():
    found = choose(films_of(np.linspace(0.1, 0.9, 30), []), 0.9, 0.05)
    assert np.isnan(found.specificity).all()
    assert found.sensitivity[0] >= 0.9


def test_coverage_counts_what_it_says_for_each_row_of_weights():
    labels = np.array([0, 0, 0, 1, 1, 2])
    said = np.array([[0.9, 0.05, 0.05], [0.5, 0.5, 0], [0.2, 0.8, 0], [0.1, 0.9, 0], [0.7, 0.3, 0], [0.6, 0, 0.4]])
    found = coverage(labels, said, np.array([[1, 1, 1, 1, 1, 1], [1, 0, 0, 1, 0, 0]]), NAMES, RULES)
    assert found["coverage Pneumonia"].tolist() == [0.5, 1.0]
    assert found["coverage Tuberculosis"][0] == 1.0 and np.isnan(found["coverage Tuberculosis"][1])
    assert found["uncertain Normal"].tolist() == pytest.approx([1 / 3, 0])
    assert found["definite"].tolist() == pytest.approx([4 / 6, 1])
    assert found["right when definite"].tolist() == [0.5, 1.0]
