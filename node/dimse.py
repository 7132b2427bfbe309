"""DIMSE statuses by name, each with the judgment of what the node does when a peer answers it.

The judgment follows the Status Class (PS3.7 Annex C): Success and Warning say that the operation was performed, so the
result is delivered; a Failure says that nothing was stored, and either passes by itself or wants a person.

A status in no table is judged by its class as well. An unknown Warning is delivered. An unknown Failure is tried again:
the SOP instance UIDs are stable, so a repeat does no harm, and the end of the retries parks it for a person anyway.
"""

from dataclasses import dataclass
from enum import StrEnum

SUCCESS = 0x0000

# PS3.7 10.1.1.1.8: what the node answers to an N-EVENT-REPORT.
PROCESSING_FAILURE = 0x0110
NO_SUCH_EVENT_TYPE = 0x0113
INVALID_ARGUMENT_VALUE = 0x0115

SOP_CLASS_NOT_SUPPORTED = 0x0122
UNRECOGNIZED_OPERATION = 0x0211
# Cannot understand (0xCxxx): what pynetdicom answers for a handler that raised.
FAULT = 0xC211


class Outcome(StrEnum):
    """What follows from a status."""

    DELIVERED = "delivered"
    TRY_AGAIN = "try again"
    PARKED = "parked"


@dataclass(frozen=True)
class Status:
    """A status as a peer answered it.

    Parameters
    ----------
    code : int
        Status (0000,0900), or Failure Reason (0008,1197) of a storage commitment result.
    name : str
        The Standard's words for it, in lower case.
    outcome : Outcome
        What the node does next.
    """

    code: int
    name: str
    outcome: Outcome

    def __str__(self) -> str:
        return f"0x{self.code:04X} ({self.name})"


_Table = tuple[tuple[int, int, str, Outcome], ...]
_DELIVERED, _TRY_AGAIN, _PARKED = Outcome.DELIVERED, Outcome.TRY_AGAIN, Outcome.PARKED

# PS3.7 Annex C.4 and C.5: failures that any service may answer. What is said of the request or of the caller does not
# pass by itself; a failure in processing, a lack of resources or a message ID in use does.
_GENERAL: _Table = (
    (0x0105, 0x0105, "no such attribute", _PARKED),
    (0x0106, 0x0106, "invalid attribute value", _PARKED),
    (0x0110, 0x0110, "processing failure", _TRY_AGAIN),
    (0x0112, 0x0112, "no such SOP instance", _PARKED),
    (0x0113, 0x0113, "no such event type", _PARKED),
    (0x0114, 0x0114, "no such argument", _PARKED),
    (0x0115, 0x0115, "invalid argument value", _PARKED),
    (0x0117, 0x0117, "invalid SOP instance", _PARKED),
    (0x0118, 0x0118, "no such SOP class", _PARKED),
    (0x0119, 0x0119, "class-instance conflict", _PARKED),
    (0x0120, 0x0120, "missing attribute", _PARKED),
    (0x0121, 0x0121, "missing attribute value", _PARKED),
    (0x0122, 0x0122, "refused: SOP class not supported", _PARKED),
    (0x0123, 0x0123, "no such action", _PARKED),
    (0x0124, 0x0124, "refused: not authorized", _PARKED),
    (0x0210, 0x0210, "duplicate invocation", _TRY_AGAIN),
    (0x0211, 0x0211, "unrecognized operation", _PARKED),
    (0x0212, 0x0212, "mistyped argument", _PARKED),
    (0x0213, 0x0213, "resource limitation", _TRY_AGAIN),
)

# PS3.7 Annex C.1 and C.3: Success, and the Warnings.
_PERFORMED: _Table = (
    (0x0000, 0x0000, "success", _DELIVERED),
    (0x0001, 0x0001, "warning", _DELIVERED),
    (0x0107, 0x0107, "warning: attribute list error", _DELIVERED),
    (0x0116, 0x0116, "warning: attribute value out of range", _DELIVERED),
)
_OTHER_WARNINGS: _Table = ((0xB000, 0xBFFF, "warning", _DELIVERED),)

# PS3.4 Table B.2-1 and PS3.7 9.1.1.1.9. A duplicate is delivered: the instance with this UID is there, and the same
# UID never carries other content. 0xA8xx is the form of 0x0122 that older toolkits still send.
_C_STORE: _Table = (
    (0x0111, 0x0111, "duplicate SOP instance", _DELIVERED),
    (0xA700, 0xA7FF, "refused: out of resources", _TRY_AGAIN),
    (0xA800, 0xA8FF, "refused: SOP class not supported", _PARKED),
    (0xA900, 0xA9FF, "error: data set does not match SOP class", _PARKED),
    (0xB000, 0xB000, "warning: coercion of data elements", _DELIVERED),
    (0xB006, 0xB006, "warning: elements discarded", _DELIVERED),
    (0xB007, 0xB007, "warning: data set does not match SOP class", _DELIVERED),
    (0xC000, 0xCFFF, "error: cannot understand", _PARKED),
)

# PS3.3 C.14.1.1. The reasons that a second store or a second request can mend are tried again: the instance is not
# there, there was no room, or the transaction UID was in use.
_FAILURE_REASON: _Table = (
    (0x0110, 0x0110, "processing failure", _TRY_AGAIN),
    (0x0112, 0x0112, "no such object instance", _TRY_AGAIN),
    (0x0119, 0x0119, "class/instance conflict", _PARKED),
    (0x0122, 0x0122, "referenced SOP class not supported", _PARKED),
    (0x0131, 0x0131, "duplicate transaction UID", _TRY_AGAIN),
    (0x0213, 0x0213, "resource limitation", _TRY_AGAIN),
)


def c_store_status(code: int) -> Status:
    """Judge the status of a C-STORE or C-ECHO response.

    Parameters
    ----------
    code : int
        Status (0000,0900).

    Returns
    -------
    Status

    References
    ----------
    DICOM PS3.4 Table B.2-1, PS3.7 9.1.1.1.9, 9.1.5.1.4 and Annex C.
    """
    return _look_up(code, _PERFORMED + _C_STORE + _GENERAL + _OTHER_WARNINGS)


def refuses_sop_class(code: int) -> bool:
    """Tell whether a status is said of a SOP class, so that another form of the same result may still be taken.

    Parameters
    ----------
    code : int
        Status (0000,0900) of a C-STORE response.

    References
    ----------
    DICOM PS3.7 9.1.1.1.9; 0xA8xx was used for it before.
    """
    return code == SOP_CLASS_NOT_SUPPORTED or 0xA800 <= code <= 0xA8FF


def n_action_status(code: int) -> Status:
    """Judge the status of an N-ACTION response to a storage commitment request.

    Parameters
    ----------
    code : int
        Status (0000,0900).

    Returns
    -------
    Status

    References
    ----------
    DICOM PS3.4 J.3.2, PS3.7 10.1.4.1.10 and Annex C.
    """
    return _look_up(code, _PERFORMED + _GENERAL + _OTHER_WARNINGS)


def failure_reason(code: int) -> Status:
    """Judge why an SCP does not commit to an instance.

    Parameters
    ----------
    code : int
        Failure Reason (0008,1197).

    Returns
    -------
    Status
        Its outcome says whether storing the instance and asking again can help.

    References
    ----------
    DICOM PS3.3 C.14.1.1.
    """
    return _look_up(code, _FAILURE_REASON)


def _look_up(code: int, table: _Table) -> Status:
    for first, last, name, outcome in table:
        if first <= code <= last:
            return Status(code, name, outcome)
    return Status(code, "a status the Standard does not list here", _TRY_AGAIN)
