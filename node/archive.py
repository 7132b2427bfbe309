"""An embedded archive: a small, real PACS for the demonstration and the tests, and no more than that.

It takes whatever can be stored, keeps each instance durably as a DICOM file, and commits to what it holds. It has no
query, no limits and no access control: it listens on the loopback interface unless told otherwise.

>>> with Archive(folder) as archive:
...     archive.wait_for(lambda instances: len(instances) == 2, timeout_s=60)

References
----------
DICOM PS3.4 Annex A (Verification), B (Storage), J (Storage Commitment).
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from pydicom import Dataset, dcmread
from pynetdicom import AE, AllStoragePresentationContexts, build_context, build_role, evt
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification
from pynetdicom.transport import ThreadedAssociationServer

from node import commitment, dimse
from node.durable import key_of, make_folder, sync_folder, write_new
from node.errors import CannotUnderstand, DataSetMismatch, ReceiveError
from node.requestor import RequestorAE
from node.storage_classes import TRANSFER_SYNTAXES

NO_SUCH_SOP_INSTANCE = 0x0112  # PS3.3 C.14.1.1

_IDENTITY = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"]


class ArchivedInstance(NamedTuple):
    """An instance the archive holds.

    Attributes
    ----------
    path : Path
        DICOM file, in the transfer syntax it came in.
    study_instance_uid, sop_class_uid, sop_instance_uid : str
    calling_ae_title : str
        Who stored it.
    """

    path: Path
    study_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    calling_ae_title: str


Instances = tuple[ArchivedInstance, ...]
OnStored = Callable[[Path, Dataset], None]


class Archive:
    """A Storage, Verification and Storage Commitment SCP that keeps what it is sent in a folder.

    Parameters
    ----------
    folder : Path
        Created if missing. Instances lie at ``<digest of the study UID>/<digest of the SOP instance UID>.dcm``; a
        second one with the same UID replaces the first.
    ae_title : str
        Its AE title; any called AE title is taken.
    host : str
    port : int
        0 lets the system choose; `port` then says which.
    on_stored : callable, optional
        Called with the path and the data set once an instance is on disk, before Success is answered, in the thread of
        the association. It must not raise.

    Attributes
    ----------
    port : int
    """

    def __init__(
        self,
        folder: Path,
        ae_title: str = "ARCHIVE",
        host: str = "127.0.0.1",
        port: int = 0,
        on_stored: OnStored | None = None,
    ) -> None:
        self.folder, self.ae_title, self.host, self.port = folder, ae_title, host, port
        self._on_stored = on_stored
        self._held: dict[str, ArchivedInstance] = {}
        self._changed = threading.Condition()
        self._known: dict[str, tuple[str, int]] = {}
        self._reports: list[threading.Thread] = []
        self._server: ThreadedAssociationServer | None = None

    def start(self) -> Self:
        """Open the port.

        Raises
        ------
        OSError
            When the address is in use.
        """
        make_folder(self.folder)
        entity = AE(self.ae_title)
        entity.supported_contexts = _supported_contexts()
        entity.add_supported_context(StorageCommitmentPushModel)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._commit)]
        self._server = entity.start_server((self.host, self.port), block=False, evt_handlers=handlers)
        self.port = self._server.server_address[1]
        return self

    def stop(self) -> None:
        """Close the port and abort the associations. The files stay."""
        server, self._server = self._server, None
        if server:
            server.ae.shutdown()
        for report in self._reports:
            report.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def know(self, ae_title: str, host: str, port: int) -> None:
        """Tell where an application entity listens, so that storage commitment can be reported to it."""
        self._known[ae_title] = (host, port)

    @property
    def instances(self) -> Instances:
        """What was stored since the start, in the order of the first arrival of each SOP instance UID."""
        with self._changed:
            return tuple(self._held.values())

    def wait_for(self, predicate: Callable[[Instances], bool], timeout_s: float) -> bool:
        """Wait until what is stored satisfies a condition.

        Parameters
        ----------
        predicate : callable
            Takes `instances`; asked now and after each arrival.
        timeout_s : float

        Returns
        -------
        bool
            Whether it came true in time.
        """
        with self._changed:
            return self._changed.wait_for(lambda: predicate(tuple(self._held.values())), timeout_s)

    def _store(self, event: evt.Event) -> int:
        encoded = event.encoded_dataset()
        try:
            identity = _identity(encoded, event.request.AffectedSOPClassUID, event.request.AffectedSOPInstanceUID)
        except ReceiveError as error:
            return error.status
        path = self.folder / key_of(identity.StudyInstanceUID) / f"{key_of(identity.SOPInstanceUID)}.dcm"
        _write_durably(path, encoded)
        if self._on_stored:
            self._on_stored(path, dcmread(BytesIO(encoded)))
        uids = (str(identity.StudyInstanceUID), str(identity.SOPClassUID), str(identity.SOPInstanceUID))
        with self._changed:
            self._held[uids[2]] = ArchivedInstance(path, *uids, event.assoc.requestor.ae_title)
            self._changed.notify_all()
        return dimse.SUCCESS

    def _commit(self, event: evt.Event) -> tuple[int, None]:
        """Take a storage commitment request; the result follows on an association of its own (PS3.4 J.3.3)."""
        address = self._known.get(event.assoc.requestor.ae_title)
        if address is None:
            return dimse.PROCESSING_FAILURE, None
        call = (event.assoc.requestor.ae_title, *address, event.action_information)
        report = threading.Thread(target=self._report, args=call, name="storage commitment report")
        self._reports.append(report)
        report.start()
        return dimse.SUCCESS, None

    def _report(self, ae_title: str, host: str, port: int, request: Dataset) -> None:
        event_type, information = self._result(request)
        entity = RequestorAE(self.ae_title)
        entity.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        association = entity.associate(host, port, ae_title=ae_title, ext_neg=[role])
        if association.is_established:
            association.send_n_event_report(
                information,
                event_type,
                StorageCommitmentPushModel,
                commitment.STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
            )
            association.release()

    def _result(self, request: Dataset) -> tuple[int, Dataset]:
        """Say which of the referenced instances are held (PS3.4 Table J.3-2)."""
        held = {instance.sop_instance_uid for instance in self.instances}
        committed = [item for item in request.ReferencedSOPSequence if item.ReferencedSOPInstanceUID in held]
        failed = [item for item in request.ReferencedSOPSequence if item.ReferencedSOPInstanceUID not in held]
        information = Dataset()
        information.TransactionUID = request.TransactionUID
        if committed:
            information.ReferencedSOPSequence = committed
        for item in failed:
            item.FailureReason = NO_SUCH_SOP_INSTANCE
        if not failed:
            return commitment.REQUEST_SUCCESSFUL, information
        information.FailedSOPSequence = failed
        return commitment.REQUEST_COMPLETE_FAILURES_EXIST, information


def _supported_contexts() -> Sequence[PresentationContext]:
    """Return Verification and every storage SOP class, in every transfer syntax."""
    storage = [build_context(context.abstract_syntax, TRANSFER_SYNTAXES) for context in AllStoragePresentationContexts]
    return [build_context(Verification), *storage]


def _identity(encoded: bytes, sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """Return the UIDs of a data set, which must be those of the command."""
    identity = dcmread(BytesIO(encoded), stop_before_pixels=True, specific_tags=_IDENTITY)
    if not all(identity.get(keyword) for keyword in _IDENTITY):
        raise CannotUnderstand("an identifying UID is missing")
    if (identity.SOPClassUID, identity.SOPInstanceUID) != (sop_class_uid, sop_instance_uid):
        raise DataSetMismatch("the UIDs of command and data set differ")
    return identity


def _write_durably(path: Path, encoded: bytes) -> None:
    """Write or replace a file; it is on the disk when this returns."""
    make_folder(path.parent)
    sync_folder(path.parent.parent)
    part = path.with_name(f".{uuid.uuid4().hex}")
    write_new(part, (encoded,))
    part.replace(path)
    sync_folder(path.parent)
