"""PACS to store results at: a pynetdicom Storage SCP told what to answer, and raw sockets that misbehave.

Also the smallest instances worth sending. Everything listens on a free port of 127.0.0.1.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
    StorageCommitmentPushModel,
    Verification,
)

HOST = "127.0.0.1"
RESULT_CLASSES = (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    BasicTextSRStorage,
    SecondaryCaptureImageStorage,
)
UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
EVERYTHING = [(each, UNCOMPRESSED) for each in (*RESULT_CLASSES, StorageCommitmentPushModel, Verification)]


@dataclass(frozen=True)
class Received:
    """An instance as it came over the wire."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: bytes


@dataclass
class StorageSCP:
    """A running SCP: what it answers, and what it has received."""

    port: int = 0
    status: int | Dataset = 0x0000
    received: list[Received] = field(default_factory=list)
    associations: list[Any] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def on_store(self, event: Any) -> int | Dataset:
        request, context = event.request, event.context
        data_set = request.DataSet.getvalue()
        instance = (str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
        self.received.append(Received(*instance, str(context.transfer_syntax), data_set))
        return self.status


@contextmanager
def storage_scp(
    contexts: Sequence[tuple[str, Sequence[str]]] = EVERYTHING,
    handlers: Sequence[tuple[Any, Callable[..., Any]]] = (),
    ae_title: str = "PACS",
    scu_roles: Sequence[str] = (),
    tls: ssl.SSLContext | None = None,
    **settings: Any,
) -> Iterator[StorageSCP]:
    """Run an SCP.

    Parameters
    ----------
    contexts : Sequence of (abstract syntax, transfer syntaxes)
        What it accepts.
    handlers : Sequence of (event, callable)
        Added to those that record; one for EVT_C_STORE takes its place.
    scu_roles : Sequence of str
        SOP classes for which a requestor may take the SCP's role, such as storage commitment for its reports.
    tls : ssl.SSLContext, optional
        Of a server.
    settings
        Attributes of the AE, such as ``require_called_aet=True``.
    """
    scp = StorageSCP()
    entity = AE(ae_title)
    for name, value in settings.items():
        setattr(entity, name, value)
    for abstract_syntax, transfer_syntaxes in contexts:
        roles = {"scu_role": True, "scp_role": True} if abstract_syntax in scu_roles else {}
        entity.add_supported_context(abstract_syntax, list(transfer_syntaxes), **roles)
    recording = [
        (evt.EVT_C_STORE, scp.on_store),
        (evt.EVT_ESTABLISHED, lambda event: scp.associations.append(event.assoc)),
        (evt.EVT_RELEASED, lambda event: scp.released.set()),
    ]
    server = entity.start_server((HOST, 0), block=False, evt_handlers=[*recording, *handlers], ssl_context=tls)
    scp.port = server.server_address[1]
    try:
        yield scp
    finally:
        server.shutdown()


@contextmanager
def raw_server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Accept connections and let ``serve`` misbehave on each; each stays open until the end, unless it closed it."""
    listener = socket.create_server((HOST, 0))
    connections: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for connection in connections:
            connection.close()


def instance(
    sop_class_uid: str = ComprehensiveSRStorage, sop_instance_uid: str = "", text: str = "Research use only"
) -> Dataset:
    """Build a minimal structured report (or another class of its kind) with an invented patient."""
    dataset = Dataset()
    dataset.SOPClassUID = sop_class_uid
    dataset.SOPInstanceUID = sop_instance_uid or generate_uid()
    dataset.StudyInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    dataset.PatientName = "Nobody^Invented"
    dataset.PatientID = "INVENTED-1"
    dataset.Modality = "SR"
    dataset.ValueType = "CONTAINER"
    dataset.TextValue = text
    return dataset


def picture(compressed: bool = False, side_px: int = 64) -> Dataset:
    """Build a minimal color Secondary Capture with a smooth gradient, raw or as JPEG Baseline."""
    dataset = instance(SecondaryCaptureImageStorage)
    ramp = np.linspace(40, 200, side_px).astype(np.uint8)
    pixels = np.stack(np.broadcast_arrays(ramp[None, :], ramp[:, None], np.uint8(90)), axis=-1)
    dataset.Modality = "OT"
    dataset.Rows = dataset.Columns = side_px
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PhotometricInterpretation = "YBR_FULL_422" if compressed else "RGB"
    dataset.PixelData = encapsulate([_jpeg(pixels)]) if compressed else pixels.tobytes()
    dataset["PixelData"].VR = "OB"
    return dataset


def _jpeg(pixels: np.ndarray) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95, subsampling="4:2:2")
    return stream.getvalue()


def write(dataset: Dataset, path: Path, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> Path:
    """Write a dataset as a DICOM file."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_picture(path: Path, compressed: bool = False, side_px: int = 64) -> Path:
    """Write a picture, as JPEG Baseline where compressed."""
    return write(picture(compressed, side_px), path, JPEGBaseline8Bit if compressed else ExplicitVRLittleEndian)
