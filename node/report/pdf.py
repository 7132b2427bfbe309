"""The report as a PDF, for systems that show documents and no structured reports: the same words, the answer first.

ReportLab lays it out; fonts are embedded, and its invariant mode leaves out the present, so the same reading gives the
same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image as PILImage
from reportlab.lib.colors import Color as Ink
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFError, TTFont
from reportlab.platypus import Image, KeepTogether, Paragraph, SimpleDocTemplate, Spacer, Table

from node.product import NAME
from node.report import answer, warned
from node.report.canvas import RGB, Color, Typeface, typefaces
from node.report.films import Film, told
from node.report.header import Context
from node.report.identity import decoded
from node.report.picture import BANNERS, WARNING, WHITE
from node.study import Triage

# Points, 1/72 inch.
MARGIN = 42.0
WIDTH = A4[0] - 2 * MARGIN
NOT_ANALYSED = ((90, 94, 100), WHITE)
BLACK: Color = (27, 31, 36)
GRAY: Color = (91, 100, 112)
DARK: Color = (16, 18, 22)
_FRAME = 6.0  # ReportLab's own padding
_PICTURE = 0.8 * WIDTH  # with it a study of one film fits on one page
_JPEG_QUALITY = 85
_IDENTITY = ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "AccessionNumber")


def pdf(context: Context, pictures: Sequence[tuple[Film, RGB]]) -> bytes:
    """Write the report of a study as a PDF.

    Parameters
    ----------
    context : Context
    pictures : sequence of (Film, ndarray (rows, columns, 3) uint8)
        The pictures that were drawn.

    Returns
    -------
    bytes
        A4. Patient data stand in it, its metadata hold none.
    """
    buffer = BytesIO()
    made = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=MARGIN - _FRAME,
        rightMargin=MARGIN - _FRAME,
        topMargin=MARGIN,
        bottomMargin=MARGIN + 14,
        title=answer.headline(context),
        creator=NAME,
        invariant=1,
        lang=context.words.code,
    )
    made.build(list(_story(context, {film.number: rgb for film, rgb in pictures})), *(_foot(context),) * 2)
    return buffer.getvalue()


def _story(context: Context, pictures: dict[int, RGB]) -> Iterator[Any]:
    yield _banner(context)
    yield Spacer(0, 10)
    yield _identity(context)
    for film in context.study.read:
        yield KeepTogether(list(_film(context, film, pictures.get(film.number))))
    for films in (*told(context.study.not_read), context.study.others):
        if films:
            title, *lines = answer.not_read(context, films)
            yield KeepTogether([_title(title), *(_paragraph(line) for line in lines)])
    yield Spacer(0, 12)
    yield _paragraph("\n".join(answer.made(context)), 7.5, GRAY)


def _banner(context: Context) -> Table:
    """Return the answer in its color, and what warns of it on dark ground."""
    background, color = BANNERS.get(context.study.triage, NOT_ANALYSED)
    head, *lines = answer.impression(context)
    warning = context.words.answer["warning"]
    rows = [_paragraph(head, 15, color, bold=True)]
    styles: list[tuple[Any, ...]] = [("BACKGROUND", (0, 0), (-1, -1), _ink(background))]
    for number, line in enumerate(lines, start=1):
        is_warning = line.startswith(warning)
        rows.append(_paragraph(line, 10, WARNING if is_warning else color, bold=is_warning))
        if is_warning:
            styles.append(("BACKGROUND", (0, number), (-1, number), _ink(DARK)))
    padding = [("LEFTPADDING", (0, 0), (-1, -1), 12), ("TOPPADDING", (0, 0), (-1, 0), 10)]
    return Table([[row] for row in rows], [WIDTH], style=[*styles, *padding, ("BOTTOMPADDING", (0, -1), (-1, -1), 10)])


def _identity(context: Context) -> Table:
    """Say whose report it is; what the study does not tell is left out."""
    said = context.words.sheet
    values = {keyword: _value(context, keyword) for keyword in _IDENTITY}
    rows = [
        [_paragraph(said[keyword], 9, GRAY), _paragraph(value, 9)] for keyword, value in values.items() if value
    ] or [["", ""]]
    return Table(rows, [110, WIDTH - 110], style=_tight())


def _value(context: Context, keyword: str) -> str:
    value = decoded(context.identity.values.get(keyword, b""), context.identity.character_set).strip()
    if keyword.endswith("Date") and len(value) == 8:
        return f"{value[:4]}-{value[4:6]}-{value[6:]}"
    if keyword != "PatientName":
        return value
    groups = [" ".join(group.replace("^", " ").split()) for group in value.split("=")]
    writable = [group for group in groups if group and _fonts_for(group) is not None]
    return " = ".join(writable or groups[:1])


def _film(context: Context, film: Film, picture: RGB | None) -> Iterator[Any]:
    assert film.prediction is not None
    yield _title(answer.image_title(context, film))
    for line in warned.in_the_table(context.words, film.prediction):
        yield _paragraph(line, 9.5, bold=True)
    found = sorted(film.prediction.findings, key=lambda finding: -finding.probability)
    rows = [answer.cells(context.words, finding, film.prediction.reliable) for finding in found]
    shares = (0.28, 0.12, 0.12, 0.24, 0.24)
    yield Table(
        [
            [_paragraph(cell, bold=side == context.words.table["above"]) for cell in (*cells, side)]
            for *cells, side in rows
        ],
        [WIDTH * share for share in shares],
        style=_tight(),
    )
    if film.prediction.triage is Triage.UNCERTAIN:
        yield _paragraph(context.words.table["uncertain" if film.prediction.reliable else "unfit"])
    if picture is not None:
        yield Spacer(0, 6)
        yield _image(picture)


def _image(picture: RGB) -> Image:
    buffer = BytesIO()
    PILImage.fromarray(picture).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    buffer.seek(0)
    rows, columns, _ = picture.shape
    return Image(buffer, _PICTURE, _PICTURE * rows / columns, hAlign="LEFT")


def _foot(context: Context) -> Any:
    """Return what writes the foot of each page: what it is for, whose it is, and its number."""
    research, page = context.words.answer["research"], context.words.sheet["page"]

    def write(canvas: Any, _: Any) -> None:
        for text, x, draw in (
            (research, MARGIN, canvas.drawString),
            (_value(context, "PatientID"), A4[0] / 2 + 60, canvas.drawString),
            (page.format(number=canvas.getPageNumber()), A4[0] - MARGIN, canvas.drawRightString),
        ):
            canvas.setFont(_font(text, bold=False), 8)
            canvas.setFillColor(_ink(GRAY))
            draw(x, MARGIN - 10, text)

    return write


def _title(text: str) -> Paragraph:
    return _paragraph(text, 11, bold=True, before=14)


def _paragraph(text: str, size: float = 9.5, color: Color = BLACK, bold: bool = False, before: float = 0) -> Paragraph:
    style = ParagraphStyle(
        "",
        fontName=_font(text, bold),
        fontSize=size,
        leading=size * 1.35,
        textColor=_ink(color),
        spaceBefore=before,
        spaceAfter=2,
        wordWrap="CJK" if any(ord(letter) >= 0x2E80 for letter in text) else None,
    )
    return Paragraph(escape(text).replace("\n", "<br/>"), style)


def _tight() -> list[tuple[Any, ...]]:
    every = (0, 0), (-1, -1)
    return [(f"{side}PADDING", *every, 0) for side in ("LEFT", "RIGHT", "TOP", "BOTTOM")] + [("VALIGN", *every, "TOP")]


def _ink(color: Color) -> Ink:
    return Ink(*(part / 255 for part in color))


def can_write(text: str) -> bool:
    """Tell whether a font on this machine has these letters, and can be embedded."""
    return _fonts_for(text) is not None


def _font(text: str, bold: bool) -> str:
    """Return the font to write a text in; letters that no font has become boxes in the shipped one."""
    regular, heavy = _fonts_for(text) or _fonts_for("") or ("Helvetica", "Helvetica-Bold")
    return heavy if bold else regular


def _fonts_for(text: str) -> tuple[str, str] | None:
    for typeface in typefaces():
        fonts = _registered(typeface)
        if fonts and all(
            ord(letter) in pdfmetrics.getFont(fonts[0]).face.charToGlyph for letter in text if letter != "\n"
        ):
            return fonts
    return None


@cache
def _registered(typeface: Typeface) -> tuple[str, str] | None:
    """Have ReportLab read a typeface; None where it cannot, as with outlines of PostScript."""
    try:
        return _register(typeface.regular), _register(typeface.bold)
    except TTFError:
        return None


def _register(path: Path) -> str:
    pdfmetrics.registerFont(TTFont(path.stem, str(path)))
    return path.stem
