"""A picture drawn twice differs, and nothing else of it is lost."""

from dataclasses import replace

import numpy as np
import pytest

from training.augment import augmented
from training.recipe import Augment

NOTHING = Augment(
    rotation_deg=0, shift=0, zoom=0, flip=0, brightness=0, border=0, coarse_px=None, coarse=0, gray=0, corner=0
)


@pytest.fixture
def picture():
    """A picture with a bright spot left of the middle, over smooth ground."""
    rows, columns = np.mgrid[0:64, 0:64] / 63
    spot = np.exp(-((rows - 0.5) ** 2 + (columns - 0.25) ** 2) / 0.01)
    return (0.2 + 0.2 * rows + 0.5 * spot).astype(np.float32)


def drawn(picture, seed=0, **changes):
    return augmented(picture, replace(NOTHING, **changes), np.random.default_rng(seed))


def brightest(picture):
    return np.unravel_index(picture.argmax(), picture.shape)


def test_nothing_asked_nothing_changed(picture):
    np.testing.assert_allclose(drawn(picture), picture, atol=1e-6)


def test_the_picture_given_is_not_written_to(picture):
    before = picture.copy()
    drawn(picture, rotation_deg=10, gray=0.5, corner=1.0, coarse_px=(8, 8), coarse=1.0)
    np.testing.assert_array_equal(picture, before)


def test_the_same_seed_gives_the_same_picture_and_another_seed_another(picture):
    asked = {"rotation_deg": 10, "shift": 0.1, "gray": 0.4, "corner": 0.5}
    np.testing.assert_array_equal(drawn(picture, 1, **asked), drawn(picture, 1, **asked))
    assert np.abs(drawn(picture, 1, **asked) - drawn(picture, 2, **asked)).max() > 0.05


def test_a_mirrored_film_is_mirrored_left_and_right(picture):
    np.testing.assert_allclose(drawn(picture, flip=1.0)[:, 1:], picture[:, :0:-1], atol=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_a_shift_stays_within_its_share_of_the_side(picture, seed):
    row, column = brightest(drawn(picture, seed, shift=0.1))
    was_row, was_column = brightest(picture)
    assert abs(row - was_row) <= 7 and abs(column - was_column) <= 7


@pytest.mark.parametrize("seed", range(8))
def test_cutting_the_border_moves_the_inside_outwards(picture, seed):
    rows, columns = 64, 64
    distance_before = abs(brightest(picture)[1] - columns / 2)
    altered = drawn(picture, seed, border=0.2)
    assert altered.shape == (rows, columns)
    assert abs(brightest(altered)[1] - columns / 2) >= distance_before - 0.2 * columns / 2
    assert np.abs(altered - picture).max() > 0.01


def test_a_coarse_picture_has_lost_its_detail(picture):
    noisy = np.clip(picture + np.random.default_rng(0).normal(0, 0.1, picture.shape), 0, 1).astype(np.float32)
    coarse = drawn(noisy, coarse_px=(8, 8), coarse=1.0)
    assert np.abs(np.diff(coarse, axis=1)).mean() < 0.5 * np.abs(np.diff(noisy, axis=1)).mean()
    assert coarse.mean() == pytest.approx(noisy.mean(), abs=0.02)


@pytest.mark.parametrize("seed", range(8))
def test_brightness_stays_within_its_share(picture, seed):
    ratio = drawn(picture, seed, brightness=0.1) / picture
    assert ratio.min() >= 0.9 - 1e-5 and ratio.max() <= 1.1 + 1e-5
    assert np.ptp(ratio) < 1e-4


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_asked_the_gray_stays_within_0_and_1(picture, seed):
    asked = {"rotation_deg": 10, "shift": 0.1, "zoom": 0.1, "flip": 0.5, "brightness": 0.5, "border": 0.2, "gray": 0.9}
    altered = drawn(picture, seed, corner=0.5, coarse_px=(16, 40), coarse=0.7, **asked)
    assert altered.shape == picture.shape and altered.dtype == np.float32
    assert altered.min() >= 0 and altered.max() <= 1


def test_blanked_corners_are_of_one_gray_and_leave_the_middle_alone(picture):
    altered = drawn(picture, corner=1.0)
    for corner in (altered[:3, :3], altered[:3, -3:], altered[-3:, :3], altered[-3:, -3:]):
        assert np.ptp(corner) == 0
    np.testing.assert_allclose(altered[13:51, 13:51], picture[13:51, 13:51], atol=1e-6)
