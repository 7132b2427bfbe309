"""Who may see and do what on the status page, asked of each request.

Patients' data and buttons are for who is logged in alone. Where no password is configured nobody is, on this machine
either: every user of it reaches the page.
"""

from __future__ import annotations

import hmac
import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from node import audit, log, password
from node.config import Web
from node.errors import ConfigError
from node.rate import Rate
from node.web.sessions import LIFE_S, Session, Sessions

WINDOW_S = 60.0
# Attempts in that time: of one address, and of all, for each costs a fifth of a second.
ATTEMPTS, ATTEMPTS_OF_ALL = 6, 60


class Access:
    """The page's doorkeeper.

    Parameters
    ----------
    web : Web

    Raises
    ------
    ConfigError
        Where the password's file cannot be used.
    """

    def __init__(self, web: Web) -> None:
        self._file, self._url, self._host = web.password_file, urlsplit(web.url), web.host
        self._sessions, self._rate = Sessions(), Rate(WINDOW_S)
        self._is_secure = self._url.scheme == "https"
        # With this prefix a browser takes the cookie over TLS alone, and no neighbor under the same domain can set it.
        self._cookie = "__Host-session" if self._is_secure else "cxr-node-session"
        if self._file:
            password.read(self._file)

    @property
    def has_login(self) -> bool:
        """Whether anybody can log in."""
        return self._file is not None

    def session(self, request: Request) -> Session | None:
        """Return the session that a request belongs to, None where it belongs to none."""
        token = request.cookies.get(self._cookie)
        if not (token and self._file):
            return None
        stamp = password.stamp(self._file)
        return self._sessions.find(token, stamp) if stamp else None

    def need_session(self, request: Request) -> Session:
        """Return the session that a request belongs to.

        Raises
        ------
        HTTPException
            403 where it belongs to none.
        """
        session = self.session(request)
        if session is None:
            raise HTTPException(403, "Log in first: this is shown, and done, for who is logged in alone.")
        return session

    def check_form(self, session: Session, form_token: str) -> None:
        """Refuse a form that is not of this session's own pages.

        Raises
        ------
        HTTPException
            403.
        """
        if not hmac.compare_digest(session.form_token.encode(), form_token.encode("utf-8", "surrogateescape")):
            raise HTTPException(403, "This form is not of this login. Go back, load the page anew, and try again.")

    def check_name(self, request: Request) -> None:
        """Refuse a request under a name that is not the page's.

        A name of another site that leads here would make this page a part of that site, for the browser (DNS rebinding).

        Raises
        ------
        HTTPException
            421.
        """
        name = _host_name(request.headers.get("host", ""))
        if not (_is_ip(name) or name in {"localhost", self._host.lower(), (self._url.hostname or "localhost")}):
            raise HTTPException(421, "The page is not known under this name. If it should be, name it in web.url.")

    def check_origin(self, request: Request) -> None:
        """Refuse what another site has the browser send.

        Raises
        ------
        HTTPException
            403.
        """
        origin = request.headers.get("origin")
        own = {f"http://{request.headers.get('host', '')}", self._url.geturl()}
        is_foreign = request.headers.get("sec-fetch-site", "same-origin") != "same-origin"
        if is_foreign or (origin is not None and origin not in own):
            raise HTTPException(403, "This was sent by the page of another site.")

    def log_in(self, request: Request, typed: str) -> str:
        """Return the token of a new session; what session the browser had ends.

        Raises
        ------
        HTTPException
            401 where the password is wrong, 429 where there were too many attempts.
        """
        address = request.client.host if request.client else ""
        if not self._file or len(typed) > password.LONGEST:
            raise HTTPException(401, "The password is not right.")
        if not (self._rate.admits((address,), ATTEMPTS) and self._rate.admits(("", ""), ATTEMPTS_OF_ALL)):
            log.repeated("login.held_back", "", address=address)
            raise HTTPException(429, "There were too many attempts. Wait a minute.", {"retry-after": f"{WINDOW_S:.0f}"})
        stamp = password.stamp(self._file)
        is_right = password.is_right(typed, _line(self._file))
        audit.logged_in(address, is_right)
        if not is_right:
            log.repeated("login.refused", "", address=address)
            raise HTTPException(401, "The password is not right.")
        log.event("login.accepted", address=address)
        self._sessions.close(request.cookies.get(self._cookie, ""))
        return self._sessions.open(stamp)

    def log_out(self, request: Request) -> None:
        """End the session of a request."""
        self._sessions.close(request.cookies.get(self._cookie, ""))
        audit.logged_out(request.client.host if request.client else "")

    def give(self, response: Response, token: str) -> None:
        """Have the browser keep a session's token, out of reach of scripts and of other sites."""
        self._set(response, token, int(LIFE_S))

    def take_back(self, response: Response) -> None:
        """Have the browser forget its token."""
        self._set(response, "", 0)

    def _set(self, response: Response, token: str, life_s: int) -> None:
        response.set_cookie(
            self._cookie, token, max_age=life_s, secure=self._is_secure, httponly=True, samesite="strict"
        )


def _line(file: Path) -> str:
    """Return the password's line as it is now; none where the file was taken away, and then no password is right."""
    try:
        return password.read(file)
    except ConfigError:
        return ""


def _host_name(header: str) -> str:
    """Return the name in a Host header, without its port, as it is compared."""
    try:
        return (urlsplit(f"//{header}").hostname or "").lower()
    except ValueError:
        return ""


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
