"""How like a film is to those the model was trained on: a mean of cosines, kept in a small file."""

import numpy as np
import pytest

from node.errors import BundleError
from node.likeness import bank_bytes, choose_cut_off, likeness, read_bank, unit


@pytest.fixture
def features():
    return np.random.default_rng(7).random((40, 12), np.float32)


def test_the_likeness_is_the_mean_cosine_to_the_nearest_films(features):
    films, bank = features[:5], features[5:]
    cosines = [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in bank] for a in films]
    expected = np.sort(cosines, axis=1)[:, -3:].mean(1)
    np.testing.assert_allclose(likeness(films, unit(bank), 3), expected, rtol=1e-5)


def test_a_film_of_the_bank_itself_is_most_alike_and_its_size_does_not_count(features):
    np.testing.assert_allclose(likeness(100 * features[:4], unit(features), 1), 1.0, rtol=1e-6)
    assert likeness(-features[:4], unit(features), 1).max() < 0


def test_features_that_are_all_zero_are_like_nothing(features):
    assert likeness(np.zeros((1, 12), np.float32), features, 3).tolist() == [0.0]


def test_more_neighbors_than_the_bank_holds_are_refused(features):
    with pytest.raises(ValueError, match="40 films"):
        likeness(features, features, 41)


def test_a_bank_comes_back_as_it_was_within_half_precision(features, tmp_path):
    path = tmp_path / "neighbors.npz"
    path.write_bytes(bank_bytes(50 * features))
    bank = read_bank(path)
    assert bank.shape == features.shape and bank.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(bank, axis=1), 1.0, atol=1e-3)
    np.testing.assert_allclose(likeness(features, bank, 3), likeness(features, unit(features), 3), atol=1e-3)


def test_a_bank_takes_two_bytes_a_number_and_is_the_same_each_time(features):
    assert len(bank_bytes(features)) < 2 * features.size + 600
    assert bank_bytes(features) == bank_bytes(features)


@pytest.mark.parametrize("array", [np.array([{"a": 1}], object), np.zeros(3), np.array([[np.nan, 1.0]])])
def test_a_file_that_holds_no_bank_is_a_bundle_error(array, tmp_path):
    path = tmp_path / "neighbors.npz"
    np.savez(path, features=array)
    with pytest.raises(BundleError, match=r"neighbors\.npz"):
        read_bank(path)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
def test_a_file_that_is_no_archive_is_a_bundle_error(content, tmp_path):
    path = tmp_path / "neighbors.npz"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"neighbors\.npz"):
        read_bank(path)


def test_one_film_in_a_hundred_lies_below_the_cut_off():
    found = np.random.default_rng(1).random(1000).astype(np.float32)
    cut_off = choose_cut_off(found, 0.01)
    assert 8 <= (found < cut_off).sum() <= 10
    assert cut_off == round(cut_off, 4)
