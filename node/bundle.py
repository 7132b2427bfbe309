"""A trained model as one verified folder: the weights, what they mean, and cases that prove it.

::

    models/cxr-triage-0.1.0/
      bundle.yaml         what the weights mean; the digest of every other file; a seal over itself
      model.weights.h5    the weights alone: no pickle, no code
      reference.json      how scores, triage and map peaks were distributed over the validation films
      card.md             what was measured, and the limits
      golden/             a few films with the answers they must get; ATTRIBUTION.md says whose they are

Nothing here imports TensorFlow, so that a bundle is checked in well under a second.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from node.errors import BundleError
from node.pixels import InputSpec
from node.study import ModelIdentity

MANIFEST = "bundle.yaml"
WEIGHTS = "model.weights.h5"
REFERENCE = "reference.json"
CARD = "card.md"
GOLDEN_CASES = "golden/cases.json"
ATTRIBUTION = "golden/ATTRIBUTION.md"
_REQUIRED = (WEIGHTS, REFERENCE, CARD, GOLDEN_CASES, ATTRIBUTION)

_SEAL = b"seal: "
_RESTORE = "restore the folder from where it was released, or export it again with `cxr-train export`"

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# Relative, and no part begins with a dot: no way out of the folder.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$")]
_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class Code:
    """A coded concept: code value, coding scheme designator and code meaning (DICOM PS3.3 Table 8.8-1)."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, config=_STRICT)
class Label:
    """One class of the model, in the order of its outputs."""

    name: str
    code: Code


@dataclass(frozen=True, config=_STRICT)
class Architecture:
    """The network's graph, without weights: what `node.network.build` needs.

    Attributes
    ----------
    backbone : str
        A graph of keras.applications.
    activation : str
        ``"swish"`` as Keras has it, ``"relu6"`` for weights trained with it (EfficientNet-Lite0).
    rows, columns, classes : int
        Size of the input in pixels, number of outputs.
    dropout : float
        Rate between the head's BatchNormalization and its Dense layer; the spread is measured with it.
    """

    backbone: Literal["EfficientNetB0"]
    activation: Literal["swish", "relu6"]
    rows: int
    columns: int
    classes: int
    dropout: Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, config=_STRICT)
class Calibration:
    """Probabilities are softmax(logits / temperature) (Guo et al. 2017, arXiv:1706.04599)."""

    temperature: Positive


@dataclass(frozen=True, config=_STRICT)
class Rule:
    """When one abnormal label is said: flagged from `cut_off`, uncertain in [uncertain_from, cut_off)."""

    label: str
    cut_off: Probability
    uncertain_from: Probability
    urgent: bool


@dataclass(frozen=True, config=_STRICT)
class TriageRules:
    """The rules of the abnormal labels, bound to the weights they were chosen for."""

    thresholds_for: Sha256
    rules: tuple[Rule, ...]


@dataclass(frozen=True, config=_STRICT)
class HeatMap:
    """Where the map is taken and, per abnormal label, the share of the logit that is drawn as 1."""

    layer: str
    reference_share: dict[str, Positive]


@dataclass(frozen=True, config=_STRICT)
class Training:
    """What the weights were trained on."""

    recipe: str
    films: dict[str, int]
    patients: int
    sources: tuple[str, ...]


@dataclass(frozen=True, config=_STRICT)
class Manifest:
    """What bundle.yaml says; the first label is the one that has no rule, the normal one."""

    format: Literal[1]
    name: str
    version: str
    labels: tuple[Label, ...]
    architecture: Architecture
    preprocessing: InputSpec
    calibration: Calibration
    triage: TriageRules
    heat_map: HeatMap
    age_years: tuple[float, float] | None
    training: Training
    made_with: dict[str, str]
    files: dict[FileName, Sha256]

    def __post_init__(self) -> None:
        complaints = list(_contradictions(self))
        if complaints:
            raise ValueError("; ".join(complaints))


@dataclass(frozen=True, config=_STRICT)
class GoldenCase:
    """One film with the answer it must get.

    Attributes
    ----------
    file : str
        Name in the bundle.
    label, source : str
        What its data set says of it, and which data set.
    probabilities : dict of str to float
        Expected, by label.
    tolerance : float
        Largest absolute difference of a probability.
    map_label : str
    map_peak : float
        Expected highest value of the heat map, in [0, 1].
    """

    file: FileName
    label: str
    source: str
    probabilities: dict[str, Probability]
    tolerance: Positive
    map_label: str
    map_peak: Probability


@dataclass(frozen=True, config=_STRICT)
class Bundle:
    """A bundle whose every file was found to be the one its manifest describes."""

    folder: Path
    manifest: Manifest
    golden: tuple[GoldenCase, ...]
    reference: dict[str, Any]
    digest: Sha256

    @property
    def weights(self) -> Path:
        """The weights file."""
        return self.folder / WEIGHTS

    @property
    def label_names(self) -> tuple[str, ...]:
        """Every label's name, in the order of the model's outputs."""
        return tuple(label.name for label in self.manifest.labels)

    @cached_property
    def rules(self) -> dict[str, Rule]:
        """The rule of each abnormal label."""
        return {rule.label: rule for rule in self.manifest.triage.rules}

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is; its parameters change whenever any file of the bundle does."""
        manifest, weights = self.manifest, self.manifest.files[WEIGHTS]
        spec = manifest.preprocessing
        parameters = (
            f"input={spec.rows}x{spec.columns}x3",
            f"temperature={manifest.calibration.temperature:.4g}",
            f"weights_sha256={weights[:16]}",
            f"bundle_sha256={self.digest[:16]}",
        )
        return ModelIdentity(manifest.name, manifest.version, weights, parameters)


def load(folder: str | Path) -> Bundle:
    """Open a bundle, and verify every file of it.

    Parameters
    ----------
    folder : path

    Returns
    -------
    Bundle

    Raises
    ------
    BundleError
        Names the file, what was expected and what was found, and who does what about it.
    """
    folder = Path(folder)
    sealed = _read(folder, MANIFEST)
    manifest = _parsed(Manifest, _unsealed(folder, sealed), folder / MANIFEST)
    for name, expected in manifest.files.items():
        _verify(folder, name, expected)
    cases = folder / GOLDEN_CASES
    golden = _parsed(tuple[GoldenCase, ...], cases.read_bytes(), cases)
    reference = _parsed(dict[str, Any], (folder / REFERENCE).read_bytes(), folder / REFERENCE)
    for case in golden:
        if case.file not in manifest.files:
            raise BundleError(f"{cases}: names {case.file}, which {MANIFEST} does not list; {_RESTORE}")
    return Bundle(folder, manifest, golden, reference, hashlib.sha256(sealed).hexdigest())


def write(folder: str | Path, about: Mapping[str, Any], contents: Mapping[str, bytes]) -> Bundle:
    """Write a bundle and read it back; a bundle is written whole or not at all.

    Parameters
    ----------
    folder : path
        Must not exist: a released bundle is never changed, a new version gets a new folder.
    about : mapping
        The fields of `Manifest` but ``format`` and ``files``.
    contents : mapping of str to bytes
        File name in the bundle to content.

    Returns
    -------
    Bundle

    Raises
    ------
    BundleError
        Where the folder exists, the manifest contradicts itself, or the cut-offs belong to other weights.
    """
    folder = Path(folder)
    if folder.exists():
        raise BundleError(f"{folder} exists: a bundle is never changed, choose a new version or another folder")
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(contents.items())}
    manifest = _checked(Manifest, {"format": 1, **about, "files": digests}, folder / MANIFEST)
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    for name, content in {**contents, MANIFEST: _sealed(manifest)}.items():
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        (draft / name).write_bytes(content)
    load(draft)
    draft.rename(folder)
    return load(folder)


def _contradictions(manifest: Manifest) -> list[str]:
    names = [label.name for label in manifest.labels]
    abnormal = names[1:]
    weights = manifest.files.get(WEIGHTS, "absent")
    built, spec = manifest.architecture, manifest.preprocessing
    bad_bands = [rule.label for rule in manifest.triage.rules if rule.uncertain_from > rule.cut_off]
    missing = [name for name in _REQUIRED if name not in manifest.files]
    found = {
        "labels are not unique": len(set(names)) < len(names),
        "triage needs one rule for each label after the first": [r.label for r in manifest.triage.rules] != abnormal,
        "heat_map needs one reference_share for each label after the first": [*manifest.heat_map.reference_share]
        != abnormal,
        f"uncertain_from is above cut_off for {', '.join(bad_bands)}": bool(bad_bands),
        "architecture and labels differ in number": built.classes != len(names),
        "architecture and preprocessing differ in size": (built.rows, built.columns) != (spec.rows, spec.columns),
        f"files lacks {', '.join(missing)}": bool(missing),
        f"the cut-offs were chosen for weights {manifest.triage.thresholds_for}, the weights are {weights}: "
        "calibrate them again": manifest.triage.thresholds_for != weights,
    }
    return [complaint for complaint, holds in found.items() if holds]


def _sealed(manifest: Manifest) -> bytes:
    form = asdict(manifest) | {"preprocessing": manifest.preprocessing.to_json()}
    body = yaml.safe_dump(json.loads(json.dumps(form)), sort_keys=False, allow_unicode=True, width=120).encode()
    return body + _SEAL + hashlib.sha256(body).hexdigest().encode() + b"\n"


def _unsealed(folder: Path, sealed: bytes) -> bytes:
    body, mark, seal = sealed.rpartition(_SEAL)
    found = hashlib.sha256(body).hexdigest()
    if not mark or seal != found.encode() + b"\n":
        expected = seal.decode(errors="replace").strip() if mark else "a seal in its last line"
        raise BundleError(f"{folder / MANIFEST}: was changed: expected {expected}, found {found}; {_RESTORE}")
    return body


def _parsed(kind: Any, content: bytes, path: Path) -> Any:
    try:
        form = yaml.safe_load(content) if path.suffix == ".yaml" else json.loads(content)
    except (yaml.YAMLError, ValueError) as error:
        raise BundleError(f"{path}: cannot be parsed: {error}; {_RESTORE}") from error
    return _checked(kind, form, path)


def _checked(kind: Any, form: Any, path: Path) -> Any:
    try:
        return TypeAdapter(kind).validate_python(form)
    except ValidationError as error:
        complaints = [f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()]
        raise BundleError(f"{path}: {'; '.join(complaints)}; {_RESTORE}") from error


def _verify(folder: Path, name: str, expected: str) -> None:
    found = hashlib.sha256(_read(folder, name)).hexdigest()
    if found != expected:
        raise BundleError(f"{folder / name}: was changed: expected sha256 {expected}, found {found}; {_RESTORE}")


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BundleError(f"{path}: leads out of the bundle; {_RESTORE}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}; {_RESTORE}") from error
