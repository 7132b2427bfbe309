"""The status page in a real browser: renewed in place, worked by the keyboard, read aloud, without a script, and narrow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from node.config import Model, Settings
from node.web import connection, tester
from tests.browser import WITHIN_S, chromium, screenshots
from tests.filled import FilledSpool, settings_for
from tests.pages import PASSWORD, a_day, served, settings_with_a_password
from tests.peers import wait_until
from tests.running import BUNDLE, REPOSITORY

pytestmark = [pytest.mark.viewer, pytest.mark.slow]

SAMPLE = next((REPOSITORY / "node" / "samples" / "05-tuberculosis-adult").glob("*.dcm"))
FILM = {"name": "film.dcm", "mimeType": "application/dicom", "buffer": SAMPLE.read_bytes()}
expect.set_options(timeout=WITHIN_S * 1000)
LOOKS = [("light", 1280), ("dark", 400)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(autouse=True)
def time_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a machine that runs much besides the time it takes; that time is bounded is shown elsewhere."""
    monkeypatch.setattr(connection, "LIFE_S", 600.0)
    monkeypatch.setattr(tester, "READY_WITHIN_S", 300.0)
    monkeypatch.setattr(tester, "LONGEST_S", 200.0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_with_a_password(tmp_path, model=Model(bundle=BUNDLE), mode="supervised")


@contextmanager
def window(browser: Browser, site: httpx.Client, **context: Any) -> Iterator[Page]:
    """A window in which nothing may go wrong: no complaint of the browser's, and no address but the page's own."""
    own, troubles = str(site.base_url).rstrip("/"), []
    opened = browser.new_context(base_url=own, **context)
    opened.set_default_timeout(WITHIN_S * 1000)
    page = opened.new_page()
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda said: troubles.append(said.text) if said.type in ("error", "warning") else None)
    page.on("dialog", lambda dialog: troubles.append("a dialog"))
    page.on("request", lambda asked: None if asked.url.startswith((own, "data:")) else troubles.append(asked.url))
    yield page
    opened.close()
    assert troubles == []


def log_in(page: Page) -> None:
    page.goto("/login")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()


def look(page: Page, name: str) -> None:
    """Have axe look at a page as it is shown, and see that it is no wider than the window; keep a picture where asked to."""
    page.wait_for_load_state("networkidle")
    if folder := screenshots():
        page.screenshot(path=folder / f"{name}.png", full_page=True)
    found = Axe().run(page)
    assert not found.response["violations"], f"{name}: {found.generate_report()}"
    width = page.viewport_size["width"] if page.viewport_size else 0
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width, name


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_every_page_is_read_aloud_and_fits_its_window(
    browser: Browser, settings: Settings, scheme: str, width: int
) -> None:
    size = {"width": width, "height": 900}
    with a_day(settings), served(settings) as site, window(browser, site, color_scheme=scheme, viewport=size) as page:
        shown = f"{scheme}-{width}"
        page.goto("/")
        look(page, f"{shown}-without-login")
        page.goto("/login")
        look(page, f"{shown}-login")
        log_in(page)
        look(page, f"{shown}-status")
        expect(page.get_by_text("<b>PACS</b>").first).to_be_visible()
        page.locator("#study-rows a").first.click()
        expect(page.get_by_role("button", name="Release these results")).to_be_visible()
        look(page, f"{shown}-study")
        page.goto("/model")
        look(page, f"{shown}-model")
        page.goto("/test")
        look(page, f"{shown}-test")
        page.get_by_label("DICOM file").set_input_files(FILM)
        page.get_by_role("button", name="Test it").click()
        expect(page.get_by_role("row", name=re.compile("^Gate .*passes"))).to_be_visible()
        assert width_of(page, "What the model sees") == 224
        box = page.get_by_alt_text("What the model sees").bounding_box()
        assert box and abs(box["width"] - box["height"]) < 1
        look(page, f"{shown}-tested")


def test_pages_of_a_node_that_has_nothing_and_nobody_are_read_aloud_too(browser: Browser, tmp_path: Path) -> None:
    with served(settings_for(tmp_path, destinations=())) as site, window(browser, site) as page:
        page.goto("/")
        expect(page.get_by_text("Nobody can log in here")).to_be_visible()
        look(page, "nothing")


def test_the_page_renews_itself_in_place(browser: Browser, settings: Settings) -> None:
    with a_day(settings) as filled, served(settings) as site, window(browser, site) as page:
        log_in(page)
        page.wait_for_load_state("networkidle")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.evaluate("window.isTheSame = true")
        held = page.locator("#study-rows a").first
        held.focus()
        name = held.get_attribute("id")
        waiting = page.locator("#state").inner_text()
        new = filled.settled().study_key
        expect(page.locator(f"#row-{new}")).to_be_visible()
        assert page.evaluate("window.isTheSame")
        assert page.evaluate("document.activeElement.id") == name
        pictures = [url for url in asked if url.endswith(".png")]
        assert pictures == [f"{str(site.base_url).rstrip('/')}/studies/{new}/film.png"]
        assert page.locator("#state").inner_text() == waiting
        page.get_by_role("button", name="Pause renewing").click()
        asked.clear()
        page.wait_for_timeout(5500)
        assert asked == []
        page.get_by_role("button", name="Go on renewing").click()
        page.wait_for_event("request")


def test_a_node_that_does_not_answer_any_more_is_told(browser: Browser, settings: Settings) -> None:
    with served(settings) as site, window(browser, site) as page:
        page.goto("/")
        page.route("**/*", lambda route: route.fulfill(status=200, body="something else"))
        expect(page.get_by_role("alert")).to_have_text(re.compile("The page cannot be renewed"))
        page.unroute("**/*")
        expect(page.locator("#lost")).to_be_hidden()


def test_everything_is_done_by_the_keyboard(browser: Browser, settings: Settings) -> None:
    with a_day(settings) as filled, served(settings) as site, window(browser, site) as page:
        page.goto("/login")
        expect(page.get_by_label("Password")).to_be_focused()
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Log out")).to_be_visible()
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        button = page.get_by_role("button", name="Retry all 2")
        for _ in range(30):
            page.keyboard.press("Tab")
            if button.evaluate("button => button === document.activeElement"):
                break
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("Taken up again: 2.")
        assert filled.spool.agenda.tasks("parked") == []


def test_without_a_script_all_works_as_well(browser: Browser, settings: Settings) -> None:
    plain = {"java_script_enabled": False}
    with a_day(settings) as filled, served(settings) as site, window(browser, site, **plain) as page:
        log_in(page)
        page.get_by_role("button", name="Retry", exact=True).first.click()
        expect(page.get_by_role("status")).to_contain_text("Taken up again: 1.")
        page.goto("/test")
        page.get_by_label("DICOM file").set_input_files(FILM)
        page.get_by_role("button", name="Test it").click()
        expect(page.get_by_text("Taken and read")).to_be_visible()
        page.goto("/")
        new = filled.settled().study_key
        expect(page.get_by_text(new[:12])).to_be_visible()  # the browser loads it anew by itself
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("link", name="Log in")).to_be_visible()


def width_of(page: Page, text: str) -> int:
    """The width in pixels of a picture, once it is there: it is drawn when it is asked for."""
    picture = page.get_by_alt_text(text)
    wait_until(lambda: bool(picture.evaluate("picture => picture.complete && picture.naturalWidth")), 60, text)
    return int(picture.evaluate("picture => picture.naturalWidth"))


def test_results_are_looked_at_and_released(browser: Browser, settings: Settings) -> None:
    with a_day(settings) as filled, served(settings) as site, window(browser, site) as page:
        log_in(page)
        page.locator("#unreleased a").click()
        assert width_of(page, "Grad-CAM picture") > 400
        assert width_of(page, "The film that") > 100
        (waiting,) = filled.spool.agenda.tasks("unreleased")
        page.get_by_role("button", name="Release these results").click()
        expect(page.get_by_role("status")).to_contain_text("is released and on its way")
        assert waiting.study_key in {task.study_key for task in filled.spool.agenda.tasks("todo")}


def test_another_site_in_the_same_browser_can_do_nothing(browser: Browser, settings: Settings, tmp_path: Path) -> None:
    with a_day(settings) as filled, served(settings) as site, served(settings_for(tmp_path / "other")) as foreign:
        own, opened = str(site.base_url).rstrip("/"), browser.new_context()
        page = opened.new_page()
        page.goto(f"{own}/login")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("button", name="Log out")).to_be_visible()
        token = page.locator("[name=form_token]").first.input_value()
        # Another name of this machine is another site; the form even has the right token.
        evil = (
            f"<form method=post action='{own}/retry'><input name=form_token value='{token}'><button>x</button></form>"
        )
        page.route("**/evil", lambda route: route.fulfill(status=200, content_type="text/html", body=evil))
        page.goto(f"http://localhost:{foreign.base_url.port}/evil")
        page.get_by_role("button").click()
        expect(page.get_by_role("alert")).to_contain_text("another site")
        assert len(filled.spool.agenda.tasks("parked")) == 2
        opened.close()


def test_a_study_that_is_unknown_by_now_is_told_in_words(browser: Browser, settings: Settings) -> None:
    FilledSpool(settings.spool.folder)
    with served(settings) as site:
        opened = browser.new_context(base_url=str(site.base_url))
        page = opened.new_page()
        log_in(page)
        page.goto(f"/studies/{'0' * 32}")
        expect(page.get_by_role("alert")).to_have_text("No such study is held.")
        look(page, "no-such-study")
        opened.close()
