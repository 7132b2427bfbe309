"""The model's card as a page."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from node.bundle import CARD
from node.config import Settings
from node.recent import changed_at
from node.web.answers import Pages


def routes(settings: Settings, pages: Pages) -> list[Route]:
    """Return the page of the model's card; it holds nothing of a patient."""

    def show(request: Request) -> Response:
        path = settings.model.bundle / CARD
        try:
            card = _rendered(path, changed_at(path))
        except (OSError, UnicodeDecodeError):
            raise HTTPException(
                404, f"The model's card cannot be read. See model.bundle: {CARD} belongs to it."
            ) from None
        return pages.answer(request, "model.html", card=card)

    return [Route("/model", show, methods=["GET"])]


@lru_cache(maxsize=2)
def _rendered(path: Path, changed: float) -> Markup:
    """Return a card as HTML; markup that stands in it is shown and not obeyed, and it brings no pictures."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    parser.add_render_rule("table_open", _table_open)
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return Markup(parser.render(path.read_text("utf-8")))  # noqa: S704 (it was rendered with HTML escaped)


def _table_open(renderer: Any, tokens: list[Any], index: int, *_: Any) -> str:
    """Let a wide table be scrolled by itself, with the keyboard, too; it is named by the heading above it."""
    number = 1 + sum(token.type == "table_open" for token in tokens[:index])
    headings = [at for at in range(index) if tokens[at].type == "heading_open"]
    name = tokens[headings[-1] + 1].content if headings else "Model card"
    return f'<div class="wide" role="region" tabindex="0" aria-label="Table {number}: {Markup.escape(name)}"><table>'
