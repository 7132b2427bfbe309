"""Who gets in at the status page, and who does not."""

import contextlib
import http.client
import re
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import httpx
import pytest

from node import password
from node.config import Settings, Web
from node.errors import ConfigError
from node.web import access, sessions
from node.web.server import StatusServer
from node.web.sessions import Sessions
from tests.filled import PATIENT, FilledSpool, settings_for
from tests.pages import PASSWORD, form_token, log_in, press, served, settings_with_a_password

FOR_WHO_IS_LOGGED_IN = ("/test", f"/studies/{'0' * 32}", f"/studies/{'0' * 32}/film.png")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_with_a_password(tmp_path)


@pytest.fixture
def browser(settings: Settings) -> Iterator[httpx.Client]:
    with served(settings) as client:
        yield client


def test_the_right_password_lets_in_and_logging_out_lets_out(browser: httpx.Client) -> None:
    assert browser.get("/test").status_code == 403
    answer = log_in(browser)
    assert (answer.status_code, answer.headers["location"]) == (303, "./")
    assert browser.get("/test").status_code == 200
    assert "Log out" in browser.get("/").text
    token = browser.cookies.get("cxr-node-session")
    assert press(browser, "/logout").status_code == 303
    assert browser.get("/test").status_code == 403
    browser.cookies.set("cxr-node-session", token)
    assert browser.get("/test").status_code == 403  # a copy of the cookie is worth nothing any more


def test_a_wrong_password_does_not(browser: httpx.Client) -> None:
    for typed in ("", "wrong", PASSWORD[:-1], PASSWORD + " ", "x" * 10_000):
        answer = log_in(browser, typed)
        assert answer.status_code in (401, 413)
        assert "set-cookie" not in answer.headers
    assert "The password is not right." in log_in(browser, "wrong").text


def test_the_session_s_cookie_is_out_of_reach_of_scripts_and_other_sites(browser: httpx.Client) -> None:
    said = log_in(browser).headers["set-cookie"]
    assert re.fullmatch(r"cxr-node-session=[\w-]{43}; HttpOnly; Max-Age=28800; Path=/; SameSite=strict", said), said


def test_behind_tls_the_cookie_goes_by_tls_alone(tmp_path: Path, settings: Settings) -> None:
    web = settings.web.model_copy(update={"url": "https://cxr.hospital.example"})
    with served(settings.model_copy(update={"web": web})) as browser:
        named = {"host": "cxr.hospital.example", "origin": "https://cxr.hospital.example"}
        said = browser.post("/login", data={"password": PASSWORD}, headers=named).headers["set-cookie"]
    assert said.startswith("__Host-session=")
    assert "; Secure" in said


def test_a_token_that_the_browser_brings_is_never_taken_over(browser: httpx.Client) -> None:
    planted = "planted-by-somebody-who-waits-for-it-to-be-logged-in"
    browser.cookies.set("cxr-node-session", planted, domain="127.0.0.1", path="/")
    given = re.match(r"cxr-node-session=([^;]+)", log_in(browser).headers["set-cookie"])
    assert given and given[1] != planted
    with httpx.Client(base_url=browser.base_url, trust_env=False, cookies={"cxr-node-session": planted}) as other:
        assert other.get("/test").status_code == 403


def test_logging_in_again_ends_the_session_before(browser: httpx.Client) -> None:
    log_in(browser)
    first = browser.cookies.get("cxr-node-session")
    log_in(browser)
    with httpx.Client(base_url=browser.base_url, trust_env=False, cookies={"cxr-node-session": first}) as other:
        assert other.get("/test").status_code == 403


def test_attempts_are_few_a_minute_and_the_right_password_waits_too(browser: httpx.Client) -> None:
    answers = [log_in(browser, "wrong").status_code for _ in range(access.ATTEMPTS + 2)]
    assert answers == [401] * access.ATTEMPTS + [429, 429]
    late = log_in(browser)
    assert (late.status_code, late.headers["retry-after"]) == (429, "60")
    assert "Wait a minute" in late.text


def test_attempts_of_all_addresses_together_are_bounded(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "ATTEMPTS", 1000)
    monkeypatch.setattr(access, "ATTEMPTS_OF_ALL", 3)
    with served(settings) as browser:
        assert [log_in(browser, "wrong").status_code for _ in range(5)] == [401, 401, 401, 429, 429]


def test_a_new_password_ends_every_session(settings: Settings, browser: httpx.Client) -> None:
    log_in(browser)
    assert browser.get("/test").status_code == 200
    assert settings.web.password_file is not None
    with patch.multiple(password, LOG2_N=10, P=1):
        password.write(settings.web.password_file, "quite another password")
    assert browser.get("/test").status_code == 403
    assert log_in(browser).status_code == 401
    assert log_in(browser, "quite another password").status_code == 303


def test_a_password_file_that_was_taken_away_lets_nobody_in(settings: Settings, browser: httpx.Client) -> None:
    log_in(browser)
    assert settings.web.password_file is not None
    settings.web.password_file.unlink()
    assert browser.get("/test").status_code == 403
    assert log_in(browser).status_code == 401


def test_a_session_ends_after_a_shift_and_the_oldest_of_too_many_goes() -> None:
    now = [0.0]
    opened = Sessions(lambda: now[0])
    token = opened.open(None)
    now[0] = sessions.LIFE_S - 1
    assert opened.find(token, None)
    now[0] = sessions.LIFE_S
    assert opened.find(token, None) is None
    tokens = [opened.open(None) for _ in range(sessions.MOST + 1)]
    assert [opened.find(each, None) is None for each in tokens] == [True] + [False] * sessions.MOST


@pytest.mark.parametrize(
    "path", ["/logout", "/retry", f"/studies/{'0' * 32}/replay", f"/studies/{'0' * 32}/release", "/test"]
)
def test_nothing_is_done_for_who_is_not_logged_in(browser: httpx.Client, path: str) -> None:
    assert browser.post(path, data={"form_token": "x"}).status_code == 403
    assert browser.get("/").status_code == 200


@pytest.mark.parametrize("path", ["/logout", "/retry"])
def test_a_form_without_this_login_s_token_is_refused(browser: httpx.Client, path: str) -> None:
    log_in(browser)
    for fields in ({}, {"form_token": ""}, {"form_token": "x" * 43}, {"form_token": "\u2603"}):
        assert browser.post(path, data=fields).status_code in (403, 415)
    assert browser.get("/test").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_form_that_another_site_sends_is_refused_even_with_its_token(
    browser: httpx.Client, headers: dict[str, str]
) -> None:
    log_in(browser)
    token = form_token(browser)
    assert browser.post("/retry", data={"form_token": token}, headers=headers).status_code == 403
    assert browser.post("/login", data={"password": PASSWORD}, headers=headers).status_code == 403
    own = {"origin": str(browser.base_url).rstrip("/"), "sec-fetch-site": "same-origin"}
    assert browser.post("/retry", data={"form_token": token}, headers=own).status_code == 303


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "", "127.0.0.1.evil.example", "a b", "[::1"])
def test_the_page_is_no_part_of_another_site_whose_name_leads_here(browser: httpx.Client, host: str) -> None:
    for path in ("/", "/status.json", "/login", "/model"):
        connection = http.client.HTTPConnection(browser.base_url.host, browser.base_url.port, timeout=30)
        connection.putrequest("GET", path, skip_host=True)
        connection.putheader("Host", host)
        connection.endheaders()
        assert connection.getresponse().status in (400, 421)
    assert browser.get("/healthz", headers={"host": "node"}).status_code == 200
    assert browser.get("/metrics", headers={"host": "node"}).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1", "10.1.2.3:8080", "[::1]:8080"])
def test_the_page_is_known_by_addresses_and_as_localhost(browser: httpx.Client, host: str) -> None:
    assert browser.get("/", headers={"host": host}).status_code == 200


def test_headers_without_end_are_refused(browser: httpx.Client) -> None:
    status = 0
    with contextlib.suppress(httpx.NetworkError):  # the answer may be lost with the connection
        status = browser.get("/", headers={"x-long": "x" * 1_000_000}).status_code
    assert status in (0, 400)
    assert browser.get("/").status_code == 200


def test_a_form_larger_than_any_is_refused(browser: httpx.Client) -> None:
    assert browser.post("/login", data={"password": "x" * 100_000}).status_code == 413
    assert browser.post("/login", json={"password": PASSWORD}).status_code == 415
    assert (
        browser.post(
            "/login", content=b"\xff=\xff", headers={"content-type": "application/x-www-form-urlencoded"}
        ).status_code
        == 400
    )


def test_without_a_password_nobody_logs_in_and_nothing_of_a_patient_is_there(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    key = FilledSpool(settings.spool.folder).delivered().study_key
    with served(settings) as browser:
        for path in ("/login", "/test", f"/studies/{key}", f"/studies/{key}/film.png", f"/studies/{key}/picture.png"):
            assert browser.get(path).status_code == 404
        for path in ("/login", "/logout", "/retry", f"/studies/{key}/retry", f"/studies/{key}/replay"):
            assert browser.post(path, data={"password": "x"}).status_code == 404
        html = browser.get("/").text
    assert "Nobody can log in here" in html
    assert "<form" not in html and "<img" not in html


def test_without_a_login_no_film_is_shown_and_no_button(settings: Settings, browser: httpx.Client) -> None:
    key = FilledSpool(settings.spool.folder).delivered().study_key
    html = browser.get("/").text
    assert "<form" not in html and "<img" not in html
    for path in (f"/studies/{key}", f"/studies/{key}/film.png", f"/studies/{key}/picture.png"):
        assert browser.get(path).status_code == 403


def test_programs_need_no_login_and_are_told_nothing_of_a_patient(settings: Settings, browser: httpx.Client) -> None:
    FilledSpool(settings.spool.folder).delivered()
    told = "".join(browser.get(path).text for path in ("/status.json", "/healthz", "/readyz", "/metrics"))
    assert not any(value in told for value in PATIENT.values())


@pytest.mark.parametrize("break_it", ["missing", "open", "garbage"])
def test_a_password_file_that_cannot_be_used_stops_the_start(tmp_path: Path, break_it: str) -> None:
    settings = settings_with_a_password(tmp_path)
    file = settings.web.password_file
    assert file is not None
    {"missing": file.unlink, "open": lambda: file.chmod(0o644), "garbage": lambda: file.write_text("x")}[break_it]()
    with pytest.raises(ConfigError, match=r"web\.password_file"):
        StatusServer(settings)


def test_a_page_open_to_others_shows_no_patient_and_no_buttons(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, web=Web(host="0.0.0.0", port=0, open=True))
    key = FilledSpool(settings.spool.folder).delivered().study_key
    with served(settings) as browser:
        html = browser.get("/").text
        assert key[:12] in html
        assert "<form" not in html and "<img" not in html
        assert browser.get(f"/studies/{key}/film.png").status_code == 404
