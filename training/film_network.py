"""The small network of `node.film_check`, fitted with NumPy alone: one hidden layer, shared by the eight poses of a picture.

Of each picture one of nine things is true: one of its eight poses is an upright chest film, or none is. The network's logits
of the poses and 0 for none go through one softmax, so that it learns to tell the pose and the film at once. Turning or
inverting a film only reorders its poses, so films are shown upright alone.

References
----------
Kingma and Ba 2015, Adam, arXiv:1412.6980; Loshchilov and Hutter 2019, decoupled weight decay, arXiv:1711.05101.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node.film_check import FEATURES, POSES, Array, in_each_pose

# Tried on sources left out: 64 units did no better, and none (a linear map) let two to four times as many photographs through.
UNITS = 32
_EPOCHS, _BATCH, _RATE, _DECAY = 6, 128, 2e-3, 1e-2
_MOMENTS, _TINY = (0.9, 0.999), 1e-8


@dataclass
class Network:
    """Weights that map features, (..., FEATURES), to logits: rectified hidden units, then their weighted sum."""

    hidden_weights: Array
    hidden_bias: Array
    output_weights: Array
    output_bias: Array

    @classmethod
    def random(cls, rng: np.random.Generator) -> Network:
        """Return a network to start from."""
        hidden = rng.normal(0, FEATURES**-0.5, (FEATURES, UNITS)).astype(np.float32)
        output = rng.normal(0, UNITS**-0.5, UNITS).astype(np.float32)
        return cls(hidden, np.zeros(UNITS, np.float32), output, np.zeros((), np.float32))

    def gradients(self, poses: Array, is_film: npt.NDArray[np.bool_]) -> list[Array]:
        """Return the gradient of the mean cross-entropy, in the order of the attributes.

        Parameters
        ----------
        poses : ndarray, (pictures, 8, FEATURES) float32
        is_film : ndarray, (pictures,) bool
            Whether pose 0 is the right answer, or none.
        """
        flat = poses.reshape(-1, FEATURES)
        hidden = np.maximum(flat @ self.hidden_weights + self.hidden_bias, 0)
        logits = (hidden @ self.output_weights + self.output_bias).reshape(-1, POSES)
        error = _softmax_with_none(logits)
        error[is_film, 0] -= 1
        per_pose = error.ravel() / np.float32(len(poses))
        back = per_pose[:, np.newaxis] * self.output_weights * (hidden > 0)
        return [flat.T @ back, back.sum(0), hidden.T @ per_pose, per_pose.sum()]


def fit_network(features: Array, is_film: npt.NDArray[np.bool_], seed: int) -> Network:
    """Fit a network by AdamW, its rate falling along a cosine.

    Parameters
    ----------
    features : ndarray, (pictures, FEATURES) float32
        Films upright, anything else as it is.
    is_film : ndarray, (pictures,) bool
    seed : int
        Equal input on one machine gives equal weights.
    """
    rng = np.random.default_rng(seed)
    network = Network.random(rng)
    weights = [network.hidden_weights, network.hidden_bias, network.output_weights, network.output_bias]
    moments = [(np.zeros_like(each), np.zeros_like(each)) for each in weights]
    steps, step = _EPOCHS * (len(features) // _BATCH), 0
    for _ in range(_EPOCHS):
        order = rng.permutation(len(features))
        for first in range(0, len(order) - _BATCH + 1, _BATCH):
            batch, step = order[first : first + _BATCH], step + 1
            gradients = network.gradients(in_each_pose(features[batch]), is_film[batch])
            rate = _RATE * (1 + np.cos(np.pi * step / steps)) / 2
            for weight, gradient, (mean, square) in zip(weights, gradients, moments, strict=True):
                _step(weight, gradient, mean, square, rate, step)
    return network


def _softmax_with_none(logits: Array) -> Array:
    """Return the probabilities of the poses, beside a ninth answer of logit 0 that is left out of the result."""
    top = np.maximum(logits.max(1, keepdims=True), 0)
    raised = np.exp(logits - top)
    probabilities: Array = raised / (raised.sum(1, keepdims=True) + np.exp(-top))
    return probabilities


def _step(weight: Array, gradient: Array, mean: Array, square: Array, rate: float, step: int) -> None:
    """Move a weight in place; matrices decay."""
    first, second = _MOMENTS
    mean += (1 - first) * (gradient - mean)
    square += (1 - second) * (gradient**2 - square)
    change = (mean / (1 - first**step)) / (np.sqrt(square / (1 - second**step)) + _TINY)
    weight -= rate * (change + (_DECAY * weight if weight.ndim > 1 else 0))
