"""A backbone as it is run: the layers that only scale, shift or frame belong to the convolution beside them.

In inference a BatchNormalization is a factor and an addend of each channel, which a convolution's kernel and bias can hold. And where
keras.applications frames a picture with zeros before a convolution with stride, TensorFlow's own padding puts the same ones. And a
convolution of pictures of one pixel, of which squeeze-and-excitation has two in each block, is a product with a matrix. What that
saves, with oneDNN's kernels and without, is in docs/performance.md.

References
----------
Jacob et al. 2018, arXiv:1712.05877, section 3.2 (batch normalization folding).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops
from keras.layers import BatchNormalization, Conv2D, Dense, DepthwiseConv2D, ZeroPadding2D

Array = npt.NDArray[np.float32]


class Folded:
    """A backbone with fewer layers and the same answers, but for rounding.

    Parameters
    ----------
    backbone : keras.Model
        Built; its weights are looked at by `values`, so that it may be filled with others in between.

    Attributes
    ----------
    model : keras.Model
        Its weights mean nothing until they are set.
    """

    def __init__(self, backbone: keras.Model) -> None:
        self._backbone = backbone
        makers = {layer.name: _makers(layer) for layer in backbone.layers}
        asked = Counter(maker.name for each in makers.values() for maker in each)
        self._normalization = {
            maker.name: layer
            for layer in backbone.layers
            for maker in makers[layer.name]
            if isinstance(layer, BatchNormalization) and asked[maker.name] == 1 and _is_plain(maker)
        }
        self._padding = {
            layer.name: maker
            for layer in backbone.layers
            for maker in makers[layer.name]
            if isinstance(maker, ZeroPadding2D) and asked[maker.name] == 1 and _is_framed_the_same(layer, maker)
        }
        self._of_one_place = {layer.name for layer in backbone.layers if _is_of_one_place(layer)}
        self._gone = {layer.name for layer in (*self._normalization.values(), *self._padding.values())}
        self.model = keras.models.clone_model(backbone, clone_function=self._cloned, call_function=self._called)

    def _cloned(self, layer: Any) -> Any:
        config = layer.get_config()
        if layer.name in self._normalization:
            config["use_bias"] = True
        if layer.name in self._padding:
            config["padding"] = "same"
        if layer.name in self._of_one_place:
            return Dense(config["filters"], config["activation"], config["use_bias"], name=layer.name)
        return type(layer).from_config(config)

    def _called(self, layer: Any, *given: Any, **how: Any) -> Any:
        if layer.name in self._gone:
            return given[0]
        if layer.name in self._of_one_place:
            (place,) = given
            return ops.reshape(layer(ops.reshape(place, (-1, place.shape[-1]))), (-1, 1, 1, layer.units))
        return layer(*given, **how)

    def values(self) -> list[tuple[Any, Array]]:
        """Return each variable of `model` with the value that the backbone's weights give it now."""
        values: list[tuple[Any, Array]] = []
        for layer in (each for each in self.model.layers if each.weights):
            weights = self._backbone.get_layer(layer.name).get_weights()
            if layer.name in self._normalization:
                weights = _folded(layer, weights, self._normalization[layer.name])
            values += [
                (variable, value.reshape(variable.shape))
                for variable, value in zip(layer.weights, weights, strict=True)
            ]
        return values


def _makers(layer: Any) -> list[Any]:
    """Return the layers that make what a layer takes."""
    return [tensor._keras_history.operation for tensor in keras.tree.flatten(layer.input)]


def _is_plain(layer: Any) -> bool:
    """Tell whether a layer is a convolution and nothing after it."""
    return isinstance(layer, Conv2D | DepthwiseConv2D) and layer.activation is keras.activations.linear


def _is_of_one_place(layer: Any) -> bool:
    """Tell whether a layer is a convolution of pictures of one pixel, which is a product with a matrix."""
    return isinstance(layer, Conv2D) and layer.groups == 1 and layer.kernel_size == layer.input.shape[1:3] == (1, 1)


def _is_framed_the_same(convolution: Any, padding: Any) -> bool:
    """Tell whether TensorFlow's SAME puts the zeros that a layer of padding puts.

    References
    ----------
    TensorFlow, ``tf.nn``, "Notes on padding".
    """
    if not isinstance(convolution, Conv2D | DepthwiseConv2D) or convolution.padding != "valid":
        return False
    sizes = padding.input.shape[1:3]
    pairs = zip(sizes, convolution.kernel_size, convolution.strides, strict=True)
    wanted = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size, kernel, stride in pairs]
    return tuple(padding.padding) == tuple((total // 2, total - total // 2) for total in wanted)


def _folded(convolution: Any, weights: list[Array], normalization: Any) -> list[Array]:
    """Return kernel and bias of a convolution that normalizes what it gives."""
    parts = {variable.name: np.asarray(variable, np.float64) for variable in normalization.variables}
    factor = parts.get("gamma", 1.0) / np.sqrt(parts["moving_variance"] + normalization.epsilon)
    kernel, *bias = weights
    shift = parts.get("beta", 0.0) + ((bias[0] if bias else 0.0) - parts["moving_mean"]) * factor
    # The last axes of a depthwise kernel are channels and multiples of each, of another one what goes in and its filters.
    spread = factor.reshape(kernel.shape[2:]) if isinstance(convolution, DepthwiseConv2D) else factor
    return [(kernel * spread).astype(np.float32), shift.astype(np.float32)]
