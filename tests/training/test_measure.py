"""Metrics of films are what they are called, whatever classes there are."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from node.study import Triage
from tests.training.made_up import NAMES, RULES, films_of, probabilities_of
from training.measure import Answered, measure, metrics_of

pytestmark = pytest.mark.slow


def answered_of(films, probabilities, rules=RULES, said=None):
    return Answered.of(films, np.arange(len(films)), np.asarray(probabilities, np.float32), NAMES, rules, said)


KNOWN = [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8], [0.2, 0.1, 0.7]]


def test_known_answers_give_known_metrics():
    found = measure(answered_of(films_of([0, 0, 1, 1, 2, 2], ["a"] * 4 + ["b"] * 2), KNOWN), 50)
    value = {name: triple[0] for name, triple in found["metrics"].items()}
    assert value["accuracy"] == pytest.approx(4 / 6, abs=1e-4)
    assert value["precision Normal"] == value["recall Pneumonia"] == value["sensitivity Pneumonia"] == 0.5
    assert value["specificity Pneumonia"] == value["specificity any"] == 0.5
    assert value["auc Tuberculosis"] == value["f1 Tuberculosis"] == value["sensitivity Tuberculosis"] == 1.0
    assert value["auc Pneumonia"] == pytest.approx(7 / 8)
    assert value["recall macro"] == pytest.approx(2 / 3, abs=1e-4)
    # The film of 0.3 pneumonia is the only one in the band.
    assert value["uncertain"] == pytest.approx(1 / 6, abs=1e-4)
    assert value["sensitivity any"] == 0.75
    assert found["films"] == {"Normal": 2, "Pneumonia": 2, "Tuberculosis": 2}
    assert found["confusion"] == [[1, 1, 0], [1, 1, 0], [0, 0, 2]]
    assert found["answers"]["Pneumonia"] == {"urgent": 0, "flagged": 1, "uncertain": 1, "not_flagged": 0}


def test_weighted_metrics_are_those_of_scikit_learn():
    films = films_of(np.arange(200) % 3, ["a"] * 200)
    probabilities = probabilities_of(films, 1.0)
    weights = np.random.default_rng(0).integers(4, size=(5, 200)).astype(np.float32)
    found = metrics_of(answered_of(films, probabilities))(weights)
    for number, row in enumerate(weights):
        expected = precision_recall_fscore_support(films.labels, probabilities.argmax(1), sample_weight=row)
        for metric, values in zip(("precision", "recall", "f1"), expected[:3], strict=True):
            assert [found[f"{metric} {name}"][number] for name in NAMES] == pytest.approx(list(values), abs=1e-6)
            assert found[f"{metric} macro"][number] == pytest.approx(np.mean(values), abs=1e-6)


@pytest.mark.parametrize("label", [0, 1, 2])
def test_films_of_one_class_alone_have_no_curve_and_every_other_metric(label):
    films = films_of([label] * 12, ["a"] * 12)
    found = measure(answered_of(films, probabilities_of(films)), 20)
    assert {"accuracy", f"recall {NAMES[label]}", "f1 macro", "uncertain"} <= set(found["metrics"])
    assert not any(name.startswith(("auc", "specificity at")) for name in found["metrics"])
    assert ("specificity any" in found["metrics"]) == (label == 0)
    assert ("sensitivity any" in found["metrics"]) == (label != 0)
    assert found["roc"] == {}


def test_a_source_is_measured_by_itself():
    films = films_of([0, 1, 0, 2], ["a", "a", "", ""])
    found = measure(answered_of(films, [[0.9, 0.1, 0], [0.1, 0.9, 0], [0.1, 0, 0.9], [0.1, 0, 0.9]]), 10)
    assert {source: one["metrics"]["accuracy"][0] for source, one in found["by_source"].items()} == {"": 0.5, "a": 1.0}
    assert "auc Tuberculosis" not in found["by_source"]["a"]["metrics"]


def test_without_rules_there_is_nothing_to_flag():
    found = measure(answered_of(films_of([0, 1], ["a", "a"]), [[0.9, 0.1, 0], [0.1, 0.9, 0]], rules={}), 10)
    assert found["answers"] == {}
    assert not any(name.startswith("sens") or name == "uncertain" for name in found["metrics"])


def test_what_the_node_said_counts_where_it_is_known():
    films = films_of([0, 0], ["a", "a"])
    said = np.array([str(Triage.UNCERTAIN), str(Triage.NOT_FLAGGED)])
    found = measure(answered_of(films, [[0.9, 0.1, 0], [0.9, 0.1, 0]], said=said), 10)
    assert found["metrics"]["uncertain"][0] == 0.5
    assert found["answers"]["Normal"]["uncertain"] == 1
