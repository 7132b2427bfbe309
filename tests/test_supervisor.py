"""The supervisor's bookkeeping: whom it starts, how long it waits, whom it gives up."""

from types import SimpleNamespace

import pytest

from node import service
from node.config import Settings
from node.config import Spool as SpoolSection
from node.service import EXIT_CONFIG, LONGEST_PAUSE_S, SILENT_FOR_S, STEADY_AFTER_S, RoleError, Supervisor


class Child:
    """A process that does what a test tells it."""

    def __init__(self, log, name, stubborn=False):
        self.log, self.name, self.stubborn, self.exitcode = log, name, stubborn, None

    def start(self):
        self.log.append(f"start {self.name}")

    def terminate(self):
        self.log.append(f"terminate {self.name}")
        if not self.stubborn:
            self.exitcode = 0

    def kill(self):
        self.log.append(f"kill {self.name}")
        self.exitcode = -9

    def join(self, timeout=None):
        self.log.append(f"join {self.name}")


@pytest.fixture
def supervisor(tmp_path, monkeypatch):
    """A supervisor of children that only pretend, with the log of what was done to them."""
    monkeypatch.setattr(service, "FIRST_READY_WITHIN_S", 0)
    done = []
    supervisor = Supervisor(Settings(spool=SpoolSection(folder=tmp_path)))

    class Context:
        @staticmethod
        def Process(target, args, name):  # noqa: N802
            assert (target, args[1]) == (service.run_role, name)
            return Child(done, name)

        @staticmethod
        def Value(kind, value, lock):  # noqa: N802
            return SimpleNamespace(value=value)

    supervisor._context = Context
    return supervisor, done


def test_roles_are_started_the_receiver_first_and_stopped_in_order(supervisor):
    supervisor, done = supervisor
    supervisor.start()
    supervisor.stop()
    supervisor.stop()
    roles = ("receive", "work", "web")
    assert done == [f"start {role}" for role in roles] + [
        f"{act} {role}" for role in roles for act in ("terminate", "join")
    ]


def test_a_role_that_does_not_stop_is_killed(supervisor):
    supervisor, done = supervisor
    supervisor.start()
    supervisor._children["work"].stubborn = True
    supervisor.stop()
    assert done[-6:] == ["terminate work", "join work", "kill work", "join work", "terminate web", "join web"]


def test_a_role_that_dies_again_and_again_waits_ever_longer_up_to_a_minute(supervisor, monkeypatch):
    supervisor, done = supervisor
    clock = [1000.0]
    monkeypatch.setattr(service.time, "monotonic", lambda: clock[0])
    supervisor.start()
    waits = []
    for _ in range(9):
        supervisor._children["work"].exitcode = -11
        supervisor.look_after()
        waits.append(supervisor._due["work"] - clock[0])
        clock[0] += waits[-1] - 0.5
        supervisor.look_after()
        assert "work" not in supervisor._children
        clock[0] += 0.5
        supervisor.look_after()
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert waits[-1] == LONGEST_PAUSE_S
    assert done.count("start work") == 10
    assert done.count("start receive") == 1


def test_a_role_that_ran_steadily_is_started_again_after_a_second(supervisor, monkeypatch):
    supervisor, _ = supervisor
    clock = [1000.0]
    monkeypatch.setattr(service.time, "monotonic", lambda: clock[0])
    supervisor.start()
    for ran_s, wait_s in [(1, 1), (1, 2), (STEADY_AFTER_S + 1, 1), (1, 2)]:
        clock[0] += ran_s
        supervisor._children["work"].exitcode = 1
        supervisor.look_after()
        assert supervisor._due["work"] - clock[0] == wait_s
        clock[0] += wait_s
        supervisor.look_after()


def test_a_role_that_needs_a_person_is_not_started_again(supervisor):
    supervisor, done = supervisor
    supervisor.start()
    supervisor._children["work"].exitcode = EXIT_CONFIG
    with pytest.raises(RoleError, match="the role 'work' cannot run; its message above"):
        supervisor.look_after()
    supervisor.stop()
    assert done.count("start work") == 1


def test_a_role_whose_main_thread_falls_silent_is_killed_once_and_one_that_starts_is_not(supervisor, monkeypatch):
    supervisor, done = supervisor
    clock = [1000.0]
    monkeypatch.setattr(service.time, "monotonic", lambda: clock[0])
    supervisor.start()
    supervisor._pulses["receive"].value = clock[0]
    clock[0] += SILENT_FOR_S + 1
    supervisor._pulses["web"].value = clock[0] - SILENT_FOR_S
    supervisor.look_after()
    assert supervisor._due == {}
    supervisor.look_after()
    assert [act for act in done if act.startswith("kill")] == ["kill receive"]
    assert list(supervisor._due) == ["receive"]


def test_a_stopped_supervisor_starts_nothing_that_was_due(supervisor, monkeypatch):
    supervisor, done = supervisor
    clock = [1000.0]
    monkeypatch.setattr(service.time, "monotonic", lambda: clock[0])
    supervisor.start()
    supervisor._children["work"].exitcode = 1
    supervisor.look_after()
    supervisor.stop()
    clock[0] += 100
    supervisor.look_after()
    assert done.count("start work") == 1
