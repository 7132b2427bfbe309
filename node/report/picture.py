"""The Grad-CAM picture of one film: original and heat map side by side, the answer in a strip below.

The layout is the one of four tried in OHIF and in Orthanc's viewer that reads at thumbnail size. The map is on an
absolute scale, so that a film with nothing found stays gray and the caption says so: scaled to its own maximum, a map
paints a bright blob on nothing. The lowest part of the strip, the top corners and the top center carry no text, because
viewers print there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from node.explain import on_film
from node.prints import Gray
from node.report import answer, warned
from node.report.canvas import RGB, Canvas, Color, Typeface, typeface_for
from node.report.films import Film
from node.report.header import Context
from node.report.source import ALPHA
from node.report.words import Words, cut_off_percent, moment, percent, words
from node.study import FloatArray, Prediction, Triage

# Pixels.
FILM_AREA_LOWEST = 512
STRIP_HEIGHT = 430
STRIP_NARROWEST = 1640
FREE_AT_THE_BOTTOM = 40
WARNING_HEIGHT = 78
SMALLEST_LINE = 24  # what does not fit in one line at this size is broken into two
GAP = 6
# The strip grows with a wide picture: viewers fit the whole width, and the answer must stay as large in it.
DESIGN_WIDTH = 2054
LARGEST_UNIT = 1.5
# So many rows of a film go through the coloring at a time: 0.6 MB with all that is made of them on the way.
BAND_ROWS = 64

# Below FLOOR a share of the logit is noise; see "absolute scale" in the model card.
FLOOR, EXPONENT = 0.25, 0.8
# What is weaker than this part of the greatest opacity is not seen, so nothing is colored, and the caption says so.
VISIBLE = 0.1 / 0.55

BACKGROUND: Color = (16, 18, 22)
FOREGROUND: Color = (236, 238, 240)
MUTED: Color = (158, 166, 176)
WARNING: Color = (255, 205, 96)
TROUGH: Color = (44, 48, 54)
BAR: Color = (122, 146, 168)
BAR_ABOVE: Color = (232, 163, 23)
WHITE: Color = (255, 255, 255)
BANNERS: dict[Triage, tuple[Color, Color]] = {
    Triage.URGENT: ((214, 69, 24), WHITE),
    Triage.FLAGGED: ((232, 163, 23), (20, 20, 20)),
    Triage.NOT_FLAGGED: ((62, 92, 118), WHITE),
    Triage.UNCERTAIN: ((120, 94, 150), WHITE),
}


@dataclass(frozen=True)
class _Sheet:
    """A picture in the making."""

    canvas: Canvas
    context: Context
    film: Film
    prediction: Prediction
    strip: int
    unit: float
    stands_out: bool

    @property
    def words(self) -> Words:
        return self.context.words

    @property
    def width(self) -> int:
        return self.canvas.width

    @property
    def bottom(self) -> int:
        return self.at(STRIP_HEIGHT - FREE_AT_THE_BOTTOM)

    def px(self, length: float) -> int:
        """Scale a length of the design to this picture."""
        return round(length * self.unit)

    def at(self, y: float) -> int:
        """Return a height within the strip, from its top in the design."""
        return self.strip + self.px(y)


def draw(context: Context, film: Film, gray: Gray) -> RGB:
    """Draw the picture of a film that was read.

    Parameters
    ----------
    context : Context
    film : Film
    gray : ndarray, (rows, columns) uint8
        The film as it is shown, 0 is black; any size and aspect.

    Returns
    -------
    ndarray, (rows, columns, 3) uint8
    """
    return _sheet(context, film, gray).canvas.pixels


def overlay(gray: Gray, heat_map: FloatArray, alpha: float = ALPHA, onto: RGB | None = None) -> tuple[RGB, float]:
    """Lay a heat map over a film.

    Parameters
    ----------
    gray : ndarray, (rows, columns) uint8
    heat_map : ndarray, (rows, columns) float32 in [0, 1]
        Coarse, on the absolute scale; it covers the whole film.
    alpha : float
        Opacity where the map is 1.
    onto : ndarray, (rows, columns, 3) uint8, optional
        Where the outcome is written, a part of a sheet for one; else a new array.

    Returns
    -------
    rgb : ndarray, (rows, columns, 3) uint8
    strongest : float
        Greatest opacity of the map anywhere, in [0, `alpha`].

    Notes
    -----
    Inferno grows evenly in lightness; turbo and jet show borders at middle values that are not in the map.
    """
    rgb: RGB = np.empty((*gray.shape, 3), np.uint8) if onto is None else onto
    strongest = 0.0
    # A band at a time stays in the processor's cache on its way through seven operations.
    for top in range(0, gray.shape[0], BAND_ROWS):
        band = slice(top, top + BAND_ROWS)
        shares = on_film(heat_map, (gray.shape[0], gray.shape[1]), band)
        strongest = max(strongest, float(shares.max()))
        _color(gray[band], cv2.convertScaleAbs(shares, alpha=255.0), alpha, rgb[band])
    return rgb, float(_opacity(strongest, alpha))


def _color(gray: Gray, level: Gray, alpha: float, onto: RGB) -> None:
    """Write a part of a film in the colors of the map, which has shares of 0 to 255 there."""
    kept, tint, faintest = _mixture(alpha)
    cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB, dst=onto)
    # Most of a film is left as it is.
    left, top, columns, rows = cv2.boundingRect(cv2.inRange(level, faintest, 255))
    if rows:
        place = slice(top, top + rows), slice(left, left + columns)
        film = cv2.multiply(gray[place], cv2.LUT(level[place], kept), scale=1 / 255)
        cv2.add(cv2.cvtColor(film, cv2.COLOR_GRAY2RGB), cv2.applyColorMap(level[place], tint), dst=onto[place])


def _opacity(share: npt.ArrayLike, alpha: float) -> FloatArray:
    """Return how opaque the map is where it has this share."""
    rising: FloatArray = np.clip((np.asarray(share, np.float32) - FLOOR) / (1 - FLOOR), 0, 1) ** EXPONENT
    return alpha * rising


@cache
def _mixture(alpha: float) -> tuple[RGB, RGB, int]:
    """Return, for each of 256 shares from 0 to 1, what is kept of a film's brightness, and the color that is added to it; and the first that does anything.

    Looked up and not computed, a picture of a megapixel takes 2.5 ms of CPU in place of 17 (medians of four), and is at most 3 of 255 off.
    """
    levels = np.arange(256, dtype=np.uint8)
    opacity = _opacity(levels / 255, alpha)
    colors = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    kept: RGB = np.rint(255 * (1 - opacity)).astype(np.uint8)
    tint: RGB = np.rint(colors.reshape(256, 1, 3) * opacity[:, np.newaxis, np.newaxis]).astype(np.uint8)
    faintest = np.flatnonzero((kept < 255) | tint.any((1, 2)))
    return kept, tint, int(faintest[0]) if faintest.size else 256


def _sheet(context: Context, film: Film, gray: Gray) -> _Sheet:
    assert film.prediction is not None
    area = max(gray.shape[0], FILM_AREA_LOWEST)
    width = max(2 * gray.shape[1] + GAP, STRIP_NARROWEST)
    unit = min(max(width / DESIGN_WIDTH, 1), LARGEST_UNIT)
    shown_words, typeface = _writing(context.words)
    canvas = Canvas(width, area + round(STRIP_HEIGHT * unit), BACKGROUND, typeface)
    stands_out = _films(canvas, area, gray, film.prediction, context.options.map_opacity)
    worded = replace(context, words=shown_words)
    sheet = _Sheet(canvas, worded, film, film.prediction, area, unit, stands_out)
    _names(sheet, gray)
    _banner(sheet, right=int(width * 0.36))
    _bars(sheet, left=int(width * 0.36) + sheet.px(26), right=int(width * 0.67) - sheet.px(4))
    _notes(sheet, left=int(width * 0.67) + sheet.px(30), right=width - sheet.px(24))
    return sheet


def _writing(wanted: Words) -> tuple[Words, Typeface]:
    """Return the words and the font for the picture: English where no font has the language's letters."""
    said = (wanted.picture, wanted.labels, wanted.conditions, wanted.warnings)
    letters = "".join(letter for phrases in said for letter in phrases.values())
    typeface = typeface_for(letters)
    if typeface is not None:
        return wanted, typeface
    latin = typeface_for("")
    assert latin is not None
    return words("en"), latin


def _films(canvas: Canvas, area: int, gray: Gray, prediction: Prediction, alpha: float) -> bool:
    """Lay the film on the sheet, and beside it once more with its map; tell whether anything of the map is seen."""
    plain, colored = (canvas.part(left, top, gray.shape) for left, top in _corners(canvas.width, area, gray))
    cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB, dst=plain)
    _, strongest = overlay(gray, prediction.heat_map, alpha, colored)
    # Of a picture that the model was not made for, its map holds no more than its percentages.
    stands_out = prediction.reliable and strongest >= alpha * VISIBLE
    if not stands_out:
        colored[:] = plain
    return stands_out


def _corners(width: int, area: int, gray: Gray) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return left and top of the two films."""
    rows, columns = gray.shape
    left, top = (width - 2 * columns - GAP) // 2, (area - rows) // 2
    return (left, top), (left + columns + GAP, top)


def _names(sheet: _Sheet, gray: Gray) -> None:
    rows, columns = gray.shape
    corners = _corners(sheet.width, sheet.strip, gray)
    for (left, top), label in zip(corners, ("original", "heat_map"), strict=True):
        x, y = left + columns / 2, top + rows - sheet.px(14)
        sheet.canvas.write_outlined(x, y, sheet.words.picture[label], sheet.px(24), FOREGROUND)


def _banner(sheet: _Sheet, right: int) -> None:
    canvas, phrases, px, at = sheet.canvas, sheet.words.picture, sheet.px, sheet.at
    triage = sheet.prediction.triage
    background, color = BANNERS[triage]
    margin = px(26)
    inner = right - 2 * margin
    canvas.fill(0, sheet.strip, right, canvas.height - 1, background)
    bottom = _warning(sheet, margin, right)
    if triage in (Triage.URGENT, Triage.FLAGGED):
        finding = answer.leading_finding(sheet.prediction)
        head = phrases[triage].format(condition=sheet.words.conditions[finding.label])
        large = f"{sheet.words.abbreviations[finding.label]} {answer.likely(sheet.prediction)}"
        canvas.write(margin, at(74), head, canvas.fitting(head, inner, px(44), True), color, True, "lm")
        middle = (at(90) + bottom) / 2
        canvas.write(margin, middle, large, canvas.fitting(large, inner, px(190), True), color, True, "lm")
    else:
        head, said = phrases[triage], phrases[f"{answer.triage_key(sheet.prediction)}_text"]
        canvas.write(margin, at(92), head, canvas.fitting(head, inner, px(96), True), color, True, "lm")
        canvas.flow((margin, at(176), right - margin, bottom), [(said, color, False)], px(44))


def _warning(sheet: _Sheet, margin: int, right: int) -> int:
    """Write what warns of the image at the foot of the banner; return where the room above it ends."""
    said = warned.on_the_picture(sheet.words, sheet.prediction)
    if not said:
        return sheet.bottom
    canvas, px, top = sheet.canvas, sheet.px, sheet.bottom - sheet.px(WARNING_HEIGHT)
    canvas.fill(0, top, right, canvas.height - 1, BACKGROUND)
    size = canvas.fitting(said, right - 2 * margin, px(40), True)
    if size >= px(SMALLEST_LINE):
        canvas.write(margin, (top + sheet.bottom) / 2, said, size, WARNING, True, "lm")
    else:
        canvas.flow((margin, top + px(8), right - margin, sheet.bottom), [(said, WARNING, True)], px(SMALLEST_LINE))
    return top - px(8)


def _bars(sheet: _Sheet, left: int, right: int) -> None:
    canvas, px, y = sheet.canvas, sheet.px, sheet.at(22)
    size, thick, reliable = px(30), px(26), sheet.prediction.reliable
    color = FOREGROUND if reliable else MUTED
    for finding in reversed(sheet.prediction.findings):
        above = finding.above and reliable and sheet.prediction.triage is not Triage.UNCERTAIN
        shown, label = percent(finding.probability, finding.cut_off), sheet.words.labels[finding.label]
        shown += "" if reliable else f" {answer.DOUBTFUL}"
        room = right - left - canvas.width_of(shown, size, True) - px(12)
        canvas.write(left, y + px(17), label, canvas.fitting(label, room, size, above), color, above, "lm")
        canvas.write(right, y + px(17), shown, size, color, reliable, "rm")
        bar = y + px(42)
        filled = left + round((right - left) * finding.probability)
        canvas.fill(left, bar, right, bar + thick, TROUGH)
        if reliable:
            canvas.fill(left, bar, filled, bar + thick, BAR_ABOVE if above else BAR)
        else:  # an outline: a full bar would look like a measurement
            canvas.fill(left, bar, filled, bar + thick, BAR)
            canvas.fill(left + px(2), bar + px(2), filled - px(2), bar + thick - px(2), TROUGH)
        if finding.cut_off is not None:
            _cut_off(sheet, left, right, bar, finding.cut_off)
        y = bar + px(78)


def _cut_off(sheet: _Sheet, left: int, right: int, bar: int, cut_off: float) -> None:
    canvas, px = sheet.canvas, sheet.px
    label = sheet.words.table["cut_off"].format(percent=cut_off_percent(cut_off))
    x, half = left + round((right - left) * cut_off), canvas.width_of(label, px(22)) / 2
    canvas.fill(x - px(2), bar - px(7), x + px(2) - 1, bar + px(33), WHITE)
    canvas.write(min(max(x, left + half), right - half), bar + px(35), label, px(22), MUTED, anchor="ma")


def _notes(sheet: _Sheet, left: int, right: int) -> None:
    """Write the legend of the map, what it is and is not, and where the numbers come from."""
    canvas, phrases, px, at = sheet.canvas, sheet.words.picture, sheet.px, sheet.at
    legend = _legend(right - left, px(20), sheet.context.options.map_opacity)
    canvas.part(left, at(24), legend.shape)[:] = legend
    for x, name, anchor in ((left, "low", "la"), ((left + right) / 2, "attention", "ma"), (right, "high", "ra")):
        canvas.write(x, at(49), phrases[name], px(22), MUTED, anchor=anchor)
    canvas.flow((left, at(96), right, sheet.bottom), _paragraphs(sheet), px(25))


@lru_cache
def _legend(width: int, height: int, alpha: float) -> RGB:
    """Return the map's colors from none to all, on a middle gray."""
    ramp = np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1))
    return overlay(np.full(ramp.shape, 128, np.uint8), ramp, alpha)[0]


def _caption(sheet: _Sheet) -> str:
    """Return the key of what is said of the map."""
    if not sheet.prediction.reliable:
        return "caption_unfit"
    return "caption" if sheet.stands_out else "caption_empty"


def _paragraphs(sheet: _Sheet) -> list[tuple[str, Color, bool]]:
    phrases, reading = sheet.words.picture, sheet.context.study.reading
    condition = sheet.words.conditions[sheet.prediction.map_label]
    weights = phrases["weights"].format(digest=answer.digest(sheet.context))
    return [
        (phrases[_caption(sheet)].format(condition=condition), FOREGROUND, False),
        (answer.image_title(sheet.context, sheet.film), MUTED, False),
        (f"{reading.model.name} {reading.model.version}", MUTED, False),
        (f"{weights}, {moment(reading.times.started)}", MUTED, False),
        (sheet.words.answer["research"], WARNING, True),
    ]
