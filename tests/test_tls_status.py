"""A certificate that expires is told of in time: in the log, on the status page, in the metrics and by the check."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from rich.console import Console

from node import log
from node.check import examine
from node.config import Listen
from node.status import render, snapshot
from node.tls import watch
from node.tls.watch import Watch
from node.web.metrics import Metrics
from tests.filled import settings_for
from tests.pki import EXPIRED, NOW, Authority


@pytest.fixture
def pki(tmp_path):
    return Authority(tmp_path / "pki")


@pytest.fixture
def lines(tmp_path, monkeypatch):
    """Log to a file; gives what was said of certificates so far."""
    file = tmp_path / "log"
    monkeypatch.setenv(log.FILE, str(file))
    log.open_log("receive")
    return lambda: [line for line in map(json.loads, file.read_text().splitlines()) if "certificate" in line["event"]]


def expiring(days):
    return {"not_before": NOW - timedelta(days=1), "not_after": NOW + timedelta(days=days, hours=1)}


def listening(tmp_path, pki, pair):
    return settings_for(tmp_path, listen=Listen(tls=pki.listen(pair)))


def troubles(settings):
    return [f"{each['what']} {each['do']}" for each in snapshot(settings)["troubles"] if "listen.tls" in each["what"]]


@pytest.mark.parametrize(
    ("dates", "event", "level", "days"),
    [
        (expiring(100), "certificate.expires", "info", 100),
        (expiring(29), "certificate.expires", "warning", 29),
        (EXPIRED, "certificate.expired", "warning", -1),
    ],
)
def test_the_log_says_how_many_days_are_left_and_the_last_month_is_an_alarm(
    tmp_path, pki, lines, dates, event, level, days
):
    Watch(listening(tmp_path, pki, pki.issue("node", **dates))).look()
    (line,) = lines()
    assert (line["event"], line["level"], line["kind"]) == (event, level, "listen.tls")
    assert line["days"] in (days, days - 1)  # the day may have ended meanwhile


def test_the_log_says_so_once_a_day(tmp_path, pki, lines, monkeypatch):
    watching = Watch(listening(tmp_path, pki, pki.issue("node")))
    for _ in range(3):
        watching.look()
    assert len(lines()) == 1
    monkeypatch.setattr(watch, "EVERY_S", 0.0)
    watching._due_s = 0.0
    for _ in range(2):
        watching.look()
    assert len(lines()) == 3


def test_a_node_without_tls_says_nothing_of_certificates(tmp_path, lines):
    Watch(settings_for(tmp_path)).look()
    assert lines() == []
    assert snapshot(settings_for(tmp_path))["certificates"] == []


def test_a_certificate_that_has_gone_is_an_alarm_and_no_fault(tmp_path, pki, lines):
    pair = pki.issue("node")
    watching = Watch(listening(tmp_path, pki, pair))
    pair.certificate.unlink()
    watching.look()
    assert [line["event"] for line in lines()] == ["certificate.unreadable"]


def test_the_status_says_until_when_and_what_to_do_in_time(tmp_path, pki):
    settings = listening(tmp_path, pki, pki.issue("node", **expiring(100)))
    assert troubles(settings) == []
    console = Console(file=StringIO(), width=200)
    console.print(render(snapshot(settings)))
    assert f"TLS: listen.tls until {NOW + timedelta(days=100, hours=1):%Y-%m-%d}" in console.file.getvalue()
    pki.issue("node", **expiring(12))
    (said,) = troubles(settings)
    assert said.startswith("The certificate of listen.tls expires in 1")
    assert "takes it up by itself" in said
    pki.issue("node", **EXPIRED)
    (said,) = troubles(settings)
    assert said.startswith("The certificate of listen.tls has expired.")


def test_the_status_says_that_a_new_file_cannot_be_used(tmp_path, pki):
    pair = pki.issue("node")
    settings = listening(tmp_path, pki, pair)
    pair.certificate.write_text("half a certif")
    (said,) = troubles(settings)
    assert said.startswith("The files of listen.tls cannot be used")
    assert str(pair.certificate) in said


def test_the_status_does_not_read_a_private_key(tmp_path, pki):
    pair = pki.issue("node")
    pair.key.write_text("no key")
    assert troubles(listening(tmp_path, pki, pair)) == []


def test_the_metrics_count_the_days(tmp_path, pki):
    settings = listening(tmp_path, pki, pki.issue("node", **expiring(100)))
    text = Metrics(settings).text().decode()
    (line,) = [line for line in text.splitlines() if line.startswith("cxr_node_certificate_days_left{")]
    assert line.split()[0] == 'cxr_node_certificate_days_left{section="listen.tls"}'
    assert float(line.split()[1]) in (99, 100)


def test_the_check_names_what_cannot_be_used(tmp_path, pki):
    settings = listening(tmp_path, pki, pki.issue("node", **expiring(100))).model_copy(update={"destinations": ()})
    found = {finding.subject: finding for finding in examine(settings)}
    assert found["listen.tls"].passed
    assert found["listen.tls"].words.startswith("the node's certificate holds for ")
    pki.issue("node", **EXPIRED)
    found = {finding.subject: finding for finding in examine(settings)}
    assert not found["listen.tls"].passed
    assert "expired on" in found["listen.tls"].words
