"""The rule tester: a file is dropped on the page, and the page says what would happen to it and why.

The web process holds the file and looks at nothing of it: `node.trial` does, in a process that is killed where it is late.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from node import log
from node.bundle import Bundle
from node.config import Settings
from node.errors import BundleError, ConfigError
from node.status import bundle_in_force
from node.web.access import Access
from node.web.answers import Pages, policy
from node.web.forms import FILE_BYTES, upload

# A connection ends after a minute, and the file has to come in that, too: for the process to be ready, and for the file.
READY_WITHIN_S, LONGEST_S = 30.0, 20.0
# As `node.trial` says it, which is not imported here: it brings the words of the reports along, 100 MB of them.
READY = b"+"
# More than that says nobody: the model's input has 50 kB.
ANSWER_BYTES = 4 << 20
_LATE = {
    "headline": "Most likely not read",
    "because": "It would be taken, if it is whole, and decoding it tried twice; then its report would say that it was not "
    "decoded.",
    "steps": [
        {
            "name": "Decoding",
            "outcome": "given up",
            "why": f"it took longer than {LONGEST_S:.0f} s here, or brought its process down",
            "passed": False,
        }
    ],
    "seen": "",
    "rows": 0,
    "columns": 0,
}


class Tester:
    """Answers what would happen to a file.

    Parameters
    ----------
    settings : Settings
    access : Access
    pages : Pages
    """

    def __init__(self, settings: Settings, access: Access, pages: Pages) -> None:
        self._settings, self._access, self._pages = settings, access, pages
        self._busy = asyncio.Lock()  # one file at a time: each may cost as much as a film at work

    def routes(self) -> list[Route]:
        """Return the tester's pages; none where nobody can log in."""
        if not self._access.has_login:
            return []
        return [Route("/test", self._show, methods=["GET"]), Route("/test", self._test, methods=["POST"])]

    def _show(self, request: Request) -> Response:
        self._access.need_session(request)
        return self._page(request, None)

    async def _test(self, request: Request) -> Response:
        self._access.check_origin(request)
        session = self._access.need_session(request)
        if self._busy.locked():
            return self._page(request, None, 503, "Another file is being tested. Try again in some seconds.")
        async with self._busy:
            try:
                async with upload(request) as received:
                    self._access.check_form(session, received.form_token)
                    if not received.size:
                        return self._page(request, None, 400, "The file is empty, or none was chosen.")
                    rules = await run_in_threadpool(self._rules)
                    found = await run_in_threadpool(_tried, received.descriptor, rules)
            except HTTPException as error:
                if error.status_code == 403:
                    raise
                return self._page(request, None, error.status_code, error.detail)
            except (BundleError, ConfigError) as error:
                return self._page(request, None, 503, f"The model cannot be used: {error}")
        log.event("order.given", verb="test", address=request.client.host if request.client else None)
        return self._page(request, found)

    def _rules(self) -> str:
        bundle, gate = bundle_in_force(self._settings), self._settings.gate
        return json.dumps(
            {
                "memory_mb": self._settings.limits.film_mb,
                "spec": bundle.manifest.preprocessing.to_json(),
                "read_secondary_capture": gate.read_secondary_capture,
                "minimum_px": gate.minimum_px,
                "age_years": bundle.manifest.age_years,
                "film_check": _path(bundle),
            }
        )

    def _page(self, request: Request, found: dict[str, Any] | None, status: int = 200, trouble: str = "") -> Response:
        seen = _picture(found) if found else ""
        answer = self._pages.answer(
            request,
            "test.html",
            status,
            found=found,
            seen=seen,
            rows=found["rows"] if found else 0,
            columns=found["columns"] if found else 0,
            trouble=trouble,
            most_mb=FILE_BYTES >> 20,
            ae_title=self._settings.listen.ae_title,
        )
        if seen:  # it is nowhere but in the answer
            answer.headers["content-security-policy"] = policy("data:")
        return answer


def _path(bundle: Bundle) -> str:
    return str(bundle.film_check.resolve()) if bundle.film_check else ""


def _tried(descriptor: int, rules: str) -> dict[str, Any]:
    """Have a file looked at by another process; one that is late, or falls, is the file's doing."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    process = subprocess.Popen(  # noqa: S603 (nothing of it comes from outside)
        [sys.executable, "-m", "node.trial", rules],
        stdin=descriptor,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    with process:
        is_ready = _read(process, READY_WITHIN_S, 1) == READY
        answer = _read(process, LONGEST_S, ANSWER_BYTES + 1) if is_ready else b""
        process.kill()
    if process.returncode > 0:  # neither late nor brought down
        log.alarm("trial.failed", code=process.returncode)
        raise HTTPException(500, "Testing this file failed by a fault of the node; please report it.")
    if not is_ready:
        raise HTTPException(503, "This machine is too busy just now. Try again in a minute.")
    return _checked(answer) or _LATE


def _read(process: subprocess.Popen[bytes], within_s: float, count: int) -> bytes:
    """Return what a process says, up to so many bytes; it is killed where it does not come to an end of that in time."""
    assert process.stdout is not None
    overdue = threading.Timer(within_s, process.kill)
    overdue.start()
    said = process.stdout.read(count)
    overdue.cancel()
    return said


def _checked(answer: bytes) -> dict[str, Any] | None:
    """Return what was found, None where it is no such thing: it comes from where a stranger's bytes were handled."""
    try:
        found: Any = json.loads(answer)
    except ValueError:
        return None
    match found:
        case {
            "headline": str(),
            "because": str(),
            "steps": list(steps),
            "seen": str(),
            "rows": int(),
            "columns": int(),
        } if all(_is_step(step) for step in steps):
            return {**found}
    return None


def _is_step(step: object) -> bool:
    match step:
        case {"name": str(), "outcome": str(), "why": str(), "passed": bool()}:
            return True
    return False


def _picture(found: dict[str, Any]) -> str:
    """Return what the model sees as the address of a picture in itself; empty where it sees nothing."""
    rows, columns = found["rows"], found["columns"]
    try:
        gray = base64.b64decode(found["seen"], validate=True)
    except ValueError:
        return ""
    if not gray or rows < 1 or columns < 1 or len(gray) != rows * columns:
        return ""
    png = cv2.imencode(".png", np.frombuffer(gray, np.uint8).reshape(rows, columns))[1].tobytes()
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
