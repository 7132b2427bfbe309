"""Metrics are what scikit-learn says they are, resample by resample, and intervals are drawn by patient."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from training import statistics
from training.statistics import (
    auc,
    bootstrap,
    draws,
    expected_calibration_error,
    reliability,
    roc_points,
    specificity_at,
)


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    positive = rng.random(300) < 0.4
    # Rounded, so that there are ties, within a class and between classes.
    scores = (rng.normal(size=300) + positive).round(1).astype(np.float32)
    weights = np.concatenate([*draws(np.array([str(n // 3) for n in range(300)]), 12)])
    return scores, positive, weights


def test_the_area_under_the_curve_is_that_of_scikit_learn_in_every_resample(scored):
    scores, positive, weights = scored
    expected = [roc_auc_score(positive, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(auc(scores, positive, weights), expected, atol=1e-6)


@pytest.mark.parametrize("sensitivity", [0.5, 0.9, 1.0])
def test_the_specificity_is_that_of_the_highest_cut_off_that_keeps_the_sensitivity(scored, sensitivity):
    scores, positive, weights = scored
    expected = []
    for row in weights:
        false, true, _ = roc_curve(positive, scores, sample_weight=row, drop_intermediate=False)
        expected.append(1 - false[true >= sensitivity - 1e-9][0])
    np.testing.assert_allclose(specificity_at(sensitivity, scores, positive, weights), expected, atol=1e-6)


def test_only_the_negatives_that_are_named_count(scored):
    scores, positive, weights = scored
    some = ~positive & (np.arange(300) % 2 == 0)
    chosen = positive | some
    expected = [roc_auc_score(positive[chosen], scores[chosen], sample_weight=row[chosen]) for row in weights]
    np.testing.assert_allclose(auc(scores, positive, weights, some), expected, atol=1e-6)


def test_the_curve_goes_from_corner_to_corner_and_spans_the_area(scored):
    scores, positive, weights = scored
    points = roc_points(scores, positive)
    false, true = points["false_positive_rate"], points["true_positive_rate"]
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert (np.diff(false) >= 0).all()
    assert np.trapezoid(true, false) == pytest.approx(auc(scores, positive, weights)[0], abs=1e-3)


def test_patients_are_drawn_with_all_their_films():
    patients = np.array(["a"] * 99 + ["b"])
    right = np.array([1.0] * 99 + [0.0])
    value, low, high = bootstrap(lambda w: {"mean": (w @ right) / w.sum(1)}, patients, 200)["mean"]
    assert value == 0.99
    # Either patient alone is drawn a quarter of the time: films drawn one by one would never come near 0.
    assert (low, high) == (0.0, 1.0)


def test_an_interval_of_a_mean_is_the_one_that_theory_gives():
    values = np.random.default_rng(0).normal(size=400)
    found = bootstrap(lambda w: {"mean": (w @ values) / w.sum(1)}, np.arange(400).astype(str), 2000)["mean"]
    half = 1.96 * values.std() / np.sqrt(400)
    assert found[1:] == pytest.approx([values.mean() - half, values.mean() + half], abs=0.01)


def test_tables_of_weights_that_do_not_fit_at_once_come_in_parts(monkeypatch):
    patients = np.arange(50).astype(str)
    monkeypatch.setattr(statistics, "_CELLS", 500)
    parts = [len(table) for table in draws(patients, 95)]
    assert parts == [1, *[10] * 9, 5]
    total = np.concatenate([*draws(patients, 95)]).sum(1)
    assert (total == 50).all()


def test_a_metric_that_is_not_defined_is_left_out_and_a_resample_that_does_not_define_it_is_not_counted():
    def measured(weights):
        undefined = np.full(len(weights), np.nan)
        now_and_then = np.where(np.arange(len(weights)) % 2 == 0, 0.5, np.nan)
        return {"never": undefined, "at times": now_and_then}

    assert bootstrap(measured, np.array(["a", "b"]), 20) == {"at times": [0.5, 0.5, 0.5]}


def test_confidence_that_is_right_has_no_calibration_error_and_overconfidence_has():
    labels = np.array([0] * 80 + [1] * 20)
    honest = np.tile(np.array([0.8, 0.2], np.float32), (100, 1))
    boastful = np.tile(np.array([0.99, 0.01], np.float32), (100, 1))
    assert expected_calibration_error(labels, honest) == pytest.approx(0.0, abs=1e-4)
    assert expected_calibration_error(labels, boastful) == pytest.approx(0.19, abs=1e-3)
    assert reliability(labels, honest)["films"] == [100]


def test_a_probability_of_one_is_in_the_last_bin():
    assert reliability(np.array([0]), np.array([[1.0, 0.0]]))["from"] == [pytest.approx(14 / 15, abs=1e-4)]
