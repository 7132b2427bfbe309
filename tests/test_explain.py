"""The heat map: empty where nothing is found, strong where a film is flagged, and in its place on the film."""

import cv2
import numpy as np
import pytest

from node import bundle as bundles
from node import network
from node.explain import on_film
from node.infer import Reader
from node.pixels import read_picture
from tests.bundles import SHIPPED

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle():
    return bundles.load(SHIPPED)


@pytest.fixture(scope="module")
def predictions(bundle):
    reader = Reader(bundle, "cpu")
    return [(case, reader.read(read_picture(bundle.folder / case.file))) for case in bundle.golden]


def test_the_map_of_a_golden_film_with_nothing_found_is_empty(predictions):
    quiet = [prediction.heat_map.max() for case, prediction in predictions if case.label == "Normal"]
    assert len(quiet) >= 2
    assert max(quiet) < 0.05


@pytest.mark.parametrize("label", ["Pneumonia", "Tuberculosis"])
def test_of_each_class_the_golden_film_flagged_most_clearly_has_a_map(predictions, label):
    found = [p for case, p in predictions if p.flagged_label == case.label == label]
    clearest = max(found, key=lambda prediction: prediction.of(label).probability)
    assert clearest.map_label == label
    assert clearest.heat_map.max() > 0.1


def test_the_map_explains_the_flagged_label_and_lies_in_range(predictions):
    for _, prediction in predictions:
        assert prediction.map_label == (prediction.flagged_label or prediction.map_label)
        assert prediction.heat_map.dtype == np.float32
        assert prediction.heat_map.min() >= 0
        assert prediction.heat_map.max() <= 1


def test_the_map_adds_up_to_the_log_odds_against_normal(predictions, bundle):
    temperature = bundle.manifest.calibration.temperature
    checked = 0
    for _, prediction in predictions:
        if prediction.heat_map.max() >= 1:
            continue
        odds = prediction.of(prediction.map_label).probability / prediction.of("Normal").probability
        reference = bundle.manifest.heat_map.reference_share[prediction.map_label]
        logit = max(0.0, float(np.log(odds)) * temperature)
        assert float(prediction.heat_map.sum()) * reference == pytest.approx(logit, rel=1e-3, abs=1e-3)
        checked += 1
    assert checked >= 3


def test_evidence_keeps_the_sum_and_drops_what_speaks_against():
    shares = np.array([[[3.0], [-1.0]], [[1.0], [0.0]]], np.float32)
    np.testing.assert_allclose(network.evidence(shares)[..., 0], [[2.25, 0.0], [0.75, 0.0]])
    assert network.evidence(-shares).max() == 0
    assert network.evidence(np.zeros((2, 2, 1), np.float32)).max() == 0


@pytest.mark.parametrize("shape", [(224, 224), (2500, 2048), (301, 97)])
def test_a_hot_cell_lands_in_its_place_on_the_film(shape):
    heat_map = np.zeros((7, 7), np.float32)
    heat_map[1, 5] = 1.0
    enlarged = on_film(heat_map, shape)
    assert enlarged.shape == shape
    assert enlarged.dtype == np.float32
    weight = enlarged / enlarged.sum()
    center = [(weight.sum(1) * (np.arange(shape[0]) + 0.5)).sum(), (weight.sum(0) * (np.arange(shape[1]) + 0.5)).sum()]
    np.testing.assert_allclose(np.divide(center, shape), [1.5 / 7, 5.5 / 7], atol=0.01)


@pytest.mark.parametrize("shape", [(1024, 840), (256, 256), (5, 3)])
def test_a_map_is_enlarged_as_opencv_enlarges_it(shape):
    heat_map = np.random.default_rng(7).random((7, 5), np.float32)
    expected = cv2.resize(heat_map, shape[::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1)
    np.testing.assert_allclose(on_film(heat_map, shape), expected, atol=1e-6)


def test_enlarging_never_leaves_the_scale():
    checkers = (np.indices((7, 7)).sum(0) % 2).astype(np.float32)
    enlarged = on_film(checkers, (500, 400))
    assert enlarged.min() == 0
    assert enlarged.max() == 1
    np.testing.assert_allclose(on_film(np.full((7, 7), 0.5, np.float32), (500, 400)), 0.5, atol=1e-6)
