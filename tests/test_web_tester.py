"""The rule tester as a form: bounded in size, time and number, and nothing of the file stays."""

import base64
import io
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
import structlog
from PIL import Image

from node import trial
from node.bundle import load
from node.config import Model, Settings
from node.pixels import model_input, read_dicom
from node.web import connection, forms, tester
from tests.films import dx_film, file_bytes
from tests.pages import form_token, log_in, served, settings_with_a_password
from tests.peers import wait_until
from tests.test_status import write_bundle

pytestmark = pytest.mark.slow

FILM = file_bytes(dx_film(PatientName="Recognizable^Rosalind"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    write_bundle(tmp_path / "model")
    return settings_with_a_password(tmp_path, model=Model(bundle=tmp_path / "model"))


@pytest.fixture
def browser(settings: Settings) -> Iterator[httpx.Client]:
    with served(settings) as client:
        log_in(client)
        yield client


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def drop(browser: httpx.Client, content: bytes, token: str | None = None, name: str = "film.dcm") -> httpx.Response:
    """Drop a file on the page and press the button."""
    fields = {"form_token": form_token(browser) if token is None else token}
    return browser.post("/test", data=fields, files={"file": (name, content)})


def test_a_film_is_told_to_be_read_and_shown_as_the_model_sees_it(browser: httpx.Client, tmp_path: Path) -> None:
    answer = drop(browser, FILM)
    assert answer.status_code == 200
    assert "Taken and read" in answer.text
    (seen,) = re.findall(r'src="data:image/png;base64,([^"]+)"', answer.text)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(seen))))
    (tmp_path / "film.dcm").write_bytes(FILM)
    expected = model_input(read_dicom(tmp_path / "film.dcm"), load(tmp_path / "model").manifest.preprocessing)
    assert np.abs(picture / 255 - expected[..., 0]).max() < 0.003
    assert "img-src data:" in answer.headers["content-security-policy"]
    assert "img-src 'self'" in browser.get("/test").headers["content-security-policy"]
    assert "Rosalind" not in answer.text


def test_nothing_of_the_file_is_stored(settings: Settings, browser: httpx.Client) -> None:
    before = sorted(settings.spool.folder.parent.rglob("*"))
    open_before = open_files()
    assert drop(browser, FILM).status_code == 200
    assert sorted(settings.spool.folder.parent.rglob("*")) == before
    wait_until(lambda: open_files() <= open_before, 10, "all files closed")


def test_what_the_file_says_of_itself_is_no_markup(browser: httpx.Client) -> None:
    odd = dx_film(
        BodyPartExamined="<SCRIPT>", StudyDescription="<img src=x onerror=alert(1)>", AnatomicRegionSequence=...
    )
    answer = drop(browser, file_bytes(odd), name='"><script>alert(1)</script>.dcm')
    assert answer.status_code == 200
    assert "<SCRIPT>" not in answer.text and "onerror" not in answer.text and "alert(1)" not in answer.text


def test_a_file_without_this_login_s_token_is_not_looked_at(
    browser: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tester, "_tried", lambda *_: pytest.fail("it was looked at"))
    assert drop(browser, FILM, token="x").status_code == 403
    foreign = {"origin": "https://evil.example"}
    assert browser.post("/test", files={"file": FILM}, headers=foreign).status_code == 403


@pytest.mark.parametrize("content", [b"", b"no film"])
def test_what_is_no_film_is_answered_in_words(browser: httpx.Client, content: bytes) -> None:
    answer = drop(browser, content)
    assert ("The file is empty" if not content else "No DICOM file") in answer.text


def test_a_file_that_is_too_large_is_refused_with_words(browser: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "FILE_BYTES", 1 << 20)
    answer = drop(browser, bytes((1 << 20) + 1))
    assert answer.status_code == 413
    assert "The file is larger than 1 MiB" in answer.text


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=a", b"no part at all"),
        ("multipart/form-data; boundary=" + "a" * 5000, b"x"),
        ("multipart/form-data; boundary=a", b"--a\r\n" + b"X: y\r\n" * 1000),
        ("text/plain", b"x"),
    ],
)
def test_a_form_that_is_none_is_refused(browser: httpx.Client, kind: str, body: bytes) -> None:
    assert browser.post("/test", content=body, headers={"content-type": kind}).status_code in (400, 415)
    assert browser.get("/test").status_code == 200


@pytest.fixture
def looked_at_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have files looked at by a shell script in place of the trial."""

    def put(script: str) -> None:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o700)
        monkeypatch.setattr(tester, "sys", SimpleNamespace(executable=str(path)))

    return put


@pytest.mark.parametrize("script", ["printf +; exec sleep 60", "printf +; kill -SEGV $$", "printf +; exec yes"])
def test_a_file_that_takes_too_long_or_brings_its_process_down_is_given_up(
    browser: httpx.Client, looked_at_by: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    looked_at_by(script)
    monkeypatch.setattr(tester, "LONGEST_S", 1.0)
    answer = drop(browser, FILM)
    assert answer.status_code == 200
    assert "Most likely not read" in answer.text


def test_a_fault_of_the_node_s_own_is_told_as_one(browser: httpx.Client, looked_at_by: Callable[[str], None]) -> None:
    looked_at_by("printf +; exit 1")
    with structlog.testing.capture_logs() as lines:
        answer = drop(browser, FILM)
    assert answer.status_code == 500
    assert "a fault of the node" in answer.text
    assert [line["code"] for line in lines if line["event"] == "trial.failed"] == [1]


def test_a_machine_that_is_too_busy_is_not_held_against_the_file(
    browser: httpx.Client, looked_at_by: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at_by("exec sleep 60")
    monkeypatch.setattr(tester, "READY_WITHIN_S", 0.2)
    answer = drop(browser, FILM)
    assert answer.status_code == 503
    assert "too busy" in answer.text


def test_one_file_is_tested_at_a_time(browser: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    at_it, go_on = threading.Event(), threading.Event()

    def look(*_: object) -> dict[str, object]:
        at_it.set()
        go_on.wait(30)
        return {"headline": "h", "because": "b", "steps": [], "seen": "", "rows": 0, "columns": 0}

    monkeypatch.setattr(tester, "_tried", look)
    token, answers = form_token(browser), []
    first = threading.Thread(target=lambda: answers.append(drop(browser, FILM, token)))
    first.start()
    assert at_it.wait(30)
    assert drop(browser, FILM, token).status_code == 503
    go_on.set()
    first.join()
    assert answers[0].status_code == 200


def test_an_upload_without_end_is_cut_off_and_the_tester_free_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(settings) as browser:
        log_in(browser)
        monkeypatch.setattr(connection, "LIFE_S", 1.0)
        cookie = f"cxr-node-session={browser.cookies['cxr-node-session']}"
        with socket.create_connection((browser.base_url.host, browser.base_url.port), 30) as slow:
            head = f"POST /test HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\nContent-Length: 1000000\r\n"
            slow.sendall(f"{head}Content-Type: multipart/form-data; boundary=a\r\n\r\n--a\r\n".encode())
            assert slow.recv(1) == b""
        monkeypatch.setattr(connection, "LIFE_S", 60.0)
        assert drop(browser, FILM).status_code == 200


def test_a_model_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with served(settings_with_a_password(tmp_path)) as browser:
        log_in(browser)
        answer = drop(browser, FILM)
    assert answer.status_code == 503
    assert "The model cannot be used" in answer.text


def test_both_processes_know_the_same_word_for_being_ready() -> None:
    assert trial.READY.encode() == tester.READY


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"{}",
        b"[]",
        b"not json",
        b'{"headline": 1, "because": "", "steps": [], "seen": "", "rows": 0, "columns": 0}',
    ],
)
def test_what_another_process_says_is_checked_before_it_is_shown(said: bytes) -> None:
    assert tester._checked(said) is None


@pytest.mark.parametrize(("seen", "rows"), [("", 2), ("AAAA", 2), ("AAAA", -1), ("\u2603", 1), ("A", 1)])
def test_a_picture_of_another_size_than_it_says_is_not_shown(seen: str, rows: int) -> None:
    assert tester._picture({"seen": seen, "rows": rows, "columns": rows}) == ""
