"""Whether a data set is the SOP instance it was announced as, told from its structure alone, before the node says yes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from pydicom.uid import UID

from node.door.walk import Structure, walk
from node.errors import CannotUnderstand, DataSetMismatch

SOP_CLASS_UID, SOP_INSTANCE_UID = 0x00080016, 0x00080018
STUDY_INSTANCE_UID, SERIES_INSTANCE_UID = 0x0020000D, 0x0020000E
MANUFACTURER, MODEL_NAME = 0x00080070, 0x00081090
SAMPLES, PHOTOMETRIC, FRAMES = 0x00280002, 0x00280004, 0x00280008
ROWS, COLUMNS, BITS = 0x00280010, 0x00280011, 0x00280100
PATIENT_ID = 0x00100020
_IDENTITY = (
    *(SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, PATIENT_ID),
    *(MANUFACTURER, MODEL_NAME),
)
WANTED = frozenset((*_IDENTITY, SAMPLES, PHOTOMETRIC, FRAMES, ROWS, COLUMNS, BITS))
_IS_UID = re.compile(r"[0-9.]{1,64}").fullmatch


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the receiver needs to know of an instance, all of it checked."""

    study_instance_uid: str
    patient_id: str
    manufacturer: str
    model_name: str


def inspect(data: bytes | memoryview, transfer_syntax_uid: str, sop_class_uid: str, sop_instance_uid: str) -> Inspected:
    """Check an encoded data set against the command that brought it.

    Parameters
    ----------
    data : bytes-like
        The data set in its transfer syntax.
    transfer_syntax_uid : str
    sop_class_uid, sop_instance_uid : str
        The Affected SOP Class and Instance UID of the C-STORE request.

    Returns
    -------
    Inspected

    Raises
    ------
    CannotUnderstand
        When the data set is malformed or cut short, its pixel data included.
    DataSetMismatch
        When its identifiers are missing, malformed, or not those of the command.

    References
    ----------
    DICOM PS3.4 Table B.2-1; PS3.5 8.1.1 (length of native pixel data), A.4 (encapsulated pixel data).
    """
    structure = walk(data, transfer_syntax_uid, WANTED)
    if structure.text(SOP_CLASS_UID) != sop_class_uid:
        raise DataSetMismatch("SOP Class UID differs from the command's")
    if structure.text(SOP_INSTANCE_UID) != sop_instance_uid:
        raise DataSetMismatch("SOP Instance UID differs from the command's")
    for tag, name in (
        (SOP_INSTANCE_UID, "SOP Instance"),
        (STUDY_INSTANCE_UID, "Study Instance"),
        (SERIES_INSTANCE_UID, "Series Instance"),
    ):
        if not _IS_UID(structure.text(tag)):
            raise DataSetMismatch(f"{name} UID is missing or malformed")
    _check_pixel_data(structure, _is_encapsulated(transfer_syntax_uid))
    return Inspected(
        structure.text(STUDY_INSTANCE_UID),
        structure.text(PATIENT_ID),
        structure.text(MANUFACTURER),
        structure.text(MODEL_NAME),
    )


@lru_cache  # pydicom looks at the whole UID anew for each instance
def _is_encapsulated(transfer_syntax_uid: str) -> bool:
    return bool(UID(transfer_syntax_uid).is_encapsulated)


def _check_pixel_data(structure: Structure, encapsulated: bool) -> None:
    """Refuse pixel data that is not what the header says; its absence is the gate's to judge."""
    if structure.fragments is not None and (not encapsulated or structure.fragments == 0):
        raise CannotUnderstand("pixel data is encapsulated wrongly")
    if structure.native_length is None:
        return
    if encapsulated:
        raise CannotUnderstand("pixel data is not encapsulated")
    if structure.native_length < _native_length(structure):
        raise CannotUnderstand("pixel data is shorter than the image")


def _native_length(structure: Structure) -> int:
    """Return the bytes that native pixel data must have at least."""
    frames = structure.text(FRAMES).removeprefix("+")
    samples = structure.number(SAMPLES, 1)
    if "422" in structure.text(PHOTOMETRIC):  # PS3.3 C.7.6.3.1.2: two chrominance samples for each two pixels
        samples = 2
    bits = structure.number(ROWS) * structure.number(COLUMNS) * samples * structure.number(BITS)
    return (bits * (int(frames) if frames.isdecimal() else 1) + 7) // 8
