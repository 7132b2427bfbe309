"""What a bundle's manifest says: the networks and their files, what their outputs mean, and which answers they must give.

`bundle.yaml` is `Manifest` as YAML, `golden/cases.json` a list of `GoldenCase`. Nothing that contradicts itself can be built.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from node.pixels import InputSpec
from node.study import FilmWarning

WEIGHTS = "model.weights.h5"
NEIGHBORS = "neighbors.npz"
FILM_CHECK = "film_check.npz"
REFERENCE = "reference.json"
CARD = "card.md"
GOLDEN_CASES = "golden/cases.json"
ATTRIBUTION = "golden/ATTRIBUTION.md"
_REQUIRED = (REFERENCE, CARD, GOLDEN_CASES, ATTRIBUTION)

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
        A graph of keras.applications (Tan and Le 2019, arXiv:1905.11946).
    activation : str
        ``"swish"`` as Keras has it, ``"relu6"`` for weights trained with it (EfficientNet-Lite0).
    rows, columns, classes : int
        Size of the input in pixels, number of outputs.
    dropout : float
        Rate between the head's BatchNormalization and its Dense layer; the spread is measured with it.
    working_px : int or None
        Rows and columns that the graph reduces its input to first, each the mean of the area it covers, so that films of all
        sources come at one resolution. None works at the input's own size.
    """

    backbone: Literal["EfficientNetB0", "EfficientNetB1", "EfficientNetB2", "EfficientNetB3"]
    activation: Literal["swish", "relu6"]
    rows: int
    columns: int
    classes: int
    dropout: Annotated[float, Field(ge=0, lt=1)]
    # keras.applications builds these graphs from 32 pixels on.
    working_px: Annotated[int, Field(ge=32)] | None = None


@dataclass(frozen=True, config=_STRICT)
class Member:
    """One network of the ensemble, and the file with its weights; most bundles have one."""

    file: FileName
    architecture: Architecture


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
class Likeness:
    """Unlike the training films is what lies below `cut_off` in mean cosine to its nearest neighbors (`node.likeness`)."""

    neighbors: Annotated[int, Field(ge=1)]
    cut_off: Annotated[float, Field(ge=-1, le=1)]


@dataclass(frozen=True, config=_STRICT)
class Training:
    """What the weights were trained on."""

    recipe: str
    films: dict[str, int]
    patients: int
    sources: tuple[str, ...]


@dataclass(frozen=True, config=_STRICT)
class Manifest:
    """What bundle.yaml says; the first label is the one that has no rule, the normal one.

    The logits are the mean of the members' logits, before the temperature.
    """

    format: Literal[2]
    name: str
    version: str
    labels: tuple[Label, ...]
    members: Annotated[tuple[Member, ...], Field(min_length=1)]
    preprocessing: InputSpec
    calibration: Calibration
    triage: TriageRules
    heat_map: HeatMap
    likeness: Likeness | None
    age_years: tuple[float, float] | None
    training: Training
    made_with: dict[str, str]
    files: dict[FileName, Sha256]

    def __post_init__(self) -> None:
        complaints = list(_contradictions(self))
        if complaints:
            raise ValueError("; ".join(complaints))

    @property
    def weights_sha256(self) -> str:
        """The digest of all weights, to which the cut-offs are bound."""
        return weights_digest([self.files.get(member.file, "absent") for member in self.members])


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
    warnings : tuple of FilmWarning
        Expected, all and no other.
    """

    file: FileName
    label: str
    source: str
    probabilities: dict[str, Probability]
    tolerance: Positive
    map_label: str
    map_peak: Probability
    warnings: tuple[FilmWarning, ...] = ()


def weights_digest(digests: Sequence[str]) -> str:
    """Return what identifies the weights of all members: of one its own digest, of more the SHA-256 over theirs in order."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _contradictions(manifest: Manifest) -> list[str]:
    names = [label.name for label in manifest.labels]
    abnormal = names[1:]
    weights, spec = manifest.weights_sha256, manifest.preprocessing
    built, kept = [member.architecture for member in manifest.members], [member.file for member in manifest.members]
    bad_bands = [rule.label for rule in manifest.triage.rules if rule.uncertain_from > rule.cut_off]
    missing = [name for name in (*kept, *_REQUIRED) if name not in manifest.files]
    found = {
        "labels are not unique": len(set(names)) < len(names),
        "triage needs one rule for each label after the first": [r.label for r in manifest.triage.rules] != abnormal,
        "heat_map needs one reference_share for each label after the first": [*manifest.heat_map.reference_share]
        != abnormal,
        f"uncertain_from is above cut_off for {', '.join(bad_bands)}": bool(bad_bands),
        "two members have one file": len(set(kept)) < len(kept),
        "architecture and labels differ in number": any(a.classes != len(names) for a in built),
        "architecture and preprocessing differ in size": any(
            (a.rows, a.columns) != (spec.rows, spec.columns) for a in built
        ),
        "working_px is larger than the input": any((a.working_px or 0) > min(spec.rows, spec.columns) for a in built),
        f"likeness and {NEIGHBORS} need each other": (manifest.likeness is None) == (NEIGHBORS in manifest.files),
        f"files lacks {', '.join(missing)}": bool(missing),
        f"the cut-offs were chosen for weights {manifest.triage.thresholds_for}, the weights are {weights}: "
        "calibrate them again": manifest.triage.thresholds_for != weights,
    }
    return [complaint for complaint, holds in found.items() if holds]
