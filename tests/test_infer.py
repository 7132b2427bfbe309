"""One film in, one answer out: calibrated, the same each time, or an error."""

import os
import subprocess
import sys
from dataclasses import replace

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.layers import Normalization

from node import bundle as bundles
from node import network
from node.bundle import Rule
from node.errors import BundleError, ConfigError, InferenceError, NotAssessable, Reason
from node.graph import Answers, load_models
from node.infer import AT_ONCE, Reader, _warmed, replay_golden, triage
from node.likeness import bank_bytes
from node.pixels import InputSpec, model_input, read_picture
from node.prints import print_of
from node.study import FilmWarning, Prediction, Triage
from tests.bundles import SHIPPED, film_check, variant

pytestmark = pytest.mark.slow

RULES = {
    "Pneumonia": Rule("Pneumonia", 0.6, 0.4, urgent=False),
    "Tuberculosis": Rule("Tuberculosis", 0.3, 0.2, urgent=True),
}


@pytest.fixture(scope="module")
def bundle():
    return bundles.load(SHIPPED)


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


@pytest.mark.parametrize("warning", [FilmWarning.LOOKS_TURNED, FilmWarning.LOOKS_INVERTED])
def test_a_film_that_looks_turned_or_inverted_is_never_not_flagged(warning):
    nothing, something = ({"Normal": 1 - p, "Pneumonia": 0.0, "Tuberculosis": p} for p in (0.1, 0.3))
    assert triage(nothing, RULES, (warning,)) == (Triage.UNCERTAIN, None)
    assert triage(something, RULES, (warning,)) == (Triage.URGENT, "Tuberculosis")


@pytest.mark.parametrize("warning", [FilmWarning.LOOKS_COLLIMATED, FilmWarning.UNLIKE_TRAINING])
def test_other_warnings_change_no_answer(warning):
    nothing = {"Normal": 0.9, "Pneumonia": 0.0, "Tuberculosis": 0.1}
    assert triage(nothing, RULES, (warning,)) == triage(nothing, RULES)


def test_the_golden_films_get_the_answers_they_must(reader, bundle):
    results = replay_golden(reader, bundle)
    assert len(results) == len(bundle.golden)
    assert all(result.passed for result in results)


def test_a_golden_film_that_gets_another_answer_does_not_pass(reader, bundle):
    case = bundle.golden[0]
    shifted = {label: abs(p - 2 * case.tolerance) for label, p in case.probabilities.items()}
    changed = (
        replace(case, probabilities=shifted),
        replace(case, map_peak=1.0),
        replace(case, warnings=(FilmWarning.UNLIKE_TRAINING,)),
        case,
    )
    results = replay_golden(reader, replace(bundle, golden=changed))
    assert [result.passed for result in results] == [False, False, False, True]


def test_golden_films_are_called_what_their_data_set_calls_them(reader, bundle, planes):
    for case in bundle.golden:
        prediction = reader.read(planes[case.file])
        assert max(prediction.findings, key=lambda finding: finding.probability).label == case.label


def test_equal_input_gives_equal_bytes_in_any_order_and_in_another_reader(reader, another, planes):
    films = list(planes.values())
    said = [as_bytes(reader.read(plane)) for plane in films]
    assert [as_bytes(reader.read(plane)) for plane in films[::-1]] == said[::-1]
    if another.device == "cpu":
        assert [as_bytes(another.read(plane)) for plane in films] == said


def logits_of(bundle, planes):
    """The logits of each member on its own, (members, films, classes)."""
    pictures = np.stack([model_input(plane, bundle.manifest.preprocessing) for plane in planes])
    return np.stack([model(pictures, training=False).numpy() for model in load_models(bundle)])


def probabilities_of(reader, planes):
    return np.array([[finding.probability for finding in reader.read(plane).findings] for plane in planes])


SIDE_BY_SIDE = """
import sys
from node import bundle as bundles
from node.infer import AT_ONCE, Reader
from node.pixels import read_picture
from node.prints import print_of
bundle = bundles.load(sys.argv[1])
reader = Reader(bundle, "cpu")
prints = [print_of(read_picture(bundle.folder / case.file), bundle.manifest.preprocessing) for case in bundle.golden]
alone = [repr(reader.read_print(film).to_json()) for film in prints]
for first in range(len(prints)):
    films = prints[first : first + reader.at_once]
    together = [repr(answer.to_json()) for answer in reader.read_prints(films)]
    assert together == alone[first : first + reader.at_once]
print(reader.at_once)
"""


@pytest.mark.parametrize("kernels", ["0", "1"], ids=["TensorFlow's own kernels", "oneDNN's"])
def test_a_film_gets_the_same_bytes_in_company_as_by_itself_or_no_company(kernels):
    command = [sys.executable, "-c", SIDE_BY_SIDE, str(SHIPPED)]
    environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": kernels}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 1 <= int(done.stdout) <= AT_ONCE


@pytest.mark.parametrize("alike", range(1, AT_ONCE + 3))
def test_so_many_films_are_read_at_once_as_get_their_own_answers(alike):
    def graph(batch):
        rounding = np.float32(1e-7 if len(batch) > alike else 0)
        mean = batch.mean((1, 2))[:, np.newaxis] + rounding
        return Answers(mean, mean, mean, np.repeat(mean, 5, axis=1))

    assert _warmed(graph, InputSpec(8, 8)) == (min(alike, AT_ONCE), 5)


def test_of_films_side_by_side_those_are_refused_that_would_be_by_themselves(watchful, planes):
    spec = watchful.bundle.manifest.preprocessing
    noise = np.random.default_rng(0).random((300, 300), np.float32)
    first, second = list(planes.values())[:2]
    films = [print_of(plane, spec) for plane in (noise, first, noise, second)]
    answers = watchful.read_prints(films)
    assert [isinstance(answer, NotAssessable) for answer in answers] == [True, False, True, False]
    assert [isinstance(answer, Prediction) for answer in watchful.read_prints(films, refuse=False)] == [True] * 4
    for film, answer in zip(films[1::2], answers[1::2], strict=True):
        assert by_label(answer) == pytest.approx(by_label(watchful.read_print(film)), abs=1e-5)
    assert all(isinstance(answer, NotAssessable) for answer in watchful.read_prints(films[::2]))


def by_label(prediction):
    return {finding.label: finding.probability for finding in prediction.findings}


def test_the_probabilities_are_the_models_own_at_the_bundles_temperature(reader, bundle, planes):
    logits = logits_of(bundle, planes.values()).mean(0)
    found = probabilities_of(reader, planes.values())
    np.testing.assert_allclose(found.sum(1), 1.0, atol=1e-6)
    np.testing.assert_allclose(found, tf.nn.softmax(logits / bundle.manifest.calibration.temperature), atol=1e-4)


def test_the_spread_is_the_deviation_over_dropout_and_is_there(reader, planes):
    findings = [finding for plane in planes.values() for finding in reader.read(plane).findings]
    assert all(0 < finding.spread < 0.5 for finding in findings)


def test_the_formula_of_the_head_has_the_gradient_that_tensorflow_finds(bundle, planes):
    model = load_models(bundle)[0]
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


@pytest.mark.parametrize("bad", [-0.1, 1.1, 255.0])
def test_a_value_out_of_range_is_an_inference_error(reader, bad):
    plane = np.full((300, 200), 0.5, np.float32)
    plane[10, 10] = bad
    with pytest.raises(InferenceError, match=r"\[0, 1\]"):
        reader.read(plane)


@pytest.mark.parametrize("shape", [(0, 10), (20, 20, 3), (20,)])
def test_a_plane_that_is_no_plane_is_an_inference_error(reader, shape):
    with pytest.raises(InferenceError, match="two-dimensional"):
        reader.read(np.zeros(shape, np.float32))


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
    path = tmp_path / bundle.manifest.members[0].file
    path.parent.mkdir(exist_ok=True)
    small.save_weights(path)
    with pytest.raises(BundleError, match="does not fit"):
        load_models(replace(bundle, folder=tmp_path))


@pytest.fixture(scope="module")
def weights(bundle):
    return (SHIPPED / bundle.manifest.members[0].file).read_bytes()


@pytest.fixture(scope="module")
def pair(tmp_path_factory, weights):
    """Two members of one weights, the second of which works on a coarser grid."""
    members = [(weights, {"working_px": size}) for size in (None, 160)]
    return variant(tmp_path_factory.mktemp("pair") / "bundle", members)


@pytest.mark.slow
def test_the_logit_of_an_ensemble_is_the_mean_of_its_members_whatever_their_grids(pair, planes):
    reader, films = Reader(pair, "cpu"), list(planes.values())[:3]
    logits = logits_of(pair, films)
    assert np.abs(logits[0] - logits[1]).max() > 0.1
    expected = tf.nn.softmax(logits.mean(0) / pair.manifest.calibration.temperature)
    np.testing.assert_allclose(probabilities_of(reader, films), expected, atol=1e-4)
    assert reader.read(films[0]).heat_map.shape == (7, 7)


@pytest.mark.slow
def test_members_of_one_architecture_keep_each_its_own_weights_also_those_that_their_layers_copy(
    bundle, planes, weights, tmp_path
):
    """Keras's Normalization computes with copies of its weights, which are not its variables."""
    model = load_models(bundle)[0]
    (layer,) = (each for each in model.get_layer(network.BACKBONE).layers if isinstance(each, Normalization))
    for variable in layer.weights[:2]:
        variable.assign(variable * 1.5)
    path = tmp_path / "other.weights.h5"
    model.save_weights(path)
    both = variant(tmp_path / "bundle", [(path.read_bytes(), {}), (weights, {})])
    films = list(planes.values())[:3]
    logits = logits_of(both, films)
    assert np.abs(logits[0] - logits[1]).max() > 0.1
    expected = tf.nn.softmax(logits.mean(0) / both.manifest.calibration.temperature)
    np.testing.assert_allclose(probabilities_of(Reader(both, "cpu"), films), expected, atol=1e-4)


@pytest.mark.slow
def test_two_members_of_equal_weights_are_one_network(tmp_path, weights, bundle, planes):
    once, twice = (variant(tmp_path / str(count), [(weights, {})] * count) for count in (1, 2))
    single, double = Reader(once, "cpu"), Reader(twice, "cpu")
    # The film on which dropout decides most: near 0 and 1 probabilities hardly move, whatever the logits do.
    plane = max(planes.values(), key=lambda plane: sum(finding.spread for finding in single.read(plane).findings))
    one, two = single.read(plane), double.read(plane)
    for label in bundle.label_names:
        assert two.of(label).probability == pytest.approx(one.of(label).probability, abs=1e-5)
    # Half the variance: the members drop out apart.
    spreads = [sum(finding.spread for finding in said.findings) for said in (one, two)]
    assert 0 < spreads[1] < spreads[0]
    np.testing.assert_allclose(two.heat_map, one.heat_map, atol=1e-4)


@pytest.fixture(scope="module")
def watchful(tmp_path_factory, bundle, planes):
    """A reader with a film check, and the golden films themselves as its training films."""
    files = {bundles.NEIGHBORS: bank_bytes(features_of(bundle, [*planes.values()])), bundles.FILM_CHECK: film_check()}
    settings = {"neighbors": 2, "cut_off": 0.5}
    return Reader(variant(tmp_path_factory.mktemp("watchful") / "bundle", files=files, likeness=settings), "cpu")


@pytest.mark.slow
def test_a_film_like_the_training_films_is_read_without_a_warning(watchful, planes):
    for plane in planes.values():
        prediction = watchful.read(plane)
        assert prediction.warnings == () and prediction.likeness > 0.5 and prediction.reliable


@pytest.mark.slow
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_film_that_is_turned_is_read_with_a_warning_and_never_called_not_flagged(watchful, planes, turns):
    for plane in planes.values():
        prediction = watchful.read(np.ascontiguousarray(np.rot90(plane, turns)))
        assert prediction.warnings[0] is FilmWarning.LOOKS_TURNED
        assert not prediction.reliable and prediction.triage is not Triage.NOT_FLAGGED
        assert Prediction.from_json(prediction.to_json()).warnings == prediction.warnings


@pytest.mark.slow
def test_a_film_that_is_inverted_is_read_with_a_warning_and_never_called_not_flagged(watchful, planes):
    for plane in planes.values():
        prediction = watchful.read(1 - plane)
        assert prediction.warnings[0] is FilmWarning.LOOKS_INVERTED
        assert not prediction.reliable and prediction.triage is not Triage.NOT_FLAGGED


@pytest.mark.slow
def test_a_film_with_a_large_empty_border_is_read_with_a_warning(watchful, planes):
    plane = next(iter(planes.values()))
    rows, columns = (side // 3 for side in plane.shape)
    prediction = watchful.read(np.pad(plane, ((rows, rows), (columns, columns))))
    assert FilmWarning.LOOKS_COLLIMATED in prediction.warnings and prediction.reliable


@pytest.mark.slow
def test_what_is_no_chest_film_is_refused_unless_an_answer_is_wanted_all_the_same(watchful):
    noise = np.random.default_rng(0).random((300, 300), np.float32)
    with pytest.raises(NotAssessable) as refusal:
        watchful.read(noise)
    assert refusal.value.reason is Reason.NOT_A_CHEST_FILM
    prediction = watchful.read(noise, refuse=False)
    assert sum(finding.probability for finding in prediction.findings) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.slow
def test_a_picture_unlike_the_training_films_is_read_with_a_warning(watchful):
    letters = np.zeros((300, 300), np.float32)
    letters[20:280:12, 30:270] = np.random.default_rng(2).integers(0, 2, 240).astype(np.float32)
    prediction = watchful.read(letters, refuse=False)
    assert FilmWarning.UNLIKE_TRAINING in prediction.warnings
    assert prediction.likeness < 0.5


@pytest.mark.slow
def test_a_golden_film_that_is_refused_does_not_pass(watchful, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8)
    cv2.imwrite(str(tmp_path / "noise.png"), noise)
    case = replace(watchful.bundle.golden[0], file="noise.png")
    (result,) = replay_golden(watchful, replace(watchful.bundle, folder=tmp_path, golden=(case,)))
    assert not result.passed and result.found == {}


def test_a_bundle_without_a_bank_measures_no_likeness(reader, planes, bundle):
    if bundle.neighbors is None:
        assert reader.read(next(iter(planes.values()))).likeness is None


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, None), (10, 7)])
def test_a_bank_that_does_not_fit_the_model_is_a_bundle_error(bundle, tmp_path, shape):
    films, features = shape
    needed = 1280 * len(bundle.manifest.members)
    shape = films, features or needed
    files = {bundles.NEIGHBORS: bank_bytes(np.ones(shape, np.float32))}
    wrong = variant(tmp_path / "bundle", files=files, likeness={"neighbors": 2, "cut_off": 0.5})
    with pytest.raises(BundleError, match=f"at least 2 films of {needed} features"):
        Reader(wrong, "cpu")


def features_of(bundle, films):
    backbones = [network.feature_map(model) for model in load_models(bundle)]
    inputs = np.stack([model_input(plane, bundle.manifest.preprocessing) for plane in films])
    return np.concatenate([np.asarray(backbone(inputs, training=False)).mean((1, 2)) for backbone in backbones], 1)
