"""The status page as a browser meets it: logged in or not, with its forms as they stand in its pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx

from node import password
from node.agenda import Task
from node.config import Settings, Web
from node.errors import Reason
from node.quarantine import Quarantine
from node.report import compose
from node.study import Triage
from node.web.server import StatusServer
from tests.filled import FilledSpool, role, settings_for
from tests.films import chest, dx_film
from tests.readings import OPTIONS, URGENT, source

PASSWORD = "a long enough password"


def settings_with_a_password(folder: Path, **sections: Any) -> Settings:
    """Return settings as `settings_for` does, with a password on the page."""
    file = folder / "web.password"
    with patch.multiple(password, LOG2_N=10, P=1):  # what it costs to guess is shown elsewhere
        password.write(file, PASSWORD)
    return settings_for(folder, **{"web": Web(port=0, password_file=file), **sections})


@contextmanager
def served(settings: Settings) -> Iterator[httpx.Client]:
    """Serve the page to a browser that is not logged in, and keeps cookies."""
    server = StatusServer(settings)
    with httpx.Client(base_url=f"http://127.0.0.1:{server.start()}", trust_env=False, timeout=60) as browser:
        try:
            yield browser
        finally:
            server.stop()


def log_in(browser: httpx.Client, typed: str = PASSWORD) -> httpx.Response:
    """Log in, by the form's own way."""
    return browser.post("/login", data={"password": typed})


def form_token(browser: httpx.Client) -> str:
    """Return what the forms of this login bring back."""
    found = re.search(r'name="form_token" value="([^"]+)"', browser.get("/").text)
    assert found, "logged in"
    return found[1]


def press(browser: httpx.Client, path: str, **fields: str) -> httpx.Response:
    """Press a button of the page."""
    return browser.post(path, data={"form_token": form_token(browser), **fields})


def with_picture(filled: FilledSpool, task: Task) -> Task:
    """Lay a Grad-CAM picture beside a study's report, as the composer writes it."""
    made = compose(source((dx_film(), URGENT), plane=lambda key: chest(256, 220)), OPTIONS, "viewer")
    (picture,) = (result for result in made if result.kind == "picture")
    folder = filled.spool.generation_folder(task.study_key, task.generation) / "results" / "viewer" / "02-picture"
    folder.mkdir()
    (folder / "0.dcm").write_bytes(picture.encodings[0].data)
    return task


@contextmanager
def a_day(settings: Settings) -> Iterator[FilledSpool]:
    """Fill the spool with whatever an administrator may meet in a day, and have all roles run."""
    filled = FilledSpool(settings.spool.folder)
    for answer in (Triage.URGENT, Triage.FLAGGED, Triage.NOT_FLAGGED):
        with_picture(filled, filled.delivered(answer))
    filled.delivered(images=0, refused=(Reason.NOT_FRONTAL,))
    away = "pacs cannot be reached: connection refused. Check that it is running, and its host and port."
    filled.post(filled.read(Triage.UNCERTAIN), "pacs", "waiting", hours=3, error=away)
    filled.spool.agenda.park(filled.settled(), "InferenceError", "the worker hung or died 2 times while it was read")
    refused = "ORTHANC answered 0xC000. Its log says why; mend that, then run cxr-node retry."
    filled.spool.agenda.park(filled.post(filled.read(), "pacs", "parked", error=refused), "Parked", refused)
    filled.settled()
    filled.received()
    waiting = with_picture(filled, filled.read(Triage.URGENT))
    filled.spool.agenda.keep_back(Task("post", waiting.study_key, waiting.generation))
    file = filled.spool.incoming()
    file.write(bytes(3 << 20))
    kept = Quarantine(settings.spool.folder / "quarantine", 64 << 20)
    kept.keep(file, 3 << 20, "<b>PACS</b>", "10.1.2.3", "CT Image Storage", "0xC210", "the data set is empty")
    file.discard()
    folder = settings.spool.folder
    with (
        role(folder, "receive", host="127.0.0.1", port=11112),
        role(folder, "work", device="cpu"),
        role(folder, "web", host="127.0.0.1", port=8080),
    ):
        yield filled
