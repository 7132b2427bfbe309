"""A site's own cut-offs: one small YAML file that stands in for those of the model bundle.

::

    format: 1
    thresholds_for: 8ede3029...       # the digest of the weights it was made for, and the temperature
    temperature: 0.8818               # that makes probabilities of their answers
    made:                             # how: nothing acts on this
      date: 2026-03-01
      sensitivity: 0.9
      uncertain_share: 0.05
      films: {Normal: 310, Tuberculosis: 64}
      patients: {Normal: 305, Tuberculosis: 60}
    rules:                            # a label that is not here keeps the bundle's
      - {label: Tuberculosis, cut_off: 0.41, uncertain_from: 0.17}

Cut-offs mean nothing for other weights or another temperature, so a node does not start on a mismatched pair. Which labels are urgent stays the
model's.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from node.bundle import Bundle, Rule, SiteRules
from node.errors import ConfigError
from node.manifest import Positive, Probability, Sha256

_STRICT = ConfigDict(extra="forbid")
_REMEDY = "Make the file again with cxr-node calibrate, or take model.thresholds out of the configuration."
_HEAD = """\
# Cut-offs of this site, in place of the model's: name this file in the configuration, as model.thresholds.
# They hold for these weights and no others. A label that is not listed keeps the model's cut-off.
"""


@dataclass(frozen=True, config=_STRICT)
class SiteRule:
    """When one abnormal label is said here: flagged from `cut_off`, uncertain in [uncertain_from, cut_off)."""

    label: str
    cut_off: Probability
    uncertain_from: Probability


@dataclass(frozen=True, config=_STRICT)
class Made:
    """How the cut-offs were made: when, for which sensitivity and share below the band, on how many cases by label."""

    date: date
    sensitivity: Probability
    uncertain_share: Probability
    films: dict[str, int]
    patients: dict[str, int]


@dataclass(frozen=True, config=_STRICT)
class SiteThresholds:
    """What the file says."""

    format: Literal[1]
    thresholds_for: Sha256
    temperature: Positive
    made: Made
    rules: tuple[SiteRule, ...]


def in_force(bundle: Bundle, path: Path | None) -> Bundle:
    """Return the bundle with the cut-offs that hold here: those of a site's file where there is one.

    Parameters
    ----------
    bundle : Bundle
    path : Path or None
        ``model.thresholds`` of the configuration.

    Raises
    ------
    ConfigError
        Where the file cannot be used with this bundle; it says what to do.
    """
    if path is None:
        return bundle
    content = _content(path)
    site = _parsed(path, content)
    complaints = [*_complaints(site, bundle)]
    if complaints:
        raise ConfigError(f"{path}: {'; '.join(complaints)}. {_REMEDY}")
    rules = tuple(
        replace(bundle.rules[rule.label], cut_off=rule.cut_off, uncertain_from=rule.uncertain_from)
        for rule in site.rules
    )
    return replace(bundle, site=SiteRules(hashlib.sha256(content).hexdigest(), rules))


def write(path: Path, bundle: Bundle, made: Made, rules: Mapping[str, Rule]) -> None:
    """Write a site's file for this bundle's weights.

    Parameters
    ----------
    path : Path
        Must not exist: the digest of a file in use stands in the reports made with it.
    bundle : Bundle
    made : Made
    rules : mapping of str to Rule
        By label, of those whose cut-offs replace the bundle's.

    Raises
    ------
    ConfigError
        Where the file exists or cannot be written.
    """
    listed = tuple(SiteRule(label, rule.cut_off, rule.uncertain_from) for label, rule in rules.items())
    site = SiteThresholds(1, bundle.identity.weights_sha256, bundle.manifest.calibration.temperature, made, listed)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(_HEAD + yaml.safe_dump(asdict(site), sort_keys=False, default_flow_style=None, width=120))
    except FileExistsError:
        raise ConfigError(f"{path} exists: reports may have been made with it; choose another name") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); choose another place") from None


def source(bundle: Bundle) -> str:
    """Say whose cut-offs are in force."""
    return f"this site, {bundle.site.digest[:12]}" if bundle.site else "the model"


def told(cut_offs: Mapping[str, float]) -> str:
    """Return cut-offs, by label, in words.

    Examples
    --------
    >>> told({"Pneumonia": 0.67, "Tuberculosis": 0.656})
    'Pneumonia 67 %, Tuberculosis 65.6 %'
    """
    return ", ".join(f"{label} {round(100 * cut_off, 1):g} %" for label, cut_off in cut_offs.items())


def cut_offs(bundle: Bundle) -> dict[str, float]:
    """Return the cut-off of each label in force."""
    return {label: rule.cut_off for label, rule in bundle.rules.items()}


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). {_REMEDY}") from None


def _parsed(path: Path, content: bytes) -> SiteThresholds:
    try:
        form: Any = yaml.safe_load(content)
        return TypeAdapter(SiteThresholds).validate_python(form)
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigError(f"{path}: is not valid YAML. {_REMEDY}") from None
    except ValidationError as error:
        complaints = [f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()]
        raise ConfigError(f"{path}: {'; '.join(complaints)}. {_REMEDY}") from None


def _complaints(site: SiteThresholds, bundle: Bundle) -> Iterator[str]:
    weights = bundle.identity.weights_sha256
    if site.thresholds_for != weights:
        yield (
            f"its cut-offs were made for weights {site.thresholds_for[:12]}, the bundle {bundle.folder.name} has "
            f"weights {weights[:12]}"
        )
    elif site.temperature != bundle.manifest.calibration.temperature:
        yield f"its cut-offs were made at another temperature than that of the bundle {bundle.folder.name}"
    labels = Counter(rule.label for rule in site.rules)
    for label in sorted(labels.keys() - bundle.rules.keys()):
        yield f"{label} is no label that this model flags: {', '.join(bundle.rules)}"
    for label in sorted(label for label, count in labels.items() if count > 1):
        yield f"{label} is listed twice"
    for rule in site.rules:
        if rule.uncertain_from > rule.cut_off:
            yield f"{rule.label}: uncertain_from {rule.uncertain_from:g} is above cut_off {rule.cut_off:g}"
        if round(rule.cut_off, 2) != rule.cut_off:
            yield f"{rule.label}: cut_off {rule.cut_off:g} is no whole percent, as reports say cut-offs"
    if not site.rules:
        yield "it has no rule"
