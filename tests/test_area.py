"""Films and grids made smaller, against OpenCV."""

import cv2
import numpy as np
import pytest

from node.area import area_matrix, area_mean, area_mean_and_half


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


class Counted:
    """A film that counts the rows it is asked for."""

    def __init__(self, plane):
        self.plane, self.shape, self.asked = plane, plane.shape, []

    def __getitem__(self, rows):
        self.asked.append(rows.stop - rows.start)
        return self.plane[rows].copy()


@pytest.mark.parametrize(
    ("rows", "columns", "fewer_rows", "fewer_columns"),
    [
        (2500, 2048, 224, 224),
        (2048, 10, 2047, 10),
        (3000, 2, 7, 1),
        (2022, 3074, 300, 280),
        (2304, 1900, 256, 256),  # bands share no rows
        (2, 4000, 1, 224),
        (6, 400_000, 5, 224),  # a row is more than a band
        (4280, 3520, 3, 3),  # so are the rows of one mean
    ],
)
def test_a_film_taken_band_by_band_gives_the_very_bytes_of_the_whole_one(rows, columns, fewer_rows, fewer_columns):
    plane = np.random.default_rng(8).random((rows, columns), np.float32)
    film = Counted(plane)
    mean, half = area_mean_and_half(film, fewer_rows, fewer_columns)
    assert mean.tobytes() == area_mean(plane, fewer_rows, fewer_columns).tobytes()
    assert half.tobytes() == cv2.resize(plane, (columns // 2, rows // 2), interpolation=cv2.INTER_AREA).tobytes()


def test_a_large_film_is_never_whole_and_few_of_its_rows_are_made_twice():
    film = Counted(np.zeros((2500, 2048), np.float32))
    area_mean_and_half(film, 224, 224)
    assert max(film.asked) * 2048 * 4 < 1 << 20 and sum(film.asked) < 2500 * 1.1
