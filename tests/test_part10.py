from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.filereader import read_dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from node.errors import Parked
from node.part10 import Part10File
from tests.scp import instance, write, write_picture


def read_back(data_set, implicit):
    return read_dataset(BytesIO(data_set), is_implicit_VR=implicit, is_little_endian=True)


def test_a_file_is_known_by_its_meta_information(tmp_path):
    dataset = instance()
    file = Part10File.read(write(dataset, tmp_path / "report.dcm"))
    assert file.sop_class_uid == dataset.SOPClassUID
    assert file.sop_instance_uid == dataset.SOPInstanceUID
    assert file.transfer_syntax_uid == ExplicitVRLittleEndian
    assert not file.is_compressed


def test_the_files_own_transfer_syntax_gives_the_very_bytes_of_the_file(tmp_path):
    path = write(instance(), tmp_path / "report.dcm")
    data_set = Part10File.read(path).data_set(ExplicitVRLittleEndian)
    assert path.read_bytes().endswith(data_set)
    assert read_back(data_set, implicit=False) == dcmread(path)


def test_another_transfer_syntax_gives_the_same_data_set(tmp_path):
    path = write(instance(), tmp_path / "report.dcm")
    data_set = Part10File.read(path).data_set(ImplicitVRLittleEndian)
    again = read_back(data_set, implicit=True)
    assert again.SOPInstanceUID == dcmread(path).SOPInstanceUID
    assert again.TextValue == "Research use only"
    assert data_set != Part10File.read(path).data_set(ExplicitVRLittleEndian)


def test_a_compressed_picture_is_unpacked_under_its_own_uid(tmp_path):
    raw = dcmread(write_picture(tmp_path / "raw.dcm"))
    file = Part10File.read(write_picture(tmp_path / "jpeg.dcm", compressed=True))
    assert file.is_compressed
    assert file.transfer_syntax_uid == JPEGBaseline8Bit
    again = read_back(file.data_set(ExplicitVRLittleEndian), implicit=False)
    assert again.SOPInstanceUID == file.sop_instance_uid
    assert again.PhotometricInterpretation == "RGB"
    pixels = np.frombuffer(again.PixelData, np.uint8).reshape(raw.pixel_array.shape)
    assert np.abs(pixels.astype(int) - raw.pixel_array).mean() < 4  # JPEG at quality 95 on a gradient


@pytest.mark.parametrize("content", [None, b"", b"no DICOM file", bytes(132), b"\0" * 128 + b"DICM"])
def test_a_file_that_cannot_be_read_is_parked_by_its_name(tmp_path, content):
    path = tmp_path / "report.dcm"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Parked, match=r"report\.dcm cannot be read"):
        Part10File.read(path)
