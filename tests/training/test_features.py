"""The copies of a film, and the cache of their features."""

import numpy as np
import pytest

from training.features import altered


@pytest.fixture
def plane():
    return np.random.default_rng(0).random((400, 300), dtype=np.float32)


def test_a_plain_copy_is_the_film_and_a_flipped_one_its_mirror(plane):
    np.testing.assert_array_equal(altered(plane, "plain", 128), plane)
    np.testing.assert_array_equal(altered(altered(plane, "flipped", 128), "flipped", 128), plane)
    assert not np.array_equal(altered(plane, "flipped", 128), plane)


def test_a_coarse_copy_has_no_more_than_its_pixels(plane):
    assert altered(plane, "coarse", 128).shape == (128, 128)
    small = plane[:100, :100]
    np.testing.assert_array_equal(altered(small, "coarse", 128), small)


def test_a_cropped_copy_lacks_a_twentieth_on_each_side(plane):
    np.testing.assert_array_equal(altered(plane, "cropped", 128), plane[20:380, 15:285])
