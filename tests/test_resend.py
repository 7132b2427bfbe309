"""What comes again in another encoding is the same instance if its attributes and its pixels are, and not otherwise."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from node import resend
from node.durable import key_of
from node.errors import OtherContent, OutOfResources
from node.file_head import file_head
from node.same_instance import compare, is_same
from node.spool import Kind, Spool
from tests.hostile.files import CR, EXPLICIT, PIXEL_DATA, Film, item
from tests.hostile.streams import JPEG, JPEG_2000, JPEG_LOSSLESS, JPEG_LS, RLE, stream
from tests.journeys.films import as_new_study
from tests.peers import storescu
from tests.radiographs import element
from tests.senders import Node
from tests.syntaxes import SYNTAXES, in_transfer_syntax

IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
LOSSLESS = [JPEG_LOSSLESS, JPEG_LS, JPEG_2000, RLE]


def film() -> Film:
    held = item(element(0x00081155, b"UI", b"1.2.3\0"))
    return Film("sent again").put(0x00081140, b"SQ", held).put(0x00291010, b"UN", b"\1\2\3\4")


def file_of(data: bytes, transfer_syntax_uid: str = EXPLICIT) -> bytes:
    return file_head(CR, film().uid, transfer_syntax_uid) + data


def compressed(transfer_syntax_uid: str) -> bytes:
    return file_of(film().encapsulated(stream(transfer_syntax_uid)), transfer_syntax_uid)


def same(first: bytes, second: bytes) -> bool:
    return is_same(dcmread(BytesIO(first)), dcmread(BytesIO(second)))


AS_SENT = file_of(film().encoded())
SAME: dict[str, Callable[[], bytes]] = {
    "itself": lambda: AS_SENT,
    "implicit": lambda: file_of(film().recoded(IMPLICIT), IMPLICIT),
    "big endian": lambda: file_of(film().recoded(BIG_ENDIAN), BIG_ENDIAN),
    **{uid: (lambda uid=uid: compressed(uid)) for uid in LOSSLESS},  # type: ignore[misc]
    "group lengths": lambda: file_of(element(0x00080000, b"UL", b"\1\0\0\0") + film().encoded()),
    "padding": lambda: file_of(film().behind(element(0xFFFCFFFC, b"OB", bytes(8)))),
    "where it lies": lambda: file_of(film().put(0x00080054, b"AE", b"PACS").encoded()),
    "undefined lengths": lambda: file_of(
        film().around(0x00081140, element(0x00081140, b"SQ", item(element(0x00081155, b"UI", b"1.2.3\0"))
                                          + element(0xFFFEE0DD, b"\0\0", b""), 0xFFFFFFFF))
    ),
}  # fmt: skip
_OTHER_PIXELS = film().elements[PIXEL_DATA][1][2:] + b"\1\0"
OTHER: dict[str, Callable[[], bytes]] = {
    "another pixel": lambda: file_of(film().put(PIXEL_DATA, b"OW", _OTHER_PIXELS).encoded()),
    "another pixel, implicit": lambda: file_of(
        film().put(PIXEL_DATA, b"OW", _OTHER_PIXELS).recoded(IMPLICIT), IMPLICIT
    ),
    "lossy": lambda: compressed(JPEG),
    "another patient": lambda: file_of(film().set(PatientID="P-2").recoded(IMPLICIT), IMPLICIT),
    "another name": lambda: file_of(film().set(PatientName="Roe^Jo").encoded()),
    "another window": lambda: file_of(film().set(WindowCenter="1000").encoded()),
    "inverted": lambda: file_of(film().set(PhotometricInterpretation="MONOCHROME1").encoded()),
    "one attribute more": lambda: file_of(film().set(StationName="X").encoded()),
    "another reference": lambda: file_of(
        film().put(0x00081140, b"SQ", item(element(0x00081155, b"UI", b"1.2.4\0"))).encoded()
    ),
    "no pixels": lambda: file_of(film().header()),
    "a stream that is cut": lambda: file_of(film().encapsulated(stream(JPEG_LS)[:2000]), JPEG_LS),
}


@pytest.mark.parametrize("name", SAME)
def test_another_encoding_of_an_instance_is_the_same(name: str, tmp_path: Path) -> None:
    assert same(AS_SENT, SAME[name]())
    assert same(SAME[name](), AS_SENT)


@pytest.mark.parametrize("name", OTHER)
def test_other_attributes_or_pixels_are_not(name: str, tmp_path: Path) -> None:
    paths = [tmp_path / "held", tmp_path / "other"]
    for path, content in zip(paths, (AS_SENT, OTHER[name]()), strict=True):
        path.write_bytes(content)
    assert not compare(*paths)


# Through the spool, in a process of its own


def take(spool: Spool, content: bytes) -> bool:
    return spool.take(film().study_uid, film().uid, Kind.IMAGE, (content,))


def held(spool: Spool) -> bytes:
    return spool.instance_path(key_of(film().study_uid), key_of(film().uid)).read_bytes()


def test_a_recompressed_film_is_taken_once_and_the_first_stays(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    assert take(spool, AS_SENT) is True
    assert take(spool, compressed(JPEG_LS)) is False
    with pytest.raises(OtherContent):
        take(spool, OTHER["another pixel, implicit"]())
    assert held(spool) == AS_SENT
    assert list((tmp_path / "spool" / "incoming").iterdir()) == []


def test_other_content_in_the_same_encoding_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "spool")
    take(spool, AS_SENT)
    monkeypatch.setattr("subprocess.run", None)
    with pytest.raises(OtherContent):
        take(spool, OTHER["another pixel"]())
    with pytest.raises(OtherContent):
        take(spool, b"no DICOM file")


def test_what_cannot_be_told_in_time_may_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "spool")
    take(spool, AS_SENT)
    monkeypatch.setattr(resend, "COMPARE_WITHIN_S", 0.001)
    with pytest.raises(OutOfResources):
        take(spool, compressed(JPEG_LS))
    monkeypatch.undo()
    assert take(spool, compressed(JPEG_LS)) is False


def test_one_pair_is_compared_at_a_time_and_who_waits_too_long_may_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path / "spool")
    take(spool, AS_SENT)
    monkeypatch.setattr(resend, "WAIT_FOR_TURN_S", 0.01)
    with resend._TURN, pytest.raises(OutOfResources):
        take(spool, compressed(JPEG_LS))
    assert held(spool) == AS_SENT


# Through the receiver, as DCMTK recompresses


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.parametrize("name", ["jpeg_ls", "jpeg_lossless", "rle", "implicit", "deflated"])
def test_a_film_that_dcmtk_has_recompressed_is_success_and_the_first_stays(
    node: Node, tmp_path: Path, name: str
) -> None:
    sample = as_new_study("01-normal-adult")
    raw = tmp_path / "raw.dcm"
    sample.save_as(raw, enforce_file_format=True)
    assert storescu(node.port, [raw]).returncode == 0
    before = node.held()
    again = in_transfer_syntax(sample, name, tmp_path)
    sent = storescu(node.port, [again], options=SYNTAXES[name].storescu_options)
    assert sent.returncode == 0 and "0xc210" not in sent.stdout.lower(), sent.stdout
    assert node.held() == before
