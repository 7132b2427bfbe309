"""A hospital's manifest is taken as it comes: each film that cannot be measured is named, the others are measured."""

import pytest

from node.errors import ConfigError
from tests.training.made_up import NAMES
from training.listed import listed

pytestmark = pytest.mark.slow


def manifest(folder, *rows, header="file,label,source,patient_id", encoding="utf-8"):
    for name in ("a.png", "b.png"):
        (folder / name).touch()
    path = folder / "manifest.csv"
    path.write_bytes("\n".join([header, *rows, ""]).encode(encoding))
    return path


def test_four_columns_are_enough_and_others_are_passed_over(tmp_path):
    path = manifest(tmp_path, "a.png,Normal,here,p1,x", header="file,label,source,patient_id,weather")
    films, unmeasured = listed(path, tmp_path, NAMES)
    assert (films.files.tolist(), films.labels.tolist(), films.patients.tolist()) == (["a.png"], [0], ["here/p1"])
    assert unmeasured == []


def test_what_cannot_be_measured_is_named_with_its_reason(tmp_path):
    path = manifest(tmp_path, "a.png,Normal,,1", "a.png,Normal,,1", "b.png,Flu,,2", "c.png,Normal,,3")
    films, unmeasured = listed(path, tmp_path, NAMES)
    assert films.files.tolist() == ["a.png"]
    assert [(one.file, one.reason) for one in unmeasured] == [
        ("a.png", "listed before"),
        ("b.png", "its label is none of Normal, Pneumonia, Tuberculosis"),
        ("c.png", "no such file"),
    ]


def test_a_film_without_a_patient_is_a_patient_of_its_own(tmp_path):
    films, _ = listed(manifest(tmp_path, "a.png,Normal,here,", "b.png,Normal,here,"), tmp_path, NAMES)
    assert len(set(films.patients)) == 2


def test_sex_age_and_view_are_read_where_they_are_there(tmp_path):
    header = "file,label,source,patient_id,sex,age,view"
    films, _ = listed(manifest(tmp_path, "a.png,Normal,here,1,F,40,PA", header=header), tmp_path, NAMES)
    assert (films.sex[0], films.age[0], films.view[0]) == ("F", "40", "PA")
    films, _ = listed(manifest(tmp_path, "a.png,Normal,here,1"), tmp_path, NAMES)
    assert (films.sex[0], films.age[0], films.view[0]) == ("", "", "")


def test_a_spreadsheets_byte_order_mark_and_a_short_line_do_no_harm(tmp_path):
    path = manifest(tmp_path, "a.png,Normal", encoding="utf-8-sig")
    films, _ = listed(path, tmp_path, NAMES)
    assert (films.files[0], films.sources[0]) == ("a.png", "")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"file,label,source\na.png,Normal,x\n", "lacks patient_id"),
        (b"file,label,source,patient_id\n", "lists no film"),
        (b"", "lists no film"),
        ("file,label,source,patient_id\nMüller.png,Normal,x,1\n".encode("latin-1"), "is not UTF-8"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(tmp_path, content, complaint):
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(ConfigError, match=complaint):
        listed(tmp_path / "manifest.csv", tmp_path, NAMES)


def test_a_manifest_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        listed(tmp_path / "manifest.csv", tmp_path, NAMES)
