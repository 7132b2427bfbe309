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
from tests.radiographs import PATIENT

SECRET = PATIENT["PatientName"]
HERE = Path(__file__).resolve().parents[1]


@pytest.fixture
def lines(monkeypatch):
    """Open the log of a role; gives the lines written so far, as JSON."""
    stream = io.StringIO()
    root, hooks = logging.root.handlers[:], (sys.excepthook, threading.excepthook)
    with warnings.catch_warnings(), monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        log.open_log("receive")
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.root.handlers = root
    sys.excepthook, threading.excepthook = hooks
    structlog.reset_defaults()
    for name in ("dbos", "pynetdicom", "pydicom"):
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


@pytest.mark.parametrize("library", ["pydicom", "pynetdicom", "pynetdicom.assoc", "dbos", "anything.else"])
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
