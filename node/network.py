"""The network: a keras.applications backbone under a head simple enough to be written as one formula.

``picture -> backbone -> feature map -> global average pooling -> BatchNormalization -> Dropout -> Dense -> logits``

In inference every step after the feature map is affine, and affine steps change places with the mean over locations. So a
logit is the sum over locations of a share that each location has in it, exactly; `Head` is that formula. It is Grad-CAM
without a backward pass: for this head the gradient of a logit at the feature map is ``Head.slope / (rows * columns)``.

A softmax leaves the logits of a film free by one constant. `Head` chooses it so that the first class, the normal one, has logit
0: the logit of another class is then its log odds against normal, and means something by itself, as does its map.

Several networks make an ensemble, whose logit is the mean of theirs. So its shares are the mean of theirs (`mean_shares`), and
whatever holds for the shares of one network holds for those of all.

References
----------
Selvaraju et al. 2017, Grad-CAM, arXiv:1610.02391, section 3.1: for a head of one layer Grad-CAM is CAM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from node.area import area_matrix
from node.bundle import Architecture

BACKBONE = "backbone"
_POOLING, _NORMALIZATION, _LOGITS = "head_pooling", "head_normalization", "head_logits"

Array = npt.NDArray[np.float32]


def build(architecture: Architecture) -> keras.Model:
    """Build the graph, with random weights; no file and no network is needed.

    Parameters
    ----------
    architecture : Architecture

    Returns
    -------
    keras.Model
        From (batch, rows, columns, 3) float32 in [0, 1] to (batch, classes) logits.
    """
    picture = keras.Input((architecture.rows, architecture.columns, 3), name="picture")
    x = _backbone(architecture)(backbone_input(picture, architecture))
    x = keras.layers.GlobalAveragePooling2D(name=_POOLING)(x)
    return keras.Model(picture, build_head(architecture, x), name="cxr_triage")


def backbone_input(picture: Any, architecture: Architecture) -> Any:
    """Return what the backbone takes of a picture: as large as it works on, from 0 to 255, for it scales by itself."""
    return keras.layers.Rescaling(255.0, name="to_255")(_reduced(picture, architecture.working_px))


def build_head(architecture: Architecture, pooled: Any) -> Any:
    """Lay the head on a tensor of pooled features, (batch, channels)."""
    x = keras.layers.BatchNormalization(momentum=0.9, name=_NORMALIZATION)(pooled)
    x = keras.layers.Dropout(architecture.dropout, name="head_dropout")(x)
    return keras.layers.Dense(architecture.classes, name=_LOGITS)(x)


def feature_map(model: keras.Model) -> keras.Model:
    """Return the part of a built model from the picture to the backbone's last feature map."""
    return keras.Model(model.input, model.get_layer(_POOLING).input, name="feature_map")


def mean_shares(shares: Sequence[Any]) -> Any:
    """Return the shares of an ensemble: the mean of its members', on the largest of their grids.

    Parameters
    ----------
    shares : sequence of tensors, (films, rows, columns, classes) float32
        One of each member; rows and columns may differ.

    Returns
    -------
    tensor, (films, rows, columns, classes) float32
        Of the Keras backend. Its sum over rows and columns is the mean of the members' logits.
    """
    rows, columns = (max(int(each.shape[axis]) for each in shares) for axis in (1, 2))
    total = sum(_spread_out(each, rows, columns) for each in shares)
    return total / float(len(shares))


def _spread_out(shares: Any, rows: int, columns: int) -> Any:
    """Lay shares out on a finer grid over the same film; their sum stays."""
    if shares.shape[1:3] == (rows, columns):
        return ops.convert_to_tensor(shares)
    down, across = area_matrix(rows, int(shares.shape[1])).T, area_matrix(columns, int(shares.shape[2])).T
    return _across(down, across, shares)


def _reduced(picture: Any, working_px: int | None) -> Any:
    """Reduce pictures to `working_px` rows and columns by the mean over area.

    Two matrix products, and no resize: TensorFlow's antialiased one has no GPU kernel, and each backend weighs pixels by rules
    of its own. A product is the same sum of the same pixels on every backend and device.
    """
    if working_px is None:
        return picture
    down, across = (area_matrix(int(picture.shape[axis]), working_px) for axis in (1, 2))
    return _across(down, across, picture)


def _across(down: Array, across: Array, cells: Any) -> Any:
    """Multiply rows by one matrix and columns by another; in two steps, for torch would take their outer product first."""
    return ops.einsum("sj,nrjk->nrsk", across, ops.einsum("ri,nijk->nrjk", down, cells))


def _backbone(architecture: Architecture) -> keras.Model:
    working = architecture.working_px
    shape = (working or architecture.rows, working or architecture.columns, 3)
    graph = getattr(keras.applications, architecture.backbone)(
        include_top=False, weights=None, input_shape=shape, name=BACKBONE
    )
    config = graph.get_config()
    for layer in config["layers"]:
        # The squeeze-and-excitation convolutions carry an activation of their own, which stays.
        if layer["class_name"] == "Activation":
            layer["config"]["activation"] = architecture.activation
    return keras.Model.from_config(config)


@dataclass(frozen=True)
class Head:
    """The head in inference: ``logits = ((pooled * scale) + offset) @ kernel + bias``, the first of which is always 0.

    Attributes
    ----------
    scale, offset : ndarray, (channels,) float32
        BatchNormalization.
    kernel : ndarray, (channels, classes) float32
    bias : ndarray, (classes,) float32
        Dense.
    """

    scale: Array
    offset: Array
    kernel: Array
    bias: Array

    @classmethod
    def of(cls, model: keras.Model) -> Head:
        """Read the head of a model that `build` or `build_head` made."""
        layer = model.get_layer(_NORMALIZATION)
        gamma, beta, mean, variance = layer.get_weights()
        scale = gamma / np.sqrt(variance + layer.epsilon)
        kernel, bias = model.get_layer(_LOGITS).get_weights()
        return cls(scale, beta - mean * scale, kernel - kernel[:, :1], bias - bias[0])

    @property
    def slope(self) -> Array:
        """Derivative of each logit by each pooled feature, (channels, classes)."""
        return self.scale[:, np.newaxis] * self.kernel

    @property
    def constant(self) -> Array:
        """Each logit where every pooled feature is 0, (classes,)."""
        constant: Array = self.offset @ self.kernel + self.bias
        return constant

    def logits(self, pooled: Array) -> Array:
        """Return the logits, (films, classes), of pooled features, (films, channels)."""
        logits: Array = pooled @ self.slope + self.constant
        return logits

    def shares(self, features: Array) -> Array:
        """Return each location's share in each logit.

        Parameters
        ----------
        features : ndarray, (films, rows, columns, channels) float32
            The backbone's last feature map.

        Returns
        -------
        ndarray, (films, rows, columns, classes) float32
            Signed; the sum over rows and columns is the logit.
        """
        shares: Array = (features @ self.slope + self.constant) / np.float32(features.shape[1] * features.shape[2])
        return shares


def evidence(shares: Array) -> Array:
    """Return what the shares come to, location by location: the heat map, before the bundle's scale.

    Only locations that speak for a class are kept, as Grad-CAM does, and all of them are reduced alike by what the others say
    against it: their sum is the logit. Where the log odds are against the class nothing is left, so that a film with nothing
    found has an empty map.

    Parameters
    ----------
    shares : ndarray, (..., rows, columns, classes) float32
        As `Head.shares` gives them.

    Returns
    -------
    ndarray, as `shares`, at least 0
        Its sum over rows and columns is the logit where that is positive, else 0.
    """
    speaking = np.maximum(shares, 0.0)
    total = speaking.sum((-3, -2), keepdims=True)
    logit = np.maximum(shares.sum((-3, -2), keepdims=True), 0.0)
    reduced: Array = speaking * np.divide(logit, total, out=np.zeros_like(total), where=total > 0)
    return reduced


def transfer_head(source: keras.Model, target: keras.Model) -> None:
    """Copy the head's weights from one model to another."""
    for name in (_NORMALIZATION, _LOGITS):
        target.get_layer(name).set_weights(source.get_layer(name).get_weights())
