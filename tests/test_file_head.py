"""What stands before a data set in a file is, byte by byte, what pydicom writes."""

import io

import pytest
from pydicom import dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from node.file_head import file_head
from node.product import IMPLEMENTATION_CLASS_UID
from tests.raw import CR, EXPLICIT


@pytest.mark.parametrize("version_name", ["", "EVEN", "ODD"])
@pytest.mark.parametrize("uid", ["1.2.3", "1.2.3.4"])
def test_the_head_is_the_one_that_pydicom_writes(uid, version_name):
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(CR), UID(uid)
    meta.TransferSyntaxUID, meta.ImplementationClassUID = UID(EXPLICIT), UID(IMPLEMENTATION_CLASS_UID)
    if version_name:
        meta.ImplementationVersionName = version_name
    expected = io.BytesIO()
    write_file_meta_info(expected, meta, enforce_standard=False)
    head = file_head(CR, uid, EXPLICIT, version_name)
    assert head[:132] == bytes(128) + b"DICM"
    length = head[132:144]  # pydicom leaves the group's length out where it does not add its version
    assert length == b"\2\0\0\0UL\4\0" + (len(head) - 144).to_bytes(4, "little")
    assert head[144:] == expected.getvalue()
    assert dcmread(io.BytesIO(head)).file_meta.MediaStorageSOPInstanceUID == uid
