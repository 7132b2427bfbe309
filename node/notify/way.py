"""What the ways to tell somebody have in common: how long they wait, whom they trust, and how they say no."""

from __future__ import annotations

import ssl
from pathlib import Path

from node.errors import ConfigError, NodeError

# For a connection, and for each answer (s): nobody waits for a message but the messages behind it.
TIMEOUT_S = 10.0


class NotSent(NodeError):
    """A message that its receiver has not taken; it is tried again."""


def context(section: str, trusted: Path | None) -> ssl.SSLContext:
    """Return what a server is held against: the authorities of a file, or those of the system.

    Raises
    ------
    ConfigError
        When the file cannot be used.
    """
    try:
        made = ssl.create_default_context(cafile=str(trusted) if trusted else None)
    except OSError as error:  # ssl.SSLError, too
        raise ConfigError(
            f"{section}.trusted: {trusted} cannot be used ({_why(error)}). It must hold certificates, PEM."
        ) from None
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # what is named is trusted, be it the server's own certificate
    return made


def secret(key: str, path: Path) -> str:
    """Return the first line of a file that holds a secret.

    Raises
    ------
    ConfigError
        When it cannot be read, is empty, or every user of the machine may read it.
    """
    try:
        lines, is_public = path.read_text("utf-8").splitlines(), path.stat().st_mode & 0o007
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{key}: {path} cannot be read ({_why(error)})") from None
    if is_public:
        raise ConfigError(f"{key}: every user may read {path}; set its rights to 0600")
    if not lines or not lines[0].strip():
        raise ConfigError(f"{key}: {path} is empty; its first line must be the secret")
    return lines[0].strip()


def why(error: Exception) -> str:
    """Return what kept a message, in words that hold nothing of the message."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not trusted ({error.verify_message})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return _why(error)


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
