"""A file that several processes append lines to stays whole, private and bounded, and forgets nothing unsaid."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from node.rolling import RollingFile

HERE = Path(__file__).resolve().parents[1]


def lines(folder, name="log"):
    """Every line of a file and of those that it was renamed to."""
    found = [path for path in folder.glob(f"{name}*") if path.suffix != ".lock"]
    return [line for path in found for line in path.read_bytes().splitlines()]


def test_a_full_file_is_renamed_and_the_oldest_dropped_with_its_lines_counted(tmp_path):
    file = RollingFile(tmp_path / "log", 100, 2)
    dropped = [file.append(b"%02d %s\n" % (number, b"x" * 36)) for number in range(10)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1", "log.2", "log.lock"]
    assert sum(dropped) == 10 - len(lines(tmp_path)) == 4
    assert (tmp_path / "log").read_bytes().startswith(b"08")
    assert (tmp_path / "log.2").read_bytes().startswith(b"04")
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())
    file.close()


def test_only_its_own_user_may_look_into_it_whoever_made_it(tmp_path):
    path = tmp_path / "log"
    path.write_text("old\n")
    path.chmod(0o644)
    file = RollingFile(path, 10, 1)
    file.append(b"0123456789\n")
    file.append(b"0123456789\n")
    assert {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()} == {0o600}
    file.close()


def test_two_who_have_it_open_follow_each_others_renaming(tmp_path):
    one, other = (RollingFile(tmp_path / "log", 100, 3) for _ in range(2))
    for _ in range(3):
        one.append(b"o" * 40 + b"\n")
    other.append(b"x\n")
    assert (tmp_path / "log").read_bytes() == b"o" * 40 + b"\nx\n"
    (tmp_path / "log").unlink()
    other.append(b"y\n")
    assert (tmp_path / "log").read_bytes() == b"y\n"
    one.close()
    other.close()


def test_who_finds_another_at_the_renaming_goes_on_with_the_present_file(tmp_path):
    import fcntl

    file = RollingFile(tmp_path / "log", 10, 1)
    file.append(b"0123456789\n")
    with (tmp_path / "log.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert file.append(b"late\n") == 0
    assert lines(tmp_path) == [b"0123456789", b"late"]
    file.close()


def test_processes_that_write_at_once_lose_no_line_and_tear_none(tmp_path):
    program = (
        "import sys; from pathlib import Path; from node.rolling import RollingFile\n"
        "file = RollingFile(Path(sys.argv[1]), 20_000, 40)\n"
        "for number in range(2000): file.append(b'%s %04d %s\\n' % (sys.argv[2].encode(), number, b'x' * 50))"
    )
    names = ("a", "b", "c")
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "log"), name], cwd=HERE) for name in names
    ]
    assert [process.wait(120) for process in running] == [0, 0, 0]
    expected = {b"%s %04d %s" % (name.encode(), number, b"x" * 50) for name in names for number in range(2000)}
    found = lines(tmp_path)
    assert len(found) == len(expected)
    assert set(found) == expected
    assert (tmp_path / "log.1").exists()


def test_threads_of_one_process_do_so_too(tmp_path):
    file = RollingFile(tmp_path / "log", 5_000, 40)
    threads = [
        threading.Thread(target=lambda name=name: [file.append(b"%s\n" % (name * 50)) for _ in range(300)])
        for name in (b"a", b"b", b"c")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(lines(tmp_path)) == [b"a" * 50] * 300 + [b"b" * 50] * 300 + [b"c" * 50] * 300
    file.close()


def test_a_line_that_was_cut_short_does_not_join_the_next(tmp_path, monkeypatch):
    file = RollingFile(tmp_path / "log", 1000, 1)
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    with pytest.raises(OSError, match="only a part"):
        file.append(b"torn apart\n")
    monkeypatch.setattr(os, "write", write)
    file.append(b"whole\n")
    assert (tmp_path / "log").read_bytes() == b"tor\nwhole\n"
    file.close()


def test_what_is_no_regular_file_is_written_to_and_never_renamed(tmp_path):
    device = RollingFile(Path("/dev/null"), 1, 1)
    mode = Path("/dev/null").stat().st_mode
    device.append(b"more than a byte\n")
    assert Path("/dev/null").stat().st_mode == mode
    device.close()
