"""Lungs are found where they are, and what cannot be lungs is not believed."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from node.pixels import read_picture
from training import lungs

FILMS = Path(__file__).resolve().parents[3] / "shared" / "data" / "cxr"


def film(center=(0.5, 0.47), width=0.7, height=0.62, shape=(300, 260)):
    """Return a drawn film, two dark ellipses in a gray body with black air beside it, and its lungs."""
    rows, columns = shape
    body = np.zeros(shape, np.float32)
    cv2.ellipse(body, (columns // 2, rows), (int(columns * 0.48), rows), 0, 0, 360, 0.7, -1)
    inside = np.zeros(shape, np.uint8)
    for side in (-1, 1):
        middle = int((center[0] + side * width * 0.29) * columns), int(center[1] * rows)
        cv2.ellipse(inside, middle, (int(width * columns * 0.2), int(height * rows * 0.5)), 0, 0, 360, 1, -1)
    noise = np.random.default_rng(0).normal(0, 0.02, shape)
    plane = np.where(inside > 0, 0.3, body) + noise
    return np.clip(plane, 0, 1).astype(np.float32), inside > 0


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize(
    "place",
    [
        {},
        {"width": 0.55, "height": 0.45},
        {"width": 0.85, "height": 0.75},
        {"center": (0.42, 0.5), "width": 0.6},
        {"shape": (96, 140)},
        {"shape": (512, 415)},
    ],
)
def test_lungs_are_found_wherever_and_however_large_they_are(place):
    plane, true = film(**place)
    found = lungs.found(plane)
    assert found is not None
    assert found.shape == plane.shape
    assert overlap(found, true) > 0.6


def test_a_lung_that_is_half_white_is_still_a_whole_lung():
    plane, true = film()
    white = true.copy()
    white[:, 130:] = False
    white[:140] = False
    plane[white] = 0.7
    found = lungs.found(plane)
    assert found is not None
    assert found[white].mean() > 0.6


def test_where_there_are_no_lungs_none_are_believed():
    plane, true = film()
    plane[true] = 0.7
    assert lungs.found(plane) is None
    assert lungs.found(np.full((128, 128), 0.5, np.float32)) is None


def test_bright_lungs_are_not_believed():
    plane, true = film()
    plane[true] += 0.65
    assert not lungs.plausible(plane, true)


def test_a_mask_that_cannot_be_lungs_is_not_plausible():
    plane, true = film()
    columns = plane.shape[1]
    left, right = true.copy(), true.copy()
    left[:, columns // 2 :] = False
    right[:, : columns // 2] = False
    assert lungs.plausible(plane, true)
    assert not lungs.plausible(plane, left)
    assert not lungs.plausible(plane, np.ones_like(true))
    assert not lungs.plausible(plane, np.zeros_like(true))
    small = cv2.erode(right.astype(np.uint8), np.ones((31, 31), np.uint8)) > 0
    assert not lungs.plausible(plane, left | small)
    assert not lungs.plausible(np.roll(plane, -90, 0), np.roll(true, -90, 0) & (np.arange(300) < 210)[:, np.newaxis])


def test_the_average_tells_how_often_a_place_is_lung():
    _, true = film()
    twice = lungs.average([true, true, np.zeros((64, 64), bool), np.ones((32, 48), bool)], (50, 40))
    assert twice.shape == (50, 40)
    assert twice.max() == pytest.approx(0.75)
    assert twice.min() == pytest.approx(0.25)
    assert not lungs.average([], (50, 40)).any()


@pytest.mark.slow
def test_most_real_films_of_every_source_have_plausible_lungs_where_lungs_are():
    if not FILMS.exists():
        pytest.skip("shared/data/cxr is not on this machine")
    with (FILMS / "manifest.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for source in sorted({row["source"] for row in rows}):
        own = [row["file"] for row in rows if row["source"] == source]
        found = [lungs.found(read_picture(FILMS / file)) for file in own[:: len(own) // 8][:8]]
        believed = [mask for mask in found if mask is not None]
        assert len(believed) >= 6, source
        often = lungs.average(believed, (100, 100))
        # The middle of either lung, the spine between them, and the corners.
        assert often[45, 28] > 0.8 and often[45, 72] > 0.8, source
        assert often[45, 50] < 0.2 and often[[0, 0, -1, -1], [0, -1, 0, -1]].max() < 0.2, source
