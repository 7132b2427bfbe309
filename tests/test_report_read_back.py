"""What was written is taken apart by a parser that did not write it, and damage to it is told."""

from io import BytesIO
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.errors import ReportError
from node.report import compose
from node.report.read_back import Elements, read_back
from tests.films import dx_film
from tests.readings import OPTIONS, URGENT, source

SOP_INSTANCE_UID, CONTENT_SEQUENCE, PIXEL_DATA, META_INSTANCE = 0x00080018, 0x0040A730, 0x7FE00010, 0x00020003


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    return [result.encodings[0].data for result in compose(source((dx_film(), URGENT)), OPTIONS, "viewer")]


def as_pydicom_has_it(dataset: Dataset) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for tag in dataset.keys():  # noqa: SIM118 (the elements themselves would be converted)
        element = dataset.get_item(tag)
        assert element is not None
        if element.VR == "SQ":
            held: Any = [as_pydicom_has_it(item) for item in dataset[tag].value]
        elif isinstance(element.value, int):  # Pixel Representation, which pydicom looks at by itself
            held = element.value.to_bytes(2, "little")
        else:
            held = element.value or b""
        found[int(tag)] = str(element.VR).encode(), held
    return found


def test_it_holds_what_the_library_reads(files: list[bytes]) -> None:
    for data in files:
        read = dcmread(BytesIO(data))
        held = read_back(data)
        data_set = {tag: each for tag, each in held.items() if tag >> 16 != 0x0002}
        assert data_set == as_pydicom_has_it(read)
        assert held.said(META_INSTANCE) == held.said(SOP_INSTANCE_UID) == read.SOPInstanceUID


def test_what_is_absent_is_empty() -> None:
    nothing = Elements()
    assert (nothing.said(SOP_INSTANCE_UID), nothing.raw(SOP_INSTANCE_UID)) == ("", b"")
    assert nothing.items_of(CONTENT_SEQUENCE) == []


def test_letters_beyond_ascii_and_padding_are_told_apart_from_values() -> None:
    held = Elements({SOP_INSTANCE_UID: (b"UI", b"1.2\0"), CONTENT_SEQUENCE: (b"LO", "é ".encode("latin-1"))})
    assert (held.said(SOP_INSTANCE_UID), held.said(CONTENT_SEQUENCE)) == ("1.2", "\ufffd")


def test_a_file_that_is_cut_off_is_told_from_one_that_ends(files: list[bytes]) -> None:
    report, picture = files
    whole = read_back(report)
    for end in range(len(report)):
        try:
            held = read_back(report[:end])
        except ReportError:
            continue
        assert len(held) < len(whole)  # cut between two elements, which `check` finds out
    for end in range(len(picture) - 40, len(picture)):
        with pytest.raises(ReportError, match="pixel data"):
            read_back(picture[:end])


@pytest.mark.parametrize("data", [b"", b"DICM", bytes(132), bytes(128) + b"DICO" + bytes(40)])
def test_what_is_no_dicom_file_is_told(data: bytes) -> None:
    with pytest.raises(ReportError, match="no DICOM file"):
        read_back(data)


def test_a_sequence_holds_items_alone_and_is_as_long_as_it_says(files: list[bytes]) -> None:
    report, _ = files
    for wrong in (b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0"):
        with pytest.raises(ReportError, match="something else than items"):
            read_back(report.replace(b"\xfe\xff\x00\xe0", wrong, 1))
    at = report.index(b"\x40\x00\x30\xa7SQ")
    undefined = report[: at + 8] + b"\xff\xff\xff\xff" + report[at + 12 :]
    with pytest.raises(ReportError, match="does not end where it should"):
        read_back(undefined)
