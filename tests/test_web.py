import base64
import contextlib
import hashlib
import os
import re
import shutil
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from node.config import Settings, Web
from node.config import Spool as SpoolSection
from node.errors import ConfigError, Reason
from node.quarantine import Quarantine
from node.study import Triage
from node.web import connection
from node.web.server import StatusServer
from tests.filled import PATIENT, FilledSpool, role, settings_for
from tests.peers import listens

PATHS = ("/", "/status.json", "/healthz", "/readyz", "/metrics")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path)


@pytest.fixture
def filled(settings: Settings) -> FilledSpool:
    return FilledSpool(settings.spool.folder)


@pytest.fixture
def page(settings: Settings) -> Iterator[httpx.Client]:
    server = StatusServer(settings)
    with httpx.Client(base_url=f"http://127.0.0.1:{server.start()}", trust_env=False) as client:
        yield client
    server.stop()


class Outline(HTMLParser):
    """The elements of a page, and the text in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = [("", {})]
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements[-1][0] not in ("style", "script") and data.strip():
            self.words.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def metrics(page: httpx.Client) -> dict[str, float]:
    lines = [line for line in page.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_forbids_scripts_frames_guesses_and_caches(page: httpx.Client, path: str) -> None:
    headers = page.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


def test_refusals_carry_the_same_headers(page: httpx.Client) -> None:
    answers = [page.get("/no-such-page"), page.get("/status.json/"), page.post("/")]
    assert [answer.status_code for answer in answers] == [404, 404, 405]
    assert all("Back to the status" in answer.text for answer in answers)
    assert all("content-security-policy" in answer.headers and "server" not in answer.headers for answer in answers)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_but_reading_is_answered(page: httpx.Client, method: str) -> None:
    assert {page.request(method, path).status_code for path in PATHS} == {405}


def test_the_node_is_alive_while_it_answers_and_ready_while_it_receives_and_works(
    settings: Settings, page: httpx.Client
) -> None:
    assert page.get("/healthz").status_code == 200
    assert page.get("/readyz").status_code == 503
    with role(settings.spool.folder, "receive", port=11112), role(settings.spool.folder, "work"):
        answer = page.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "receive is running\nwork is starting\nweb is stopped\n")
    with role(settings.spool.folder, "receive", port=11112), role(settings.spool.folder, "work", device="cpu"):
        assert page.get("/readyz").status_code == 200
    assert page.get("/healthz").status_code == 200


def test_a_node_whose_disk_is_short_of_room_is_alive_and_not_ready(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, spool=SpoolSection(folder=tmp_path / "spool", reserve_mb=1_000_000))
    FilledSpool(settings.spool.folder)
    server = StatusServer(settings)
    with (
        role(
            settings.spool.folder,
            "receive",
            host="127.0.0.1",
            port=11112,
            tally={"refused": {"0xA700": 2}, "forgotten": 3},
        ),
        role(settings.spool.folder, "work", device="cpu"),
        httpx.Client(base_url=f"http://127.0.0.1:{server.start()}", trust_env=False) as page,
    ):
        answer = page.get("/readyz")
        assert (answer.status_code, answer.text.splitlines()[-1]) == (503, "the disk is short of room")
        assert page.get("/healthz").status_code == 200
        html, told = page.get("/").text, metrics(page)
        assert "Not ready: the disk is short of room." in html
        assert "New images are refused." in html
        assert told["cxr_node_spool_reserve_bytes"] == 1_000_000 << 20 > told["cxr_node_spool_free_bytes"]
        assert told['cxr_node_instances_refused_total{status="0xA700"}'] == 2
        assert told["cxr_node_studies_forgotten_total"] == 3
    server.stop()


def test_what_was_refused_is_on_the_page_and_in_the_metrics(
    settings: Settings, filled: FilledSpool, page: httpx.Client
) -> None:
    file = filled.spool.incoming()
    file.write(bytes(3 << 20))
    kept = Quarantine(settings.spool.folder / "quarantine", 64 << 20)
    kept.keep(file, 3 << 20, "<PACS>", "10.1.2.3", "CT Image Storage", "0xC210", "the data set is empty")
    file.discard()
    words = " ".join(Outline(page.get("/").text).words)
    assert "<PACS> 10.1.2.3 CT Image Storage 0xC210 the data set is empty 3.0 MiB" in words
    told = metrics(page)
    assert (told["cxr_node_quarantine_instances"], told["cxr_node_quarantine_bytes"]) == (1, 3 << 20)


def test_the_page_says_first_that_it_is_not_for_diagnosis(page: httpx.Client) -> None:
    words = Outline(page.get("/").text.split("<body>")[1]).words
    assert words[0] == "Research and education only, not for diagnosis"


def test_the_page_renews_itself_without_a_script_too_and_asks_no_other_host(page: httpx.Client) -> None:
    html = page.get("/").text
    outline = Outline(html)
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in html
    assert len(outline.all("script")) == 1 and not outline.all("img") and not outline.all("link")
    assert not re.search(r"https?:|url\(|@import", html)
    assert not any("//" in (value or "") for _, attributes in outline.elements for value in attributes.values())


@pytest.mark.parametrize("path", ["/", "/model", "/no-such-page"])
def test_the_page_s_style_and_script_are_those_that_its_policy_names(page: httpx.Client, path: str) -> None:
    answer = page.get(path)
    policy = answer.headers["content-security-policy"]
    for kind in ("style", "script"):
        for text in re.findall(f"<{kind}>(.*?)</{kind}>", answer.text, re.DOTALL):
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "<style>" in answer.text
    attributes = {name for _, found in Outline(answer.text).elements for name in found}
    assert "style" not in attributes and not any(name.startswith("on") for name in attributes)


def test_the_page_has_one_heading_named_tables_and_scoped_headers(page: httpx.Client, filled: FilledSpool) -> None:
    filled.delivered(Triage.URGENT)
    outline = Outline(page.get("/").text)
    assert len(outline.all("h1")) == 1
    assert len(outline.all("table")) == len(outline.all("caption"))
    assert len(outline.all("section")) == len(outline.all("h2"))
    assert all(header["scope"] in ("col", "row") for header in outline.all("th"))
    assert outline.all("html") == [{"lang": "en"}]


def test_the_page_tells_studies_destinations_and_parked_work_in_words(page: httpx.Client, filled: FilledSpool) -> None:
    delivered = filled.delivered(Triage.URGENT, refused=(Reason.NOT_FRONTAL,))
    filled.post(filled.read(), "pacs", "waiting", hours=2, error="pacs cannot be reached.")
    parked = filled.settled()
    filled.spool.agenda.park(parked, "InferenceError", "the model's answer is <not> finite")
    words = " ".join(Outline(page.get("/").text).words)
    for expected in (
        delivered.study_key[:12],
        "URGENT: Tuberculosis",
        "Tuberculosis 91 %",
        "1 of 2 read; 1 not frontal",
        "pacs does not take results: 1 waiting, the oldest for 2 h.",
        parked.study_key[:12],
        "the model's answer is <not> finite",
        "delivered",
    ):
        assert expected in words
    assert "&lt;not&gt;" in page.get("/").text


def test_the_page_of_a_node_without_studies_and_destinations_says_so(settings: Settings) -> None:
    server = StatusServer(settings.model_copy(update={"destinations": ()}))
    try:
        words = " ".join(Outline(httpx.get(f"http://127.0.0.1:{server.start()}/", trust_env=False).text).words)
    finally:
        server.stop()
    assert "No study has come yet." in words
    assert "No destination is configured." in words


def test_no_value_of_a_patient_is_on_any_page(page: httpx.Client, filled: FilledSpool) -> None:
    filled.received()
    filled.delivered(Triage.FLAGGED, refused=(Reason.NOT_CHEST,))
    filled.spool.agenda.park(filled.settled(), "ValueError", "unexpected ValueError while the study was read")
    held = b"".join(path.read_bytes() for path in filled.spool.folder.rglob("*.dcm"))
    assert all(value.encode() in held for value in PATIENT.values())
    told = "".join(page.get(path).text for path in PATHS)
    assert "NOT_CHEST" in told
    for value in (*PATIENT.values(), "Recognizable", "Rosalind", "RECOGNIZABLE", "1.2.826.0.1"):
        assert value not in told


def test_programs_get_the_whole_snapshot(settings: Settings, page: httpx.Client, filled: FilledSpool) -> None:
    task = filled.delivered()
    with role(settings.spool.folder, "work", device="gpu"):
        state = page.get("/status.json").json()
    assert state["studies"][0]["study"] == task.study_key
    assert state["roles"]["work"]["device"] == "gpu"
    assert page.get("/status.json").headers["content-type"] == "application/json"


def test_metrics_count_roles_tasks_studies_and_deliveries(
    settings: Settings, page: httpx.Client, filled: FilledSpool
) -> None:
    for answer in (Triage.URGENT, Triage.NOT_FLAGGED, Triage.NOT_FLAGGED):
        filled.delivered(answer)
    filled.post(filled.read(Triage.UNCERTAIN), "pacs", "waiting", hours=1)
    filled.settled()
    with role(settings.spool.folder, "receive", port=11112):
        found = metrics(page)
    assert found['cxr_node_role_up{role="receive"}'] == 1
    assert found['cxr_node_role_up{role="work"}'] == 0
    assert found['cxr_node_tasks{state="todo"}'] == 1
    assert found['cxr_node_studies{answer="urgent"}'] == 1
    assert found['cxr_node_studies{answer="not_flagged"}'] == 2
    assert found['cxr_node_studies{answer="flagged"}'] == 0
    assert found['cxr_node_deliveries{destination="pacs",state="delivered"}'] == 3
    assert found['cxr_node_deliveries{destination="pacs",state="waiting"}'] == 1
    assert found['cxr_node_deliveries{destination="teaching",state="parked"}'] == 0
    assert found['cxr_node_oldest_delivery_seconds{destination="pacs"}'] >= 3600
    assert found["cxr_node_spool_free_bytes"] > 0
    assert all(name.startswith("cxr_node_") for name in found)


def test_metrics_tell_who_is_connected_and_who_was_turned_away(settings: Settings, page: httpx.Client) -> None:
    door = {"pending": 3, "established": 2, "cut": {"too many connections": 4}, "rejected": {}, "evicted": 1}
    violations = {"too slow": 1, "PDU too long": 2}
    with role(settings.spool.folder, "receive", port=11112, door=door | {"violations": violations}):
        found = metrics(page)
    assert found['cxr_node_connections{state="pending"}'] == 3
    assert found['cxr_node_connections{state="established"}'] == 2
    assert {name: value for name, value in found.items() if "turned_away" in name} == {
        'cxr_node_turned_away_total{how="cut",reason="too many connections"}': 4,
        'cxr_node_turned_away_total{how="violations",reason="too slow"}': 1,
        'cxr_node_turned_away_total{how="violations",reason="PDU too long"}': 2,
        'cxr_node_turned_away_total{how="evicted",reason="silent"}': 1,
    }
    assert not any("turned_away" in name or "connections" in name for name in metrics(page))


def test_metrics_follow_a_study_that_is_delivered_late_and_read_again(page: httpx.Client, filled: FilledSpool) -> None:
    task = filled.read(Triage.NOT_FLAGGED)
    filled.post(task, "pacs", "waiting", hours=1)
    age(filled, task.study_key)
    delivered = 'cxr_node_deliveries{destination="pacs",state="delivered"}'
    assert metrics(page)[delivered] == 0
    filled.post(task, "pacs", "delivered")
    assert metrics(page)[delivered] == 1
    assert metrics(page)[delivered] == 1
    filled.read_again(task, Triage.URGENT)
    found = metrics(page)
    assert (found[delivered], found['cxr_node_studies{answer="urgent"}']) == (0, 1)


def test_metrics_forget_a_study_that_was_removed(page: httpx.Client, filled: FilledSpool) -> None:
    task = filled.delivered(Triage.URGENT)
    age(filled, task.study_key)
    assert metrics(page)['cxr_node_studies{answer="urgent"}'] == 1
    shutil.rmtree(filled.spool.study_folder(task.study_key))
    assert metrics(page)['cxr_node_studies{answer="urgent"}'] == 0


def age(filled: FilledSpool, study_key: str) -> None:
    """Let a study's folder have changed an hour ago."""
    then = (datetime.now(UTC) - timedelta(hours=1)).timestamp()
    os.utime(filled.spool.study_folder(study_key), (then, then))


def test_a_port_in_use_names_the_settings_to_change(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        busy = settings.model_copy(update={"web": Web(port=other.getsockname()[1])})
        with pytest.raises(ConfigError, match=r"web\.host or web\.port"):
            StatusServer(busy).start()


def test_a_host_that_is_not_this_machine_s_names_the_settings_to_change(settings: Settings) -> None:
    elsewhere = settings.model_copy(update={"web": Web(host="192.0.2.1", port=0, open=True)})
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1.*web\.host or web\.port"):
        StatusServer(elsewhere).start()


def test_connections_that_never_finish_a_request_make_way_for_one_that_does(page: httpx.Client) -> None:
    with contextlib.ExitStack() as held:
        mute = [held.enter_context(half_a_request(page)) for _ in range(connection.MOST + 20)]
        assert page.get("/readyz").status_code == 503  # an answer: no role runs
        assert mute[0].recv(1) == b""
        mute[-1].sendall(b": y\r\n\r\n")
        assert mute[-1].recv(12) == b"HTTP/1.1 200"


def test_a_connection_that_never_finishes_its_request_is_closed(
    page: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LIFE_S", 0.2)
    with half_a_request(page) as mute:
        assert mute.recv(1) == b""


def test_a_connection_is_closed_once_its_request_is_answered(page: httpx.Client) -> None:
    with half_a_request(page) as caller:
        caller.sendall(b": y\r\n\r\n")
        answer = b"".join(iter(lambda: caller.recv(4096), b""))
    assert b"connection: close\r\n" in answer.lower()
    assert answer.endswith(b"alive\n")


@contextlib.contextmanager
def half_a_request(page: httpx.Client) -> Iterator[socket.socket]:
    """A connection that has begun to ask for ``/healthz``."""
    with socket.create_connection((page.base_url.host, page.base_url.port), 10) as caller:
        caller.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX")
        with contextlib.suppress(ConnectionResetError):
            yield caller


def test_a_stopped_server_has_left_its_port(settings: Settings) -> None:
    server = StatusServer(settings)
    port = server.start()
    assert httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).text == "alive\n"
    server.stop()
    assert not listens(port)


def test_a_server_stopped_at_once_leaves_its_port_too(settings: Settings) -> None:
    server = StatusServer(settings)
    port = server.start()
    server.stop()
    assert not listens(port)


def test_a_spool_that_may_not_be_read_is_answered_with_words(
    page: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("node.spool.Spool.studies", refuse)
    answer = page.get("/")
    assert answer.status_code == 503
    assert "Ask as the user that runs the node" in answer.text
