"""The running node: its roles as processes, started together, restarted when they die, stopped in order.

The receiver and the worker share nothing but the spool, so the one answers while the other loads its model, and a film
that brings down the worker takes no association with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from node import log
from node.config import Settings
from node.durable import make_folder, write_json
from node.errors import ConfigError, NodeError

# Stopped in this order: no new studies, then no new work, then nobody left to tell.
ROLES = ("receive", "work", "web")
# sysexits.h EX_CONFIG: a role that ends so waits for a person, and starting it again would not help.
EXIT_CONFIG = 78
# A role that dies is started again after 1 s, 2 s, 4 s ... 60 s; one that ran for a minute begins anew.
LONGEST_PAUSE_S = 60.0
STEADY_AFTER_S = 60.0
STOP_WITHIN_S = 20.0
# A node that was killed leaves its lock at once; its orphaned roles leave theirs within a second or two.
LOCK_WITHIN_S = 15.0
SUPERVISED = "CXR_NODE_SUPERVISED"


def serve(settings: Settings, role: str) -> None:
    """Run one role in this process until it is told to stop.

    Parameters
    ----------
    settings : Settings
    role : {"receive", "work", "web"}

    Raises
    ------
    NodeError
        When a person must act before it can start.
    """
    log.open_log(role)
    stopped = _stop_on_signals()
    with _sole(settings.spool.folder, role) as announce:
        if role == "receive":
            _receive(settings, stopped, announce)
        elif role == "work":
            _work(settings, stopped, announce)
        else:
            _web(settings, stopped, announce)


class _Announce:
    """Tells the other processes, by a small file, that a role is ready and where."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, **facts: object) -> None:
        write_json(self._path, {"pid": os.getpid(), "since": datetime.now(UTC).isoformat(), **facts})

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)


def _receive(settings: Settings, stopped: threading.Event, announce: _Announce) -> None:
    from node.receive import Receiver
    from node.spool import Spool

    receiver = Receiver(settings, Spool(settings.spool.folder))
    announce(host=settings.listen.host, port=receiver.start())
    stopped.wait()
    receiver.stop()


def _work(settings: Settings, stopped: threading.Event, announce: _Announce) -> None:
    from node.bundle import load
    from node.deliver import StorageSCU
    from node.spool import Spool

    spool = Spool(settings.spool.folder)
    bundle = load(settings.model.bundle)
    # Late and here alone: TensorFlow takes seconds to import, and no other role needs it.
    from node.infer import Reader
    from node.journey import Journey
    from node.workflow import Desk

    reader = Reader(bundle, settings.model.device)
    title, keep = settings.listen.ae_title, spool.outbox.write_commitment
    destinations = {d.name: StorageSCU(d, title, keep) for d in settings.destinations}
    desk = Desk(Journey(settings, spool, bundle, reader, destinations))
    desk.open()
    announce(device=reader.device)
    log.event("model.ready", model=bundle.identity.version, device=reader.device)
    stopped.wait()
    desk.close()


def _web(settings: Settings, stopped: threading.Event, announce: _Announce) -> None:
    from node.web.server import StatusServer

    server = StatusServer(settings)
    announce(host=settings.web.host, port=server.start())
    stopped.wait()
    server.stop()


def _stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM, SIGINT, or the end of the supervising process sets."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    if os.environ.get(SUPERVISED):
        threading.Thread(target=_stop_with_supervisor, args=(stopped,), daemon=True).start()
    return stopped


def _stop_with_supervisor(stopped: threading.Event) -> None:
    """Wait for the end of standard input, which the supervisor holds open for as long as it lives."""
    sys.stdin.buffer.read()
    stopped.set()


@contextlib.contextmanager
def _sole(folder: Path, role: str) -> Iterator[_Announce]:
    """Hold the role's lock on the spool: two workers on one spool would do the same work twice.

    Raises
    ------
    ConfigError
        When another node holds it.
    """
    run = folder / "run"
    make_folder(run)
    descriptor = os.open(run / f"{role}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    announce = _Announce(run / f"{role}.json")
    try:
        _lock(descriptor, folder, role)
        announce.clear()
        yield announce
        announce.clear()
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path, role: str) -> None:
    deadline = time.monotonic() + LOCK_WITHIN_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"another node runs the role {role!r} on the spool {folder}. Stop it, or give this node its own spool."
                ) from None
            time.sleep(0.1)


class Supervisor:
    """Runs all roles as child processes.

    Parameters
    ----------
    config : Path
        The configuration file, which each role reads for itself.
    roles : tuple of str
    """

    def __init__(self, config: Path, roles: tuple[str, ...] = ROLES) -> None:
        self._config, self._roles = config, roles
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._pauses = dict.fromkeys(roles, 1.0)
        self._stopped = threading.Event()

    def run(self) -> None:
        """Start the roles and keep them running until a signal, or until a role needs a person.

        Raises
        ------
        NodeError
            When a role ended with a mistake of configuration; it has said which.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopped.set())
        self.start()
        try:
            while not self._stopped.wait(0.1):
                self.look_after()
        finally:
            self.stop()

    def start(self) -> None:
        """Start every role."""
        for role in self._roles:
            self._start(role)

    def stop(self) -> None:
        """Stop every role, in order, and kill one that does not stop in time."""
        for role in self._roles:
            child = self._children.pop(role, None)
            if child is None:
                continue
            child.terminate()
            try:
                child.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _start(self, role: str) -> None:
        command = [sys.executable, "-m", "node", "serve", "--config", str(self._config), "--role", role]
        environment = {**os.environ, SUPERVISED: "1"}
        self._children[role] = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)  # noqa: S603
        self._started[role] = time.monotonic()

    def look_after(self) -> None:
        """Start again what has died and waited out its pause.

        Raises
        ------
        NodeError
            When a role ended because a person must act; it has said how.
        """
        now = time.monotonic()
        for role in [role for role, due in self._due.items() if due <= now]:
            del self._due[role]
            self._start(role)
        for role, child in list(self._children.items()):
            code = child.poll()
            if code is not None:
                del self._children[role]
                self._ended(role, code, now)

    def _ended(self, role: str, code: int, now: float) -> None:
        if code == EXIT_CONFIG:
            raise NodeError(f"the role {role!r} cannot run; its message above says what to do")
        if now - self._started[role] > STEADY_AFTER_S:
            self._pauses[role] = 1.0
        pause = self._pauses[role]
        self._due[role] = now + pause
        self._pauses[role] = min(2 * pause, LONGEST_PAUSE_S)
        log.alarm("process.died", process=role, code=code, wait_s=pause)
