"""The arithmetic of the benchmarks: what is made of the values, and how it is written down."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.bench import backlog, document, plots, sender
from tests.bench.machine import file_system
from tests.bench.measured import Figures, Measured, percentile, ratio
from tests.bench.processes import Meter, cpu_ms, rss_mb, tree
from tests.bench.tables import number, table
from tests.bench.targets import TARGETS, Target, judged, target_table

CPU, LATENCY = "CPU ms an image", "ms until answered"
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "performance.md"


def figures(**values: list[float]) -> Figures:
    """Figures of one case, by subject."""
    return Figures(Measured("films", subject, CPU, value) for subject, each in values.items() for value in each)


def test_the_median_of_an_even_number_lies_between_the_middle_ones() -> None:
    assert figures(node=[4.0, 1.0, 2.0, 3.0]).median("films", "node", CPU) == 2.5


def test_what_was_not_measured_has_no_figure() -> None:
    found = figures(node=[1.0])
    assert found.median("films", "peer", CPU) is None
    assert found.p95("films", "peer", CPU) is None
    assert found.ratio("films", "node", "peer", CPU) is None


@pytest.mark.parametrize(
    ("count", "expected"), [(1, 1), (2, 2), (19, 19), (20, 19), (21, 20), (40, 38), (100, 95), (101, 96)]
)
def test_the_95th_percentile_is_a_value_that_95_of_100_do_not_exceed(count: int, expected: int) -> None:
    assert percentile(list(range(count, 0, -1)), 95) == expected


def test_a_ratio_of_values_taken_in_turns_is_the_median_of_the_turns() -> None:
    """In the second turn the machine was busy, for both."""
    assert ratio([10.0, 90.0, 12.0], [5.0, 45.0, 6.0]) == 2.0


def test_a_ratio_of_values_not_taken_in_turns_is_that_of_the_medians() -> None:
    assert ratio([10.0, 20.0, 30.0, 40.0], [5.0]) == 5.0


@pytest.mark.parametrize(("values", "others"), [([], [1.0]), ([1.0], []), ([1.0], [0.0])])
def test_nothing_is_divided_by_nothing(values: list[float], others: list[float]) -> None:
    assert ratio(values, others) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0123456, "0.0123"),
        (1, "1.00"),
        (9.996, "10.0"),
        (12.34, "12.3"),
        (99.96, "100"),
        (123.4, "123"),
        (12345.6, "12,346"),
    ],
)
def test_numbers_have_the_digits_that_mean_something(value: float, text: str) -> None:
    assert number(value) == text


def test_a_table_has_medians_and_how_many_times_as_much_as_the_first_subject() -> None:
    values = [Measured("films", "node", CPU, 10.0), Measured("films", "peer", CPU, 25.0)]
    values += [Measured("films", "node", LATENCY, value) for value in (1.0, 2.0, 9.0)]
    assert table(Figures(values)).splitlines() == [
        "|  |  | CPU ms an image | ms until answered | ms until answered, p95 |",
        "| --- | --- | ---: | ---: | ---: |",
        "| films | node | 10.0 | 2.00 | 9.00 |",
        "| films | peer | 25.0 (2.50 x) |  |  |",
    ]


def test_a_target_tells_by_how_much_it_is_missed() -> None:
    at_most, at_least = (Target("part", "text", 10.0, at_most, lambda _: None) for at_most in (True, False))
    assert [at_most.verdict(found) for found in (9.0, 10.0, 15.0)] == ["met", "met", "missed, 1.50 x"]
    assert [at_least.verdict(found) for found in (11.0, 10.0, 4.0, 0.0)] == [
        "met",
        "met",
        "missed, 2.50 x",
        "missed, inf x",
    ]


def test_targets_are_judged_where_their_part_was_measured() -> None:
    cases = ("100 waiting", 2.0), ("10,000 waiting", 3.0)
    found = Figures(Measured(backlog.A_STUDY, subject, backlog.COST, value) for subject, value in cases)
    assert [(figure, verdict) for _, _, figure, verdict in judged({backlog.PART: found})] == [(1.5, "missed, 1.25 x")]
    assert "missed, 1.25 x" in target_table({backlog.PART: found})


def test_figures_come_back_from_their_json() -> None:
    found = figures(node=[1.0, 2.0], peer=[3.0])
    again = document.from_json(document.to_json(found))
    assert [again.values(*key) for key in again.keys] == [found.values(*key) for key in found.keys]
    assert again.keys == found.keys


def test_a_part_measured_anew_takes_the_place_of_the_old_one_alone(tmp_path: Path) -> None:
    path = tmp_path / "performance.json"
    path.write_text('{"cores": 1, "parts": {"a": {"values": [1]}, "b": {"values": [2]}}}')
    assert document.merged(path, {"cores": 2}, {"b": {"values": [3]}}) == {
        "cores": 2,
        "parts": {"a": {"values": [1]}, "b": {"values": [3]}},
    }


def test_a_document_keeps_its_words_and_gets_new_figures() -> None:
    text = "before\n<!-- figures: a -->\nold\n<!-- end: a -->\nafter <!-- figures: b --><!-- end: b -->"
    filled = document.filled(text, {"a": r"new \1"})
    assert filled == "before\n<!-- figures: a -->\nnew \\1\n<!-- end: a -->\nafter <!-- figures: b --><!-- end: b -->"
    with pytest.raises(ValueError, match="no place"):
        document.filled(text, {"c": "new"})


def test_the_document_has_a_place_for_every_part() -> None:
    parts = {target.part for target in TARGETS} | {"targets", "machine", "pixels"}
    text = DOCUMENT.read_text("utf-8")
    assert document.filled(text, dict.fromkeys(parts, "figures")).count("\nfigures\n") == len(parts)


def test_the_longest_pdu_of_a_receiver_is_found_in_its_answer() -> None:
    body = bytes(68) + b"\x10\x00\x00\x02ab" + b"\x21\x00\x00\x08\x01\x00\x00\x00\x40\x00\x00\x00"
    body += b"\x50\x00\x00\x08\x51\x00\x00\x04\x00\x02\x00\x00"
    assert sender._answers(body) == (True, 131_072)


def test_the_file_system_of_a_folder_is_the_one_mounted_nearest_above_it() -> None:
    assert file_system(Path("/proc/self/net")).startswith("proc (")
    assert file_system(Path("/")) == file_system(Path("/a/folder/that/is/not/there"))


def test_the_processor_time_of_a_child_that_ended_counts() -> None:
    code = "import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', 'sum(range(20_000_000))'])\ninput()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        before = cpu_ms(os.getpid())
        while cpu_ms(process.pid) < 100:
            time.sleep(0.02)
        assert process.pid in tree(os.getpid())
        assert rss_mb(process.pid) > 1
        assert cpu_ms(os.getpid()) - before >= 100
        process.communicate(b"\n")


def test_a_meter_sees_what_was_done_while_it_lasted() -> None:
    with Meter(os.getpid()) as meter:
        block = bytearray(32 << 20)
        while cpu_ms(os.getpid()) - meter._before < 50:
            sum(block[: 1 << 16])
    assert meter.cpu_ms >= 50
    assert meter.peak_mb > 32


def test_a_picture_is_drawn_of_cases_with_something_to_compare(tmp_path: Path) -> None:
    plots.draw(figures(node=[1.0], peer=[3.0]), CPU, "films", tmp_path / "drawn.png")
    plots.draw(figures(node=[1.0]), CPU, "films", tmp_path / "nothing.png")
    assert [path.name for path in tmp_path.iterdir()] == ["drawn.png"]
