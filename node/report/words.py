"""How things are said: the fixed phrases of each language, and the rules by which numbers become words.

The phrases live in ``languages/*.toml``, where a translator can mend them. English is the original and pure ASCII.
"""

from __future__ import annotations

import tomllib
import unicodedata
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from math import floor

from node.errors import ReportError

_MOST_DECIMALS = 4
# 1000 * 0.579 is 578.999..., and single precision knows a probability to 1e-7.
_SLACK = 1e-6

Phrases = dict[str, str]


@dataclass(frozen=True)
class Words:
    """The phrases of one language, grouped by where they are used.

    Attributes
    ----------
    code, name : str
        RFC 5646 tag and English name of the language.
    labels, conditions, abbreviations : dict
        By the bundle's label: name in a table, name within a sentence, name in large letters.
    answer, table, made, picture : dict
        Phrases of the impression, of an image's table, of the procedure description, and of the picture.
    sheet : dict
        Names of the attributes that say whose report it is, by keyword; how a page is numbered.
    warnings : dict
        By code value of a warning: what is said of the image.
    reasons : dict
        By code value of a reason: what the image is, and why the model does not read it.
    """

    code: str
    name: str
    labels: Phrases
    conditions: Phrases
    abbreviations: Phrases
    answer: Phrases
    table: Phrases
    made: Phrases
    picture: Phrases
    sheet: Phrases
    warnings: Phrases
    reasons: dict[str, list[str]]


@cache
def words(language: str) -> Words:
    """Return the phrases of a language.

    Parameters
    ----------
    language : str
        Name of a file in ``languages``, e.g. ``"de"``.

    Raises
    ------
    ReportError
        When there is no such language.
    """
    path = files(__package__) / "languages" / f"{language}.toml"
    if not path.is_file():
        raise ReportError(f"there are no phrases for language {language!r}; see the folder languages")
    form = tomllib.loads(path.read_text("utf-8"))
    return Words(**{field.name: form[field.name] for field in fields(Words)})


def percent(probability: float, cut_off: float | None = None) -> str:
    """Return a probability as a reader should see it: whole percent, never a plain 0 or 100.

    Decimals appear only where rounding would put the probability on the other side of its cut-off.

    Parameters
    ----------
    probability : float
        In [0, 1].
    cut_off : float or None
        In [0, 1]; the probability is flagged from here.

    Examples
    --------
    >>> percent(0.931), percent(0.004), percent(0.997), percent(0.597, 0.6)
    ('93 %', '<1 %', '>99 %', '59.7 %')
    """
    value = 100 * probability
    if value < 1:
        return "<1 %"
    if value > 99:
        return ">99 %"
    if cut_off is None:
        return f"{value:.0f} %"
    for decimals in range(_MOST_DECIMALS + 1):
        shown = f"{value:.{decimals}f}"
        if (float(shown) >= _shown_cut_off(cut_off)) == (probability >= cut_off):
            return f"{shown} %"
    return f"<{cut_off_percent(cut_off)}"


def cut_off_percent(cut_off: float) -> str:
    """Return a cut-off: whole percent where it is whole, else with one decimal."""
    return f"{_shown_cut_off(cut_off):g} %"


def in_percent(fraction: float) -> float:
    """Return a fraction as the number of percent that a machine is told: one decimal, for finer nobody has measured.

    Rounded down, so that a probability below its cut-off, a whole percent, is never told as equal to it.

    Examples
    --------
    >>> in_percent(0.931), in_percent(0.64996), in_percent(0.65)
    (93.1, 64.9, 65.0)
    """
    return floor(1000 * fraction + _SLACK) / 10


def spread(deviation: float) -> str:
    """Return a standard deviation of a probability in whole points, ``<1`` where it rounds to none."""
    points = round(100 * deviation)
    return str(points) if points else "<1"


def moment(time: datetime, seconds: bool = False) -> str:
    """Return a moment in UTC, written the same in every language (ISO 8601 with a blank)."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC" if seconds else "%Y-%m-%d %H:%M UTC")


def width(text: str) -> int:
    """Return how many columns a text takes in a monospaced font, where East Asian letters take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def pad(text: str, columns: int) -> str:
    """Return the text, filled with blanks on the right up to a number of columns."""
    return text + " " * (columns - width(text))


def _shown_cut_off(cut_off: float) -> float:
    return float(f"{100 * cut_off:.1f}")
