"""The whole evaluation of a run, on films and logits that are made up."""

import json

import numpy as np
import pytest

from tests.training.made_up import GROUPS, MadeUpRun
from tests.training.made_up import recipe as recipe_of
from training.evaluate import data, evaluate

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    recipe = recipe_of(resamples=30, robustness_films=30, random_control=True)
    run = MadeUpRun(tmp_path_factory.mktemp("runs") / "abc", recipe=recipe, seeds=(1, 2))
    return evaluate(run, run.calibrated())


def test_what_is_found_can_be_kept_as_json(found):
    assert json.loads(json.dumps(found)) == found


def test_only_test_films_are_measured_inside(found):
    assert sum(found["films"].values()) == len(GROUPS) * 24
    assert sum(map(sum, found["confusion"])) == len(GROUPS) * 24
    assert set(found["by_source"]) == {source for _, source in GROUPS}


def test_every_source_that_can_be_is_left_out_and_reads_worse(found):
    assert set(found["left_out"]) == {"camp", "clinic", "ward"}
    for one in found["left_out"].values():
        assert one["metrics"]["accuracy"][2] < found["metrics"]["accuracy"][1]


def test_controls_members_groups_and_worse_films_are_there(found):
    assert found["controls"]["random"]["metrics"]["accuracy"][0] < 0.5
    assert found["controls"]["source_from_normal_films"]["balanced_accuracy"] > 0.9
    assert [one["seed"] for one in found["members"]] == [1, 2]
    assert set(found["fairness"]["attributes"]) == {"sex", "age", "view", "source"}
    assert found["robustness"]["films"] == 30


def test_what_is_not_asked_for_is_not_measured(tmp_path):
    recipe = recipe_of(resamples=5, robustness_films=0, random_control=False, leave_one_source_out=False)
    run = MadeUpRun(tmp_path, recipe=recipe)
    found = evaluate(run, run.calibrated())
    assert run.asked == []
    assert not {"robustness", "left_out"} & set(found)
    assert "random" not in found["controls"]


def test_the_data_are_told_by_source(tmp_path):
    run = MadeUpRun(tmp_path)
    told = data(run.films, run.recipe.labels)
    assert told["clinic"]["films"] == {"Normal": 48, "Pneumonia": 48, "Tuberculosis": 0}
    assert told["clinic"]["splits"] == {"train": 16, "val": 32, "test": 48}
    assert told["clinic"]["terms"] == "CC0"
    assert told["bus"]["terms"] == "not stated in the manifest"
    assert sum(one["patients"] for one in told.values()) == len(np.unique(run.films.patients))
