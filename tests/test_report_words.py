"""Numbers become words by fixed rules, and every language says everything."""

import string
import tomllib
from dataclasses import asdict
from datetime import UTC, datetime, timedelta, timezone
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import Reason, ReportError
from node.report import words as module
from node.report.words import cut_off_percent, in_percent, moment, pad, percent, spread, width, words
from node.study import FilmWarning

LANGUAGES = ("en", "de", "fr", "es", "pt", "ja")


@pytest.mark.parametrize(
    ("probability", "cut_off", "shown"),
    [
        (0.931, None, "93 %"),
        (0.931, 0.6, "93 %"),
        (0.0099, None, "<1 %"),
        (0.0, None, "<1 %"),
        (0.01, None, "1 %"),
        (0.99, None, "99 %"),
        (0.9901, None, ">99 %"),
        (1.0, None, ">99 %"),
        (0.6, 0.6, "60 %"),
        (0.597, 0.6, "59.7 %"),
        (0.594, 0.6, "59 %"),
        (0.5997, 0.6, "59.97 %"),
        (0.59999999, 0.6, "<60 %"),
        (0.246, 0.2473, "24.6 %"),
        (0.248, 0.2473, "25 %"),
        (0.635, 0.6349, "64 %"),
    ],
)
def test_a_percentage_is_whole_and_never_on_the_wrong_side_of_its_cut_off(
    probability: float, cut_off: float | None, shown: str
) -> None:
    assert percent(probability, cut_off) == shown


def test_no_probability_is_shown_on_the_wrong_side_of_any_cut_off() -> None:
    for cut_off in (0.5, 0.6, 0.2473, 0.6349, 0.0731):
        shown_cut_off = float(cut_off_percent(cut_off).removesuffix(" %"))
        for step in range(100, 9900):
            probability = step / 10000
            shown = percent(probability, cut_off)
            if not shown.startswith("<"):
                assert (float(shown.removesuffix(" %")) >= shown_cut_off) == (probability >= cut_off)


def test_a_cut_off_shows_a_decimal_only_where_it_has_one() -> None:
    assert (cut_off_percent(0.6), cut_off_percent(0.6349)) == ("60 %", "63.5 %")


def test_a_spread_that_rounds_to_nothing_is_not_called_nothing() -> None:
    assert (spread(0.04), spread(0.004), spread(0.0)) == ("4", "<1", "<1")


def test_moments_are_told_in_utc() -> None:
    berlin = datetime(2026, 11, 22, 11, 16, 4, tzinfo=timezone(timedelta(hours=1)))
    assert moment(berlin) == "2026-11-22 10:16 UTC"
    assert moment(berlin.astimezone(UTC), seconds=True) == "2026-11-22 10:16:04 UTC"


def test_east_asian_letters_take_two_columns() -> None:
    assert width("結核TB") == 6
    assert pad("結核", 6) == "結核  "


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ReportError, match="no phrases for language"):
        words("tlh")


@given(st.floats(0, 1, width=32), st.integers(1, 99))
def test_neither_words_nor_numbers_put_a_probability_on_the_other_side_of_its_cut_off(
    probability: float, percents: int
) -> None:
    cut_off = percents / 100
    reached = probability >= cut_off
    assert (in_percent(probability) >= in_percent(cut_off)) == reached
    shown = percent(probability, cut_off).removesuffix(" %")
    below, above = shown.startswith("<"), shown.startswith(">")
    assert reached == (above or (not below and float(shown) >= percents))


@pytest.mark.parametrize("percents", range(1, 100))
def test_a_probability_just_below_its_cut_off_is_not_shown_as_equal_to_it(percents: int) -> None:
    cut_off = percents / 100
    for below in (np.nextafter(np.float32(cut_off) - np.float32(1e-7), np.float32(0)), cut_off - 1e-6, cut_off - 0.004):
        assert percent(float(below), cut_off) not in (f"{percents} %", f"{percents}.0 %")
        assert in_percent(float(below)) < in_percent(cut_off) == percents


def test_english_is_plain_ascii() -> None:
    assert (files(module.__package__) / "languages" / "en.toml").read_text("utf-8").isascii()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_same_phrases_with_the_same_fields(language: str) -> None:
    assert fields_of(asdict(words(language))) == fields_of(asdict(words("en")))


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_language_file_holds_a_phrase_that_nobody_reads(language: str) -> None:
    form = tomllib.loads((files(module.__package__) / "languages" / f"{language}.toml").read_text("utf-8"))
    assert form == asdict(words(language))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_says_every_reason(language: str) -> None:
    assert set(words(language).reasons) == {*Reason, "LATERAL"}
    assert all(len(parts) == 2 and all(parts) for parts in words(language).reasons.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_says_every_warning(language: str) -> None:
    assert set(words(language).warnings) == set(FilmWarning)
    assert all(words(language).warnings.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_line_but_a_warning_begins_like_one(language: str) -> None:
    # The page of a report knows a warning by its first word.
    said = words(language)
    others = [phrase for key, phrase in said.answer.items() if key != "warning"]
    assert not any(phrase.startswith(said.answer["warning"]) for phrase in others)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_language_is_named_as_rfc_5646_has_it(language: str) -> None:
    assert words(language).code == language


def fields_of(form: object) -> object:
    """The names of the phrases, each with the fields that are filled in."""
    if isinstance(form, dict):
        return {key: fields_of(value) for key, value in form.items() if key not in ("code", "name")}
    if isinstance(form, str):
        return sorted(name for _, name, _, _ in string.Formatter().parse(form) if name)
    return [fields_of(value) for value in form]
