"""Storage commitment: what an SCU asks of a PACS, and what the PACS reports back.

The N-EVENT-REPORT comes on the association of the request or on a new one to the node's receiver; ``answer_event_report``
serves both.

References
----------
DICOM PS3.4 Annex J, PS3.3 C.14.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydicom import Dataset

from node import dimse
from node.dimse import Status
from node.errors import ReceiveError

# PS3.4 J.3.5: the SOP class has one well-known instance.
STORAGE_COMMITMENT_PUSH_MODEL = "1.2.840.10008.1.20.1"
STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"

# PS3.4 J.3.2.1.1 and J.3.3.1.1.
REQUEST_STORAGE_COMMITMENT = 1
REQUEST_SUCCESSFUL, REQUEST_COMPLETE_FAILURES_EXIST = 1, 2

_UID = re.compile(r"[0-9.]{1,64}")  # PS3.5 9.1


class NoSuchEventType(ReceiveError):
    """An event this SOP class does not have."""

    status = dimse.NO_SUCH_EVENT_TYPE


class InvalidArgumentValue(ReceiveError):
    """Event information that does not say which transaction or instance it is about."""

    status = dimse.INVALID_ARGUMENT_VALUE


@dataclass(frozen=True)
class CommitmentResult:
    """What an SCP says about the instances of one request.

    Parameters
    ----------
    transaction_uid : str
        The request's.
    committed : tuple of str
        SOP instance UIDs the SCP keeps from now on.
    failed : tuple of (str, Status)
        SOP instance UIDs it does not, and why; the outcome says whether to store and ask again.
    """

    transaction_uid: str
    committed: tuple[str, ...]
    failed: tuple[tuple[str, Status], ...]


def action_information(references: Sequence[tuple[str, str]], transaction_uid: str) -> Dataset:
    """Write the request for commitment to instances.

    Parameters
    ----------
    references : Sequence of (SOP class UID, SOP instance UID)
        At least one.
    transaction_uid : str
        Names the request; the result carries it.

    Returns
    -------
    Dataset
        Action Information of an N-ACTION of type 1 (PS3.4 Table J.3-1).
    """
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = [_reference(*reference) for reference in references]
    return information


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def commitment_result(event_type: int, information: Dataset) -> CommitmentResult:
    """Read the result of a request.

    Parameters
    ----------
    event_type : int
        Event Type ID: 1 where all is committed, 2 where failures exist.
    information : Dataset
        Event Information (PS3.4 Table J.3-2).

    Returns
    -------
    CommitmentResult

    Raises
    ------
    NoSuchEventType, InvalidArgumentValue
        With the status to answer.
    """
    if event_type not in (REQUEST_SUCCESSFUL, REQUEST_COMPLETE_FAILURES_EXIST):
        raise NoSuchEventType(f"event type {event_type} is not defined")
    committed = information.get("ReferencedSOPSequence") or []
    failed = information.get("FailedSOPSequence") or []
    return CommitmentResult(
        transaction_uid=_uid(information, "TransactionUID"),
        committed=tuple(_uid(item, "ReferencedSOPInstanceUID") for item in committed),
        failed=tuple((_uid(item, "ReferencedSOPInstanceUID"), _reason(item)) for item in failed),
    )


def _uid(item: Dataset, keyword: str) -> str:
    value = str(item.get(keyword, ""))
    if not _UID.fullmatch(value):
        raise InvalidArgumentValue(f"{keyword} is missing or no UID")
    return value


def _reason(item: Dataset) -> Status:
    value = item.get("FailureReason")
    return dimse.failure_reason(value if isinstance(value, int) else dimse.PROCESSING_FAILURE)


def answer_event_report(event_type: int, information: Dataset, keep: Callable[[CommitmentResult], object]) -> int:
    """Take an N-EVENT-REPORT and say what to answer.

    Parameters
    ----------
    event_type : int
        Event Type ID.
    information : Dataset
        Event Information.
    keep : callable
        Makes the result durable. Success is answered after it returns; what it raises is the caller's.

    Returns
    -------
    int
        Status (0000,0900) of the N-EVENT-REPORT response.
    """
    try:
        keep(commitment_result(event_type, information))
    except ReceiveError as refusal:
        return refusal.status
    return dimse.SUCCESS
