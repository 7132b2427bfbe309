"""Every storage SOP class of a study is known, and images are told from what only describes them."""

import subprocess
import sys

import pytest
from pydicom.uid import UID, ExplicitVRLittleEndian, UID_dictionary
from pynetdicom import sop_class
from pynetdicom.presentation import StoragePresentationContexts

from node.storage_classes import STORAGE_CLASSES, TRANSFER_SYNTAXES, is_image, name_of

IMAGES = [
    "Computed Radiography Image Storage",
    "Digital X-Ray Image Storage - For Presentation",
    "Digital X-Ray Image Storage - For Processing",
    "Secondary Capture Image Storage",
    "Multi-frame Grayscale Word Secondary Capture Image Storage",
    "CT Image Storage",
    "Enhanced MR Image Storage",
    "Ultrasound Image Storage (Retired)",
    "X-Ray Angiographic Bi-Plane Image Storage (Retired)",
    "VL Whole Slide Microscopy Image Storage",
    "RT Image Storage",
]
DOCUMENTS = [
    "Basic Text SR Storage",
    "Comprehensive 3D SR Storage",
    "Implantation Plan SR Storage",
    "Chest CAD SR Storage",
    "Key Object Selection Document Storage",
    "Grayscale Softcopy Presentation State Storage",
    "Encapsulated PDF Storage",
    "Segmentation Storage",
    "12-lead ECG Waveform Storage",
    "Raw Data Storage",
    "RT Structure Set Storage",
    "Standalone Overlay Storage (Retired)",
    "CT Performed Procedure Protocol Storage",
]
NOT_OF_A_STUDY = {
    "Media Storage Directory Storage",
    "Storage Commitment Push Model SOP Class",
    "Storage Commitment Pull Model SOP Class",
    "Stored Print Storage SOP Class",
    "CT Defined Procedure Protocol Storage",
    "XA Defined Procedure Protocol Storage",
    "Protocol Approval Storage",
    "Inventory Storage",
    "Hanging Protocol Storage",
    "Color Palette Storage",
    "Generic Implant Template Storage",
    "Implant Assembly Template Storage",
    "Implant Template Group Storage",
}


def uid_of(name):
    """The UID of a SOP class by its name in PS3.6, which says of some that they are retired."""
    wanted = (name.removesuffix(" (Retired)"), "SOP Class", "Retired" if name.endswith(" (Retired)") else "")
    (uid,) = (uid for uid, (found, kind, _, retired, *_) in UID_dictionary.items() if (found, kind, retired) == wanted)
    return uid


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_an_image(name):
    assert is_image(uid_of(name))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_only_describes_images_is_none(name):
    uid = uid_of(name)
    assert uid in STORAGE_CLASSES
    assert not is_image(uid)


@pytest.mark.parametrize("uid", ["", "1.2.3", "1.2.840.10008.1.1", "Computed Radiography Image Storage"])
def test_what_is_no_storage_class_is_no_image(uid):
    assert not is_image(uid)


def test_what_is_left_out_is_of_no_study():
    stores = {entry[0] for entry in UID_dictionary.values() if entry[1] == "SOP Class" and "Storage" in entry[0]}
    left_out = stores - set(STORAGE_CLASSES.values())
    assert {name for name in left_out if not name.startswith("DICOS")} == NOT_OF_A_STUDY


def test_every_storage_class_of_a_study_that_pynetdicom_lists_is_taken():
    listed = {str(context.abstract_syntax) for context in StoragePresentationContexts}
    listed |= set(sop_class._STORAGE_CLASSES.values())
    of_a_study = {uid for uid in listed if uid in UID_dictionary and "DICOS" not in UID_dictionary[uid][0]}
    missing = {UID_dictionary[uid][0] for uid in of_a_study - set(STORAGE_CLASSES)}
    assert missing <= NOT_OF_A_STUDY


def test_retired_classes_are_taken():
    retired = {uid for uid in STORAGE_CLASSES if UID_dictionary[uid][3] == "Retired"}
    assert len(retired) > 15
    assert uid_of("Ultrasound Image Storage (Retired)") in STORAGE_CLASSES


def test_every_transfer_syntax_of_instances_is_known():
    for uid, (name, kind, *_) in UID_dictionary.items():
        if kind == "Transfer Syntax" and uid not in TRANSFER_SYNTAXES:
            assert any(word in name for word in ("Papyrus", "XML", "MIME", "Referenced", "SMPTE")), name
    assert len(set(TRANSFER_SYNTAXES)) == len(TRANSFER_SYNTAXES) > 40


def test_transfer_syntaxes_are_the_same_whoever_was_imported_first():
    alone = "from node.storage_classes import TRANSFER_SYNTAXES; print(*TRANSFER_SYNTAXES)"
    found = subprocess.run([sys.executable, "-c", alone], capture_output=True, text=True, check=True).stdout.split()
    assert found == TRANSFER_SYNTAXES
    assert "1.2.840.10008.1.2.4.110" in found, "JPEG XL, which pydicom's dictionary lacks"


def test_uncompressed_transfer_syntaxes_come_first():
    encapsulated = [UID(uid).is_encapsulated for uid in TRANSFER_SYNTAXES]
    assert encapsulated == sorted(encapsulated)
    assert encapsulated.count(False) == 4
    assert TRANSFER_SYNTAXES[0] == ExplicitVRLittleEndian, "it says what private attributes are"


def test_a_class_has_the_standards_name_and_an_unknown_one_its_uid():
    assert name_of("1.2.840.10008.5.1.4.1.1.1") == "Computed Radiography Image Storage"
    assert name_of("1.2.3.4") == "1.2.3.4"
