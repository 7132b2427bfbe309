"""Real CR and DX files through gate and pixels: what each becomes, one by one."""

import warnings
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest

from node.errors import NotAssessable, Reason
from node.gate import GateRules, judge
from node.pixels import InputSpec, model_input, read_dicom

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "dicom"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared DICOM files are not here")

RULES = GateRules(read_secondary_capture=True)
PASSES, HIP, EXTREMITY = None, (Reason.NOT_CHEST, "HIP"), (Reason.NOT_CHEST, "EXTREMITY")

# File: what the gate says, and the size of the plane, or the reason there is none.
EXPECTED = {
    "chest_CR-MONO1-10-chest.dcm": (PASSES, (440, 440)),
    "chest_Fake_MONOHR1.dcm": (PASSES, (1024, 1024)),
    "chest_dx_image.dcm": ((Reason.NOT_FRONTAL, "LATERAL"), (169, 211)),  # a dog, by its processing description
    "other_CR-ModalitySequenceLUT.dcm": ((Reason.NOT_CHEST, "TEETH"), (1576, 1976)),
    "other_CR000000.dcm": ((Reason.NOT_CHEST, "B CKEN"), Reason.NO_PIXELS),
    "other_Issue56-NoPixelData.dcm": ((Reason.NOT_CHEST, "NOT HUMAN"), Reason.NO_PIXELS),
    "other_Monochrome1-Jpeg.dcm": (PASSES, (2446, 2010)),  # a chest under an empty body part
    "other_RG2_J2KI.dcm": (HIP, (2140, 1760)),
    "other_RG2_J2KR.dcm": (HIP, (2140, 1760)),
    "other_RG2_JLSL.dcm": (HIP, (2140, 1760)),
    "other_RG2_JLSN.dcm": (HIP, (2140, 1760)),
    "other_RG2_JPLL.dcm": (HIP, (2140, 1760)),
    "other_RG2_JPLY.dcm": (HIP, (2140, 1760)),
    "other_RG2_JPLY_fixed.dcm": (HIP, (2140, 1760)),
    "other_RG2_RLE.dcm": ((Reason.SECONDARY, ""), (2140, 1760)),
    "other_RG3_J2KR.dcm": (EXTREMITY, (1760, 1760)),
    "other_RG3_JLSL.dcm": (EXTREMITY, (1760, 1760)),
    "other_RG3_JPLL.dcm": (EXTREMITY, (1760, 1760)),
    "other_RG3_RLE.dcm": ((Reason.SECONDARY, ""), (1760, 1760)),
    "tiny_chrJapMulti.dcm": ((Reason.TOO_SMALL, "32 x 32"), Reason.NO_PIXELS),
    "tiny_chrKoreanMulti.dcm": ((Reason.TOO_SMALL, "32 x 32"), Reason.NO_PIXELS),
}


@pytest.fixture(autouse=True)
def _quiet():
    """Pydicom warns of what is wrong with real headers; here that is the point."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def judged(path):
    try:
        judge(pydicom.dcmread(path, force=True, stop_before_pixels=True), RULES)
    except NotAssessable as refused:
        return refused.reason, refused.detail
    return PASSES


def shape_or_reason(path):
    try:
        plane = read_dicom(path)
    except NotAssessable as refused:
        return refused.reason
    assert np.isfinite(plane).all() and plane.min() >= 0 and plane.max() <= 1
    return plane.shape


def test_the_table_names_every_file():
    assert {path.name for path in SHARED.glob("*.dcm")} == set(EXPECTED)


@pytest.mark.parametrize("name", list(EXPECTED))
def test_each_real_file_becomes_what_it_should(name):
    assert (judged(SHARED / name), shape_or_reason(SHARED / name)) == EXPECTED[name]


def test_a_secondary_capture_is_refused_without_the_rule():
    header = pydicom.dcmread(SHARED / "chest_Fake_MONOHR1.dcm", stop_before_pixels=True)
    with pytest.raises(NotAssessable) as refused:
        judge(header, GateRules())
    assert refused.value.reason is Reason.SECONDARY


@pytest.mark.parametrize("lossless", [("RG2", "JPLL", "JLSL", "J2KR", "RLE"), ("RG3", "JPLL", "JLSL", "J2KR", "RLE")])
def test_one_film_in_four_transfer_syntaxes_gives_one_plane(lossless):
    film, *syntaxes = lossless
    first, *others = (read_dicom(SHARED / f"other_{film}_{syntax}.dcm") for syntax in syntaxes)
    for other in others:
        np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize("name", ["chest_CR-MONO1-10-chest.dcm", "other_Monochrome1-Jpeg.dcm"])
def test_in_a_monochrome1_chest_the_lungs_are_darker_than_the_heart_and_spine(name):
    small = cv2.resize(read_dicom(SHARED / name), (100, 100), interpolation=cv2.INTER_AREA)
    lungs = small[30:50, 20:30].mean(), small[30:50, 68:78].mean()
    middle = small[30:60, 45:55].mean()
    assert middle > max(lungs) + 0.1


def test_a_dogs_ribs_are_brighter_than_the_air_around_it():
    plane = read_dicom(SHARED / "chest_dx_image.dcm")
    assert plane[:8].mean() < 0.15 < plane[60:120, 60:150].mean()


def test_every_plane_makes_a_full_range_model_input():
    made = model_input(read_dicom(SHARED / "chest_CR-MONO1-10-chest.dcm"), InputSpec())
    assert made.shape == (224, 224, 3) and made.min() == 0 and made.max() == 1
