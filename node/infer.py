"""From a film to what the node says of it: a calibrated prediction with its heat map, its triage and its warnings.

The networks run in `node.graph`. Beside them stands what tells whether they may be believed: a look at the film
(`node.film_check`), and its likeness to those they were trained on (`node.likeness`). What is plainly no chest film is refused.
All else warns, and a film that the networks were not made for is never called "not flagged".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node import network
from node.bundle import Bundle, GoldenCase, Rule
from node.errors import BundleError, InferenceError, NotAssessable, Reason
from node.film_check import FilmCheck, FilmLook
from node.graph import Graph
from node.likeness import likeness, read_bank
from node.pixels import Plane, read_picture
from node.prints import Print, print_of
from node.study import UNRELIABLE, FilmWarning, Finding, Prediction, Triage

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class GoldenResult:
    """One golden case replayed.

    Attributes
    ----------
    file : str
    expected, found : dict of str to float
        Probabilities by label; nothing found where the film was refused.
    difference : float
        The largest absolute difference, of a probability or of the map's peak.
    passed : bool
        Whether it is within the case's tolerance, and label of the map and warnings are the case's.
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
        Where the bundle's files do not fit each other.

    Notes
    -----
    On one machine and device, equal input gives equal bytes: films are read one by one, because other batch sizes round
    otherwise (oneDNN: 1e-5 in a feature). On another machine expect equality to about 1e-5.
    """

    def __init__(self, bundle: Bundle, device: str = "auto") -> None:
        self.bundle = bundle
        self._graph = Graph(bundle, device)
        self.device = self._graph.device
        spec = bundle.manifest.preprocessing
        channels = self._graph(np.zeros((1, spec.rows, spec.columns), np.float32)).features.shape[1]
        self._bank = _bank(bundle, channels)
        self._film_check = FilmCheck.load(bundle.film_check) if bundle.film_check else None

    def read(self, plane: Plane, refuse: bool = True) -> Prediction:
        """Read one film.

        Parameters
        ----------
        plane : ndarray, (rows, columns) float32 in [0, 1], 0 is black
        refuse : bool
            Whether what does not look like a chest film is refused, as the node does. A measurement wants an answer for each.

        Returns
        -------
        Prediction

        Raises
        ------
        NotAssessable
            NOT_A_CHEST_FILM.
        InferenceError
            Where the plane is no such array, or the model's answer is not finite.
        """
        _check(plane)
        return self.read_print(print_of(plane, self.bundle.manifest.preprocessing), refuse)

    def read_print(self, film: Print, refuse: bool = True) -> Prediction:
        """Read one film by its print, which must be of the bundle's own preprocessing; as `read` otherwise."""
        look = self._film_check.judge(film.features, film.content) if self._film_check else None
        if refuse and look and not look.is_film:
            raise NotAssessable(Reason.NOT_A_CHEST_FILM)
        answers = self._graph(film.gray[np.newaxis])
        found = self._likeness(answers.features)
        warnings = tuple(self._warnings(look, found))
        return self._prediction(answers.probabilities[0], answers.spread[0], answers.shares[0], warnings, found)

    def _prediction(
        self,
        probabilities: Array,
        spread: Array,
        shares: Array,
        warnings: tuple[FilmWarning, ...],
        found: float | None,
    ) -> Prediction:
        names, rules = self.bundle.label_names, self.bundle.rules
        findings = tuple(
            Finding(name, float(p), float(s), rules[name].cut_off if name in rules else None)
            for name, p, s in zip(names, probabilities, spread, strict=True)
        )
        by_label = {finding.label: finding.probability for finding in findings}
        said, flagged = triage(by_label, rules, warnings)
        shown = flagged or max(rules, key=by_label.__getitem__)
        reference = self.bundle.manifest.heat_map.reference_share[shown]
        heat_map = np.clip(network.evidence(shares)[..., names.index(shown)] / np.float32(reference), 0.0, 1.0)
        return Prediction(findings, said, flagged, shown, heat_map, warnings, found)

    def _likeness(self, features: Array) -> float | None:
        """Return how like a film is to the training films, None where the bundle does not measure it."""
        settings = self.bundle.manifest.likeness
        if settings is None or self._bank is None:
            return None
        return float(likeness(features, self._bank, settings.neighbors)[0])

    def _warnings(self, look: FilmLook | None, found: float | None) -> Iterator[FilmWarning]:
        """Yield what a reader must know of the film; of a picture that is no film, its pose means nothing."""
        if look and look.is_film and look.quarter_turns:
            yield FilmWarning.LOOKS_TURNED
        if look and look.is_film and look.inverted:
            yield FilmWarning.LOOKS_INVERTED
        if look and look.collimated:
            yield FilmWarning.LOOKS_COLLIMATED
        settings = self.bundle.manifest.likeness
        if settings and found is not None and found < settings.cut_off:
            yield FilmWarning.UNLIKE_TRAINING


def triage(
    probabilities: Mapping[str, float], rules: Mapping[str, Rule], warnings: Iterable[FilmWarning] = ()
) -> tuple[Triage, str | None]:
    """Return the answer for one film, and the label it is about.

    A label at or above its cut-off is flagged: an urgent one before any other, then the most probable. With none flagged, a
    label in its band [uncertain_from, cut_off) makes the film uncertain, and so does a warning that the model was not made for
    such a picture: of that, nothing found means nothing.

    Parameters
    ----------
    probabilities : mapping of str to float
        Calibrated, by label.
    rules : mapping of str to Rule
        Of each abnormal label.
    warnings : iterable of FilmWarning
    """
    flagged = [rule for label, rule in rules.items() if probabilities[label] >= rule.cut_off]
    if flagged:
        first = max(flagged, key=lambda rule: (rule.urgent, probabilities[rule.label]))
        return (Triage.URGENT if first.urgent else Triage.FLAGGED), first.label
    close = any(probabilities[label] >= rule.uncertain_from for label, rule in rules.items())
    return (Triage.UNCERTAIN if close or not UNRELIABLE.isdisjoint(warnings) else Triage.NOT_FLAGGED), None


def replay_golden(reader: Reader, bundle: Bundle) -> list[GoldenResult]:
    """Read each golden film, as the node would, and compare with the answer it must get."""
    return [_replayed(reader, bundle, case) for case in bundle.golden]


def _replayed(reader: Reader, bundle: Bundle, case: GoldenCase) -> GoldenResult:
    try:
        prediction = reader.read(read_picture(bundle.folder / case.file))
    except NotAssessable:
        return GoldenResult(case.file, case.probabilities, {}, 1.0, passed=False)
    found = {finding.label: finding.probability for finding in prediction.findings}
    differences = [abs(found[label] - p) for label, p in case.probabilities.items()]
    worst = max(*differences, abs(float(prediction.heat_map.max()) - case.map_peak))
    same = (prediction.map_label, prediction.warnings) == (case.map_label, case.warnings)
    return GoldenResult(case.file, case.probabilities, found, worst, same and worst <= case.tolerance)


def _check(plane: Plane) -> None:
    if plane.ndim != 2 or not plane.size or not np.isfinite(plane).all():
        raise InferenceError("the plane is not a two-dimensional array of finite values; the study is parked")
    if plane.min() < 0 or plane.max() > 1:
        raise InferenceError("the plane has values outside [0, 1]; the study is parked")


def _bank(bundle: Bundle, channels: int) -> Array | None:
    """Return the features of training films that this model's features can be held against, None where there are none."""
    settings, path = bundle.manifest.likeness, bundle.neighbors
    if settings is None or path is None:
        return None
    bank = read_bank(path)
    if len(bank) < settings.neighbors or bank.shape[1] != channels:
        wanted = f"at least {settings.neighbors} films of {channels} features"
        raise BundleError(f"{path}: holds {len(bank)} films of {bank.shape[1]} features, not {wanted}")
    return bank
