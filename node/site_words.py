"""What a site's cases say, as an administrator reads it in a terminal, and the file that is made of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from node.bundle import Bundle
from node.operating_points import Interval
from node.site_calibration import Choice, Compared, Found, cautions
from node.site_thresholds import write

_FIRST, _OTHER = 44, 24


def concluded(found: Found, bundle: Bundle, out: Path | None) -> str:
    """Write the site's file where one is wanted, and return all there is to say.

    Raises
    ------
    ConfigError
        Where the file cannot be written.
    """
    if out is None:
        return f"{told(found)}\n\nNothing was written: --out FILE keeps the cut-offs of these cases."
    write(out, bundle, found.made, found.rules)
    return f"{told(found)}\n\nWritten: {out}. Name it in the configuration as model.thresholds, and restart the node."


def told(found: Found) -> str:
    """Return the cases, the cut-offs of each class beside the model's, and what must be known before they are used."""
    blocks = [[_cases(found)], *([*_block(found, held)] for held in found.compared), [*_together(found)]]
    blocks.append([f"! {caution}" for caution in cautions(found)])
    return "\n\n".join("\n".join(block) for block in blocks if block)


def left_out(reasons: Counter[str]) -> str:
    """Return how many films were left out and why, or nothing."""
    listed = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    return f"Left out, as the node does: {listed}." if listed else ""


def _cases(found: Found) -> str:
    films, patients = found.cases.films(), found.cases.counted()
    listed = ", ".join(f"{films[name]} {name} ({patients[name]} patients)" for name in films)
    return f"Cases: {listed}. 95 % intervals by patient in brackets."


def _block(found: Found, held: Compared) -> Iterator[str]:
    normal = found.cases.names[0]
    yield _line(f"{held.label}, sensitivity {100 * found.wanted.sensitivity:g} % wanted", "these cases", "the model")
    rows: dict[str, Callable[[Choice], str]] = {
        "flagged from": lambda choice: _whole(choice.point.cut_off),
        "uncertain from": lambda choice: _whole(choice.point.uncertain_from),
        f"of {held.label}, flagged (sensitivity)": lambda choice: _share(choice.point.sensitivity),
        f"of {held.label}, flagged or uncertain": lambda choice: _share(choice.point.coverage),
        f"of {normal}, not flagged (specificity)": lambda choice: _share(choice.point.specificity),
    }
    for what, say in rows.items():
        yield _line(f"  {what}", *(say(choice) if choice else "-" for choice in (held.own, held.model)))
    if held.label in found.wanted.prevalences:
        yield from _expected(found, held)


def _expected(found: Found, held: Compared) -> Iterator[str]:
    yield f"  Where {100 * found.wanted.prevalences[held.label]:g} % of the studies are {held.label}"
    both = [choice.outlook if choice else None for choice in (held.own, held.model)]
    rows = {
        "flagged, of 100 studies of one film": [_number(outlook.flagged) if outlook else "-" for outlook in both],
        "of the flagged, with it (PPV)": [_share(outlook.positive) if outlook else "-" for outlook in both],
        "of the others, without it (NPV)": [_share(outlook.negative) if outlook else "-" for outlook in both],
    }
    for what, values in rows.items():
        yield _line(f"    {what}", *values)


def _together(found: Found) -> Iterator[str]:
    if not found.answers:
        return
    yield _line("All classes, of 100 studies of one film", "these cases", "the model")
    for number, what in enumerate(("flagged", "uncertain")):
        yield _line(f"  {what}", *(_number(found.answers[whose][number]) for whose in ("own", "model")))


def _line(first: str, *others: str) -> str:
    return (first.ljust(_FIRST) + "".join(other.ljust(_OTHER) for other in others)).rstrip()


def _whole(interval: Interval) -> str:
    """Say a cut-off, with its interval where it has one."""
    value, low, high = (round(100 * number, 1) for number in interval)
    return f"{value:g} %" if low == value == high else f"{value:g} % [{low:.0f}, {high:.0f}]"


def _share(interval: Interval) -> str:
    value, low, high = (100 * number for number in interval)
    return "-" if value != value else f"{value:.1f} % [{low:.1f}, {high:.1f}]"


def _number(interval: Interval) -> str:
    value, low, high = (100 * number for number in interval)
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"
