"""What in the films would mislead a model, or whoever reads its numbers, said in words before anything is trained.

Class that goes with source is the trap of public chest films: a linear probe on a random network told tuberculosis with an AUC of
0.93 inside the films of five sources, for each source shows in its borders, blur and markers.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from training.data import Films
from training.duplicates import Duplicates

# Fewer, and a sensitivity of 0.90 is not known to 0.10: 1.96 * sqrt(0.9 * 0.1 / n) (normal approximation of the binomial).
ENOUGH = 35


def traps(films: Films, labels: tuple[str, ...], found: Duplicates) -> list[str]:
    """Return what is to be said of the films, a sentence or two each; the first class is the normal one."""
    return [
        *_class_with_source(films, labels),
        *_few(films, labels),
        *_unknown_patients(films, found),
        *_two_labels(films, labels, found),
    ]


def never_together(films: Films, labels: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the pairs of classes that no source holds both of: what tells them apart may be the source."""
    held = [set(of) for of in _held(films, labels).values()]
    return [pair for pair in combinations(labels, 2) if not any(set(pair) <= of for of in held)]


def told_by_source(films: Films) -> tuple[float, float]:
    """Return the shares of train films whose class is told by the source's commonest class, and by the commonest class alone."""
    train = films.rows("train")
    sources, labels = films.sources[train], films.labels[train]
    by_source = sum(int(np.bincount(labels[sources == source]).max()) for source in np.unique(sources))
    return by_source / len(train), int(np.bincount(labels).max()) / len(train)


def _class_with_source(films: Films, labels: tuple[str, ...]) -> Iterator[str]:
    held = _held(films, labels)
    if len(held) == 1:
        yield "All films are of one source: what a source gives away can be neither seen nor left out."
        return
    for label in labels:
        if len(of := [source for source, classes in held.items() if label in classes]) == 1:
            yield f"{label} comes from {of[0]} alone: what marks that source's films marks the class."
    if alone := [f"{source} ({classes[0]})" for source, classes in held.items() if len(classes) == 1]:
        yield f"One class alone in {_and(alone)}: there, to know the source is to know the class."
    for one, other in never_together(films, labels):
        yield f"No source holds both {one} and {other}: what tells the two apart may be the source."
    known, blind = told_by_source(films)
    if f"{known:.0%}" != f"{blind:.0%}":
        yield (
            f"Knowing only the source, one names the class of {known:.0%} of the train films; knowing nothing, "
            f"of {blind:.0%}. Judge a model by sources left out."
        )


def _few(films: Films, labels: tuple[str, ...]) -> Iterator[str]:
    counts = np.bincount(films.labels[films.rows("val")], minlength=len(labels))
    if few := [f"{label} {count}" for label, count in zip(labels[1:], counts[1:], strict=True) if count < ENOUGH]:
        yield f"Few films in val ({', '.join(few)}): with fewer than {ENOUGH}, a cut-off's sensitivity is not known to 0.10."
    unseen = [str(s) for s in np.unique(films.sources) if "test" not in films.splits[films.sources == s]]
    if unseen:
        yield f"No test film of {_and(unseen)}: the test split says nothing of {'it' if len(unseen) == 1 else 'them'}."


def _unknown_patients(films: Films, found: Duplicates) -> Iterator[str]:
    alone = [
        str(source)
        for source in np.unique(films.sources)
        if len(set(films.patients[films.sources == source])) == (films.sources == source).sum()
    ]
    if alone:
        yield (
            f"As many patients as films in {_and(alone)}: if the patients are only not known, some may be in two splits, "
            "unseen by any check here."
        )
    if count := len(found.look_alikes):
        yield f"{count} pairs of films in different splits look alike (look_alikes.png): see whether they are of one patient."


def _two_labels(films: Films, labels: tuple[str, ...], found: Duplicates) -> Iterator[str]:
    differ = [pair for pair in found.within if films.labels[pair.one] != films.labels[pair.other]]
    if differ:
        one, other = (f"{films.files[row]} ({labels[films.labels[row]]})" for row in (differ[0].one, differ[0].other))
        yield f"One film under two labels, {len(differ)} times, as {one} = {other}: one of the labels is wrong."


def _held(films: Films, labels: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the classes of each source, both in order."""
    return {
        str(source): [labels[index] for index in np.unique(films.labels[films.sources == source])]
        for source in np.unique(films.sources)
    }


def _and(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
