"""From model input to calibrated prediction, spread, heat map and triage, in one compiled graph.

One pass of the backbone gives everything: the head is affine (`node.network.Head`), so the shares that make the heat map, their
sum which is the logit, and twenty draws of the head's dropout are three small matrix products on the same feature map.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from node import network
from node.bundle import Bundle, Rule
from node.errors import BundleError, ConfigError, InferenceError
from node.pixels import Plane, model_input, read_picture
from node.study import Finding, Prediction, Triage

DRAWS = 20
_MASK_SEED = 0

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class GoldenResult:
    """One golden case replayed.

    Attributes
    ----------
    file : str
    expected, found : dict of str to float
        Probabilities by label.
    difference : float
        The largest absolute difference, of a probability or of the map's peak.
    passed : bool
        Whether it is within the case's tolerance.
    """

    file: str
    expected: dict[str, float]
    found: dict[str, float]
    difference: float
    passed: bool


class Reader:
    """A bundle's model, warm, on one device.

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
        Where the weights do not fit the architecture.

    Notes
    -----
    On one machine's CPU, equal input gives equal bytes, alone or among others: films are read one by one there, because
    oneDNN rounds otherwise in other batch sizes (1e-5 in a feature). On another machine expect equality to about 1e-5.
    """

    def __init__(self, bundle: Bundle, device: str = "auto") -> None:
        self.bundle = bundle
        self.device = _device(device)
        with tf.device(f"/{self.device.upper()}:0"):
            self._graph = _compiled(bundle)
        spec = bundle.manifest.preprocessing
        self._shape = (spec.rows, spec.columns, 3)
        self._run(np.zeros((1, *self._shape), np.float32))

    def read(self, plane: Plane) -> Prediction:
        """Read one film.

        Parameters
        ----------
        plane : ndarray, (rows, columns) float32 in [0, 1], 0 is black

        Returns
        -------
        Prediction

        Raises
        ------
        InferenceError
            Where the plane is no such array, or the model's answer is not finite.
        """
        if plane.ndim != 2 or not plane.size or not np.isfinite(plane).all():
            raise InferenceError("the plane is not a two-dimensional array of finite values; the study is parked")
        return self.read_batch([model_input(plane, self.bundle.manifest.preprocessing)])[0]

    def read_batch(self, inputs: Sequence[Plane]) -> list[Prediction]:
        """Read model inputs, each (rows, columns, 3) float32 in [0, 1].

        Raises
        ------
        InferenceError
            Where an input has another shape or range, or the model's answer is not finite.
        """
        for picture in inputs:
            self._check(picture)
        size = 1 if self.device == "cpu" else max(1, len(inputs))
        batches = [np.stack(inputs[first : first + size]) for first in range(0, len(inputs), size)]
        return [self._prediction(*row) for batch in batches for row in zip(*self._run(batch), strict=True)]

    def _check(self, picture: Plane) -> None:
        if picture.shape != self._shape:
            raise InferenceError(f"the model takes {self._shape}, not {picture.shape}; the study is parked")
        # NaN fails both comparisons.
        if not (picture.min() >= 0 and picture.max() <= 1):
            raise InferenceError("the model takes values in [0, 1]; the study is parked")

    def _run(self, batch: Array) -> list[Array]:
        answers = [np.asarray(answer) for answer in self._graph(tf.constant(batch, tf.float32))]
        if not all(np.isfinite(answer).all() for answer in answers):
            raise InferenceError("the model's answer is not finite; the study is parked")
        return answers

    def _prediction(self, probabilities: Array, spread: Array, shares: Array) -> Prediction:
        names, rules = self.bundle.label_names, self.bundle.rules
        findings = tuple(
            Finding(name, float(p), float(s), rules[name].cut_off if name in rules else None)
            for name, p, s in zip(names, probabilities, spread, strict=True)
        )
        by_label = {finding.label: finding.probability for finding in findings}
        answer, flagged = triage(by_label, rules)
        shown = flagged or max(rules, key=by_label.__getitem__)
        reference = self.bundle.manifest.heat_map.reference_share[shown]
        heat_map = np.clip(network.evidence(shares)[..., names.index(shown)] / np.float32(reference), 0.0, 1.0)
        return Prediction(findings, answer, flagged, shown, heat_map)


def triage(probabilities: Mapping[str, float], rules: Mapping[str, Rule]) -> tuple[Triage, str | None]:
    """Return the answer for one film, and the label it is about.

    A label at or above its cut-off is flagged: an urgent one before any other, then the most probable. With none flagged, a
    label in its band [uncertain_from, cut_off) makes the film uncertain.

    Parameters
    ----------
    probabilities : mapping of str to float
        Calibrated, by label.
    rules : mapping of str to Rule
        Of each abnormal label.
    """
    flagged = [rule for label, rule in rules.items() if probabilities[label] >= rule.cut_off]
    if flagged:
        first = max(flagged, key=lambda rule: (rule.urgent, probabilities[rule.label]))
        return (Triage.URGENT if first.urgent else Triage.FLAGGED), first.label
    uncertain = any(probabilities[label] >= rule.uncertain_from for label, rule in rules.items())
    return (Triage.UNCERTAIN if uncertain else Triage.NOT_FLAGGED), None


def replay_golden(reader: Reader, bundle: Bundle) -> list[GoldenResult]:
    """Read each golden film and compare with the answer it must get."""
    results = []
    for case in bundle.golden:
        prediction = reader.read(read_picture(bundle.folder / case.file))
        found = {finding.label: finding.probability for finding in prediction.findings}
        differences = [abs(found[label] - p) for label, p in case.probabilities.items()]
        differences.append(abs(float(prediction.heat_map.max()) - case.map_peak))
        same_label = prediction.map_label == case.map_label
        worst = max(differences)
        results.append(
            GoldenResult(case.file, case.probabilities, found, worst, same_label and worst <= case.tolerance)
        )
    return results


def load_model(bundle: Bundle) -> Any:
    """Build the bundle's network and fill it with the bundle's weights.

    Raises
    ------
    BundleError
        Where the weights do not fit the architecture.
    """
    model = network.build(bundle.manifest.architecture)
    try:
        model.load_weights(bundle.weights)
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(
            f"{bundle.weights}: does not fit the architecture; export the bundle again: {error}"
        ) from error
    return model


def _device(wanted: str) -> str:
    gpus = tf.config.list_physical_devices("GPU")
    if wanted == "gpu" and not gpus:
        raise ConfigError(
            "model.device is gpu, but TensorFlow sees none: install the gpu extra and driver, or choose auto"
        )
    if wanted == "cpu" or not gpus:
        _claim_threads()
        return "cpu"
    # TF32 would round a convolution's input to 10 bits: golden cases would differ between devices.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    return "gpu"


def _claim_threads() -> None:
    """Give the graph one pool of as many threads as this process may use, and no second pool beside it."""
    try:
        tf.config.threading.set_intra_op_parallelism_threads(len(os.sched_getaffinity(0)))
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        # TensorFlow runs already in this process: its pools are what they are.
        return


def _compiled(bundle: Bundle) -> Callable[[Any], list[Any]]:
    """Return the graph from (films, rows, columns, 3) to probabilities, spread and shares, its weights as constants.

    Constants let TensorFlow fold BatchNormalization into the convolutions: 20 ms of CPU time a film in place of 27.
    """
    model = load_model(bundle)
    spec = bundle.manifest.preprocessing
    signature = tf.TensorSpec((None, spec.rows, spec.columns, 3), tf.float32)
    function = tf.function(_answers(model, bundle), input_signature=[signature])
    frozen: Callable[[Any], list[Any]] = convert_variables_to_constants_v2(function.get_concrete_function())
    return frozen


def _answers(model: Any, bundle: Bundle) -> Callable[[Any], tuple[Any, Any, Any]]:
    head, features_of = network.Head.of(model), network.feature_map(model)
    temperature = np.float32(bundle.manifest.calibration.temperature)
    kernels = _dropped_kernels(head, bundle.manifest.architecture.dropout)

    def answers(pictures: Any) -> tuple[Any, Any, Any]:
        features = features_of(pictures, training=False)
        locations = tf.cast(tf.shape(features)[1] * tf.shape(features)[2], tf.float32)
        shares = (tf.tensordot(features, head.slope, 1) + head.constant) / locations
        logits = tf.reduce_sum(shares, (1, 2))
        normalized = tf.reduce_mean(features, (1, 2)) * head.scale + head.offset
        draws = tf.reshape(normalized @ kernels, (-1, DRAWS, len(head.bias))) + head.bias
        spread = tf.math.reduce_std(tf.nn.softmax(draws / temperature), 1)
        return tf.nn.softmax(logits / temperature), spread, shares

    return answers


def _dropped_kernels(head: network.Head, rate: float) -> Array:
    """Return the head's kernel under each of the draws, (channels, draws * classes).

    The masks are fixed, so that equal input gives equal spread. Their spread finds errors no better than 1 - the highest
    probability does; it is offered, not relied upon.
    """
    keep = np.random.default_rng(_MASK_SEED).random((DRAWS, len(head.scale))) >= rate
    kernels = keep[..., np.newaxis] * head.kernel / (1.0 - rate)
    return kernels.transpose(1, 0, 2).reshape(len(head.scale), -1).astype(np.float32)
