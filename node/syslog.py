"""Messages to a syslog receiver: their form, and the two ways that DICOM has for them.

References
----------
DICOM PS3.15 A.6; RFC 5424 (the form), RFC 5425 (TLS), RFC 5426 (UDP).
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

# PS3.15 A.6: facility 10, security and authorization; severity 5, normal but significant, or 4, a warning.
FACILITY, NOTICE, WARNING = 10, 5, 4
MESSAGE_ID = "DICOM+RFC3881"
APP_NAME = "cxr-node"
_BOM = b"\xef\xbb\xbf"
TIMEOUT_S = 10.0


def message(content: bytes, moment: datetime, severity: int = NOTICE) -> bytes:
    """Return a syslog message.

    Parameters
    ----------
    content : bytes
        UTF-8, without a byte order mark.
    moment : datetime
        Of the event, with its time zone.
    severity : {NOTICE, WARNING}
    """
    stamp = moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    head = f"<{FACILITY * 8 + severity}>1 {stamp} {host_name()} {APP_NAME} {os.getpid()} {MESSAGE_ID} - "
    return head.encode() + _BOM + content


def host_name() -> str:
    """Return this machine's name as a syslog header may hold it; "-" where it has none."""
    name = "".join(character for character in socket.gethostname() if "!" <= character <= "~")
    return name[:255] or "-"


class Transport(Protocol):
    """A way to a syslog receiver."""

    def send(self, message: bytes) -> None:
        """Send one message; raises OSError where it cannot be sent."""

    def close(self) -> None:
        """Let go of the receiver; a second call does nothing."""


class OverUDP:
    """One datagram a message. Whether it arrives, nobody tells.

    Parameters
    ----------
    host : str
    port : int
    """

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port

    def send(self, message: bytes) -> None:
        """Send one message.

        Raises
        ------
        OSError
            When the receiver's name is not known, there is no way to it, or the message is too long for a datagram.
        """
        family, kind, protocol, _, address = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as sender:
            sender.sendto(message, address)

    def close(self) -> None:
        """Do nothing: there is no connection."""


class OverTLS:
    """A TLS connection that is kept; each message with its length before it (RFC 5425 4.3.1).

    Parameters
    ----------
    host : str
    port : int
    context : callable
        Gives the SSL context for a new connection; may raise OSError.
    server_name : str
        The name that the receiver's certificate must be for.
    """

    def __init__(self, host: str, port: int, context: Callable[[], ssl.SSLContext], server_name: str) -> None:
        self._host, self._port, self._context, self._server_name = host, port, context, server_name
        self._connection: ssl.SSLSocket | None = None

    def send(self, message: bytes) -> None:
        """Send one message.

        Raises
        ------
        OSError
            When there is no connection, or it broke; what was sent last may then not have arrived (RFC 5425 has no answers).
        """
        framed = b"%d %s" % (len(message), message)
        try:
            if self._connection and self._has_ended(self._connection):
                self.close()
            self._connection = self._connection or self._connect()
            self._connection.sendall(framed)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection:
            connection.close()

    def _connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection((self._host, self._port), TIMEOUT_S)
        try:
            return self._context().wrap_socket(plain, server_hostname=self._server_name)
        except OSError:
            plain.close()
            raise

    @staticmethod
    def _has_ended(connection: ssl.SSLSocket) -> bool:
        """Tell whether the receiver has hung up: it says nothing, so whatever there is to read is its end."""
        connection.setblocking(False)
        try:
            return connection.recv(1) == b""
        except (ssl.SSLWantReadError, BlockingIOError):
            return False
        finally:
            connection.settimeout(TIMEOUT_S)
