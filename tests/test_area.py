"""Films and grids made smaller, against OpenCV."""

import cv2
import numpy as np
import pytest

from node.area import area_matrix, area_mean


@pytest.mark.parametrize(("source", "target"), [(224, 160), (224, 112), (224, 224), (7, 5), (7, 1), (5, 3)])
def test_the_area_matrix_takes_means_as_opencv_does(source, target):
    cells = np.random.default_rng(3).random((source, 1), np.float32)
    expected = cv2.resize(cells, (1, target), interpolation=cv2.INTER_AREA)
    matrix = area_matrix(source, target)
    np.testing.assert_allclose(matrix.sum(1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(matrix @ cells, expected, atol=1e-5)


SIZES = [
    (2500, 2048, 224, 224),
    (2022, 2021, 224, 224),
    (1250, 1024, 128, 128),
    (300, 250, 224, 224),
    (225, 224, 224, 224),
]
OTHERS = [
    (224, 224, 224, 224),
    (100, 90, 224, 224),
    (100, 300, 200, 100),
    (300, 100, 100, 200),
    (1, 1, 224, 224),
    (5, 7, 1, 1),
]


@pytest.mark.parametrize(("rows", "columns", "fewer_rows", "fewer_columns"), [*SIZES, *OTHERS])
def test_a_film_is_resized_as_opencv_resizes_it(rows, columns, fewer_rows, fewer_columns):
    film = np.random.default_rng(5).random((rows, columns), np.float32)
    expected = cv2.resize(film, (fewer_columns, fewer_rows), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(area_mean(film, fewer_rows, fewer_columns), expected, atol=1e-6)


def test_a_part_of_a_film_is_resized_as_the_part_it_is():
    film = np.random.default_rng(6).random((600, 500), np.float32)
    part = film[100:400, 50:350]
    np.testing.assert_array_equal(area_mean(part, 64, 64), area_mean(part.copy(), 64, 64))
