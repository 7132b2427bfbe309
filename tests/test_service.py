"""The roles run alone on their spool, come back when they die, go when they are told, and end with the status that says why."""

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pynetdicom.sop_class import Verification

from node import service
from node.config import Settings
from node.config import Spool as SpoolSection
from node.durable import read_json
from node.errors import BundleError, ConfigError, NodeError
from node.service import EXIT_CONFIG, _sole
from node.stopping import StopEvent
from tests.peers import free_port, wait_until
from tests.radiographs import PATIENT, radiograph
from tests.senders import EXPLICIT, HOST, associated, bring, request

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parents[1]
SECRET = PATIENT["PatientName"]
SUPERVISE = """
import sys
from pathlib import Path
from node import log
from node.config import load
from node.service import Supervisor
log.open_log("serve")
Supervisor(load(Path(sys.argv[1])), tuple(sys.argv[2:])).run()
"""
RUN_ROLE = """
import sys
from pathlib import Path
from node.config import load
from node.service import run_role
{}
run_role(load(Path(sys.argv[1])), sys.argv[2])
"""


class Running:
    """A program of the node at work, in a folder of its own, with everything it says."""

    def __init__(self, folder, program, *roles, **settings):
        self.folder = folder
        self.config = folder / "node.yaml"
        port = free_port()
        sections = {"listen": {"port": port}, "spool": {"folder": "spool"}, "web": {"port": 0}} | settings
        self.config.write_text(yaml.safe_dump(sections))
        self.port = sections["listen"]["port"]
        self.said = folder / "said"
        command = [sys.executable, "-c", program, str(self.config), *roles]
        with self.said.open("ab") as output:
            self.process = subprocess.Popen(command, cwd=HERE, stdout=output, stderr=subprocess.STDOUT)

    def announced(self, role="receive"):
        """What a role says of itself, None while it is not ready."""
        try:
            return read_json(self.folder / "spool" / "run" / f"{role}.json")
        except FileNotFoundError:
            return None

    def pid(self, role="receive"):
        facts = self.announced(role)
        return facts["pid"] if facts else None

    def ready(self, *roles):
        wait_until(lambda: self.process.poll() is not None or all(self.announced(role) for role in roles), 60)
        assert self.process.poll() is None, self.said.read_text()
        return self

    def answers(self):
        with associated(self.port, [(Verification, EXPLICIT)]) as association:
            return association.send_c_echo().Status == 0x0000

    def lines(self):
        return [json.loads(line) for line in self.said.read_text().splitlines() if line.startswith("{")]

    def end(self, number=signal.SIGTERM):
        """End the program; gives its exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def running(tmp_path):
    """Start programs; whatever is left of them at the end is killed."""
    started = []

    def start(program, *roles, **settings):
        folder = tmp_path / f"{len(started)}"
        folder.mkdir()
        started.append(Running(folder, program, *roles, **settings))
        return started[-1]

    yield start
    for each in started:
        pids = [each.pid(role) for role in service.ROLES]
        each.process.kill()
        each.process.wait()
        for pid in filter(None, pids):
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# Alone on the spool


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(service, "LOCK_WITHIN_S", 0.2)


def held(folder, role):
    """Whether anybody holds a role's lock."""
    with (folder / "run" / f"{role}.lock").open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_two_nodes_cannot_run_one_role_on_one_spool(tmp_path, hurried):
    with _sole(tmp_path, "work") as announce:
        announce(device="cpu")
        with pytest.raises(ConfigError, match=rf"another node runs the role 'work' on the spool {tmp_path}\. Stop it"):
            _sole(tmp_path, "work").__enter__()
        assert read_json(tmp_path / "run" / "work.json")["device"] == "cpu"
    assert not held(tmp_path, "work")


def test_other_roles_and_other_spools_do_not_exclude_each_other(tmp_path, hurried):
    with _sole(tmp_path, "work"), _sole(tmp_path, "receive"), _sole(tmp_path / "other", "work"):
        assert held(tmp_path, "work")
        assert held(tmp_path, "receive")
        assert held(tmp_path / "other", "work")


def test_a_role_waits_a_while_for_one_that_is_going(tmp_path, monkeypatch):
    going = _sole(tmp_path, "work")
    going.__enter__()
    monkeypatch.setattr(service.time, "sleep", lambda _: going.__exit__(None, None, None))
    with _sole(tmp_path, "work"):
        assert held(tmp_path, "work")


def test_a_role_that_fails_leaves_its_lock_and_takes_back_what_it_announced(tmp_path):
    with pytest.raises(ZeroDivisionError), _sole(tmp_path, "work") as announce:  # noqa: PT012
        announce(device="cpu")
        raise ZeroDivisionError
    assert not (tmp_path / "run" / "work.json").exists()
    assert not held(tmp_path, "work")


def test_what_a_killed_role_announced_is_taken_back_by_the_next(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "work.json").write_text('{"pid": 1}')
    with _sole(tmp_path, "work"):
        assert not (tmp_path / "run" / "work.json").exists()


def test_the_lock_and_the_announcement_are_this_users_alone(tmp_path):
    with _sole(tmp_path / "spool", "work") as announce:
        announce()
        modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "spool").rglob("*")}
    assert modes == {"run": "0o700", "work.lock": "0o600", "work.json": "0o600"}


def test_an_event_is_not_locked_where_a_signal_meets_its_own_wait():
    """The signal comes at every moment of the wait, for some thousand times."""
    event = StopEvent()
    assert event.wait(0) is False
    before = signal.signal(signal.SIGALRM, lambda *_: event.set())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0003)
        for _ in range(5000):
            event.wait(1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert event.wait_up_to(60) is True
    assert event.wait(0) is True


# A role by itself


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_role_says_where_it_is_while_it_runs_and_ends_when_it_is_told(running, number):
    node = running(RUN_ROLE.format(""), "receive").ready("receive")
    facts = node.announced()
    assert (facts["pid"], facts["host"], facts["port"]) == (node.process.pid, HOST, node.port)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", facts["since"])
    assert node.answers()
    assert held(node.folder / "spool", "receive")
    assert node.end(number) == 0
    assert node.announced() is None
    assert not held(node.folder / "spool", "receive")
    assert [line["event"] for line in node.lines()][-1] == "listener.closed"


def test_the_receiver_says_how_its_door_is_doing_and_since_when_it_runs(running):
    hurry = "from node import service\nservice.SAY_EVERY_S = 0.1"
    node = running(RUN_ROLE.format(hurry), "receive").ready("receive")
    first = node.announced()
    assert first["door"] == {
        "pending": 0, "established": 0, "cut": {}, "rejected": {}, "violations": {}, "evicted": 0
    }  # fmt: skip
    request(node.port, called="OTHER")
    wait_until(lambda: node.announced()["door"]["rejected"] == {"called AE title not recognized": 1})
    assert node.announced()["since"] == first["since"]
    assert node.end() == 0


def test_a_role_whose_port_is_taken_waits_for_a_person(running):
    with socket.create_server((HOST, 0)) as holder:
        node = running(RUN_ROLE.format(""), "receive", listen={"port": holder.getsockname()[1]})
        assert node.process.wait(60) == EXIT_CONFIG
    said = node.said.read_text()
    assert "cxr-node receive: cannot listen on 127.0.0.1" in said
    assert "Traceback" not in said


def test_a_worker_without_a_model_waits_for_a_person(running):
    node = running(RUN_ROLE.format(""), "work", model={"bundle": "nowhere"})
    assert node.process.wait(60) == EXIT_CONFIG
    assert "cxr-node work: " in node.said.read_text()
    assert "nowhere" in node.said.read_text()
    assert "Traceback" not in node.said.read_text()


@pytest.mark.parametrize(("error", "status"), [(ConfigError, 78), (BundleError, 78), (NodeError, 1)])
def test_the_exit_status_says_whether_a_new_start_may_help(tmp_path, monkeypatch, capsys, error, status):
    def fail(*_):
        raise error("what is to be done")

    monkeypatch.setattr(service, "serve", fail)
    monkeypatch.setattr(service.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        service.run_role(Settings(spool=SpoolSection(folder=tmp_path)), "work")
    assert ended.value.code == status
    assert capsys.readouterr().err == "cxr-node work: what is to be done\n"


def test_a_fault_that_nobody_foresaw_ends_a_role_without_its_text(running):
    fault = f"import node.receive\ndef fail(self): raise ValueError({SECRET!r})\nnode.receive.Receiver.start = fail"
    node = running(f"{fault}\n{SUPERVISE}", "receive")
    wait_until(lambda: "process.died" in node.said.read_text())
    assert node.end() == 0
    failed, died, *_ = node.lines()
    assert (failed["event"], failed["error"], failed["role"]) == ("process.failed", "ValueError", "receive")
    assert (died["event"], died["process"], died["code"]) == ("process.died", "receive", 1)
    assert SECRET not in node.said.read_text()
    assert "Traceback" not in node.said.read_text()


# All roles together


def test_a_role_that_is_killed_comes_back_and_takes_what_is_sent(running):
    node = running(SUPERVISE, "receive", "web").ready("receive", "web")
    first, web = node.pid(), node.pid("web")
    assert bring(node.port, radiograph()) == [0x0000]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: node.pid() not in (None, first), 60, "the receiver coming back")
    assert node.answers()
    assert bring(node.port, radiograph()) == [0x0000]
    assert node.pid("web") == web
    died = [line for line in node.lines() if line["event"] == "process.died"]
    assert [(line["process"], line["code"], line["wait_s"], line["level"]) for line in died] == [
        ("receive", -signal.SIGKILL, 1.0, "warning")
    ]
    assert node.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_all_roles_end_when_the_supervisor_is_told(running, number):
    node = running(SUPERVISE, "receive", "web").ready("receive", "web")
    pids = [node.pid("receive"), node.pid("web")]
    assert node.end(number) == 0
    assert not any(is_alive(pid) for pid in pids)
    assert node.announced("receive") is node.announced("web") is None
    assert "Traceback" not in node.said.read_text()


@pytest.mark.slow
def test_a_supervisor_told_to_end_while_it_starts_ends_its_roles_too(running):
    slow = "import time, node.receive\nnode.receive.Receiver.start = lambda self: time.sleep(3)\n"
    node = running(f"{slow}node.receive.Receiver.stop = lambda self: None\n{SUPERVISE}", "receive", "web")
    wait_until(lambda: (node.folder / "spool" / "run" / "receive.lock").exists())
    assert node.end() == 0
    assert not held(node.folder / "spool", "receive")
    assert not (node.folder / "spool" / "run" / "web.lock").exists()
    assert "Traceback" not in node.said.read_text()


@pytest.mark.slow
def test_roles_do_not_outlive_a_supervisor_that_is_killed_and_the_node_starts_again(running):
    node = running(SUPERVISE, "receive", "web").ready("receive", "web")
    pids = [node.pid("receive"), node.pid("web")]
    node.process.kill()
    node.process.wait()
    wait_until(lambda: not any(is_alive(pid) for pid in pids), 30, "the end of the orphaned roles")
    again = Running(node.folder, SUPERVISE, "receive", listen={"port": node.port}).ready("receive")
    try:
        assert again.answers()
    finally:
        assert again.end() == 0


def test_a_role_that_needs_a_person_ends_all_of_them(running):
    with socket.create_server((HOST, 0)) as holder:
        node = running(SUPERVISE, "receive", "web", web={"port": holder.getsockname()[1]})
        assert node.process.wait(60) == 1
    said = node.said.read_text()
    assert said.count("cxr-node web: ") == 1
    assert [line["event"] for line in node.lines() if line["event"].startswith("listener")] == [
        "listener.opened",
        "listener.closed",
    ]
    assert "Traceback" not in said


def test_where_the_first_role_needs_a_person_no_other_is_started(running):
    with socket.create_server((HOST, 0)) as holder:
        node = running(SUPERVISE, "receive", "web", listen={"port": holder.getsockname()[1]})
        assert node.process.wait(60) == 1
    assert not (node.folder / "spool" / "run" / "web.lock").exists()


@pytest.mark.slow
def test_the_command_line_says_that_a_role_cannot_run_and_exits_with_one(tmp_path):
    with socket.create_server((HOST, 0)) as holder:
        config = tmp_path / "node.yaml"
        config.write_text(
            f"listen: {{port: {holder.getsockname()[1]}}}\nmodel: {{bundle: nowhere}}\nweb: {{port: 0}}\n"
        )
        command = [sys.executable, "-m", "node", "serve", "--config", str(config)]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 1
    assert "cannot listen on 127.0.0.1" in done.stderr
    assert re.search(r"cxr-node: the role '(receive|work)' cannot run; its message above says what to do", done.stderr)
    assert "Traceback" not in done.stderr
