"""From a film to what the node says of it: a calibrated prediction with its heat map, its triage and its warnings.

The networks run in `node.graph`. Beside them stands what tells whether they may be believed: a look at the film
(`node.film_check`), and its likeness to those they were trained on (`node.likeness`). What is plainly no chest film is refused.
All else warns, and a film that the networks were not made for is never called "not flagged".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
import numpy.typing as npt

from node import network
from node.bundle import Bundle, GoldenCase, Rule
from node.errors import BundleError, InferenceError, NotAssessable, Reason
from node.film_check import FilmCheck, FilmLook
from node.graph import Answers, Graph
from node.likeness import likeness, read_bank
from node.pixels import InputSpec, Plane, read_picture
from node.prints import Print, print_of
from node.study import UNRELIABLE, FilmWarning, Finding, Prediction, Triage

Array = npt.NDArray[np.float32]

# Films that are read side by side: a third of the networks' CPU time is saved by four, a quarter by two, little more by six
# (docs/performance.md).
AT_ONCE = 4


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

    Attributes
    ----------
    device : {"cpu", "gpu"}
    at_once : int
        How many films are worth reading side by side, each of which gets the answer that it gets by itself.

    Notes
    -----
    On one machine and device, equal input gives equal bytes. So films are read side by side only where the kernels of this
    machine answer a film in company exactly as by itself, which is tried at the start; where other batch sizes round
    otherwise, they are read one by one. On another machine expect equality to about 1e-5.
    """

    def __init__(self, bundle: Bundle, device: str = "auto") -> None:
        self.bundle = bundle
        self._graph = Graph(bundle, device)
        self.device = self._graph.device
        spec = bundle.manifest.preprocessing
        self.at_once, channels = _warmed(self._graph, spec)
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
        (answer,) = self.read_prints([film], refuse)
        if isinstance(answer, NotAssessable):
            raise answer
        return answer

    def read_prints(self, films: Sequence[Print], refuse: bool = True) -> list[Prediction | NotAssessable]:
        """Read films side by side, `at_once` at most.

        Returns
        -------
        list of Prediction or NotAssessable
            For each film what `read_print` would return or raise.

        Raises
        ------
        InferenceError
            Where the model's answer to one of them is not finite.
        """
        looks = [self._film_check.judge(film.features, film.content) if self._film_check else None for film in films]
        passed = [not (refuse and look and not look.is_film) for look in looks]
        answers = self._answers(list(compress(films, passed)))
        return [
            self._said(look, next(answers)) if passes else NotAssessable(Reason.NOT_A_CHEST_FILM)
            for look, passes in zip(looks, passed, strict=True)
        ]

    def _answers(self, films: Sequence[Print]) -> Iterator[Answers]:
        """Yield what the networks say of each film."""
        if films:
            of_all = self._graph(np.stack([film.gray for film in films]))
            yield from (Answers(*(answer[number : number + 1] for answer in of_all)) for number in range(len(films)))

    def _said(self, look: FilmLook | None, answers: Answers) -> Prediction:
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


def _warmed(graph: Graph, spec: InputSpec) -> tuple[int, int]:
    """Return how many films the networks may be given at once, and how many features they give of each."""
    films = np.random.default_rng(0).random((AT_ONCE, spec.rows, spec.columns), np.float32)
    alone = [graph(film[np.newaxis]) for film in films]
    at_once = 1
    while at_once < AT_ONCE and _are_alike(alone, graph(films[: at_once + 1])):
        at_once += 1
    return at_once, alone[0].features.shape[1]


def _are_alike(alone: Sequence[Answers], together: Answers) -> bool:
    of_each = zip(*together, strict=True)
    return all(
        np.array_equal(expected[0], answer)
        for one, found in zip(alone, of_each, strict=False)
        for expected, answer in zip(one, found, strict=True)
    )


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
