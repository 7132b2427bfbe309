"""What answers on a port in place of what should, by what it says unasked, or to a request of HTTP."""

from __future__ import annotations

import socket

# Servers of SSH, mail and FTP speak first; one that is silent for so long (s) waits to be asked.
_GREETS_WITHIN_S = 1.0
_ANSWERS_WITHIN_S = 3.0
# Not "OPTIONS *", which is about no page: Orthanc hangs up on it.
_REQUEST = b"HEAD / HTTP/1.0\r\n\r\n"
_A_ABORT = 7  # PS3.8 9.3.8: what an upper layer answers to bytes that are no PDU
_KINDS = (
    (b"HTTP/", "a web server (HTTP)"),
    (b"SSH-", "an SSH server"),
    (b"220", "a mail or FTP server"),
    (b"\x15\x03", "a server that speaks TLS"),
    (b"MSH", "an HL7 server"),
    (b"\x0bMSH", "an HL7 server"),
)


def who_answers(host: str, port: int) -> str:
    """Return what answers on a port, in a few words; empty where that may be DICOM or cannot be told.

    Parameters
    ----------
    host : str
    port : int
    """
    try:
        with socket.create_connection((host, port), timeout=_ANSWERS_WITHIN_S) as connection:
            said = _said(connection, _GREETS_WITHIN_S)
            if not said:
                connection.sendall(_REQUEST)
                said = _said(connection, _ANSWERS_WITHIN_S)
    except OSError:
        return ""
    return _kind(said)


def _said(connection: socket.socket, within_s: float) -> bytes:
    connection.settimeout(within_s)
    try:
        return connection.recv(64)
    except TimeoutError:
        return b""


def _kind(said: bytes) -> str:
    if not said or said[0] == _A_ABORT:
        return ""
    return next((kind for start, kind in _KINDS if said.startswith(start)), "a program that does not speak DICOM")
