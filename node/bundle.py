"""A trained model as one verified folder: the weights, what they mean, and cases that prove it.

::

    models/cxr-triage-0.3.0/
      bundle.yaml         what the weights mean; the digest of every other file; a seal over itself
      model.weights.h5    the weights alone: no pickle, no code; of an ensemble members/1.weights.h5, members/2.weights.h5, ...
      neighbors.npz       features of some hundred training films, to tell what is unlike them (optional)
      film_check.npz      what tells a chest film from other pictures, and its right way up (optional)
      reference.json      how scores, triage, map peaks and likeness were distributed over the validation films
      card.md             what was measured, and the limits
      golden/             a few films with the answers they must get; ATTRIBUTION.md says whose they are

Weights may be in half precision: they are widened as they are loaded. Nothing here imports TensorFlow, so that a bundle is
checked in well under a second.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from node.errors import BundleError
from node.manifest import (
    ATTRIBUTION,
    CARD,
    FILM_CHECK,
    GOLDEN_CASES,
    NEIGHBORS,
    REFERENCE,
    WEIGHTS,
    Architecture,
    Calibration,
    Code,
    GoldenCase,
    HeatMap,
    Label,
    Likeness,
    Manifest,
    Member,
    Rule,
    Sha256,
    Training,
    TriageRules,
    weights_digest,
)
from node.study import SITE_THRESHOLDS, ModelIdentity

__all__ = [
    "ATTRIBUTION",
    "CARD",
    "FILM_CHECK",
    "GOLDEN_CASES",
    "MANIFEST",
    "NEIGHBORS",
    "REFERENCE",
    "WEIGHTS",
    "Architecture",
    "Bundle",
    "Calibration",
    "Code",
    "GoldenCase",
    "HeatMap",
    "Label",
    "Likeness",
    "Manifest",
    "Member",
    "Rule",
    "SiteRules",
    "Training",
    "TriageRules",
    "load",
    "weights_digest",
    "write",
]

MANIFEST = "bundle.yaml"
_SEAL = b"seal: "
_RESTORE = "restore the folder from where it was released, or export it again with `cxr-train export`"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SiteRules:
    """Rules of a site in place of the bundle's own, and the digest of the file they are from (`node.site_thresholds`)."""

    digest: Sha256
    rules: tuple[Rule, ...]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Bundle:
    """A bundle whose every file was found to be the one its manifest describes."""

    folder: Path
    manifest: Manifest
    golden: tuple[GoldenCase, ...]
    reference: dict[str, Any]
    digest: Sha256
    site: SiteRules | None = None

    @property
    def neighbors(self) -> Path | None:
        """The file with the features of training films, where there is one."""
        return self.folder / NEIGHBORS if NEIGHBORS in self.manifest.files else None

    @property
    def film_check(self) -> Path | None:
        """The file of the film check, where there is one."""
        return self.folder / FILM_CHECK if FILM_CHECK in self.manifest.files else None

    @property
    def label_names(self) -> tuple[str, ...]:
        """Every label's name, in the order of the model's outputs."""
        return tuple(label.name for label in self.manifest.labels)

    @cached_property
    def rules(self) -> dict[str, Rule]:
        """The rule of each abnormal label: the site's where it has one, else the model's."""
        of_site = self.site.rules if self.site else ()
        return {rule.label: rule for rule in (*self.manifest.triage.rules, *of_site)}

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is; its parameters change whenever any file of the bundle, or the site's cut-offs, do."""
        manifest, weights = self.manifest, self.manifest.weights_sha256
        spec = manifest.preprocessing
        parameters = (
            f"input={spec.rows}x{spec.columns}x3",
            f"temperature={manifest.calibration.temperature:.4g}",
            f"members={len(manifest.members)}",
            f"weights_sha256={weights[:16]}",
            f"bundle_sha256={self.digest[:16]}",
            *((f"{SITE_THRESHOLDS}={self.site.digest[:16]}",) if self.site else ()),
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
    manifest = _checked(Manifest, {"format": 2, **about, "files": digests}, folder / MANIFEST)
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    for name, content in {**contents, MANIFEST: _sealed(manifest)}.items():
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        (draft / name).write_bytes(content)
    load(draft)
    draft.rename(folder)
    return load(folder)


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
