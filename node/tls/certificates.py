"""Certificates and private keys: read from their files, held against each other, and when they expire.

What is wrong is said before OpenSSL sees it, by key of the configuration and file, for OpenSSL's own words name neither.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from node.config import Settings
from node.config_types import DestinationTLS, ListenTLS
from node.errors import ConfigError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

# cryptography is imported where it is used: it costs 47 ms of CPU time, which a node without TLS need not spend.

# What tells a file that was changed from itself: when, how long, which.
Stamp = tuple[tuple[int, int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one section ``tls`` of the configuration.

    Parameters
    ----------
    section : str
        Its key, such as ``listen.tls``.
    certificate, key, trusted : Path or None
    """

    section: str
    certificate: Path | None
    key: Path | None
    trusted: Path | None

    @classmethod
    def of(cls, section: str, tls: ListenTLS | DestinationTLS) -> Files:
        """Return the files that a section names."""
        return cls(section, tls.certificate, tls.key, tls.trusted)

    def stamp(self) -> Stamp:
        """Return what changes when a file does."""
        return tuple(_stamp(path) for path in (self.certificate, self.key, self.trusted) if path)

    def check(self, in_force: bool = True, with_key: bool = True) -> None:
        """Check that the files are there, whole, and belong together.

        Parameters
        ----------
        in_force : bool
            Whether they must be in force now.
        with_key : bool
            Whether the private key is looked at, which is the business of those alone who use it.

        Raises
        ------
        ConfigError
        """
        if self.certificate:
            certificate = _certificates(f"{self.section}.certificate", self.certificate)[0]
            if in_force:
                _check_dates(f"{self.section}.certificate", self.certificate, certificate)
        if self.certificate and self.key and with_key:
            key = _key(f"{self.section}.key", self.key)
            if certificate.public_key() != key.public_key():
                raise ConfigError(
                    f"{self.section}.key: {self.key}: is not the key of {self.certificate}. "
                    "Name the key that the certificate was requested with."
                )
        if self.trusted:
            trusted = _certificates(f"{self.section}.trusted", self.trusted)
            if in_force and all(each.not_valid_after_utc < datetime.now(UTC) for each in trusted):
                raise ConfigError(
                    f"{self.section}.trusted: {self.trusted}: every certificate in it has expired. "
                    "Put those that hold now in its place."
                )


def all_files(settings: Settings) -> list[Files]:
    """Return the files of every section ``tls`` that a configuration has."""
    sections: dict[str, ListenTLS | DestinationTLS | None] = {"listen.tls": settings.listen.tls}
    sections |= {section_of(each.name): each.tls for each in settings.destinations}
    sections["audit.tls"] = settings.audit.tls
    return [Files.of(section, tls) for section, tls in sections.items() if tls]


def check_all(settings: Settings) -> None:
    """Check the files of every section ``tls`` before the node starts.

    Raises
    ------
    ConfigError
        Naming the first that cannot be used, with its key and what to do.
    """
    for files in all_files(settings):
        files.check()


def section_of(destination: str) -> str:
    """Return how the section ``tls`` of a destination is spoken of."""
    return f"destinations.{destination}.tls"


def expires(section: str, path: Path) -> datetime:
    """Return when a certificate expires.

    Raises
    ------
    ConfigError
        When there is none in the file.
    """
    return _certificates(f"{section}.certificate", path)[0].not_valid_after_utc


def days_left(until: datetime) -> int:
    """Return how many whole days there are until then; negative once it is over."""
    return (until - datetime.now(UTC)).days


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _check_dates(subject: str, path: Path, certificate: x509.Certificate) -> None:
    now = datetime.now(UTC)
    if certificate.not_valid_after_utc < now:
        raise ConfigError(
            f"{subject}: {path}: expired on {certificate.not_valid_after_utc:%Y-%m-%d}. "
            "Have it renewed, and put the new one in its place."
        )
    if certificate.not_valid_before_utc > now:
        raise ConfigError(
            f"{subject}: {path}: is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC. "
            "Check this machine's clock, or wait."
        )


def _certificates(subject: str, path: Path) -> list[x509.Certificate]:
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificates(_read(subject, path))
        for each in found:  # which it is asked for later, and may not be able to say
            _ = each.not_valid_after_utc, each.not_valid_before_utc, each.public_key()
    except _not_understood():
        raise ConfigError(
            f"{subject}: {path}: holds no certificate that can be read. It must be PEM: "
            "'-----BEGIN CERTIFICATE-----'; openssl x509 -inform der makes it of a binary one."
        ) from None
    return found


def _key(subject: str, path: Path) -> PrivateKeyTypes:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _read(subject, path)
    # As PostgreSQL and OpenSSH have it, but a group may read it: Debian's ssl-cert is one for just that.
    if stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO:
        raise ConfigError(f"{subject}: {path}: every user of this machine may read it. Take that away: chmod o= {path}")
    try:
        return load_pem_private_key(data, None)
    except TypeError:
        raise ConfigError(
            f"{subject}: {path}: has a password, and nobody is there to type it. Take it away: openssl pkey."
        ) from None
    except _not_understood():
        raise ConfigError(
            f"{subject}: {path}: holds no private key that can be read. It must be PEM: '-----BEGIN PRIVATE KEY-----'."
        ) from None


def _not_understood() -> tuple[type[Exception], ...]:
    """Return what cryptography raises at bytes that it cannot make sense of, or at an algorithm that it does not know."""
    from cryptography.exceptions import UnsupportedAlgorithm

    return ValueError, UnsupportedAlgorithm


def _read(subject: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{subject}: {path}: no such file. Put it there, or name the right one.") from None
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise ConfigError(f"{subject}: {path}: cannot be read: {why}. Give the service's user the right to.") from None
