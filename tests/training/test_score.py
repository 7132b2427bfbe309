"""A bundle measured on a hospital's films: the answers are the node's, and nothing in a folder of films stops it."""

import csv
import json
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from node import bundle as bundles
from node.errors import ConfigError
from node.infer import Reader
from node.pixels import read_picture
from tests.bundles import SHIPPED
from tests.films import dx_film, file_bytes
from tests.training.made_up import NAMES, film
from training import score as scoring
from training.cli import app
from training.score import score

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle():
    return bundles.load(SHIPPED)


@pytest.fixture(scope="module", autouse=True)
def one_reader(bundle):
    """Build the reader once: it is what takes the time."""
    reader = Reader(bundle, "cpu")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scoring, "Reader", lambda *_: reader)
        yield reader


def listed(folder, *rows):
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("file", "label", "source", "patient_id"), *rows])
    return folder / "manifest.csv"


def scores(folder):
    with (folder / "scores.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def two_of_each(folder, labels=NAMES):
    rows = [(f"{label}{n}.png", label, "elsewhere", f"p{label}{n}") for label in labels for n in range(2)]
    for number, row in enumerate(rows):
        film(folder / row[0], number)
    return rows


def test_every_film_gets_the_probabilities_that_the_node_gives_it(bundle, one_reader, tmp_path):
    rows = two_of_each(tmp_path)
    score(bundle, listed(tmp_path, *rows), tmp_path, tmp_path / "out", 20)
    found = scores(tmp_path / "out")
    assert list(found[0]) == ["file", "label", "source", "patient_id", *NAMES, "triage"]
    for row, said in zip(rows, found, strict=True):
        assert tuple(said.values())[:4] == row
        expected = one_reader.read(read_picture(tmp_path / row[0]))
        assert [float(said[name]) for name in NAMES] == pytest.approx(
            [f.probability for f in expected.findings], abs=1e-6
        )
        assert said["triage"] == expected.triage


def test_metrics_name_the_bundle_and_the_report_lies_beside_them(bundle, tmp_path):
    found = score(bundle, listed(tmp_path, *two_of_each(tmp_path)), tmp_path, tmp_path / "out", 20)
    kept = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert kept == found
    assert kept["bundle"] == bundle.digest
    assert (kept["listed"], kept["not_read"]) == (6, [])
    assert "No film of elsewhere was in its training" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_films_of_any_kind_are_read_and_those_that_cannot_be_are_named(bundle, tmp_path):
    gray = cv2.imread(str(film(tmp_path / "gray.png")), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(tmp_path / "large.jpg"), cv2.resize(gray, (1500, 1900)))
    cv2.imwrite(str(tmp_path / "small.png"), cv2.resize(gray, (40, 50)))
    cv2.imwrite(str(tmp_path / "color.png"), cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR))
    film(tmp_path / "deep.png", bits=16)
    (tmp_path / "film.dcm").write_bytes(file_bytes(dx_film()))
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    (tmp_path / "cut.dcm").write_bytes(file_bytes(dx_film())[:400])
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((50, 50), np.uint8))
    good = ["gray.png", "large.jpg", "small.png", "color.png", "deep.png", "film.dcm"]
    bad = ["text.png", "empty.png", "cut.dcm", "black.png", "absent.png"]
    rows = [(name, "Normal", "", "") for name in (*bad, *good)]
    found = score(bundle, listed(tmp_path, *rows), tmp_path, tmp_path / "out", 20)
    assert [row["file"] for row in scores(tmp_path / "out")] == good
    assert {one["file"] for one in found["not_read"]} == set(bad)
    assert all(one["reason"] for one in found["not_read"])
    assert found["listed"] == len(good) + len(bad)
    assert found["films"] == {"Normal": 6, "Pneumonia": 0, "Tuberculosis": 0}


def test_the_same_film_in_8_and_16_bit_gets_the_same_answer(bundle, tmp_path):
    film(tmp_path / "8.png")
    film(tmp_path / "16.png", bits=16)
    score(
        bundle, listed(tmp_path, ("8.png", "Normal", "a", "1"), ("16.png", "Normal", "a", "2")), tmp_path, tmp_path, 5
    )
    one, other = (np.array([float(row[name]) for name in NAMES]) for row in scores(tmp_path))
    np.testing.assert_allclose(one, other, atol=0.02)


@pytest.mark.parametrize(
    "labels", [("Tuberculosis",), ("Normal",), ("Normal", "Pneumonia"), ("Pneumonia", "Tuberculosis")]
)
def test_manifests_without_some_of_the_classes_are_measured(bundle, tmp_path, labels):
    found = score(bundle, listed(tmp_path, *two_of_each(tmp_path, labels)), tmp_path, tmp_path / "out", 20)
    assert {name for name, count in found["films"].items() if count} == set(labels)
    assert any(name.startswith("auc") for name in found["metrics"]) == (len(labels) > 1)
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000


def test_a_film_that_is_none_is_answered_all_the_same_and_counted(bundle, one_reader, tmp_path, monkeypatch):
    from node.errors import NotAssessable, Reason

    answer = one_reader.read

    def refusing(plane, refuse=True):
        if refuse:
            raise NotAssessable(Reason.NOT_A_CHEST_FILM)
        return answer(plane, refuse=False)

    monkeypatch.setattr(one_reader, "read", refusing)
    film(tmp_path / "a.png")
    found = score(bundle, listed(tmp_path, ("a.png", "Normal", "a", "1")), tmp_path, tmp_path, 5)
    assert found["film_checks"]["refused by the node"] == 1
    assert len(scores(tmp_path)) == 1


def test_no_film_that_can_be_read_is_a_refusal_that_names_one(bundle, tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.png: no such file"):
        score(bundle, listed(tmp_path, ("absent.png", "Normal", "a", "1")), tmp_path, tmp_path / "out", 5)
    assert not (tmp_path / "out").exists()


def test_films_keep_their_order_though_some_are_decoded_sooner(monkeypatch):
    def slow_at_first(path):
        time.sleep(0.05 if path.name == "0" else 0)
        return np.full((2, 2), int(path.name), np.float32)

    monkeypatch.setattr(scoring, "_plane", slow_at_first)
    order = [int(plane[0, 0]) for plane in scoring._decoded([Path(str(number)) for number in range(40)])]
    assert order == [*range(40)]


def test_only_so_many_films_wait_decoded(monkeypatch):
    decoded = []
    monkeypatch.setattr(scoring, "_plane", lambda path: decoded.append(path) or np.zeros((2, 2), np.float32))
    films = scoring._decoded([Path(str(number)) for number in range(500)])
    next(films)
    time.sleep(0.1)
    assert len(decoded) <= scoring._AHEAD + 1
    films.close()


def test_the_verb_needs_no_recipe_where_manifest_and_images_are_named(tmp_path, monkeypatch):
    manifest = listed(tmp_path, *two_of_each(tmp_path))
    monkeypatch.chdir(tmp_path)
    arguments = (
        "evaluate",
        "--bundle",
        SHIPPED,
        "--manifest",
        manifest,
        "--images",
        tmp_path,
        "--out",
        "out",
        "--resamples",
        "5",
    )
    outcome = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert outcome.exit_code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"scores.csv", "metrics.json", "report.html"}
    assert "films of 6 patients" in outcome.output
