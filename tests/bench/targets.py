"""What the node is to reach, and by how much it is reached or missed. Nothing fails by it: a busy machine is no fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tests.bench import backlog, delivery, inference, ingest, start_up, whole_way
from tests.bench.measured import Figures
from tests.bench.tables import number

NODE = "node"
_CPU = "CPU ms an image"


@dataclass(frozen=True)
class Target:
    """A bound for one figure of a part.

    Attributes
    ----------
    part, text : str
    bound : float
    at_most : bool
        Whether the figure is to be at most, else at least, the bound.
    figure : callable
        Takes the part's figures; None where it was not measured.
    """

    part: str
    text: str
    bound: float
    at_most: bool
    figure: Callable[[Figures], float | None]

    def verdict(self, found: float) -> str:
        """Return whether a figure reaches the bound, and by which factor it misses it."""
        met = found <= self.bound if self.at_most else found >= self.bound
        if met:
            return "met"
        worse = found / self.bound if self.at_most else self.bound / found if found else float("inf")
        return f"missed, {number(worse)} x"


def judged(parts: Mapping[str, Figures]) -> Iterator[tuple[str, str, float, str]]:
    """Yield the part, text, figure and verdict of every target whose figure was measured."""
    for target in TARGETS:
        found = target.figure(parts[target.part]) if target.part in parts else None
        if found is not None:
            yield target.part, target.text, found, target.verdict(found)


def target_table(parts: Mapping[str, Figures]) -> str:
    """Return the targets and what became of them, as a Markdown table."""
    rows = [f"| {part} | {text} | {number(found)} | {verdict} |" for part, text, found, verdict in judged(parts)]
    return "\n".join(["| part | target | measured | |", "| --- | --- | ---: | --- |", *rows])


def _median(case: str, subject: str, quantity: str) -> Callable[[Figures], float | None]:
    return lambda figures: figures.median(case, subject, quantity)


def _p95(case: str, subject: str, quantity: str) -> Callable[[Figures], float | None]:
    return lambda figures: figures.p95(case, subject, quantity)


def _ratio(case: str, subject: str, other: str, quantity: str) -> Callable[[Figures], float | None]:
    return lambda figures: figures.ratio(case, subject, other, quantity)


def _ingest(kind: str, other: str, quantity: str) -> Callable[[Figures], float | None]:
    return _ratio(ingest.case(kind, ingest.TARGETED), NODE, other, quantity)


_LATER = whole_way.LATENCY
TARGETS = (
    Target(
        whole_way.PART,
        "last byte to SR stored, beyond settle_s: p50 at most 120 ms",
        120,
        True,
        _median(whole_way.ALONE, NODE, _LATER),
    ),
    Target(whole_way.PART, "the same: p95 at most 200 ms", 200, True, _p95(whole_way.ALONE, NODE, _LATER)),
    Target(
        whole_way.PART,
        "at least 10 times sooner than everything in the handler",
        10,
        False,
        _ratio(whole_way.ALONE, whole_way.HANDLER, NODE, _LATER),
    ),
    Target(
        whole_way.PART, "four senders: at least 10 images/s", 10, False, _median(whole_way.SENDING, NODE, "images/s")
    ),
    Target(
        whole_way.PART,
        "four senders: at most 100 ms of the node's CPU an image",
        100,
        True,
        _median(whole_way.SENDING, NODE, _CPU),
    ),
    Target(
        ingest.PART,
        "raw 10 MB, 4 associations: at most the CPU of storescp --fork",
        1.0,
        True,
        _ingest("raw 10 MB", ingest.DCMTK, _CPU),
    ),
    Target(
        ingest.PART,
        "JPEG Lossless, 4 associations: at most 1.3 times the CPU of storescp --fork",
        1.3,
        True,
        _ingest("JPEG Lossless", ingest.DCMTK, _CPU),
    ),
    Target(
        ingest.PART,
        "raw 10 MB, 4 associations: at least 0.9 of the images/s of storescp --fork",
        0.9,
        False,
        _ingest("raw 10 MB", ingest.DCMTK, "images/s"),
    ),
    Target(
        ingest.PART,
        "raw 10 MB, 4 associations: at least 4 times the images/s of pynetdicom storescp",
        4,
        False,
        _ingest("raw 10 MB", ingest.STOCK, "images/s"),
    ),
    Target(
        delivery.PART,
        "10 kB to Orthanc: median at most 4 ms",
        4,
        True,
        _median(delivery.case("10 kB", "Orthanc"), NODE, delivery.LATENCY),
    ),
    Target(
        inference.PART,
        "map, features and spread: at most 1.05 times the forward pass",
        1.05,
        True,
        _ratio(inference.CASE, NODE, inference.FORWARD, inference.CPU),
    ),
    Target(
        backlog.PART,
        "a study done with the most waiting: at most 1.2 times the cost with the fewest",
        1.2,
        True,
        backlog.growth_of_a_study,
    ),
    Target(
        backlog.PART,
        "memory with the most waiting: at most 1.2 times that with the fewest",
        1.2,
        True,
        backlog.growth_of_memory,
    ),
    Target(start_up.PART, "C-ECHO answered within 1 s", 1.0, True, _median(start_up.CASE, NODE, start_up.ECHO)),
    Target(start_up.PART, "first result within 15 s", 15.0, True, _median(start_up.CASE, NODE, start_up.RESULT)),
)
