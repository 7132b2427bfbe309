"""One film twice: the same file, the same pixels, or the same film encoded, scaled, shaded or mirrored otherwise.

A film that is trained on and tested on makes the numbers lie, so that one film in two splits is refused.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.progress import track

from node.errors import ConfigError
from training.data import Films
from training.fingerprints import Fingerprint, fingerprints

# Of the 256 bits of `training.fingerprints.looks`. Among 6,447 films of five sources no two are nearer than 40, and those at 40 are of
# different children. Within 32 of their film lie, of copies of 300 films: another size, JPEG quality 30, mirrored or padded 99 %,
# another gray curve 98 %, turned by 1 degree or cut by 1 % of a side 97 %, a white rim 90 %, a new marker 83 %, local contrast 81 %;
# turned by 2 degrees or cut by 2 % half, and what is changed more is not found.
NEAR = 32
# In the same films 10 pairs in different splits are within 44: by eye, 4 are of one patient, all of sources that name no patients.
LOOK_ALIKE = 44
_TAKES_LONG = 20_000  # films: some seconds
_SHOWN = 5
_COLUMNS = ("kind", "bits", "file", "split", "label", "other file", "other split", "other label")

Looks = npt.NDArray[np.uint64]


class Kind(StrEnum):
    """In what way two films are one; a look-alike is two films, perhaps of one patient."""

    SAME_FILE = "same file"
    SAME_PIXELS = "same pixels"
    NEAR = "near duplicate"
    MIRRORED = "mirrored duplicate"
    LOOK_ALIKE = "look-alike"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two films, by their positions, and by how many of 256 bits their looks differ."""

    kind: Kind
    bits: int
    one: int
    other: int


@dataclass(frozen=True)
class Duplicates:
    """Films that are there twice, the most alike first.

    Attributes
    ----------
    across : list of Pair
        One film in two splits.
    within : list of Pair
        One film twice in a split.
    look_alikes : list of Pair
        In two splits; too far apart to be one film for certain, near enough to be one patient.
    """

    across: list[Pair]
    within: list[Pair]
    look_alikes: list[Pair]


def find(films: Films, cache: Path) -> Duplicates:
    """Compare all films with each other.

    Parameters
    ----------
    films : Films
        Readable ones.
    cache : Path
        Of `training.fingerprints`.
    """
    known = fingerprints(films.images, films.files.tolist(), cache)
    prints = {row: one for row, one in enumerate(known.values()) if isinstance(one, Fingerprint)}
    found = sorted(_pairs(prints), key=lambda pair: (pair.bits, list(Kind).index(pair.kind), pair.one, pair.other))
    apart = [films.splits[pair.one] != films.splits[pair.other] for pair in found]
    twice = [pair.kind != Kind.LOOK_ALIKE for pair in found]
    return Duplicates(
        across=[pair for pair, two, same in zip(found, apart, twice, strict=True) if same and two],
        within=[pair for pair, two, same in zip(found, apart, twice, strict=True) if same and not two],
        look_alikes=[pair for pair, two, same in zip(found, apart, twice, strict=True) if two and not same],
    )


def refuse(films: Films, found: Duplicates, where: str) -> None:
    """Refuse films of which one is in two splits.

    Raises
    ------
    ConfigError
        Names the first pairs; `where` says which films, and where all of the pairs are listed.
    """
    if not found.across:
        return
    pairs = "; ".join(f"{described(films, pair)}, {pair.kind}" for pair in found.across[:_SHOWN])
    more = f"; and {len(found.across) - _SHOWN} more" if len(found.across) > _SHOWN else ""
    raise ConfigError(
        f"{where}: one film in two splits, {len(found.across)} times: {pairs}{more}. Leave one film of each pair out"
    )


def described(films: Films, pair: Pair) -> str:
    """Name both films of a pair and their splits."""
    one, other = (f"{films.files[row]} ({films.splits[row]})" for row in (pair.one, pair.other))
    return f"{one} = {other}" if pair.kind != Kind.LOOK_ALIKE else f"{one} and {other}"


def write(films: Films, labels: tuple[str, ...], found: Duplicates, path: Path) -> None:
    """List every pair in a CSV file: the kind, the bits, and file, split and label of both."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(_COLUMNS)
        for pair in (*found.across, *found.look_alikes, *found.within):
            both = [(films.files[n], films.splits[n], labels[films.labels[n]]) for n in (pair.one, pair.other)]
            writer.writerow([pair.kind, pair.bits, *both[0], *both[1]])


def _pairs(prints: dict[int, Fingerprint]) -> Iterator[Pair]:
    rows, ordered = [*prints], [*prints.values()]
    plain, mirrored = (_words([getattr(one, of) for one in ordered]) for of in ("looks", "mirrored"))
    for at in track(range(len(rows) - 1), "comparing films", disable=len(rows) < _TAKES_LONG):
        bits, turned = (_distances(of[at], plain[at + 1 :]) for of in (plain, mirrored))
        for offset in np.flatnonzero((bits <= LOOK_ALIKE) | (turned <= NEAR)):
            other = at + 1 + int(offset)
            kind = _kind(ordered[at], ordered[other], int(bits[offset]), int(turned[offset]))
            apart = turned[offset] if kind == Kind.MIRRORED else bits[offset]
            yield Pair(kind, int(apart), rows[at], rows[other])


def _kind(one: Fingerprint, other: Fingerprint, bits: int, turned: int) -> Kind:
    if one.content == other.content:
        return Kind.SAME_FILE
    if one.pixels == other.pixels:
        return Kind.SAME_PIXELS
    if bits <= NEAR:
        return Kind.NEAR
    return Kind.MIRRORED if turned <= NEAR else Kind.LOOK_ALIKE


def _words(looks: list[str]) -> Looks:
    words: Looks = np.frombuffer(bytes.fromhex("".join(looks)), np.uint64).reshape(len(looks), -1)
    return words


def _distances(one: Looks, others: Looks) -> npt.NDArray[np.uint16]:
    distances: npt.NDArray[np.uint16] = np.bitwise_count(one ^ others).sum(axis=1, dtype=np.uint16)
    return distances
