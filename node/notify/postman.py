"""Sends what is noted: one thread a receiver, so that one that is away holds up only its own messages."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace
from typing import Protocol

from node import log
from node.config import Settings
from node.config_notify import Receiver
from node.errors import ConfigError
from node.notices import WAITING, Box, Form, Notice, of_test
from node.notify.faults import FaultWatch
from node.notify.mail import MailWay
from node.notify.way import NotSent
from node.notify.webhook import WebhookWay

# How often it is looked for messages, and for faults (s).
LOOK_EVERY_S, FAULTS_EVERY_S = 1.0, 30.0
# After a message that was not taken, the receiver is left alone for 5 s, 10 s, 20 s ... 10 min.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 600.0
# What was tried and is older than this (s) is dropped: the report is in the PACS, and the page shows what is wrong.
TOO_OLD_S = 24 * 3600.0
STOP_WITHIN_S = 2.0


class Way(Protocol):
    """A way to tell a receiver."""

    def check(self) -> None:
        """Look at the files it needs; raises ConfigError."""

    def send(self, message: Form) -> None:
        """Send a message; raises NotSent, or ConfigError where a file is not what it should be."""


def told_by(receiver: Receiver) -> Way:
    """Return the way by which a receiver is told."""
    if receiver.webhook:
        return WebhookWay(receiver.webhook)
    if receiver.email:
        return MailWay(receiver.email)
    assert receiver.hl7 is not None, "the configuration has one of them"
    from node.notify.oru import ORUWay  # HL7's tables and DICOM's codes come with it

    return ORUWay(receiver.hl7)


def check(settings: Settings) -> None:
    """Look at the files that messages need, while a person is there who can mend them.

    Raises
    ------
    ConfigError
        When a secret, password or file of authorities cannot be used.
    """
    for receiver in settings.notify:
        told_by(receiver).check()


def send(settings: Settings, receiver: Receiver) -> None:
    """Send a message that says it is a test.

    Raises
    ------
    NotSent, ConfigError
    """
    told_by(receiver).send(of_test(settings))


class Postman:
    """Sends the messages of a spool, from threads of its own.

    Parameters
    ----------
    settings : Settings

    Notes
    -----
    A file that cannot be used keeps only its receiver's messages waiting, and an alarm says which: nothing here may end the
    process, and with it the node.
    """

    def __init__(self, settings: Settings) -> None:
        self._box = Box(settings.spool.folder)
        self._stopped = threading.Event()
        self._watch = FaultWatch(settings)
        rounds = [Round(self._box, receiver.name, told_by(receiver)) for receiver in settings.notify]
        self._threads = [threading.Thread(target=self._carry, args=(each,), daemon=True) for each in rounds]
        self._threads.append(threading.Thread(target=self._look, name="faults", daemon=True))
        self._forget_others({receiver.name for receiver in settings.notify})

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin no other message; what is not sent is sent after the next start."""
        self._stopped.set()
        deadline_s = time.monotonic() + STOP_WITHIN_S
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline_s - time.monotonic()))

    def _carry(self, each: Round) -> None:
        wait_s = 0.0
        while not self._stopped.wait(wait_s):
            with log.Outlived("notice.failed", destination=each.receiver) as turn:
                wait_s = each.turn(self._stopped)
            if turn.failed:
                wait_s = LONGEST_PAUSE_S

    def _look(self) -> None:
        while not self._stopped.wait(FAULTS_EVERY_S):
            with log.Outlived("notice.failed"):
                self._watch.look()

    def _forget_others(self, names: set[str]) -> None:
        """Drop what is for receivers that are not configured any more."""
        for name in set(self._box.receivers()) - names:
            for notice in self._box.waiting(name):
                self._box.sent(notice)
                log.alarm("notice.dropped", destination=name, reason="it is not configured any more")


class Round:
    """Sends what waits for one receiver.

    Parameters
    ----------
    box : Box
    receiver : str
    way : Way
    """

    def __init__(self, box: Box, receiver: str, way: Way) -> None:
        self.receiver = receiver
        self._box, self._way = box, way
        self._failures = 0

    def turn(self, stopped: threading.Event) -> float:
        """Send what waits, up to the first message that is not taken; return after how many seconds to come again."""
        waiting = self._box.waiting(self.receiver)
        for notice in sorted(waiting, key=lambda each: str(each.message["at"]))[: max(0, len(waiting) - WAITING)]:
            self._drop(notice, "too many wait")
            waiting.remove(notice)
        for notice in waiting:
            if stopped.is_set():
                break
            if notice.attempts and notice.age_s > TOO_OLD_S:
                self._drop(notice, "it is too old")
            elif not self._is_sent(notice):
                return min(FIRST_PAUSE_S * 2.0 ** min(self._failures - 1, 10), LONGEST_PAUSE_S)
        return LOOK_EVERY_S

    def _is_sent(self, notice: Notice) -> bool:
        # Before it is tried: whatever a message does to this process, the others are tried before it comes again.
        with contextlib.suppress(OSError):  # a full disk is a reason to tell somebody, not to keep silent
            self._box.put(replace(notice, attempts=notice.attempts + 1))
        try:
            self._way.send(notice.message)
        except (NotSent, ConfigError) as error:
            self._failures += 1
            log.alarm("notice.postponed", destination=self.receiver, attempt=notice.attempts + 1, error=str(error))
            return False
        self._box.sent(notice)
        self._failures = 0
        fields = {"study": notice.message.get("study"), "attempt": notice.attempts + 1}
        log.event("notice.sent", destination=self.receiver, kind=notice.message["kind"], **fields)
        return True

    def _drop(self, notice: Notice, reason: str) -> None:
        self._box.sent(notice)
        log.alarm("notice.dropped", destination=self.receiver, study=notice.message.get("study"), reason=reason)
