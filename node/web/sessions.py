"""Who is logged in: tokens that only the browser and this process know, for as long as a shift lasts.

They are in memory alone, as digests: a restart logs everybody out, and nothing on the disk lets anybody in.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from node.password import Stamp

LIFE_S = 8 * 3600.0
# One person has some browsers; of more than this, the oldest is logged out.
MOST = 64
# A word on what was done stays on the page for so long, over its renewals.
SAID_FOR_S = 20.0


@dataclass
class Session:
    """One browser that is logged in.

    Attributes
    ----------
    stamp : Stamp or None
        Of the password's file as it was then: with another password the session ends.
    ends_s : float
    form_token : str
        What each form of the page brings back, and no other site knows.
    seen : set of str
        Keys of the studies whose pictures it was shown.
    """

    stamp: Stamp | None
    ends_s: float
    form_token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    seen: set[str] = field(default_factory=set)
    _said: tuple[str, float] = ("", 0.0)

    def say(self, words: str) -> None:
        """Leave a word on what was done, for the next pages."""
        self._said = words, time.monotonic() + SAID_FOR_S

    @property
    def said(self) -> str:
        """What was said lately, empty where nothing was."""
        words, until_s = self._said
        return words if time.monotonic() < until_s else ""


class Sessions:
    """All sessions; safe to use from many threads.

    Parameters
    ----------
    clock : callable
        Returns seconds of a clock that nobody sets.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._open: dict[str, Session] = {}

    def open(self, stamp: Stamp | None) -> str:
        """Begin a session under a token that is new, whatever the browser brought, and return it."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._open[_digest(token)] = Session(stamp, self._clock() + LIFE_S)
            while len(self._open) > MOST:
                del self._open[next(iter(self._open))]
        return token

    def find(self, token: str, stamp: Stamp | None) -> Session | None:
        """Return the session of a token, None where it is unknown, over, or of an earlier password."""
        with self._lock:
            session = self._open.get(_digest(token))
            if session and (self._clock() >= session.ends_s or session.stamp != stamp):
                del self._open[_digest(token)]
                return None
            return session

    def close(self, token: str) -> None:
        """End a session; where it is none, nothing happens."""
        with self._lock:
            self._open.pop(_digest(token), None)


def _digest(token: str) -> str:
    # Looked up by digest, a token that is nearly right takes no other time than one that is all wrong.
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
