"""The mode, and those who are told: whether what they need is there, and, where a person asks for it, whether a test arrives."""

from __future__ import annotations

from collections.abc import Iterator

from node import notify
from node.config import Settings
from node.config_notify import Receiver
from node.doctor.findings import Finding, bad, good, note
from node.errors import ConfigError
from node.notify import NotSent

_KEPT = {
    "shadow": "nothing is sent to any destination",
    "supervised": "results wait until a person runs cxr-node release, or withholds them",
}


def mode(settings: Settings) -> Iterator[Finding]:
    """Yield a note where results are not sent by themselves."""
    if kept := _KEPT.get(settings.mode):
        yield note("mode", f"{settings.mode}: {kept}", "Set mode to live if results are to be sent at once.")


def receivers(settings: Settings, send: bool) -> Iterator[Finding]:
    """Look at each receiver of messages.

    Parameters
    ----------
    settings : Settings
    send : bool
        Send each a message that says it is a test.

    Yields
    ------
    Finding
    """
    for receiver in settings.notify:
        subject = f"messages to {receiver.name}"
        try:
            notify.told_by(receiver).check()
            if send:
                notify.send(settings, receiver)
        except ConfigError as error:
            yield bad(subject, str(error), "Mend the file that it names.")
        except NotSent as error:
            yield bad(subject, f"the test message was not taken: {error}", "Check its address and what it allows.")
        else:
            tried = "the test message was taken" if send else "not tried; --notify sends a test message"
            yield good(subject, f"{_way(receiver)}, about {', '.join(receiver.about)}: {tried}")


def _way(receiver: Receiver) -> str:
    return "webhook" if receiver.webhook else "e-mail" if receiver.email else "HL7"
