"""The controls show what the inside numbers hide, and nothing of the source left out is used for it."""

import numpy as np
import pytest

from tests.training.made_up import MadeUpRun, films_of, grouped_films
from training.controls import calibrated_on, each_member, left_out, random_control, source_probe, sources_to_leave_out

pytestmark = pytest.mark.slow


def test_a_source_is_left_out_only_where_two_classes_can_be_measured_and_every_class_still_learned():
    groups = [
        (label, source, split)
        for split in ("train", "val")
        for label, source in ((0, "a"), (1, "a"), (0, "b"), (1, "b"), (2, "c"))
    ]
    labels, sources, splits = zip(*groups, strict=True)
    assert sources_to_leave_out(films_of(labels, sources, splits=splits)) == ["a", "b"]
    alone = [source.replace("b", "a") for source in sources]
    assert sources_to_leave_out(films_of(labels, alone, splits=splits)) == []


def test_a_source_left_out_is_measured_whole_by_a_run_that_never_saw_it(tmp_path):
    run = MadeUpRun(tmp_path)
    found = left_out(run, "clinic")
    assert run.asked == ["clinic"]
    assert sum(found["films"].values()) == (run.films.sources == "clinic").sum()
    assert found["metrics"]["auc Pneumonia"][2] < 0.8
    assert list(found["roc"]) == ["Pneumonia"]


def test_temperature_and_cut_offs_are_set_without_the_films_left_out(tmp_path):
    run = MadeUpRun(tmp_path)
    val = run.films.rows("val")
    kept = val[run.films.sources[val] != "clinic"]
    temperature, rules = calibrated_on(run.without("clinic"), kept, run.films)
    found = left_out(run, "clinic")
    assert found["temperature"] == temperature
    assert found["cut_offs"] == {rule.label: rule.cut_off for rule in rules.values()}


def test_groups_of_patients_are_told_apart_where_a_source_left_out_states_them(tmp_path):
    run = MadeUpRun(tmp_path)
    assert set(left_out(run, "clinic")["fairness"]["attributes"]) == {"sex", "age", "view"}
    assert left_out(run, "ward")["fairness"]["attributes"] == {}


def test_random_weights_know_nothing(tmp_path):
    low, high = random_control(MadeUpRun(tmp_path))["metrics"]["auc macro"][1:]
    assert low < 0.55
    assert high < 0.65


def test_each_member_is_measured_and_a_single_one_is_not_told_twice(tmp_path):
    assert each_member(MadeUpRun(tmp_path)) == []
    found = each_member(MadeUpRun(tmp_path, seeds=(1, 2, 3)))
    assert [one["seed"] for one in found] == [1, 2, 3]
    assert len({one["metrics"]["accuracy"][0] for one in found}) > 1


def test_the_probe_finds_a_source_that_shows_and_none_that_does_not(tmp_path):
    run = MadeUpRun(tmp_path)
    found = source_probe(run)
    assert found["sources"] == ["camp", "clinic", "ward"]
    assert found["balanced_accuracy"] > 0.95
    run.features = lambda rows: np.random.default_rng(len(rows)).normal(size=(len(rows), 5))
    assert source_probe(run)["balanced_accuracy"] < 0.6


def test_one_source_cannot_be_probed(tmp_path):
    films = films_of([0] * 4, ["a"] * 4, splits=["train", "train", "test", "test"])
    assert source_probe(MadeUpRun(tmp_path, films))["balanced_accuracy"] is None


def test_the_films_made_up_here_hold_every_class_in_every_split():
    films = grouped_films()
    assert all(set(films.labels[films.rows(split)]) == {0, 1, 2} for split in ("train", "val", "test"))
