"""The tables of the report and of the model card, made once from the metrics for both.

A cell is plain text; ``**so**`` stands out. An interval is written "0.929 [0.911, 0.945]".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.measure import AT_WHO, MACRO

NOTHING = "-"
# Of another stage's section: its sentences and its rows of the table of targets.
_TOLD_ELSEWHERE = ("words", "targets")
_ANSWERS = {"urgent": "urgent", "flagged": "flagged", "uncertain": "uncertain", "not_flagged": "not flagged"}
_CLASS_METRICS = {"precision": "precision", "recall": "recall", "f1": "F1", "auc": "AUC"}


@dataclass(frozen=True)
class Table:
    """A table with its caption; the first cell of a row names the row."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """Return the table as Markdown, without the caption; it ends with a line break."""
        lines = (self.headings, ("---",) * len(self.headings), *self.rows)
        return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def interval(value: Sequence[float] | None, sign: str = "") -> str:
    """Write a metric with its interval; with ``sign="+"`` as a difference."""
    if value is None:
        return NOTHING
    middle, low, high = (f"{number:{sign}.3f}" for number in value)
    return f"{middle} [{low}, {high}]"


def share(part: int, whole: int) -> str:
    """Write how many of how many, as a share."""
    return f"{part / whole * 100:.1f} % ({part})" if whole else NOTHING


def film_counts(found: Mapping[str, Any]) -> str:
    """Write how many films of each class there are."""
    return ", ".join(f"{count} {name}" for name, count in found["films"].items() if count)


def abnormal(metrics: Mapping[str, Any]) -> list[str]:
    """Return the names of the classes but the normal one."""
    return list(metrics["films"])[1:]


def classes(metrics: Mapping[str, Any]) -> Table:
    """Precision, recall, F1 and AUC of each class and their mean."""
    values = metrics["metrics"]
    present = [name for name, count in metrics["films"].items() if count]
    rows = [
        (_shown(name), *(interval(values.get(f"{metric} {name}")) for metric in _CLASS_METRICS))
        for name in (*present, *([MACRO] if len(present) > 1 else []))
    ]
    return Table("Each class against all others", ("class", *_CLASS_METRICS.values()), tuple(rows))


def confusion(metrics: Mapping[str, Any]) -> Table:
    """Films by their class and by the class that is most probable."""
    names = list(metrics["films"])
    rows = [(name, *map(str, row)) for name, row in zip(names, metrics["confusion"], strict=True)]
    return Table("Films by class (rows) and most probable class (columns)", ("class", *names), tuple(rows))


def cut_offs(metrics: Mapping[str, Any]) -> Table:
    """Sensitivity and specificity at each cut-off."""
    values = metrics["metrics"]
    rows = [
        (
            label,
            f"{rule['cut_off']:.2f}",
            f"{rule['uncertain_from']:.2f}",
            "yes" if rule["urgent"] else "no",
            *(interval(values.get(f"{metric} {label}")) for metric in ("sensitivity", "specificity", AT_WHO)),
        )
        for label, rule in metrics["about"]["rules"].items()
    ]
    rows.append(
        ("any flag", "", "", "", interval(values.get("sensitivity any")), interval(values.get("specificity any")), "")
    )
    headings = (
        "label",
        "cut_off",
        "uncertain_from",
        "urgent",
        "sensitivity",
        "specificity, normal films",
        "specificity at 90 % sensitivity",
    )
    return Table("At the cut-offs", headings, tuple(rows))


def operating_points(points: Mapping[str, Mapping[str, Any]]) -> Table:
    """Say what the cut-offs were chosen to give, and how surely so many films tell it."""
    rows = [
        (
            label,
            *(
                interval(point[name])
                for name in ("cut_off", "uncertain_from", "sensitivity", "specificity", "coverage")
            ),
            f"{point['films']} of {point['patients']} patients",
        )
        for label, point in points.items()
    ]
    headings = (
        "label",
        "cut_off",
        "uncertain_from",
        "sensitivity",
        "specificity, normal films",
        "flagged or uncertain",
        "films",
    )
    return Table("As they were chosen, on the validation films", headings, tuple(rows))


def answers(metrics: Mapping[str, Any]) -> Table:
    """How often each answer is given, by class."""
    rows = []
    for name, said in metrics["answers"].items():
        films = sum(said.values())
        if films:
            rows.append((name, *(f"{said[kind]} ({said[kind] / films * 100:.0f} %)" for kind in _ANSWERS)))
    return Table("What the node answers, by the film's class", ("class", *_ANSWERS.values()), tuple(rows))


def sources(metrics: Mapping[str, Any]) -> Table:
    """Each source by itself."""
    names = abnormal(metrics)
    headings = (
        "source",
        "films",
        "patients",
        "accuracy",
        *(f"AUC {name}" for name in names),
        "calibration error",
        "uncertain",
    )
    rows = [
        (
            source or "not stated",
            film_counts(found),
            str(found["patients"]),
            interval(found["metrics"]["accuracy"]),
            *(interval(found["metrics"].get(f"auc {name}")) for name in names),
            f"{found['ece']:.3f}",
            interval(found["metrics"].get("uncertain")),
        )
        for source, found in metrics["by_source"].items()
    ]
    return Table("Each source by itself", headings, tuple(rows))


def left_out(metrics: Mapping[str, Any]) -> Table:
    """Each source that was left out, beside what the same source gives when it is not."""
    headings = (
        "source left out",
        "class",
        "films",
        "AUC",
        "AUC when it is in training",
        "sensitivity at the cut-off",
        "specificity at the cut-off",
        "specificity at 90 % sensitivity",
        "calibration error",
    )  # fmt: skip
    return Table("Trained without the source, measured on all its films", headings, tuple(_left_out_rows(metrics)))


def _left_out_rows(metrics: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for source, found in metrics["left_out"].items():
        inside = metrics["by_source"].get(source, {}).get("metrics", {})
        for label in abnormal(metrics):
            if found["films"][label]:
                values = [
                    found["metrics"].get(f"{metric} {label}") for metric in ("sensitivity", "specificity", AT_WHO)
                ]
                yield (
                    source,
                    label,
                    film_counts(found),
                    f"**{interval(found['metrics'].get(f'auc {label}'))}**",
                    interval(inside.get(f"auc {label}")),
                    *map(interval, values),
                    f"{found['ece']:.3f}",
                )


def members(metrics: Mapping[str, Any]) -> Table:
    """Each member of the ensemble by itself, then the ensemble."""
    held = [*((_member(one), one) for one in metrics["members"]), ("**all together**", metrics)]
    rows = [
        (
            name,
            *(interval(one["metrics"].get(metric)) for metric in ("accuracy", f"f1 {MACRO}", f"auc {MACRO}")),
            f"{one['ece']:.3f}",
        )
        for name, one in held
    ]
    return Table(
        "Each member by itself", ("member", "accuracy", "F1 mean", "AUC mean", "calibration error"), tuple(rows)
    )


def _member(found: Mapping[str, Any]) -> str:
    size = f", {found['working_px']} px" if found["working_px"] else ""
    return f"{found['graph']}{size}, seed {found['seed']}"


def fairness(attribute: str, found: Mapping[str, Any]) -> Table:
    """Compare the groups of one attribute, and say where they differ from the rest."""
    shown = {"accuracy": "accuracy", f"auc {MACRO}": "AUC mean", "sensitivity any": "abnormal films flagged", "specificity any": "normal films not flagged"}  # fmt: skip
    rows = []
    for name, group in found["groups"].items():
        cells = (
            [interval(group["metrics"].get(metric)) for metric in shown]
            if group["metrics"]
            else ["too few"] * len(shown)
        )
        marked = [
            f"**{cell}**" if metric in group["differs"] else cell for metric, cell in zip(shown, cells, strict=True)
        ]
        apart = f"{len(group['differs'])} of {len(group['gap'])}" if group["gap"] else NOTHING
        rows.append((name or "not stated", film_counts(group), str(group["patients"]), *marked, apart))
    headings = (attribute, "films", "patients", *shown.values(), "metrics that differ from the rest")
    return Table(f"Films of {', '.join(found['sources'])}, by {attribute}", headings, tuple(rows))


def every_metric(attribute: str, found: Mapping[str, Any]) -> Table:
    """Every metric of every group of one attribute, with its difference to the rest."""
    groups = {name or "not stated": group for name, group in found["groups"].items() if group["metrics"]}
    names = dict.fromkeys(metric for group in groups.values() for metric in group["metrics"])
    headings = ("metric", *(heading for name in groups for heading in (name, f"{name}, difference to the rest")))
    rows = [
        (
            _shown(metric),
            *(
                cell
                for group in groups.values()
                for cell in (
                    interval(group["metrics"].get(metric)),
                    f"**{interval(group['gap'][metric], '+')}**"
                    if metric in group["differs"]
                    else interval(group["gap"].get(metric), "+"),
                )
            ),
        )
        for metric in names
    ]
    return Table(f"Every metric by {attribute}", headings, tuple(rows))


def robustness(metrics: Mapping[str, Any]) -> Table:
    """Accuracy and AUC at each strength of each alteration."""
    found = metrics["robustness"]
    shown = ("accuracy", f"auc {MACRO}", "sensitivity any", "specificity any")
    rows = [("none", "", *(interval(found["untouched"].get(metric)) for metric in shown))]
    for name, one in found["alterations"].items():
        for at in one["strengths"]:
            rows.append((name, f"{at['strength']:g}", *(interval(at.get(metric)) for metric in shown)))
    headings = ("alteration", "strength", "accuracy", "AUC mean", "abnormal films flagged", "normal films not flagged")
    return Table("Altered films", headings, tuple(rows))


def targets(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Set what was aimed at beside what was found, with the command that finds it again."""
    return Table(
        "Targets",
        ("what", "target", "found", "met", "found again by"),
        tuple((row["what"], row["wanted"], row["found"], row["met"], f"`{row['command']}`") for row in rows),
    )


def tried(rows: Sequence[Any]) -> Table:
    """Recipes that were tried, as the recipe's file tells them."""
    return Table(
        "Recipes tried",
        ("recipe", "inside", "left out", "verdict"),
        tuple((row.recipe, row.inside, row.left_out, row.verdict) for row in rows),
    )


def data(metrics: Mapping[str, Any]) -> Table:
    """List the sources, their films and their terms."""
    names = list(metrics["films"])
    rows = [
        (
            source,
            *(str(found["films"][name]) for name in names),
            str(found["patients"]),
            " / ".join(str(count) for count in found["splits"].values()),
            found["terms"],
        )
        for source, found in metrics["data"].items()
    ]
    headings = ("source", *names, "patients", "train / val / test", "license, as the manifest states it")
    return Table("Films by source", headings, tuple(rows))


def explanation(found: Mapping[str, Any], whole: bool = False) -> Iterator[Table]:
    """Lay out what `training.explanation.measure` found: each looker's peak and mass in the lungs and in readers' boxes.

    Where it is not to be told whole, sources and readers are told together.
    """
    groups = {}
    for label, held in found["lungs"].items():
        groups[f"{label}, lungs, all sources"] = held["all"]
        groups |= {f"{label}, lungs, {source}": one for source, one in held["by_source"].items() if whole}
    readers = (found.get("boxes") or {}).get("readers") or {}
    for name in readers if whole else list(readers)[:1]:
        groups |= {f"boxes of {name} readers, {subset}": one for subset, one in readers[name].items()}
    measured = {name: one for name, one in groups.items() if one["metrics"]}
    captions = {"peak": "Share of films whose map peaks there", "mass": "Share of the map that lies there"}
    for kind, caption in captions.items():
        own = [metric for one in measured.values() for metric in one["metrics"] if metric.startswith(f"{kind} ")]
        lookers = list(dict.fromkeys(metric.removeprefix(f"{kind} ") for metric in own))
        lookers.sort(key=lambda looker: looker != "model")
        rows = tuple(
            (name, str(one["films"]), *(interval(one["metrics"].get(f"{kind} {looker}")) for looker in lookers))
            for name, one in measured.items()
        )
        if rows:
            yield Table(f"{caption}, by source and readers" if whole else caption, ("where", "films", *lookers), rows)


def film_checks(found: Mapping[str, Any]) -> Iterator[Table]:
    """Lay out what `training.film_check.measure` found: films refused and altered films noticed, and what is no film."""
    held = {"test films": found["test"], **{f"{source}, left out": one for source, one in found["left_out"].items()}}
    kinds = [*found["test"]["noticed"]]
    rows = tuple(
        (
            name,
            str(one["films"]),
            *(share(one[what], one["films"]) for what in ("refused", "taken_for_turned", "taken_for_inverted")),
            *(share(one["noticed"][kind], one["films"]) for kind in kinds),
        )
        for name, one in held.items()
    )
    headings = (
        "films",
        "how many",
        "refused",
        "taken for turned",
        "taken for inverted",
        *(f"{kind}: noticed" for kind in kinds),
    )
    yield Table("Chest films, as they are and altered", headings, rows)
    pictures = tuple(
        (kind.replace("_", " "), str(one["pictures"]), share(one["refused"], one["pictures"]))
        for kind, one in found["not_films"].items()
    )
    yield Table("Pictures that are no chest films", ("kind", "how many", "refused"), pictures)


def numbers(caption: str, section: Mapping[str, Any]) -> Iterator[Table]:
    """Lay any JSON of another stage out: a table of its single values, and one of each mapping of mappings."""
    single = tuple(
        (_shown(name), _cell(value)) for name, value in section.items() if not isinstance(value, Mapping | str)
    )
    single += tuple((_shown(name), value) for name, value in section.items() if isinstance(value, str))
    if single:
        yield Table(caption, ("what", "value"), single)
    for name, value in section.items():
        if isinstance(value, Mapping) and value and all(isinstance(row, Mapping) for row in value.values()):
            columns = tuple(dict.fromkeys(key for row in value.values() for key in row))
            rows = tuple((_shown(key), *(_cell(row.get(column)) for column in columns)) for key, row in value.items())
            yield Table(f"{caption}: {_shown(name)}", (_shown(name), *map(_shown, columns)), rows)
        elif isinstance(value, Mapping) and value:
            rows = tuple((_shown(key), _cell(of)) for key, of in value.items())
            yield Table(f"{caption}: {_shown(name)}", (_shown(name), "value"), rows)


def _cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or NOTHING
    if isinstance(value, Sequence) and not isinstance(value, str):
        numbers = len(value) == 3 and all(isinstance(v, int | float) for v in value)
        return interval(value) if numbers and value[1] <= value[0] <= value[2] else ", ".join(map(_cell, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{_shown(key)} {_cell(of)}" for key, of in value.items())
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _shown(name: str) -> str:
    return str(name).replace(MACRO, "mean").replace("_", " ").replace("f1 ", "F1 ").replace("auc", "AUC")
