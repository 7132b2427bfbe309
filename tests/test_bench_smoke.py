"""Each benchmark runs, on as little as there can be; what it measures proves nothing here."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.bench import backlog, delivery, inference, ingest, pixels, start_up, whole_way
from tests.bench.measured import LEAST, Figures
from tests.bench.tables import table

pytestmark = [pytest.mark.slow, pytest.mark.peers]


def checked(figures: Figures) -> Figures:
    """Figures that are numbers, and can be written down."""
    assert figures.keys
    assert all(math.isfinite(value) for key in figures.keys for value in figures.values(*key))
    assert table(figures).count("\n") > 1
    return figures


def test_the_receivers_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "ASSOCIATIONS", (2,))
    monkeypatch.setattr(ingest, "IMAGES", {kind: {2: 2} for kind in ingest.IMAGES})
    figures = checked(Figures(ingest.measure(tmp_path, LEAST)))
    assert len(figures.subjects(ingest.case("raw 10 MB", 2))) == 6


def test_deliveries_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "OBJECTS_A_ROUND", 1)
    figures = checked(Figures(delivery.measure(tmp_path, LEAST)))
    assert len(figures.cases()) == 4


def test_decoders_are_measured_and_agree(tmp_path: Path) -> None:
    figures = checked(Figures(pixels.measure(tmp_path, LEAST, rows=96, columns=80)))
    assert all(len(figures.subjects(case)) > 1 for case in figures.cases())


def test_readings_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "FILMS_A_ROUND", 1)
    figures = checked(Figures(inference.measure(tmp_path, LEAST)))
    assert figures.subjects(inference.CASE) == ["node", inference.FORWARD, inference.KERAS]


def test_the_whole_way_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_way, "ALONE_A_ROUND", 1)
    monkeypatch.setattr(whole_way, "SENDERS", 2)
    figures = checked(Figures(whole_way.measure(tmp_path, LEAST)))
    assert figures.subjects(whole_way.SENDING) == ["node", whole_way.HANDLER]


def test_a_backlog_is_measured(tmp_path: Path) -> None:
    figures = checked(Figures(backlog.measure(tmp_path, LEAST)))
    assert backlog.growth_of_a_study(figures)
    assert backlog.growth_of_memory(figures)


def test_starts_are_measured(tmp_path: Path) -> None:
    figures = checked(Figures(start_up.measure(tmp_path, LEAST)))
    assert figures.median(start_up.CASE, "node", start_up.ECHO) > 0
