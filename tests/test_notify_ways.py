"""A message reaches a real server, or says why not: webhook and e-mail, in the clear and by TLS."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import pytest

from node.config_notify import Email, Webhook
from node.errors import ConfigError
from node.notify import way
from node.notify.mail import MailWay
from node.notify.way import NotSent
from node.notify.webhook import WebhookWay
from node.product import NOTICE
from tests.inboxes import hook, mailbox, silence
from tests.peers import HOST, free_port
from tests.pki import EXPIRED, Authority

MESSAGE = {
    "id": "0123456789abcdef" * 2,
    "kind": "study",
    "at": "2026-11-23T10:00:00+00:00",
    "node": "CXRTRIAGE",
    "summary": "URGENT: Tuberculosis",
    "page": "https://cxr.hospital.example",
    "notice": f"{NOTICE}.",
    "study": "ab" * 16,
    "reading": 1,
    "answer": "urgent",
    "label": "Tuberculosis",
    "warnings": ["LOOKS_TURNED"],
    "model": "a model 1",
    "received": "2026-11-23T09:59:00+00:00",
    "done": "2026-11-23T09:59:30+00:00",
}


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("webhook", "mail", "way"):
        monkeypatch.setattr(f"node.notify.{module}.TIMEOUT_S", 1.0)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


def secret_in(folder: Path, words: str = "open sesame\n", mode: int = 0o600) -> Path:
    path = folder / "secret"
    path.write_text(words)
    path.chmod(mode)
    return path


# Webhook


def test_a_webhook_gets_the_message_as_json_signed_with_its_secret(tmp_path: Path) -> None:
    with hook() as kept:
        webhook = Webhook(url=kept.url(), secret_file=secret_in(tmp_path))
        WebhookWay(webhook).send(MESSAGE)
    ((path, headers, body),) = kept.requests
    assert path == "/hooks/cxr"
    assert json.loads(body) == MESSAGE
    assert NOTICE in body.decode()
    assert headers["idempotency-key"] == MESSAGE["id"]
    assert abs(time.time() - int(headers["x-cxr-timestamp"])) < 60
    signed = headers["x-cxr-timestamp"].encode() + b"." + body
    assert headers["x-cxr-signature"] == f"sha256={hmac.new(b'open sesame', signed, hashlib.sha256).hexdigest()}"


def test_a_webhook_without_a_secret_is_not_signed() -> None:
    with hook() as kept:
        WebhookWay(Webhook(url=kept.url())).send(MESSAGE)
    assert "x-cxr-signature" not in kept.requests[0][1]


def test_a_webhook_by_https_is_held_against_the_authority_that_is_named(authority: Authority) -> None:
    with hook(authority.issue("hook")) as kept:
        WebhookWay(Webhook(url=kept.url("https", "localhost"), trusted=authority.file)).send(MESSAGE)
        assert len(kept.requests) == 1
        with pytest.raises(NotSent, match="certificate is not trusted"):
            WebhookWay(Webhook(url=kept.url("https", "localhost"))).send(MESSAGE)
        assert len(kept.requests) == 1, "nothing is told to who cannot prove who it is"


@pytest.mark.parametrize(
    ("identities", "dates", "words"),
    [
        ((), EXPIRED, "certificate has expired"),
        (("other.example",), {}, "not trusted \\(Hostname mismatch|doesn't match"),
    ],
)
def test_a_webhook_with_a_bad_certificate_is_told_nothing(
    authority: Authority, identities: tuple[str, ...], dates: dict[str, Any], words: str
) -> None:
    with hook(authority.issue("bad", *identities, **dates)) as kept, pytest.raises(NotSent, match=words):
        WebhookWay(Webhook(url=kept.url("https", "localhost"), trusted=authority.file)).send(MESSAGE)
    assert kept.requests == []


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404, 429, 500, 503])
def test_a_webhook_that_answers_otherwise_has_not_taken_it_and_is_not_followed_elsewhere(status: int) -> None:
    with (
        hook() as elsewhere,
        hook(status=status, headers={"location": elsewhere.url()}) as kept,
        pytest.raises(NotSent, match=f"answered with status {status}"),
    ):
        WebhookWay(Webhook(url=kept.url())).send(MESSAGE)
    assert len(kept.requests) == 1
    assert elsewhere.requests == []


@pytest.mark.usefixtures("short_waits")
def test_a_webhook_that_is_away_or_hangs_is_not_waited_for_long() -> None:
    with pytest.raises(NotSent, match=f"{HOST} was not reached: Connection refused"):
        WebhookWay(Webhook(url=f"http://{HOST}:{free_port()}/")).send(MESSAGE)
    with silence() as port, pytest.raises(NotSent, match="was not reached: no answer in time"):
        WebhookWay(Webhook(url=f"http://{HOST}:{port}/")).send(MESSAGE)


def test_no_proxy_of_the_environment_is_told_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    with hook() as proxy, hook() as kept:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        WebhookWay(Webhook(url=kept.url())).send(MESSAGE)
    assert (len(kept.requests), proxy.requests) == (1, [])


# E-mail


def email(port: int, **more: Any) -> Email:
    given = {
        "host": "localhost",
        "port": port,
        "sender": "cxr@hospital.example",
        "recipients": ("it@hospital.example",),
    }
    return Email(**{**given, "security": "off", **more})


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_server_gets_the_message_by_tls_with_a_login(
    tmp_path: Path, authority: Authority, security: str
) -> None:
    with mailbox(authority.issue("mail"), security, auth=True) as kept:
        more = {"user": "cxr", "password_file": secret_in(tmp_path), "trusted": authority.file, "security": security}
        MailWay(email(kept.port, recipients=("a@x.example", "b@x.example"), **more)).send(MESSAGE)
    assert kept.logins == [(b"cxr", b"open sesame")]
    ((sender, recipients, mail),) = kept.mails
    assert (sender, recipients) == ("cxr@hospital.example", ["a@x.example", "b@x.example"])
    assert mail["Subject"] == "[CXRTRIAGE] URGENT: Tuberculosis"
    assert mail["Message-ID"] == f"<{MESSAGE['id']}@hospital.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    words = mail.get_content()
    for line in (
        "Warnings: looks turned",
        f"Study: {MESSAGE['study']}",
        "Status page: https://cxr.hospital.example",
        NOTICE,
    ):
        assert line in words


def test_a_mail_server_whose_certificate_is_not_trusted_gets_neither_message_nor_password(
    tmp_path: Path, authority: Authority
) -> None:
    more = {"user": "cxr", "password_file": secret_in(tmp_path)}
    for security in ("starttls", "tls"):
        with (
            mailbox(authority.issue("mail"), security, auth=True) as kept,
            pytest.raises(NotSent, match="certificate is not trusted"),
        ):
            MailWay(email(kept.port, security=security, **more)).send(MESSAGE)
        assert kept.mails == kept.logins == []


def test_a_mail_server_without_starttls_is_told_nothing_where_that_is_wanted() -> None:
    with mailbox() as kept, pytest.raises(NotSent, match="SMTPNotSupportedError"):
        MailWay(email(kept.port, security="starttls")).send(MESSAGE)
    assert kept.mails == []


def test_a_mail_server_that_refuses_is_quoted_by_its_code_alone() -> None:
    with mailbox() as kept:
        kept.refuse = "554 Doe^Jane is not welcome"
        with pytest.raises(NotSent, match="localhost answered 554 \\(SMTPDataError\\)"):
            MailWay(email(kept.port)).send(MESSAGE)
        kept.refuse, kept.refuse_recipient = "", "it@hospital.example"
        with pytest.raises(NotSent, match="SMTPRecipientsRefused"):
            MailWay(email(kept.port)).send(MESSAGE)
    assert kept.mails == []


def test_where_one_of_the_recipients_is_refused_the_others_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    alarms: list[tuple[str, Any]] = []
    monkeypatch.setattr("node.notify.mail.log.alarm", lambda name, **fields: alarms.append((name, fields["count"])))
    with mailbox() as kept:
        kept.refuse_recipient = "gone@x.example"
        MailWay(email(kept.port, recipients=("gone@x.example", "there@x.example"))).send(MESSAGE)
    assert kept.mails[0][1] == ["there@x.example"]
    assert alarms == [("notice.refused", 1)]


@pytest.mark.usefixtures("short_waits")
def test_a_mail_server_that_is_away_or_hangs_is_not_waited_for_long() -> None:
    with pytest.raises(NotSent, match="Connection refused"):
        MailWay(email(free_port(), host=HOST)).send(MESSAGE)
    with silence() as port, pytest.raises(NotSent, match="did not take it"):
        MailWay(email(port, host=HOST)).send(MESSAGE)


def test_a_message_that_breaks_lines_makes_no_other_header() -> None:
    with mailbox() as kept:
        MailWay(email(kept.port)).send(MESSAGE | {"summary": "x\r\nBcc: evil@x.example"})
    ((_, recipients, mail),) = kept.mails
    assert (recipients, mail["Bcc"]) == (["it@hospital.example"], None)


# Files


def test_a_secret_that_is_missing_empty_or_everybody_s_is_refused(tmp_path: Path) -> None:
    for words, mode, complaint in (("", 0o600, "is empty"), ("secret", 0o604, "every user may read")):
        webhook = Webhook(url="https://x.example/", secret_file=secret_in(tmp_path, words, mode))
        with pytest.raises(ConfigError, match=f"notify.webhook.secret_file: .*{complaint}"):
            WebhookWay(webhook).check()
    with pytest.raises(ConfigError, match="cannot be read"):
        WebhookWay(Webhook(url="https://x.example/", secret_file=tmp_path / "none")).check()


def test_authorities_that_are_none_are_refused(tmp_path: Path) -> None:
    file = secret_in(tmp_path, "no certificate")
    with pytest.raises(ConfigError, match=r"trusted: .* cannot be used"):
        way.context("notify.webhook", file)
    with pytest.raises(ConfigError, match=r"notify\.email\.trusted"):
        MailWay(email(25, security="tls", trusted=tmp_path / "none")).check()
