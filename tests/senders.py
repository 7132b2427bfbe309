"""Senders to a node: pynetdicom associations that send exactly the bytes they are given, and a receiver to send to."""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, Association, build_context, evt
from pynetdicom.dimse_primitives import C_STORE

from node.config import Listen, Settings, Study
from node.config import Spool as SpoolSection
from node.durable import key_of
from node.receive import Receiver
from node.spool import Spool
from tests.radiographs import encoded, split

HOST, NODE, SENDER = "127.0.0.1", "CXRTRIAGE", "MODALITY"
CR = str(ComputedRadiographyImageStorage)
EXPLICIT = str(ExplicitVRLittleEndian)


@dataclass(frozen=True)
class Node:
    """A receiver at work."""

    receiver: Receiver
    spool: Spool
    port: int

    def held(self) -> dict[str, tuple[str | None, bytes]]:
        """What the spool holds: transfer syntax and encoded data set by SOP instance UID."""
        paths = (self.spool.folder / "studies").glob("*/*.dcm")
        return {str(dcmread(path).file_meta.MediaStorageSOPInstanceUID): split(path) for path in paths}

    def kinds(self) -> list[str]:
        """What kinds of instances the spool holds."""
        return sorted(path.name.split(".")[1] for path in (self.spool.folder / "studies").glob("*/*.dcm"))


@contextmanager
def receiving(folder: Path, settle_s: float = 0.05, quiet_s: float = 0.3, **listen: Any) -> Iterator[Node]:
    """Run a receiver on a spool folder and a free port."""
    settings = Settings(
        listen=Listen(**{"port": 0} | listen),
        spool=SpoolSection(folder=folder),
        study=Study(settle_s=settle_s, quiet_s=quiet_s),
    )
    spool = Spool(folder)
    receiver = Receiver(settings, spool)
    try:
        yield Node(receiver, spool, receiver.start())
    finally:
        receiver.stop()


def request(
    port: int,
    contexts: Sequence[tuple[str, str]] = ((CR, EXPLICIT),),
    called: str = NODE,
    calling: str = SENDER,
    **options: Any,
) -> Association:
    """Request an association; each (abstract syntax, transfer syntax) in a context of its own."""
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    proposed = [build_context(*pair) for pair in contexts]
    handlers = [(evt.EVT_CONN_OPEN, _send_at_once), *options.pop("evt_handlers", ())]
    return entity.associate(HOST, port, contexts=proposed, ae_title=called, evt_handlers=handlers, **options)


def _send_at_once(event: Any) -> None:
    """Spare the sender two faults of pynetdicom's requestors.

    Nagle's algorithm would hold back each small message for 40 ms; and the association's own thread drops a response that
    comes before it has been halted, here it puts it back.
    """
    association = event.assoc
    association.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    serve = association._serve_request

    def serve_or_put_back(message: Any, context_id: int) -> None:
        if message.is_valid_request:
            serve(message, context_id)
        else:
            association.dimse.msg_queue.put((context_id, message))

    association._serve_request = serve_or_put_back


@contextmanager
def associated(
    port: int, contexts: Sequence[tuple[str, str]] = ((CR, EXPLICIT),), **options: Any
) -> Iterator[Association]:
    """Keep an association for a while, and release it if it still stands."""
    association = request(port, contexts, **options)
    assert association.is_established
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def send(
    association: Association,
    data: bytes,
    sop_instance_uid: str,
    sop_class_uid: str = CR,
    transfer_syntax_uid: str = EXPLICIT,
    context_id: int | None = None,
) -> Any:
    """Send these very bytes by C-STORE; gives the response, None where there was none."""
    command = C_STORE()
    command.MessageID = 7
    command.AffectedSOPClassUID, command.AffectedSOPInstanceUID = sop_class_uid, sop_instance_uid
    command.Priority = 2
    command.DataSet = BytesIO(data) if data else None
    # The association's own thread is held, as pynetdicom's send_c_store does, for it would take the response.
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        time.sleep(0.001)
    association.dimse.send_msg(command, context_id or context_of(association, sop_class_uid, transfer_syntax_uid))
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return response


def context_of(association: Association, sop_class_uid: str, transfer_syntax_uid: str) -> int:
    """Which accepted context an instance is sent on."""
    for context in association.accepted_contexts:
        if (context.abstract_syntax, context.transfer_syntax[0]) == (sop_class_uid, transfer_syntax_uid):
            number: int = context.context_id
            return number
    raise AssertionError("no such context was accepted")


def send_dataset(association: Association, dataset: Dataset, transfer_syntax_uid: str = EXPLICIT) -> int:
    """Send a data set as what it says it is; gives the status."""
    data = encoded(dataset, transfer_syntax_uid)
    status: int = send(association, data, dataset.SOPInstanceUID, dataset.SOPClassUID, transfer_syntax_uid).Status
    return status


def bring(port: int, *datasets: Dataset, **options: Any) -> list[int]:
    """Send data sets on one association of their own."""
    contexts = sorted({(str(dataset.SOPClassUID), EXPLICIT) for dataset in datasets})
    with associated(port, contexts, **options) as association:
        return [send_dataset(association, dataset) for dataset in datasets]


def todo(node: Node, study_instance_uid: str) -> Callable[[], list[Any]]:
    """Give a function that lists what is to be done for a study."""
    return lambda: [task for task in node.spool.agenda.tasks("todo") if task.study_key == key_of(study_instance_uid)]
