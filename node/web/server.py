"""The status page's server: it only shows, it changes nothing, and it has no login, so it listens on this machine."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import threading
from importlib.resources import files

import uvicorn
from jinja2 import Environment, StrictUndefined
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node import status_text
from node.config import Settings
from node.errors import ConfigError, NodeError
from node.status import is_ready, roles, room_of, snapshot
from node.web.connection import BACKLOG, CLOSE, Connection
from node.web.metrics import Metrics

# A page that is being answered while the node stops gets this long (s).
LAST_ANSWERS_S = 2
_PAGE = files("node.web").joinpath("page.html").read_text("utf-8")
_STYLE = re.search("<style>(.*?)</style>", _PAGE, re.DOTALL)
assert _STYLE is not None, "the page brings its own style"
_STYLE_DIGEST = base64.b64encode(hashlib.sha256(_STYLE[1].encode()).digest()).decode()

HEADERS = {
    # Nothing but the page's own style, known by its digest: no script, no image, no foreign host, no frame.
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
    **CLOSE,
}


class StatusServer:
    """Serves the status page from a thread of its own.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        config = uvicorn.Config(
            _WithHeaders(_application(settings)),
            log_config=None,
            access_log=False,
            server_header=False,
            http=Connection,
            backlog=BACKLOG,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=LAST_ANSWERS_S,
        )
        self._server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None

    def start(self) -> int:
        """Open the port; requests are answered from now on.

        Returns
        -------
        int
            The port, which the system chose if the configuration says 0.

        Raises
        ------
        ConfigError
            When the address cannot be listened on.
        """
        listener = _listen(self._settings.web.host, self._settings.web.port)
        port: int = listener.getsockname()[1]
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="status-page", daemon=True)
        self._thread.start()
        return port

    def stop(self) -> None:
        """Close the port once the requests at hand are answered."""
        self._server.should_exit = True
        if self._thread:
            self._thread.join()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(
            f"the status page cannot listen on {host}:{port}: {error.strerror}. "
            "Stop the program that holds the port, or change web.host or web.port."
        ) from None


def _application(settings: Settings) -> Starlette:
    metrics = Metrics(settings)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(_PAGE)

    def show_page(request: Request) -> Response:
        return HTMLResponse(page.render(s=snapshot(settings), say=status_text))

    def show_json(request: Request) -> Response:
        return JSONResponse(snapshot(settings))

    def say_alive(request: Request) -> Response:
        return PlainTextResponse("alive\n")

    def say_ready(request: Request) -> Response:
        found, room = roles(settings.spool.folder), room_of(settings)
        words = "".join(f"{role} is {found[role]['state']}\n" for role in found)
        if room["short"]:
            words += "the disk is short of room\n"
        return PlainTextResponse(words, 200 if is_ready(found, room) else 503)

    def show_metrics(request: Request) -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    shown = {
        "/": show_page,
        "/status.json": show_json,
        "/healthz": say_alive,
        "/readyz": say_ready,
        "/metrics": show_metrics,
    }
    routes = [Route(path, endpoint, methods=["GET"]) for path, endpoint in shown.items()]
    application = Starlette(routes=routes, exception_handlers={NodeError: _unwell})
    application.router.redirect_slashes = False  # a redirect would repeat whatever host the request named
    return application


def _unwell(request: Request, error: Exception) -> Response:
    """Answer with the node's own words when it cannot say how it is."""
    return PlainTextResponse(f"{error}\n", 503)


class _WithHeaders:
    """Puts the security headers on every answer, the refusals among them."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application
        self._headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers]
            await send(message)

        await self._application(scope, receive, send_with_headers)
