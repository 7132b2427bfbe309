"""The picture fits any film and any language, and shows attention only where there is some."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from node.explain import on_film
from node.prints import shown
from node.report import canvas as canvas_module
from node.report import picture
from node.report.canvas import Canvas, typeface_for
from node.report.films import study_of
from node.report.header import Context
from node.report.identity import identity_of
from node.report.picture import ALPHA, FLOOR, draw, overlay
from node.report.words import words
from node.study import Prediction, Triage
from tests.films import chest, dx_film
from tests.readings import (
    ALL_WARNINGS,
    COLLIMATED_FLAGGED,
    FLAGGED,
    INVERTED,
    NORMAL,
    OPTIONS,
    TURNED_URGENT,
    UNCERTAIN,
    UNLIKE,
    URGENT,
    heat_map,
    lateral,
    prediction,
    source,
)

LANGUAGES = ("en", "de", "fr", "es", "pt", "ja")
OUTCOMES = {"urgent": URGENT, "flagged": FLAGGED, "normal": NORMAL, "uncertain": UNCERTAIN}
WARNED = {"turned": TURNED_URGENT, "collimated": COLLIMATED_FLAGGED, "unlike": UNLIKE, "all": ALL_WARNINGS}
SHAPES = {"square": (512, 512), "portrait": (512, 210), "landscape": (400, 512), "tiny": (169, 211), "wide": (120, 512)}


def context_of(outcome: Prediction, language: str = "en") -> Context:
    study = study_of(source((dx_film(), outcome), lateral()))
    return Context(study, replace(OPTIONS, language=language), words(language), identity_of(study.leading.header))


def sheet(outcome: Prediction, shape: tuple[int, int] = (512, 512), language: str = "en") -> picture._Sheet:
    context = context_of(outcome, language)
    return picture._sheet(context, context.study.images[0], shown(chest(*shape)))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("outcome", [*OUTCOMES, *WARNED])
def test_no_text_is_cut_or_runs_into_another(outcome: str, shape: str, language: str) -> None:
    drawn = sheet((OUTCOMES | WARNED)[outcome], SHAPES[shape], language)
    written, width = drawn.canvas.written, drawn.width
    assert len(written) > 12
    edges = (0, int(width * 0.36), int(width * 0.67), width)
    for text, (left, top, right, bottom) in written:
        if top < drawn.strip:
            continue  # the names of the films
        column = next(index for index in range(3) if left < edges[index + 1])
        assert edges[column] <= left and right <= edges[column + 1], f"{text!r} leaves its column"
        assert bottom <= drawn.canvas.height - drawn.px(36), f"{text!r} stands where viewers print"
    for (one, a), (other, b) in combinations(written, 2):
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart, f"{one!r} runs into {other!r}"


@pytest.mark.parametrize("shape", SHAPES)
def test_the_top_of_the_films_is_free_of_text(shape: str) -> None:
    drawn = sheet(URGENT, SHAPES[shape])
    assert min(top for _, (_, top, _, _) in drawn.canvas.written) > 0.6 * drawn.strip


def test_the_layout_is_the_one_that_was_tried_in_viewers() -> None:
    assert sheet(URGENT).canvas.pixels.shape == (1454, 2054, 3)


@pytest.mark.parametrize("shape", SHAPES)
def test_both_films_are_shown_whole_and_in_their_own_aspect(shape: str) -> None:
    rows, columns = SHAPES[shape]
    context = context_of(NORMAL)
    drawn = picture._sheet(context, context.study.images[0], shown(np.ones((rows, columns), np.float32)))
    white = np.all(drawn.canvas.pixels[: drawn.strip] > 250, axis=2)
    across = np.flatnonzero(white.any(axis=0))
    height = np.count_nonzero(white.any(axis=1))
    assert len(across) / 2 / height == pytest.approx(columns / rows, rel=0.02)


def test_a_film_of_4000_rows_is_shown_at_1024() -> None:
    drawn = sheet(NORMAL, (4000, 320))
    assert drawn.strip == 1024


def test_the_answer_is_always_written_out() -> None:
    shown = {name: " ".join(text for text, _ in sheet(outcome).canvas.written) for name, outcome in OUTCOMES.items()}
    assert "URGENT - suspected tuberculosis" in shown["urgent"] and "TB 93 %" in shown["urgent"]
    assert "FLAGGED - suspected pneumonia" in shown["flagged"] and "Pneumonia 81 %" in shown["flagged"]
    assert "NOT FLAGGED" in shown["normal"] and "This does not exclude disease." in shown["normal"]
    assert "UNCERTAIN" in shown["uncertain"] and "Not a negative result." in shown["uncertain"].replace("  ", " ")
    for text in shown.values():
        assert "Research use only - not for diagnosis." in text
        assert "weights 0123456789ab" in text
        assert "Image 1 of 2: PA, series 1, image 1" in text


def written(outcome: Prediction) -> str:
    return " ".join(text for text, _ in sheet(outcome).canvas.written)


def test_every_warning_is_written_out_in_the_banner() -> None:
    assert "WARNING - looks turned" in written(TURNED_URGENT)
    assert "WARNING - unlike the model's training films" in written(UNLIKE)
    shown = written(ALL_WARNINGS)
    for words_of_it in ("WARNING - looks turned, looks inverted,", "empty border", "unlike the model's"):
        assert words_of_it in shown
    assert not any("WARNING" in written(outcome) for outcome in OUTCOMES.values())


def test_a_film_that_looks_turned_has_no_large_percentage_and_no_full_bars() -> None:
    shown = written(TURNED_URGENT)
    assert "TB ?" in shown and "TB 93 %" not in shown and "93 % ?" in shown
    filled = {name: bars(outcome) for name, outcome in (("turned", TURNED_URGENT), ("sound", URGENT))}
    assert filled["sound"] > 5 * filled["turned"] > 0


def bars(outcome: Prediction) -> int:
    """Count the pixels in a bar's color."""
    pixels = sheet(outcome).canvas.pixels[1030:, 760:1370].reshape(-1, 3)
    return int(sum((pixels == color).all(axis=1).sum() for color in (picture.BAR, picture.BAR_ABOVE)))


def test_an_uncertain_film_says_why_it_is_where_the_picture_is_to_blame() -> None:
    assert "The model was not made for such pictures." in written(INVERTED).replace("  ", " ")
    assert "could not decide" in written(UNCERTAIN)


def test_the_large_answer_reads_in_a_thumbnail() -> None:
    ((_, top, _, bottom),) = [box for text, box in sheet(URGENT).canvas.written if text == "TB 93 %"]
    assert bottom - top > 90


def test_a_film_with_nothing_found_stays_gray_and_says_so() -> None:
    drawn = sheet(NORMAL)
    films = drawn.canvas.pixels[: drawn.strip - 60]  # above the names of the films
    assert np.ptp(films[:, drawn.width // 2 + 10 :].astype(int), axis=2).max() == 0
    caption = " ".join(text for text, _ in drawn.canvas.written)
    assert "no region stands out" in caption
    assert "where the model looked" not in caption


def test_a_flagged_film_is_colored_where_the_map_is_strong_and_there_alone() -> None:
    drawn = sheet(URGENT)
    films = drawn.canvas.pixels[: drawn.strip - 60].astype(int)
    color = np.ptp(films, axis=2) > 20
    assert not color[:, : drawn.width // 2].any()
    rows, columns = np.nonzero(color)
    assert 0.02 < color.mean() < 0.1
    assert columns.mean() > 0.8 * drawn.width and rows.mean() < 0.4 * drawn.strip
    assert "Not a lesion outline." in " ".join(text for text, _ in drawn.canvas.written)


def colored(outcome: Prediction, opacity: float = ALPHA) -> np.ndarray:
    """How far from gray the heat map's film is, by pixel, above the names of the films."""
    context = context_of(outcome)
    worded = replace(context, options=replace(context.options, map_opacity=opacity))
    drawn = picture._sheet(worded, worded.study.images[0], shown(chest(512, 512)))
    films = drawn.canvas.pixels[: drawn.strip - 60, drawn.width // 2 + 10 :].astype(int)
    return np.ptp(films, axis=2)


@pytest.mark.parametrize("outcome", [TURNED_URGENT, INVERTED, replace(ALL_WARNINGS, heat_map=heat_map(1.0))])
def test_a_film_that_the_model_was_not_made_for_has_no_map_and_says_so(outcome: Prediction) -> None:
    assert colored(outcome).max() == 0
    shown = written(outcome)
    assert "No heat map: the model was not made for such pictures." in " ".join(shown.split())
    assert "where the model looked" not in shown and "no region stands out" not in shown


def test_the_opacity_of_the_map_is_a_setting_and_what_is_shown_at_all_is_none() -> None:
    faint, usual, strong = (colored(URGENT, opacity) for opacity in (0.3, ALPHA, 0.8))
    assert faint.sum() < usual.sum() < strong.sum()
    assert faint.max() < usual.max() < strong.max()
    for opacity in (0.3, 0.8):  # too weak at any opacity, for the scale is no setting
        assert colored(replace(URGENT, heat_map=heat_map(0.3)), opacity).max() == 0
        assert colored(replace(URGENT, heat_map=heat_map(0.45)), opacity).max() > 0


def test_the_map_covers_the_whole_film_and_is_not_scaled_to_its_own_maximum() -> None:
    gray = np.full((70, 70), 128, np.uint8)
    assert overlay(gray, np.full((7, 7), FLOOR, np.float32))[1] == 0
    assert overlay(gray, np.ones((7, 7), np.float32))[1] == pytest.approx(ALPHA)
    weak, strong = (overlay(gray, heat_map(strength))[1] for strength in (0.5, 1.0))
    assert 0 < weak < strong


def test_a_map_is_laid_where_it_belongs() -> None:
    cells = np.zeros((7, 7), np.float32)
    cells[1, 5] = 1
    rgb, _ = overlay(np.full((700, 700), 100, np.uint8), cells)
    rows, columns = np.nonzero(np.ptp(rgb.astype(int), axis=2) > 30)
    assert (rows.mean(), columns.mean()) == pytest.approx((150, 550), abs=5)


def test_bars_are_highlighted_only_where_the_image_is_flagged() -> None:
    above = prediction(Triage.UNCERTAIN, 0.2, 0.55, 0.25, spreads=(0.2, 0.2, 0.2))
    for outcome, expected in ((FLAGGED, True), (above, False)):
        pixels = sheet(outcome).canvas.pixels[1030:, 760:1370].reshape(-1, 3)
        assert bool((pixels == picture.BAR_ABOVE).all(axis=1).any()) == expected


def test_the_picture_is_in_english_where_no_font_has_the_language_s_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canvas_module, "EAST_ASIAN_FONTS", ())
    assert typeface_for("結核") is None
    shown = " ".join(text for text, _ in sheet(URGENT, language="ja").canvas.written)
    assert "URGENT - suspected tuberculosis" in shown and "Image 1 of 2" in shown
    assert shown.isascii()


def test_the_picture_is_in_japanese_where_a_font_has_its_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    # The metrics of any font do for this; whether letters look right is for eyes.
    some_font = typeface_for("")
    assert some_font is not None
    monkeypatch.setattr(canvas_module, "EAST_ASIAN_FONTS", (Path("/nowhere.ttf"), some_font.regular))
    shown = " ".join(text for text, _ in sheet(URGENT, language="ja").canvas.written)
    assert "至急 - 結核の疑い" in shown


def test_lines_break_at_blanks_and_between_east_asian_letters_but_not_before_a_full_stop() -> None:
    typeface = typeface_for("")
    assert typeface is not None
    sheet_of_paper = Canvas(100, 100, (0, 0, 0), typeface)
    assert sheet_of_paper.lines("one two three", sheet_of_paper.width_of("one two", 20), 20) == ["one two", "three"]
    width = sheet_of_paper.width_of("結核の", 20)
    assert sheet_of_paper.lines("結核の疑。", width, 20) == ["結核の", "疑。"]
    assert sheet_of_paper.lines("unbreakable", 10, 20) == ["unbreakable"]


def test_text_shrinks_until_it_fits_its_box() -> None:
    typeface = typeface_for("")
    assert typeface is not None
    paper = Canvas(400, 200, (0, 0, 0), typeface)
    paper.flow((10, 10, 390, 190), [("word " * 60, (255, 255, 255), False)], 60)
    assert len(paper.written) > 3
    assert max(bottom for _, (_, _, _, bottom) in paper.written) <= 190
    assert max(right for _, (_, _, right, _) in paper.written) <= 390


def test_a_rectangle_without_an_inside_leaves_the_sheet_as_it_is() -> None:
    typeface = typeface_for("")
    assert typeface is not None
    paper = Canvas(20, 20, (1, 2, 3), typeface)
    paper.fill(10, 5, 8, 9, (255, 255, 255))
    assert (paper.pixels == (1, 2, 3)).all()
    paper.fill(10, 5, 10, 5, (255, 255, 255))
    assert np.argwhere(paper.pixels[..., 0] == 255).tolist() == [[5, 10]]


@pytest.mark.parametrize("at", [(0, 0), (-7, -3), (-7, 12), (150, -3), (150, 12), (60, 4), (300, 4), (-90, 4)])
def test_ink_lies_on_a_film_as_pillow_lays_it(at: tuple[int, int]) -> None:
    typeface = typeface_for("")
    assert typeface is not None
    paper = Canvas(200, 30, (0, 0, 0), typeface)
    paper.pixels[:] = np.random.default_rng(0).integers(0, 256, paper.pixels.shape, np.uint8)
    ink = canvas_module._ink(typeface.font(24), "heat map", "la", canvas_module.OUTLINE)
    pillows = Image.fromarray(paper.pixels)
    corner = at[0] + ink.left, at[1] + ink.top
    pillows.paste((236, 238, 240), corner, Image.fromarray(ink.mask))
    paper._print(*at, (236, 238, 240), ink)
    assert np.array_equal(paper.pixels, np.asarray(pillows))


@pytest.mark.parametrize("shape", [(300, 260), (1, 1), (picture.BAND_ROWS, 90), (picture.BAND_ROWS + 1, 90)])
def test_a_map_laid_onto_a_sheet_is_the_map_laid_over_the_film_alone(shape: tuple[int, int]) -> None:
    film, cells = shown(chest(300, 260))[: shape[0], : shape[1]].copy(), heat_map(1.0)
    rgb, strongest = overlay(film, cells)
    whole = np.zeros((*film.shape, 3), np.uint8)
    picture._color(film, cv2.convertScaleAbs(on_film(cells, film.shape), alpha=255.0), ALPHA, whole)
    assert np.array_equal(rgb, whole), "by bands or at once"
    larger = np.zeros((film.shape[0] + 20, film.shape[1] + 30, 3), np.uint8)
    part = larger[10 : 10 + shape[0], 20 : 20 + shape[1]]
    assert overlay(film, cells, onto=part)[1] == strongest
    assert np.array_equal(part, rgb)
    part[:] = 0
    assert not larger.any(), "nothing is written beside it"


def test_shipped_fonts_come_with_their_licence() -> None:
    folder = Path(canvas_module.__file__).with_name("fonts")
    assert {path.name for path in folder.iterdir()} >= {"DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "LICENSE_DEJAVU"}


def test_the_film_is_not_changed_by_drawing_it() -> None:
    film = shown(chest(300, 260))
    before = film.copy()
    context = context_of(URGENT)
    drawn = draw(context, context.study.images[0], film)
    assert np.array_equal(film, before)
    original = drawn[:1024, : (drawn.shape[1] - 6) // 2, 0]
    small = cv2.resize(original, (260, 300), interpolation=cv2.INTER_AREA).astype(float) / 255
    assert np.abs(small[:270] - chest(300, 260)[:270]).mean() < 0.01
