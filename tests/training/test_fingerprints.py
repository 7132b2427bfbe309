"""A film is known again however it is kept, and is read once."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.training.drawn import drawn
from training import fingerprints as module
from training.fingerprints import Fingerprint, fingerprint, fingerprints, looks


@pytest.fixture
def film(tmp_path):
    cv2.imwrite(str(tmp_path / "film.png"), drawn(1))
    return tmp_path / "film.png"


def plane(picture):
    return picture.astype(np.float32) / 255


def bits_apart(one, other, mirrored=False):
    return int((looks(plane(one))[0] != looks(plane(other))[int(mirrored)]).sum())


def test_the_same_pixels_in_another_file_have_the_same_digest_of_pixels_and_another_of_content(film, tmp_path):
    cv2.imwrite(str(tmp_path / "deep.png"), drawn(1).astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "other.png"), drawn(2))
    one, deep, other = (fingerprint(tmp_path / name) for name in ("film.png", "deep.png", "other.png"))
    assert one.pixels == deep.pixels != other.pixels
    assert one.looks == deep.looks != other.looks
    assert one.content != deep.content


def test_pictures_of_the_same_values_in_another_shape_have_other_pixels(tmp_path):
    for name, shape in (("wide.png", (40, 90)), ("high.png", (90, 40))):
        cv2.imwrite(str(tmp_path / name), drawn(3, 60, 60).reshape(shape))
    assert fingerprint(tmp_path / "wide.png").pixels != fingerprint(tmp_path / "high.png").pixels


def test_margins_are_not_looked_at():
    padded = cv2.copyMakeBorder(drawn(4), 0, 0, 40, 40, cv2.BORDER_CONSTANT, value=0)
    assert bits_apart(drawn(4), padded) == 0


def test_gray_curves_do_not_change_the_looks():
    darker = np.uint8(255 * plane(drawn(5)) ** 1.6)
    assert bits_apart(drawn(5), darker) <= 16


def test_the_looks_of_a_mirror_image_are_known():
    mirrored = np.ascontiguousarray(drawn(6)[:, ::-1])
    assert bits_apart(mirrored, drawn(6), mirrored=True) <= 4
    assert bits_apart(mirrored, drawn(6)) > 80


def test_half_of_the_bits_are_set_even_in_a_picture_of_two_values():
    halves = np.zeros((64, 64), np.float32)
    halves[:, 20:] = 1
    assert looks(halves).shape == (2, 256)
    assert 0 < looks(halves)[0].sum() <= 128


def test_a_film_is_read_again_only_after_it_changed(film, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(module, "fingerprint", lambda path: read.append(path.name) or fingerprint(path))
    first = fingerprints(tmp_path, ["film.png"], tmp_path / "kept")
    assert fingerprints(tmp_path, ["film.png"], tmp_path / "kept") == first
    assert read == ["film.png"]
    cv2.imwrite(str(film), drawn(7))
    os.utime(film, ns=(0, 0))
    assert fingerprints(tmp_path, ["film.png"], tmp_path / "kept") != first
    assert read == ["film.png"] * 2


def test_folders_of_the_same_file_names_are_kept_apart(tmp_path):
    for number, folder in enumerate(("one", "two")):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "1.png"), drawn(number))
    found = [fingerprints(tmp_path / folder, ["1.png"], tmp_path / "kept")["1.png"] for folder in ("one", "two")]
    assert found[0] != found[1]
    assert len([*(tmp_path / "kept").iterdir()]) == 2


@pytest.mark.parametrize("spoiled", ["", "{", "[]", "{}", json.dumps({"method": 0, "films": {}})])
def test_a_cache_that_is_spoiled_or_of_another_method_is_made_anew(film, tmp_path, spoiled):
    fingerprints(tmp_path, ["film.png"], tmp_path / "kept")
    kept = next((tmp_path / "kept").iterdir())
    kept.write_text(spoiled)
    assert isinstance(fingerprints(tmp_path, ["film.png"], tmp_path / "kept")["film.png"], Fingerprint)
    assert json.loads(kept.read_text())["films"]["film.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_film_that_may_not_be_read_is_said_to_be_so(film):
    film.chmod(0)
    assert fingerprint(film) == "Permission denied"


def test_a_folder_in_place_of_a_film_is_said_to_be_one(tmp_path):
    assert fingerprint(Path(tmp_path)) == "Is a directory"
