"""Results to a PACS: a Storage SCU for each destination, on an association that is kept while there is something to send.

An association costs about 20 ms to open and release, an object of 10 kB 2.5 ms (DCMTK) to 7 ms (Orthanc) to store
(measured), so the association is reused, and released after five idle seconds. Every way a PACS can say no becomes
``TryAgain`` or ``Parked``, in words an administrator can act on, without a word about the patient.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit
from pynetdicom import build_context
from pynetdicom.dimse_primitives import C_ECHO, C_STORE, N_ACTION
from pynetdicom.dsutils import encode
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    EnhancedSRStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
    StorageCommitmentPushModel,
    Verification,
)

from node import commitment, dimse
from node.association import Peer, RequestedAssociation
from node.commitment import CommitmentResult
from node.config import Destination
from node.dimse import Outcome, Status
from node.errors import NotTaken, Parked, TryAgain
from node.part10 import Part10File
from node.standing import StandingAssociation
from node.tls.contexts import of_destination

# Peers keep an idle association for 30 to 60 s (measured); a PACS that counts associations gets its own back before.
IDLE_S = 5.0

# Reliability: seconds to ten minutes between attempts, and no giving up before a long weekend has passed.
FIRST_BACKOFF_S = 2.0
LONGEST_BACKOFF_S = 600.0
GIVE_UP_AFTER_S = 72 * 3600.0

# What `node.report` makes, and nothing else: a PACS is asked for no more than it gets.
STORED_SOP_CLASSES = (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    BasicTextSRStorage,
    SecondaryCaptureImageStorage,
)
# By what `report.extra` calls them; proposed where it does.
EXTRA_SOP_CLASSES = {
    "box": ComprehensiveSRStorage,
    "key_object": KeyObjectSelectionDocumentStorage,
    "pdf": EncapsulatedPDFStorage,
}
_UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_MEDIUM_PRIORITY = 0  # PS3.7 Table 9.3-1


@dataclass(frozen=True)
class Stored:
    """An instance that a PACS has taken.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid : str
        Which of the alternatives it is; storage commitment is requested for it.
    transfer_syntax_uid : str
        Transfer syntax it was sent in.
    status : Status
        0x0000, or the warning it was taken with.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    status: Status


class StorageSCU:
    """Stores results at one destination, on one association at a time; safe to use from many threads.

    Parameters
    ----------
    destination : Destination
    calling_ae_title : str
        AE title of this node.
    keep_commitment : callable, optional
        Makes a storage commitment result durable, where the destination reports it on the association of the request.
        It is called from another thread. Without it such a report is refused, and the destination may report it again.
    idle_s : float
        How long an idle association is kept.
    extra : sequence of str
        Keys of `EXTRA_SOP_CLASSES` that are proposed besides.

    Notes
    -----
    Methods raise ``TryAgain`` where the clock acts next and ``Parked`` where a person does. None of them waits without
    end: 10 s for a connection, 30 s for an association, 30 s for an answer.
    """

    def __init__(
        self,
        destination: Destination,
        calling_ae_title: str,
        keep_commitment: Callable[[CommitmentResult], object] | None = None,
        idle_s: float = IDLE_S,
        extra: Sequence[str] = (),
    ) -> None:
        at = (destination.ae_title, destination.host, destination.port)
        self.peer = Peer(destination.name, *at, calling_ae_title, of_destination(destination))
        self._keep_commitment = keep_commitment
        self._association = StandingAssociation(self.peer, _proposed_contexts(extra), self._on_event_report, idle_s)

    def store(self, alternatives: Sequence[Path]) -> Stored:
        """Store the first of several forms of one result that the destination takes.

        Parameters
        ----------
        alternatives : Sequence of Path
            DICOM files in order of preference, such as a Comprehensive, an Enhanced and a Basic Text SR.

        Returns
        -------
        Stored

        Raises
        ------
        TryAgain, Parked
            NotTaken where it takes none of these forms.
        """
        files = [Part10File.read(path) for path in alternatives]
        return self._association.do(lambda association: self._store_first(association, files))

    def echo(self) -> float:
        """Verify the destination by a C-ECHO.

        Returns
        -------
        float
            Milliseconds the answer took, without opening the association.

        Raises
        ------
        TryAgain, Parked
        """
        return self._association.do(self._echo)

    def request_commitment(self, references: Sequence[tuple[str, str]], transaction_uid: str) -> None:
        """Ask the destination to commit to instances it has stored. The result comes later, by N-EVENT-REPORT.

        Parameters
        ----------
        references : Sequence of (SOP class UID, SOP instance UID)
        transaction_uid : str
            Names the request; a new one for each.

        Raises
        ------
        TryAgain, Parked
        """
        self._association.do(lambda association: self._request_commitment(association, references, transaction_uid))

    def close_if_idle(self) -> None:
        """Release the association where nothing was sent for ``idle_s``; it also happens by itself."""
        self._association.close_if_idle()

    def close(self) -> None:
        """Release the association, if there is one; the next call opens it again."""
        self._association.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _store_first(self, association: RequestedAssociation, files: Sequence[Part10File]) -> Stored:
        refused: Status | None = None
        for file, transfer_syntax_uid in _sendable(files, association.accepted):
            status = self._store(association, file, transfer_syntax_uid)
            if status.outcome is Outcome.DELIVERED:
                return Stored(file.sop_class_uid, file.sop_instance_uid, transfer_syntax_uid, status)
            if not dimse.refuses_sop_class(status.code):
                raise self._refusal(status, f"SOP instance {file.sop_instance_uid}")
            refused = status
        if refused is not None:
            raise NotTaken(str(self._refusal(refused, f"SOP instance {files[-1].sop_instance_uid}")))
        raise NotTaken(f"{self.peer} accepts no form of this result. Let it accept {_forms(files)}.")

    def _store(self, association: RequestedAssociation, file: Part10File, transfer_syntax_uid: str) -> Status:
        request = C_STORE()
        request.AffectedSOPClassUID = file.sop_class_uid
        request.AffectedSOPInstanceUID = file.sop_instance_uid
        request.Priority = _MEDIUM_PRIORITY
        request.DataSet = BytesIO(file.data_set(transfer_syntax_uid))
        response = association.ask(request, association.accepted[file.sop_class_uid, transfer_syntax_uid])
        return dimse.c_store_status(response.Status)

    def _echo(self, association: RequestedAssociation) -> float:
        context_id, _ = self._context_for(association, Verification)
        request = C_ECHO()
        request.AffectedSOPClassUID = Verification
        started_s = time.perf_counter()
        status = dimse.c_store_status(association.ask(request, context_id).Status)
        if status.outcome is not Outcome.DELIVERED:
            raise self._refusal(status, "a C-ECHO")
        return (time.perf_counter() - started_s) * 1000

    def _request_commitment(
        self, association: RequestedAssociation, references: Sequence[tuple[str, str]], transaction_uid: str
    ) -> None:
        context_id, transfer_syntax_uid = self._context_for(association, StorageCommitmentPushModel)
        information = commitment.action_information(references, transaction_uid)
        request = N_ACTION()
        request.RequestedSOPClassUID = commitment.STORAGE_COMMITMENT_PUSH_MODEL
        request.RequestedSOPInstanceUID = commitment.STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
        request.ActionTypeID = commitment.REQUEST_STORAGE_COMMITMENT
        request.ActionInformation = BytesIO(encode(information, UID(transfer_syntax_uid).is_implicit_VR, True))
        status = dimse.n_action_status(association.ask(request, context_id).Status)
        if status.outcome is not Outcome.DELIVERED:
            raise self._refusal(status, f"storage commitment {transaction_uid}")

    def _context_for(self, association: RequestedAssociation, abstract_syntax: str) -> tuple[int, str]:
        for transfer_syntax_uid in _UNCOMPRESSED:
            context_id = association.accepted.get((abstract_syntax, transfer_syntax_uid))
            if context_id is not None:
                return context_id, transfer_syntax_uid
        raise Parked(f"{self.peer} does not accept {UID(abstract_syntax).name}. Let it, or do not ask it for that.")

    def _refusal(self, status: Status, what: str) -> TryAgain | Parked:
        # The peer's Error Comment stays out: it may name the patient.
        if status.outcome is Outcome.TRY_AGAIN:
            return TryAgain(f"{self.peer} answered {status} to {what}. If this lasts, look in its log.")
        return Parked(f"{self.peer} answered {status} to {what}. Its log says why; mend that, then run cxr-node retry.")

    def _on_event_report(self, event: Any) -> tuple[int, None]:
        if self._keep_commitment is None:
            return dimse.PROCESSING_FAILURE, None
        status = commitment.answer_event_report(event.event_type, event.event_information, self._keep_commitment)
        return status, None


def _proposed_contexts(extra: Sequence[str] = ()) -> list[PresentationContext]:
    """Each transfer syntax in a context of its own, so that the peer's preference never forces a new encoding."""
    stored = dict.fromkeys((*STORED_SOP_CLASSES, *(EXTRA_SOP_CLASSES[name] for name in extra)))
    pairs = [(sop_class, syntax) for sop_class in stored for syntax in _UNCOMPRESSED]
    pairs.append((SecondaryCaptureImageStorage, JPEGBaseline8Bit))
    pairs += [(service, ImplicitVRLittleEndian) for service in (StorageCommitmentPushModel, Verification)]
    return [build_context(abstract_syntax, syntax) for abstract_syntax, syntax in pairs]


def _sendable(files: Sequence[Part10File], accepted: Any) -> Iterator[tuple[Part10File, str]]:
    """Yield the files the peer accepts, each with the transfer syntax to send it in: its own before any other."""
    for file in files:
        syntaxes = (file.transfer_syntax_uid, *_UNCOMPRESSED)
        agreed = [syntax for syntax in syntaxes if (file.sop_class_uid, syntax) in accepted]
        if agreed:
            yield file, agreed[0]


def _forms(files: Sequence[Part10File]) -> str:
    names = [UID(file.sop_class_uid).name for file in files]
    return f"{' or '.join(names)} in {ImplicitVRLittleEndian.name} or {ExplicitVRLittleEndian.name}"


def backoff_s(attempt: int, key: str = "") -> float:
    """Wait before the next attempt: 2 s, 4 s, 8 s and so on up to 10 min, less up to a quarter.

    Parameters
    ----------
    attempt : int
        Attempts made so far, from 1.
    key : str
        What is being delivered. It spreads many deliveries that failed together, and always in the same way, so that a
        repeated attempt waits as it did before.

    Returns
    -------
    float
        Seconds.
    """
    doublings = min(attempt - 1, 16)  # far beyond the longest wait already
    longest = min(FIRST_BACKOFF_S * 2**doublings, LONGEST_BACKOFF_S)
    jitter = hashlib.sha256(f"{key}/{attempt}".encode()).digest()[0] / 256
    return float(longest * (1 - jitter / 4))
