"""A process that stands still ends, whatever it does with the interpreter's lock, and the next one says where that was."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[1]
BEGIN = "import sys, time, re; from pathlib import Path; from node import watch\nprint(watch.open_trace(Path(sys.argv[1])))\n"
SECRET = "Zyxwvut"


def run(folder: Path, *steps: str) -> subprocess.CompletedProcess[str]:
    program = folder / "reading.py"
    program.write_text(BEGIN + "\n".join(steps))
    command = [sys.executable, str(program), str(folder / "work.trace")]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=100, env={"PYTHONPATH": str(HERE)}
    )


@pytest.mark.parametrize("hang", [f"time.sleep(90 + len({SECRET!r}))", "re.match('(a+)+$', 'a' * 60 + 'b')"])
def test_a_process_that_hangs_is_ended_and_the_next_one_says_where(tmp_path: Path, hang: str) -> None:
    """The second hangs in C and lets no other thread of Python run."""
    hung = run(tmp_path, "watch.wind(0.5)", "def stuck():", f"    {hang}", "stuck()")
    assert (hung.returncode, hung.stdout.strip(), hung.stderr) == (-signal.SIGALRM, "", "")
    assert SECRET not in (tmp_path / "work.trace").read_text()
    after = run(tmp_path, "watch.stop()")
    assert "reading.py:5, reading.py:6" in after.stdout
    assert run(tmp_path).stdout.strip() == "", "it is said once"


def test_a_crash_leaves_its_place_too(tmp_path: Path) -> None:
    crashed = run(tmp_path, "import os, signal", "os.kill(os.getpid(), signal.SIGSEGV)")
    assert crashed.returncode == -11
    assert "reading.py:4" in run(tmp_path).stdout


@pytest.mark.slow
def test_a_watch_that_is_wound_again_or_stopped_in_time_ends_nothing(tmp_path: Path) -> None:
    again = ["watch.wind(3)", "time.sleep(0.3)"] * 15
    done = run(tmp_path, *again, "watch.stop()", "time.sleep(3.5)", "print('alive')")
    assert (done.returncode, done.stdout.strip()) == (0, "alive")
    assert run(tmp_path).stdout.strip() == ""


def test_the_place_of_the_thread_that_reads_a_study_comes_first(tmp_path: Path) -> None:
    (tmp_path / "work.trace").write_text(
        "Timeout (0:01:00)!\nThread 0x1 (most recent call first):\n"
        '  File "/usr/lib/python3.11/threading.py", line 320 in wait\n'
        'Thread 0x2 (most recent call first):\n  File "/opt/node/graph.py", line 68 in __call__\n'
        '  File "/opt/node/reading.py", line 300 in _read_image\n'
    )
    assert run(tmp_path).stdout.strip() == "graph.py:68, reading.py:300"
