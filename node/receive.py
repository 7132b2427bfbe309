"""The node's ear: a Verification and Storage SCP, and the SCU side of Storage Commitment's report.

Success is answered once an instance is durable in the spool, and nothing else happens before the answer: no decoding,
no reading, no sending. TensorFlow is not imported in this process, so the node answers while the model still loads.

References
----------
DICOM PS3.4 Annex A (Verification), B (Storage), J (Storage Commitment).
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Sequence
from functools import cache
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID
from pynetdicom import AE, Association, _config, evt, register_uid
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.service_class import ServiceClass, StorageServiceClass
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification, uid_to_service_class
from pynetdicom.transport import ThreadedAssociationServer

from node import dimse, log
from node.commitment import CommitmentResult, answer_event_report
from node.config import Settings
from node.door.inspect import Inspected, inspect
from node.durable import key_of
from node.errors import ConfigError, ReceiveError
from node.product import IMPLEMENTATION_CLASS_UID, MANUFACTURER, MODEL_NAME
from node.settle import Settler
from node.spool import Kind, Spool
from node.storage_classes import STORAGE_CLASSES, TRANSFER_SYNTAXES, is_image

# 128 KiB: large PDUs spare a third of the receiver's CPU time an image against pynetdicom's 16 kB (docs/design.md).
MAXIMUM_PDU_BYTES = 131_072
# Enough for a department's modalities and PACS at once; each costs two threads.
MAXIMUM_ASSOCIATIONS = 64
# Seconds: ARTIM for the request (PS3.8 9.1.5), and silence on an open association.
ACSE_TIMEOUT_S, NETWORK_TIMEOUT_S = 30, 60
# Seconds until a study is settled again after the disk was full.
SETTLE_AGAIN_S = 10.0
# Seconds that a peer is given to hang up after it was told to.
ABORT_WITHIN_S = 2.0


class SOPClassNotSupported(ReceiveError):
    """An instance on a presentation context that was accepted for something else."""

    status = dimse.SOP_CLASS_NOT_SUPPORTED


class Receiver:
    """Listens for associations and takes what they bring into the spool.

    Parameters
    ----------
    settings : Settings
    spool : Spool
    """

    def __init__(self, settings: Settings, spool: Spool) -> None:
        self._settings, self._spool = settings, spool
        self._settler = Settler(settings.study.settle_s, settings.study.quiet_s, self._settle)
        self._server: ThreadedAssociationServer | None = None

    def start(self) -> int:
        """Open the port, then have settled what an earlier stop left behind.

        Returns
        -------
        int
            The port, which the system chose if the configuration says 0.

        Raises
        ------
        ConfigError
            When the address cannot be listened on.
        """
        _config.LOG_HANDLER_LEVEL = "none"  # pynetdicom's own handlers cost time and print attribute values
        _serve_retired_classes()
        self._spool.clear_incoming()
        listen = self._settings.listen
        handlers = [
            (evt.EVT_CONN_OPEN, _opened),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_EVENT_REPORT, self._event_report),
            (evt.EVT_RELEASED, self._ended),
            (evt.EVT_ABORTED, self._ended),
            (evt.EVT_CONN_CLOSE, self._ended),
            (evt.EVT_REJECTED, _rejected),
        ]
        try:
            self._server = self._entity().start_server(
                (listen.host, listen.port), block=False, evt_handlers=handlers, contexts=_contexts()
            )
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {listen.host}:{listen.port}: {error.strerror}. "
                "Stop the program that holds the port, or change listen.host or listen.port."
            ) from None
        port: int = self._server.server_address[1]
        log.event("listener.opened", ae_title=listen.ae_title, host=listen.host, port=port)
        self._settler.start()
        for study_key in self._spool.unsettled():
            self._settler.come_back(study_key)
        return port

    def stop(self) -> None:
        """Close the port; associations in progress are aborted, and their senders try again."""
        if self._server:
            self._server.shutdown()
            _abort(self._server.active_associations)
        self._settler.stop()
        log.event("listener.closed")

    def _entity(self) -> AE:
        """Return the application entity with its limits."""
        listen = self._settings.listen
        entity = AE(listen.ae_title)
        entity.maximum_pdu_size = MAXIMUM_PDU_BYTES
        entity.maximum_associations = MAXIMUM_ASSOCIATIONS
        entity.acse_timeout, entity.network_timeout = ACSE_TIMEOUT_S, NETWORK_TIMEOUT_S
        entity.require_called_aet = True
        entity.require_calling_aet = list(listen.callers)
        return entity

    def _store(self, event: evt.Event) -> int | Dataset:
        """Answer a C-STORE request."""
        request, context = event.request, event.context
        sop_class_uid, sop_instance_uid = request.AffectedSOPClassUID, request.AffectedSOPInstanceUID
        try:
            if sop_class_uid != context.abstract_syntax:
                raise SOPClassNotSupported("SOP Class UID differs from the presentation context's")
            data = request.DataSet.getbuffer() if request.DataSet else memoryview(b"")
            found = inspect(data, context.transfer_syntax, sop_class_uid, sop_instance_uid)
            kind = _kind_of(sop_class_uid, found)
            head = _file_head(sop_class_uid, sop_instance_uid, context.transfer_syntax)
            self._spool.take(found.study_instance_uid, sop_instance_uid, kind, (head, data))
        except ReceiveError as error:
            return _refusal(error, event)
        study_key = key_of(found.study_instance_uid)
        if kind is not Kind.OWN:
            self._settler.arrived(study_key, id(event.assoc))
        log.event("instance.stored", study=study_key, kind=str(kind), bytes=len(data))
        return dimse.SUCCESS

    def _event_report(self, event: evt.Event) -> tuple[int, None]:
        """Answer an N-EVENT-REPORT: the result of a Storage Commitment (PS3.4 J.3.3)."""
        return answer_event_report(event.event_type, event.event_information, self._keep_commitment), None

    def _keep_commitment(self, result: CommitmentResult) -> None:
        self._spool.outbox.write_commitment(result)
        log.event("commitment.received", results=len(result.committed), count=len(result.failed))

    def _ended(self, event: evt.Event) -> None:
        self._settler.released(id(event.assoc))

    def _settle(self, study_key: str) -> None:
        try:
            task = self._spool.settle(study_key)
        except OSError as error:
            log.alarm("study.postponed", study=study_key, error=type(error).__name__, wait_s=SETTLE_AGAIN_S)
            self._settler.come_back(study_key, SETTLE_AGAIN_S)
            return
        if task:
            log.event("study.settled", study=study_key, generation=task.generation)


class _SharedContexts(list[PresentationContext]):
    """Presentation contexts that all associations share; pynetdicom would copy their 9,000 UIDs for each, in 65 ms."""

    def __deepcopy__(self, _: Any) -> _SharedContexts:
        return self


@cache
def _contexts() -> _SharedContexts:
    """Return the presentation contexts that are accepted."""
    commitment = build_context(StorageCommitmentPushModel)
    # The PACS reports a commitment on an association of its own, as SCP of the service.
    commitment.scu_role = commitment.scp_role = True
    storage = (build_context(uid, TRANSFER_SYNTAXES) for uid in STORAGE_CLASSES)
    return _SharedContexts([build_context(Verification), commitment, *storage])


def _serve_retired_classes() -> None:
    """Have pynetdicom serve the storage classes it does not list, mostly retired ones that old archives still push."""
    for uid in STORAGE_CLASSES:
        if uid_to_service_class(uid) is ServiceClass:
            # By the UID, for some retired classes have the name of the class that took their place.
            register_uid(uid, f"Storage_{uid.replace('.', '_')}", StorageServiceClass)


def _kind_of(sop_class_uid: str, found: Inspected) -> Kind:
    """Tell the node's own results, which a PACS sends back with the study, from what it may read."""
    if (found.manufacturer, found.model_name) == (MANUFACTURER, MODEL_NAME):
        return Kind.OWN
    return Kind.IMAGE if is_image(sop_class_uid) else Kind.DOCUMENT


def _file_head(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return the preamble, prefix and File Meta Information of a Part 10 file (PS3.10 7.1).

    It says nothing of the sender or of a version, so that an instance that comes again makes the same file.
    """
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    buffer = io.BytesIO()
    buffer.write(b"\0" * 128 + b"DICM")
    write_file_meta_info(buffer, meta)
    return buffer.getvalue()


def _refusal(error: ReceiveError, event: evt.Event) -> Dataset:
    log.alarm(
        "instance.refused",
        status=f"0x{error.status:04X}",
        reason=error.comment,
        calling=event.assoc.requestor.ae_title,
        address=event.assoc.requestor.address,
    )
    response = Dataset()
    response.Status = error.status
    response.ErrorComment = error.comment
    return response


def _opened(event: evt.Event) -> None:
    """Have an association answer everything, and at once.

    Nagle's algorithm is switched off, for a response is small and the sender waits for it. A message that is no request,
    or lacks what a request needs, ends the association: pynetdicom would drop it, and its sender wait for an answer.
    """
    association: Any = event.assoc
    association.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    serve = association._serve_request

    def serve_or_abort(message: Any, context_id: int) -> None:
        if message.is_valid_request:
            serve(message, context_id)
        else:
            association.abort()

    association._serve_request = serve_or_abort


def _rejected(event: evt.Event) -> None:
    requestor = event.assoc.requestor
    log.alarm("association.rejected", calling=requestor.ae_title, address=requestor.address)


def _abort(associations: Sequence[Association]) -> None:
    """End associations, also those whose peers do not hang up: each would keep the process alive for a minute."""
    for association in associations:
        if association.is_established:
            association.abort(block=False)
    deadline = time.monotonic() + ABORT_WITHIN_S
    for association in associations:
        association.join(max(0.0, deadline - time.monotonic()))
        if association.is_alive():
            association.dul.socket.close()
            association.dul.to_user_queue.put(None)  # wakes one that still waits for its request
