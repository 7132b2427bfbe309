"""What was found and what to type, on a terminal or as JSON."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from node import __version__
from node.config import Settings
from node.doctor import instructions
from node.doctor.findings import Finding, State, all_well

_STYLES = {State.GOOD: "green", State.NOTE: "yellow", State.BAD: "bold red"}
_INDENT = " " * 6


def to_json(findings: list[Finding], settings: Settings | None) -> dict[str, Any]:
    """Return everything in a JSON-ready form; without settings, for they could not be read, the findings alone."""
    form: dict[str, Any] = {
        "version": __version__,
        "well": all_well(findings),
        "findings": [
            {"subject": each.subject, "state": str(each.state), "found": each.found, "mend": each.mend}
            for each in findings
        ],
    }
    if settings is None:
        return form
    return form | {
        "for_the_pacs": dict(instructions.table(settings)),
        "orthanc": instructions.orthanc(settings),
        "dcm4chee": instructions.dcm4chee(settings),
        "for_the_node": [instructions.configuration(each) for each in settings.destinations or (None,)],
    }


def render(console: Console, findings: list[Finding], settings: Settings | None) -> None:
    """Print everything; each trouble with its mend below it."""
    for each in findings:
        console.print(
            f"[{_STYLES[each.state]}]{each.state:4}[/]  [bold]{escape(each.subject)}[/]: {escape(each.found)}"
        )
        if each.mend:
            console.print(f"{_INDENT}-> {escape(each.mend)}")
    if settings:
        _instruct(console, settings)
    troubles = sum(each.state is State.BAD for each in findings)
    words = f"{troubles} to mend." if troubles else "Nothing to mend."
    console.print(f"\n[bold]{words}[/]")


def _instruct(console: Console, settings: Settings) -> None:
    table = Table(title="What to type into the PACS", title_justify="left", show_header=False)
    for row in instructions.table(settings):
        table.add_row(*map(escape, row))
    console.print("", table, "\nOrthanc, in orthanc.json:", Text(instructions.orthanc(settings)), sep="\n")
    console.print("\ndcm4chee-arc, in its user interface:")
    for number, step in enumerate(instructions.dcm4chee(settings), start=1):
        console.print(Text(f"{number}. {step}"))
    console.print("\nWhat the node's configuration says of the PACS, which must be what the PACS says of itself:")
    for each in settings.destinations or (None,):
        console.print(Text(instructions.configuration(each)))
    for key, where in instructions.WHERE.items():
        console.print(Text(f"  {key}: {where}"))
