"""Tells in time that a certificate of the node's expires: at the start, and then once a day."""

from __future__ import annotations

import time

from node import log
from node.config import Settings
from node.errors import ConfigError
from node.tls.certificates import all_files, days_left, expires

EVERY_S = 86_400.0
# As long as a hospital's authority may take to sign a new one.
WARN_DAYS = 30


class Watch:
    """Logs for each certificate of a configuration how many days it has left.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._files = [each for each in all_files(settings) if each.certificate]
        self._due_s = 0.0

    def look(self) -> None:
        """Look where a day has passed since the last time: an alarm where it is time for a new certificate."""
        if not self._files or time.monotonic() < self._due_s:
            return
        self._due_s = time.monotonic() + EVERY_S
        for each in self._files:
            assert each.certificate is not None
            try:
                days = days_left(expires(each.section, each.certificate))
            except ConfigError as error:
                log.alarm("certificate.unreadable", kind=each.section, error=str(error))
                continue
            say = log.alarm if days < WARN_DAYS else log.event
            say("certificate.expired" if days < 0 else "certificate.expires", kind=each.section, days=days)
