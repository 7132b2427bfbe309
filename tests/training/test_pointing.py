"""The pointing games give what can be worked out by hand."""

import numpy as np
import pytest

from training.pointing import enlarged, looks, near, peak_of

SHAPE = (70, 140)


def hot(row, column, shape=(7, 7)):
    heat_map = np.zeros(shape, np.float32)
    heat_map[row, column] = 3.0
    return heat_map


def region(rows, columns):
    mask = np.zeros(SHAPE, bool)
    mask[rows, columns] = True
    return mask


def test_a_map_points_at_the_middle_of_its_highest_cell():
    row, column = peak_of(enlarged(hot(2, 5), SHAPE))
    assert abs(row - 24.5) <= 1
    assert abs(column - 109.5) <= 1


def test_equal_cells_beside_each_other_have_their_peak_between_them_and_not_at_a_corner():
    heat_map = hot(3, 2)
    heat_map[3, 3] = 3.0
    row, column = peak_of(enlarged(heat_map, SHAPE))
    assert abs(row - 34.5) <= 1
    assert 45 <= column <= 75


def test_the_scale_of_a_map_does_not_matter():
    heat_map = np.random.default_rng(0).random((7, 7)).astype(np.float32)
    inside = region(slice(10, 40), slice(20, 90))
    one = looks(inside, 0.0, {"model": heat_map}, None)
    assert looks(inside, 0.0, {"model": heat_map * 1000}, None) == pytest.approx(one, nan_ok=True)


def test_a_map_on_the_region_hits_and_one_beside_it_does_not():
    inside = region(slice(15, 35), slice(90, 130))
    found = looks(inside, 0.0, {"model": hot(2, 5), "random": hot(6, 0)}, None)
    assert (found["peak model"], found["peak random"]) == (1.0, 0.0)
    assert found["mass model"] > 0.7
    assert found["mass random"] < 0.01


def test_a_map_spread_evenly_has_as_much_mass_in_the_region_as_chance_gives():
    inside = region(slice(0, 35), slice(0, 70))
    found = looks(inside, 0.0, {"model": np.ones((7, 7), np.float32)}, None)
    assert found["mass model"] == pytest.approx(0.25, abs=1e-5)
    assert found["mass anywhere"] == found["peak anywhere"] == 0.25


def test_an_empty_map_hits_nothing_and_has_no_mass():
    found = looks(np.ones(SHAPE, bool), 15.0, {"model": np.zeros((7, 7), np.float32)}, None)
    assert found["peak model"] == 0.0
    assert np.isnan(found["mass model"])


def test_any_point_of_the_lungs_hits_as_often_as_the_lungs_lie_in_the_region():
    lungs = region(slice(10, 60), slice(10, 60))
    inside = region(slice(10, 60), slice(35, 100))
    found = looks(inside, 0.0, {}, lungs)
    assert found["peak lungs"] == found["mass lungs"] == 0.5
    assert np.isnan(looks(inside, 0.0, {}, None)["peak lungs"])


def test_the_middle_of_the_film_hits_where_the_region_holds_it():
    assert looks(region(slice(30, 40), slice(60, 80)), 0.0, {}, None)["peak center"] == 1.0
    assert looks(region(slice(0, 10), slice(0, 10)), 0.0, {}, None)["peak center"] == 0.0


def test_a_peak_closer_than_the_tolerance_is_a_hit_and_one_at_it_is_none():
    dot = region(35, 50)
    assert near(dot, 15.0)[35, 64] and near(dot, 15.0)[25, 60]
    assert not near(dot, 15.0)[35, 65]
    assert (near(dot, 0.0) == dot).all()
