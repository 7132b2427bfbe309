"""Pictures that are no whole chest film, drawn or cut from films: what `training.film_check` learns to refuse.

No photograph is needed for it, and none is kept here. What photographs, pages and other radiographs have in common with these
is drawn: spectra that fall with frequency, things that hide one another, symmetry, letters, frames, limbs whose attenuations
add up. Each picture is ndarray, (128, 128) float32 in [0, 1].

References
----------
Lee, Mumford and Huang 2001, Occlusion Models for Natural Images, International Journal of Computer Vision 41, 35-59.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from node.film_check import CANVAS_PX as N
from node.film_check import stretched
from node.pixels import Plane
from training.outlines import Random, blurred, body, filled, frame, grain, ground, outline, rounded, shape

# Three tenths are cut from films: they have a film's grays and edges, and not its anatomy.
_CUT_SHARE = 0.3
_SIGNS = list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789&?%$#")
_PROSE = list("etaoinshrdlucmfw ETAOI   .,0123")
_FONTS = 8  # of cv2
_ROW, _COLUMN = np.mgrid[-1 : 1 : N * 1j, -1 : 1 : N * 1j].astype(np.float32)


@dataclass(frozen=True)
class NotFilm:
    """A picture that is no whole chest film, what kind it is of, and the film it was cut from, None where it was drawn."""

    picture: Plane
    kind: str
    film: int | None


def not_films(count: int, films: npt.NDArray[np.uint8], seed: int) -> Iterator[NotFilm]:
    """Give this many pictures that are no whole chest films.

    Parameters
    ----------
    count : int
    films : ndarray, (films, 128, 128) uint8
        To cut from.
    seed : int
    """
    rng = np.random.default_rng(seed)
    for _ in range(count):
        film = int(rng.integers(len(films))) if rng.random() < _CUT_SHARE else None
        if film is None:
            draw = DRAWN[int(rng.integers(len(DRAWN)))]
            picture, kind = draw(rng), draw.__name__
        else:
            cut = CUT[int(rng.integers(len(CUT)))]
            picture, kind = cut(rng, stretched(films[film] / np.float32(255))), cut.__name__
        yield NotFilm(np.clip(picture, 0, 1).astype(np.float32), kind, film)


def noise(rng: Random, exponent: float | None = None) -> Plane:
    """Draw noise whose amplitudes fall with a power of the frequency: 0 is white, photographs have about 1, clouds 2 and more."""
    exponent = rng.uniform(0, 3.2) if exponent is None else exponent
    stretch = np.exp(rng.normal(0, 0.5))
    down, right = np.meshgrid(np.fft.fftfreq(N) * stretch, np.fft.rfftfreq(N) / stretch, indexing="ij")
    frequency = np.hypot(down, right)
    frequency[0, 0] = 1
    return stretched(np.fft.irfft2(np.fft.rfft2(rng.standard_normal((N, N))) / frequency**exponent).astype(np.float32))


def gradient(rng: Random) -> Plane:
    """Draw a ramp, a lamp or waves."""
    angle = rng.uniform(0, 2 * np.pi)
    along = _COLUMN * np.cos(angle) + _ROW * np.sin(angle)
    lamp = np.hypot(_COLUMN - rng.uniform(-0.6, 0.6), (_ROW - rng.uniform(-0.6, 0.6)) * rng.uniform(0.5, 2))
    drawn = (along, lamp, -lamp, np.sin(along * rng.uniform(2, 25) + angle))[rng.integers(4)]
    return stretched(drawn + rng.uniform(0, 0.1) * grain(rng))


def leaves(rng: Random) -> Plane:
    """Draw shapes that hide one another, as things do in a photograph."""
    drawn, texture = noise(rng, rng.uniform(1, 3)), noise(rng, rng.uniform(0.5, 2.5))
    for _ in range(int(rng.integers(3, 90))):
        gray = rng.uniform()
        if rng.random() < 0.35:
            hidden = filled(shape(rng, 2))
            drawn[hidden] = gray + rng.uniform(0, 0.5) * (
                np.roll(texture, rng.integers(N, size=2), (0, 1))[hidden] - 0.5
            )
        else:
            cv2.fillPoly(drawn, [shape(rng, 2)], gray)
    return stretched(blurred(drawn, rng.uniform(0.3, 3)) + rng.uniform(0, 0.05) * grain(rng))


def shapes(rng: Random) -> Plane:
    """Draw a few shapes on a plain ground."""
    drawn = ground(rng)
    for _ in range(int(rng.integers(1, 10))):
        cv2.fillPoly(drawn, [shape(rng, 3)], rng.uniform())
    return stretched(blurred(drawn, rng.uniform(0.3, 4)))


def page(rng: Random) -> Plane:
    """Draw a page of text in one or two columns, with a box here and there."""
    wide = 4 * N
    drawn = np.zeros((wide, wide), np.uint8)
    scale, font, columns = rng.uniform(0.25, 1.1), int(rng.integers(_FONTS)), int(rng.integers(1, 3))
    left, y = int(rng.integers(8, 60)), int(rng.integers(8, 60))
    letters = int((wide // columns - 2 * left) / (18 * scale))
    while y < wide - 10:
        for x in range(left, wide - left, wide // columns):
            line = "".join(rng.choice(_PROSE, max(1, int(letters * rng.uniform(0.3, 1)))))
            cv2.putText(drawn, line, (x, y), font, scale, 255, 1 + int(scale > 0.7), cv2.LINE_AA)
        if rng.random() < 0.05:
            cv2.rectangle(drawn, (left, y), (wide - left, y + 60), int(rng.integers(60, 255)), int(rng.choice([-1, 2])))
            y += 80
        y += int(30 * scale * rng.choice([1.1, 1.1, 1.1, 2.2])) + 2
    paper = cv2.resize(drawn, (N, N), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return stretched(paper if rng.random() < 0.3 else 1 - paper)


def pattern(rng: Random) -> Plane:
    """Draw a step wedge, stripes, a chessboard, rings or a grid, mostly within a frame."""
    count = int(rng.integers(3, 24))
    x, y, radius = _COLUMN / 2 + 0.5, _ROW / 2 + 0.5, np.hypot(_COLUMN, _ROW)
    steps = np.floor(x * count) / count
    chess = (np.floor(x * count) + np.floor(y * count)) % 2
    grid = np.maximum(x * count % 1 < 0.1, y * count % 1 < 0.1)
    drawn = (steps, np.floor((x + y) * count) % 2, chess, np.floor(radius * count * 0.7) % 2, grid)[rng.integers(5)]
    drawn = np.ascontiguousarray(np.rot90(drawn, int(rng.integers(4))), np.float32)
    if rng.random() < 0.6:
        sheet, rows, columns = ground(rng), int(rng.integers(4, 36)), int(rng.integers(4, 50))
        within = (N - 2 * columns, N - 2 * rows)
        sheet[rows : N - rows, columns : N - columns] = cv2.resize(drawn, within, interpolation=cv2.INTER_AREA)
        drawn = sheet
    for _ in range(int(rng.integers(4))):
        cv2.fillPoly(drawn, [shape(rng, 1)], rng.uniform())
    return stretched(blurred(drawn, rng.uniform(0.3, 2)) + rng.uniform(0, 0.05) * grain(rng))


def blank(rng: Random) -> Plane:
    """Draw nothing but a little noise."""
    return ground(rng) * 0.9 + np.float32(rng.uniform(0, 0.03)) * noise(rng)


def limb(rng: Random) -> Plane:
    """Draw bones in soft tissue, their attenuations added up; some mirrored as a pelvis is, or between a plate's bars."""
    thickness, angle = np.zeros((N, N), np.float32), rng.uniform(0, 180)
    for _ in range(int(rng.integers(1, 4))):
        thickness += _boned(rng, angle + rng.normal(0, 20))
    if rng.random() < 0.5:
        thickness = thickness + thickness[:, ::-1]
    thickness *= 1 + 0.3 * (noise(rng, 1.5) - 0.5)
    film = 1 - np.exp(-rng.uniform(0.5, 2) * thickness)
    film = stretched(blurred(film, rng.uniform(0.4, 2)) + rng.uniform(0, 0.03) * grain(rng))
    for _ in range(int(rng.integers(4)) if rng.random() < 0.5 else 0):
        film = np.rot90(film, int(rng.integers(4))).copy()
        film[: int(rng.integers(3, 50))] = rng.choice([0.0, 0.1, 0.9, 1.0])
    return film


def _boned(rng: Random, degrees: float) -> Plane:
    (x, y), length, width = rng.uniform(20, 108, 2), rng.uniform(30, 120), rng.uniform(8, 50)
    thickness = rng.uniform(0.5, 1) * body(x, y, length, width, degrees)
    for _ in range(int(rng.integers(1, 5))):
        aside, down = rng.normal(0, width / 3, 2)
        size = length * rng.uniform(0.4, 1), width * rng.uniform(0.1, 0.5)
        thickness = thickness + rng.uniform(0.3, 1) * body(x + aside, y + down, *size, degrees + rng.normal(0, 8))
    return thickness


def mirrored(rng: Random) -> Plane:
    """Draw noise or leaves, alike to the left and to the right as a chest is."""
    drawn = (noise, leaves)[rng.integers(2)](rng)
    return stretched(drawn + drawn[:, ::-1])


def thing(rng: Random) -> Plane:
    """Draw one thing before a plain ground, as in a catalog: shaded, textured, with parts."""
    inside = filled(outline(rng, 1.0))
    shade = rng.uniform() + rng.uniform(0, 0.6) * (gradient(rng) - 0.5) + rng.uniform(0, 0.6) * (noise(rng) - 0.5)
    if rng.random() < 0.4:
        shade = shade + rng.uniform(-0.6, 0.6) * rounded(inside)
    shade = np.ascontiguousarray(shade, np.float32)
    for _ in range(int(rng.integers(7))):
        cv2.fillPoly(shade, [outline(rng, rng.uniform(0.1, 0.6)) + rng.integers(-30, 31, 2, np.int32)], rng.uniform())
    if rng.random() < 0.25:
        shade = (shade + shade[:, ::-1]) / 2
    drawn = np.where(inside, shade, ground(rng))
    if rng.random() < 0.3:
        cv2.polylines(drawn, [outline(rng, 1.0)], True, float(rng.choice([0, 1])), int(rng.integers(1, 5)))
    return stretched(blurred(drawn, rng.uniform(0.3, 1.5)) + rng.uniform(0, 0.03) * grain(rng))


def letters(rng: Random) -> Plane:
    """Draw one to four letters as large as the picture, filled or in outline."""
    drawn = np.zeros((N, N), np.uint8)
    line, font = "".join(rng.choice(_SIGNS, rng.integers(1, 5))), int(rng.integers(_FONTS))
    thick = int(rng.integers(2, 22))
    (width, height), _ = cv2.getTextSize(line, font, 1, 1)
    scale = min(0.95 * N / width, 0.9 * N / height) * rng.uniform(0.5, 1.05)
    origin = (int(N / 2 - width * scale / 2), int(N / 2 + height * scale / 2))
    cv2.putText(drawn, line, origin, font, scale, 255, thick, cv2.LINE_AA)
    if thick > 6 and rng.random() < 0.4:
        inner = max(1, thick - int(rng.integers(3, 8)))
        cv2.putText(drawn, line, origin, font, scale, int(rng.integers(200)), inner, cv2.LINE_AA)
    sign: Plane = (drawn / 255).astype(np.float32)
    shadow = rng.uniform(0, 0.5) if rng.random() < 0.3 else 0.0
    return stretched((sign if rng.random() < 0.5 else 1 - sign) + shadow * gradient(rng))


def window(rng: Random) -> Plane:
    """Draw frames within frames, lines, bars: a screen, a sign, a chart."""
    drawn = ground(rng)
    edge = int(rng.integers(20))
    frame(rng, drawn, edge, int(rng.integers(20)), N - 2 * edge, N - 2 * edge)
    if rng.random() < 0.3:
        drawn = 0.7 * drawn + 0.3 * leaves(rng)
    return stretched(blurred(drawn, rng.uniform(0.3, 1)))


def shuffled(rng: Random, film: Plane) -> Plane:
    """Put a film's quarters, ninths or sixteenths in another order."""
    across = int(rng.choice([2, 3, 4]))
    side = N // across
    pieces = [film[y * side : (y + 1) * side, x * side : (x + 1) * side] for y in range(across) for x in range(across)]
    order = rng.permutation(across**2)
    while across == 2 and (order == np.arange(4)).all():
        order = rng.permutation(4)
    turned = [np.rot90(pieces[place], int(rng.integers(4)) if across > 2 else 0) for place in order]
    rows = [np.hstack(turned[first : first + across]) for first in range(0, across**2, across)]
    return _enlarged(np.vstack(rows))


def corner(rng: Random, film: Plane) -> Plane:
    """Cut a small part from a film: between a seventh and two fifths of its height."""
    height = int(N * rng.uniform(0.15, 0.4))
    width = int(np.clip(height * rng.uniform(0.7, 1.4), 8, 60))
    y, x = rng.integers(N - height + 1), rng.integers(N - width + 1)
    return _enlarged(film[y : y + height, x : x + width])


def scrambled(rng: Random, film: Plane) -> Plane:
    """Give a film's amplitudes the phases of noise: its spectrum, and nothing in its place."""
    phases = np.exp(1j * np.angle(np.fft.rfft2(rng.standard_normal((N, N)))))
    return stretched(np.fft.irfft2(np.abs(np.fft.rfft2(film)) * phases).astype(np.float32))


def warped(rng: Random, film: Plane) -> Plane:
    """Draw a film out of shape until no anatomy is left."""
    right, down = (rng.uniform(60, 140) * (noise(rng, 2.5) - 0.5) for _ in range(2))
    y, x = np.mgrid[0:N, 0:N].astype(np.float32)
    drawn: Plane = cv2.remap(film, x + right, y + down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return drawn


def _enlarged(picture: Plane) -> Plane:
    whole: Plane = cv2.resize(picture, (N, N), interpolation=cv2.INTER_LINEAR)
    return whole


DRAWN: Sequence[Callable[[Random], Plane]] = (
    *(noise, gradient, leaves, leaves, shapes, page, pattern, blank),
    *(limb, limb, limb, mirrored, thing, thing, letters, window),
)
CUT: Sequence[Callable[[Random, Plane], Plane]] = (shuffled, corner, scrambled, warped)
