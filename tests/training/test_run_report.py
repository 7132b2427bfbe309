"""All that is measured of a run lies in its folder when it is done."""

import json
from dataclasses import replace

import pytest

from tests.training.made_up import MadeUpRun, film
from tests.training.made_up import recipe as recipe_of
from training import explanation, explanation_pictures, film_check, run_report

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path, monkeypatch):
    recipe = recipe_of(resamples=5, robustness_films=0, leave_one_source_out=False, random_control=False)
    made = MadeUpRun(tmp_path / "runs" / "abc", recipe=recipe, seeds=(1, 2))
    made.folder.mkdir(parents=True)
    made.keep = lambda name, form: (made.folder / f"{name}.json").write_text(json.dumps(form))
    picture = film(tmp_path / "picture.png").read_bytes()
    group = {"films": 1, "patients": 1, "metrics": {"peak model": [1.0, 1.0, 1.0]}}
    found = {"lungs": {"Pneumonia": {"all": group, "by_source": {}}}, "boxes": None}
    monkeypatch.setattr(explanation, "measure", lambda *_: found)
    monkeypatch.setattr(explanation_pictures, "draw", lambda *_: {"explanation-maps": picture})
    counted = {"films": 10, "refused": 0, "taken_for_turned": 0, "taken_for_inverted": 0, "noticed": {"inverted": 10}}
    checked = {"test": counted, "left_out": {}, "not_films": {"page": {"pictures": 10, "refused": 10}}}
    monkeypatch.setattr(film_check, "measure", lambda *_: checked)
    return made


def test_numbers_report_and_pictures_lie_in_the_runs_folder(run):
    found = run_report.evaluated(run, run.calibrated())
    assert json.loads((run.folder / "metrics.json").read_text()) == json.loads(json.dumps(found))
    names = {path.name for path in run.folder.iterdir()}
    assert {
        "report.html",
        "confusion.png",
        "roc.png",
        "reliability.png",
        "fairness.png",
        "explanation-maps.png",
    } <= names


def test_what_other_stages_measured_and_drew_is_in_the_report(run):
    for member in run.members:
        film(member.folder / "curves.png")
    film(run.root / "prepare" / "contact_sheet.png")
    run_report.evaluated(run, run.calibrated())
    text = (run.folder / "report.html").read_text("utf-8")
    assert (
        text.count("loss, accuracy on validation films") == 4
    )  # two members, each as caption and in place of the picture
    for words in (
        "Training films of each class and source",
        "Mean heat maps",
        "Is it a chest film at all?",
        "inverted, noticed",
    ):
        assert words in text


def test_a_recipe_without_a_film_check_measures_none(run):
    run.recipe = replace(run.recipe, export=replace(run.recipe.export, film_check=False))
    assert "film_checks" not in run_report.evaluated(run, run.calibrated())
