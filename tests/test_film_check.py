"""The look at a film before the model speaks: chest or not, its right way up, inverted, mostly empty."""

import warnings
from dataclasses import replace

import cv2
import numpy as np
import pytest

from node.errors import BundleError
from node.film_check import FEATURES, POSES, FilmCheck, features, in_each_pose
from tests.films import chest


def number(value):
    return np.array(value, np.float32)


@pytest.fixture
def check():
    """Return a check that knows the drawn chest alone: by its features' direction, and by their distance from its own."""
    found, _ = features(chest())
    middle = in_each_pose(found).mean(0)
    return FilmCheck(
        hidden_weights=(found - middle)[:, np.newaxis] / np.linalg.norm(found - middle) ** 2,
        hidden_bias=-(found - middle) @ middle[:, np.newaxis] / np.linalg.norm(found - middle) ** 2,
        output_weights=number([10]),
        output_bias=number(0),
        mean=found,
        axes=np.zeros((FEATURES, 1), np.float32),
        least_chest=number(5),
        most_distance=number(4),
        least_advantage=number(1),
        least_content=number(0.7),
    )


def altered(plane, pose):
    turned = np.ascontiguousarray(np.rot90(plane, pose % 4))
    return 1 - turned if pose >= 4 else turned


def uneven():
    """Return a picture without any symmetry, with an empty border above and to the right."""
    drawn = cv2.GaussianBlur(np.random.default_rng(3).random((300, 200), np.float32), (0, 0), 4)
    drawn = (drawn - drawn.min()) / (drawn.max() - drawn.min())
    return cv2.copyMakeBorder(drawn, 40, 0, 0, 25, cv2.BORDER_CONSTANT, value=0)


@pytest.mark.parametrize("pose", range(POSES))
def test_the_features_of_a_turned_or_inverted_picture_are_its_own_reordered(pose):
    own, content = features(uneven())
    found, found_content = features(altered(uneven(), pose))
    np.testing.assert_allclose(found, in_each_pose(own)[pose], atol=1e-5)
    assert found_content == pytest.approx(content)


def test_the_poses_differ():
    poses = in_each_pose(features(uneven())[0])
    apart = np.linalg.norm(poses[:, np.newaxis] - poses, axis=-1)
    assert apart[~np.eye(POSES, dtype=bool)].min() > 1


@pytest.mark.parametrize("pose", range(POSES))
def test_quarter_turns_and_inversion_are_noticed(check, pose):
    look = check.look(altered(chest(), pose))
    assert look.is_film
    assert (look.quarter_turns, look.inverted) == (pose % 4, pose >= 4)


def test_a_mirrored_film_counts_as_upright(check):
    look = check.look(np.ascontiguousarray(chest()[:, ::-1]))
    assert (look.is_film, look.quarter_turns, look.inverted) == (True, 0, False)


def test_what_hardly_looks_better_otherwise_counts_as_upright(check):
    turned = altered(chest(), 1)
    advantage = check.look(turned).advantage
    assert check.look(chest()).advantage == 0 < advantage
    assert replace(check, least_advantage=number(advantage - 0.01)).look(turned).quarter_turns == 1
    assert replace(check, least_advantage=number(advantage + 0.01)).look(turned).quarter_turns == 0


def test_noise_is_no_film(check):
    noise = np.random.default_rng(0).random((300, 200), np.float32)
    assert not check.look(noise).is_film


def test_a_film_must_look_like_a_chest_and_lie_near_those_learned_from(check):
    look = check.look(chest())
    assert look.is_film
    assert not replace(check, least_chest=number(look.chest + 0.01)).look(chest()).is_film
    assert not replace(check, mean=check.mean + 1).look(chest()).is_film


@pytest.mark.parametrize("plane", [np.zeros((40, 30)), np.ones((1, 1)), np.full((2, 3000), 0.5), np.eye(2)])
def test_a_picture_of_next_to_nothing_is_looked_at_without_complaint(check, plane):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        look = check.look(plane.astype(np.float32))
    assert np.isfinite([look.chest, look.distance, look.advantage, look.content]).all()
    assert not look.is_film


@pytest.mark.parametrize("gray", [0.0, 1.0])
def test_a_film_within_a_wide_empty_border_is_collimated_and_still_a_film(check, gray):
    rows, columns = chest().shape
    framed = cv2.copyMakeBorder(chest(), 0, rows // 2, columns // 4, columns // 4, cv2.BORDER_CONSTANT, value=gray)
    look = check.look(framed)
    assert look.content == pytest.approx(1 / 1.5**2, abs=0.03)
    assert look.collimated and look.is_film and not check.look(chest()).collimated


def test_a_marker_in_the_border_does_not_hide_that_it_is_empty(check):
    framed = cv2.copyMakeBorder(chest(), 150, 0, 0, 0, cv2.BORDER_CONSTANT, value=0)
    framed[20:60, 10:25] = 1
    assert check.look(framed).content == pytest.approx(256 / 406, abs=0.03)


def test_a_check_comes_back_as_it_was(check, tmp_path):
    path = tmp_path / "film_check.npz"
    path.write_bytes(check.to_bytes())
    assert FilmCheck.load(path).look(chest()) == check.look(chest())
    assert FilmCheck.load(path).to_bytes() == check.to_bytes()


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("hidden_weights", np.zeros((FEATURES, 2), np.float32)),
        ("mean", np.zeros(FEATURES - 1, np.float32)),
        ("axes", np.zeros(FEATURES, np.float32)),
        ("axes", np.zeros((), np.float32)),
        ("least_chest", np.zeros(2, np.float32)),
        ("output_bias", np.array(np.nan, np.float32)),
    ],
)
def test_arrays_that_do_not_fit_are_named(check, tmp_path, name, array):
    path = tmp_path / "film_check.npz"
    path.write_bytes(replace(check, **{name: array}).to_bytes())
    with pytest.raises(BundleError, match=rf"film_check\.npz: .*{name}"):
        FilmCheck.load(path)


def test_an_array_that_is_missing_is_a_bundle_error(check, tmp_path):
    path = tmp_path / "film_check.npz"
    np.savez(path, mean=check.mean)
    with pytest.raises(BundleError, match=r"film_check\.npz: holds no film check"):
        FilmCheck.load(path)


def test_pickled_objects_are_not_read(check, tmp_path):
    path = tmp_path / "film_check.npz"
    arrays = {name: getattr(check, name) for name in check.__dataclass_fields__}
    np.savez(path, **arrays | {"mean": np.array([{"a": 1}], object)})
    with pytest.raises(BundleError, match=r"film_check\.npz: holds no film check"):
        FilmCheck.load(path)


@pytest.mark.parametrize("content", [None, b"", b"no archive", b"PK\x03\x04"])
def test_a_file_that_is_no_archive_is_a_bundle_error(tmp_path, content):
    path = tmp_path / "film_check.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BundleError, match=r"film_check\.npz"):
        FilmCheck.load(path)
