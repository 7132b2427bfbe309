"""From a film to the model's input: both doors, the gray scale pipeline and its traps, damaged instances."""

import errno
import io
import json
import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_windowing
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from node import grayscale, pixels
from node.attributes import DAMAGE
from node.errors import NotAssessable, Reason
from node.pixels import InputSpec, model_input, read_dicom, read_picture

ROWS, COLUMNS = 48, 64
RAMP = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)


def film(words, **attributes):
    """A DX instance around these words; any attribute can be set, or left out by giving None."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    bits = 8 * words.dtype.itemsize
    header = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1",
        "SOPInstanceUID": "1.2.3",
        "Rows": words.shape[0],
        "Columns": words.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": attributes.get("BitsStored", bits) - 1,
        "PixelRepresentation": int(words.dtype.kind == "i"),
        "PixelData": words.tobytes(),
    }
    for keyword, value in (header | attributes).items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def lut(entries, first=0, bits=16, count=None, data=None):
    item = Dataset()
    item.LUTDescriptor = [len(entries) if count is None else count, first, bits]
    item.LUTData = list(entries) if data is None else data
    item["LUTData"].VR = "US" if data is None else "OW"
    item["LUTDescriptor"].VR = "SS" if first < 0 else "US"
    return item


def twelve_bit(**attributes):
    return film((RAMP % 4096).astype(np.uint16), BitsStored=12, **attributes)


def reason_of(dataset):
    with pytest.raises(NotAssessable) as refusal:
        read_dicom(dataset)
    return refusal.value.reason


# Two doors, one room


@pytest.fixture
def gray():
    """An 8-bit picture with every gray value, and soft shapes as a film has."""
    noise = np.random.default_rng(7).random((240, 200))
    smooth = cv2.GaussianBlur(noise, (0, 0), 12)
    picture = (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)
    picture.ravel()[:256] = np.arange(256)
    return picture


def wrappings(gray):
    deep = gray.astype(np.uint16) * 16
    exact = {"VOILUTFunction": "LINEAR_EXACT", "WindowCenter": 2040, "WindowWidth": 4080}
    inverted = {"PhotometricInterpretation": "MONOCHROME1"}
    return {
        "8 bit": film(gray),
        "8 bit inverted": film(255 - gray, **inverted),
        "8 bit in 16": film(gray.astype(np.uint16), BitsStored=8),
        "12 bit": film(deep, BitsStored=12, **exact),
        "12 bit inverted": film(4080 - deep, BitsStored=12, **exact, **inverted),
        "12 bit rescaled": film(
            deep,
            BitsStored=12,
            RescaleSlope="0.0625",
            RescaleIntercept="-100",
            VOILUTFunction="LINEAR_EXACT",
            WindowCenter="27.5",
            WindowWidth="255",
        ),
        "negative slope": film(
            deep,
            BitsStored=12,
            RescaleSlope=-1,
            RescaleIntercept=4080,
            **exact,
            PhotometricInterpretation="MONOCHROME1",
        ),
        "signed": film((deep.astype(np.int16) - 2040), BitsStored=12, **exact | {"WindowCenter": 0}),
        "VOI LUT": film(gray, VOILUTSequence=Sequence([lut(range(0, 256 * 257, 257))])),
    }


@pytest.mark.parametrize("wrapping", list(wrappings(np.zeros((2, 2), np.uint8))))
def test_one_picture_through_both_doors_gives_equal_planes_and_inputs(gray, wrapping, tmp_path):
    cv2.imwrite(str(tmp_path / "film.png"), gray)
    pydicom.dcmwrite(tmp_path / "film.dcm", wrappings(gray)[wrapping], enforce_file_format=True)
    by_picture, by_dicom = read_picture(tmp_path / "film.png"), read_dicom(tmp_path / "film.dcm")
    np.testing.assert_array_equal(by_picture, by_dicom)
    np.testing.assert_array_equal(model_input(by_picture, InputSpec()), model_input(by_dicom, InputSpec()))


def test_a_picture_in_color_16_bit_or_turned_gives_the_same_plane(gray, tmp_path):
    cv2.imwrite(str(tmp_path / "gray.png"), gray)
    cv2.imwrite(str(tmp_path / "rgb.png"), cv2.merge([gray] * 3))
    cv2.imwrite(str(tmp_path / "deep.png"), gray.astype(np.uint16) * 257)
    expected = (gray / 255.0).astype(np.float32)
    for name in ("gray.png", "rgb.png", "deep.png"):
        np.testing.assert_allclose(read_picture(tmp_path / name), expected, atol=1e-7)


def test_a_plane_has_the_films_size_and_runs_from_black_to_white():
    plane = read_dicom(twelve_bit(WindowCenter=1000, WindowWidth=500))
    assert plane.shape == (ROWS, COLUMNS) and plane.dtype == np.float32
    assert plane.min() == 0 and plane.max() == 1
    assert plane[0, 0] == 0 and plane[-1, -1] == 1


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\xff\xd8\xff\xe0 cut", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_picture_is_broken(content, tmp_path):
    (tmp_path / "film.jpg").write_bytes(content)
    with pytest.raises(NotAssessable) as refusal:
        read_picture(tmp_path / "film.jpg")
    assert refusal.value.reason is Reason.BROKEN_PIXELS


def test_a_picture_of_one_gray_is_broken(tmp_path):
    cv2.imwrite(str(tmp_path / "film.png"), np.full((20, 20), 90, np.uint8))
    with pytest.raises(NotAssessable) as refusal:
        read_picture(tmp_path / "film.png")
    assert refusal.value.reason is Reason.BROKEN_PIXELS


def test_a_missing_file_is_the_machines_trouble_not_the_films(tmp_path):
    for read in (read_dicom, read_picture):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "nowhere")


# A file that is mapped


def large(**attributes):
    """A film whose pixel data are left where they lie."""
    return film((np.arange(300 * 320).reshape(300, 320) % 4096).astype(np.uint16), BitsStored=12, **attributes)


def part_10(dataset, syntax=ExplicitVRLittleEndian):
    buffer = io.BytesIO()
    dataset.file_meta.TransferSyntaxUID = syntax
    explicit, big = syntax != ImplicitVRLittleEndian, syntax == ExplicitVRBigEndian
    pydicom.dcmwrite(buffer, dataset, implicit_vr=not explicit, little_endian=not big, enforce_file_format=True)
    return buffer.getvalue()


def outcome(source):
    try:
        return read_dicom(source).tobytes()
    except NotAssessable as refusal:
        return refusal.reason, refusal.detail


PIXELS, EXPLICIT = b"\xe0\x7f\x10\x00", b"\xe0\x7f\x10\x00OW\0\0"
ODDITIES = {
    "none": lambda content, at: content,
    "VR UN": lambda content, at: content.replace(EXPLICIT, EXPLICIT.replace(b"OW", b"UN")),
    "VR US": lambda content, at: content.replace(EXPLICIT, EXPLICIT.replace(b"OW", b"US")),
    "no VR": lambda content, at: content.replace(EXPLICIT, PIXELS),
    "undefined length": lambda content, at: content.replace(LENGTH, b"\xff" * 4) + ITEMS_END,
    "trailing padding": lambda content, at: content + b"\xfc\xff\xfc\xffOB\0\0\x04\0\0\0none",
    "no preamble": lambda content, at: content[132:],
    "pixels first": lambda content, at: b"".join([content[:294], content[at:], content[294:at]]),
    "another syntax": lambda content, at: content.replace(b".1.2.1\0", b".1.2.5\0"),
}
LENGTH = (300 * 320 * 2).to_bytes(4, "little")
ITEMS_END = b"\xfe\xff\xdd\xe0\0\0\0\0"


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about the damage
@pytest.mark.parametrize("oddity", ODDITIES)
@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=lambda syntax: syntax.name,
)
def test_a_file_gives_what_its_bytes_in_memory_give_whole_or_cut_short(oddity, syntax, tmp_path):
    content = part_10(large(WindowCenter=2000, WindowWidth=3000), syntax)
    content = ODDITIES[oddity](content, content.rfind(PIXELS))
    at = content.rfind(PIXELS)
    for end in (None, -1, -2, -900, at + 20, at + 12, at + 8, 9):
        (tmp_path / "film.dcm").write_bytes(content[:end])
        try:
            expected = outcome(pydicom.dcmread(io.BytesIO(content[:end]), force=True))
        except DAMAGE as error:
            expected = Reason.BROKEN_PIXELS, f"header: {type(error).__name__}"
        assert outcome(tmp_path / "film.dcm") == expected, end


@pytest.mark.filterwarnings("ignore:The value for the data element")  # as UN, for it is too long for US
def test_a_value_that_is_looked_up_late_counts_all_the_same(tmp_path):
    table = np.linspace(65535, 0, 65536).astype(int)
    dataset = large(VOILUTSequence=Sequence([lut(table, count=0)]))
    (tmp_path / "film.dcm").write_bytes(part_10(dataset))
    np.testing.assert_array_equal(read_dicom(tmp_path / "film.dcm"), read_dicom(dataset))


def test_a_plane_outlives_its_file_and_leaves_no_map_behind(tmp_path):
    path = tmp_path / "film.dcm"
    path.write_bytes(part_10(large()))
    plane = read_dicom(path)
    assert str(path) not in Path("/proc/self/maps").read_text()
    path.write_bytes(b"")
    np.testing.assert_array_equal(plane, read_dicom(large()))


def test_a_pipe_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as pool:
        pool.submit((tmp_path / "pipe").write_bytes, part_10(large()))
        np.testing.assert_array_equal(read_dicom(tmp_path / "pipe"), read_dicom(large()))


def test_a_file_whose_pages_cannot_be_had_is_read(tmp_path, monkeypatch):
    path = tmp_path / "film.dcm"
    path.write_bytes(part_10(large()))

    class Shrinking(pixels._Mapped):
        def madvise(self, option):
            os.truncate(path, 20_000)
            super().madvise(option)

    monkeypatch.setattr(pixels, "_Mapped", Shrinking)
    assert outcome(path) == (Reason.BROKEN_PIXELS, "length of pixel data")


def test_a_file_for_whose_map_there_is_no_room_is_read(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOMEM, "")

    (tmp_path / "film.dcm").write_bytes(part_10(large()))
    monkeypatch.setattr(pixels, "_Mapped", full)
    np.testing.assert_array_equal(read_dicom(tmp_path / "film.dcm"), read_dicom(large()))


# The model's input


def test_the_model_input_has_the_specs_shape_and_three_equal_channels(gray):
    made = model_input(gray.astype(np.float32) / 255, InputSpec(rows=160, columns=128))
    assert made.shape == (160, 128, 3) and made.dtype == np.float32
    np.testing.assert_array_equal(made[..., 0], made[..., 2])
    assert made.min() == 0 and made.max() == 1


def test_percentiles_make_the_input_blind_to_a_linear_window(gray):
    plane = gray.astype(np.float32) / 255
    spec = InputSpec()
    np.testing.assert_allclose(model_input(plane * 0.4 + 0.3, spec), model_input(plane, spec), atol=1e-5)


def test_without_percentiles_the_plane_is_only_resized():
    plane = np.tile(np.linspace(0.2, 0.6, 448, dtype=np.float32), (448, 1))
    made = model_input(plane, InputSpec(percentiles=None))
    np.testing.assert_allclose(made[:, :, 0], plane.reshape(224, 2, 224, 2).mean((1, 3)), atol=1e-6)


def test_a_plane_without_contrast_stays_as_it_is():
    made = model_input(np.full((300, 300), 0.5, np.float32), InputSpec())
    np.testing.assert_allclose(made, 0.5, atol=1e-6)


def test_the_spec_travels_through_json():
    for spec in (InputSpec(), InputSpec(160, 128, "linear", None)):
        assert InputSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    "wrong",
    [{"rows": 0}, {"columns": -1}, {"interpolation": "guess"}, {"percentiles": (99, 1)}, {"percentiles": (0, 101)}],
)
def test_a_spec_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=r"is one of|at least|rising pair"):
        InputSpec(**wrong)


# Modality LUT and VOI LUT


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # pydicom's own
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(2048, 4096), (1000, 300.5), (700, 1 + 1e-9), (2000, 2)])
def test_each_window_function_agrees_with_pydicoms(function, center, width):
    dataset = twelve_bit(
        WindowCenter=center, WindowWidth=width, VOILUTFunction=function, RescaleSlope=1, RescaleIntercept=0
    )
    theirs = apply_windowing((RAMP % 4096).astype(np.uint16), dataset) / 4095
    np.testing.assert_allclose(read_dicom(dataset), theirs, atol=1e-6)


def test_a_linear_window_one_wide_is_a_threshold():
    plane = read_dicom(twelve_bit(WindowCenter=1000, WindowWidth=1))
    np.testing.assert_array_equal(plane, (RAMP % 4096 > 999.5).astype(np.float32))


def test_the_first_usable_window_is_taken():
    first = read_dicom(twelve_bit(WindowCenter=[1000, 2000], WindowWidth=[500, 100]))
    np.testing.assert_array_equal(first, read_dicom(twelve_bit(WindowCenter=1000, WindowWidth=500)))
    second = read_dicom(twelve_bit(WindowCenter=[1000, 2000], WindowWidth=[0, 900]))
    np.testing.assert_array_equal(second, read_dicom(twelve_bit(WindowCenter=2000, WindowWidth=900)))


def test_the_voi_lut_sequence_comes_before_the_window():
    table = np.linspace(65535, 0, 4096).astype(int)
    plane = read_dicom(twelve_bit(VOILUTSequence=Sequence([lut(table)]), WindowCenter=1000, WindowWidth=500))
    np.testing.assert_allclose(plane, table[RAMP % 4096] / 65535, atol=1e-6)


@pytest.mark.parametrize(
    "unusable",
    [
        {},
        {"WindowCenter": 2048},
        {"WindowWidth": 4096},
        {"WindowCenter": 2048, "WindowWidth": 0},
        {"WindowCenter": 2048, "WindowWidth": -5},
        {"WindowCenter": 90000, "WindowWidth": 10},
        {"WindowCenter": 2048, "WindowWidth": 1e9},
        {"WindowCenter": [], "WindowWidth": []},
    ],
)
def test_without_a_usable_window_a_deep_film_is_shown_between_percentiles(unusable):
    words = np.full((100, 100), 500, np.uint16)
    words[10:90, 10:90] = np.arange(6400).reshape(80, 80) // 8 + 200
    words[0, :3] = 4095
    plane = read_dicom(film(words, BitsStored=12, **unusable))
    low, high = np.percentile(words, [0.5, 99.5], method="inverted_cdf").astype(float)
    np.testing.assert_allclose(plane, np.clip((words - low) / (high - low), 0, 1), atol=1e-6)


@pytest.mark.parametrize("odd", [b"1000.0", b" 1000", b"+1.0E3 ", b"1000\\2000", b"1000\\no", b"no", b"1,000"])
def test_a_window_written_oddly_is_understood_or_passed_over(odd, tmp_path):
    plain = twelve_bit(WindowWidth=[500, 500])
    pydicom.dcmwrite(tmp_path / "film.dcm", plain, enforce_file_format=True)
    content = (tmp_path / "film.dcm").read_bytes()
    center = b"\x28\x00\x50\x10DS" + (len(odd) + len(odd) % 2).to_bytes(2, "little") + odd + b" " * (len(odd) % 2)
    (tmp_path / "odd.dcm").write_bytes(content.replace(b"\x28\x00\x51\x10DS", center + b"\x28\x00\x51\x10DS"))
    plane = read_dicom(tmp_path / "odd.dcm")
    expected = twelve_bit() if odd in (b"no", b"1,000") else twelve_bit(WindowCenter=1000, WindowWidth=500)
    np.testing.assert_array_equal(plane, read_dicom(expected))


def test_an_8_bit_film_without_a_window_keeps_its_full_range():
    plane = read_dicom(film((RAMP % 100 + 50).astype(np.uint8)))
    np.testing.assert_allclose(plane, (RAMP % 100 + 50) / 255, atol=1e-6)


def test_a_rescaled_8_bit_film_keeps_its_full_range():
    plane = read_dicom(film((RAMP % 100 + 50).astype(np.uint8), RescaleSlope=16, RescaleIntercept=-1000))
    np.testing.assert_allclose(plane, (RAMP % 100 + 50) / 255, atol=1e-6)


def test_a_modality_lut_comes_before_the_window():
    table = (np.arange(4096) ** 2) >> 8
    plane = read_dicom(twelve_bit(ModalityLUTSequence=Sequence([lut(table)]), WindowCenter=20000, WindowWidth=30000))
    direct = film(table[RAMP % 4096].astype(np.uint16), WindowCenter=20000, WindowWidth=30000)
    np.testing.assert_array_equal(plane, read_dicom(direct))


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_the_output_range_of_a_voi_lut_is_that_of_its_bits(bits):
    table = np.arange(4096) * ((1 << bits) - 1) // 4095
    plane = read_dicom(twelve_bit(VOILUTSequence=Sequence([lut(table, bits=bits)])))
    np.testing.assert_allclose(plane, table[RAMP % 4096] / ((1 << bits) - 1), atol=1e-6)


def test_a_voi_lut_that_holds_more_than_its_stated_bits_does_not_wrap():
    table = np.arange(4096)
    plane = read_dicom(twelve_bit(VOILUTSequence=Sequence([lut(table, bits=10)])))
    np.testing.assert_allclose(plane, (RAMP % 4096) / 4095, atol=1e-6)


def test_zero_entries_in_a_lut_descriptor_mean_65536():
    table = np.arange(65535, -1, -1)
    words = (RAMP * 21).astype(np.uint16)
    plane = read_dicom(film(words, VOILUTSequence=Sequence([lut(table, count=0)])))
    np.testing.assert_allclose(plane, 1 - words / 65535, atol=1e-6)


@pytest.mark.parametrize("stored_as", ["signed", "unsigned"])
def test_a_lut_may_start_below_zero_whatever_sign_its_vr_gives(stored_as):
    words = (RAMP - 1500).astype(np.int16)
    item = lut(range(0, 4096 * 16, 16), first=-2048 if stored_as == "signed" else 65536 - 2048)
    plane = read_dicom(film(words, VOILUTSequence=Sequence([item])))
    np.testing.assert_allclose(plane, (RAMP - 1500 + 2048) * 16 / 65535, atol=1e-6)


@pytest.mark.parametrize("bits", [8, 16])
def test_lut_data_kept_as_bytes_are_read(bits):
    table = np.linspace(0, (1 << bits) - 1, 4096).astype("<u2" if bits == 16 else np.uint8)
    plane = read_dicom(twelve_bit(VOILUTSequence=Sequence([lut(table, bits=bits, data=table.tobytes())])))
    np.testing.assert_allclose(plane, table[RAMP % 4096] / ((1 << bits) - 1), atol=1e-6)


def test_a_lut_survives_the_implicit_transfer_syntax(tmp_path):
    table = np.linspace(65535, 0, 4096).astype(int)
    dataset = twelve_bit(VOILUTSequence=Sequence([lut(table)]))
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    pydicom.dcmwrite(tmp_path / "film.dcm", dataset, implicit_vr=True, little_endian=True, enforce_file_format=True)
    np.testing.assert_allclose(read_dicom(tmp_path / "film.dcm"), table[RAMP % 4096] / 65535, atol=1e-6)


@pytest.mark.parametrize("broken", [lut([]), lut(range(9), bits=40), lut(range(9), bits=0), Dataset()])
def test_a_broken_lut_is_passed_over_for_the_window(broken):
    plane = read_dicom(twelve_bit(VOILUTSequence=Sequence([broken]), WindowCenter=1000, WindowWidth=500))
    np.testing.assert_array_equal(plane, read_dicom(twelve_bit(WindowCenter=1000, WindowWidth=500)))


# Polarity


def test_monochrome1_alone_decides_which_end_is_white():
    window = {"WindowCenter": 1500, "WindowWidth": 3000}
    plain = read_dicom(twelve_bit(**window))
    for shape in (None, "IDENTITY", "INVERSE"):
        inverted = twelve_bit(**window, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape=shape)
        np.testing.assert_allclose(read_dicom(inverted), 1 - plain, atol=1e-6)
        np.testing.assert_array_equal(read_dicom(twelve_bit(**window, PresentationLUTShape=shape)), plain)


# Padding


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("limit", [None, 0, 10])
def test_padding_is_black_and_does_not_shift_the_percentiles(photometric, limit):
    words = (RAMP % 1000 + 1000).astype(np.uint16)
    bare = read_dicom(film(words[8:], BitsStored=12, PhotometricInterpretation=photometric))
    words[:8] = 5 if limit == 10 else 0
    attributes = {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": limit, "BitsStored": 12}
    plane = read_dicom(film(words, PhotometricInterpretation=photometric, **attributes))
    assert (plane[:8] == 0).all()
    np.testing.assert_array_equal(plane[8:], bare)


def test_signed_padding_is_found_even_where_its_vr_lost_the_sign():
    words = (RAMP % 1000).astype(np.int16)
    words[:8] = -2000
    for padding in (-2000, 63536):
        dataset = film(words)
        dataset.add_new("PixelPaddingValue", "SS" if padding < 0 else "US", padding)
        plane = read_dicom(dataset)
        assert (plane[:8] == 0).all() and plane[8:].max() == 1
        np.testing.assert_array_equal(plane[8:], read_dicom(film(words[8:])))


def test_signed_padding_that_lost_its_sign_is_found_where_no_pixel_is_below_zero():
    words = (RAMP % 1000).astype(np.int16)
    padding = {"PixelPaddingValue": 65536 - 100, "PixelPaddingRangeLimit": 10}
    plane = read_dicom(film(words, BitsStored=9, WindowCenter=500, WindowWidth=1000, **padding))
    assert (plane[words <= 10] == 0).all() and plane.max() > 0.9


def test_a_film_of_padding_only_is_broken():
    assert reason_of(twelve_bit(PixelPaddingValue=0, PixelPaddingRangeLimit=4095)) is Reason.BROKEN_PIXELS


# How a word holds its value

WINDOW = {"WindowCenter": 1024, "WindowWidth": 3000}


def test_bits_stored_too_small_for_the_values_does_not_wrap_them():
    words = (RAMP % 3000).astype(np.uint16)
    honest = read_dicom(film(words, BitsStored=12, **WINDOW))
    np.testing.assert_array_equal(read_dicom(film(words, BitsStored=10, **WINDOW)), honest)


@pytest.mark.parametrize("declared", [True, False])
def test_overlay_bits_above_the_stored_ones_are_masked(declared):
    words = (RAMP % 4096).astype(np.uint16)
    marked = words | (RAMP % 7 == 0).astype(np.uint16) << 15
    dataset = film(marked, BitsStored=12, **WINDOW)
    if declared:
        marked |= (RAMP % 5 == 0).astype(np.uint16) << 12
        dataset.PixelData = marked.tobytes()
        dataset.add_new(0x60000100, "US", 16)
        dataset.add_new(0x60000102, "US", 15)
    np.testing.assert_array_equal(read_dicom(dataset), read_dicom(film(words, BitsStored=12, **WINDOW)))


def test_a_high_bit_that_moves_the_values_up_is_undone():
    words = (RAMP % 4096).astype(np.uint16)
    moved = film(words << 4 | 3, BitsStored=12, HighBit=15, **WINDOW)
    np.testing.assert_array_equal(read_dicom(moved), read_dicom(film(words, BitsStored=12, **WINDOW)))


@pytest.mark.parametrize("high_bit", [15, 3, 0, 99, None])
def test_a_high_bit_that_the_words_deny_is_not_believed(high_bit):
    words = (RAMP % 4096).astype(np.uint16)
    wrong = film(words, BitsStored=12, HighBit=high_bit, **WINDOW)
    np.testing.assert_array_equal(read_dicom(wrong), read_dicom(film(words, BitsStored=12, **WINDOW)))


@pytest.mark.parametrize("extended", [True, False])
def test_signed_values_are_read_with_and_without_sign_extension(extended):
    values = (RAMP % 4096 - 2048).astype(np.int16)
    words = values if extended else values & 0x0FFF
    plane = read_dicom(film(words, BitsStored=12, WindowCenter=0, WindowWidth=4000))
    expected = read_dicom(film((values + 2048).astype(np.uint16), BitsStored=12, WindowCenter=2048, WindowWidth=4000))
    np.testing.assert_array_equal(plane, expected)


# What is refused


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"PixelData": None}, Reason.NO_PIXELS),
        ({"PixelData": b""}, Reason.NO_PIXELS),
        ({"PixelData": bytes(100)}, Reason.BROKEN_PIXELS),
        ({"PixelData": bytes(ROWS * COLUMNS * 4)}, Reason.BROKEN_PIXELS),
        ({"PixelData": bytes(ROWS * COLUMNS * 2)}, Reason.BROKEN_PIXELS),
        ({"Rows": 0}, Reason.BROKEN_PIXELS),
        ({"Columns": None}, Reason.BROKEN_PIXELS),
        ({"Rows": 65535, "Columns": 65535}, Reason.PIXEL_FORMAT),
        ({"BitsAllocated": 32}, Reason.PIXEL_FORMAT),
        ({"BitsAllocated": 1}, Reason.PIXEL_FORMAT),
        ({"BitsAllocated": None}, Reason.PIXEL_FORMAT),
        ({"PhotometricInterpretation": None}, Reason.PIXEL_FORMAT),
        ({"PhotometricInterpretation": "GRAY"}, Reason.PIXEL_FORMAT),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, Reason.COLOR),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, Reason.COLOR),
        ({"SamplesPerPixel": 3}, Reason.COLOR),
        ({"NumberOfFrames": 2}, Reason.MULTI_FRAME),
        ({"RescaleSlope": 1e308, "RescaleIntercept": 1e308}, Reason.BROKEN_PIXELS),
    ],
)
def test_what_is_no_gray_film_is_refused_with_its_reason(change, reason):
    assert reason_of(twelve_bit(**change)) is reason


def test_floating_point_pixels_are_not_supported():
    dataset = twelve_bit(PixelData=None)
    dataset.FloatPixelData = np.zeros((ROWS, COLUMNS), np.float32).tobytes()
    assert reason_of(dataset) is Reason.PIXEL_FORMAT


@pytest.mark.parametrize("value", [0, 700, 4095])
def test_a_film_of_one_gray_value_is_broken(value):
    assert reason_of(film(np.full((ROWS, COLUMNS), value, np.uint16), BitsStored=12)) is Reason.BROKEN_PIXELS


def test_no_message_holds_a_value_of_the_header():
    dataset = twelve_bit(PatientName="Doe^Jane", PatientID="PID-77", PixelData=b"1234")
    with pytest.raises(NotAssessable) as refusal:
        read_dicom(dataset)
    assert "Doe" not in str(refusal.value) and "PID" not in str(refusal.value)


# Damage of every kind


def assert_plane_or_reason(source):
    try:
        plane = read_dicom(source)
    except NotAssessable:
        return False
    assert plane.ndim == 2 and plane.dtype == np.float32
    assert np.isfinite(plane).all() and plane.min() >= 0 and plane.max() <= 1
    return True


numbers = st.one_of(st.integers(-70000, 70000), st.floats(allow_nan=True), st.sampled_from(["", "x", "1\\2", None]))
words = st.integers(0, 65535)


@st.composite
def headers(draw):
    """A small film whose header says anything about its gray scale."""
    allocated, dtype = draw(st.sampled_from([(8, np.uint8), (16, np.uint16), (16, np.int16)]))
    bits = draw(st.integers(1, allocated))
    pixels = np.random.default_rng(draw(words)).integers(0, 1 << bits, (5, 7)).astype(dtype)
    dataset = film(pixels, PhotometricInterpretation=draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"])))
    dataset.BitsStored, dataset.HighBit = draw(st.integers(0, 20)), draw(st.integers(0, 20))
    dataset.PixelRepresentation = draw(st.integers(0, 2))
    if padding := draw(st.one_of(st.none(), st.tuples(words, words))):
        dataset.PixelPaddingValue, dataset.PixelPaddingRangeLimit = padding
    for keyword in ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"):
        value = draw(numbers)
        dataset.add(pydicom.DataElement(keyword, "LO", "" if value is None else str(value)))
    dataset.VOILUTFunction = draw(st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]))
    if table := draw(st.one_of(st.none(), st.tuples(words, words, words, st.lists(words, max_size=20)))):
        *descriptor, entries = table
        item = Dataset()
        item.add_new("LUTDescriptor", "US", descriptor)
        item.add_new("LUTData", "US", entries)
        dataset.VOILUTSequence = dataset.ModalityLUTSequence = Sequence([item])
    return dataset


@settings(max_examples=300, deadline=None)
@given(headers())
def test_any_header_gives_a_plane_or_a_reason(dataset):
    assert_plane_or_reason(dataset)


@settings(max_examples=300, deadline=None)
@given(headers())
def test_a_table_of_the_words_that_may_occur_gives_what_one_of_all_words_gives(dataset):
    shorter = outcome(dataset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grayscale, "_worked_out", lambda counts, samples: counts.size)
        assert outcome(dataset) == shorter


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about the damage
def test_any_damage_to_a_file_gives_a_plane_or_a_reason(tmp_path):
    dataset = twelve_bit(**WINDOW, PatientName="Doe^Jane", PixelPaddingValue=0, RescaleSlope=1, RescaleIntercept=0)
    dataset.VOILUTSequence = Sequence([lut(range(4096), bits=12)])
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    whole, chance = buffer.getvalue(), random.Random(20260301)
    read = sum(assert_plane_or_reason(mutated(whole, chance, tmp_path / "film.dcm")) for _ in range(400))
    assert 0 < read < 400, "the mutations should break some files and spare some"


def mutated(content: bytes, chance: random.Random, path: Path) -> Path:
    changed = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 5])):
        at = chance.randrange(len(changed))
        kind = chance.random()
        if kind < 0.6:
            changed[at] = chance.choice([0, 255, chance.randrange(256)])
        elif kind < 0.75:
            del changed[at : at + chance.choice([1, 2, 4, 8])]
        elif kind < 0.95:
            changed[at:at] = chance.randbytes(chance.choice([1, 2, 4, 8]))
        else:
            del changed[max(at, 300) :]
    path.write_bytes(changed)
    return path
