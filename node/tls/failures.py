"""A failed TLS handshake in words: a few fixed ones for counting and the log, and what to do about it for a person.

Nothing of the peer's certificate enters them.
"""

from __future__ import annotations

import ssl

# X509_V_ERR_* of OpenSSL's x509_vfy.h.
_NO_AUTHORITY = (2, 18, 19, 20, 21)
_NOT_YET, _EXPIRED, _NOT_FOR_THIS, _OTHER_NAME = (9,), (10,), (26,), (62, 64)
_WEAK = (66, 67, 68)

# Alerts by which a peer says that it does not take our certificate (RFC 8446 6.2), as OpenSSL names them.
_OWN_CERTIFICATE = {
    "SSLV3_ALERT_BAD_CERTIFICATE": "bad certificate",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "unsupported certificate",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "certificate revoked",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "certificate expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "certificate unknown",
    "TLSV1_ALERT_UNKNOWN_CA": "unknown authority",
    "TLSV1_ALERT_ACCESS_DENIED": "access denied",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "certificate required",
}
_ALERT, _ENDED = "_ALERT_", "caller ended the TLS handshake"


def of_caller(failure: OSError) -> str:
    """Say why a caller's handshake failed.

    Parameters
    ----------
    failure : OSError
        Of ``SSLSocket.do_handshake`` on the server's side.

    Returns
    -------
    str
        One of few: reasons are counted.
    """
    if isinstance(failure, ssl.SSLCertVerificationError):
        return f"client certificate {_fault(failure.verify_code)}"
    if isinstance(failure, ConnectionError | ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return _ENDED
    reason = _reason(failure)
    match reason:
        case "PEER_DID_NOT_RETURN_A_CERTIFICATE":
            return "no client certificate"
        case "UNSUPPORTED_PROTOCOL" | "VERSION_TOO_LOW":
            return "TLS older than 1.2"
        case "NO_SHARED_CIPHER":
            return "no TLS cipher in common"
    if reason in _OWN_CERTIFICATE:
        return "caller does not take the node's certificate"
    return _ENDED if _ALERT in reason else "failed TLS handshake"


def of_server(failure: OSError, name: str) -> str:
    """Say why a handshake with a server failed, and what to do.

    Parameters
    ----------
    failure : OSError
    name : str
        The name that its certificate must be for.

    Returns
    -------
    str
        To go on after the server's name.
    """
    if isinstance(failure, ssl.SSLCertVerificationError):
        return _untrusted(failure.verify_code, name)
    reason = _reason(failure)
    if reason in _OWN_CERTIFICATE:
        return (
            f"does not take this node's certificate: {_OWN_CERTIFICATE[reason]}. "
            "Check tls.certificate, and that it trusts the authority that signed it."
        )
    match reason:
        case "WRONG_VERSION_NUMBER" | "RECORD_LAYER_FAILURE" | "PACKET_LENGTH_TOO_LONG" | "RECORD_TOO_SMALL":
            return "does not speak TLS on this port. Set its port for TLS, or tls to off."
        case "UNSUPPORTED_PROTOCOL" | "TLSV1_ALERT_PROTOCOL_VERSION":
            return "offers no TLS 1.2 or newer. Update or configure it."
        case "SSLV3_ALERT_HANDSHAKE_FAILURE" | "TLSV1_ALERT_INSUFFICIENT_SECURITY":
            return "shares no TLS cipher with this node, or wants a certificate. Check both, and look in its log."
    return f"ended the TLS handshake{f' ({reason})' if reason else ''}. Check that it speaks TLS on this port; its log says more."


def _reason(failure: OSError) -> str:
    """Return OpenSSL's name of what went wrong."""
    return getattr(failure, "reason", None) or ""


def _fault(code: int) -> str:
    """Say what is wrong with a certificate, its own or one that it stands on."""
    for codes, words in (
        (_NO_AUTHORITY, "of no trusted authority"),
        (_EXPIRED, "has expired"),
        (_NOT_YET, "is not valid yet"),
        (_NOT_FOR_THIS, "is not for this use"),
        (_WEAK, "is too weak"),
    ):
        if code in codes:
            return words
    return "does not hold"


def _untrusted(code: int, name: str) -> str:
    if code in _NO_AUTHORITY:
        return "has a certificate of no trusted authority. Put its authority's certificate into tls.trusted."
    if code in _EXPIRED:
        return "has a certificate that has expired. Have it renewed there."
    if code in _NOT_YET:
        return "has a certificate that is not valid yet. Check both machines' clocks."
    if code in _OTHER_NAME:
        return f"has a certificate that is not for {name}. Set tls.server_name to the name that it is for."
    return f"has a certificate that {_fault(code)} (OpenSSL's code {code}). Have it made anew."
