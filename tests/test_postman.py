"""Messages reach their receivers after all: one that is away, hangs or refuses, and a postman who is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from node import log
from node.config import Settings
from node.config_notify import Email, Receiver, Webhook
from node.errors import ConfigError
from node.notices import Box, Notice
from node.notify import Postman, check, postman, told_by
from node.notify.postman import FIRST_PAUSE_S, LONGEST_PAUSE_S, Round
from tests.filled import settings_for
from tests.inboxes import hook, mailbox
from tests.peers import HOST, free_port, wait_until
from tests.spools import no_space

HERE = Path(__file__).resolve().parents[1]


def message(number: int = 1, hours_ago: float = 0.0) -> dict[str, Any]:
    at = datetime.now(UTC) - timedelta(hours=hours_ago, seconds=-number)
    form = {
        "id": f"{number:032x}",
        "kind": "test",
        "at": at.isoformat(),
        "node": "CXRTRIAGE",
        "summary": f"TEST {number}",
    }
    return form | {"page": "", "notice": "Research and education only, not for diagnosis."}


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path / "spool")


@pytest.fixture
def alarms(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    said: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr("node.log.alarm", lambda name, **fields: said.append((name, fields)))
    return said


def round_to(box: Box, url: str) -> Callable[[], float]:
    """The rounds of one receiver, with no wait between them; each gives the wait that would follow."""
    receiver = Receiver(name="oncall", webhook=Webhook(url=url))
    carried = Round(box, "oncall", told_by(receiver))
    return lambda: carried.turn(threading.Event())


def put(box: Box, *numbers: int, attempts: int = 0, hours_ago: float = 0.0) -> None:
    for number in numbers:
        box.put(Notice("oncall", message(number, hours_ago), attempts))


def test_what_waits_is_sent_in_its_order_and_once(box: Box) -> None:
    put(box, 2, 1, 3)
    with hook() as kept:
        turn = round_to(box, kept.url())
        assert turn() == turn() == postman.LOOK_EVERY_S
    assert [headers["idempotency-key"][-1] for _, headers, _ in kept.requests] == ["1", "2", "3"]
    assert box.waiting("oncall") == []


def test_a_receiver_that_is_away_is_tried_ever_more_rarely_and_then_gets_all(
    box: Box, alarms: list[tuple[str, dict[str, Any]]]
) -> None:
    put(box, 1, 2)
    port = free_port()
    turn = round_to(box, f"http://{HOST}:{port}/")
    waits = [turn() for _ in range(9)]
    assert waits == [min(FIRST_PAUSE_S * 2**n, LONGEST_PAUSE_S) for n in range(9)]
    assert [notice.attempts for notice in box.waiting("oncall")] == [4, 5], "in turn"
    assert {name for name, _ in alarms} == {"notice.postponed"}
    assert "Connection refused" in alarms[0][1]["error"]
    with hook(port=port) as kept:
        assert turn() == postman.LOOK_EVERY_S
    assert len(kept.requests) == 2


def test_a_message_that_is_refused_holds_up_no_other(box: Box) -> None:
    with hook(status=400) as kept:
        turn = round_to(box, kept.url())
        put(box, 1)
        turn()
        kept.status = 204
        put(box, 2)
        kept.requests.clear()
        turn()
    assert [headers["idempotency-key"][-1] for _, headers, _ in kept.requests] == ["2", "1"]


def test_a_message_that_nobody_foresaw_holds_up_no_other_either(
    box: Box, alarms: list[tuple[str, dict[str, Any]]]
) -> None:
    put(box, 1, 2)
    box.put(Notice("oncall", message(0) | {"spoiled": True}))

    class Spoiled:
        sent: ClassVar[list[str]] = []

        def check(self) -> None: ...

        def send(self, form: dict[str, Any]) -> None:
            if "spoiled" in form:
                raise ZeroDivisionError
            self.sent.append(form["summary"])

    carried = Round(box, "oncall", Spoiled())
    with log.Outlived("notice.failed"):
        carried.turn(threading.Event())
    with log.Outlived("notice.failed"):
        carried.turn(threading.Event())
    assert Spoiled.sent == ["TEST 1", "TEST 2"]
    assert [name for name, _ in alarms] == ["notice.failed"] * 2


def test_on_a_full_disk_somebody_is_told_all_the_same(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    put(box, 1)
    monkeypatch.setattr("node.notices.write_json", no_space)
    with hook() as kept:
        round_to(box, kept.url())()
    assert len(kept.requests) == 1
    assert box.waiting("oncall") == []


def test_what_is_too_old_is_dropped_with_an_alarm_but_not_before_it_was_tried(
    box: Box, alarms: list[tuple[str, dict[str, Any]]]
) -> None:
    put(box, 1, hours_ago=25)
    put(box, 2, attempts=3, hours_ago=25)
    put(box, 3, attempts=3, hours_ago=23)
    with hook() as kept:
        round_to(box, kept.url())()
    assert sorted(headers["idempotency-key"][-1] for _, headers, _ in kept.requests) == ["1", "3"]
    assert alarms == [("notice.dropped", {"destination": "oncall", "study": None, "reason": "it is too old"})]
    assert box.waiting("oncall") == []


def test_a_receiver_that_is_away_for_good_fills_no_disk(
    box: Box, alarms: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postman, "WAITING", 5)
    put(box, *range(1, 10))
    round_to(box, f"http://{HOST}:{free_port()}/")()
    assert [int(notice.message["id"], 16) for notice in box.waiting("oncall")] == [6, 7, 8, 9, 5]
    assert [name for name, _ in alarms].count("notice.dropped") == 4


def settings_with(tmp_path: Path, *receivers: Receiver) -> Settings:
    return settings_for(tmp_path, notify=receivers)


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Postman]]:
    monkeypatch.setattr(postman, "LOOK_EVERY_S", 0.05)
    made: list[Postman] = []

    def start(*receivers: Receiver) -> Postman:
        made.append(Postman(settings_with(tmp_path, *receivers)))
        made[-1].start()
        return made[-1]

    yield start
    for each in made:
        each.stop()


@pytest.mark.slow
def test_a_receiver_that_hangs_delays_no_other(box: Box, running: Callable[..., Postman]) -> None:
    for name in ("slow", "mail"):
        box.put(Notice(name, message()))
    with hook(delay_s=3.0) as slow, mailbox() as kept:
        mail = Email(host=HOST, port=kept.port, security="off", sender="a@x.example", recipients=("b@x.example",))
        running(Receiver(name="slow", webhook=Webhook(url=slow.url())), Receiver(name="mail", email=mail))
        wait_until(lambda: kept.mails, what="the mail")
        assert len(box.waiting("slow")) == 1
    assert kept.mails[0][2]["Subject"] == "[CXRTRIAGE] TEST 1"


def test_a_file_that_was_spoiled_holds_up_its_receiver_alone_and_never_the_process(
    tmp_path: Path, box: Box, running: Callable[..., Postman], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postman, "FIRST_PAUSE_S", 0.05)
    secret = tmp_path / "secret"
    with hook() as kept:
        spoiled = Receiver(name="spoiled", webhook=Webhook(url=kept.url(), secret_file=secret))
        with pytest.raises(ConfigError, match="cannot be read"):
            check(settings_with(tmp_path, spoiled))
        for name in ("spoiled", "oncall"):
            box.put(Notice(name, message()))
        running(spoiled, Receiver(name="oncall", webhook=Webhook(url=kept.url())))
        wait_until(lambda: len(kept.requests) == 1, what="the message of the other")
        secret.write_text("mended")
        secret.chmod(0o600)
        wait_until(lambda: len(kept.requests) == 2, what="the message")
    assert "x-cxr-signature" in kept.requests[1][1]


def test_what_is_for_nobody_any_more_is_dropped(
    box: Box, running: Callable[..., Postman], alarms: list[tuple[str, dict[str, Any]]]
) -> None:
    box.put(Notice("gone", message()))
    running()
    assert box.waiting("gone") == []
    assert alarms[0][0] == "notice.dropped"


KILLED = """
import os, sys, threading
from node.config_notify import Receiver, Webhook
from node.notices import Box
from node.notify import told_by
from node.notify.postman import Round
box = Box(__import__("pathlib").Path(sys.argv[1]))
if sys.argv[3] == "after":
    box.sent = lambda notice: os.kill(os.getpid(), 9)
Round(box, "oncall", told_by(Receiver(name="oncall", webhook=Webhook(url=sys.argv[2])))).turn(threading.Event())
"""


@pytest.mark.slow
def test_a_postman_killed_while_or_after_he_sends_sends_it_again_under_the_same_identifier(
    tmp_path: Path, box: Box
) -> None:
    put(box, 1)
    with hook() as kept:
        for when in ("while", "after"):
            kept.delay_s = 3.0 if when == "while" else 0.0
            run = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path / "spool", kept.url(), when], cwd=HERE)
            wait_until(lambda when=when: len(kept.requests) == (1 if when == "while" else 2), what="the message")
            if when == "while":
                os.kill(run.pid, signal.SIGKILL)
            assert run.wait() == -signal.SIGKILL
        assert len(box.waiting("oncall")) == 1
        kept.delay_s = 0.0
        round_to(box, kept.url())()
    assert len({headers["idempotency-key"] for _, headers, _ in kept.requests}) == 1
    assert len(kept.requests) == 3
    assert box.waiting("oncall") == []
