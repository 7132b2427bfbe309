"""Data sets for the walker, and what it says of them."""

import pytest
from pydicom import Dataset, Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from node.door.walk import (
    ITEM,
    ITEM_DELIMITER,
    SEQUENCE_DELIMITER,
    UNDEFINED_LENGTH,
    walk,
)
from node.errors import CannotUnderstand
from tests.radiographs import element, implicit, radiograph

UNCOMPRESSED = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
EVERY_FORM = [*UNCOMPRESSED, DeflatedExplicitVRLittleEndian]
ROWS, SOP_INSTANCE_UID, ICON, REFERENCED_IMAGES = 0x00280010, 0x00080018, 0x00880200, 0x00081140
PRIVATE = 0x00291010


def refused(data, transfer_syntax_uid=ExplicitVRLittleEndian):
    """Why a data set is refused."""
    with pytest.raises(CannotUnderstand) as error:
        walk(data, transfer_syntax_uid, frozenset())
    assert len(error.value.comment) <= 64
    return error.value.comment


def passes(data, transfer_syntax_uid=ExplicitVRLittleEndian, wanted=()):
    return walk(data, transfer_syntax_uid, frozenset(wanted))


def nested(depth, innermost=b""):
    """Sequences in each other, of undefined length."""
    opening = element(REFERENCED_IMAGES, b"SQ", b"", UNDEFINED_LENGTH) + implicit(ITEM, b"", UNDEFINED_LENGTH)
    return opening * depth + innermost + (implicit(ITEM_DELIMITER, b"") + implicit(SEQUENCE_DELIMITER, b"")) * depth


def small_header(undefined_lengths):
    """A header with a sequence in a sequence, an empty item and a private element."""
    item, inner = Dataset(), Dataset()
    inner.ReferencedSOPClassUID = "1.2.3"
    item.ReferencedSOPInstanceUID, item.PurposeOfReferenceCodeSequence = "1.2.3.4", Sequence([inner])
    dataset = radiograph(side_px=2, ReferencedImageSequence=Sequence([item, Dataset()]))
    dataset.add_new(0x00290010, "LO", "ACME")
    dataset.add_new(PRIVATE, "UN", b"\1\2\3\4")
    for sequence in (dataset["ReferencedImageSequence"], item["PurposeOfReferenceCodeSequence"]):
        sequence.is_undefined_length = undefined_lengths
        for each in sequence.value:
            each.is_undefined_length_sequence_item = undefined_lengths
    return dataset
