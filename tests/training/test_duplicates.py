"""One film in two splits is found whatever was done to it, and films of different people are not taken for one."""

import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from node.errors import ConfigError
from tests.training.drawn import LABELS, drawn, every_group, write_films
from training.data import read_films
from training.duplicates import LOOK_ALIKE, NEAR, Kind, find, refuse, write

pytestmark = pytest.mark.slow

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "cxr"
real_films = pytest.mark.skipif(not SHARED.exists(), reason="shared/data/cxr is not on this machine")
EACH = 8


def cut(picture, share):
    rows, columns = (round(side * share) for side in picture.shape)
    return picture[rows : picture.shape[0] - rows, columns : picture.shape[1] - columns]


def padded(picture):
    missing = (max(picture.shape) - np.array(picture.shape)) // 2
    return cv2.copyMakeBorder(picture, missing[0], missing[0], missing[1], missing[1], cv2.BORDER_CONSTANT, value=0)


def turned(picture, degrees):
    rows, columns = picture.shape
    return cv2.warpAffine(picture, cv2.getRotationMatrix2D((columns / 2, rows / 2), degrees, 1), (columns, rows))


# What may be done to a film, and which share of films is known again: measured on 300 films, less here, for these are 40.
ALTERED = {
    "at JPEG quality 30": (lambda p: cv2.imdecode(cv2.imencode(".jpg", p, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 0), 0.95),
    "squashed to 128": (lambda p: cv2.resize(p, (128, 128)), 0.95),
    "padded to a square": (padded, 0.95),
    "brighter": (lambda p: np.uint8(255 * (p / 255) ** 0.7), 0.95),
    "with equal shares of gray": (cv2.equalizeHist, 0.9),
    "cut by 1 %": (lambda p: cut(p, 0.01), 0.9),
    "turned by 1 degree": (lambda p: turned(p, 1), 0.9),
    "mirrored": (lambda p: np.ascontiguousarray(p[:, ::-1]), 0.95),
}


@pytest.fixture
def folder(tmp_path):
    write_films(tmp_path, every_group(["here"]))
    return tmp_path


def found_in(folder, *more):
    """Compare the films of a folder, these rows added to its manifest."""
    films = read_films(write_films(folder, [*every_group(["here"]), *more]), folder, LABELS, cache=folder / "kept")
    return films, find(films, folder / "kept")


def test_films_of_different_people_are_no_duplicates(folder):
    _, found = found_in(folder)
    assert found.across == found.within == found.look_alikes == []


def test_a_copied_file_in_another_split_is_refused_and_both_are_named(folder):
    shutil.copy(folder / "here/Normal-train-0.png", folder / "copy.png")
    films, found = found_in(folder, ("copy.png", "Normal", "there", "test", "p"))
    assert [pair.kind for pair in found.across] == [Kind.SAME_FILE]
    named = r"here/Normal-train-0\.png \(train\) = copy\.png \(test\), same file"
    with pytest.raises(ConfigError, match=f"one film in two splits, 1 times: {named}"):
        refuse(films, found, "films.csv")


def test_the_same_pixels_in_another_file_are_refused(folder):
    cv2.imwrite(str(folder / "copy.png"), drawn(0).astype(np.uint16) * 257)
    _, found = found_in(folder, ("copy.png", "Normal", "there", "test", "p"))
    assert [(pair.kind, pair.bits) for pair in found.across] == [(Kind.SAME_PIXELS, 0)]


def test_a_smaller_and_a_mirrored_copy_in_another_split_are_refused(folder):
    cv2.imwrite(str(folder / "small.jpg"), cv2.resize(drawn(0), (96, 96), interpolation=cv2.INTER_AREA))
    cv2.imwrite(str(folder / "mirrored.png"), drawn(1)[:, ::-1])
    rows = [(name, "Normal", "there", "val", name) for name in ("small.jpg", "mirrored.png")]
    films, found = found_in(folder, *rows)
    assert {films.files[pair.other]: pair.kind for pair in found.across} == {
        "small.jpg": Kind.NEAR,
        "mirrored.png": Kind.MIRRORED,
    }


def test_a_copy_in_the_same_split_is_counted_and_not_refused(folder):
    shutil.copy(folder / "here/Normal-train-0.png", folder / "copy.png")
    films, found = found_in(folder, ("copy.png", "Normal", "there", "train", "p"))
    refuse(films, found, "films.csv")
    assert [pair.kind for pair in found.within] == [Kind.SAME_FILE]


def test_of_many_pairs_the_first_are_named_and_all_are_listed(folder):
    rows = [(f"copy{n}.png", "Normal", "there", "test", "p") for n in range(8)]
    for name, *_ in rows:
        shutil.copy(folder / "here/Normal-train-0.png", folder / name)
    films, found = found_in(folder, *rows)
    assert len(found.across) == 8
    assert len(found.within) == 8 * 7 / 2
    with pytest.raises(ConfigError, match=r"8 times: .*copy4.*; and 3 more"):
        refuse(films, found, "films.csv")
    write(films, LABELS, found, folder / "pairs.csv")
    with (folder / "pairs.csv").open(newline="") as stream:
        listed = [*csv.DictReader(stream)]
    assert len(listed) == 8 + 28
    assert [*listed[0].values()] == [
        *("same file", "0", "here/Normal-train-0.png", "train", "Normal", "copy0.png", "test", "Normal")
    ]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Take a few films of every source, class and split; no two of one patient."""
    folder = tmp_path_factory.mktemp("real")
    with (SHARED / "manifest.csv").open(newline="") as stream:
        rows = [*csv.DictReader(stream)]
    one_a_patient = {(row["source"], row["patient_id"]): row for row in rows}
    groups = {}
    for row in one_a_patient.values():
        groups.setdefault((row["source"], row["label"], row["split"]), []).append(row)
    chosen = [row for group in groups.values() for row in group[:EACH]]
    with (folder / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(chosen)
    return read_films(folder / "manifest.csv", SHARED, LABELS, cache=folder / "kept"), folder


@real_films
def test_no_two_real_patients_are_taken_for_one(real):
    films, folder = real
    found = find(films, folder / "kept")
    assert len(films) == 9 * 3 * EACH - 2 * 2 * EACH  # one source is in train alone
    assert found.across == found.within == []


@real_films
@pytest.mark.parametrize("what", ALTERED)
def test_a_real_film_is_known_again(real, what, tmp_path):
    films, _ = real
    alter, share = ALTERED[what]
    rows = []
    for number in range(0, len(films), len(films) // 40):
        picture = cv2.imread(str(films.images / films.files[number]), cv2.IMREAD_GRAYSCALE)
        for split, drawing in (("train", picture), ("test", alter(picture))):
            cv2.imwrite(str(tmp_path / f"{number}-{split}.png"), drawing)
            rows.append((f"{number}-{split}.png", "Normal", "here", "train", f"{number}"))
    films = read_films(write_films(tmp_path, rows), tmp_path, LABELS, split_needed=False, cache=tmp_path / "kept")
    found = find(films, tmp_path / "kept").within
    numbers = [[films.files[row].split("-")[0] for row in (pair.one, pair.other)] for pair in found]
    assert all(one == other for one, other in numbers)
    assert len(found) >= share * len(films) / 2


@real_films
@pytest.mark.slow
def test_no_film_of_the_whole_manifest_is_taken_for_another(tmp_path):
    films = read_films(SHARED / "manifest.csv", SHARED, LABELS, cache=tmp_path)
    found = find(films, tmp_path)
    assert found.across == found.within == []
    assert all(NEAR < pair.bits <= LOOK_ALIKE for pair in found.look_alikes)
    assert 0 < len(found.look_alikes) < 20
