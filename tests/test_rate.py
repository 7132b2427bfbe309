"""Of a flood so much is said and the rest counted, each count told once."""

import pytest

from node import rate
from node.rate import Rate


@pytest.fixture
def now(monkeypatch):
    """A clock that a test sets."""
    clock = [0.0]
    monkeypatch.setattr(rate.time, "monotonic", lambda: clock[0])
    return clock


def test_of_a_kind_so_many_are_admitted_and_the_rest_told_when_the_time_is_up(now):
    told = Rate(60.0)
    assert [told.admits("a", 3) for _ in range(5)] == [True] * 3 + [False] * 2
    assert told.held_back() == []
    now[0] = 60.0
    assert told.held_back() == [("a", 2)]
    assert told.held_back() == []
    assert told.admits("a", 3)


def test_one_kind_does_not_count_against_another(now):
    told = Rate(60.0)
    assert not [told.admits("a", 1) for _ in range(9)][-1]
    assert told.admits("b", 1)


def test_a_kind_that_comes_slowly_is_never_held_back(now):
    told = Rate(60.0)
    for _ in range(100):
        assert told.admits("a", 1)
        now[0] += 61
    assert told.held_back() == []


def test_at_the_end_all_counts_are_told_at_once(now):
    told = Rate(60.0)
    for kind in "ab":
        told.admits(kind, 1)
        told.admits(kind, 1)
    assert sorted(told.held_back(at_once=True)) == [("a", 1), ("b", 1)]


def test_windows_end_one_by_one(now):
    told = Rate(60.0)
    for start, kind in ((0.0, "a"), (30.0, "b")):
        now[0] = start
        told.admits(kind, 1)
        told.admits(kind, 1)
    now[0] = 60.0
    assert told.held_back() == [("a", 1)]
    now[0] = 90.0
    assert told.held_back() == [("b", 1)]


def test_kinds_without_number_take_no_memory_without_end_and_no_count_is_forgotten(now):
    told = Rate(60.0)
    told.admits("first", 0)
    for number in range(5 * rate.KINDS):
        told.admits(number, 1)
    assert len(told._windows) <= rate.KINDS + 1
    now[0] = 60.0
    assert told.held_back() == [("first", 1)]
