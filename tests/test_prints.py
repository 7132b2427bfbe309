"""The print of a film is the same however the film comes: whole, or row by row as it is asked for."""

import cv2
import numpy as np
import pytest

from node.film_check import features
from node.pixels import Film, InputSpec, model_gray
from node.prints import print_of, shown

SIZES = [(2500, 2048), (2050, 1026), (2048, 3100), (3520, 4280), (2501, 2048), (2500, 2047), (1400, 1200), (130, 90)]
SPECS = [InputSpec(), InputSpec(300, 280), InputSpec(224, 224, "linear"), InputSpec(96, 96, percentiles=None)]


def film(rows, columns, dtype=np.uint16):
    chance = np.random.default_rng(rows * columns)
    table = chance.random(1 + np.iinfo(dtype).max, np.float32)
    return Film(chance.integers(0, table.size, (rows, columns), dtype), table)


def in_bytes(made):
    return made.gray.tobytes(), made.features.tobytes(), made.content, made.picture.shape, made.picture.tobytes()


@pytest.mark.parametrize("spec", SPECS, ids=repr)
@pytest.mark.parametrize(("rows", "columns"), SIZES)
def test_a_film_gives_the_print_of_its_plane(rows, columns, spec):
    made = film(rows, columns)
    assert in_bytes(print_of(made, spec)) == in_bytes(print_of(made[:], spec))


@pytest.mark.parametrize(("rows", "columns"), SIZES)
def test_a_print_is_what_its_parts_give_of_the_whole_plane(rows, columns):
    plane = film(rows, columns, np.uint8)[:]
    halved = (rows >= 2048 or columns >= 3072) and rows % 2 == columns % 2 == 0
    smaller = cv2.resize(plane, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) if halved else plane
    made, (found, content) = print_of(plane, InputSpec()), features(smaller)
    assert made.gray.tobytes() == model_gray(plane, InputSpec()).tobytes()
    assert made.features.tobytes() == found.tobytes() and made.content == content
    assert made.picture.tobytes() == shown(smaller).tobytes()


def test_the_rows_of_a_film_are_those_of_its_plane():
    made = film(50, 40)
    assert made.shape == made[:].shape == (50, 40)
    np.testing.assert_array_equal(made[7:20], made.table[made.words][7:20])
