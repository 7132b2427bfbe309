"""Logging in and out."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from node.web.access import Access
from node.web.answers import Pages
from node.web.forms import FORM_TOKEN, fields


def routes(access: Access, pages: Pages) -> list[Route]:
    """Return the pages for logging in and out; none where nobody can."""
    if not access.has_login:
        return []

    def show(request: Request) -> Response:
        return pages.answer(request, "login.html", trouble="")

    async def log_in(request: Request) -> Response:
        access.check_origin(request)
        typed = (await fields(request)).get("password", "")
        try:
            token = await run_in_threadpool(access.log_in, request, typed)
        except HTTPException as error:
            answer: Response = pages.answer(request, "login.html", error.status_code, trouble=error.detail)
            answer.headers.update(error.headers or {})
            return answer
        answer = RedirectResponse("./", 303)
        access.give(answer, token)
        return answer

    async def log_out(request: Request) -> Response:
        access.check_origin(request)
        session = access.need_session(request)
        access.check_form(session, (await fields(request)).get(FORM_TOKEN, ""))
        access.log_out(request)
        answer = RedirectResponse("./", 303)
        access.take_back(answer)
        return answer

    return [
        Route("/login", show, methods=["GET"]),
        Route("/login", log_in, methods=["POST"]),
        Route("/logout", log_out, methods=["POST"]),
    ]
