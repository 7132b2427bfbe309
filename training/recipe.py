"""One training run as frozen values, read from YAML; its digest names the run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from node.bundle import Architecture, Code, Label
from node.errors import ConfigError
from node.pixels import InputSpec

_UNKNOWN = "not stated"
_STRICT = ConfigDict(extra="forbid")
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=_STRICT)
class Class:
    """One label, its code, and whether it is urgent; the first class is the normal one."""

    name: str
    code: Code
    urgent: bool = False


@dataclass(frozen=True, config=_STRICT)
class Data:
    """Where the films are: a manifest, and the folder its file names are relative to."""

    manifest: Path
    images: Path


@dataclass(frozen=True, config=_STRICT)
class Backbone:
    """Starting weights: ``imagenet`` (fetched by Keras), ``none`` (random), or a file; whose they are; the activation."""

    weights: str
    origin: str
    activation: Literal["swish", "relu6"]


@dataclass(frozen=True, config=_STRICT)
class Features:
    """The copies of each film that the head is trained on; `coarse_px` is the effective size of the coarse copy."""

    copies: tuple[Literal["plain", "flipped", "coarse", "cropped"], ...]
    coarse_px: Count
    batch: Count


@dataclass(frozen=True, config=_STRICT)
class Fit:
    """How the head is trained; `own_source` is the weight of the loss masked to the classes of the film's own source."""

    dropout: Fraction
    learning_rate: float
    weight_decay: float
    own_source: Fraction
    batch: Count
    steps_per_epoch: Count
    epochs: Count
    patience: Count


@dataclass(frozen=True, config=_STRICT)
class Calibrate:
    """Sensitivities on the validation films that place the cut-offs, and the percentile that places the map's scale."""

    sensitivity: Fraction
    uncertain_sensitivity: Fraction
    share_percentile: Annotated[float, Field(gt=0, le=100)]


@dataclass(frozen=True, config=_STRICT)
class Evaluate:
    """Bootstrap resamples, and which controls are run."""

    resamples: Count
    leave_one_source_out: bool
    random_control: bool


@dataclass(frozen=True, config=_STRICT)
class Recipe:
    """Everything that decides a run.

    `golden` is the attribution of each source whose films may go into the bundle, `notes` are limits of the data that no number
    shows and the card must say.
    """

    name: str
    version: str
    seed: int
    classes: tuple[Class, ...]
    data: Data
    preprocessing: InputSpec
    backbone: Backbone
    features: Features
    fit: Fit
    calibrate: Calibrate
    evaluate: Evaluate
    golden: dict[str, str]
    notes: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names, in the order of the model's outputs."""
        return tuple(cls.name for cls in self.classes)

    @property
    def coded_labels(self) -> tuple[Label, ...]:
        """The labels as the bundle keeps them."""
        return tuple(Label(cls.name, cls.code) for cls in self.classes)

    @property
    def architecture(self) -> Architecture:
        """The network this recipe trains."""
        spec = self.preprocessing
        return Architecture(
            backbone="EfficientNetB0",
            activation=self.backbone.activation,
            rows=spec.rows,
            columns=spec.columns,
            classes=len(self.classes),
            dropout=self.fit.dropout,
        )

    def digest(self) -> str:
        """Return 12 hexadecimal digits that change with every setting and with the content of every input file.

        Paths do not count: the same recipe on the same data has one name on every machine.
        """
        form = TypeAdapter(Recipe).dump_python(self, mode="json")
        form["data"] = file_digest(self.data.manifest)
        form["backbone"]["weights"] = weights_digest(self.backbone.weights)
        return hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()[:12]


def load(
    path: Path,
    manifest: Path | None = None,
    images: Path | None = None,
    weights: str | None = None,
    origin: str | None = None,
    activation: str | None = None,
) -> Recipe:
    """Read a recipe; an argument that is given replaces what the file says.

    Other weights are of another origin: where it is not given with them, it is unknown.

    Raises
    ------
    ConfigError
        Names the file and each key that cannot be used.
    """
    try:
        recipe = TypeAdapter(Recipe).validate_python(yaml.safe_load(path.read_text()))
        data = replace(recipe.data, **_given(manifest=manifest, images=images))
        origin = origin or (_UNKNOWN if weights else None)
        backbone = replace(recipe.backbone, **_given(weights=weights, origin=origin, activation=activation))
        return replace(recipe, data=data, backbone=backbone)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is no YAML: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {'; '.join(_complaint(e) for e in error.errors())}") from error


def file_digest(path: str | Path) -> str:
    """Return the SHA-256 of a file's content.

    Raises
    ------
    ConfigError
        Where the file cannot be read.
    """
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}; name another with an option or in the recipe"
        ) from error


def weights_digest(weights: str) -> str:
    """Return what identifies the starting weights: the name, or the content of the file."""
    return weights if weights in ("imagenet", "none") else file_digest(weights)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _complaint(error: Any) -> str:
    return f"{'.'.join(map(str, error['loc'])) or 'file'}: {error['msg']}"
