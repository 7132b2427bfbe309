"""What is broken, too deep or too large is refused with one kind of error."""

import struct
import tracemalloc
import zlib
from io import BytesIO

import pydicom
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from node.door.walk import (
    DEPTH_LIMIT,
    INFLATION_FLOOR_BYTES,
    ITEM,
    ITEM_DELIMITER,
    PIXEL_DATA,
    SEQUENCE_DELIMITER,
    UNDEFINED_LENGTH,
    inflate,
    walk,
)
from node.errors import CannotUnderstand
from tests.radiographs import PATIENT, element, encoded, implicit, radiograph
from tests.walks import (
    EVERY_FORM,
    ICON,
    PRIVATE,
    REFERENCED_IMAGES,
    ROWS,
    SOP_INSTANCE_UID,
    UNCOMPRESSED,
    nested,
    passes,
    refused,
    small_header,
)

# Nesting


@pytest.mark.parametrize("transfer_syntax_uid", UNCOMPRESSED, ids=lambda uid: uid.name)
@pytest.mark.parametrize("undefined_lengths", [True, False], ids=["undefined", "explicit"])
def test_sequences_pass_with_explicit_and_undefined_lengths(transfer_syntax_uid, undefined_lengths):
    found = passes(encoded(small_header(undefined_lengths), transfer_syntax_uid), transfer_syntax_uid)
    assert found.native_length == 8


def test_sequences_nest_to_the_limit_and_no_deeper():
    passes(nested(DEPTH_LIMIT))
    empty = element(REFERENCED_IMAGES, b"SQ", b"")
    passes(nested(DEPTH_LIMIT - 1, empty))
    for data in (nested(DEPTH_LIMIT, empty), nested(DEPTH_LIMIT + 1)):
        assert refused(data) == "the data set is nested too deeply"


def test_twenty_thousand_sequences_in_each_other_are_refused_without_being_followed():
    data = nested(20_000)
    opening = len(nested(1)) - 16
    limit = (DEPTH_LIMIT + 1) * opening
    spoiled = data[:limit] + b"\xff" * (len(data) - limit)  # a walk that went on would stumble here
    assert refused(data) == refused(spoiled) == "the data set is nested too deeply"


def test_a_private_sequence_of_vr_un_is_implicit_inside():
    inner = implicit(0x00291011, b"abcd") + implicit(REFERENCED_IMAGES, implicit(ITEM, implicit(0x00081150, b"1.2\0")))
    items = implicit(ITEM, inner) + implicit(ITEM, inner + implicit(ITEM_DELIMITER, b""), UNDEFINED_LENGTH)
    data = element(PRIVATE, b"UN", items + implicit(SEQUENCE_DELIMITER, b""), UNDEFINED_LENGTH)
    passes(data + element(PIXEL_DATA, b"OW", b"\0\0"))


def test_a_private_sequence_of_undefined_length_passes_in_implicit_vr():
    items = implicit(ITEM, implicit(0x00291011, b"abcd") + implicit(ITEM_DELIMITER, b""), UNDEFINED_LENGTH)
    data = implicit(PRIVATE, items + implicit(SEQUENCE_DELIMITER, b""), UNDEFINED_LENGTH)
    assert passes(data + implicit(PIXEL_DATA, b"\0\0"), ImplicitVRLittleEndian).native_length == 2


def test_explicit_vr_inside_a_sequence_of_vr_un_is_refused():
    inner = element(0x00081150, b"UI", b"1.2.840.10008.1\0")
    data = element(PRIVATE, b"UN", implicit(ITEM, inner) + implicit(SEQUENCE_DELIMITER, b""), UNDEFINED_LENGTH)
    refused(data)


def test_a_value_of_vr_un_with_a_length_is_not_looked_into():
    passes(element(PRIVATE, b"UN", b"\xfe\xff\x00\xe0 anything"))


def test_a_vr_that_is_not_known_is_refused_for_nobody_knows_its_length():
    """PS3.5 6.2.2 gives those to come 32 bits, pydicom 16: each would see another data set."""
    refused(element(PRIVATE, b"ZZ", b"")[:6] + struct.pack("<HL", 0, 4) + b"abcd" + element(ROWS, b"US", b"\1\0"))
    refused(element(PRIVATE, b"ZZ", b"abcd") + element(ROWS, b"US", b"\1\0"))


@pytest.mark.parametrize("vr", [b"\0\0", b"us", b"1A", b"  ", b"\xff\xff"])
def test_what_cannot_be_a_vr_is_refused(vr):
    assert "no value representation at byte 0" in refused(element(ROWS, vr, b"\1\0"))


def test_an_undefined_length_outside_sequences_and_pixel_data_is_refused():
    for vr in (b"OB", b"UT"):
        assert "an undefined length" in refused(element(PRIVATE, vr, b"", UNDEFINED_LENGTH) + b"\0" * 64)


@pytest.mark.parametrize(
    "data",
    [
        implicit(ITEM, b""),
        implicit(ITEM_DELIMITER, b""),
        implicit(SEQUENCE_DELIMITER, b""),
        implicit(0xFFFEE0FF, b""),
        element(REFERENCED_IMAGES, b"SQ", implicit(ITEM_DELIMITER, b"")),
        element(REFERENCED_IMAGES, b"SQ", implicit(SEQUENCE_DELIMITER, b"")),
        element(REFERENCED_IMAGES, b"SQ", implicit(ITEM, implicit(ITEM, b""))),
        element(REFERENCED_IMAGES, b"SQ", implicit(ITEM, implicit(ITEM_DELIMITER, b""))),
    ],
)
def test_a_stray_delimiter_is_refused(data):
    assert "a stray delimiter" in refused(data)


def test_an_element_straight_in_a_sequence_is_refused():
    assert "a sequence without an item" in refused(element(REFERENCED_IMAGES, b"SQ", element(ROWS, b"US", b"\1\0")))


@pytest.mark.parametrize("inner", [b"", implicit(ITEM, b"", 12), implicit(ITEM, element(ROWS, b"US", b"\1\0", 14))])
def test_a_value_that_reaches_out_of_its_item_or_sequence_is_refused(inner):
    data = element(REFERENCED_IMAGES, b"SQ", inner, len(inner) + (0 if inner else 40)) + element(ROWS, b"US", b"\1\0")
    assert "overruns" in refused(data)


def test_an_element_head_that_reaches_out_of_its_sequence_is_refused():
    for length in range(1, 8):
        inner = implicit(ITEM, b"", UNDEFINED_LENGTH) + implicit(ITEM_DELIMITER, b"")[:length]
        rest = implicit(ITEM_DELIMITER, b"")[length:] + implicit(SEQUENCE_DELIMITER, b"")
        refused(element(REFERENCED_IMAGES, b"SQ", inner) + rest)


def test_a_group_of_commands_or_of_file_meta_is_refused_in_a_data_set():
    for tag in (0x00000002, 0x00020010, 0x00041130, 0x00070001):
        assert "a group below 0008" in refused(element(tag, b"UI", b"1.2\0"))


@pytest.mark.parametrize("pixels", [PIXEL_DATA, 0x7FE00008, 0x7FE00009])
def test_what_who_reads_a_header_alone_would_not_see_is_refused(pixels):
    """He stops at the pixel data, so an identifier or a patient behind it would be another's."""
    data = element(pixels, b"OW", b"\0\0")
    for tag in (0x00100020, 0x0020000D, ROWS, 0x60003000, PIXEL_DATA):
        assert "behind the pixel data" in refused(data + element(tag, b"UI", b"1.2\0"))
    for tag in (0x7FE10010, 0xFFFAFFFA, 0xFFFCFFFC):
        passes(data + element(tag, b"OB", b""))


def test_an_attribute_that_is_asked_for_may_be_stated_twice_but_not_differently():
    first, other = element(SOP_INSTANCE_UID, b"UI", b"1.2\0"), element(SOP_INSTANCE_UID, b"UI", b"1.3\0")
    passes(first + first, wanted={SOP_INSTANCE_UID})
    passes(first + other)
    with pytest.raises(CannotUnderstand, match="stated again and differently"):
        passes(first + other, wanted={SOP_INSTANCE_UID})


def test_too_many_elements_are_refused():
    assert refused(element(PRIVATE, b"UN", b"") * 200_001) == "the data set has too many elements"


# Pixel data


@pytest.mark.parametrize("transfer_syntax_uid", UNCOMPRESSED, ids=lambda uid: uid.name)
def test_the_length_of_native_pixel_data_is_found(transfer_syntax_uid):
    found = passes(encoded(radiograph(side_px=8), transfer_syntax_uid), transfer_syntax_uid)
    assert (found.native_length, found.fragments) == (128, None)


def test_fragments_are_counted_without_the_offset_table():
    delimiter = implicit(SEQUENCE_DELIMITER, b"")
    for fragments in range(4):
        for table in (b"", b"\0\0\0\0"):
            items = implicit(ITEM, table) + implicit(ITEM, b"abcd") * fragments
            data = element(PIXEL_DATA, b"OB", items + delimiter, UNDEFINED_LENGTH)
            assert passes(data, JPEGBaseline8Bit).fragments == fragments
    assert passes(element(PIXEL_DATA, b"OB", delimiter, UNDEFINED_LENGTH), JPEGBaseline8Bit).fragments == 0


def test_the_pictures_of_an_icon_are_not_those_of_the_image():
    frames = implicit(ITEM, b"") + implicit(ITEM, b"abcd") * 3 + implicit(SEQUENCE_DELIMITER, b"")
    encapsulated = element(PIXEL_DATA, b"OB", frames, UNDEFINED_LENGTH)
    for icon in (encapsulated, element(PIXEL_DATA, b"OW", b"\0\0")):
        items = implicit(ITEM, icon) + implicit(ITEM, icon + implicit(ITEM_DELIMITER, b""), UNDEFINED_LENGTH)
        data = element(ICON, b"SQ", items)
        assert passes(data).native_length is passes(data).fragments is None
        assert passes(data + element(PIXEL_DATA, b"OW", b"\0\0\0\0")).native_length == 4


@pytest.mark.parametrize(
    "items",
    [
        implicit(ITEM, b"", UNDEFINED_LENGTH),
        implicit(ITEM_DELIMITER, b""),
        implicit(ITEM, b"abcd", 400),
        element(ROWS, b"US", b"\1\0"),
    ],
)
def test_what_is_no_fragment_is_refused(items):
    data = element(PIXEL_DATA, b"OB", implicit(ITEM, b"") + items + implicit(SEQUENCE_DELIMITER, b""), UNDEFINED_LENGTH)
    assert refused(data, JPEGBaseline8Bit).startswith(("no fragment", "a value overruns"))


def test_fragments_that_reach_out_of_their_icon_are_refused():
    frames = element(PIXEL_DATA, b"OB", implicit(ITEM, b"abcd"), UNDEFINED_LENGTH)
    data = element(ICON, b"SQ", implicit(ITEM, frames)) + implicit(ITEM, b"") + implicit(SEQUENCE_DELIMITER, b"")
    refused(data)


# Deflated


def test_a_deflate_bomb_is_refused_in_bounded_memory():
    engine = zlib.compressobj(9, wbits=-15)
    block = engine.compress(bytes(16 << 20)) + engine.flush(zlib.Z_FULL_FLUSH)
    bomb = block * 32 + engine.flush()  # half a gigabyte
    assert len(bomb) < 600_000
    tracemalloc.start()
    try:
        assert refused(bomb, DeflatedExplicitVRLittleEndian) == "the deflated data set inflates beyond the bound"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3.5 * INFLATION_FLOOR_BYTES


@pytest.mark.parametrize("beyond", range(-520, 520, 37))
def test_what_inflates_to_about_a_megabyte_is_whole(beyond):
    plain = bytes((1 << 20) + beyond)
    assert bytes(inflate(memoryview(zlib.compress(plain, 9, wbits=-15)))) == plain


def test_a_deflated_data_set_may_be_padded_to_an_even_length():
    passes(zlib.compress(encoded(radiograph()), wbits=-15) + b"\0", DeflatedExplicitVRLittleEndian)


@pytest.mark.parametrize("data", [b"\xff" * 64, b"", b"\0", zlib.compress(b"not raw deflate")])
def test_what_does_not_inflate_is_refused(data):
    assert "the deflated data set is" in refused(data, DeflatedExplicitVRLittleEndian)


# Anything at all

A_RADIOGRAPH = radiograph(side_px=4)
ENCODED = {transfer_syntax_uid: encoded(A_RADIOGRAPH, transfer_syntax_uid) for transfer_syntax_uid in UNCOMPRESSED}


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([*EVERY_FORM, JPEGBaseline8Bit, "1.2.3"]))
@example(b"\0", ImplicitVRLittleEndian)
@example(b"\xfe\xff\x00\xe0" * 8, ExplicitVRLittleEndian)
def test_random_bytes_pass_or_are_refused_in_one_way(data, transfer_syntax_uid):
    comment = comment_on(data, transfer_syntax_uid)
    assert len(comment) <= 64


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(UNCOMPRESSED))
def test_a_radiograph_with_bytes_changed_passes_or_is_refused_without_a_word_of_the_patient(draw, transfer_syntax_uid):
    data = bytearray(ENCODED[transfer_syntax_uid])
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    comment = comment_on(bytes(data), transfer_syntax_uid)
    assert not any(value in comment for value in PATIENT.values())


def comment_on(data, transfer_syntax_uid):
    try:
        found = walk(data, transfer_syntax_uid, frozenset({ROWS, SOP_INSTANCE_UID}))
    except CannotUnderstand as error:
        return error.comment
    assert set(found.values) <= {ROWS, SOP_INSTANCE_UID}
    return ""


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                implicit(ITEM, b"", UNDEFINED_LENGTH),
                implicit(ITEM, b""),
                implicit(ITEM_DELIMITER, b""),
                implicit(SEQUENCE_DELIMITER, b""),
                element(REFERENCED_IMAGES, b"SQ", b"", UNDEFINED_LENGTH),
                element(REFERENCED_IMAGES, b"SQ", b"", 24),
                element(ROWS, b"US", b"\1\0"),
                element(PIXEL_DATA, b"OB", b"", UNDEFINED_LENGTH),
                b"\0",
            ]
        ),
        max_size=12,
    )
)
def test_what_passes_is_read_by_pydicom_to_its_last_byte(parts):
    data = b"".join(parts)
    if not data or comment_on(data, ExplicitVRLittleEndian):
        return
    stream = BytesIO(data)
    dataset = pydicom.filereader.read_dataset(stream, is_implicit_VR=False, is_little_endian=True)
    assert not data[stream.tell() :].strip(b"\0")
    assert PIXEL_DATA not in dataset or dataset[PIXEL_DATA].VR == "OB"
