"""Figures into ``performance.json`` and, between marks, into ``performance.md``; the words around the marks are a person's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.bench.measured import Figures, Measured

NAME = "performance"


def merged(path: Path, head: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the form of a JSON file with some parts put in the place of those that it had.

    Parameters
    ----------
    path : Path
        May not exist yet.
    head : mapping
        What is said of the machine now.
    parts : mapping of str to mapping
        Each with ``values``, as `to_json` gives them, and how it was measured.
    """
    held = json.loads(path.read_text()) if path.exists() else {}
    return {**head, "parts": {**held.get("parts", {}), **parts}}


def to_json(figures: Figures) -> list[dict[str, Any]]:
    """Return all values in a JSON-ready form."""
    return [
        {"case": case, "subject": subject, "quantity": quantity, "values": [round(each, 4) for each in values]}
        for case, subject, quantity in figures.keys
        if (values := figures.values(case, subject, quantity))
    ]


def from_json(values: list[dict[str, Any]]) -> Figures:
    """Return what `to_json` was given."""
    return Figures(
        Measured(form["case"], form["subject"], form["quantity"], value) for form in values for value in form["values"]
    )


def filled(text: str, blocks: Mapping[str, str]) -> str:
    """Return a document with blocks put between their marks; what is not between marks stays as it is.

    Raises
    ------
    ValueError
        Where a block's marks are not in the document: its figures would get lost without a word.
    """
    for name, block in blocks.items():
        text = _put(text, f"<!-- figures: {name} -->", block, f"<!-- end: {name} -->")
    return text


def _put(text: str, begin: str, block: str, end: str) -> str:
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"the document has no place for {begin}")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{block}\n{end}{after}"
