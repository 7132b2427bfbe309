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
    """Where the films are: a manifest, and the folder its file names are relative to.

    No film of a source in `left_out` is trained or validated on.
    """

    manifest: Path
    images: Path
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, config=_STRICT)
class Backbone:
    """Starting weights: ``imagenet`` (fetched by Keras), ``none`` (random), or a file; whose they are; the activation."""

    weights: str
    origin: str
    activation: Literal["swish", "relu6"]


@dataclass(frozen=True, config=_STRICT)
class Member:
    """One network of the ensemble; one alone is an ensemble of one.

    Attributes
    ----------
    seed : int
        Of the head's first weights, the draws and the augmentation.
    graph : str
        A graph of keras.applications.
    working_px : int or None
        The graph first reduces its input to this size, so that no film shows more detail than another; None: it does not.
    """

    seed: int
    graph: Literal["EfficientNetB0", "EfficientNetB1", "EfficientNetB2", "EfficientNetB3"] = "EfficientNetB0"
    working_px: Annotated[int, Field(ge=32)] | None = None


@dataclass(frozen=True, config=_STRICT)
class Augment:
    """How a picture is altered each time it is drawn; 0 switches a kind off.

    The first group is for robustness, the second takes away what tells one source from another.

    Attributes
    ----------
    rotation_deg, shift, zoom, brightness : float
        Largest change, either way: degrees, share of the side, share of the size, share of the gray value.
    flip : float
        Chance of mirroring left and right.
    border : float
        Up to this share of each side is cut away: collimation and most markers lie there.
    coarse_px : (int, int) or None
        The picture is reduced to a size drawn between these, then enlarged again.
    coarse : float
        Chance of that.
    gray : float
        Largest change of contrast as a share, and of the logarithm of gamma.
    corner : float
        Chance, for each corner, of being blanked with one gray value: markers stand there.
    """

    rotation_deg: Annotated[float, Field(ge=0, le=45)]
    shift: Fraction
    zoom: Annotated[float, Field(ge=0, lt=1)]
    flip: Fraction
    brightness: Fraction
    border: Annotated[float, Field(ge=0, lt=0.5)]
    coarse_px: tuple[Count, Count] | None
    coarse: Fraction
    gray: Fraction
    corner: Fraction


@dataclass(frozen=True, config=_STRICT)
class Stage:
    """One stage of gradual unfreezing.

    Attributes
    ----------
    unfrozen_from : str
        ``head`` trains the head alone, ``all`` everything, ``block1`` to ``block7`` everything from that block on.
    epochs : int
        At most.
    learning_rate : float
        The highest of the stage: it rises over the first tenth and falls to 0 along a cosine.
    """

    unfrozen_from: Annotated[str, Field(pattern="^(head|all|top|block[1-7])$")]
    epochs: Count
    learning_rate: Annotated[float, Field(gt=0)]


@dataclass(frozen=True, config=_STRICT)
class Fit:
    """How a network is trained.

    Attributes
    ----------
    dropout : float
        Before the head's dense layer.
    weight_decay : float
        Of AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101).
    own_source : float
        Weight of the loss masked to the classes of the film's own source; the rest is over all classes.
    average : float
        Decay, a step, of the running average of the weights, which is what is kept (Polyak averaging).
    blend : float
        Share of the last stage in the weights that are kept; the rest is what it began with (Wortsman et al. 2022, arXiv:2109.01903).
    batch, steps_per_epoch : int
    patience : int
        Epochs of a stage without a better validation loss after which it ends; after half of them the learning rate is halved.
    precision : str
        ``float32``, or ``mixed_float16`` or ``mixed_bfloat16`` on a GPU.
    stages : tuple of Stage
    """

    dropout: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    own_source: Fraction
    average: Annotated[float, Field(ge=0, lt=1)]
    blend: Fraction
    batch: Count
    steps_per_epoch: Count
    patience: Count
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"]
    stages: tuple[Stage, ...]


@dataclass(frozen=True, config=_STRICT)
class Calibrate:
    """Sensitivities on the validation films that place the cut-offs, and the percentile that places the map's scale."""

    sensitivity: Fraction
    uncertain_sensitivity: Fraction
    share_percentile: Annotated[float, Field(gt=0, le=100)]


@dataclass(frozen=True, config=_STRICT)
class Evaluate:
    """Bootstrap resamples, on how many test films alterations are measured (0: none), and which controls are run.

    Each control is trained anew, by the first `members` of the recipe's members, through the first `stages` of its stages (all
    where None).
    """

    resamples: Count
    members: Count
    stages: Count | None
    robustness_films: Annotated[int, Field(ge=0)]
    leave_one_source_out: bool
    random_control: bool


@dataclass(frozen=True, config=_STRICT)
class Export:
    """How a run becomes a bundle.

    Attributes
    ----------
    half_precision : bool
        Whether kernels are kept in 16 bit, which halves the bundle.
    bank_films : int
        Training films whose features the bundle holds, to tell what is unlike them.
    neighbors : int
        Nearest of them that a film is held against.
    unlike_share : float
        Share of the validation films that may be called unlike.
    film_check : bool
        Whether the bundle holds what tells a chest film from other pictures, and its right way up.
    """

    half_precision: bool = True
    bank_films: Count = 600
    neighbors: Count = 10
    unlike_share: Fraction = 0.01
    film_check: bool = True


@dataclass(frozen=True, config=_STRICT)
class Boxes:
    """Where readers drew boxes: a CSV file (file, set, finding, x, y, w, h, in the film's own pixels).

    The heat maps of the class `label` are held against the boxes of `findings`.
    """

    file: Path
    label: str
    findings: tuple[str, ...]


@dataclass(frozen=True, config=_STRICT)
class Targets:
    """What is aimed at, told beside what was measured; what is not named is not told.

    Attributes
    ----------
    accuracy, f1, auc : float, optional
        At least, on the test films; F1 and AUC of each class.
    ece : float, optional
        Expected calibration error, at most.
    left_out : dict of str to float
        Of a source left out: AUC of each abnormal class it has, at least.
    not_films, altered : float, optional
        Shares, at least: of pictures that are no chest films, refused; of turned and inverted films, noticed.
    refused : float, optional
        Share of the chest films of a source that the film check never saw, at most.
    """

    accuracy: Fraction | None = None
    f1: Fraction | None = None
    auc: Fraction | None = None
    ece: Fraction | None = None
    left_out: dict[str, Fraction] = Field(default_factory=dict)
    not_films: Fraction | None = None
    altered: Fraction | None = None
    refused: Fraction | None = None


@dataclass(frozen=True, config=_STRICT)
class Tried:
    """A recipe that was tried, for the model card: what it was, its numbers inside and on sources left out, and the verdict."""

    recipe: str
    inside: str
    left_out: str
    verdict: str


@dataclass(frozen=True, config=_STRICT)
class Recipe:
    """Everything that decides a run.

    `golden` is the attribution of each source whose films may go into the bundle, `notes` are limits of the data that no number
    shows and the card must say. `boxes` are only measured with, `targets` and `tried` only told, and `export` says what becomes of
    a run: they decide nothing in it.
    """

    name: str
    version: str
    members: tuple[Member, ...]
    classes: tuple[Class, ...]
    data: Data
    preprocessing: InputSpec
    backbone: Backbone
    augment: Augment
    fit: Fit
    calibrate: Calibrate
    evaluate: Evaluate
    golden: dict[str, str]
    notes: tuple[str, ...]
    export: Export = Export()
    boxes: Boxes | None = None
    targets: Targets = Targets()
    tried: tuple[Tried, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names, in the order of the model's outputs."""
        return tuple(cls.name for cls in self.classes)

    @property
    def coded_labels(self) -> tuple[Label, ...]:
        """The labels as the bundle keeps them."""
        return tuple(Label(cls.name, cls.code) for cls in self.classes)

    def architecture(self, member: Member) -> Architecture:
        """Return the network of a member."""
        spec = self.preprocessing
        return Architecture(
            backbone=member.graph,
            activation=self.backbone.activation,
            rows=spec.rows,
            columns=spec.columns,
            working_px=member.working_px,
            classes=len(self.classes),
            dropout=self.fit.dropout,
        )

    def digest(self) -> str:
        """Return 12 hexadecimal digits that change with every setting and with the content of every input file.

        Paths do not count: the same recipe on the same data has one name on every machine.
        """
        return _digest(self._identified(TypeAdapter(Recipe).dump_python(self, mode="json")))

    def network_digest(self, member: Member) -> str:
        """Return 12 hexadecimal digits that change with whatever changes a member's trained weights."""
        form = self._identified(TypeAdapter(Recipe).dump_python(self, mode="json"))
        decisive = {name: form[name] for name in ("classes", "data", "preprocessing", "backbone", "augment", "fit")}
        return _digest(decisive | {"member": TypeAdapter(Member).dump_python(member, mode="json")})

    def _identified(self, form: dict[str, Any]) -> dict[str, Any]:
        """Put the contents of the input files in the place of their paths, and leave out what decides nothing."""
        form = {name: value for name, value in form.items() if name not in ("export", "boxes", "targets", "tried")}
        form["data"] = {"manifest": file_digest(self.data.manifest), "left_out": sorted(self.data.left_out)}
        form["backbone"]["weights"] = weights_digest(self.backbone.weights)
        return form


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


def _digest(form: Any) -> str:
    return hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()[:12]


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _complaint(error: Any) -> str:
    return f"{'.'.join(map(str, error['loc'])) or 'file'}: {error['msg']}"
