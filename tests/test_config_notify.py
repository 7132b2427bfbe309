"""The section notify: what is right is taken with its defaults, every mistake is named with its line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from node.config import Settings, load
from node.config_notify import HL7, Email, Receiver, Webhook
from node.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], Settings]:
    def given(text: str) -> Settings:
        path = tmp_path / "node.yaml"
        path.write_text(text)
        return load(path)

    return given


def complaint(read: Callable[[str], Settings], text: str) -> str:
    with pytest.raises(ConfigError) as error:
        read(text)
    return str(error.value).split("node.yaml:", 1)[1]


def test_nobody_is_told_unless_that_is_configured() -> None:
    assert load(ROOT / "config" / "node.yaml").notify == ()


def test_receivers_are_read_with_their_defaults_and_files_beside_the_configuration(
    read: Callable[[str], Settings], tmp_path: Path
) -> None:
    settings = read(
        "notify:\n"
        '- {name: chat, webhook: {url: "https://chat.example/x", secret_file: hook.secret, trusted: ""}}\n'
        "- {name: it, email: {host: mail.example, sender: a@x.example, recipients: [b@x.example], trusted: ca.crt}}\n"
        "- name: ris\n  identifiers: plain\n  about: [urgent]\n"
        "  hl7: {host: 10.1.2.3, tls: {trusted: ca.crt}, receiving_application: RIS}\n"
    )
    chat, mail, ris = settings.notify
    assert (chat.about, chat.identifiers) == (("urgent", "flagged", "faults"), "key")
    assert chat.webhook is not None and mail.email is not None and ris.hl7 is not None and ris.hl7.tls is not None
    assert (chat.webhook.secret_file, chat.webhook.trusted) == (tmp_path / "hook.secret", None)
    assert (mail.email.port, mail.email.security, mail.email.trusted) == (587, "starttls", tmp_path / "ca.crt")
    assert (ris.hl7.port, ris.hl7.tls.trusted) == (2575, tmp_path / "ca.crt")


HOOK = 'webhook: {url: "https://x.example/"}'
MAIL = "host: mail.example, sender: a@x.example, recipients: [b@x.example]"
MISTAKES = {
    "notify:\n- {name: chat}": "2: notify.0: give one of webhook, email and hl7",
    f"notify:\n- {{name: chat, {HOOK}, email: {{{MAIL}}}}}": "give one of webhook, email and hl7",
    f"notify:\n- {{name: chat, {HOOK}}}\n- {{name: chat, {HOOK}}}": "'chat' is used twice; give each receiver its own",
    f"notify:\n- {{name: chat, {HOOK}, about: [urgent, weather]}}": "2: notify.0.about.1: ",
    f"notify:\n- {{name: chat, {HOOK}, loud: true}}": "Known here: name, webhook, email, hl7, about, identifiers.",
    'notify:\n- {name: chat, webhook: {url: "ftp://x.example/"}}': "must be https://HOST/PATH",
    'notify:\n- {name: chat, webhook: {url: "https://user:word@x.example/"}}': "without a user, a password",
    'notify:\n- {name: chat, webhook: {url: "https://x.example:0x/"}}': "must be https://HOST/PATH",
    'notify:\n- {name: chat, webhook: {url: "https://x.example/\\r\\nX: y"}}': "must be https://HOST/PATH",
    'notify:\n- {name: chat, identifiers: plain, webhook: {url: "http://x.example/"}}': "it must be encrypted",
    f"notify:\n- {{name: it, identifiers: plain, email: {{{MAIL}, security: off}}}}": "it must be encrypted",
    f"notify:\n- {{name: it, email: {{{MAIL}, user: me}}}}": "user and password_file go together",
    f"notify:\n- {{name: it, email: {{{MAIL}, user: me, password_file: p, security: off}}}}": "not sent in the clear",
    "notify:\n- {name: it, email: {host: m, sender: a@x, recipients: []}}": "notify.0.email.recipients: ",
    'notify:\n- {name: it, email: {host: m, sender: "A <a@x>", recipients: [b@x]}}': "must be a bare address",
    'notify:\n- {name: it, email: {host: m, sender: "a@x\\nBcc: c@x", recipients: [b@x]}}': "must be a bare address",
    "notify:\n- {name: ris, hl7: {host: h}}": "an HL7 message is about a patient",
    "notify:\n- {name: ris, identifiers: plain, about: [urgent, faults], hl7: {host: h}}": "about hold answers alone",
    'notify:\n- {name: ris, identifiers: plain, about: [urgent], hl7: {host: h, receiving_application: "A|B"}}': "none of them",
}


@pytest.mark.parametrize(("text", "words"), MISTAKES.items())
def test_a_mistake_is_named_with_what_is_right(read: Callable[[str], Settings], text: str, words: str) -> None:
    assert words in complaint(read, text)


def test_without_encryption_identifiers_may_go_to_this_machine_alone() -> None:
    for url in ("http://127.0.0.1:8000/", "http://localhost/", "https://elsewhere.example/"):
        assert Receiver(name="x", webhook=Webhook(url=url), identifiers="plain").webhook
    mail = {"sender": "a@x.example", "recipients": ("b@x.example",), "security": "off"}
    assert Receiver(name="x", email=Email(host="127.0.0.1", **mail), identifiers="plain").email


@pytest.mark.parametrize("section", [Receiver, Webhook, Email, HL7])
def test_every_key_is_explained_in_the_configuration_file(section: type) -> None:
    text = (ROOT / "config" / "node.yaml").read_text("utf-8")
    comment = text[text.index("# Who is told of urgent") : text.index("\nnotify: []")]
    for key in section.model_fields:  # type: ignore[attr-defined]
        assert re.search(rf"^#  .*\b{key}\b.*  |^#  .*\b{key}:", comment, re.MULTILINE), key
