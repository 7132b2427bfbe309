"""The node's ear: a Verification and Storage SCP, and the SCU side of Storage Commitment's report.

Success is answered once an instance is durable in the spool, and nothing else happens before the answer: no decoding,
no reading, no sending. TensorFlow is not imported in this process, so the node answers while the model still loads.

References
----------
DICOM PS3.4 Annex A (Verification), B (Storage), J (Storage Commitment).
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from node import audit, audit_message, dimse, log
from node.commitment import CommitmentResult, answer_event_report
from node.config import Settings
from node.door.association import AcceptedAssociation
from node.door.callers import Callers
from node.door.command import StoreRequest
from node.door.inspect import Inspected, inspect
from node.door.limits import Limits
from node.door.listener import Listener
from node.door.messages import Message
from node.door.sink import InstanceFile
from node.door.walk import walk
from node.durable import key_of
from node.errors import ConfigError, OutOfResources, ReceiveError
from node.file_head import file_head
from node.keeper import Keeper
from node.product import IMPLEMENTATION_CLASS_UID, MANUFACTURER, MODEL_NAME
from node.quarantine import Quarantine
from node.settle import Settler
from node.spool import Kind, Spool
from node.storage_classes import STORAGE_CLASSES, TRANSFER_SYNTAXES, is_image
from node.tls.contexts import of_port
from node.tls.watch import Watch

UNCOMPRESSED = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
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

    Raises
    ------
    ConfigError
        When the files of ``listen.tls`` cannot be used.
    """

    def __init__(self, settings: Settings, spool: Spool) -> None:
        self._settings, self._spool = settings, spool
        self._tls, self._watch = of_port(settings.listen), Watch(settings)
        listen = settings.listen
        self._limits = Limits(associations=listen.associations, associations_per_peer=listen.associations_per_caller)
        self._settler = Settler(settings.study.settle_s, settings.study.quiet_s, self._settle)
        self._server: Listener | None = None
        self._brought = audit.Arrivals()
        self._quarantine = Quarantine(spool.folder / "quarantine", settings.spool.quarantine_mb << 20)
        self._keeper = Keeper(spool, settings.spool, self._quarantine)
        self._refused: Counter[str] = Counter()
        self._counting = threading.Lock()

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
        self._spool.clear_incoming()
        listen = self._settings.listen
        try:
            self._server = self._listener()
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {listen.host}:{listen.port}: {error.strerror}. "
                "Stop the program that holds the port, or change listen.host or listen.port."
            ) from None
        self._server.start()
        port: int = self._server.server_address[1]
        log.event("listener.opened", ae_title=listen.ae_title, host=listen.host, port=port)
        self.look_at_certificates()
        self._settler.start()
        self._keeper.start()
        for study_key in self._spool.unsettled():
            self._settler.come_back(study_key)
        return port

    def stop(self) -> None:
        """Close the port; associations in progress are aborted, and their senders try again."""
        if self._server:
            self._server.shutdown()
        self._keeper.stop()
        self._settler.stop()  # first, for a study whose association is aborted now may go on after a restart
        if self._server:
            _abort(self._server.active_associations)
        log.event("listener.closed")

    def look_at_certificates(self) -> None:
        """Take up certificates that were renewed, and tell of those that expire; asked every few seconds."""
        if self._tls:
            self._tls.context()
        self._watch.look()

    def door(self) -> dict[str, Any]:
        """Return how the door is doing.

        Returns
        -------
        dict
            ``pending`` and ``established``: connections now, without an association yet and with one. Since the start:
            ``cut`` (before the request was whole), ``rejected`` and ``violations`` by reason, and how many silent
            associations were ``evicted``. Empty before the start.
        """
        return self._server.counts() if self._server else {}

    def tally(self) -> dict[str, Any]:
        """Return what was counted since the start: instances ``refused`` by status, and studies ``forgotten``."""
        with self._counting:
            return {"refused": dict(self._refused), "forgotten": self._keeper.forgotten}

    def _listener(self) -> Listener:
        listen = self._settings.listen
        handlers = [
            (evt.EVT_N_EVENT_REPORT, self._event_report),
            # The node is asked for no commitment: without a handler, pynetdicom answers 0x0110, which means "try again".
            (evt.EVT_N_ACTION, lambda event: (dimse.UNRECOGNIZED_OPERATION, None)),
            (evt.EVT_RELEASED, lambda event: self._ended(event.assoc)),
            (evt.EVT_ABORTED, lambda event: self._ended(event.assoc)),
        ]
        entity = AE(listen.ae_title)
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = None  # optional, and the default would name pynetdicom (PS3.7 D.3.3.2)
        listener: Listener = entity.make_server(
            (listen.host, listen.port),
            contexts=_contexts(),
            evt_handlers=handlers,
            server_class=Listener,
            limits=self._limits,
            callers=_callers(self._settings),
            tls=self._tls,
            open_sink=self._open_sink,
            store=self._store,
            on_ended=self._ended,
            is_short=self._spool.is_short,
        )
        return listener

    def _open_sink(self, request: StoreRequest, context: PresentationContext) -> InstanceFile:
        """Begin the file of an instance whose data set is about to come."""
        head = file_head(request.sop_class_uid, request.sop_instance_uid, context.transfer_syntax[0])
        return InstanceFile(self._spool.incoming, head, self._limits, self._spool.is_short)

    def _store(
        self, association: AcceptedAssociation, message: Message, context: PresentationContext
    ) -> tuple[int, str]:
        """Store what a C-STORE has brought, which lies in its file; returns the status and comment to answer."""
        request, instance = message.asked, message.sink
        sop_class_uid, sop_instance_uid = request.sop_class_uid, request.sop_instance_uid
        try:
            if sop_class_uid != context.abstract_syntax:
                raise SOPClassNotSupported("SOP Class UID differs from the presentation context's")
            found = inspect(instance.data_set(), context.transfer_syntax[0], sop_class_uid, sop_instance_uid)
            kind = _kind_of(sop_class_uid, found)
            is_new = self._spool.take(found.study_instance_uid, sop_instance_uid, kind, instance.file())
        except ReceiveError as error:
            self._set_aside(error, association.requestor, instance, context)
            return self._refused_with(error, association.requestor)
        finally:
            instance.discard()
        study_key = key_of(found.study_instance_uid)
        if kind is not Kind.OWN:
            self._settler.arrived(study_key, id(association))
        study = audit_message.Study(study_key, found.study_instance_uid, found.patient_id)
        self._brought.stored(association, study, sop_class_uid, is_new)
        log.event("instance.stored", study=study_key, kind=str(kind), bytes=instance.size)
        return dimse.SUCCESS, ""

    def _set_aside(
        self, error: ReceiveError, requestor: Any, instance: InstanceFile, context: PresentationContext
    ) -> None:
        """Put a refused instance into the quarantine, where it is whole and there is room; the answer does not wait on it."""
        if isinstance(error, OutOfResources) or self._spool.is_short():
            return
        abstract_syntax = context.abstract_syntax
        try:
            self._quarantine.keep(
                instance.file(),
                instance.size,
                calling=requestor.ae_title,
                address=requestor.address,
                # As it was negotiated: what the command says of itself is the sender's to choose.
                sop_class=STORAGE_CLASSES.get(abstract_syntax, abstract_syntax.name),
                status=f"0x{error.status:04X}",
                reason=error.comment,
            )
        except OutOfResources:
            return  # it was not kept while it came
        except OSError as trouble:
            log.repeated("quarantine.failed", "", error=type(trouble).__name__)

    def _refused_with(self, error: ReceiveError, requestor: Any) -> tuple[int, str]:
        status = f"0x{error.status:04X}"
        with self._counting:
            self._refused[status] += 1
        log.repeated(
            "instance.refused",
            type(error).__name__,
            status=status,
            reason=error.comment,
            calling=requestor.ae_title,
            address=requestor.address,
        )
        return error.status, error.comment

    def _event_report(self, event: evt.Event) -> tuple[int, None]:
        """Answer an N-EVENT-REPORT: the result of a Storage Commitment (PS3.4 J.3.3)."""
        request = event.request
        try:
            walk(request.EventInformation.getbuffer(), event.context.transfer_syntax, frozenset())
        except ReceiveError:
            return dimse.INVALID_ARGUMENT_VALUE, None
        return answer_event_report(event.event_type, event.event_information, self._keep_commitment), None

    def _keep_commitment(self, result: CommitmentResult) -> None:
        if self._spool.outbox.write_commitment(result):
            log.event("commitment.received", results=len(result.committed), count=len(result.failed))
        else:  # one that came twice, late, or by mistake; a refusal would have the peer report it over and over
            log.repeated("commitment.unasked", "", count=len(result.committed) + len(result.failed))

    def _ended(self, association: AcceptedAssociation) -> None:
        self._settler.released(id(association))
        self._brought.ended(association)

    def _settle(self, study_key: str) -> None:
        try:
            task = self._spool.settle(study_key)
        except OSError as error:
            log.alarm("study.postponed", study=study_key, error=type(error).__name__, wait_s=SETTLE_AGAIN_S)
            self._settler.come_back(study_key, SETTLE_AGAIN_S)
            return
        if task:
            log.event("study.settled", study=study_key, generation=task.generation)


@cache
def _contexts() -> list[PresentationContext]:
    """Return the presentation contexts that are accepted, which all associations share."""
    # Without the deflated transfer syntax: what pynetdicom decodes itself, it would inflate without bound.
    commitment = build_context(StorageCommitmentPushModel, UNCOMPRESSED)
    # The PACS reports a commitment on an association of its own, as SCP of the service.
    commitment.scu_role = commitment.scp_role = True
    storage = (build_context(uid, TRANSFER_SYNTAXES) for uid in STORAGE_CLASSES)
    return [build_context(Verification), commitment, *storage]


def _callers(settings: Settings) -> Callers:
    """Return who may call, and whom the configuration names."""
    listen = settings.listen
    addresses = {
        title: tuple(ipaddress.ip_network(each, strict=False) for each in networks)
        for title, networks in listen.addresses.items()
    }
    destinations = [destination.ae_title for destination in settings.destinations]
    return Callers(listen.ae_title, listen.callers, addresses, destinations)


def _kind_of(sop_class_uid: str, found: Inspected) -> Kind:
    """Tell the node's own results, which a PACS sends back with the study, from what it may read."""
    if (found.manufacturer, found.model_name) == (MANUFACTURER, MODEL_NAME):
        return Kind.OWN
    return Kind.IMAGE if is_image(sop_class_uid) else Kind.DOCUMENT


def _abort(associations: Sequence[AcceptedAssociation]) -> None:
    """End associations, also those whose peers do not hang up."""
    for association in associations:
        if association.is_established:
            association.abort(block=False)
    deadline = time.monotonic() + ABORT_WITHIN_S
    for association in associations:
        association.join(max(0.0, deadline - time.monotonic()))
        if association.is_alive():
            association.cut()
