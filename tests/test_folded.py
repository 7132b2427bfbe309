"""A backbone as it is run gives what it gave, by fewer layers."""

import keras
import numpy as np
import pytest
from keras import layers

from node import network
from node.bundle import Architecture
from node.folded import Folded

pytestmark = pytest.mark.slow

SIDE = 20


def random_weights(model: keras.Model, seed: int = 0) -> keras.Model:
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        # Variances are positive, and without a factor a signal dies out on its way.
        low, high = (0.5, 1.5) if variable.name in ("moving_variance", "gamma") else (-0.4, 0.5)
        variable.assign(rng.uniform(low, high, variable.shape))
    return model


def answers(folded: Folded, pictures: np.ndarray) -> np.ndarray:
    for variable, value in folded.values():
        variable.assign(value)
    return np.asarray(folded.model(pictures, training=False))


def kinds(model: keras.Model) -> set[type]:
    return {type(layer) for layer in model.layers}


def pictures(side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(1).random((2, side, side, 3), np.float32)


def small(*steps: layers.Layer) -> keras.Model:
    x = picture = keras.Input((SIDE, SIDE, 3))
    for step in steps:
        x = step(x)
    return random_weights(keras.Model(picture, x))


@pytest.mark.parametrize("side", [SIDE, SIDE + 1], ids=["even", "odd"])
@pytest.mark.parametrize("kernel", [3, 5])
def test_a_normalized_convolution_with_a_frame_becomes_one_layer(kernel: int, side: int) -> None:
    picture = keras.Input((side, side, 3))
    frame = keras.src.applications.imagenet_utils.correct_pad(picture, kernel)
    x = layers.DepthwiseConv2D(kernel, 2, "valid", use_bias=False)(layers.ZeroPadding2D(frame)(picture))
    model = random_weights(keras.Model(picture, layers.BatchNormalization()(x)))
    folded = Folded(model)
    assert kinds(folded.model) == {layers.InputLayer, layers.DepthwiseConv2D}
    given = pictures(side)
    np.testing.assert_allclose(answers(folded, given), model(given, training=False), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "steps",
    [
        (layers.Conv2D(4, 3, use_bias=False), layers.BatchNormalization()),
        (layers.Conv2D(4, 3), layers.BatchNormalization(scale=False)),
        (layers.Conv2D(4, 3, groups=1, strides=2, padding="same"), layers.BatchNormalization(center=False)),
        (layers.DepthwiseConv2D(3, depth_multiplier=2), layers.BatchNormalization()),
    ],
    ids=["without a bias", "with a bias and no factor", "with no addend", "of several channels each"],
)
def test_a_convolution_takes_its_normalization_over(steps: tuple[layers.Layer, ...]) -> None:
    model = small(*steps)
    folded = Folded(model)
    assert layers.BatchNormalization not in kinds(folded.model)
    np.testing.assert_allclose(answers(folded, pictures()), model(pictures(), training=False), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("steps", "left"),
    [
        ((layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization()), layers.BatchNormalization),
        ((layers.Conv2D(4, 3), layers.ReLU(), layers.BatchNormalization()), layers.BatchNormalization),
        ((layers.ZeroPadding2D(2), layers.Conv2D(4, 3, strides=2)), layers.ZeroPadding2D),
        ((layers.ZeroPadding2D(1), layers.Conv2D(4, 3, strides=2, padding="same")), layers.ZeroPadding2D),
        ((layers.ZeroPadding2D(1), layers.MaxPooling2D(3)), layers.ZeroPadding2D),
    ],
    ids=["after an activation of its own", "after another", "another frame", "a second frame", "of no convolution"],
)
def test_what_a_convolution_cannot_take_over_stays(steps: tuple[layers.Layer, ...], left: type) -> None:
    model = small(*steps)
    folded = Folded(model)
    assert left in kinds(folded.model)
    np.testing.assert_allclose(answers(folded, pictures()), model(pictures(), training=False), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("pooled", "becomes"), [(SIDE, layers.Dense), (SIDE // 2, layers.Conv2D)], ids=["one", "four"])
def test_a_convolution_of_one_place_becomes_a_product_with_a_matrix(pooled: int, becomes: type) -> None:
    bare = layers.Conv2D(6, 1, activation="sigmoid", use_bias=False)
    steps = layers.Conv2D(4, 1, activation="relu"), bare, layers.Conv2D(5, 1, use_bias=False)
    model = small(layers.AveragePooling2D(pooled), *steps, layers.BatchNormalization())
    folded = Folded(model)
    assert kinds(folded.model) == {layers.InputLayer, layers.AveragePooling2D, becomes}
    np.testing.assert_allclose(answers(folded, pictures()), model(pictures(), training=False), rtol=1e-5, atol=1e-5)


def test_a_convolution_that_others_ask_as_well_is_left_as_it_is() -> None:
    picture = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(4, 3)(picture)
    model = random_weights(keras.Model(picture, layers.Add()([x, layers.BatchNormalization()(x)])))
    folded = Folded(model)
    assert layers.BatchNormalization in kinds(folded.model)
    np.testing.assert_allclose(answers(folded, pictures()), model(pictures(), training=False), rtol=1e-5, atol=1e-5)


def test_no_normalization_and_no_frame_is_left_of_the_backbone_and_it_may_be_filled_anew() -> None:
    built = network.build(Architecture("EfficientNetB0", "relu6", 64, 64, 3, 0.3, None))
    backbone = built.get_layer(network.BACKBONE)
    folded, given = Folded(backbone), 255 * pictures(64)
    assert kinds(folded.model).isdisjoint({layers.BatchNormalization, layers.ZeroPadding2D})
    for seed in (1, 2):
        random_weights(backbone, seed)
        expected = np.asarray(backbone(given, training=False))
        assert np.ptp(expected) > 0
        np.testing.assert_allclose(answers(folded, given), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
