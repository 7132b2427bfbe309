"""A study's page, its pictures, and the buttons: for who is logged in, by the functions of the command line."""

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import structlog
from lxml import etree
from PIL import Image
from pydicom import dcmread

from node import audit
from node.agenda import Task
from node.config import Audit, Settings
from node.errors import Reason
from node.study import Triage
from node.web import pictures
from tests.filled import PATIENT, FilledSpool
from tests.films import chest
from tests.pages import form_token, log_in, press, served, settings_with_a_password, with_picture

SCHEMA = etree.RelaxNG(etree.parse(Path(__file__).with_name("audit_message.rng")))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_with_a_password(tmp_path)


@pytest.fixture
def filled(settings: Settings) -> FilledSpool:
    return FilledSpool(settings.spool.folder)


@pytest.fixture
def browser(settings: Settings) -> Iterator[httpx.Client]:
    with served(settings) as client:
        log_in(client)
        yield client


def drawn(answer: httpx.Response) -> Image.Image:
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "no-store"
    return Image.open(io.BytesIO(answer.content))


def test_a_study_is_shown_with_its_film_its_picture_and_its_times(browser: httpx.Client, filled: FilledSpool) -> None:
    task = with_picture(filled, filled.delivered(Triage.URGENT))
    html = browser.get(f"/studies/{task.study_key}").text
    for words in (
        "URGENT: Tuberculosis",
        "received",
        "settled",
        "composed",
        "pacs",
        "delivered",
        "film.png",
        "picture.png",
    ):
        assert words in html
    film = drawn(browser.get(f"/studies/{task.study_key}/film.png"))
    assert film.size == (82, pictures.SMALL_HEIGHT)
    expected = np.asarray(Image.fromarray(np.uint8(chest() * 255)).resize(film.size, Image.Resampling.BOX), float)
    assert np.corrcoef(np.asarray(film, float).ravel(), expected.ravel())[0, 1] > 0.99
    colored = drawn(browser.get(f"/studies/{task.study_key}/picture.png?large"))
    assert colored.mode == "RGB" and colored.height > pictures.SMALL_HEIGHT
    red, _, blue = (np.asarray(colored, int)[..., channel] for channel in range(3))
    assert (red - blue > 100).any()  # the banner of an urgent answer


def test_a_picture_that_is_not_compressed_is_shown_alike(browser: httpx.Client, filled: FilledSpool) -> None:
    first, second = (with_picture(filled, filled.delivered(Triage.URGENT)) for _ in range(2))
    (path,) = filled.spool.generation_folder(second.study_key, second.generation).glob("results/*/02-picture/0.dcm")
    picture = dcmread(path)
    picture.decompress()
    picture.save_as(path)
    told = [drawn(browser.get(f"/studies/{task.study_key}/picture.png?large")) for task in (first, second)]
    assert told[0].size == told[1].size
    assert np.abs(np.asarray(told[0], int) - np.asarray(told[1], int)).mean() < 2


def test_the_latest_studies_have_thumbnails_for_who_is_logged_in(browser: httpx.Client, filled: FilledSpool) -> None:
    with_one = with_picture(filled, filled.delivered(Triage.URGENT)).study_key
    without = filled.settled().study_key
    html = browser.get("/").text
    assert f'src="studies/{with_one}/film.png" alt="Film of study {with_one[:12]}"' in html
    assert f'src="studies/{with_one}/picture.png"' in html
    assert f'src="studies/{without}/film.png"' in html
    assert f'src="studies/{without}/picture.png"' not in html
    assert not any(value in html for value in PATIENT.values())


def test_a_study_without_a_film_to_show_has_a_sign_in_its_place(browser: httpx.Client, filled: FilledSpool) -> None:
    key = filled.received()
    next(filled.spool.study_folder(key).glob("*.dcm")).write_bytes(b"damaged")
    for name in ("film.png", "picture.png"):
        answer = browser.get(f"/studies/{key}/{name}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")


@pytest.mark.parametrize(
    "key", ["%2e%2e", "..%2f..%2f..%2fetc%2fpasswd", "x" * 32, "0" * 32, "A" * 32, "0" * 31, "%00"]
)
def test_no_path_leads_out_of_the_spool(browser: httpx.Client, key: str) -> None:
    for name in ("", "/film.png", "/picture.png"):
        assert browser.get(f"/studies/{key}{name}").status_code == 404
    assert browser.post(f"/studies/{key}/replay", data={"form_token": form_token(browser)}).status_code in (404, 405)


def test_parked_work_is_taken_up_by_its_button_or_all_of_it(browser: httpx.Client, filled: FilledSpool) -> None:
    first, second, third = (filled.settled() for _ in range(3))
    for task in (first, second, third):
        filled.spool.agenda.park(task, "InferenceError", "a reason")
        filled.spool.agenda.finished(task)
    assert browser.get("/").text.count(">Retry<") == 3
    answer = press(browser, f"/studies/{first.study_key}/retry")
    assert (answer.status_code, answer.headers["location"]) == (303, "../../")
    assert {task.study_key for task in filled.spool.agenda.tasks("todo")} == {first.study_key}
    assert "Taken up again: 1." in browser.get("/").text
    assert press(browser, "/retry").status_code == 303
    assert len(filled.spool.agenda.tasks("todo")) == 3
    press(browser, "/retry")
    assert "Nothing was parked any more." in browser.get("/").text


def test_a_study_is_read_anew_by_its_button_once(browser: httpx.Client, filled: FilledSpool) -> None:
    key = filled.delivered(Triage.NOT_FLAGGED).study_key
    with structlog.testing.capture_logs() as lines:
        assert press(browser, f"/studies/{key}/replay").status_code == 303
    (task,) = filled.spool.agenda.tasks("todo")
    assert (task.verb, task.study_key) == ("read", key)
    assert len(filled.spool.generations(key)) == 2
    (line,) = [line for line in lines if line["event"] == "order.given"]
    assert (line["verb"], line["study"], line["address"]) == ("replay", key, "127.0.0.1")
    again = press(browser, f"/studies/{key}/replay")
    assert again.status_code == 409
    assert "has not been read yet" in again.text
    assert len(filled.spool.generations(key)) == 2


def test_results_that_wait_are_released_or_withheld_as_they_were_shown(tmp_path: Path) -> None:
    settings = settings_with_a_password(tmp_path, mode="supervised")
    filled = FilledSpool(settings.spool.folder)
    first, second = filled.read(Triage.URGENT), filled.read(Triage.FLAGGED)
    for task in (first, second):
        filled.spool.agenda.keep_back(Task("post", task.study_key, task.generation))
    with served(settings) as browser:
        log_in(browser)
        assert "Release these results" in browser.get(f"/studies/{first.study_key}").text
        stale = press(browser, f"/studies/{first.study_key}/release", generation="0" * 16)
        assert stale.status_code == 409
        assert filled.spool.agenda.tasks("todo") == []
        assert press(browser, f"/studies/{first.study_key}/release", generation=first.generation).status_code == 303
        assert [task.study_key for task in filled.spool.agenda.tasks("todo")] == [first.study_key]
        assert press(browser, f"/studies/{second.study_key}/withhold", generation=second.generation).status_code == 303
        page = browser.get(f"/studies/{second.study_key}").text
    assert "These results were withheld." in page
    assert "by status page, 127.0.0.1" in page


def test_logins_and_looks_are_audited_once_each(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    settings = settings_with_a_password(tmp_path, audit=Audit(file=file))
    filled = FilledSpool(settings.spool.folder)
    key = filled.delivered(images=0, refused=(Reason.NOT_FRONTAL,)).study_key
    with audit.opened(settings, "web"), served(settings) as browser:
        log_in(browser, "a wrong password")
        log_in(browser)
        for _ in range(3):
            browser.get(f"/studies/{key}/film.png")
        press(browser, "/logout")
    messages = [etree.fromstring(line[line.index("<AuditMessage") :]) for line in file.read_text("utf-8").splitlines()]
    for message in messages:
        SCHEMA.assertValid(message)
    told = [
        (each.find(".//EventID").get("originalText"), each.find(".//EventIdentification").get("EventOutcomeIndicator"))
        for each in messages
    ]
    assert told[1:-1] == [
        ("User Authentication", "4"),
        ("User Authentication", "0"),
        ("DICOM Instances Accessed", "0"),
        ("User Authentication", "0"),
    ]
    assert key in etree.tostring(messages[3]).decode()
    assert not any(value in file.read_text() for value in PATIENT.values())


def test_the_process_that_decodes_films_ends_with_the_page(settings: Settings, filled: FilledSpool) -> None:
    key = filled.settled().study_key
    with served(settings) as browser:
        log_in(browser)
        assert browser.get(f"/studies/{key}/film.png").headers["content-type"] == "image/png"
        children = Path("/proc/self/task").glob("*/children")
        developers = [pid for each in children for pid in each.read_text().split() if "node.developer" in command(pid)]
        assert developers
    assert not any("node.developer" in command(pid) for pid in developers)


def command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except FileNotFoundError:
        return ""
