"""Sentences and verdicts follow the numbers."""

import pytest

from training.recipe import Targets
from training.summary import headline, targets

pytestmark = pytest.mark.slow

NAMES = ("Normal", "Pneumonia", "Tuberculosis")


def metrics(**more):
    values = {f"{metric} {name}": [0.9, 0.88, 0.92] for metric in ("f1", "auc") for name in NAMES}
    return {
        "about": {"kind": "run", "rules": {"Tuberculosis": {"urgent": True}, "Pneumonia": {"urgent": False}}},
        "films": dict.fromkeys(NAMES, 50),
        "patients": 120,
        "metrics": {"accuracy": [0.9, 0.88, 0.92], **values},
        "ece": 0.02,
        "by_source": {"known": {}, "": {}},
    } | more


def outside(**aucs):
    return {"films": dict.fromkeys(NAMES, 10), "metrics": {f"auc {name}": value for name, value in aucs.items()}}


@pytest.mark.parametrize(
    ("wanted", "met"),
    [(0.85, "yes"), (0.89, "yes, within error"), (0.91, "**no, within error**"), (0.93, "**no**")],
)
def test_a_target_is_held_against_the_value_and_its_interval(wanted, met):
    assert [row["met"] for row in targets(metrics(), Targets(accuracy=wanted))] == [met]


def test_a_calibration_error_must_be_small():
    assert [row["met"] for row in targets(metrics(), Targets(ece=0.02))] == ["yes"]
    assert [row["met"] for row in targets(metrics(), Targets(ece=0.01))] == ["**no**"]


def test_a_target_of_each_class_has_a_row_for_each():
    rows = targets(metrics(), Targets(f1=0.5, auc=0.5))
    assert [row["what"] for row in rows] == [f"{m} of {n}, test films" for m in ("F1", "AUC") for n in NAMES]


def test_the_bar_of_the_world_health_organization_is_told_for_every_source_left_out_with_an_urgent_class():
    one = outside(Tuberculosis=[0.8, 0.7, 0.9])
    one["metrics"]["specificity at 0.90 Tuberculosis"] = [0.5, 0.4, 0.6]
    rows = targets(metrics(left_out={"camp": one, "clinic": outside(Pneumonia=[0.8, 0.7, 0.9])}), Targets())
    assert len(rows) == 1
    assert "camp left out (WHO's bar for triage)" in rows[0]["what"]
    assert (rows[0]["wanted"], rows[0]["met"]) == ("at least 0.70", "**no**")


def test_film_checks_have_their_targets():
    one = {"films": 100, "refused": 3, "noticed": {"inverted": 95, "turned 90": 94}}
    checks = {"test": one, "left_out": {"camp": one}, "not_films": {"photograph": {"pictures": 100, "refused": 99}}}
    rows = targets(metrics(film_checks=checks), Targets(not_films=0.99, altered=0.95, refused=0.02))
    assert [row["met"] for row in rows] == ["yes", "yes", "**no**", "**no**"]


def test_the_first_sentence_holds_both_what_it_is_worth_inside_and_outside():
    left_out = {"a": outside(Tuberculosis=[0.6, 0.5, 0.7]), "b": outside(Tuberculosis=[0.71, 0.6, 0.8])}
    first = headline(metrics(left_out=left_out))[0]
    assert "calls 90.0 % [88.0, 92.0] of films rightly" in first
    assert "tuberculosis with an AUC of 0.60 to 0.71" in first
    assert "pneumonia" not in first


def test_a_run_without_sources_left_out_says_so_first():
    assert "was not measured" in headline(metrics())[0]


def test_a_bundle_says_which_films_it_may_know():
    said = " ".join(headline(metrics(about={"kind": "bundle", "trained_on": ["known", "other"]})))
    assert "trained on films of known," in said
    assert "No film of sources not stated" in said
    assert "Tuberculosis: AUC 0.900 [0.880, 0.920]" in said


def test_films_of_one_class_alone_are_not_called_told_apart():
    alone = metrics(about={"kind": "bundle", "trained_on": []})
    alone["metrics"] = {"accuracy": [0.9, 0.88, 0.92]}
    assert any("one class alone" in sentence for sentence in headline(alone))
