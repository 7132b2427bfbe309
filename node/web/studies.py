"""A study's own page, its pictures, and what can be ordered of it; for who is logged in alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from node import audit, log, orders
from node import release as releases
from node.config import Settings
from node.errors import NodeError
from node.spool import Spool
from node.status import one_study
from node.web.access import Access
from node.web.answers import Pages
from node.web.forms import FORM_TOKEN, fields
from node.web.pictures import LARGE_HEIGHT, SMALL_HEIGHT, Pictures, heat_map_of
from node.web.sessions import Session

_KEY = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a button asks for.

    Attributes
    ----------
    spool : Spool
    key : str
        Of the study; empty: of all.
    generation : str
        That was shown.
    address : str
        Where from.
    """

    spool: Spool
    key: str
    generation: str
    address: str

    @property
    def by(self) -> str:
        """Who asks, as far as it is known: the page has one password, and no names."""
        return f"status page, {self.address}"


class Studies:
    """Answers what is asked of single studies.

    Parameters
    ----------
    settings : Settings
    access : Access
    pages : Pages
    pictures : Pictures
    """

    def __init__(self, settings: Settings, access: Access, pages: Pages, pictures: Pictures) -> None:
        self._settings, self._access, self._pages, self._pictures = settings, access, pages, pictures

    def routes(self) -> list[Route]:
        """Return the pages of studies; none where nobody can log in."""
        if not self._access.has_login:
            return []
        shown = {"film.png": self._pictures.film, "picture.png": self._pictures.heat_map}
        posted = {"retry": _retry, "replay": _replay, "release": self._release, "withhold": self._withhold}
        study = "/studies/{key}"
        return [
            Route(study, self._show, methods=["GET"]),
            *(Route(f"{study}/{name}", partial(self._picture, draw), methods=["GET"]) for name, draw in shown.items()),
            *(
                Route(f"{study}/{name}", partial(self._order, name, order), methods=["POST"])
                for name, order in posted.items()
            ),
            Route("/retry", partial(self._order, "retry", _retry), methods=["POST"]),
        ]

    def _show(self, request: Request) -> Response:
        self._access.need_session(request)
        spool, key = self._spool(), self._key(request)
        study = one_study(spool, self._settings, key)
        if study is None:
            raise HTTPException(404, "No such study is held.")
        has_picture = heat_map_of(spool, key) is not None
        return self._pages.answer(request, "study.html", study=study, has_picture=has_picture, settings=self._settings)

    def _picture(self, draw: Callable[[Spool, str, int], bytes | None], request: Request) -> Response:
        session, spool, key = self._access.need_session(request), self._spool(), self._key(request)
        height = LARGE_HEIGHT if "large" in request.query_params else SMALL_HEIGHT
        picture = draw(spool, key, height)
        if picture is None:
            return Response(_NOTHING_TO_SHOW, media_type="image/svg+xml")
        self._note_the_look(request, session, spool, key)
        return Response(picture, media_type="image/png")

    def _note_the_look(self, request: Request, session: Session, spool: Spool, key: str) -> None:
        """Record that a study's films were shown, once for each login."""
        if key in session.seen:
            return
        session.seen.add(key)
        with log.Outlived("audit.failed", study=key):
            audit.looked_at(_address(request), self._pictures.study(spool, key))

    async def _order(self, name: str, order: Callable[[_Asked], str], request: Request) -> Response:
        """Do what a button asks for, and say on the page what came of it."""
        self._access.check_origin(request)
        session = self._access.need_session(request)
        form = await fields(request)
        self._access.check_form(session, form.get(FORM_TOKEN, ""))
        key = self._key(request) if "key" in request.path_params else ""
        asked = _Asked(self._spool(), key, form.get("generation", ""), _address(request))
        try:
            words = await run_in_threadpool(order, asked)
        except NodeError as error:
            raise HTTPException(409, str(error)) from None
        log.event("order.given", verb=name, study=key or None, address=asked.address)
        session.say(words)
        return RedirectResponse("../../" if key else "./", 303)

    def _release(self, asked: _Asked) -> str:
        releases.release(asked.spool, self._settings.mode, asked.key, asked.by, asked.generation)
        return f"Study {asked.key[:12]} is released and on its way."

    def _withhold(self, asked: _Asked) -> str:
        releases.withhold(asked.spool, asked.key, asked.by, asked.generation)
        return f"Study {asked.key[:12]} is withheld: its results are kept, and not sent."

    def _spool(self) -> Spool:
        return Spool(self._settings.spool.folder)

    def _key(self, request: Request) -> str:
        """Return the study that a request names: a key that is held, and nothing else becomes part of a path."""
        key = str(request.path_params["key"])
        if not _KEY.fullmatch(key) or not self._spool().study_folder(key).is_dir():
            raise HTTPException(404, "No such study is held.")
        return key


def _retry(asked: _Asked) -> str:
    taken_up = orders.retry(asked.spool, asked.key)
    return f"Taken up again: {len(taken_up)}." if taken_up else "Nothing was parked any more."


def _replay(asked: _Asked) -> str:
    orders.replay(asked.spool, asked.key)
    return f"Study {asked.key[:12]} is read anew; its new report names the one it replaces."


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


_NOTHING_TO_SHOW = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="96" height="96" viewBox="0 0 96 96">'
    '<rect width="96" height="96" fill="#3a424d"/><path d="M20 76 76 20" stroke="#c9d1db" stroke-width="4"/></svg>'
)
