"""The evaluation as one page: every picture within it, no script, nothing fetched; for the screen, paper and a screen reader."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from training import summary
from training.sections import Pictures, sections

_TEMPLATE = "report.html"
_JPEG = b"\xff\xd8"
_MARKS = (
    (re.compile(r"\*\*(.+?)\*\*"), r"<strong>\1</strong>"),
    (re.compile(r"\*(.+?)\*"), r"<em>\1</em>"),
    (re.compile(r"`(.+?)`"), r"<code>\1</code>"),
    # A count keeps to what it counts.
    (re.compile(r"(\d) (?=[A-Z%])"), "\\1\u00a0"),
    (re.compile(r"(\[[-+.\d]+, [-+.\d]+\])"), r'<span class="ends">\1</span>'),
)


def html_report(metrics: Mapping[str, Any], pictures: Pictures) -> str:
    """Return the report.

    Parameters
    ----------
    metrics : mapping
        As `training.evaluate.evaluate` or `training.score.score` builds it.
    pictures : mapping of str to tuple of Picture
        By section: those of `training.plots.plots`, and ``explanation``, ``film_checks``, ``films`` and ``training``.

    Returns
    -------
    str
        HTML.
    """
    about = metrics["about"]
    environment = Environment(loader=PackageLoader("training", ""), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"marked": _marked, "inlined": _inlined}
    return environment.get_template(_TEMPLATE).render(
        title=f"What {about['name']} {about['version']} is worth",
        identity=_identity(about),
        disclaimer=summary.DISCLAIMER,
        headline=summary.headline(metrics),
        figures=summary.means(metrics),
        sections=sections(metrics, pictures),
    )


def write_report(metrics: Mapping[str, Any], pictures: Pictures, path: Path) -> None:
    """Write the report to a file; arguments as those of `html_report`."""
    path.write_text(html_report(metrics, pictures), encoding="utf-8")


def _identity(about: Mapping[str, Any]) -> str:
    return (
        f"Run {about['run']}"
        if about["kind"] == "run"
        else f"Bundle {about['digest'][:12]}, films of {about['manifest']}"
    )


def _marked(text: str) -> Markup:
    """Turn the few marks of our sentences and cells into HTML; everything else is escaped."""
    shown = str(escape(text))
    for pattern, tag in _MARKS:
        shown = pattern.sub(tag, shown)
    # Escaped above, and the tags are ours.
    return Markup(shown)  # noqa: S704  # nosec B704


def _inlined(content: bytes) -> str:
    kind = "jpeg" if content.startswith(_JPEG) else "png"
    return f"data:image/{kind};base64,{b64encode(content).decode()}"
