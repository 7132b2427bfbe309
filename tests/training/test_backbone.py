"""Starting weights reach the graph that the bundle keeps, unchanged in what they compute."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras.src.applications import efficientnet

from node import network
from node.errors import ConfigError
from training import recipe as recipes
from training.backbone import starting_model
from training.recipe import Member

SHIPPED = Path(__file__).resolve().parents[2] / "config" / "training.yaml"
LITE0 = (
    Path(__file__).resolve().parents[3]
    / "shared/data/weights/efficientnetb0-graph-lite0-imagenet-relu6-notop.weights.h5"
)

WHOLE = Member(seed=1)

pytestmark = pytest.mark.slow


def recipe(weights, activation):
    return recipes.load(SHIPPED, weights=str(weights), activation=activation)


@pytest.fixture
def picture():
    return np.random.default_rng(0).random((1, 224, 224, 3), dtype=np.float32)


def test_keras_imagenet_weights_give_the_features_of_keras_own_graph(tmp_path, monkeypatch, picture):
    # Keras fetches its file from the net; any file of that graph shows whether its extra layer is accounted for.
    keras.utils.set_random_seed(3)
    original = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(224, 224, 3))
    normalization = original.layers[2]
    normalization.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]) ** 2, np.array(0)])
    file = tmp_path / "any.weights.h5"
    original.save_weights(file)
    monkeypatch.setattr(efficientnet.file_utils, "get_file", lambda *_, **__: str(file))
    theirs = keras.applications.EfficientNetB0(include_top=False, weights="imagenet", input_shape=(224, 224, 3))
    ours = network.feature_map(starting_model(recipe("imagenet", "swish"), WHOLE))
    expected = np.asarray(theirs(picture * 255.0, training=False))
    close = {"rtol": 1e-3, "atol": 1e-3 * float(np.abs(expected).max())}
    np.testing.assert_allclose(ours(picture, training=False), expected, **close)
    assert not np.allclose(original(picture * 255.0, training=False), expected, **close)


@pytest.mark.skipif(not LITE0.exists(), reason="shared/data/weights is not on this machine")
def test_a_weights_file_is_loaded_and_needs_its_own_activation(picture):
    features = {
        a: np.asarray(network.feature_map(starting_model(recipe(LITE0, a), WHOLE))(picture)) for a in ("relu6", "swish")
    }
    # relu6 leaves nothing below 0 and nothing above 6.
    assert features["relu6"].min() >= 0 and features["relu6"].max() <= 6
    assert features["swish"].min() < 0


def test_random_weights_are_the_same_for_one_seed_only():
    random = recipe("none", "relu6")
    kernels = [
        starting_model(random, Member(seed=seed)).get_layer(network.BACKBONE).get_layer("stem_conv").get_weights()[0]
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])


def test_weights_that_cannot_be_had_are_a_configuration_error(tmp_path):
    (tmp_path / "other.weights.h5").write_bytes(b"no weights")
    for name in ("absent.weights.h5", "other.weights.h5"):
        with pytest.raises(ConfigError, match=name):
            starting_model(recipe(tmp_path / name, "relu6"), WHOLE)
