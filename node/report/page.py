"""A report as a page for people without a viewer: one HTML file that needs nothing else, the answer first."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape
from io import BytesIO
from itertools import groupby

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from node import codes
from node.attributes import items, text
from node.errors import ReportError
from node.product import NAME
from node.report.picture import BANNERS
from node.report.words import words
from node.study import Triage

_NOT_ANALYSED_COLORS = ((90, 94, 100), (255, 255, 255))
_TRACKING_IDENTIFIER = "112039"  # DCM, Tracking Identifier
_IDENTITY = ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "AccessionNumber")
_STYLE = """
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem; font: 16px/1.5 "DejaVu Sans", "Segoe UI", sans-serif;
  color: #1b1f24; background: #fff; }
header { padding: 1.25rem 1.5rem; border-radius: .5rem; background: BACKGROUND; color: COLOR; }
h1 { margin: 0; font-size: 1.6rem; line-height: 1.3; }
header p { margin: .4rem 0 0; }
header p.warning { display: inline-block; padding: .1rem .6rem; background: #101216; color: #ffcd60; font-weight: bold; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: 1.25rem 0; }
dt { color: #5b6470; } dd { margin: 0; }
h2 { margin: 1.75rem 0 .5rem; font-size: 1.05rem; border-bottom: 1px solid #d5dae0; }
h3 { margin: 1.25rem 0 .25rem; font-size: .95rem; }
pre { margin: .5rem 0; padding: .75rem 1rem; overflow-x: auto; background: #f3f5f7; border-radius: .35rem;
  font: 14px/1.5 "DejaVu Sans Mono", Consolas, monospace; white-space: pre-wrap; }
table { border-collapse: collapse; margin: .5rem 0; font-size: .9rem; }
td { padding: .1rem 1rem .1rem 0; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
img { display: block; width: 100%; margin: 1.25rem 0; border-radius: .35rem; }
footer { margin-top: 2rem; color: #5b6470; font-size: .85rem; }
@media print { header { -webkit-print-color-adjust: exact; print-color-adjust: exact; } }
"""


def page(report: bytes, pictures: Sequence[bytes] = ()) -> str:
    """Show one of this node's reports.

    Parameters
    ----------
    report : bytes
        DICOM file of a triage report or AI Results, in any of their SOP classes.
    pictures : sequence of bytes
        DICOM files of the pictures that go with it; they become part of the page.

    Returns
    -------
    str
        HTML, self-contained: no script, no font and no image from elsewhere. Patient data stand in it.

    Raises
    ------
    ReportError
        When it is no structured report.
    """
    dataset = dcmread(BytesIO(report))
    if not items(dataset, "ContentSequence"):
        raise ReportError("this file is no structured report")
    answer, *more = answer_lines(dataset)
    shown = "".join(f'<img alt="Film and heat map" src="{_data_url(png(picture))}">\n' for picture in pictures)
    return _PAGE.format(
        language=escape(_language(dataset), quote=True),
        title=escape(answer),
        style=_style(_triage(dataset)),
        answer=escape(answer),
        more="".join(_lines(more, _language(dataset))),
        identity="".join(_identity(dataset)),
        pictures=shown,
        content="".join(_content(dataset)),
        name=escape(NAME),
        uid=escape(text(dataset, "SOPInstanceUID")),
    )


def png(picture: bytes) -> bytes:
    """Return a picture (Secondary Capture) as a PNG file.

    Raises
    ------
    ReportError
        When it is no Secondary Capture.
    """
    dataset = dcmread(BytesIO(picture))
    if dataset.SOPClassUID != SecondaryCaptureImageStorage:
        raise ReportError("this file is no Secondary Capture image")
    buffer = BytesIO()
    Image.fromarray(np.asarray(dataset.pixel_array)).save(buffer, "PNG")
    return buffer.getvalue()


_PAGE = """<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{answer}</h1>
{more}</header>
<dl>
{identity}</dl>
{pictures}{content}<footer>{name}, SOP Instance UID {uid}</footer>
</body>
</html>
"""


def _lines(lines: Sequence[str], language: str) -> Iterator[str]:
    """Yield the lines below the answer; a warning stands out."""
    warning = words(language).answer["warning"]
    for line in lines:
        kind = ' class="warning"' if line.startswith(warning) else ""
        yield f"<p{kind}>{escape(line)}</p>\n"


def answer_lines(dataset: Dataset) -> list[str]:
    """Return the lines of the impression; AI Results hold them in a comment."""
    for wanted in (codes.IMPRESSION, codes.COMMENT):
        for item in _tree(dataset):
            if _name(item)[0] == wanted.value:
                return str(item.TextValue).splitlines()
    raise ReportError("this report has no impression")


def _triage(dataset: Dataset) -> Triage:
    """Return the answer's kind from the codes, or from their meanings in a Basic Text report."""
    held = {_name(item)[0]: _value(item) for item in _tree(dataset)}
    summary, priority = held.get(codes.CAD_SUMMARY.value), held.get(codes.PRIORITY.value)
    if priority == codes.URGENT.meaning:
        return Triage.URGENT
    if summary == codes.WITH_FINDINGS.meaning:
        return Triage.FLAGGED
    if summary == codes.WITHOUT_FINDINGS.meaning:
        return Triage.NOT_FLAGGED
    return Triage.UNCERTAIN if codes.ALGORITHM_NAME.value in held else Triage.NOT_ANALYSED


def _content(dataset: Dataset) -> Iterator[str]:
    """Yield the sections, then what stands beside them: language, observer, procedure."""
    children = [item for item in items(dataset, "ContentSequence") if _name(item)[0] != codes.IMAGE_LIBRARY.value]
    sections = [child for child in children if text(child, "ValueType") == "CONTAINER"]
    said = "\n".join(answer_lines(dataset))  # it is the head of the page already
    yield from (_section(child, said, 2) for child in sections)
    yield from (_item(child, said) for child in children if child not in sections)


def _section(container: Dataset, said: str, level: int) -> str:
    """Show a container: its name, or what it tracks, and its items, numbers that follow each other in one table."""
    children = items(container, "ContentSequence")
    tracked = [child for child in children if _name(child)[0] == _TRACKING_IDENTIFIER]
    title = _value(tracked[0]) if tracked else _name(container)[1]
    shown = [f"<h{level}>{escape(title)}</h{level}>\n"]
    others = (child for child in children if child not in tracked)
    for kind, group in groupby(others, key=lambda child: text(child, "ValueType")):
        if kind == "NUM":
            shown.append(_numbers(list(group)))
        elif kind == "CONTAINER":
            shown += (_section(child, said, level + 1) for child in group)
        else:
            shown += (_item(child, said) for child in group)
    return "".join(shown)


def _item(item: Dataset, said: str) -> str:
    """Show a text or a code, with the numbers below it."""
    value = _value(item)
    numbers = _numbers([child for child in items(item, "ContentSequence") if text(child, "ValueType") == "NUM"])
    if value == said or not value:
        return numbers
    if "\n" in value:
        return f"<pre>{escape(value)}</pre>\n{numbers}"
    return f"<div>{escape(_name(item)[1])}: {escape(value)}</div>\n{numbers}"


def _numbers(found: Sequence[Dataset]) -> str:
    rows = (f'<tr><td>{escape(_named(item))}</td><td class="number">{escape(_value(item))}</td></tr>' for item in found)
    return f"<table>{''.join(rows)}</table>\n" if found else ""


def _named(item: Dataset) -> str:
    """Return the name of a number with what modifies it, e.g. its derivation."""
    return ", ".join([_name(item)[1], *(_value(child) for child in items(item, "ContentSequence"))])


def _value(item: Dataset) -> str:
    kind = text(item, "ValueType")
    if kind == "CODE":
        return next((text(code, "CodeMeaning") for code in items(item, "ConceptCodeSequence")), "")
    if kind == "NUM":
        return next((_quantity(value) for value in items(item, "MeasuredValueSequence")), "")
    return str(item.get("TextValue", "")).replace("\r\n", "\n")


def _quantity(value: Dataset) -> str:
    unit = next((text(code, "CodeMeaning") for code in items(value, "MeasurementUnitsCodeSequence")), "")
    return f"{text(value, 'NumericValue')} {unit}".strip()


def _name(item: Dataset) -> tuple[str, str]:
    """Return code value and meaning of an item's concept name."""
    concepts = items(item, "ConceptNameCodeSequence")
    return next(((text(code, "CodeValue"), text(code, "CodeMeaning")) for code in concepts), ("", ""))


def _language(dataset: Dataset) -> str:
    stated = (item for item in items(dataset, "ContentSequence") if _name(item)[0] == codes.LANGUAGE.value)
    return next((text(code, "CodeValue") for item in stated for code in items(item, "ConceptCodeSequence")), "en")


def _identity(dataset: Dataset) -> Iterator[str]:
    labels = words(_language(dataset)).sheet
    for keyword in _IDENTITY:
        value = " ".join(str(dataset.get(keyword) or "").replace("^", " ").split())
        if keyword.endswith("Date") and len(value) == 8:
            value = f"{value[:4]}-{value[4:6]}-{value[6:]}"
        if value:
            yield f"<dt>{escape(labels[keyword])}</dt><dd>{escape(value)}</dd>\n"


def _style(triage: Triage) -> str:
    background, color = BANNERS.get(triage, _NOT_ANALYSED_COLORS)
    return _STYLE.replace("BACKGROUND", f"rgb{background}").replace("COLOR", f"rgb{color}")


def _data_url(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _tree(item: Dataset) -> Iterator[Dataset]:
    for child in items(item, "ContentSequence"):
        yield child
        yield from _tree(child)
