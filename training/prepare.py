"""The first stage: films checked, counted, compared and looked at, before anything is made from them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from node.errors import ConfigError
from training.contact_sheet import contact_sheet, pairs_sheet
from training.data import SPLITS, Films, read_films
from training.duplicates import Duplicates, described, find, refuse, write
from training.fingerprints import CACHE
from training.folders import Layout, manifest_from_folders
from training.recipe import Recipe, file_digest
from training.traps import traps

_FOLDER, _FOUND, _SHEET, _LIST, _LOOK_ALIKES = (
    "prepare",
    "prepare.json",
    "contact_sheet.png",
    "duplicates.csv",
    "look_alikes.png",
)
_SHOWN = 10
_KNOWN = ("sex", "age", "view")

Chosen = npt.NDArray[np.bool_]


def prepare(recipe: Recipe, runs: Path, console: Console) -> Films:
    """Check the films, print what they are, and draw them; where there is no manifest, make one of folders.

    Parameters
    ----------
    recipe : Recipe
    runs : Path
        What was found is written to its folder ``prepare``: prepare.json, contact_sheet.png, duplicates.csv and, where films in
        different splits look alike, look_alikes.png.
    console : Console

    Returns
    -------
    Films
        The readable ones.

    Raises
    ------
    ConfigError
        What `read_films` refuses, and one film in two splits. A manifest made here does not outlive the refusal, so that the
        folders can be mended.
    """
    manifest, made = recipe.data.manifest, not recipe.data.manifest.exists()
    if made:
        _say_layout(console, recipe, manifest_from_folders(recipe.data.images, manifest, recipe.labels))
    folder = runs / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    try:
        films, found = _checked(recipe, runs, folder / _LIST)
    except ConfigError:
        if made:
            manifest.unlink()
        raise
    warnings = traps(films, recipe.labels, found)
    _say(console, films, recipe.labels, found, warnings)
    _draw(films, recipe, found, folder)
    (folder / _FOUND).write_text(json.dumps(_form(films, recipe, found, warnings), indent=1) + "\n")
    console.print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}", markup=False)
    return films


def _checked(recipe: Recipe, runs: Path, listed: Path) -> tuple[Films, Duplicates]:
    manifest = recipe.data.manifest
    films = read_films(manifest, recipe.data.images, recipe.labels, cache=runs / CACHE)
    found = find(films, runs / CACHE)
    write(films, recipe.labels, found, listed)
    refuse(films, found, f"{manifest} (every pair is in {listed})")
    return films, found


def _draw(films: Films, recipe: Recipe, found: Duplicates, folder: Path) -> None:
    contact_sheet(films, recipe.labels, recipe.preprocessing, folder / _SHEET)
    (folder / _LOOK_ALIKES).unlink(missing_ok=True)
    if found.look_alikes:
        pairs_sheet(films, found.look_alikes, recipe.preprocessing, folder / _LOOK_ALIKES)


def _say_layout(console: Console, recipe: Recipe, layout: Layout) -> None:
    named = "; ".join(f"{count} by file names as {name}'s" for name, count in layout.patient_in_name.items())
    alone = layout.films - sum(layout.patient_in_name.values())
    own = f"{alone} films count as a patient each, for their names carry none" if alone else ""
    said = f"{recipe.data.manifest}: made of the folders, {layout.films} films, all of one source; delete it to have it made anew"
    console.print(said, markup=False)
    console.print(f"Patients: {'; '.join(filter(None, (named, own)))}", markup=False)
    if layout.passed_over:
        console.print(Text(f"Passed over, for no class is called so: {', '.join(layout.passed_over)}", "yellow"))


def _say(console: Console, films: Films, labels: tuple[str, ...], found: Duplicates, warnings: list[str]) -> None:
    console.print(_table(films, labels))
    kinds = Counter(pair.kind.value for pair in found.within)
    twice = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "none"
    console.print(f"Films in two splits: none. Pairs within one split: {twice}")
    _list(console, [f"{described(films, pair)}, {pair.kind}" for pair in found.within])
    console.print(f"Not readable, left out by every stage: {len(films.unreadable) or 'none'}")
    _list(console, [f"{file}: {why}" for file, why in films.unreadable.items()])
    console.print(f"What would mislead:{'' if warnings else ' nothing that shows here'}")
    _list(console, warnings, "yellow")


def _list(console: Console, lines: list[str], style: str = "") -> None:
    """Print a line each, the first ten; what follows a break stands below the text, not below the hyphen."""
    grid = Table.grid(padding=(0, 1))
    for line in lines[:_SHOWN]:
        grid.add_row(" -", Text(line, style))
    if len(lines) > _SHOWN:
        grid.add_row("", f"and {len(lines) - _SHOWN} more")
    if lines:
        console.print(grid)


def _table(films: Films, labels: tuple[str, ...]) -> Table:
    caption = "sex, age, view: how many films they are known of"
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, caption=caption, caption_justify="left")
    table.add_column("class")
    table.add_column("source")
    for heading in (*SPLITS, "films", "patients", *_KNOWN):
        table.add_column(heading, justify="right")
    for index, label in enumerate(labels):
        for number, (source, chosen) in enumerate(_groups(films, index)):
            table.add_row("" if number else escape(label), escape(source), *_cells(films, chosen))
        table.add_section()
    table.add_row("all", "", *_cells(films, np.ones(len(films), bool)), style="bold")
    return table


def _groups(films: Films, index: int) -> Iterator[tuple[str, Chosen]]:
    """Give each source that holds a class, with its films of the class."""
    for source in np.unique(films.sources[films.labels == index]):
        yield str(source), (films.labels == index) & (films.sources == source)


def _cells(films: Films, chosen: Chosen) -> Iterator[str]:
    counted = _counts(films, chosen)
    yield from (f"{counted[name] or '-'}" for name in (*SPLITS, "films", "patients"))
    yield from ("all" if known == counted["films"] else f"{known or '-'}" for known in _known(films, chosen).values())


def _counts(films: Films, chosen: Chosen) -> dict[str, int]:
    splits = {split: int((chosen & (films.splits == split)).sum()) for split in SPLITS}
    return {**splits, "films": int(chosen.sum()), "patients": len(set(films.patients[chosen].tolist()))}


def _known(films: Films, chosen: Chosen) -> dict[str, int]:
    """Count the films of which sex, age and view are known."""
    return {name: int((getattr(films, name)[chosen] != "").sum()) for name in _KNOWN}


def _form(films: Films, recipe: Recipe, found: Duplicates, warnings: list[str]) -> dict[str, Any]:
    everything = np.ones(len(films), bool)
    return {
        "manifest": file_digest(recipe.data.manifest),
        **_counts(films, everything),
        "known": _known(films, everything),
        "classes": {
            label: {
                source: {**_counts(films, chosen), "known": _known(films, chosen)}
                for source, chosen in _groups(films, index)
            }
            for index, label in enumerate(recipe.labels)
        },
        "pairs_within_a_split": dict(Counter(pair.kind.value for pair in found.within)),
        "look_alikes": [described(films, pair) for pair in found.look_alikes],
        "unreadable": films.unreadable,
        "warnings": warnings,
    }
