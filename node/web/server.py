"""The status page's server: what it shows without a login holds nothing of a patient."""

from __future__ import annotations

import socket
import threading
from functools import partial
from http import HTTPStatus
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from node.config import Settings
from node.errors import ConfigError, NodeError
from node.recent import Form
from node.spool import Spool
from node.status import is_ready, roles, room_of, snapshot
from node.web import card, login
from node.web.access import Access
from node.web.answers import Pages, WithHeaders
from node.web.connection import BACKLOG, Connection
from node.web.metrics import Metrics
from node.web.pictures import Pictures, heat_map_of
from node.web.studies import Studies
from node.web.tester import Tester

# A page that is being answered while the node stops gets this long (s).
LAST_ANSWERS_S = 2
# A request's line and headers, beyond what one read from the system brings (256 kB); browsers send 1 to 2 kB.
HEAD_BYTES = 16 << 10
# What programs ask by whatever name leads here; nothing of it is worth a foreign page's while.
FOR_PROGRAMS = ("/healthz", "/readyz", "/metrics")


class StatusServer:
    """Serves the status page from a thread of its own.

    Parameters
    ----------
    settings : Settings

    Raises
    ------
    ConfigError
        When the password's file cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pictures = Pictures(settings)
        config = uvicorn.Config(
            WithHeaders(_application(settings, self._pictures)),
            log_config=None,
            access_log=False,
            server_header=False,
            http=Connection,
            backlog=BACKLOG,
            h11_max_incomplete_event_size=HEAD_BYTES,
            proxy_headers=False,
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
        self._pictures.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(
            f"the status page cannot listen on {host}:{port}: {error.strerror}. "
            "Stop the program that holds the port, or change web.host or web.port."
        ) from None


def _application(settings: Settings, pictures: Pictures) -> Starlette:
    access = Access(settings.web)
    pages = Pages(access)
    routes = [
        *_shown_to_all(settings, access, pages),
        *card.routes(settings, pages),
        *login.routes(access, pages),
        *Studies(settings, access, pages, pictures).routes(),
        *Tester(settings, access, pages).routes(),
    ]
    handlers: dict[Any, Any] = {NodeError: _unwell, HTTPException: partial(_refused, pages)}
    application = Starlette(
        routes=routes, exception_handlers=handlers, middleware=[Middleware(_UnderOwnName, access, pages)]
    )
    application.router.redirect_slashes = False  # a redirect would repeat whatever host the request named
    return application


def _shown_to_all(settings: Settings, access: Access, pages: Pages) -> list[Route]:
    """Return what is shown without a login: nothing of a patient."""
    metrics = Metrics(settings)

    def show_page(request: Request) -> Response:
        state = snapshot(settings)
        with_picture = _with_picture(settings, state) if access.session(request) else frozenset()
        return pages.answer(request, "status.html", s=state, with_picture=with_picture)

    def show_json(request: Request) -> Response:
        return JSONResponse(snapshot(settings))

    def show_no_icon(request: Request) -> Response:
        return Response(status_code=204)  # browsers ask for one, and complain where nobody knows it

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
        "/favicon.ico": show_no_icon,
    }
    return [Route(path, endpoint, methods=["GET"]) for path, endpoint in shown.items()]


def _with_picture(settings: Settings, state: Form) -> frozenset[str]:
    """Return which of the studies shown have a Grad-CAM picture."""
    spool, shown = Spool(settings.spool.folder), [study["study"] for study in state["studies"]]
    return frozenset(key for key in shown if heat_map_of(spool, key))


def _unwell(request: Request, error: Exception) -> Response:
    """Answer with the node's own words when it cannot say how it is."""
    return PlainTextResponse(f"{error}\n", 503)


def _refused(pages: Pages, request: Request, error: HTTPException) -> Response:
    """Answer a refusal with a page that says why, and how to go on."""
    title = HTTPStatus(error.status_code).phrase
    answer = pages.answer(request, "message.html", error.status_code, title=title, words=error.detail)
    answer.headers.update(error.headers or {})
    return answer


class _UnderOwnName:
    """Refuses requests under a name that is not the page's."""

    def __init__(self, application: ASGIApp, access: Access, pages: Pages) -> None:
        self._application, self._access, self._pages = application, access, pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: ASGIApp = self._application
        try:
            if scope["path"] not in FOR_PROGRAMS:
                self._access.check_name(Request(scope))
        except HTTPException as error:
            answer = _refused(self._pages, Request(scope), error)
        await answer(scope, receive, send)
