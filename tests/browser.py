"""Debian's Chromium, driven by Playwright: what a person sees, and whatever the browser complained of meanwhile."""

import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Response, expect, sync_playwright

from tests.peers import HOST, require_peer, wait_until
from tests.running import REPOSITORY

# Cornerstone wants WebGL, which SwiftShader draws without a graphics card; the rest keeps Chromium from calling home.
ARGUMENTS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
SIZE = {"width": 1440, "height": 760}
# A machine with two cores that runs other things besides takes its time to draw.
WITHIN_S = 60.0
SATURATED = 60  # difference of the largest and the least of red, green and blue
THUMBNAILS = '[data-cy^="study-browser-thumbnail"]'


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser; it knows nothing of the one before."""
    program = require_peer("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def screenshots() -> Path | None:
    """Folder in which screenshots are kept: the one that CXR_SCREENSHOTS names, ``out/viewer`` where ``CI=true``."""
    if os.environ.get("CI", "").lower() == "true":
        return REPOSITORY / "out" / "viewer"
    return Path(os.environ["CXR_SCREENSHOTS"]) if "CXR_SCREENSHOTS" in os.environ else None


class Window:
    """One window, with what went wrong in it.

    Parameters
    ----------
    browser : Browser
    home : str
        Address of the start page.
    shots : Path
        Folder for screenshots.

    Attributes
    ----------
    troubles : list of str
        Errors of pages and in the console, answers of 400 and above, and addresses beyond this machine.
    """

    def __init__(self, browser: Browser, home: str, shots: Path) -> None:
        self.home, self._shots = home, shots
        shots.mkdir(parents=True, exist_ok=True)
        self.troubles: list[str] = []
        self.page: Page = browser.new_page(viewport=SIZE)  # type: ignore[arg-type]
        self.page.set_default_timeout(WITHIN_S * 1000)
        self.page.on("pageerror", lambda error: self.troubles.append(f"error of the page: {error}"))
        self.page.on("console", self._note_complaint)
        self.page.on("request", lambda request: self._note_foreign(request.url))
        self.page.on("response", self._note_refused)
        # OHIF's notice lies over what is to be clicked, whenever it comes.
        notice = self.page.get_by_role("button", name="Confirm and hide")
        self.page.add_locator_handler(notice, lambda button: button.click())

    def _note_foreign(self, url: str) -> None:
        address = urlsplit(url)
        # Chromium's own PDF viewer is made of pages with addresses of its own schemes.
        if address.scheme not in ("data", "blob", "chrome", "chrome-extension") and address.hostname != HOST:
            self.troubles.append(f"beyond this machine: {url}")

    def _note_complaint(self, said: ConsoleMessage) -> None:
        # Browsers ask for an icon where a page names none.
        if said.type == "error" and not said.location["url"].endswith("/favicon.ico"):
            self.troubles.append(f"console: {said.text} ({said.location['url']})")

    def _note_refused(self, response: Response) -> None:
        if response.status >= 400:
            self.troubles.append(f"{response.status}: {response.url}")

    def open(self, path: str) -> None:
        """Open a page of the hospital."""
        self.page.goto(f"{self.home}{path}")

    def open_study(self, study_instance_uid: str) -> None:
        """Open a study in OHIF, and wait for its series."""
        self.open(f"/viewer/viewer?StudyInstanceUIDs={study_instance_uid}")
        self.page.locator(THUMBNAILS).first.wait_for()

    def series(self, modality: str, description: str = "") -> Locator:
        """Return the entries of OHIF's list of series that have this modality and text."""
        label = self.page.locator('[data-cy="series-modality-label"]', has_text=re.compile(f"^{modality}$"))
        return self.page.locator(THUMBNAILS).filter(has=label, has_text=description)

    def show(self, modality: str, description: str = "") -> None:
        """Show a series in OHIF as a reader does: double-click its entry."""
        self.series(modality, description).dblclick()

    def viewport(self) -> Locator:
        return self.page.locator('[data-cy="viewport-grid"]')

    def text(self) -> str:
        """Return the text in OHIF's viewport, which is the report where one is shown."""
        return self.viewport().inner_text()

    def wait_for_text(self, text: str | re.Pattern[str]) -> None:
        expect(self.viewport()).to_contain_text(text, timeout=WITHIN_S * 1000)

    def seen(self, of: Locator | None = None) -> np.ndarray:
        """Return what is seen of an element, OHIF's viewport unless told otherwise, as (rows, columns, 3) int."""
        shot = (of or self.viewport()).screenshot()
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)

    def wait_until_seen(self, true: Callable[[np.ndarray], bool], what: str) -> None:
        wait_until(lambda: true(self.seen()), WITHIN_S, what)

    def keep(self, name: str) -> Path:
        """Keep a screenshot of the window; gives its path."""
        path = self._shots / f"{name}.png"
        self.page.screenshot(path=path)
        return path


def colored(pixels: np.ndarray) -> int:
    """Count the pixels that are plainly colored."""
    return int((np.ptp(pixels, axis=2) > SATURATED).sum())


def is_film(pixels: np.ndarray) -> bool:
    """Whether the middle of a view has the shades of a film: neither black nor empty."""
    rows, columns = pixels.shape[:2]
    middle = pixels[rows // 4 : 3 * rows // 4, columns // 3 : 2 * columns // 3].mean(axis=2)
    return bool(middle.mean() > 30 and middle.std() > 15)
