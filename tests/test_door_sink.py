"""The data set of an image lies in its file as it came, behind the head; what the disk does not take is refused later."""

import os

import pytest

from node.door.limits import Limits
from node.door.sink import PIECES_AT_ONCE, InstanceFile
from node.door.verdict import Violation
from node.durable import NewFile
from node.errors import OutOfResources
from tests.spools import no_space

LIMITS = Limits(object_bytes=1000, swallowed_bytes=5000)


@pytest.fixture
def begun(tmp_path):
    """Begin a file of an instance."""
    return lambda: InstanceFile(lambda: NewFile(tmp_path / "instance.part"), b"head", LIMITS)


def test_the_data_set_is_read_back_without_the_head(begun, tmp_path):
    instance = begun()
    for piece in (b"ab", b"", b"cde"):
        instance.write(memoryview(piece))
    instance.flush()
    assert (bytes(instance.data_set()), instance.size) == (b"abcde", 5)
    assert (tmp_path / "instance.part").read_bytes() == b"headabcde"
    instance.discard()
    instance.discard()
    assert list(tmp_path.iterdir()) == []


def test_pieces_are_written_together_however_the_system_takes_them(begun, tmp_path, monkeypatch):
    asked, writev = [], os.writev

    def piecemeal(descriptor, parts):
        asked.append(len(parts))
        return writev(descriptor, [parts[0][:3]])

    monkeypatch.setattr(os, "writev", piecemeal)
    instance = begun()
    for piece in (b"abcdefg", b"", b"h", b"ij"):
        instance.write(memoryview(piece))
    instance.flush()
    assert (tmp_path / "instance.part").read_bytes() == b"headabcdefghij"
    assert asked[0] == 5
    instance.flush()
    assert asked == sorted(asked, reverse=True), "nothing is written twice"


def test_no_more_pieces_are_remembered_than_the_system_takes_at_once(begun, tmp_path):
    instance = begun()
    for _ in range(900):
        instance.write(memoryview(b"x"))
    assert len(instance._pieces) < PIECES_AT_ONCE
    instance.flush()
    assert (tmp_path / "instance.part").stat().st_size == 904


def test_a_file_that_has_its_name_by_now_is_not_discarded(begun, tmp_path):
    instance = begun()
    instance.flush()
    instance.file().path.rename(tmp_path / "kept")
    instance.discard()
    assert (tmp_path / "kept").read_bytes() == b"head"


def test_a_data_set_that_is_too_large_is_swallowed_and_refused(begun, tmp_path):
    instance = begun()
    for _ in range(5):
        instance.write(memoryview(bytes(900)))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutOfResources, match="the data set is larger than"):
        instance.data_set()


def test_a_data_set_without_end_is_a_violation(begun):
    instance = begun()
    for _ in range(5):
        instance.write(memoryview(bytes(1000)))
    with pytest.raises(Violation, match="data set without end"):
        instance.write(memoryview(b"x"))
    instance.discard()


@pytest.mark.parametrize("step", ["open", "write"])
def test_what_the_disk_does_not_take_is_swallowed_and_refused(begun, tmp_path, monkeypatch, step):
    if step == "open":
        monkeypatch.setattr("os.open", no_space)
    instance = begun()
    monkeypatch.setattr("os.writev", no_space)
    instance.write(memoryview(b"data"))
    instance.flush()
    monkeypatch.undo()
    instance.write(memoryview(b"more"))
    instance.flush()
    assert instance.size == 8
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutOfResources, match="the spool does not take the instance"):
        instance.file()


def test_a_spool_that_takes_nothing_is_heard(tmp_path):
    def begin():
        raise OutOfResources("no room today")

    instance = InstanceFile(begin, b"head", LIMITS)
    instance.write(memoryview(b"data"))
    with pytest.raises(OutOfResources, match="no room today"):
        instance.data_set()
    instance.discard()
