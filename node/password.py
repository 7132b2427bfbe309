"""The status page's password: a file of one line, from which nobody reads it back.

The line is ``scrypt$LOG2_N$R$P$SALT$HASH``, salt and hash in base64: who raises the cost later still knows the old lines.

References
----------
RFC 7914 (scrypt); OWASP Password Storage Cheat Sheet, for the cost.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import stat
import unicodedata
import uuid
from pathlib import Path
from typing import NamedTuple

from node.durable import write_new
from node.errors import ConfigError

SHORTEST, LONGEST = 10, 256
# 32 MiB and a fifth of a second for each guess.
LOG2_N, R, P = 15, 8, 3
_SALT_BYTES, _HASH_BYTES = 16, 32
_MEMORY_BYTES = 64 << 20
_LINE_BYTES = 512


class Stamp(NamedTuple):
    """By what a changed file is known."""

    modified_ns: int
    inode: int
    size: int


def write(path: Path, password: str) -> None:
    """Write a password's line to a file that this user alone may read, in place of an older one.

    Parameters
    ----------
    path : Path
    password : str

    Raises
    ------
    ConfigError
        Where the password is too short or too long, or the file cannot be written.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise ConfigError(f"the password must have {SHORTEST} to {LONGEST} characters")
    made = path.with_name(f".{uuid.uuid4().hex}")
    try:
        write_new(made, (hashed(password).encode("ascii"), b"\n"))
        made.rename(path)
    except OSError as error:
        made.unlink(missing_ok=True)
        raise ConfigError(f"{path}: cannot be written ({error.strerror}). Name another web.password_file.") from None


def read(path: Path) -> str:
    """Return the line in a password's file.

    Raises
    ------
    ConfigError
        Where it is not there, not a password's line, or every user of the machine may read it.
    """
    try:
        if stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO:
            raise ConfigError(
                f"web.password_file: {path}: every user of this machine may read it. Take that away: chmod o= {path}"
            )
        with path.open("rb") as file:
            line = file.read(_LINE_BYTES).decode("ascii", "replace").strip()
    except FileNotFoundError:
        raise ConfigError(f"web.password_file: {path}: no such file. Make it: cxr-node password") from None
    except OSError as error:
        raise ConfigError(f"web.password_file: {path}: cannot be read ({error.strerror}).") from None
    if _parsed(line) is None:
        raise ConfigError(f"web.password_file: {path}: holds no password. Make it anew: cxr-node password")
    return line


def stamp(path: Path) -> Stamp | None:
    """Return by what the file is known as it lies there now, None where it does not."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(found.st_mtime_ns, found.st_ino, found.st_size)


def hashed(password: str) -> str:
    """Return a password's line, another one each time.

    Examples
    --------
    >>> is_right("correct horse", hashed("correct horse")), is_right("correct hoarse", hashed("correct horse"))
    (True, False)
    """
    salt = os.urandom(_SALT_BYTES)
    return "$".join(("scrypt", str(LOG2_N), str(R), str(P), _text(salt), _text(_digest(password, LOG2_N, R, P, salt))))


def is_right(password: str, line: str) -> bool:
    """Tell whether a line is this password's, in a time that does not depend on how much of it is right."""
    parts = _parsed(line)
    if parts is None:
        return False
    (log2_n, r, p), salt, expected = parts
    return hmac.compare_digest(_digest(password, log2_n, r, p, salt), expected)


def _parsed(line: str) -> tuple[tuple[int, int, int], bytes, bytes] | None:
    try:
        kind, log2_n, r, p, salt, expected = line.split("$")
        cost = int(log2_n), int(r), int(p)
        found = base64.b64decode(salt, validate=True), base64.b64decode(expected, validate=True)
    except (ValueError, binascii.Error):
        return None
    is_ours = kind == "scrypt" and 10 <= cost[0] <= LOG2_N + 1 and 1 <= cost[1] <= R and 1 <= cost[2] <= 16
    return (cost, *found) if is_ours and len(found[1]) == _HASH_BYTES else None


def _digest(password: str, log2_n: int, r: int, p: int, salt: bytes) -> bytes:
    typed = unicodedata.normalize("NFKC", password).encode(
        "utf-8", "surrogatepass"
    )  # keyboards compose letters in two ways
    return hashlib.scrypt(typed, salt=salt, n=1 << log2_n, r=r, p=p, maxmem=2 * _MEMORY_BYTES, dklen=_HASH_BYTES)


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
