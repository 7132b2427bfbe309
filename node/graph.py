"""The networks of a bundle as one compiled graph: model inputs in; probabilities, spread, shares and features out.

One pass of each backbone gives everything: the head is affine (`node.network.Head`), so the shares that make the heat map,
their sum which is the logit, and twenty draws of the head's dropout are three small matrix products on the same feature map.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras.layers import Normalization

from node import network
from node.bundle import Architecture, Bundle
from node.errors import BundleError, ConfigError, InferenceError
from node.folded import Folded

DRAWS = 20
_MASK_SEED = 0

Array = npt.NDArray[np.float32]


class Answers(NamedTuple):
    """What the networks say of a batch of films.

    Attributes
    ----------
    probabilities, spread : ndarray, (films, classes) float32
        Calibrated probabilities, and their standard deviation over head dropout.
    shares : ndarray, (films, rows, columns, classes) float32
        Each location's share in each logit.
    features : ndarray, (films, channels) float32
        Pooled features, those of the members side by side.
    """

    probabilities: Array
    spread: Array
    shares: Array
    features: Array


class Graph:
    """A bundle's networks on one device.

    Parameters
    ----------
    bundle : Bundle
    device : {"auto", "cpu", "gpu"}
        ``"auto"`` takes the GPU where there is one.

    Raises
    ------
    ConfigError
        Where a GPU is asked for and TensorFlow sees none.
    BundleError
        Where weights do not fit their architecture.
    """

    def __init__(self, bundle: Bundle, device: str = "auto") -> None:
        self.device = _device(device, len(bundle.manifest.members))
        with tf.device(f"/{self.device.upper()}:0"):
            self._run = _compiled(bundle)

    def __call__(self, batch: Array) -> Answers:
        """Read model inputs, (films, rows, columns) float32 in [0, 1]: the networks get them in three equal channels.

        Raises
        ------
        InferenceError
            Where an answer is not finite.
        """
        answers = Answers(*(np.asarray(answer) for answer in self._run(tf.constant(batch, tf.float32))))
        if not all(np.isfinite(answer).all() for answer in answers):
            raise InferenceError("the model's answer is not finite; the study is parked")
        return answers


def load_models(bundle: Bundle) -> list[Any]:
    """Build the bundle's networks and fill them with its weights, which may be in half precision.

    Raises
    ------
    BundleError
        Where weights do not fit their architecture.
    """
    models = []
    for member in bundle.manifest.members:
        model = network.build(member.architecture)
        _fill(model, bundle.folder / member.file)
        models.append(model)
    return models


def _fill(model: Any, path: Path) -> None:
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"{path}: does not fit the architecture; export the bundle again: {error}") from error


def _device(wanted: str, networks: int) -> str:
    gpus = tf.config.list_physical_devices("GPU")
    if wanted == "gpu" and not gpus:
        raise ConfigError(
            "model.device is gpu, but TensorFlow sees none: install the gpu extra and driver, or choose auto"
        )
    if wanted == "cpu" or not gpus:
        _claim_threads(networks)
        return "cpu"
    # TF32 would round a convolution's input to 10 bits: golden cases would differ between devices.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    return "gpu"


def _claim_threads(networks: int) -> None:
    """Give each network a thread, as far as this process may use so many at once.

    Two threads within one operation cost 26 ms of CPU a film where one costs 13: the operations of so small a network are
    over before a second thread has begun. So the networks run side by side, and each by itself.
    """
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(min(networks, len(os.sched_getaffinity(0))))
    except RuntimeError:
        # TensorFlow runs already in this process: its pools are what they are.
        return


def _compiled(bundle: Bundle) -> Callable[[Any], list[Any]]:
    """Return the graph from (films, rows, columns) to `Answers`, its weights as constants.

    TensorFlow works out beforehand whatever depends on constants alone: 20 ms of CPU time a film in place of 27.
    """
    heads, backbones = parts(bundle)
    dropout = [member.architecture.dropout for member in bundle.manifest.members]
    return compiled(bundle, _answers(heads, backbones, dropout, bundle.manifest.calibration.temperature))


def compiled(bundle: Bundle, function: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    """Trace a function of a batch of the bundle's model inputs, (films, rows, columns) float32."""
    spec = bundle.manifest.preprocessing
    signature = tf.TensorSpec((None, spec.rows, spec.columns), tf.float32)
    graph: Callable[[Any], list[Any]] = tf.function(function, input_signature=[signature]).get_concrete_function()
    return graph


def parts(bundle: Bundle) -> tuple[list[network.Head], list[Callable[[Any], Any]]]:
    """Return head and backbone of each of a bundle's networks; a backbone takes model inputs to a feature map, in a graph.

    Raises
    ------
    BundleError
        Where weights do not fit their architecture.
    """
    members = bundle.manifest.members
    # Building takes a second: networks of one architecture are one model, which is filled with each one's weights in turn.
    built = {architecture: network.build(architecture) for architecture in {each.architecture for each in members}}
    folded = {architecture: Folded(model.get_layer(network.BACKBONE)) for architecture, model in built.items()}
    heads, backbones = [], []
    for member in members:
        model = built[member.architecture]
        _fill(model, bundle.folder / member.file)
        heads.append(network.Head.of(model))
        backbones.append(_frozen(folded[member.architecture], member.architecture))
    return heads, backbones


def _frozen(folded: Folded, architecture: Architecture) -> Callable[[Any], Any]:
    """Return a backbone with the weights that it has now, as constants of the graph that it is traced into."""
    values = folded.values()
    normalizations = [each for each in folded.model.layers if isinstance(each, Normalization)]

    def maps(pictures: Any) -> Any:
        constants = [(variable, tf.constant(value)) for variable, value in values]
        with keras.StatelessScope(state_mapping=constants):
            for layer in normalizations:
                layer.finalize_state()  # it computes with copies of its weights that only this call renews
            # In one channel until here: three would be made smaller alike (2 ms, TensorFlow's profiler).
            gray = network.backbone_input(pictures[..., tf.newaxis], architecture)
            return folded.model(tf.repeat(gray, 3, axis=-1), training=False)

    return maps


def _answers(
    heads: Sequence[network.Head],
    backbones: Sequence[Callable[[Any], Any]],
    dropout: Sequence[float],
    temperature: float,
) -> Callable[[Any], tuple[Any, ...]]:
    kernels = [_dropped_kernels(head, rate, seed) for seed, (head, rate) in enumerate(zip(heads, dropout, strict=True))]

    def answers(pictures: Any) -> tuple[Any, ...]:
        maps = [backbone(pictures) for backbone in backbones]
        pooled = [tf.reduce_mean(features, (1, 2)) for features in maps]
        shares = network.mean_shares([_shares(*pair) for pair in zip(heads, maps, strict=True)])
        logits = tf.reduce_sum(shares, (1, 2))
        draws = tf.add_n([_draws(*each) for each in zip(heads, pooled, kernels, strict=True)]) / len(heads)
        probabilities, spread = (
            tf.nn.softmax(logits / temperature),
            tf.math.reduce_std(tf.nn.softmax(draws / temperature), 1),
        )
        return probabilities, spread, shares, tf.concat(pooled, 1)

    return answers


def _shares(head: network.Head, features: Any) -> Any:
    """Return what `Head.shares` does, as part of the graph."""
    return (tf.tensordot(features, head.slope, 1) + head.constant) / float(features.shape[1] * features.shape[2])


def _draws(head: network.Head, pooled: Any, kernels: Array) -> Any:
    """Return the logits under each draw of the head's dropout, (films, draws, classes).

    One product for each film: as one for all of them it would round by how many they are.
    """
    dropped = tf.matmul((pooled * head.scale + head.offset)[:, tf.newaxis], kernels)
    return tf.reshape(dropped, (-1, DRAWS, len(head.bias))) + head.bias


def _dropped_kernels(head: network.Head, rate: float, member: int) -> Array:
    """Return the head's kernel under each of the draws, (channels, draws * classes).

    The masks are fixed, so that equal input gives equal spread. Their spread finds errors no better than 1 - the highest
    probability does; it is offered, not relied upon.
    """
    keep = np.random.default_rng(_MASK_SEED + member).random((DRAWS, len(head.scale))) >= rate
    kernels = keep[..., np.newaxis] * head.kernel / (1.0 - rate)
    return kernels.transpose(1, 0, 2).reshape(len(head.scale), -1).astype(np.float32)
