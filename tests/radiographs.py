"""Small radiographs of an invented patient, encoded as a sender would, and their parts by hand."""

import struct
from pathlib import Path
from typing import Any

from pydicom import Dataset, FileMetaDataset
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)
from pynetdicom.dsutils import encode

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "dicom"

# Every one of these must never be seen in a log or a message.
PATIENT = {
    "PatientName": "Zyxwvut^Quirinia",
    "PatientID": "PID-8675309",
    "PatientBirthDate": "19610215",
    "AccessionNumber": "ACC-424242",
    "ReferringPhysicianName": "Referrer^Rudolf",
    "InstitutionName": "Sanatorium Berghof",
    "StudyDescription": "cough since Candlemas",
}
# Files without file meta information, and the transfer syntax they are in.
BARE = {
    "chest_CR-MONO1-10-chest.dcm": ImplicitVRLittleEndian,
    "ExplVR_BigEndNoMeta.dcm": ExplicitVRBigEndian,
    "ExplVR_LitEndNoMeta.dcm": ExplicitVRLittleEndian,
    "rtstruct.dcm": ImplicitVRLittleEndian,
}
STUDY_UID = "1.2.826.0.1.3680043.10.1.1"


def radiograph(study_instance_uid: str = STUDY_UID, side_px: int = 8, **changes: Any) -> Dataset:
    """Build a small CR image, 16 bits a pixel; a change to None takes an attribute away."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID = study_instance_uid
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[study_instance_uid])
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "CR", "CHEST", "PA"
    dataset.Manufacturer = "Invented Devices"
    for keyword, value in PATIENT.items():
        setattr(dataset, keyword, value)
    dataset.Rows = dataset.Columns = side_px
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = bytes(range(256)) * (2 * side_px * side_px // 256 + 1)
    dataset.PixelData = dataset.PixelData[: 2 * side_px * side_px]
    dataset["PixelData"].VR = "OW"
    for keyword, value in changes.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    return dataset


def encoded(dataset: Dataset, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> bytes:
    """Encode a data set, without file meta information."""
    uid = UID(transfer_syntax_uid)
    data: bytes | None = encode(dataset, uid.is_implicit_VR, uid.is_little_endian, uid.is_deflated)
    assert data is not None
    return data


def write_file(path: Path, dataset: Dataset, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> Path:
    """Write a Part 10 file in any transfer syntax; pixel data must be encapsulated where that asks for it."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID, meta.ImplementationClassUID = UID(transfer_syntax_uid), "1.2.3"
    with path.open("wb") as file:
        file.write(b"\0" * 128 + b"DICM")
        write_file_meta_info(file, meta)
        file.write(encoded(dataset, transfer_syntax_uid))
    return path


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """Encode an element by hand, Explicit VR Little Endian, with a length of its own where one is given."""
    length = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    if vr in b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split():
        return head + struct.pack("<HL", 0, length) + value
    return head + struct.pack("<H", length) + value


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    """Encode an element or an item by hand, Implicit VR Little Endian."""
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def split(path: Path) -> tuple[str | None, bytes]:
    """Take a file apart: its transfer syntax, None where nobody knows it, and its encoded data set."""
    content = path.read_bytes()
    if content[128:132] != b"DICM":
        return BARE.get(path.name), content
    with path.open("rb") as file:
        read_preamble(file, force=False)
        meta = _read_file_meta_info(file)
        return str(meta.get("TransferSyntaxUID", "")), content[file.tell() :]
