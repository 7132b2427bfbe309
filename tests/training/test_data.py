"""What would make the numbers lie is refused before any number is made."""

import cv2
import numpy as np
import pytest

from node.errors import ConfigError
from tests.training.drawn import drawn, every_group, write_films
from training.data import Films, read_films

LABELS = ("Normal", "Tuberculosis")
GOOD = [
    f"{label}-{split}.png,{label},there,{split},{label}{split},mine"
    for label in LABELS
    for split in ("train", "val", "test")
]


@pytest.fixture
def images(tmp_path):
    for row in GOOD:
        cv2.imwrite(str(tmp_path / row.split(",")[0]), np.zeros((8, 8), np.uint8))
    return tmp_path


def manifest(folder, rows, header="file,label,source,split,patient_id,licence"):
    path = folder / "manifest.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_good_manifest_is_read_as_it_is(images):
    films = read_films(manifest(images, GOOD), images, LABELS)
    assert len(films) == 6
    assert films.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert [films.files[row] for row in films.rows("val")] == ["Normal-val.png", "Tuberculosis-val.png"]
    assert films.terms == {"there": "mine"}


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("absent.png,Normal,there,train,p9,", "missing file: absent.png"),
        ("Normal-val.png,Flu,there,train,p9,", "unknown label: Flu"),
        ("Normal-val.png,Normal,there,holdout,p9,", "unknown split: holdout"),
        ("Normal-val.png,Normal,there,train,Normaltest,", "patient in two splits: there/Normaltest"),
        ("Normal-val.png,Normal,there,val,p9,", "file listed twice: Normal-val.png"),
    ],
)
def test_each_fault_is_named(images, row, complaint):
    with pytest.raises(ConfigError, match=complaint):
        read_films(manifest(images, [*GOOD, row]), images, LABELS)


def test_every_fault_is_named_at_once(images):
    with pytest.raises(ConfigError, match=r"unknown label: Flu; missing file: absent\.png"):
        read_films(manifest(images, [*GOOD, "absent.png,Flu,there,train,p9,"]), images, LABELS)


def test_a_class_without_films_in_a_split_is_named(images):
    with pytest.raises(ConfigError, match="class without films: Tuberculosis in test"):
        read_films(manifest(images, GOOD[:-1]), images, LABELS)


def test_the_same_patient_number_at_two_sources_is_two_patients(images):
    rows = [row.replace("there", f"source{n}").replace(row.split(",")[4], "1") for n, row in enumerate(GOOD)]
    assert len(set(read_films(manifest(images, rows), images, LABELS).patients)) == 6


def test_a_missing_column_and_an_absent_or_empty_manifest_are_named(images):
    with pytest.raises(ConfigError, match="lacks patient_id"):
        read_films(manifest(images, ["a,b,c,d"], "file,label,source,split"), images, LABELS)
    with pytest.raises(ConfigError, match="lists no film"):
        read_films(manifest(images, []), images, LABELS)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_films(images / "none.csv", images, LABELS)


def test_a_split_is_needed_only_for_training(images):
    rows = [",".join(row.split(",")[:3]) + ",p" for row in GOOD]
    path = manifest(images, rows, "file,label,source,patient_id")
    assert len(read_films(path, images, LABELS, split_needed=False)) == 6
    with pytest.raises(ConfigError, match="lacks split"):
        read_films(path, images, LABELS)


def test_a_manifest_saved_by_a_spreadsheet_is_read_and_one_in_another_encoding_named(images):
    path = manifest(images, GOOD)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_films(path, images, LABELS)) == 6
    path.write_bytes(path.read_bytes() + "Lungenentz\u00fcndung".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_films(path, images, LABELS)


def test_sex_age_and_view_are_as_the_manifest_has_them_and_empty_where_it_says_nothing(images):
    rows = [f"{row},F,1-5y(cohort)" for row in GOOD[:-1]] + [GOOD[-1]]
    films = read_films(manifest(images, rows, "file,label,source,split,patient_id,licence,sex,age"), images, LABELS)
    assert films.sex.tolist() == ["F"] * 5 + [""]
    assert films.age.tolist() == ["1-5y(cohort)"] * 5 + [""]
    assert films.view.tolist() == [""] * 6


def test_films_made_without_sex_age_and_view_have_empty_ones():
    names = np.array(["a", "b"])
    films = Films(names, np.array([0, 1]), names, names, names, None, {})
    assert films.sex.tolist() == films.age.tolist() == films.view.tolist() == ["", ""]


def test_a_split_without_any_film_is_named_and_no_film_is_moved_to_it(images):
    without_val = [row for row in GOOD if ",val," not in row]
    with pytest.raises(ConfigError, match="no film in val: choose whole patients for it yourself"):
        read_films(manifest(images, without_val), images, LABELS)


@pytest.fixture
def three_each(tmp_path):
    """Write three films of each class and split, of one source."""
    return write_films(tmp_path, every_group(["here"], 3))


LABELS3 = ("Normal", "Pneumonia", "Tuberculosis")


def test_what_cannot_be_read_is_left_out_and_said_why_by_every_reader_of_the_same_cache(three_each, tmp_path):
    whole = (tmp_path / "here/Normal-train-0.png").read_bytes()
    (tmp_path / "here/Normal-train-0.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "here/Normal-val-1.png").write_bytes(b"")
    (tmp_path / "here/Pneumonia-test-2.png").write_text("no picture")
    cv2.imwrite(str(tmp_path / "here/Tuberculosis-val-0.png"), np.full((40, 40), 7, np.uint8))
    for _ in range(2):
        films = read_films(three_each, tmp_path, LABELS3, cache=tmp_path / "kept")
        assert films.unreadable == {
            "here/Normal-train-0.png": "picture not decoded",
            "here/Normal-val-1.png": "picture not decoded",
            "here/Pneumonia-test-2.png": "picture not decoded",
            "here/Tuberculosis-val-0.png": "one gray value only",
        }
        assert len(films) == 27 - 4
        assert not set(films.files) & set(films.unreadable)


def test_a_film_that_was_mended_is_read_again(three_each, tmp_path):
    film = tmp_path / "here/Normal-train-0.png"
    film.write_bytes(b"no picture")
    assert read_films(three_each, tmp_path, LABELS3, cache=tmp_path / "kept").unreadable
    cv2.imwrite(str(film), drawn(99))
    assert not read_films(three_each, tmp_path, LABELS3, cache=tmp_path / "kept").unreadable


def test_a_class_left_empty_by_unreadable_films_is_refused_with_the_reason(three_each, tmp_path):
    for number in range(3):
        (tmp_path / f"here/Tuberculosis-val-{number}.png").write_bytes(b"no picture")
    expected = r"class without films: Tuberculosis in val; cannot be read: here/Tuberculosis-val-0\.png \(picture not"
    with pytest.raises(ConfigError, match=expected):
        read_films(three_each, tmp_path, LABELS3, cache=tmp_path / "kept")


@pytest.mark.parametrize("split_needed", [True, False])
def test_films_none_of_which_can_be_read_are_refused(three_each, tmp_path, split_needed):
    for film in (tmp_path / "here").iterdir():
        film.write_bytes(b"no picture")
    with pytest.raises(ConfigError, match=r"no film is left; cannot be read: .* and 22 more"):
        read_films(three_each, tmp_path, LABELS3, split_needed=split_needed, cache=tmp_path / "kept")
