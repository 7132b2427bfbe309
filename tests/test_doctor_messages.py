"""The doctor says in which mode the node is, and tries those who are told only where it is asked to."""

from __future__ import annotations

from pathlib import Path

from node.config import Settings
from node.config_notify import Receiver, Webhook
from node.doctor.findings import State
from node.doctor.messages import mode, receivers
from tests.filled import settings_for
from tests.inboxes import hook


def settings_with(tmp_path: Path, webhook: Webhook) -> Settings:
    return settings_for(tmp_path, notify=(Receiver(name="chat", webhook=webhook),))


def test_a_mode_in_which_results_are_not_sent_by_themselves_is_noted(tmp_path: Path) -> None:
    assert list(mode(settings_for(tmp_path))) == []
    (shadow,) = mode(settings_for(tmp_path, mode="shadow"))
    assert (shadow.state, shadow.found) == (State.NOTE, "shadow: nothing is sent to any destination")
    (supervised,) = mode(settings_for(tmp_path, mode="supervised"))
    assert "cxr-node release" in supervised.found


def test_a_receiver_is_sent_a_test_only_where_that_is_asked_for(tmp_path: Path) -> None:
    with hook() as kept:
        settings = settings_with(tmp_path, Webhook(url=kept.url()))
        (untried,) = receivers(settings, send=False)
        assert (untried.state, kept.requests) == (State.GOOD, [])
        assert "--notify sends a test message" in untried.found
        (tried,) = receivers(settings, send=True)
        assert tried.found == "webhook, about urgent, flagged, faults: the test message was taken"
        ((_, _, body),) = kept.requests
        assert b'"kind": "test"' in body and b"TEST: this receiver is told" in body
        kept.status = 404
        (refused,) = receivers(settings, send=True)
    assert refused.state is State.BAD
    assert "answered with status 404" in refused.found and refused.mend


def test_a_missing_secret_is_found_without_sending(tmp_path: Path) -> None:
    (found,) = receivers(settings_with(tmp_path, Webhook(url="https://x.example/", secret_file=tmp_path / "no")), False)
    assert found.state is State.BAD
    assert "secret_file" in found.found
