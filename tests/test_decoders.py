"""Every still-image transfer syntax to its words, bit for bit, and what becomes of streams that are cut or lie."""

import random
import shutil
import subprocess
import zlib
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from node.decoders import Frame, decode
from node.errors import NotAssessable, Reason

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "dicom"
ROWS, COLUMNS = 61, 47  # odd, so that padding and 16-bit words of 8-bit pixels do not come out even

BASELINE, EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
LOSSLESS, LOSSLESS_SV1 = "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG_2000, HTJ2K = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201"
JPEG_XL, DEFLATED_FRAME = "1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.8.1"
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"


def picture(bits, dtype=None):
    """Soft shapes over the full range of these bits, as in a film."""
    noise = np.random.default_rng(bits).random((ROWS, COLUMNS))
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    scaled = (smooth - smooth.min()) / np.ptp(smooth) * ((1 << bits) - 1)
    return scaled.astype(dtype or (np.uint8 if bits <= 8 else np.uint16))


def instance(words, bits, syntax, data=None, vr="OB"):
    """A DX instance whose Pixel Data are these words, or this encoding of them."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3"
    dataset.Rows, dataset.Columns = words.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = 8 * words.dtype.itemsize
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(words.dtype.kind == "i")
    dataset.add_new("PixelData", vr, words.tobytes() if data is None else data)
    return dataset


def encapsulated(words, bits, syntax, stream, fragments=1):
    return instance(words, bits, syntax, encapsulate([stream], fragments_per_frame=fragments))


def frame_of(dataset):
    return Frame(dataset.Rows, dataset.Columns, dataset.BitsAllocated)


def decoded(dataset):
    return decode(dataset, frame_of(dataset))


def reason_of(dataset):
    with pytest.raises(NotAssessable) as refusal:
        decoded(dataset)
    return refusal.value.reason


# Not compressed


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_little_endian_words_come_back_from_a_file(bits, syntax, tmp_path):
    words = picture(bits)
    data = words.tobytes() + bytes(words.nbytes % 2)
    pydicom.dcmwrite(tmp_path / "film.dcm", instance(words, bits, syntax, data, "OW"), enforce_file_format=True)
    np.testing.assert_array_equal(decoded(pydicom.dcmread(tmp_path / "film.dcm")), words)


@pytest.mark.parametrize("vr", ["OB", "OW"])
def test_big_endian_8_bit_words_are_swapped_only_in_ow(vr):
    words = picture(8)
    data = words.tobytes() + b"\0"
    if vr == "OW":
        data = np.frombuffer(data, "<u2").byteswap().tobytes()
    np.testing.assert_array_equal(decoded(instance(words, 8, ExplicitVRBigEndian, data, vr)), words)


def test_big_endian_16_bit_words_come_back_in_the_machines_order():
    words = picture(12)
    back = decoded(instance(words, 12, ExplicitVRBigEndian, words.byteswap().tobytes(), "OW"))
    np.testing.assert_array_equal(back, words)
    assert back.dtype.isnative


def test_a_dataset_without_file_meta_information_is_taken_as_native():
    dataset = instance(picture(12), 12, ExplicitVRLittleEndian)
    del dataset.file_meta
    np.testing.assert_array_equal(decoded(dataset), picture(12))


# Compressed without loss

LOSSLESS_STREAMS = {
    **{
        f"JPEG Lossless, {bits} bit, selection value {value}": (
            bits,
            LOSSLESS_SV1 if value == 1 else LOSSLESS,
            lambda words, bits=bits, value=value: imagecodecs.jpeg8_encode(
                words, lossless=True, predictor=value, bitspersample=bits
            ),
        )
        for bits in (8, 10, 12, 16)
        for value in range(1, 8)
    },
    **{
        f"{name}, {bits} bit": (bits, syntax, encode)
        for bits in (8, 12, 16)
        for name, syntax, encode in (
            ("JPEG-LS", JPEG_LS, imagecodecs.jpegls_encode),
            (
                "JPEG 2000",
                JPEG_2000,
                lambda words: imagecodecs.jpeg2k_encode(words, codecformat="j2k", reversible=True),
            ),
            ("JPEG 2000 in a JP2 box", JPEG_2000, lambda words: imagecodecs.jpeg2k_encode(words, reversible=True)),
            ("HTJ2K", HTJ2K, lambda words: imagecodecs.htj2k_encode(words, reversible=True)),
            ("JPEG XL", JPEG_XL, lambda words: imagecodecs.jpegxl_encode(words, lossless=True)),
            ("deflated frame", DEFLATED_FRAME, lambda words: zlib.compress(words.tobytes(), wbits=-15)),
            ("uncompressed", ENCAPSULATED_UNCOMPRESSED, lambda words: words.tobytes()),
        )
    },
}


@pytest.mark.parametrize("fragments", [1, 3])
@pytest.mark.parametrize("name", list(LOSSLESS_STREAMS))
def test_a_stream_without_loss_comes_back_bit_for_bit(name, fragments):
    bits, syntax, encode = LOSSLESS_STREAMS[name]
    words = picture(bits)
    back = decoded(encapsulated(words, bits, syntax, encode(words), fragments))
    assert back.dtype == words.dtype
    np.testing.assert_array_equal(back, words)


@pytest.mark.parametrize("bits", [8, 12])
def test_rle_comes_back_bit_for_bit(bits):
    words = picture(bits)
    dataset = instance(words, bits, ExplicitVRLittleEndian, vr="OW")
    dataset.compress(RLELossless, words, generate_instance_uid=False)
    np.testing.assert_array_equal(decoded(dataset), words)


def test_signed_jpeg_2000_keeps_its_sign():
    words = picture(12).astype(np.int16) - 2048
    stream = imagecodecs.jpeg2k_encode(words, codecformat="j2k", reversible=True)
    np.testing.assert_array_equal(decoded(encapsulated(words, 16, JPEG_2000, stream)), words)


@pytest.mark.parametrize(("bits", "syntax"), [(8, BASELINE), (12, EXTENDED)])
def test_lossy_jpeg_comes_close(bits, syntax):
    words = picture(bits)
    stream = imagecodecs.jpeg8_encode(words, 95, bitspersample=bits)
    back = decoded(encapsulated(words, bits, syntax, stream))
    assert np.abs(back.astype(int) - words).max() < (1 << bits) * 0.03


# Streams that are cut, lie, or are not for us


def stream_of(syntax):
    words = picture(12)
    encode = {
        EXTENDED: lambda: imagecodecs.jpeg8_encode(words, 95, bitspersample=12),
        LOSSLESS_SV1: lambda: imagecodecs.jpeg8_encode(words, lossless=True, predictor=1, bitspersample=12),
        JPEG_LS: lambda: imagecodecs.jpegls_encode(words),
        JPEG_2000: lambda: imagecodecs.jpeg2k_encode(words, codecformat="j2k", reversible=True),
        HTJ2K: lambda: imagecodecs.htj2k_encode(words, reversible=True),
        JPEG_XL: lambda: imagecodecs.jpegxl_encode(words, lossless=True),
        DEFLATED_FRAME: lambda: zlib.compress(words.tobytes(), wbits=-15),
        ENCAPSULATED_UNCOMPRESSED: lambda: words.tobytes(),
        RLELossless: lambda: get_rle(words),
    }
    return words, encode[syntax]()


def get_rle(words):
    dataset = instance(words, 12, ExplicitVRLittleEndian, vr="OW")
    dataset.compress(RLELossless, words, generate_instance_uid=False)
    return pydicom.encaps.get_frame(dataset.PixelData, 0, number_of_frames=1)


ENCAPSULATED = [
    *(EXTENDED, LOSSLESS_SV1, JPEG_LS, JPEG_2000, HTJ2K, JPEG_XL),
    *(DEFLATED_FRAME, ENCAPSULATED_UNCOMPRESSED, RLELossless),
]


@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
@pytest.mark.parametrize("syntax", ENCAPSULATED)
def test_a_stream_cut_short_is_broken_not_half_a_film(syntax, part):
    words, stream = stream_of(syntax)
    cut = stream[: int(len(stream) * part)]
    assert reason_of(encapsulated(words, 12, syntax, cut)) is Reason.BROKEN_PIXELS


@pytest.mark.parametrize("syntax", ENCAPSULATED)
def test_a_stream_of_another_size_is_broken(syntax):
    words, stream = stream_of(syntax)
    assert reason_of(encapsulated(words[:-8], 12, syntax, stream)) is Reason.BROKEN_PIXELS


@pytest.mark.parametrize("syntax", ENCAPSULATED)
def test_pixel_data_that_are_no_stream_are_broken(syntax):
    words = picture(12)
    assert reason_of(instance(words, 12, syntax)) is Reason.BROKEN_PIXELS
    assert reason_of(encapsulated(words, 12, syntax, b"not a stream, not at all")) is Reason.BROKEN_PIXELS


def test_a_stream_that_claims_a_gigantic_size_is_refused_before_it_is_decoded():
    words, stream = stream_of(LOSSLESS_SV1)
    at = stream.index(b"\xff\xc3")
    huge = stream[: at + 5] + b"\xff\xff\xff\xff" + stream[at + 9 :]
    assert reason_of(encapsulated(words, 12, LOSSLESS_SV1, huge)) is Reason.BROKEN_PIXELS


def test_a_deflated_frame_is_never_inflated_past_the_film():
    words = picture(12)
    bomb = zlib.compress(bytes(50_000_000), 9, wbits=-15)
    assert reason_of(encapsulated(words, 12, DEFLATED_FRAME, bomb)) is Reason.BROKEN_PIXELS


def test_a_color_stream_in_a_gray_image_is_color():
    color = np.dstack([picture(8)] * 3)
    stream = imagecodecs.jpeg8_encode(color)
    assert reason_of(encapsulated(picture(8), 8, BASELINE, stream)) is Reason.COLOR


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.107", "1.2.840.10008.1.2.4.94", "1.2.3.4", "no uid"]
)
def test_video_referenced_and_unknown_transfer_syntaxes_are_not_supported(syntax):
    words, stream = stream_of(JPEG_2000)
    assert reason_of(encapsulated(words, 12, syntax, stream)) is Reason.PIXEL_FORMAT


def test_encapsulated_pixel_data_without_a_transfer_syntax_are_not_supported():
    words, stream = stream_of(JPEG_2000)
    dataset = encapsulated(words, 12, JPEG_2000, stream)
    dataset["PixelData"].is_undefined_length = True
    del dataset.file_meta
    assert reason_of(dataset) is Reason.PIXEL_FORMAT


@pytest.mark.filterwarnings("ignore")  # pydicom's, about the damage
@pytest.mark.parametrize("syntax", ENCAPSULATED)
def test_a_mutated_stream_gives_words_of_the_right_size_or_a_reason(syntax):
    words, stream = stream_of(syntax)
    chance = random.Random(str(syntax))
    for _ in range(25):
        changed = bytearray(stream)
        for _ in range(chance.choice([1, 3, 10])):
            changed[chance.randrange(len(changed))] = chance.choice([0, 255, chance.randrange(256)])
        dataset = encapsulated(words, 12, syntax, bytes(changed))
        try:
            assert decoded(dataset).shape == words.shape
        except NotAssessable as refusal:
            assert refusal.reason in (Reason.BROKEN_PIXELS, Reason.COLOR)  # noqa: PT017 either outcome is right


# Peers: DCMTK on its own encodings and on real files

COMPRESSED_FILES = [
    "chest_Fake_MONOHR1.dcm",
    "other_CR-ModalitySequenceLUT.dcm",
    "other_Monochrome1-Jpeg.dcm",
    "other_RG2_JLSL.dcm",
    "other_RG2_JLSN.dcm",
    "other_RG2_JPLL.dcm",
    "other_RG2_JPLY.dcm",
    "other_RG2_JPLY_fixed.dcm",
    "other_RG2_RLE.dcm",
    "other_RG3_JLSL.dcm",
    "other_RG3_JPLL.dcm",
    "other_RG3_RLE.dcm",
]
JPEG_2000_FILES = ["other_RG2_J2KI.dcm", "other_RG2_J2KR.dcm", "other_RG3_J2KR.dcm"]


def dcmtk_words(path, tmp_path):
    syntax = pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID
    tool = "dcmdrle" if syntax == RLELossless else "dcmdjpls" if ".4.8" in syntax else "dcmdjpeg"
    if not shutil.which(tool):
        pytest.skip(f"DCMTK's {tool} is not installed")
    subprocess.run([tool, path, tmp_path / "raw.dcm"], check=True, capture_output=True)
    raw = pydicom.dcmread(tmp_path / "raw.dcm")
    words = np.frombuffer(raw.PixelData, f"<u{raw.BitsAllocated // 8}", raw.Rows * raw.Columns)
    return words.reshape(raw.Rows, raw.Columns)


def real(name):
    if not SHARED.is_dir():
        pytest.skip("the shared DICOM files are not here")
    return SHARED / name


@pytest.mark.peers
@pytest.mark.parametrize("name", COMPRESSED_FILES)
def test_real_files_decode_to_dcmtks_words(name, tmp_path):
    path = real(name)
    np.testing.assert_array_equal(decoded(pydicom.dcmread(path)), dcmtk_words(path, tmp_path))


@pytest.mark.parametrize("name", JPEG_2000_FILES)
def test_real_jpeg_2000_files_decode_to_pydicoms_words(name):
    dataset = pydicom.dcmread(real(name))
    theirs, _ = get_decoder(dataset.file_meta.TransferSyntaxUID).as_array(dataset, raw=True)
    np.testing.assert_array_equal(decoded(dataset), theirs)


@pytest.mark.peers
@pytest.mark.parametrize(
    ("tool", "options", "bits"),
    [
        *[("dcmcjpeg", ["+el", "+sv", str(value)], bits) for value in range(1, 8) for bits in (8, 12, 16)],
        ("dcmcjpeg", ["+e1"], 12),
        ("dcmcjpeg", ["+el", "+sv", "1", "+pt", "2"], 12),
        ("dcmcjpeg", ["+eb"], 8),
        ("dcmcjpeg", ["+ee"], 12),
        ("dcmcjpeg", ["+es"], 8),
        ("dcmcjpeg", ["+ep"], 8),
        ("dcmcjpls", ["+el"], 8),
        ("dcmcjpls", ["+el"], 12),
        ("dcmcjpls", ["+en", "+md", "3"], 12),
        ("dcmcrle", [], 8),
        ("dcmcrle", [], 16),
    ],
)
def test_what_dcmtk_encodes_is_decoded_as_dcmtk_does(tool, options, bits, tmp_path):
    if not shutil.which(tool):
        pytest.skip(f"DCMTK's {tool} is not installed")
    words = picture(bits)
    source = instance(words, bits, ExplicitVRLittleEndian, words.tobytes() + bytes(words.nbytes % 2), "OW")
    pydicom.dcmwrite(tmp_path / "film.dcm", source, enforce_file_format=True)
    subprocess.run([tool, *options, tmp_path / "film.dcm", tmp_path / "coded.dcm"], check=True, capture_output=True)
    coded = pydicom.dcmread(tmp_path / "coded.dcm")
    np.testing.assert_array_equal(decoded(coded), dcmtk_words(tmp_path / "coded.dcm", tmp_path))
