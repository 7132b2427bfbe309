"""The sheet shows train films alone, as the network gets them."""

import cv2
import numpy as np
import pytest

from node.pixels import InputSpec, model_input, read_picture
from tests.training.drawn import LABELS, every_group, write_films
from training.contact_sheet import contact_sheet, pairs_sheet
from training.data import read_films
from training.duplicates import Kind, Pair

SPEC = InputSpec(rows=160, columns=144)


@pytest.fixture
def films(tmp_path):
    rows = [row for row in every_group(each=6) if (row[2], row[1]) != ("there", "Pneumonia")]
    return read_films(write_films(tmp_path, rows), tmp_path, LABELS)


def given(films, row, spec=SPEC):
    return np.round(model_input(read_picture(films.images / films.files[row]), spec)[..., 0] * 255).astype(np.uint8)


def shown(sheet, tile):
    """Tell whether a tile is there, pixel for pixel."""
    at = sheet.tobytes().find(tile[0].tobytes())
    row, column = divmod(at, sheet.shape[1])
    return at >= 0 and np.array_equal(sheet[row : row + tile.shape[0], column : column + tile.shape[1]], tile)


def sheet_of(films, path, spec=SPEC):
    contact_sheet(films, LABELS, spec, path)
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)


def test_four_train_films_of_each_class_and_source_are_shown_as_the_network_gets_them(films, tmp_path):
    sheet = sheet_of(films, tmp_path / "sheet.png")
    there = [row for row in range(len(films)) if shown(sheet, given(films, row))]
    assert {films.splits[row] for row in there} == {"train"}
    for source in ("here", "there"):
        for label in range(3):
            own = [row for row in there if films.sources[row] == source and films.labels[row] == label]
            assert len(own) == (0 if (source, label) == ("there", 1) else 4)


def test_no_two_films_of_one_patient_are_in_a_cell(films, tmp_path):
    here = (films.sources == "here") & (films.labels == 0) & (films.splits == "train")
    films.patients[np.flatnonzero(here)[:5]] = "one"
    sheet = sheet_of(films, tmp_path / "sheet.png")
    assert sum(shown(sheet, given(films, row)) for row in np.flatnonzero(here)) == 2


def test_the_sheet_is_the_same_each_time(films, tmp_path):
    one, other = (sheet_of(films, tmp_path / name) for name in ("one.png", "other.png"))
    np.testing.assert_array_equal(one, other)


def test_small_inputs_are_enlarged_each_pixel_to_a_square(films, tmp_path):
    spec = InputSpec(rows=32, columns=32)
    sheet = sheet_of(films, tmp_path / "sheet.png", spec)
    found = [
        row for row in films.rows("train") if shown(sheet, np.kron(given(films, row, spec), np.ones((5, 5), np.uint8)))
    ]
    assert len(found) == 4 * 5


def test_both_films_of_each_pair_are_shown_of_twelve_pairs_at_most(films, tmp_path):
    pairs = [Pair(Kind.LOOK_ALIKE, 40, number, number + 30) for number in range(14)]
    pairs_sheet(films, pairs, SPEC, tmp_path / "pairs.png")
    sheet = cv2.imread(str(tmp_path / "pairs.png"), cv2.IMREAD_GRAYSCALE)
    assert all(shown(sheet, given(films, row)) for pair in pairs[:12] for row in (pair.one, pair.other))
    assert not shown(sheet, given(films, 13))
