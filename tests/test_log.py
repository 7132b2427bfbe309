"""A log line holds declared fields and nothing else; what libraries and lost threads say is named, not quoted."""

import io
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
import structlog

from node import log
from node.errors import ConfigError
from tests.radiographs import PATIENT

SECRET = PATIENT["PatientName"]
HERE = Path(__file__).resolve().parents[1]


@pytest.fixture
def lines(monkeypatch):
    """Open the log of a role; gives the lines written so far, as JSON."""
    stream = io.StringIO()
    root, hooks = logging.root.handlers[:], (sys.excepthook, threading.excepthook, sys.unraisablehook)
    with warnings.catch_warnings(), monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        log.open_log("receive")
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.root.handlers = root
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    logging.raiseExceptions = True
    structlog.reset_defaults()
    for name in ("pynetdicom", "pydicom"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def run(program):
    """Run a program of its own that has opened the log; gives its standard error and exit status."""
    code = f"from node import log\nlog.open_log('work')\n{program}"
    done = subprocess.run([sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    return done.stderr, done.returncode


def test_an_event_is_one_line_of_json_with_its_role_its_level_and_its_time(lines):
    log.event("instance.stored", study="abc", kind="image", bytes=17)
    (line,) = lines()
    assert line.pop("time").endswith("Z")
    assert line == {
        "event": "instance.stored",
        "level": "info",
        "role": "receive",
        "study": "abc",
        "kind": "image",
        "bytes": 17,
    }


def test_an_alarm_is_a_warning(lines):
    log.alarm("instance.refused", status="0xA700", reason="no room")
    assert [(line["level"], line["event"]) for line in lines()] == [("warning", "instance.refused")]


def test_a_field_that_is_not_declared_is_withheld_and_counted(lines):
    log.event("instance.stored", study="abc", patient=SECRET, patient_id="1")
    (line,) = lines()
    assert line["withheld"] == 2
    assert line["study"] == "abc"
    assert SECRET not in json.dumps(line)


def test_no_field_can_be_mistaken_for_a_patients():
    words = ("patient", "name", "birth", "accession", "uid", "sex", "description", "institution", "physician")
    assert not [field for field in log.FIELDS if any(word in field for word in words)]


def test_control_characters_do_not_break_a_line(lines):
    log.alarm("association.rejected", calling="EVIL\n{}\x1b[31m\r\0", address="::1")
    (line,) = lines()
    assert line["calling"] == "EVIL\n{}\x1b[31m\r\0"


def test_what_json_has_no_word_for_is_written_all_the_same(lines):
    log.event("instance.stored", study=Path("x"), reason=ValueError("y"), bytes=b"\xff")
    assert len(lines()) == 1


@pytest.mark.parametrize("library", ["pydicom", "pynetdicom", "pynetdicom.assoc", "anything.else"])
def test_an_error_of_a_library_is_named_and_its_text_withheld(lines, library):
    logging.getLogger(library).error("Invalid value: '%s'", SECRET)
    (line,) = lines()
    assert (line["event"], line["logger"], line["level"]) == ("library.logged", library, "error")
    assert SECRET not in json.dumps(line)


def test_an_exception_that_a_library_logs_is_named_by_its_class(lines):
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        logging.getLogger("pynetdicom").exception(error)
    (line,) = lines()
    assert line["error"] == "ValueError"
    assert SECRET not in json.dumps(line)


def test_an_error_logged_without_an_exception_at_hand_is_logged(lines):
    logging.getLogger("pydicom").error("no exception", exc_info=True)
    assert [line["event"] for line in lines()] == ["library.logged"]


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.WARNING])
def test_lesser_words_of_libraries_are_not_heard(lines, level):
    logging.getLogger("pydicom").log(level, SECRET)
    logging.getLogger("something").log(level, SECRET)
    assert lines() == []


def test_handlers_that_a_library_gave_itself_are_taken_away(lines):
    heard = io.StringIO()
    logging.getLogger("pynetdicom").addHandler(logging.StreamHandler(heard))
    log.withhold("pynetdicom")
    logging.getLogger("pynetdicom").error(SECRET)
    assert heard.getvalue() == ""
    assert [line["logger"] for line in lines()] == ["pynetdicom"]


def test_a_warning_of_a_library_is_not_shown():
    written, status = run(f"import warnings\nwarnings.warn({SECRET!r}, UserWarning, stacklevel=1)")
    assert (written, status) == ("", 0)


def test_two_threads_do_not_write_into_each_others_lines(lines):
    def write(number):
        for _ in range(100):
            log.event("instance.stored", study="x" * 200, bytes=number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(line["bytes"] for line in lines()) == sorted(list(range(4)) * 100)


def test_an_exception_that_ends_a_thread_is_named_with_its_place_and_not_quoted():
    written, status = run(
        "import threading\n"
        f"def work(): raise ValueError({SECRET!r})\n"
        "thread = threading.Thread(target=work)\nthread.start()\nthread.join()"
    )
    (line,) = written.splitlines()
    assert json.loads(line)["event"] == "thread.died"
    assert json.loads(line)["error"] == "ValueError"
    assert "<string>:4" in json.loads(line)["reason"]
    assert SECRET not in written
    assert status == 0


def test_an_exception_that_ends_the_process_is_named_with_its_place_and_not_quoted():
    written, status = run(f"raise KeyError({SECRET!r})")
    (line,) = written.splitlines()
    assert json.loads(line)["event"] == "process.failed"
    assert json.loads(line)["error"] == "KeyError"
    assert SECRET not in written
    assert status == 1


def test_on_a_terminal_the_lines_are_for_reading():
    pty = pytest.importorskip("pty")
    primary, secondary = pty.openpty()
    code = "from node import log; log.open_log('work'); log.event('model.ready', device='cpu', patient='x')"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=HERE, stderr=secondary)
    os.close(secondary)
    assert process.wait(60) == 0
    shown = os.read(primary, 10_000).decode()
    os.close(primary)
    assert "model.ready" in shown
    assert not shown.startswith("{")
    assert "withheld" in shown


def test_a_fault_that_is_outlived_is_told_by_its_class_and_place_without_its_text(lines):
    with log.Outlived("door.failed", study="abc") as fault:
        raise ValueError(SECRET)
    assert fault.failed
    (line,) = lines()
    assert (line["event"], line["level"], line["error"], line["study"]) == (
        "door.failed",
        "warning",
        "ValueError",
        "abc",
    )
    assert line["reason"].startswith("test_log.py:")
    assert SECRET not in json.dumps(line)


def test_what_goes_well_or_is_to_end_the_process_is_not_outlived(lines):
    with log.Outlived("door.failed") as fault:
        pass
    assert not fault.failed
    for end in (SystemExit, KeyboardInterrupt):
        with pytest.raises(end), log.Outlived("door.failed"):
            raise end
    assert lines() == []


# A flood fills no disk


def test_of_a_flood_of_events_some_are_written_and_the_rest_counted(lines, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("node.rate.time.monotonic", lambda: now[0])
    for _ in range(log.ALARMS + 5):
        log.alarm("study.postponed", study="abc", destination="pacs")
    log.alarm("study.postponed", destination="other")
    assert len(lines()) == log.ALARMS + 1
    now[0] = 61.0
    log.event("study.read")
    told, read = lines()[-2:]
    assert (told["event"], told["level"], told["held"], told["reason"], told["count"]) == (
        "lines.held_back",
        "warning",
        "study.postponed",
        "pacs",
        5,
    )
    assert read["event"] == "study.read"


def test_what_peers_can_repeat_is_written_less_often_and_by_kind(lines):
    for _ in range(10 * log.REPEATED):
        log.repeated("association.rejected", "called AE title not recognized", calling="X", address="::1")
    log.repeated("association.rejected", "calling AE title not recognized", calling="X", address="::1")
    assert len(lines()) == log.REPEATED + 1
    log.tell_held_back(at_once=True)
    assert lines()[-1]["count"] == 9 * log.REPEATED
    assert lines()[-1]["reason"] == "called AE title not recognized"


def test_a_library_that_logs_without_end_is_held_back_too(lines):
    for _ in range(1000):
        logging.getLogger("pydicom").error(SECRET)
    assert len(lines()) == log.REPEATED


def test_a_value_without_end_is_cut(lines):
    log.alarm("task.parked", error="x" * 1_000_000)
    assert len(lines()[0]["error"]) < 1100


def test_a_log_that_takes_no_line_stops_nothing_and_tells_later_how_many_were_lost(monkeypatch):
    written, told, full = [], [], [True]
    monkeypatch.setattr(log, "alarm", lambda name, **fields: told.append((name, fields)))

    def write(line):
        if full[0]:
            raise OSError(28, "No space left on device")
        written.append(line)

    lines = log._Lines(write)
    lines.info("one")
    lines.warning("two")
    full[0] = False
    lines.info("three")
    assert written == ["three\n"]
    assert told == [("lines.lost", {"count": 2})]


def test_a_file_that_cannot_be_written_is_told_before_the_start(tmp_path, monkeypatch):
    monkeypatch.setenv(log.FILE, str(tmp_path / "missing" / "node.log"))
    with pytest.raises(ConfigError, match=r"node\.log cannot be written .* CXR_NODE_LOG"):
        log.open_log("receive")


def test_a_file_is_private_and_rolled_over(tmp_path, monkeypatch, lines):
    monkeypatch.setenv(log.FILE, str(tmp_path / "node.log"))
    monkeypatch.setattr(log, "FILE_BYTES", 2_000)
    log.open_log("receive")
    for _ in range(100):
        log.event("instance.stored", study="x" * 32)
    files = [path for path in tmp_path.iterdir() if path.suffix != ".lock"]
    assert len(files) > 1
    assert all(path.stat().st_size <= 2_000 and path.stat().st_mode & 0o777 == 0o600 for path in files)
    assert sum(len(path.read_text().splitlines()) for path in files) == 100
    assert lines() == []


# What else prints what a process holds


def test_an_exception_in_a_finalizer_is_named_and_neither_it_nor_its_object_is_quoted():
    written, status = run(
        "class Held:\n"
        f"    def __repr__(self): return {SECRET!r}\n"
        f"    def __del__(self): raise ValueError({SECRET!r})\n"
        "held = Held()\ndel held"
    )
    (line,) = written.splitlines()
    assert json.loads(line)["event"] == "exception.ignored"
    assert json.loads(line)["error"] == "ValueError"
    assert (SECRET in written, status) == (False, 0)


def test_a_handler_that_fails_does_not_print_the_record_it_failed_at():
    written, _ = run(
        "import logging\n"
        "class Broken(logging.StreamHandler):\n"
        "    def format(self, record): raise ValueError\n"
        "logging.getLogger('anything').addHandler(Broken())\n"
        f"logging.getLogger('anything').error({SECRET!r})"
    )
    assert SECRET not in written
    assert "library.logged" in written


def test_handlers_that_libraries_brought_along_are_taken_away_together():
    written, _ = run(
        "import logging\n"
        "logging.getLogger('absl').addHandler(logging.StreamHandler())\n"
        "log.withhold_all()\n"
        f"logging.getLogger('absl').error({SECRET!r})"
    )
    (line,) = written.splitlines()
    assert json.loads(line)["logger"] == "absl"
    assert SECRET not in written


def test_a_process_that_crashes_leaves_no_core_and_its_last_words_hold_no_value():
    written, status = run(
        "import faulthandler, os, resource\n"
        "faulthandler.enable()\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE), file=__import__('sys').stderr, flush=True)\n"
        f"def work(name): os.abort()\nwork({SECRET!r})"
    )
    assert status == -6
    assert written.startswith(("(1, 1)", "(0, 0)"))
    assert "Fatal Python error: Aborted" in written
    assert SECRET not in written


def test_a_start_does_not_load_what_prints_tracebacks_and_who_wants_it_has_it_later():
    code = "import sys, node.cli, node.service; assert 'rich' not in sys.modules; import rich, rich.console"
    subprocess.run([sys.executable, "-c", code], check=True)
