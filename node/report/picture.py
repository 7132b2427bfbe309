"""The Grad-CAM picture of one film: original and heat map side by side, the answer in a strip below.

The layout is the one of four tried in OHIF and in Orthanc's viewer that reads at thumbnail size. The map is on an
absolute scale, so that a film with nothing found stays gray and the caption says so: scaled to its own maximum, a map
paints a bright blob on nothing. The lowest part of the strip, the top corners and the top center carry no text, because
viewers print there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from node.report import answer
from node.report.canvas import Canvas, Color, Typeface, typeface_for
from node.report.films import Film
from node.report.header import Context
from node.report.words import Words, cut_off_percent, moment, percent, words
from node.study import FloatArray, Prediction, Triage

# Pixels. At a film height of 1024 the large answer reads in a thumbnail, and a side still fits two on a 2 Mpx screen.
FILM_HEIGHT = 1024
FILM_WIDEST = 1536
FILM_AREA_LOWEST = 512
STRIP_HEIGHT = 430
STRIP_NARROWEST = 1640
FREE_AT_THE_BOTTOM = 40
GAP = 6

# Below FLOOR a share of the logit is noise; see "absolute scale" in the model card.
FLOOR, ALPHA, EXPONENT = 0.25, 0.55, 0.8
VISIBLE_ALPHA = 0.1

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

RGB = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Sheet:
    """A picture in the making."""

    canvas: Canvas
    context: Context
    film: Film
    prediction: Prediction
    strip: int
    stands_out: bool

    @property
    def words(self) -> Words:
        return self.context.words

    @property
    def width(self) -> int:
        return self.canvas.image.width

    @property
    def bottom(self) -> int:
        return self.strip + STRIP_HEIGHT - FREE_AT_THE_BOTTOM


def draw(context: Context, film: Film, plane: FloatArray) -> RGB:
    """Draw the picture of a film that was read.

    Parameters
    ----------
    context : Context
    film : Film
    plane : ndarray, (rows, columns) float32 in [0, 1]
        The film, 0 is black; any size and aspect.

    Returns
    -------
    ndarray, (rows, columns, 3) uint8
    """
    return np.asarray(_sheet(context, film, plane).canvas.image)


def overlay(gray: RGB, heat_map: FloatArray) -> tuple[RGB, float]:
    """Lay a heat map over a film.

    Parameters
    ----------
    gray : ndarray, (rows, columns) uint8
    heat_map : ndarray, (rows, columns) float32 in [0, 1]
        Coarse, on the absolute scale; it covers the whole film.

    Returns
    -------
    rgb : ndarray, (rows, columns, 3) uint8
    strongest : float
        Greatest opacity of the map anywhere, in [0, ALPHA].

    Notes
    -----
    Inferno grows evenly in lightness; turbo and jet show borders at middle values that are not in the map.
    """
    rows, columns = gray.shape
    shares = np.clip(cv2.resize(heat_map, (columns, rows), interpolation=cv2.INTER_CUBIC), 0, 1)
    bgr = cv2.applyColorMap((shares * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    opacity = ALPHA * np.clip((shares - FLOOR) / (1 - FLOOR), 0, 1)[..., None] ** EXPONENT
    mixed = gray[..., None] * (1 - opacity) + bgr[..., ::-1] * opacity
    return np.round(mixed).astype(np.uint8), float(opacity.max())


def _sheet(context: Context, film: Film, plane: FloatArray) -> _Sheet:
    assert film.prediction is not None
    gray = _scaled(plane)
    colored, strongest = overlay(gray, film.prediction.heat_map)
    area = max(gray.shape[0], FILM_AREA_LOWEST)
    width = max(2 * gray.shape[1] + GAP, STRIP_NARROWEST)
    shown_words, typeface = _writing(context.words)
    canvas = Canvas(width, area + STRIP_HEIGHT, BACKGROUND, typeface)
    stands_out = strongest >= VISIBLE_ALPHA
    sheet = _Sheet(canvas, replace(context, words=shown_words), film, film.prediction, area, stands_out)
    _films(sheet, gray, colored)
    _banner(sheet, right=int(width * 0.36))
    _bars(sheet, left=int(width * 0.36) + 26, right=int(width * 0.67) - 4)
    _notes(sheet, left=int(width * 0.67) + 30, right=width - 24)
    return sheet


def _writing(wanted: Words) -> tuple[Words, Typeface]:
    """Return the words and the font for the picture: English where no font has the language's letters."""
    letters = "".join((*wanted.picture.values(), *wanted.labels.values(), *wanted.conditions.values()))
    typeface = typeface_for(letters)
    if typeface is not None:
        return wanted, typeface
    latin = typeface_for("")
    assert latin is not None
    return words("en"), latin


def _scaled(plane: FloatArray) -> RGB:
    """Return the film at the size it is shown at, 8 bit."""
    rows, columns = plane.shape
    scale = min(FILM_HEIGHT / rows, FILM_WIDEST / columns)
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(plane, size, interpolation=interpolation)
    gray: RGB = np.round(np.clip(resized, 0, 1) * 255).astype(np.uint8)
    return gray


def _films(sheet: _Sheet, gray: RGB, colored: RGB) -> None:
    rows, columns = gray.shape
    pair = (np.repeat(gray[..., None], 3, axis=2), colored)
    left = (sheet.width - 2 * columns - GAP) // 2
    for index, (rgb, label) in enumerate(zip(pair, ("original", "heat_map"), strict=True)):
        x = left + index * (columns + GAP)
        sheet.canvas.image.paste(Image.fromarray(rgb), (x, (sheet.strip - rows) // 2))
        sheet.canvas.write_outlined(x + columns / 2, sheet.strip - 14, sheet.words.picture[label], 24, FOREGROUND)


def _banner(sheet: _Sheet, right: int) -> None:
    canvas, phrases, triage = sheet.canvas, sheet.words.picture, sheet.prediction.triage
    background, foreground = BANNERS[triage]
    margin, top = 26, sheet.strip
    inner = right - 2 * margin
    canvas.draw.rectangle((0, top, right, top + STRIP_HEIGHT - 1), fill=background)
    if triage in (Triage.URGENT, Triage.FLAGGED):
        finding = answer.leading_finding(sheet.prediction)
        head = phrases[triage].format(condition=sheet.words.conditions[finding.label])
        large = f"{sheet.words.abbreviations[finding.label]} {percent(finding.probability, finding.cut_off)}"
        canvas.write(margin, top + 74, head, canvas.fitting(head, inner, 44, True), foreground, True, "lm")
        canvas.write(margin, top + 240, large, canvas.fitting(large, inner, 190, True), foreground, True, "lm")
        return
    head = phrases[triage]
    canvas.write(margin, top + 92, head, canvas.fitting(head, inner, 96, True), foreground, True, "lm")
    box = (margin, top + 176, right - margin, sheet.bottom)
    canvas.flow(box, [(phrases[f"{triage}_text"], foreground, False)], 36)


def _bars(sheet: _Sheet, left: int, right: int) -> None:
    canvas, y = sheet.canvas, sheet.strip + 22
    for finding in reversed(sheet.prediction.findings):
        above = finding.above and sheet.prediction.triage is not Triage.UNCERTAIN
        shown = percent(finding.probability, finding.cut_off)
        label = sheet.words.labels[finding.label]
        room = right - left - canvas.width_of(shown, 30, True) - 12
        canvas.write(left, y + 17, label, canvas.fitting(label, room, 30, above), FOREGROUND, above, "lm")
        canvas.write(right, y + 17, shown, 30, FOREGROUND, True, "rm")
        bar = y + 42
        canvas.draw.rectangle((left, bar, right, bar + 26), fill=TROUGH)
        filled = left + round((right - left) * finding.probability)
        canvas.draw.rectangle((left, bar, filled, bar + 26), fill=BAR_ABOVE if above else BAR)
        if finding.cut_off is not None:
            _cut_off(sheet, left, right, bar, finding.cut_off)
        y = bar + 78


def _cut_off(sheet: _Sheet, left: int, right: int, bar: int, cut_off: float) -> None:
    canvas, x = sheet.canvas, left + round((right - left) * cut_off)
    label = sheet.words.table["cut_off"].format(percent=cut_off_percent(cut_off))
    half = canvas.width_of(label, 22) / 2
    canvas.draw.line((x, bar - 7, x, bar + 33), fill=WHITE, width=4)
    canvas.write(min(max(x, left + half), right - half), bar + 35, label, 22, MUTED, anchor="ma")


def _notes(sheet: _Sheet, left: int, right: int) -> None:
    """Write the legend of the map, what it is and is not, and where the numbers come from."""
    canvas, phrases, context = sheet.canvas, sheet.words.picture, sheet.context
    top = sheet.strip + 24
    ramp = np.tile(np.linspace(0, 1, right - left, dtype=np.float32), (20, 1))
    canvas.image.paste(Image.fromarray(overlay(np.full(ramp.shape, 128, np.uint8), ramp)[0]), (left, top))
    for x, name, anchor in ((left, "low", "la"), ((left + right) / 2, "attention", "ma"), (right, "high", "ra")):
        canvas.write(x, top + 25, phrases[name], 22, MUTED, anchor=anchor)
    model = context.study.reading.model
    weights = phrases["weights"].format(digest=answer.digest(context))
    condition = sheet.words.conditions[sheet.prediction.map_label]
    paragraphs = [
        (phrases["caption" if sheet.stands_out else "caption_empty"].format(condition=condition), FOREGROUND, False),
        (answer.image_title(context, sheet.film), MUTED, False),
        (f"{model.name} {model.version}, {weights}", MUTED, False),
        (moment(context.study.reading.times.started), MUTED, False),
        (sheet.words.answer["research"], WARNING, True),
    ]
    canvas.flow((left, top + 70, right, sheet.bottom), paragraphs, 25)
