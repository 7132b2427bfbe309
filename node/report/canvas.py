"""A sheet to write on: text that is made to fit its place, whatever the language.

DejaVu Sans is shipped, so a picture looks the same everywhere. It has no Chinese, Japanese or Korean letters; for those an
installed font is looked for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from math import ceil, floor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]
Box = tuple[float, float, float, float]
Gray = npt.NDArray[np.uint8]
RGB = npt.NDArray[np.uint8]

BLACK: Color = (0, 0, 0)
SMALLEST = 12
OUTLINE = 3
# Most of the text of a picture is that of the picture before it, and to measure and draw it took 6 to 9 of a picture's 27 ms of CPU.
TEXTS_KEPT = 512
_LINE_SPACING = 1.25
_PARAGRAPH_SPACING = 0.25
_NO_BREAK_BEFORE = "。、・.,:;!?)"

# Where distributions put a font with Japanese letters: Noto, IPA, VL, Takao, Droid, WenQuanYi.
EAST_ASIAN_FONTS: tuple[Path, ...] = tuple(
    Path("/usr/share/fonts") / name
    for name in (
        "opentype/noto/NotoSansCJK-Regular.ttc",
        "google-noto-cjk/NotoSansCJK-Regular.ttc",
        "noto-cjk/NotoSansCJK-Regular.ttc",
        "opentype/ipafont-gothic/ipag.ttf",
        "truetype/fonts-japanese-gothic.ttf",
        "truetype/vlgothic/VL-Gothic-Regular.ttf",
        "truetype/takao-gothic/TakaoGothic.ttf",
        "truetype/droid/DroidSansFallbackFull.ttf",
        "truetype/wqy/wqy-microhei.ttc",
    )
)


@dataclass(frozen=True)
class Typeface:
    """A font in two weights."""

    regular: Path
    bold: Path

    def font(self, size: int, bold: bool = False) -> Any:
        """Return the font at a size in pixels."""
        return _font(self.bold if bold else self.regular, size)


def typefaces() -> list[Typeface]:
    """Return the typefaces to choose from: the shipped one first, then those of this machine with Japanese letters."""
    return [_shipped(), *_installed()]


@cache
def _shipped() -> Typeface:
    folder = Path(str(files(__package__))) / "fonts"
    return Typeface(folder / "DejaVuSans.ttf", folder / "DejaVuSans-Bold.ttf")


def _installed() -> Iterator[Typeface]:
    return (Typeface(path, path) for path in EAST_ASIAN_FONTS if path.is_file())


def typeface_for(letters: str) -> Typeface | None:
    """Return a typeface that has these letters, None when no font on this machine has them."""
    if max(letters, default="") < "\u2e80":  # below begin no East Asian scripts
        return _shipped()
    return next(_installed(), None)


@dataclass(frozen=True, eq=False)
class _Ink:
    """A text as it is printed: how much ink comes on each pixel, and where the first of them lies from where it is written."""

    mask: Gray
    left: int
    top: int


class Canvas:
    """A sheet in one color.

    Parameters
    ----------
    width, height : int
        In pixels.
    background : (int, int, int)
    typeface : Typeface

    Attributes
    ----------
    pixels : ndarray, (height, width, 3) uint8
    written : list of (str, (left, top, right, bottom))
        Every text with the place that it takes.
    """

    def __init__(self, width: int, height: int, background: Color, typeface: Typeface) -> None:
        self.pixels: RGB = np.empty((height, width, 3), np.uint8)
        self.pixels[:] = np.tile(np.array(background, np.uint8), (width, 1))
        self.written: list[tuple[str, Box]] = []
        self._typeface = typeface

    @property
    def width(self) -> int:
        """In pixels, as is the height."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[0])

    def part(self, left: int, top: int, shape: tuple[int, ...]) -> RGB:
        """Return the part of the sheet, (rows, columns, 3), that has `shape` and this corner: what is written into it is on the sheet."""
        part: RGB = self.pixels[top : top + shape[0], left : left + shape[1]]
        return part

    def fill(self, left: int, top: int, right: int, bottom: int, color: Color) -> None:
        """Fill a rectangle, its last column and row included; nothing where it has none."""
        if left <= right and top <= bottom:
            cv2.rectangle(self.pixels, (left, top), (right, bottom), color, cv2.FILLED)

    def width_of(self, text: str, size: int, bold: bool = False) -> float:
        """Return the width of a text in pixels."""
        return _width(self._typeface.font(size, bold), text)

    def fitting(self, text: str, width: float, largest: int, bold: bool = False) -> int:
        """Return the largest font size, up to `largest`, at which a text is no wider than `width`."""
        return _largest(largest, lambda size: self.width_of(text, size, bold) <= width)

    def write(
        self, x: float, y: float, text: str, size: int, color: Color, bold: bool = False, anchor: str = "la"
    ) -> None:
        """Write one line; `anchor` as in Pillow, ``la`` is the top left corner."""
        self.written.append((text, self._print(x, y, color, _ink(self._typeface.font(size, bold), text, anchor))))

    def write_outlined(self, x: float, y: float, text: str, size: int, color: Color) -> None:
        """Write one line, centered on x with its baseline at y, that stays readable on a film."""
        font = self._typeface.font(size)
        outline = self._print(x, y, BLACK, _ink(font, text, "ms", OUTLINE))
        self._print(x, y, color, _ink(font, text, "ms"))
        self.written.append((text, outline))

    def _print(self, x: float, y: float, color: Color, ink: _Ink) -> Box:
        left, top = round(x) + ink.left, round(y) + ink.top
        box = left, top, left + ink.mask.shape[1], top + ink.mask.shape[0]
        rows, columns = slice(max(top, 0), max(box[3], 0)), slice(max(left, 0), max(box[2], 0))
        place, at = self.pixels[rows, columns], (left - columns.start, top - rows.start)
        ground = place[:1, :1].tobytes()
        is_whole = place.size and at == (0, 0) and place.shape[:2] == ink.mask.shape
        is_flat = is_whole and self._is_flat(rows, columns, ground)
        place[:] = _on_flat_ground(ink, color, ground) if is_flat else _printed(place, at, color, ink)
        return box

    def _is_flat(self, rows: slice, columns: slice, ground: bytes) -> bool:
        """Tell whether a part of the sheet has one color, row by row: numpy takes long for three numbers at a time."""
        row = np.frombuffer(ground * (columns.stop - columns.start), np.uint8)
        samples = self.pixels.reshape(self.height, -1)[rows, 3 * columns.start : 3 * columns.stop]
        return bool((samples == row).all())

    def flow(self, box: Box, paragraphs: Sequence[tuple[str, Color, bool]], largest: int) -> None:
        """Write paragraphs from the top of a box, broken into lines, as large as all of them fit.

        Parameters
        ----------
        box : (left, top, right, bottom)
        paragraphs : sequence of (text, color, bold)
        largest : int
            Largest font size in pixels.
        """
        left, top, right, bottom = box
        size = _largest(largest, lambda size: self._height(paragraphs, size, right - left) <= bottom - top)
        y = top
        for text, color, bold in paragraphs:
            for line in self.lines(text, right - left, size, bold):
                self.write(left, y, line, size, color, bold)
                y += size * _LINE_SPACING
            y += size * _PARAGRAPH_SPACING

    def lines(self, text: str, width: float, size: int, bold: bool = False) -> list[str]:
        """Break a text into lines no wider than `width`: at blanks, or between letters where a script has none."""
        return list(_lines(self._typeface.font(size, bold), text, width))

    def _height(self, paragraphs: Sequence[tuple[str, Color, bool]], size: int, width: float) -> float:
        broken = [(self.lines(text, width, size, bold), bold) for text, _, bold in paragraphs]
        if any(self.width_of(line, size, bold) > width for lines, bold in broken for line in lines):
            return float("inf")
        return size * sum(len(lines) * _LINE_SPACING + _PARAGRAPH_SPACING for lines, _ in broken)


def _largest(largest: int, fits: Callable[[int], bool]) -> int:
    """Return the largest font size at which something fits, by halves; SMALLEST where none does."""
    if largest <= SMALLEST or fits(largest):
        return largest
    return SMALLEST + bisect_left(range(SMALLEST + 1, largest), True, key=lambda size: not fits(size))


@lru_cache(maxsize=TEXTS_KEPT)
def _lines(font: Any, text: str, width: float) -> tuple[str, ...]:
    if _width(font, text) <= width:
        return (text,)
    lines, line = [], ""
    for word in _words(text):
        if line and _width(font, line + word.rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += word
    return (*lines, line.rstrip())


def _words(text: str) -> list[str]:
    """Split a text where a line may end; every part but the last keeps its blank."""
    words: list[str] = []
    for letter in text:
        starts_word = not words or words[-1].endswith(" ") or (ord(letter) >= 0x2E80 and letter not in _NO_BREAK_BEFORE)
        if starts_word and letter != " ":
            words.append(letter)
        elif words:
            words[-1] += letter
    return words


def _printed(place: RGB, at: tuple[int, int], color: Color, ink: _Ink) -> RGB:
    """Return a part of a sheet with ink on it, whose corner comes to lie `at` (left, top), at or before that of the part."""
    rows, columns = place.shape[:2]
    mask = ink.mask[-at[1] : rows - at[1], -at[0] : columns - at[0], np.newaxis].astype(np.uint16)
    mixed = place * (255 - mask) + np.array(color, np.uint16) * mask + 128  # at most 65,153
    printed: RGB = ((mixed >> 8) + mixed >> 8).astype(np.uint8)  # divided by 255, rounded
    return printed


@lru_cache(maxsize=TEXTS_KEPT)
def _on_flat_ground(ink: _Ink, color: Color, ground: bytes) -> RGB:
    """Return what ink leaves on a ground of one color, which most of the text of a picture stands on."""
    flat = np.empty((*ink.mask.shape, 3), np.uint8)
    flat[:] = np.frombuffer(ground, np.uint8)
    return _printed(flat, (0, 0), color, ink)


@cache
def _font(path: Path, size: int) -> Any:
    return ImageFont.truetype(str(path), size)


@lru_cache(maxsize=TEXTS_KEPT)
def _width(font: Any, text: str) -> float:
    return float(font.getlength(text))


@lru_cache(maxsize=TEXTS_KEPT)
def _ink(font: Any, text: str, anchor: str, outline: int = 0) -> _Ink:
    left, top, right, bottom = font.getbbox(text, anchor=anchor, stroke_width=outline)
    left, top = floor(left), floor(top)
    mask = Image.new("L", (ceil(right) - left, ceil(bottom) - top))
    ImageDraw.Draw(mask).text((-left, -top), text, fill=255, font=font, anchor=anchor, stroke_width=outline)
    return _Ink(np.asarray(mask), left, top)
