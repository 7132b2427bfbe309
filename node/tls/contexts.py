"""What connections are encrypted by: an SSL context for the port, and one for each destination, that follow their files.

A context is made anew where a file has changed, so nothing is left of an authority that was taken away. Associations that
stand keep the context they began with.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable

from node import log
from node.config import Destination, Listen
from node.config_types import DestinationTLS, ListenTLS
from node.errors import ConfigError
from node.tls.certificates import Files, section_of

# RFC 9325 4.2: of TLS 1.2, ephemeral elliptic curves and authenticated encryption. Those of TLS 1.3 are always on.
CIPHERS = "@SECLEVEL=2:ECDHE+AESGCM:ECDHE+CHACHA20"
# Each session of TLS 1.2 that OpenSSL keeps takes 12 kB, and it would keep 20,480. Python cannot tell it not to, so that a
# context that has so many is replaced.
SESSIONS_KEPT = 500


class Credentials:
    """An SSL context that follows its files; safe to use from many threads.

    Parameters
    ----------
    files : Files
    make : callable
        Makes the context.

    Raises
    ------
    ConfigError
        Naming the key, the file, and what to do.
    """

    def __init__(self, files: Files, make: Callable[[], ssl.SSLContext]) -> None:
        self._files, self._make = files, make
        self._lock = threading.Lock()
        self._stamp = files.stamp()
        # That it is in force was asked before the node started. A process that is started again later goes on with what there
        # is: peers then say that it has expired, and one expired certificate stops nothing else.
        self._context = self._made(in_force=False)
        self._is_of_the_files = True

    def context(self) -> ssl.SSLContext:
        """Return the context for a new connection.

        Where a file has changed since, it is made anew; where that cannot be, the last good one stays, and an alarm says
        so once for each change.
        """
        with self._lock:
            stamp = self._files.stamp()
            if stamp != self._stamp:
                self._stamp = stamp
                self._renew()
            elif self._is_of_the_files and self._context.session_stats()["number"] > SESSIONS_KEPT:
                with contextlib.suppress(ConfigError):  # a file has gone meanwhile: the next caller is told
                    self._context = self._made(in_force=False)
            return self._context

    def _renew(self) -> None:
        self._is_of_the_files = False
        try:
            self._context = self._made(in_force=True)
            self._is_of_the_files = True
        except ConfigError as error:
            log.alarm(
                "certificate.refused",
                kind=self._files.section,
                error=f"{str(error).rstrip('.')}; until then the one before stays in use.",
            )
            return
        log.event("certificate.renewed", kind=self._files.section)

    def _made(self, in_force: bool) -> ssl.SSLContext:
        self._files.check(in_force)
        try:
            return self._make()
        except OSError as error:  # changed meanwhile, or too weak for OpenSSL
            why = getattr(error, "reason", None) or error.strerror
            raise ConfigError(
                f"{self._files.section}: OpenSSL does not take its files: {why}. "
                "Have certificates made with keys of at least 2048 bits (RSA) or 256 bits (EC), and SHA-256."
            ) from None


class ClientTLS:
    """How a destination is called.

    Parameters
    ----------
    credentials : Credentials
    server_name : str
        The name that the server's certificate must be for, where names are checked, and that it is told (SNI).
    """

    def __init__(self, credentials: Credentials, server_name: str) -> None:
        self._credentials, self.server_name = credentials, server_name

    def context(self) -> ssl.SSLContext:
        """Return the context for a new connection."""
        return self._credentials.context()


def of_port(listen: Listen) -> Credentials | None:
    """Return what the node's port goes by; None where it speaks in the clear.

    Raises
    ------
    ConfigError
    """
    tls = listen.tls
    if tls is None:
        return None
    files = Files.of("listen.tls", tls)
    return Credentials(files, lambda: _server_context(files, tls.client_certificate))


def of_destination(destination: Destination) -> ClientTLS | None:
    """Return what a destination is called by; None where it is called in the clear.

    Raises
    ------
    ConfigError
    """
    tls = destination.tls
    return of_server(section_of(destination.name), tls, destination.host) if tls else None


def of_server(section: str, tls: DestinationTLS, host: str) -> ClientTLS:
    """Return what a server is called by, a destination or a receiver of audit records.

    Parameters
    ----------
    section : str
        The key of its configuration.
    tls : DestinationTLS
    host : str

    Raises
    ------
    ConfigError
    """
    files = Files.of(section, tls)
    credentials = Credentials(files, lambda: _client_context(files, tls.check_name))
    return ClientTLS(credentials, tls.server_name or host)


def of_itself(tls: ListenTLS, host: str) -> ClientTLS:
    """Return what the node's own port is called by: with its own certificate, trusting that one alone under any name.

    Raises
    ------
    ConfigError
    """
    files = Files("listen.tls", tls.certificate, tls.key, tls.certificate)
    return ClientTLS(Credentials(files, lambda: _client_context(files, check_name=False)), host)


def close_notify(connection: socket.socket | None) -> None:
    """Say that nothing more comes (RFC 8446 6.1), without waiting for the peer to say so; of plain connections nothing."""
    if isinstance(connection, ssl.SSLSocket):
        with contextlib.suppress(OSError, ValueError):  # it is over already
            connection.settimeout(0)
            connection.unwrap()


def _server_context(files: Files, client_certificate: bool) -> ssl.SSLContext:
    context = _context(ssl.PROTOCOL_TLS_SERVER, files)
    # Without tickets, each association of TLS 1.3 shows its certificate anew. A session of TLS 1.2 may be taken up again for
    # two hours, OpenSSL's default, but not once a file has changed, for it lies in this context.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_REQUIRED if client_certificate else ssl.CERT_NONE
    return context


def _client_context(files: Files, check_name: bool) -> ssl.SSLContext:
    context = _context(ssl.PROTOCOL_TLS_CLIENT, files)
    context.check_hostname = check_name
    return context


def _context(protocol: int, files: Files) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # What is named is trusted, be it an authority between, or the certificate of a peer itself.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if files.certificate and files.key:
        # The password is for none to be asked for at a terminal.
        context.load_cert_chain(files.certificate, files.key, password="")
    if files.trusted:
        context.load_verify_locations(files.trusted)
    return context
