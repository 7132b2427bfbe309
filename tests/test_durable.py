"""Files and folders that are whole or not there, and this user's alone."""

import os
import re
import stat
from pathlib import Path

import pytest

from node import durable
from node.durable import (
    BEGIN_EVERY_BYTES,
    PLACED_FROM_BYTES,
    NewFile,
    key_of,
    make_folder,
    read_json,
    write_json,
    write_new,
)
from tests.spools import files, no_space

HERE = Path(__file__).resolve().parents[1]


def test_a_new_folder_and_its_new_parents_are_this_users_alone(tmp_path):
    make_folder(tmp_path / "a" / "b" / "c")
    for folder in ("a", "a/b", "a/b/c"):
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o700


def test_each_new_folder_is_made_durable_in_its_parent(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(durable, "sync_folder", synced.append)
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"]


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "a")
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "a" / "b")


def test_a_file_is_never_written_over(tmp_path):
    write_new(tmp_path / "a", (b"one",))
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "a", (b"two",))
    assert (tmp_path / "a").read_bytes() == b"one"


def test_json_is_replaced_as_one_and_read_again(tmp_path):
    for form in ({"a": 1}, {"b": [1, None, "ü"]}):
        write_json(tmp_path / "new" / "form.json", form)
        assert read_json(tmp_path / "new" / "form.json") == form
    assert list(files(tmp_path)) == ["new/form.json"]


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_json_that_the_disk_does_not_take_leaves_the_old_one_and_nothing_else(tmp_path, monkeypatch, step):
    write_json(tmp_path / "form.json", {"old": 1})
    monkeypatch.setattr(os, step, no_space)
    with pytest.raises(OSError, match="No space"):
        write_json(tmp_path / "form.json", {"new": 2})
    monkeypatch.undo()
    assert read_json(tmp_path / "form.json") == {"old": 1}
    assert list(files(tmp_path)) == ["form.json"]


def test_a_key_names_one_uid_and_no_other():
    keys = {key_of(uid) for uid in ("1.2", "1.2 ", "1.2.3", "", "../..")}
    assert len(keys) == 5
    assert all(re.fullmatch(r"[0-9a-f]{32}", key) for key in keys)


def test_a_new_file_is_kept_under_another_name_or_nothing_of_it_is_left(tmp_path):
    kept, dropped = NewFile(tmp_path / "a"), NewFile(tmp_path / "b")
    for new in (kept, dropped):
        new.write(b"head", b"", b"body")
    kept.keep_as(tmp_path / "c")
    another = NewFile(tmp_path / "a")
    for new in (kept, dropped, kept):
        new.discard()
    another.discard()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"c": b"headbody"}


def test_the_disk_is_told_to_begin_with_each_part_of_a_new_file_once(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(durable, "begin_writing", lambda _, offset, count: told.append((offset, count)))
    new = NewFile(tmp_path / "a")
    part = bytes(BEGIN_EVERY_BYTES // 4)
    for _ in range(11):
        new.write(part)
    new.discard()
    assert told == [(0, BEGIN_EVERY_BYTES), (BEGIN_EVERY_BYTES, BEGIN_EVERY_BYTES)]


def test_a_large_part_of_a_new_file_is_given_its_place_before_it_is_written(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(durable, "give_place", lambda _, offset, count: asked.append((offset, count)))
    new = NewFile(tmp_path / "a")
    for part in (bytes(PLACED_FROM_BYTES), b"small", bytes(PLACED_FROM_BYTES + 1)):
        new.write(part)
    new.discard()
    assert asked == [(0, PLACED_FROM_BYTES), (PLACED_FROM_BYTES + 5, PLACED_FROM_BYTES + 1)]


def test_a_file_whose_parts_were_given_their_places_takes_no_more_than_it_needs(tmp_path):
    new = NewFile(tmp_path / "a")
    parts = [os.urandom(PLACED_FROM_BYTES + 17) for _ in range(9)]
    for part in parts:
        new.write(part)
    new.sync()
    found = (tmp_path / "a").stat()
    assert (tmp_path / "a").read_bytes() == b"".join(parts)
    assert found.st_blocks * 512 < found.st_size + 65_536


def test_a_file_system_that_gives_no_place_is_written_to_all_the_same(tmp_path):
    reader, writer = os.pipe()
    durable.give_place(writer, 0, PLACED_FROM_BYTES)  # ESPIPE
    os.close(reader)
    os.close(writer)


def test_a_file_that_the_disk_was_told_to_begin_with_is_whole(tmp_path):
    new = NewFile(tmp_path / "a")
    parts = [os.urandom(BEGIN_EVERY_BYTES // 3) for _ in range(7)]
    for part in parts:
        new.write(part)
    new.sync()
    assert (tmp_path / "a").read_bytes() == b"".join(parts)


def test_a_system_that_cannot_begin_early_is_not_asked_to(tmp_path, monkeypatch):
    monkeypatch.setattr(durable, "_sync_file_range", None)
    new = NewFile(tmp_path / "a")
    new.write(bytes(BEGIN_EVERY_BYTES))
    assert new.content().nbytes == BEGIN_EVERY_BYTES


@pytest.mark.parametrize("count", [0, 1, durable.EACH, durable.EACH + 1, 25])
def test_each_of_many_files_is_synced_once(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(durable, "_sync", synced.append)
    paths = [tmp_path / str(number) for number in range(count)]
    durable.sync_all(paths)
    assert sorted(synced) == sorted(paths)


@pytest.mark.parametrize("broken", range(7))
def test_a_file_that_cannot_be_synced_is_told_whichever_thread_has_it(broken: int, tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(7)]
    for path in paths[:broken] + paths[broken + 1 :]:
        path.touch()
    with pytest.raises(FileNotFoundError, match=f"/{broken}'"):
        durable.sync_all(paths)
