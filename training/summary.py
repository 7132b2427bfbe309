"""In words: what a model is worth, whether targets were met, and what could not be known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from training.measure import AT_WHO, MACRO, WHO_SENSITIVITY, WHO_SPECIFICITY
from training.tables import abnormal, interval

DISCLAIMER = "It supplements and never replaces a reader. Research and education only, not for diagnosis."
_COMMAND = "cxr-train evaluate"


def headline(metrics: Mapping[str, Any]) -> list[str]:
    """Return the few sentences a reader needs: what the model is worth inside, and where it never was."""
    return [*_bundle_headline(metrics)] if metrics["about"]["kind"] == "bundle" else [*_run_headline(metrics)]


def _run_headline(metrics: Mapping[str, Any]) -> Iterator[str]:
    films, values, left_out = sum(metrics["films"].values()), metrics["metrics"], metrics.get("left_out") or {}
    inside = f"At hospitals it learned from, this model calls {_percent(values['accuracy'])} of films rightly"
    if not left_out:
        yield f"{inside}; what it is worth at a hospital it never saw was not measured."
        return
    outside = []
    for label in abnormal(metrics):
        found = [one["metrics"][f"auc {label}"][0] for one in left_out.values() if f"auc {label}" in one["metrics"]]
        if found:
            outside.append(f"{label.lower()} with an AUC of {_span(found)}")
    yield f"{inside}; at a hospital it never saw, it tells {_listed(outside)}, where a coin has 0.5."
    yield (
        f"Inside, {films} test films of {metrics['patients']} patients were measured; outside, "
        f"{sum(sum(one['films'].values()) for one in left_out.values())} films of {_listed([*left_out])}, each left out of a "
        "training of its own."
    )
    yield "Expect the figures of sources left out, not those inside, and measure the model on films of your own first."


def _bundle_headline(metrics: Mapping[str, Any]) -> Iterator[str]:
    films, values, about = sum(metrics["films"].values()), metrics["metrics"], metrics["about"]
    yield (
        f"On these {films} films of {metrics['patients']} patients the model calls {_percent(values['accuracy'])} rightly."
    )
    for name in metrics["films"]:
        if f"auc {name}" in values and name in abnormal(metrics):
            yield f"{name}: AUC {interval(values[f'auc {name}'])}; a coin has 0.5."
    if not any(name.startswith("auc ") for name in values):
        yield "Films of one class alone say nothing of how well classes are told apart."
    known = sorted(set(metrics["by_source"]) & set(about["trained_on"]))
    new = sorted(set(metrics["by_source"]) - set(about["trained_on"]))
    if known:
        yield (
            f"The model was trained on films of {_listed(known)}, perhaps on some of these very films: "
            "that part says little of a hospital it never saw."
        )
    if new:
        yield f"No film of {_listed([name or 'sources not stated' for name in new])} was in its training, if the names say so."


def confounding(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Say which classes no source holds together: what tells them apart may be the source."""
    held = {
        source: {name for name, count in found["films"].items() if count} for source, found in metrics["data"].items()
    }
    names = list(metrics["films"])
    if all(len(own) == len(names) for own in held.values()):
        return
    of_source = "; ".join(f"{source}: {', '.join(n for n in names if n in own)}" for source, own in held.items())
    yield f"**Class goes with source in these data** ({of_source}). Accuracy inside the data proves little: see the controls."
    for one, other in combinations(names, 2):
        if not any({one, other} <= own for own in held.values()):
            yield (
                f"**No source holds both {one.lower()} and {other.lower()}**: "
                "what tells the two apart here may be the hospital."
            )


def controls(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Say what the controls found."""
    probe = metrics["controls"]["source_from_normal_films"]
    if probe["balanced_accuracy"] is None:
        yield "The source cannot be told from the features of normal films here: fewer than two sources have any in both splits."
    else:
        yield (
            f"The source of a *normal* film ({_listed(probe['sources'])}) is told from the model's features with balanced "
            f"accuracy {probe['balanced_accuracy']:.3f}, where chance is {probe['chance']:.3f}: the features know the hospital "
            "to that degree."
        )
    random = metrics["controls"].get("random")
    if random:
        values = random["metrics"]
        aucs = ", ".join(
            f"{name} {values[f'auc {name}'][0]:.3f}" for name in metrics["films"] if f"auc {name}" in values
        )
        yield (
            f"The same recipe from **random** weights: accuracy {interval(values['accuracy'])}, AUC {aucs}, inside. "
            "At least that much of the inside numbers needs no knowledge of the world."
        )


def fairness(found: Mapping[str, Any]) -> Iterator[str]:
    """Say of what `training.fairness.fairness` found what was compared, what stood out, and what cannot be known."""
    if found["comparisons"]:
        chance = round(found["comparisons"] * 0.05)
        yield (
            f"{found['excluding_zero']} of {found['comparisons']} differences between a group and the rest have a 95 % interval "
            f"that excludes zero; about {chance} would by chance alone, were all groups alike and the metrics independent."
        )
    if "source" in found["attributes"]:
        yield "Sources hold different classes, so that a difference between sources may be one between classes."
    yield from found["unknown"]


def explanation(found: Mapping[str, Any]) -> Iterator[str]:
    """Say how often the maps of films rightly flagged point into the lungs, beside points that know nothing."""
    for label, groups in found["lungs"].items():
        values = groups["all"]["metrics"]
        if "peak model" in values:
            others = [
                f"{name} {interval(values[f'peak {name}'])}"
                for name in ("random", "anywhere")
                if f"peak {name}" in values
            ]
            yield (
                f"{label}, test films rightly flagged: the map's peak lies in the lungs in a share of "
                f"{interval(values['peak model'])}" + (f" ({'; '.join(others)})." if others else ".")
            )


def targets(metrics: Mapping[str, Any], wanted: Any) -> list[dict[str, str]]:
    """Return what was aimed at beside what was found, row by row.

    Parameters
    ----------
    metrics : mapping
        As `training.evaluate.evaluate` builds it.
    wanted : Targets
        Of the recipe.

    Returns
    -------
    list of dict
        With ``what``, ``wanted``, ``found``, ``met`` and ``command``, all text. "within error" where the interval holds the
        target.
    """
    values, names = metrics["metrics"], list(metrics["films"])
    rows = []
    if wanted.accuracy is not None:
        rows.append(_least("accuracy, test films", wanted.accuracy, values.get("accuracy")))
    for metric, title in (("f1", "F1"), ("auc", "AUC")):
        least = getattr(wanted, metric)
        if least is not None:
            rows += [_least(f"{title} of {name}, test films", least, values.get(f"{metric} {name}")) for name in names]
    if wanted.ece is not None:
        met = "yes" if metrics["ece"] <= wanted.ece else "**no**"
        rows.append(_row("calibration error, test films", f"at most {wanted.ece:.2f}", f"{metrics['ece']:.3f}", met))
    return [
        *rows,
        *_left_out_targets(metrics, wanted.left_out),
        *_film_check_targets(metrics.get("film_checks"), wanted),
    ]


def _left_out_targets(metrics: Mapping[str, Any], least: Mapping[str, float]) -> Iterator[dict[str, str]]:
    left_out = metrics.get("left_out", {})
    for source, auc in least.items():
        values = left_out.get(source, {}).get("metrics")
        if values is None:
            yield _least(f"AUC, {source} left out", auc, None)
            continue
        for label in (label for label in abnormal(metrics) if f"auc {label}" in values):
            yield _least(f"AUC of {label}, {source} left out", auc, values[f"auc {label}"])
    urgent = [label for label, rule in metrics["about"]["rules"].items() if rule["urgent"]]
    for source, found in left_out.items():
        for label in urgent:
            if f"{AT_WHO} {label}" in found["metrics"]:
                what = f"specificity for {label} at {WHO_SENSITIVITY * 100:.0f} % sensitivity, {source} left out (WHO's bar for triage)"
                yield _least(what, WHO_SPECIFICITY, found["metrics"][f"{AT_WHO} {label}"])


def _film_check_targets(found: Mapping[str, Any] | None, wanted: Any) -> Iterator[dict[str, str]]:
    if not found:
        return
    if wanted.not_films is not None:
        seen, refused = (sum(one[what] for one in found["not_films"].values()) for what in ("pictures", "refused"))
        yield _share("pictures that are no chest films, refused", wanted.not_films, refused, seen)
    if wanted.altered is not None:
        for kind, count in found["test"]["noticed"].items():
            yield _share(f"test films {kind}, noticed", wanted.altered, count, found["test"]["films"])
    for source, one in found["left_out"].items() if wanted.refused is not None else ():
        what = f"chest films of {source} refused, the check made without it"
        yield _share(what, wanted.refused, one["refused"], one["films"], most=True)


def _share(what: str, bound: float, part: int, whole: int, most: bool = False) -> dict[str, str]:
    met = part <= bound * whole if most else part >= bound * whole
    return _row(
        what, f"at {'most' if most else 'least'} {bound:.2f}", f"{part / whole:.3f}", "yes" if met else "**no**"
    )


def _least(what: str, least: float, found: Sequence[float] | None) -> dict[str, str]:
    if found is None:
        return _row(what, f"at least {least:.2f}", "-", "**not measured**")
    value, low, high = found
    error = ", within error" if low < least <= high else ""
    return _row(what, f"at least {least:.2f}", interval(found), f"yes{error}" if value >= least else f"**no{error}**")


def _row(what: str, wanted: str, found: str, met: str) -> dict[str, str]:
    return {"what": what, "wanted": wanted, "found": found, "met": met, "command": _COMMAND}


def means(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return the few figures that stand at the top, by name."""
    values = metrics["metrics"]
    found = {
        "accuracy": interval(values["accuracy"]),
        "F1, mean of classes": interval(values.get(f"f1 {MACRO}")),
        "AUC, mean of classes": interval(values.get(f"auc {MACRO}")),
        "calibration error": f"{metrics['ece']:.3f}",
    }
    for source, held in metrics.get("left_out", {}).items():
        for label in abnormal(metrics):
            if f"auc {label}" in held["metrics"]:
                found[f"AUC {label}, {source} left out"] = interval(held["metrics"][f"auc {label}"])
    return found


def _percent(value: Sequence[float]) -> str:
    return f"{value[0] * 100:.1f} % [{value[1] * 100:.1f}, {value[2] * 100:.1f}]"


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"
