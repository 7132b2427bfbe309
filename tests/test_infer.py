"""One film in, one answer out: calibrated, the same each time, or an error."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from node import bundle as bundles
from node import network
from node.bundle import Rule
from node.errors import BundleError, ConfigError, InferenceError
from node.infer import Reader, load_model, replay_golden, triage
from node.pixels import model_input, read_picture
from node.study import Prediction, Triage

FOLDER = Path(__file__).resolve().parents[1] / "models" / "cxr-triage-0.1.0"
RULES = {
    "Pneumonia": Rule("Pneumonia", 0.6, 0.4, urgent=False),
    "Tuberculosis": Rule("Tuberculosis", 0.3, 0.2, urgent=True),
}


@pytest.fixture(scope="module")
def bundle():
    return bundles.load(FOLDER)


@pytest.fixture(scope="module")
def reader(bundle):
    return Reader(bundle, "cpu")


@pytest.fixture(scope="module")
def another(bundle):
    return Reader(bundle, "auto")


@pytest.fixture(scope="module")
def planes(bundle):
    return {case.file: read_picture(bundle.folder / case.file) for case in bundle.golden}


def as_bytes(prediction):
    return repr(prediction.to_json()).encode()


@pytest.mark.parametrize(
    ("pneumonia", "tuberculosis", "answer", "label"),
    [
        (0.1, 0.1, Triage.NOT_FLAGGED, None),
        (0.39, 0.19, Triage.NOT_FLAGGED, None),
        (0.4, 0.1, Triage.UNCERTAIN, None),
        (0.1, 0.2, Triage.UNCERTAIN, None),
        (0.59, 0.29, Triage.UNCERTAIN, None),
        (0.6, 0.1, Triage.FLAGGED, "Pneumonia"),
        (0.6, 0.29, Triage.FLAGGED, "Pneumonia"),
        (0.1, 0.3, Triage.URGENT, "Tuberculosis"),
        (0.5, 0.3, Triage.URGENT, "Tuberculosis"),
        (0.65, 0.35, Triage.URGENT, "Tuberculosis"),
    ],
)
def test_the_urgent_label_wins_then_the_flagged_then_the_uncertain(pneumonia, tuberculosis, answer, label):
    found = {"Normal": 1 - pneumonia - tuberculosis, "Pneumonia": pneumonia, "Tuberculosis": tuberculosis}
    assert triage(found, RULES) == (answer, label)


def test_of_two_labels_equally_urgent_the_more_probable_wins():
    rules = {label: replace(rule, urgent=False) for label, rule in RULES.items()}
    assert triage({"Pneumonia": 0.62, "Tuberculosis": 0.38}, rules) == (Triage.FLAGGED, "Pneumonia")


def test_the_golden_films_get_the_answers_they_must(reader, bundle):
    results = replay_golden(reader, bundle)
    assert len(results) == len(bundle.golden)
    assert all(result.passed for result in results)


def test_a_golden_film_that_gets_another_answer_does_not_pass(reader, bundle):
    case = bundle.golden[0]
    shifted = {label: abs(p - 2 * case.tolerance) for label, p in case.probabilities.items()}
    changed = replace(bundle, golden=(replace(case, probabilities=shifted), replace(case, map_peak=1.0), case))
    assert [result.passed for result in replay_golden(reader, changed)] == [False, False, True]


def test_golden_films_are_called_what_their_data_set_calls_them(reader, bundle, planes):
    for case in bundle.golden:
        prediction = reader.read(planes[case.file])
        assert max(prediction.findings, key=lambda finding: finding.probability).label == case.label


def test_equal_input_gives_equal_bytes_alone_among_others_and_in_another_reader(reader, another, bundle, planes):
    spec = bundle.manifest.preprocessing
    inputs = [model_input(plane, spec) for plane in planes.values()]
    alone = [as_bytes(reader.read(plane)) for plane in planes.values()]
    assert [as_bytes(prediction) for prediction in reader.read_batch(inputs)] == alone
    assert [as_bytes(prediction) for prediction in reader.read_batch(inputs[::-1])] == alone[::-1]
    if another.device == "cpu":
        assert [as_bytes(prediction) for prediction in another.read_batch(inputs)] == alone


def test_no_films_give_no_predictions(reader):
    assert reader.read_batch([]) == []


def test_the_probabilities_are_the_models_own_at_the_bundles_temperature(reader, bundle, planes):
    model = load_model(bundle)
    for plane in planes.values():
        logits = model(model_input(plane, bundle.manifest.preprocessing)[np.newaxis], training=False)[0]
        expected = tf.nn.softmax(logits / bundle.manifest.calibration.temperature).numpy()
        found = [finding.probability for finding in reader.read(plane).findings]
        assert sum(found) == pytest.approx(1.0, abs=1e-6)
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_spread_is_the_deviation_over_dropout_and_is_there(reader, planes):
    findings = [finding for plane in planes.values() for finding in reader.read(plane).findings]
    assert all(0 < finding.spread < 0.5 for finding in findings)


def test_the_formula_of_the_head_has_the_gradient_that_tensorflow_finds(bundle, planes):
    model = load_model(bundle)
    head, features_of = network.Head.of(model), network.feature_map(model)
    plane = next(iter(planes.values()))
    features = features_of(model_input(plane, bundle.manifest.preprocessing)[np.newaxis], training=False)
    rest = keras.Model(model.get_layer("head_pooling").input, model.output)
    with tf.GradientTape() as tape:
        tape.watch(features)
        logits = rest(features, training=False)
        against_normal = logits[:, 2] - logits[:, 0]
    gradient = tape.gradient(against_normal, features).numpy()[0]
    rows, columns, channels = gradient.shape
    expected = np.broadcast_to(head.slope[:, 2] / (rows * columns), (rows, columns, channels))
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(head.shares(features.numpy()).sum((1, 2))[:, 2], against_normal, rtol=1e-4)


def test_each_finding_carries_its_cut_off_and_survives_json(reader, bundle, planes):
    prediction = reader.read(next(iter(planes.values())))
    assert prediction.of("Normal").cut_off is None
    assert prediction.of("Tuberculosis").cut_off == bundle.rules["Tuberculosis"].cut_off
    again = Prediction.from_json(prediction.to_json())
    assert again.to_json() == prediction.to_json()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_an_inference_error(reader, bad):
    plane = np.full((300, 200), 0.5, np.float32)
    plane[10, 10] = bad
    with pytest.raises(InferenceError, match="finite"):
        reader.read(plane)
    picture = np.full((224, 224, 3), 0.5, np.float32)
    picture[0, 0, 0] = bad
    with pytest.raises(InferenceError, match=r"\[0, 1\]"):
        reader.read_batch([picture])


@pytest.mark.parametrize("shape", [(224, 224), (224, 224, 1), (128, 128, 3), (1, 224, 224, 3)])
def test_a_picture_of_another_shape_is_an_inference_error(reader, shape):
    with pytest.raises(InferenceError, match="takes"):
        reader.read_batch([np.zeros(shape, np.float32)])


@pytest.mark.parametrize("shape", [(0, 10), (20, 20, 3), (20,)])
def test_a_plane_that_is_no_plane_is_an_inference_error(reader, shape):
    with pytest.raises(InferenceError, match="two-dimensional"):
        reader.read(np.zeros(shape, np.float32))


def test_a_picture_out_of_range_is_an_inference_error(reader):
    with pytest.raises(InferenceError, match=r"\[0, 1\]"):
        reader.read_batch([np.full((224, 224, 3), 255.0, np.float32)])


def test_auto_takes_what_is_there(another, reader):
    assert reader.device == "cpu"
    assert another.device == ("gpu" if tf.config.list_physical_devices("GPU") else "cpu")


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="this machine has a GPU")
def test_a_gpu_that_is_asked_for_and_absent_is_a_configuration_error(bundle):
    with pytest.raises(ConfigError, match="sees none"):
        Reader(bundle, "gpu")


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_weights_of_another_network_are_a_bundle_error(bundle, tmp_path):
    small = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    small.save_weights(tmp_path / bundles.WEIGHTS)
    with pytest.raises(BundleError, match="does not fit"):
        load_model(replace(bundle, folder=tmp_path))
