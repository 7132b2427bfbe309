"""How the page answers: its templates, and the headers that keep everything foreign out of it."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node import __version__, status_text
from node.status import NOTICE
from node.web.access import Access
from node.web.connection import CLOSE

_FILES = files("node.web").joinpath("templates")
STYLE = _FILES.joinpath("style.css").read_text("utf-8")
SCRIPT = _FILES.joinpath("renew.js").read_text("utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def policy(images: str = "'self'") -> str:
    """Return the Content Security Policy: the page's own style and script, known by their digests, and nothing foreign."""
    return (
        f"default-src 'none'; style-src {_digest(STYLE)}; script-src {_digest(SCRIPT)}; connect-src 'self'; "
        f"img-src {images}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


HEADERS = {
    "content-security-policy": policy(),
    "x-content-type-options": "nosniff",
    # Without it browsers call the page's own forms "Origin: null", as they do those of other sites.
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
    **CLOSE,
}


class Pages:
    """The page's templates, filled with what all of them show.

    Parameters
    ----------
    access : Access
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._environment = Environment(
            loader=PackageLoader("node.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(
            notice=NOTICE,
            version=__version__,
            say=status_text,
            style=Markup(STYLE),  # noqa: S704 (a file of this package)
            script=Markup(SCRIPT),  # noqa: S704 (a file of this package)
        )

    def answer(self, request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
        """Return a page.

        Parameters
        ----------
        request : Request
        template : str
            File among the templates.
        status : int
        **context
            What the template shows.
        """
        depth = request.url.path.count("/") - 1
        common = {
            "session": self._access.session(request),
            "has_login": self._access.has_login,
            "root": "../" * depth or "./",  # relative, for a proxy may have the page below a path of its own
        }
        return HTMLResponse(self._environment.get_template(template).render(common | context), status)


class WithHeaders:
    """Puts the security headers on every answer, the refusals among them; what an answer says itself stays."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = {name.lower() for name, _ in message["headers"]}
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in said]
                message["headers"] = [*message["headers"], *own]
            await send(message)

        await self._application(scope, receive, send_with_headers)
