"""The model as most would run it: Keras ``predict``, and Grad-CAM by an eager GradientTape; with the weights of the bundle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from node.bundle import Bundle
from node.graph import compiled, load_models, parts

Array = npt.NDArray[np.float32]


class KerasModel:
    """The networks of a bundle, each asked by itself.

    Parameters
    ----------
    bundle : Bundle
    """

    def __init__(self, bundle: Bundle) -> None:
        self._models = load_models(bundle)
        self._temperature = bundle.manifest.calibration.temperature
        self._with_map = [
            keras.Model(model.input, [model.get_layer("head_pooling").input, model.output]) for model in self._models
        ]

    def predict(self, batch: Array) -> Array:
        """Return calibrated probabilities, (films, classes), of model inputs, (films, rows, columns, 3)."""
        logits = np.mean([model.predict(batch, verbose=0) for model in self._models], axis=0)
        probabilities: Array = keras.ops.convert_to_numpy(keras.ops.softmax(logits / self._temperature))
        return probabilities

    def grad_cam(self, batch: Array, label: int) -> Array:
        """Return the map of a class for one film, (rows, columns) in [0, 1], its own maximum being 1."""
        heat = np.mean([_grad_cam(model, batch, label) for model in self._with_map], axis=0)
        scaled: Array = heat / max(float(heat.max()), 1e-9)
        return scaled


def _grad_cam(model: Any, batch: Array, label: int) -> Array:
    with tf.GradientTape() as tape:
        features, logits = model(batch, training=False)
        # As the node has it: the log odds against the first class, the normal one.
        score = logits[:, label] - logits[:, 0]
    weights = tf.reduce_mean(tape.gradient(score, features), axis=(1, 2))
    heat: Array = tf.nn.relu(tf.einsum("nrcf,nf->nrc", features, weights))[0].numpy()
    return heat


def forward_only(bundle: Bundle) -> Callable[[Any], Any]:
    """Return the bundle's probabilities and nothing else, from the same networks, compiled as `node.graph` compiles them.

    Returns
    -------
    callable
        From (films, rows, columns) float32 to a list of one tensor, (films, classes).
    """
    heads, backbones = parts(bundle)

    def probabilities(films: Any) -> Any:
        pooled = [tf.reduce_mean(backbone(films), (1, 2)) for backbone in backbones]
        logits = tf.add_n([head.logits(each) for head, each in zip(heads, pooled, strict=True)]) / len(heads)
        return (tf.nn.softmax(logits / bundle.manifest.calibration.temperature),)

    return compiled(bundle, probabilities)
