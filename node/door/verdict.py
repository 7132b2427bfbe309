"""How the door says no: an A-ASSOCIATE-RJ before the association, an A-ABORT for what breaks the protocol or a limit."""

from __future__ import annotations

import struct
from dataclasses import dataclass

# PS3.8 Table 9-26, of an A-ABORT whose source is the service provider.
NOT_SPECIFIED, UNRECOGNIZED_PDU, UNEXPECTED_PDU = 0, 1, 2
UNEXPECTED_PARAMETER, INVALID_PARAMETER = 5, 6
_A_ASSOCIATE_RJ, _A_ABORT, _SERVICE_PROVIDER = 3, 7, 2


class Violation(Exception):
    """The peer broke the protocol or a limit: its association, or the request for one, ends with an A-ABORT.

    Parameters
    ----------
    reason : str
        A few fixed words; the log and the metrics count by them.
    diagnostic : int
        The reason that the A-ABORT gives (PS3.8 Table 9-26).
    """

    def __init__(self, reason: str, diagnostic: int = NOT_SPECIFIED) -> None:
        super().__init__(reason)
        self.reason, self.diagnostic = reason, diagnostic

    def pdu(self) -> bytes:
        """Return the A-ABORT."""
        return struct.pack(">BxLxxBB", _A_ABORT, 4, _SERVICE_PROVIDER, self.diagnostic)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an association is not accepted.

    Parameters
    ----------
    reason : str
        The Standard's words.
    result, source, diagnostic : int
        The fields of the A-ASSOCIATE-RJ.

    References
    ----------
    DICOM PS3.8 Table 9-21.
    """

    reason: str
    result: int
    source: int
    diagnostic: int

    def pdu(self) -> bytes:
        """Return the A-ASSOCIATE-RJ."""
        return struct.pack(">BxLxBBB", _A_ASSOCIATE_RJ, 4, self.result, self.source, self.diagnostic)


APPLICATION_CONTEXT = Rejection("application context name not supported", 1, 1, 2)
CALLING_AE_TITLE = Rejection("calling AE title not recognized", 1, 1, 3)
CALLED_AE_TITLE = Rejection("called AE title not recognized", 1, 1, 7)
PROTOCOL_VERSION = Rejection("protocol version not supported", 1, 2, 2)
TEMPORARY_CONGESTION = Rejection("temporary congestion", 2, 3, 1)
NO_ROOM = Rejection("temporary congestion: the disk is short of room", 2, 3, 1)
LOCAL_LIMIT = Rejection("local limit exceeded", 2, 3, 2)
