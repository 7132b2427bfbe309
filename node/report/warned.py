"""Warnings about the images that were read, in words: below the answer, in an image's table, on its picture."""

from __future__ import annotations

from node.report.films import Film, Study
from node.report.header import Context
from node.report.words import Words
from node.study import FilmWarning, Prediction


def below_the_answer(context: Context) -> list[str]:
    """Return two lines for each image that is warned of, or for each group of images with the same warnings."""
    groups: dict[tuple[FilmWarning, ...], list[Film]] = {}
    for film in context.study.read:
        groups.setdefault(_warnings(film), []).append(film)
    return [line for warnings, films in groups.items() if warnings for line in _lines(context.words, films)]


def in_the_table(words: Words, prediction: Prediction) -> list[str]:
    """Return a line for each warning about one image."""
    return [f"{words.answer['warning']} - {words.warnings[warning]}" for warning in prediction.warnings]


def on_the_picture(words: Words, prediction: Prediction) -> str:
    """Return all warnings about one image in one line, empty where there is none."""
    return f"{words.answer['warning']} - {_listed(words, prediction.warnings)}" if prediction.warnings else ""


def found(study: Study) -> list[FilmWarning]:
    """Return every warning about any image of the study, each once."""
    held = {warning for film in study.read for warning in _warnings(film)}
    return [warning for warning in FilmWarning if warning in held]


def _warnings(film: Film) -> tuple[FilmWarning, ...]:
    assert film.prediction is not None
    return film.prediction.warnings


def _lines(words: Words, films: list[Film]) -> tuple[str, str]:
    """Say which images and what about them, then what that means for the answer."""
    phrases, prediction = words.answer, films[0].prediction
    assert prediction is not None
    named = phrases["warned_one" if len(films) == 1 else "warned_some"]
    said = named.format(number=films[0].number, count=len(films), list=_listed(words, prediction.warnings))
    return f"{phrases['warning']} - {said}", phrases["rely_less" if prediction.reliable else "not_reliable"]


def _listed(words: Words, warnings: tuple[FilmWarning, ...]) -> str:
    return ", ".join(words.warnings[warning] for warning in warnings)
