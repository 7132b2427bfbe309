"""Each picture is drawn where there is something to draw, in its size, and from its numbers."""

import cv2
import numpy as np
import pytest

from tests.training.made_up import NAMES, RULES, MadeUpRun, films_of, probabilities_of
from tests.training.made_up import recipe as recipe_of
from training.evaluate import evaluate
from training.measure import Answered, measure
from training.plots import plots, save

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    run = MadeUpRun(tmp_path_factory.mktemp("runs"), recipe=recipe_of(resamples=20, robustness_films=30))
    return evaluate(run, run.calibrated())


@pytest.fixture(scope="module")
def drawn(metrics):
    return plots(metrics)


def pixels(png):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def test_everything_that_was_measured_is_drawn(drawn):
    assert set(drawn) == {"confusion", "roc", "reliability", "left_out", "robustness", "fairness"}


@pytest.mark.parametrize("name", ["confusion", "roc", "reliability", "left_out", "robustness", "fairness"])
def test_a_picture_is_sharp_at_800_pixels_and_cut_off_nowhere(drawn, name):
    picture = pixels(drawn[name])
    assert picture.shape[1] == 1280
    edge = np.concatenate([picture[:3].ravel(), picture[-3:].ravel(), picture[:, :3].ravel(), picture[:, -3:].ravel()])
    assert (edge == 255).mean() > 0.97
    assert (picture < 200).any()


def test_equal_numbers_give_equal_pictures_and_others_do_not(metrics, drawn):
    assert plots(metrics) == drawn
    other = {**metrics, "confusion": (np.array(metrics["confusion"])[::-1]).tolist()}
    assert plots(other)["confusion"] != drawn["confusion"]


def test_films_of_one_class_alone_are_drawn_too():
    films = films_of([2] * 12, ["a"] * 12)
    answered = Answered.of(films, np.arange(12), probabilities_of(films), NAMES, RULES)
    assert set(plots(measure(answered, 10))) == {"confusion", "reliability"}


def test_pictures_are_saved_under_their_names(tmp_path, drawn):
    save(drawn, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.png" for name in drawn}
    assert (tmp_path / "roc.png").read_bytes() == drawn["roc"]
