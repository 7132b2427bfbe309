"""Figures as a Markdown table."""

from __future__ import annotations

from tests.bench.measured import Figures

# Of these the 95th percentile is told, too: what counts of a latency is the bad case.
LATENCIES = ("to SR stored", "until answered")


def table(figures: Figures) -> str:
    """Return a table of medians; in brackets, how many times as much as the first subject of the case has.

    Returns
    -------
    str
        Markdown, a row for each case and subject, a column for each quantity.
    """
    columns = [(quantity, tail) for quantity in figures.quantities() for tail in _tails(quantity)]
    head = ["", "", *(f"{quantity}, p95" if tail else quantity for quantity, tail in columns)]
    rows = [head, ["---", "---", *("---:" for _ in columns)]]
    for case in figures.cases():
        for subject in figures.subjects(case):
            cells = (_cell(figures, case, subject, quantity, tail) for quantity, tail in columns)
            rows.append([case, subject, *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _tails(quantity: str) -> tuple[bool, ...]:
    return (False, True) if any(word in quantity for word in LATENCIES) else (False,)


def _cell(figures: Figures, case: str, subject: str, quantity: str, is_tail: bool) -> str:
    value = figures.p95(case, subject, quantity) if is_tail else figures.median(case, subject, quantity)
    if value is None:
        return ""
    first = figures.subjects(case)[0]
    times = None if is_tail or subject == first else figures.ratio(case, subject, first, quantity)
    return number(value) + (f" ({number(times)} x)" if times is not None else "")


def number(value: float) -> str:
    """Return a number with three digits that mean something, or all before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".") if value else "0"
