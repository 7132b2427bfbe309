"""Films are read in the company of those that lie ready, and each as if it were alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from node import film_reader, watch
from node.errors import InferenceError, NotAssessable, Reason
from node.film_check import FEATURES
from node.film_reader import FilmReader
from node.prints import Print
from node.study import Prediction
from tests.peers import wait_until

LONGEST_S, STEP_S = 100.0, 60.0
Answer = Prediction | NotAssessable


class Room:
    """A darkroom whose prints hold the number in their file's name, and wait where a test holds them back."""

    longest_s = LONGEST_S

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fails: dict[str, list[BaseException]] = {}
        self.held_back: dict[str, threading.Event] = {}

    def develop(self, path: Path) -> Print:
        self.asked.append(path.stem)
        if path.stem in self.held_back:
            assert self.held_back[path.stem].wait(30)
        if self.fails.get(path.stem):
            raise self.fails[path.stem].pop()
        number = np.full((2, 2), int(path.stem), np.float32)
        return Print(number, np.zeros(FEATURES, np.float32), 1.0, number.astype(np.uint8))


class Networks:
    """A reader that answers the number of a film; where a test says so it refuses the film, or none of its company gets an answer."""

    at_once = 3

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.refused: set[int] = set()
        self.spoiled: set[int] = set()

    def read_prints(self, films: Sequence[Print]) -> list[Answer]:
        numbers = [int(film.gray[0, 0]) for film in films]
        self.seen.append(numbers)
        if self.spoiled & {*numbers}:
            raise InferenceError("the model's answer is not finite; the study is parked")
        refusal = NotAssessable(Reason.NOT_A_CHEST_FILM)
        return [refusal if number in self.refused else cast(Any, f"answer {number}") for number in numbers]


class Desk:
    """What a test has at hand."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.room, self.networks = folder, Room(), Networks()
        self.films = FilmReader(cast(Any, self.networks), cast(Any, self.room), STEP_S)

    def path(self, number: int) -> Path:
        path = self.folder / f"{number}.dcm"
        if not path.exists():
            path.touch()
        return path

    def look_ahead(self, *numbers: int) -> None:
        """Look ahead, and wait until those films are decoded."""
        for number in numbers:
            self.films.look_ahead(self.path(number))
        wait_until(lambda: all(film.is_developed for film in self.films._films.values()), 30)

    def read(self, number: int) -> str:
        return cast(str, self.films.read(self.path(number)))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    yield Desk(tmp_path)
    watch.stop()


@pytest.fixture
def wound(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """For how long the watch was wound, each time."""
    wound: list[float] = []
    monkeypatch.setattr(watch, "wind", wound.append)
    return wound


def test_films_that_lie_ready_are_read_at_once_and_each_has_its_own_answer(desk: Desk) -> None:
    desk.look_ahead(1, 2, 3, 4, 5)
    assert [desk.read(number) for number in (1, 2, 3, 4, 5)] == [f"answer {number}" for number in (1, 2, 3, 4, 5)]
    assert desk.networks.seen == [[1, 2, 3], [4, 5]], "no more than are worth it"
    assert sorted(desk.room.asked) == ["1", "2", "3", "4", "5"], "each is decoded once"


def test_a_film_waits_for_no_company(desk: Desk) -> None:
    desk.room.held_back["2"] = threading.Event()
    desk.look_ahead(1)
    desk.films.look_ahead(desk.path(2))
    assert desk.read(1) == "answer 1"
    assert desk.networks.seen == [[1]]
    desk.room.held_back["2"].set()
    assert desk.read(2) == "answer 2"


def test_a_film_is_read_alone_where_no_other_lies_ready_or_the_networks_take_one_at_a_time(desk: Desk) -> None:
    assert desk.read(1) == "answer 1"
    desk.networks.at_once = 1
    desk.look_ahead(2, 3)
    assert desk.read(2) == "answer 2"
    assert desk.networks.seen == [[1], [2]]


def test_a_film_whose_picture_alone_was_wanted_is_nobodys_company(desk: Desk) -> None:
    assert desk.films.picture(desk.path(1)).tolist() == [[1, 1], [1, 1]]
    assert desk.read(2) == "answer 2"
    assert desk.networks.seen == [[2]]


def test_what_was_looked_ahead_at_is_no_company_once_that_is_forgotten_and_is_not_decoded_again(desk: Desk) -> None:
    desk.look_ahead(1, 2)
    desk.films.forget_ahead()
    assert [desk.read(1), desk.read(2)] == ["answer 1", "answer 2"]
    assert desk.networks.seen == [[1], [2]]
    assert desk.room.asked == ["1", "2"]


def test_a_film_that_spoils_the_answers_spoils_its_own_alone(desk: Desk) -> None:
    desk.networks.spoiled = {2}
    desk.look_ahead(1, 2, 3)
    assert desk.read(1) == "answer 1"
    with pytest.raises(InferenceError):
        desk.read(2)
    assert desk.read(3) == "answer 3"


def test_a_film_that_is_refused_is_refused_in_its_turn_and_each_time(desk: Desk) -> None:
    desk.networks.refused = {2}
    desk.look_ahead(1, 2, 3)
    assert desk.read(1) == "answer 1"
    for _ in range(2):
        with pytest.raises(NotAssessable) as refused:
            desk.read(2)
        assert refused.value.reason is Reason.NOT_A_CHEST_FILM
    assert desk.read(3) == "answer 3"
    assert desk.networks.seen == [[1, 2, 3]]


ERRORS = [NotAssessable(Reason.NO_PIXELS), InferenceError("no developer"), OSError(5, "I/O")]


@pytest.mark.parametrize("error", ERRORS)
def test_what_decoding_met_is_told_and_tried_anew_when_the_film_is_asked_for_again(
    desk: Desk, error: Exception
) -> None:
    desk.room.fails["1"] = [error]
    with pytest.raises(type(error)):
        desk.read(1)
    assert desk.read(1) == "answer 1"


@pytest.mark.parametrize("error", ERRORS)
def test_of_what_decoding_met_ahead_what_is_the_films_own_is_told_in_its_turn_and_all_else_is_tried_again(
    desk: Desk, error: Exception
) -> None:
    desk.room.fails["1"] = [error]
    desk.look_ahead(2, 1)
    assert desk.read(2) == "answer 2"
    assert desk.networks.seen == [[2]]
    if isinstance(error, NotAssessable):
        with pytest.raises(NotAssessable):
            desk.read(1)
    assert desk.read(1) == "answer 1"
    assert desk.room.asked == ["2", "1", "1"]


def test_a_film_is_decoded_and_read_once_for_its_reading_and_its_picture(desk: Desk) -> None:
    assert desk.read(7) == desk.read(7) == "answer 7"
    assert desk.films.picture(desk.path(7)).tolist() == [[7, 7], [7, 7]]
    assert desk.room.asked == ["7"] and desk.networks.seen == [[7]]


def test_a_film_that_comes_again_under_the_same_name_is_decoded_anew(desk: Desk) -> None:
    desk.read(1)
    path = desk.path(1)
    path.unlink()
    path.write_bytes(b"another")
    desk.read(1)
    assert desk.room.asked == ["1", "1"] and desk.networks.seen == [[1], [1]]


def test_few_films_are_kept(desk: Desk) -> None:
    for number in range(3 * film_reader.KEPT):
        desk.read(number)
    assert len(desk.films._films) == film_reader.KEPT


def test_the_watch_leaves_time_for_the_films_that_are_decoded_before(desk: Desk, wound: list[float]) -> None:
    desk.room.held_back = {number: threading.Event() for number in "123"}
    for number in (1, 2, 3):
        desk.films.look_ahead(desk.path(number))
    assert wound == [], "the thread that decodes does not wind it"
    done: list[str] = []
    reading = threading.Thread(target=lambda: done.append(desk.read(3)))
    reading.start()
    wait_until(lambda: wound == [3 * LONGEST_S + STEP_S], 30)
    for event in desk.room.held_back.values():
        event.set()
    reading.join(30)
    assert done == ["answer 3"] and wound == [3 * LONGEST_S + STEP_S, STEP_S]
