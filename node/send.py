"""DICOM files to a peer by C-STORE, as ``cxr-node send`` and the demonstration do: a Storage SCU without a memory.

Each file goes in its own transfer syntax, the bytes of its data set unchanged, on one association a study. What cannot
be sent is named in the result; only a peer that cannot be spoken to at all is an error. Results of the node go through
``deliver`` instead, which keeps trying.

References
----------
DICOM PS3.4 Annex B (Storage), PS3.7 9.1.1, PS3.10 7 (DICOM file format).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode, split_dataset
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification

from node import dimse
from node.association import Peer, RequestedAssociation
from node.dimse import Outcome
from node.errors import DeliveryError, NodeError
from node.tls.contexts import ClientTLS

# PS3.8 9.3.2.2: presentation context IDs are odd and one byte long, hence 128; one is kept for Verification.
STORAGE_CONTEXTS_PER_ASSOCIATION = 127

_MEDIUM_PRIORITY = 0  # PS3.7 Table 9.3-1
_IDENTITY = ["StudyInstanceUID", "SOPClassUID", "SOPInstanceUID"]
# Group 0002 or 0008 in front, little endian, or 0008 big endian: a data set that was kept without preamble and prefix.
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")


class SendError(NodeError):
    """The peer cannot be spoken to; the message says what to check."""


@dataclass(frozen=True)
class SendResult:
    """What became of one file.

    Attributes
    ----------
    path : Path
    status : int or None
        Status (0000,0900) of the C-STORE response; None where there is none.
    status_name : str
        The Standard's words for the status, or why there is none.
    """

    path: Path
    status: int | None
    status_name: str

    @property
    def stored(self) -> bool:
        """Whether the peer has the instance: Success, or a Warning."""
        return self.status is not None and dimse.c_store_status(self.status).outcome is Outcome.DELIVERED


Progress = Callable[[SendResult], None]


def send(
    files: Sequence[Path],
    host: str,
    port: int,
    called_ae_title: str,
    calling_ae_title: str,
    progress: Progress | None = None,
    tls: ClientTLS | None = None,
) -> list[SendResult]:
    """Store DICOM files at a peer.

    Parameters
    ----------
    files : Sequence of Path
        In any order and of any studies. Files without preamble and file meta information are sent too, where their
        data set begins as the Standard says.
    host : str
    port : int
    called_ae_title, calling_ae_title : str
    progress : callable, optional
        Called with each result as it comes, in the order of sending.
    tls : ClientTLS, optional
        What the peer is called by; in the clear without.

    Returns
    -------
    list of SendResult
        In the order of `files`.

    Raises
    ------
    SendError
        When an AE title is not one, or the peer cannot be reached or refuses the first association. Once something has
        been sent, the trouble is named in the results of the rest.
    """
    peer = _CalledPeer("", _checked(called_ae_title), host, port, _checked(calling_ae_title), tls)
    results = _Results(files, progress)
    instances = [instance for number in range(len(files)) if (instance := results.read(number))]
    try:
        for batch in _batches(instances):
            for instance, result in _send_batch(peer, batch):
                results.note(instance.number, result)
    except DeliveryError as trouble:
        if not any(results.has(instance.number) for instance in instances):
            raise SendError(str(trouble)) from None
        results.note_rest(f"not sent: {trouble}")
    return results.in_order()


class _Results:
    """The results so far, by the place of their file among the files given."""

    def __init__(self, files: Sequence[Path], progress: Progress | None) -> None:
        self._files, self._progress = files, progress
        self._results: dict[int, SendResult] = {}

    def read(self, number: int) -> _Instance | None:
        """Return the instance in a file, or note why there is none."""
        try:
            return _Instance.read(number, self._files[number])
        except SendError as trouble:
            self.note(number, SendResult(self._files[number], None, str(trouble)))
            return None

    def has(self, number: int) -> bool:
        return number in self._results

    def note(self, number: int, result: SendResult) -> None:
        self._results[number] = result
        if self._progress:
            self._progress(result)

    def note_rest(self, why: str) -> None:
        for number, path in enumerate(self._files):
            if not self.has(number):
                self.note(number, SendResult(path, None, why))

    def in_order(self) -> list[SendResult]:
        return [self._results[number] for number in range(len(self._files))]


class _CalledPeer(Peer):
    """A peer that no configuration names."""

    def __str__(self) -> str:
        return f"{self.ae_title} at {self.host}:{self.port}"


@dataclass(frozen=True)
class _Instance:
    """A SOP instance in a file: what an association must agree on to send it.

    Parameters
    ----------
    number : int
        Place among the files given.
    path : Path
    study_instance_uid, sop_class_uid, sop_instance_uid, transfer_syntax_uid : str
    offset : int or None
        Where the data set begins, in bytes; None where the file has no file meta information.
    """

    number: int
    path: Path
    study_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    offset: int | None

    @classmethod
    def read(cls, number: int, path: Path) -> _Instance:
        """Read what identifies the instance.

        Raises
        ------
        SendError
            When there is none in the file.
        """
        try:
            is_part10 = _is_part10(path)
            dataset = dcmread(path, force=not is_part10, stop_before_pixels=True, specific_tags=_IDENTITY)
            offset = split_dataset(path)[1] if is_part10 else None
        except (OSError, EOFError, InvalidDicomError, AttributeError, ValueError, NotImplementedError) as error:
            raise SendError(_unreadable(error)) from None
        study, sop_class, sop_instance = (str(dataset.get(keyword) or "") for keyword in _IDENTITY)
        if not sop_class or not sop_instance:
            raise SendError("not a DICOM instance: no SOP class or SOP instance UID")
        return cls(number, path, study, sop_class, sop_instance, _transfer_syntax(dataset), offset)

    @property
    def context(self) -> tuple[str, str]:
        """Abstract and transfer syntax."""
        return self.sop_class_uid, self.transfer_syntax_uid

    def data_set(self) -> bytes:
        """Return the encoded data set: the very bytes of the file."""
        if self.offset is not None:
            return self.path.read_bytes()[self.offset :]
        syntax = UID(self.transfer_syntax_uid)
        encoded: bytes = encode(dcmread(self.path, force=True), syntax.is_implicit_VR, syntax.is_little_endian)
        return encoded


def _checked(ae_title: str) -> str:
    """Return an AE title that PS3.5 6.2 allows."""
    if 1 <= len(ae_title.strip()) <= 16 and ae_title.isascii() and ae_title.isprintable() and "\\" not in ae_title:
        return ae_title.strip()
    raise SendError("an AE title has 1 to 16 ASCII characters, without a backslash; check the called and calling one")


def _is_part10(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(132)
    if head[128:] == b"DICM":
        return True
    if head[:2] not in _FIRST_GROUPS:
        raise InvalidDicomError
    return False


def _unreadable(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror.lower()}"
    return "not a DICOM file"


def _transfer_syntax(dataset: Dataset) -> str:
    """Return the transfer syntax that the file states, or the uncompressed one it was found to be in."""
    stated = dataset.file_meta.get("TransferSyntaxUID")
    if stated:
        return str(stated)
    is_implicit, is_little_endian = dataset.original_encoding
    if is_implicit:
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRLittleEndian if is_little_endian else ExplicitVRBigEndian)


def _batches(instances: Sequence[_Instance]) -> Iterator[list[_Instance]]:
    """Yield what goes on one association each: a study, or a part of it that keeps to the presentation contexts."""
    studies: dict[str, list[_Instance]] = {}
    for instance in instances:
        studies.setdefault(instance.study_instance_uid, []).append(instance)
    for study in studies.values():
        contexts = list(dict.fromkeys(instance.context for instance in study))
        for first in range(0, len(contexts), STORAGE_CONTEXTS_PER_ASSOCIATION):
            agreed = set(contexts[first : first + STORAGE_CONTEXTS_PER_ASSOCIATION])
            yield [instance for instance in study if instance.context in agreed]


def _send_batch(peer: Peer, batch: Sequence[_Instance]) -> Iterator[tuple[_Instance, SendResult]]:
    contexts = _proposed_contexts(batch)
    association: RequestedAssociation | None = None
    try:
        for instance in batch:
            if association is None or not association.is_established:
                association = RequestedAssociation(peer, contexts)
            yield instance, _store(association, instance)
    finally:
        if association:
            association.release()


def _proposed_contexts(batch: Sequence[_Instance]) -> list[PresentationContext]:
    """Propose Verification as well: a peer that takes no storage class then still says so context by context."""
    pairs = dict.fromkeys(instance.context for instance in batch)
    return [build_context(Verification), *(build_context(*pair) for pair in pairs)]


def _store(association: RequestedAssociation, instance: _Instance) -> SendResult:
    context_id = association.accepted.get(instance.context)
    if context_id is None:
        sop_class, syntax = UID(instance.sop_class_uid).name, UID(instance.transfer_syntax_uid).name
        return SendResult(instance.path, None, f"the peer does not accept {sop_class} in {syntax}")
    request = C_STORE()
    request.AffectedSOPClassUID = instance.sop_class_uid
    request.AffectedSOPInstanceUID = instance.sop_instance_uid
    request.Priority = _MEDIUM_PRIORITY
    try:
        request.DataSet = BytesIO(instance.data_set())
        status = association.ask(request, context_id).Status
    except OSError as error:
        return SendResult(instance.path, None, _unreadable(error))
    except DeliveryError as trouble:
        return SendResult(instance.path, None, f"no answer: {trouble}")
    return SendResult(instance.path, status, dimse.c_store_status(status).name)
