"""The walker sees the whole of a data set, to its last byte."""

import mmap
import zlib
from pathlib import Path

import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from node.door.walk import (
    ITEM,
    PIXEL_DATA,
    SEQUENCE_DELIMITER,
    UNDEFINED_LENGTH,
    walk,
)
from node.errors import CannotUnderstand
from tests.radiographs import SHARED, element, encoded, implicit, radiograph, split
from tests.walks import (
    EVERY_FORM,
    REFERENCED_IMAGES,
    ROWS,
    SOP_INSTANCE_UID,
    UNCOMPRESSED,
    passes,
    refused,
    small_header,
)

PYDICOM = Path(pydicom.__file__).parent / "data"

# pydicom's own test files that no receiver should take, and why.
NOT_A_DATA_SET = {
    "MR_truncated.dcm": "a value overruns its place",
    "rtplan_truncated.dcm": "a value overruns its place",
    "SC_rgb_jpeg.dcm": "no value representation",  # Implicit VR under a transfer syntax of Explicit VR
    "meta_missing_tsyntax.dcm": "a group below 0008",
    "nested_priv_SQ.dcm": "a group below 0008",
}


def real_files():
    found = [*SHARED.glob("*.dcm"), *(path for path in PYDICOM.rglob("*") if path.is_file())]
    return sorted(path for path in found if split_or_none(path))


def split_or_none(path):
    try:
        transfer_syntax_uid, data = split(path)
    except (pydicom.errors.InvalidDicomError, OSError):
        return None
    return (transfer_syntax_uid, data) if transfer_syntax_uid is not None else None


def is_broken(path):
    return path.name in NOT_A_DATA_SET or "DICOMDIR" in path.name


# What real files say


@pytest.mark.skipif(not SHARED.exists(), reason="the shared radiographs are not on this machine")
def test_every_shared_radiograph_passes():
    files = sorted(SHARED.glob("*.dcm"))
    assert len(files) > 20
    for path in files:
        transfer_syntax_uid, data = split(path)
        passes(data, transfer_syntax_uid)


def test_every_test_file_of_pydicom_passes_but_the_broken_ones():
    passed = 0
    for path in real_files():
        transfer_syntax_uid, data = split(path)
        if path.name in NOT_A_DATA_SET:
            assert NOT_A_DATA_SET[path.name] in refused(data, transfer_syntax_uid), path
        elif is_broken(path):
            assert "a group below 0008" in refused(data, transfer_syntax_uid), path
        else:
            passes(data, transfer_syntax_uid)
            passed += 1
    assert passed > 150


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("path", [path for path in real_files() if not is_broken(path)], ids=lambda path: path.name)
def test_what_is_found_is_what_pydicom_reads(path):
    transfer_syntax_uid, data = split(path)
    dataset = pydicom.dcmread(path, force=True)
    found = passes(data, transfer_syntax_uid, {SOP_INSTANCE_UID, ROWS})
    assert found.text(SOP_INSTANCE_UID) == str(dataset.get("SOPInstanceUID", ""))
    assert found.number(ROWS) == int(dataset.get("Rows", 0) or 0)
    if "PixelData" not in dataset:
        assert found.native_length is found.fragments is None
    elif found.fragments is None:
        assert found.native_length == len(dataset.PixelData)
    else:
        assert found.fragments >= int(dataset.get("NumberOfFrames", 1) or 1)


# Cut short


def top_level_boundaries(data, transfer_syntax_uid):
    """Byte offsets at which the data set may end, as pydicom sees its elements."""
    uid = pydicom.uid.UID(transfer_syntax_uid)
    stream = DicomBytesIO(data)
    stream.is_little_endian, stream.is_implicit_VR = uid.is_little_endian, uid.is_implicit_VR
    elements = pydicom.filereader.data_element_generator(stream, uid.is_implicit_VR, uid.is_little_endian)
    return {stream.tell() for _ in elements}


@pytest.mark.parametrize("undefined_lengths", [True, False], ids=["undefined", "explicit"])
@pytest.mark.parametrize("transfer_syntax_uid", UNCOMPRESSED, ids=lambda uid: uid.name)
def test_a_cut_at_any_byte_is_noticed_but_between_two_elements_of_the_top_level(transfer_syntax_uid, undefined_lengths):
    data = encoded(small_header(undefined_lengths), transfer_syntax_uid)
    boundaries = top_level_boundaries(data, transfer_syntax_uid)
    passes(data, transfer_syntax_uid)
    taken = set()
    for cut in range(1, len(data)):
        try:
            walk(data[:cut], transfer_syntax_uid, frozenset())
            taken.add(cut)
        except CannotUnderstand:
            continue
    # Big Endian: the tag after a boundary begins with a zero byte, which alone reads as padding.
    padded = {cut + 1 for cut in boundaries if data[cut : cut + 1] == b"\0"}
    assert taken == (boundaries | padded) - {len(data), len(data) + 1}
    assert len(taken) > 20


@pytest.mark.skipif(not SHARED.exists(), reason="the shared radiographs are not on this machine")
def test_a_real_radiograph_cut_anywhere_in_its_header_is_noticed_too():
    transfer_syntax_uid, data = split(SHARED / "chest_dx_image.dcm")
    boundaries = top_level_boundaries(data, transfer_syntax_uid)
    taken = set()
    for cut in range(1, 2000):
        try:
            walk(data[:cut], transfer_syntax_uid, frozenset())
            taken.add(cut)
        except CannotUnderstand:
            continue
    assert taken == {cut for cut in boundaries if cut < 2000}


def test_encapsulated_pixel_data_is_whole_only_with_its_delimiter():
    data = element(PIXEL_DATA, b"OB", encapsulate([b"\xff\xd8 a frame", b"\xff\xd8 one more"]), UNDEFINED_LENGTH)
    assert passes(data + implicit(SEQUENCE_DELIMITER, b""), JPEGBaseline8Bit).fragments == 2
    complete = data + implicit(SEQUENCE_DELIMITER, b"")
    for cut in range(1, len(complete)):
        refused(complete[:cut], JPEGBaseline8Bit)


def test_a_deflated_data_set_is_whole_only_to_its_last_byte():
    data = zlib.compress(encoded(radiograph()), wbits=-15)
    passes(data, DeflatedExplicitVRLittleEndian)
    for cut in range(1, len(data)):
        refused(data[:cut], DeflatedExplicitVRLittleEndian)


def test_nothing_at_all_is_no_data_set_nor_is_padding_alone():
    assert refused(b"") == "the data set is empty"
    assert "cut short" in refused(b"\0")
    for count in (8, 100):
        assert "group below 0008" in refused(bytes(count))


# Padding


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 511, 5000])
@pytest.mark.parametrize("transfer_syntax_uid", UNCOMPRESSED, ids=lambda uid: uid.name)
def test_zeros_at_the_end_are_taken_for_padding(transfer_syntax_uid, count):
    passes(encoded(radiograph(), transfer_syntax_uid) + bytes(count), transfer_syntax_uid)


@pytest.mark.parametrize("tail", [b"\1", b" ", b"\0\1", bytes(8) + b"\1", bytes(5000) + b"\1", bytes(4104) + b"\1\0"])
def test_any_other_byte_at_the_end_is_not(tail):
    refused(encoded(radiograph()) + tail)


def test_a_zero_byte_does_not_close_a_sequence():
    opened = element(REFERENCED_IMAGES, b"SQ", b"", UNDEFINED_LENGTH) + implicit(ITEM, b"", UNDEFINED_LENGTH)
    assert "cut short" in refused(opened + b"\0")
    assert "cut short" in refused(opened + element(0x00081150, b"UI", b"1.2\0") + b"\0")
    assert "cut short" in refused(element(REFERENCED_IMAGES, b"SQ", implicit(ITEM, b"\0")))


def test_the_standards_own_trailing_padding_is_an_element_like_any_other():
    passes(encoded(radiograph()) + element(0xFFFCFFFC, b"OB", b"\0" * 10))


# Values


def test_wanted_values_of_the_top_level_are_kept_and_no_others():
    dataset = small_header(undefined_lengths=True)
    found = passes(encoded(dataset), wanted={SOP_INSTANCE_UID, 0x00081155, ROWS})
    assert found.text(SOP_INSTANCE_UID) == dataset.SOPInstanceUID
    assert found.number(ROWS) == 2
    assert set(found.values) == {SOP_INSTANCE_UID, ROWS}


@pytest.mark.parametrize("transfer_syntax_uid", EVERY_FORM, ids=lambda uid: uid.name)
def test_numbers_and_texts_are_read_in_every_byte_order(transfer_syntax_uid):
    dataset = radiograph(Rows=258, Columns=1)
    found = passes(encoded(dataset, transfer_syntax_uid), transfer_syntax_uid, {ROWS, SOP_INSTANCE_UID})
    assert found.number(ROWS) == 258
    assert found.text(SOP_INSTANCE_UID) == dataset.SOPInstanceUID
    assert found.native_length == len(dataset.PixelData)


def test_an_absent_value_is_an_empty_text_and_the_default_number():
    found = passes(encoded(radiograph()), wanted={0x00180015})
    assert (found.text(0x00280008), found.number(0x00280008), found.number(0x00280008, 3)) == ("", 0, 3)


def test_a_number_of_another_length_is_the_default():
    assert passes(element(ROWS, b"US", b"\1\0\2\0"), wanted={ROWS}).number(ROWS, 7) == 7
    assert passes(element(ROWS, b"US", b""), wanted={ROWS}).number(ROWS, 7) == 7


def test_a_wanted_value_beyond_1024_bytes_is_kept_empty():
    data = element(0x00080070, b"LO", b"A" * 1024) + element(0x00081090, b"LO", b"A" * 1026)
    found = passes(data, wanted={0x00080070, 0x00081090})
    assert (len(found.text(0x00080070)), found.text(0x00081090)) == (1024, "")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, "mmap"])
def test_the_data_may_lie_in_any_buffer(tmp_path, kind):
    data = encoded(radiograph())
    if kind == "mmap":
        (tmp_path / "data").write_bytes(data)
        with (tmp_path / "data").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert passes(mapped).native_length == 128
    else:
        assert passes(kind(data)).native_length == 128
