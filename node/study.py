"""The nouns that travel through the node: what the model said of an image, and what the node says of a study.

They are plain frozen values that turn into JSON and back without loss, so that a step that was interrupted
finds exactly what an earlier step left on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from node.errors import Reason

FloatArray = npt.NDArray[np.float32]


class Triage(StrEnum):
    """The answer for one image or one study, most pressing first."""

    URGENT = "urgent"
    FLAGGED = "flagged"
    UNCERTAIN = "uncertain"
    NOT_FLAGGED = "not_flagged"
    NOT_ANALYSED = "not_analysed"


class FilmWarning(StrEnum):
    """What a reader must know of a film that was read all the same. The value is the code value in scheme 99CXRTRIAGE."""

    LOOKS_TURNED = "LOOKS_TURNED"
    LOOKS_INVERTED = "LOOKS_INVERTED"
    LOOKS_COLLIMATED = "LOOKS_COLLIMATED"
    UNLIKE_TRAINING = "UNLIKE_TRAINING"


# The model never learned from such pictures: its probabilities of one mean nothing, and "not flagged" least of all.
UNRELIABLE = frozenset({FilmWarning.LOOKS_TURNED, FilmWarning.LOOKS_INVERTED})


@dataclass(frozen=True, slots=True)
class Finding:
    """What the model says of one class of one image.

    Attributes
    ----------
    label : str
        The bundle's label, e.g. ``"Tuberculosis"``.
    probability : float
        Calibrated, in [0, 1]; the findings of one image sum to 1.
    spread : float
        Standard deviation of the probability over head dropout, in [0, 1].
    cut_off : float or None
        Probability from which the image is flagged; None for the normal class.
    """

    label: str
    probability: float
    spread: float
    cut_off: float | None

    @property
    def above(self) -> bool:
        """Whether the probability reaches the cut-off."""
        return self.cut_off is not None and self.probability >= self.cut_off


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image.

    Attributes
    ----------
    findings : tuple of Finding
        One per label, in the bundle's order (Normal, Pneumonia, Tuberculosis).
    triage : Triage
        URGENT, FLAGGED, UNCERTAIN or NOT_FLAGGED.
    flagged_label : str or None
        The label that `triage` is about, None unless URGENT or FLAGGED.
    map_label : str
        The leading abnormal label, which the heat map explains.
    heat_map : ndarray, (rows, columns) float32 in [0, 1]
        Grad-CAM on the model's last feature map, on the bundle's absolute scale: 1 is the share of the logit seen in
        films rightly flagged, so the map of a film with nothing found stays near 0.
    warnings : tuple of FilmWarning
        In the order of their definition.
    likeness : float or None
        To the films the model was trained on, in [-1, 1] (`node.likeness`); None where the bundle does not measure it.
    """

    findings: tuple[Finding, ...]
    triage: Triage
    flagged_label: str | None
    map_label: str
    heat_map: FloatArray
    warnings: tuple[FilmWarning, ...] = ()
    likeness: float | None = None

    @property
    def reliable(self) -> bool:
        """Whether the probabilities may be shown as such: not those of a film that looks turned or inverted."""
        return UNRELIABLE.isdisjoint(self.warnings)

    def of(self, label: str) -> Finding:
        """Return the finding with this label."""
        return next(finding for finding in self.findings if finding.label == label)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready form; ``from_json`` gives the equal value back."""
        return {
            "findings": [[f.label, f.probability, f.spread, f.cut_off] for f in self.findings],
            "triage": str(self.triage),
            "flagged_label": self.flagged_label,
            "map_label": self.map_label,
            "heat_map": [[float(v) for v in row] for row in self.heat_map],
            "warnings": [str(warning) for warning in self.warnings],
            "likeness": self.likeness,
        }

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> Prediction:
        """Build from what ``to_json`` gave; a reading that an earlier version left in the spool has no warnings."""
        return cls(
            findings=tuple(Finding(*row) for row in form["findings"]),
            triage=Triage(form["triage"]),
            flagged_label=form["flagged_label"],
            map_label=form["map_label"],
            heat_map=np.asarray(form["heat_map"], np.float32),
            warnings=tuple(FilmWarning(warning) for warning in form.get("warnings", ())),
            likeness=form.get("likeness"),
        )


@dataclass(frozen=True)
class ImageReading:
    """One image of a study: read, with a prediction, or not read, with a reason.

    Attributes
    ----------
    number : int
        Position in the study, from 1, by series number, instance number and SOP instance UID.
    instance_key : str
        Name of the instance in the spool.
    prediction : Prediction or None
    reason : Reason or None
        Exactly one of `prediction` and `reason` is None.
    detail : str
        Fixed words or a coded attribute that make the reason clear, e.g. ``"HAND"``.
    """

    number: int
    instance_key: str
    prediction: Prediction | None = None
    reason: Reason | None = None
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "number": self.number,
            "instance_key": self.instance_key,
            "prediction": self.prediction.to_json() if self.prediction else None,
            "reason": str(self.reason) if self.reason else None,
            "detail": self.detail,
        }

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> ImageReading:
        """Build from what ``to_json`` gave."""
        return cls(
            number=form["number"],
            instance_key=form["instance_key"],
            prediction=Prediction.from_json(form["prediction"]) if form["prediction"] else None,
            reason=Reason(form["reason"]) if form["reason"] else None,
            detail=form["detail"],
        )


# Name of the parameter that tells a site's cut-offs from the model's own.
SITE_THRESHOLDS = "thresholds_sha256"


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model spoke: enough for a reader to know it and for a UID to change with it.

    Attributes
    ----------
    name, version : str
        As in the bundle, e.g. ``"CXR triage EfficientNetB0"``, ``"0.1.0"``.
    weights_sha256 : str
        64 hexadecimal digits.
    parameters : tuple of str
        ``name=value`` facts for Algorithm Parameters (111002, DCM).
    """

    name: str
    version: str
    weights_sha256: str
    parameters: tuple[str, ...] = ()

    @property
    def site_thresholds(self) -> str:
        """First digits of the digest of the site's cut-offs (`node.site_thresholds`); empty where the model's own hold."""
        prefix = f"{SITE_THRESHOLDS}="
        return next((fact.removeprefix(prefix) for fact in self.parameters if fact.startswith(prefix)), "")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "name": self.name,
            "version": self.version,
            "weights_sha256": self.weights_sha256,
            "parameters": list(self.parameters),
        }

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> ModelIdentity:
        """Build from what ``to_json`` gave."""
        return cls(form["name"], form["version"], form["weights_sha256"], tuple(form["parameters"]))


@dataclass(frozen=True, slots=True)
class Times:
    """The four moments of a reading, all UTC: when its first instance came, when the study was complete, work began and ended."""

    received: datetime
    settled: datetime
    started: datetime
    done: datetime

    def to_json(self) -> dict[str, str]:
        """Return a JSON-ready form."""
        return {name: getattr(self, name).isoformat() for name in ("received", "settled", "started", "done")}

    @classmethod
    def from_json(cls, form: Mapping[str, str]) -> Times:
        """Build from what ``to_json`` gave."""
        return cls(**{name: datetime.fromisoformat(form[name]) for name in ("received", "settled", "started", "done")})


@dataclass(frozen=True)
class StudyReading:
    """What the node says of one study at one moment (a generation of it).

    Attributes
    ----------
    study_key, generation : str
        Names in the spool. A generation is the digest of the instances it covers, so late images make a new one.
    images : tuple of ImageReading
        In the order of their numbers.
    model : ModelIdentity
    times : Times
    previous : str or None
        The generation whose report this one replaces.
    """

    study_key: str
    generation: str
    images: tuple[ImageReading, ...]
    model: ModelIdentity
    times: Times
    previous: str | None = None

    @property
    def read(self) -> tuple[ImageReading, ...]:
        """The images the model read."""
        return tuple(image for image in self.images if image.prediction)

    @property
    def leading(self) -> ImageReading | None:
        """The image that decides the study's answer, None when none was read.

        The most pressing triage wins, then a probability that may be relied upon, then the higher one of the flagged class.
        """
        order = list(Triage)

        def rank(image: ImageReading) -> tuple[int, bool, float]:
            prediction = image.prediction
            assert prediction is not None
            label = prediction.flagged_label or prediction.map_label
            return order.index(prediction.triage), not prediction.reliable, -prediction.of(label).probability

        return min(self.read, key=rank, default=None)

    @property
    def triage(self) -> Triage:
        """The study's answer: that of its leading image, NOT_ANALYSED when none was read."""
        leading = self.leading
        return leading.prediction.triage if leading and leading.prediction else Triage.NOT_ANALYSED

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "study_key": self.study_key,
            "generation": self.generation,
            "images": [image.to_json() for image in self.images],
            "model": self.model.to_json(),
            "times": self.times.to_json(),
            "previous": self.previous,
        }

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> StudyReading:
        """Build from what ``to_json`` gave."""
        return cls(
            study_key=form["study_key"],
            generation=form["generation"],
            images=tuple(ImageReading.from_json(image) for image in form["images"]),
            model=ModelIdentity.from_json(form["model"]),
            times=Times.from_json(form["times"]),
            previous=form["previous"],
        )
