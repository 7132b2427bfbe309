"""The weights the backbone starts from."""

from __future__ import annotations

import keras
import numpy as np
from keras.src.applications.efficientnet import IMAGENET_STDDEV_RGB

from node import network
from node.errors import ConfigError
from training.recipe import Member, Recipe


def starting_model(recipe: Recipe, member: Member) -> keras.Model:
    """Build a member's network with the recipe's starting weights in the backbone.

    Raises
    ------
    ConfigError
        Where the weights cannot be had, or fit another network.
    """
    keras.utils.set_random_seed(member.seed)
    model = network.build(recipe.architecture(member))
    _fill(model.get_layer(network.BACKBONE), recipe.backbone.weights, member.graph)
    return model


def _fill(backbone: keras.Model, weights: str, graph: str) -> None:
    if weights == "none":
        return
    try:
        if weights == "imagenet":
            backbone.set_weights(_imagenet(graph, backbone.input_shape[1:]))
            # The layer computes with copies of its weights that only this call renews.
            next(layer for layer in backbone.layers if isinstance(layer, keras.layers.Normalization)).finalize_state()
        else:
            backbone.load_weights(weights)
    except (OSError, ValueError) as error:
        raise ConfigError(f"backbone.weights: {weights} cannot be used: {error}") from error


def _imagenet(graph: str, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Return Keras's ImageNet weights for the graph without them.

    With ``weights="imagenet"`` Keras adds a division by sqrt(standard deviation) after the normalization layer, which the
    graph we keep does not have; the layer's variance takes it in.
    """
    application = getattr(keras.applications, graph)
    values = application(include_top=False, weights="imagenet", input_shape=shape).get_weights()
    mean, variance, *rest = values
    return [mean, variance * np.asarray(IMAGENET_STDDEV_RGB, np.float32), *rest]
