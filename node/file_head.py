"""What stands before the data set in a Part 10 file, written by hand: by pydicom it cost as much as answering does."""

from __future__ import annotations

import struct

from node.product import IMPLEMENTATION_CLASS_UID


def file_head(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, version_name: str = "") -> bytes:
    """Return the preamble, prefix and File Meta Information of an instance.

    It says nothing of the sender, so that an instance that comes again makes the same file.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid, transfer_syntax_uid : str
    version_name : str
        Implementation Version Name (0002,0013), at most 16 characters; left out where empty.

    Returns
    -------
    bytes

    References
    ----------
    DICOM PS3.10 7.1.
    """
    uids = {0x02: sop_class_uid, 0x03: sop_instance_uid, 0x10: transfer_syntax_uid, 0x12: IMPLEMENTATION_CLASS_UID}
    version = struct.pack("<HH2s2xL2s", 2, 0x01, b"OB", 2, b"\0\1")
    elements = version + b"".join(_element(element, b"UI", uid.encode(), b"\0") for element, uid in uids.items())
    if version_name:
        elements += _element(0x13, b"SH", version_name.encode("ascii"), b" ")
    return bytes(128) + b"DICM" + struct.pack("<HH2sHL", 2, 0x00, b"UL", 4, len(elements)) + elements


def _element(element: int, vr: bytes, value: bytes, pad: bytes) -> bytes:
    value += pad * (len(value) % 2)
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value
