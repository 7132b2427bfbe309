"""The running node: its roles as processes, started together, restarted when they die, stopped in order.

The receiver and the worker share nothing but the spool, so the one answers while the other loads its model, and a film
that brings down the worker takes no association with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import multiprocessing
import os
import signal
import stat
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

from node import audit, disk, log
from node.config import Settings
from node.durable import FOLDER_MODE, make_folder, write_json
from node.errors import BundleError, ConfigError, NodeError
from node.stopping import STOP_SIGNALS, StopEvent, stop_on_signals

if TYPE_CHECKING:
    from node.bundle import Bundle
    from node.darkroom import Darkroom
    from node.notify import Postman

# Stopped in this order: no new studies, then no new work, then nobody left to tell.
ROLES = ("receive", "work", "web")
# sysexits.h EX_CONFIG: a role that ends so waits for a person, and starting it again would not help.
EXIT_CONFIG = 78
# A role that dies is started again after 1 s, 2 s, 4 s ... 60 s; one that ran for a minute begins anew.
LONGEST_PAUSE_S = 60.0
STEADY_AFTER_S = 60.0
STOP_WITHIN_S = 20.0
# How long a thread of the worker may hold the interpreter while another waits for it.
TURN_S = 0.0005
# Objects until garbage is looked for: a report is made of thousands that are no garbage yet, and by default 700 are enough.
GARBAGE = 50_000, 20, 100
# pydicom imports these where they are there, to decode and to download test files, and always a dictionary of private
# attributes. The receiver does nothing of that; without them its imports take 0.32 s of CPU in place of 0.68 (medians of
# three on a busy machine), and it must answer within a second.
NOT_FOR_THE_RECEIVER = ("PIL", "jpeg_ls", "numpy", "pylibjpeg", "requests")
# Keras imports them where they are there, for training alone: 2.3 s of the 6.3 that TensorFlow's import takes with it (measured).
NOT_FOR_THE_WORKER = ("matplotlib", "pandas", "sklearn")
NO_PRIVATE_ATTRIBUTES = ModuleType("pydicom._private_dict")
NO_PRIVATE_ATTRIBUTES.__dict__["private_dictionaries"] = {}
# How often the receiver says how its door is doing, if that has changed; Prometheus asks every 15 s or less often.
SAY_EVERY_S = 5.0
FIRST_READY_WITHIN_S = 5.0
# A role whose main thread was silent for so long hangs, most likely in native code that holds the interpreter's lock.
SILENT_FOR_S = 60.0
# A node that was killed leaves its lock at once; its orphaned roles leave theirs within a second or two.
LOCK_WITHIN_S = 15.0


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
    try:
        with _sole(settings.spool.folder, role) as announce, audit.opened(settings, role):
            {"receive": _receive, "work": _work, "web": _web}[role](settings, announce)
    finally:
        log.tell_held_back(at_once=True)


# Where this process says that it lives, for its supervisor.
_pulse: Any = None


def run_role(settings: Settings, role: str, pulse: Any = None) -> None:
    """Run one role as a whole process: a mistake ends it with a message and an exit status that says who acts next."""
    global _pulse
    _pulse = pulse
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)  # not the supervisor's own handlers, which a fork brings along
    os.umask(0o077)  # what a library writes is for this user alone, too
    try:
        with contextlib.ExitStack() as fate:
            fate.push(_failed)
            serve(settings, role)
    except NodeError as error:
        print(f"cxr-node {role}: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(EXIT_CONFIG if isinstance(error, ConfigError | BundleError) else 1) from None


def _failed(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
    """End the process at a fault that nobody foresaw, without its text, which may hold a patient's data."""
    if kind is not None and not issubclass(kind, NodeError | SystemExit):
        log.failed(kind, error, trace)
        raise SystemExit(1)


class RoleError(NodeError):
    """A role cannot run until a person has acted."""


class _Announce:
    """Tells the other processes, by a small file, that a role is ready and where, and how it is doing since."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._facts: dict[str, object] = {}
        self._said: dict[str, object] = {}

    def __call__(self, **facts: object) -> None:
        """Say what is the case now; what was said before stays said. What the disk does not take is said the next time."""
        log.tell_held_back()
        audit.tell_held_back()
        since = {"pid": os.getpid(), "since": datetime.now(UTC).isoformat()}
        self._facts = {**(self._facts or since), **facts}
        if self._facts == self._said:
            return
        try:
            write_json(self._path, self._facts)
            self._said = dict(self._facts)
        except OSError as error:
            if not (self._said or disk.is_full(error)):
                raise

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)


def _receive(settings: Settings, announce: _Announce) -> None:
    gc.disable()  # imports make hundreds of thousands of objects and no garbage; looking for it took a tenth of the start
    sys.modules.update(dict.fromkeys(NOT_FOR_THE_RECEIVER))  # type: ignore[arg-type]  # None: cannot be imported
    sys.modules[NO_PRIVATE_ATTRIBUTES.__name__] = NO_PRIVATE_ATTRIBUTES
    from node.receive import Receiver
    from node.spool import Spool

    gc.freeze()
    gc.enable()
    stopped = stop_on_signals(_pulse)
    receiver = Receiver(settings, Spool(settings.spool.folder, settings.spool.reserve_bytes))
    announce(host=settings.listen.host, port=receiver.start(), door=receiver.door(), tally=receiver.tally())
    while not stopped.wait_up_to(SAY_EVERY_S):
        receiver.look_at_certificates()
        announce(door=receiver.door(), tally=receiver.tally())
    receiver.stop()


def _work(settings: Settings, announce: _Announce) -> None:
    gc.disable()  # as in the receiver, until the model is loaded
    sys.modules.update(dict.fromkeys(NOT_FOR_THE_WORKER))  # type: ignore[arg-type]
    # Before numpy is there: a second thread of its linear algebra waits by turning round, 70 ms of CPU a study.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Before TensorFlow is, which by itself has oneDNN's kernels on some processors alone: an eighth less CPU time a film.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    from node import confine, watch

    confine.share_memory_among_threads()
    from node.bundle import load
    from node.darkroom import Darkroom
    from node.site_thresholds import in_force

    if places := watch.open_trace(settings.spool.folder / "run" / "work.trace"):
        log.alarm("process.hung", process="work", reason=places)
    bundle = in_force(load(settings.model.bundle), settings.model.thresholds)
    limits = settings.limits
    # Before TensorFlow, and beside it: both take seconds to load.
    with Darkroom(bundle.manifest.preprocessing, limits.film_s, limits.film_mb) as darkroom:
        _work_with(settings, announce, bundle, darkroom)


def _work_with(settings: Settings, announce: _Announce, bundle: Bundle, darkroom: Darkroom) -> None:
    from node import confine
    from node.deliver import StorageSCU
    from node.film_reader import FilmReader
    from node.spool import Spool

    spool = Spool(settings.spool.folder)
    title, keep = settings.listen.ae_title, spool.outbox.write_commitment
    destinations = {d.name: StorageSCU(d, title, keep, extra=settings.report.extra) for d in settings.destinations}
    # Late and here alone: TensorFlow takes seconds to import, and no other role needs it.
    with log.native_notes_held_back():
        import cv2

        from node.infer import Reader
        from node.journey import Journey
        from node.release import Reminder
        from node.workflow import Desk

        reader = Reader(bundle, settings.model.device)
    cv2.setNumThreads(1)  # pictures are small: a second thread costs more than it does
    confine.limit_data(settings.limits.worker_mb)
    log.withhold_all()  # TensorFlow and Keras print what they log by themselves
    # Before this a signal ends the process at once: nothing is in work, and the imports would not heed an event.
    stopped = stop_on_signals(_pulse)
    # A picture is drawn while its report is sent: the sending thread must not wait 5 ms for each of its turns.
    sys.setswitchinterval(TURN_S)
    films = FilmReader(reader, darkroom, settings.limits.step_s)
    journey = Journey(settings, spool, bundle, films, destinations)
    journey.rehearse()
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    gc.enable()
    desk = Desk(journey)
    desk.open()
    reminder = Reminder(spool)
    announce(device=reader.device)
    log.event("model.ready", model=bundle.identity.version, device=reader.device, at_once=reader.at_once)
    while not stopped.wait_up_to(SAY_EVERY_S):
        announce()
        reminder.look()
    desk.close()


def _web(settings: Settings, announce: _Announce) -> None:
    from node.web.server import StatusServer

    stopped = stop_on_signals(_pulse)
    server = StatusServer(settings)
    postman = _postman(settings)
    announce(host=settings.web.host, port=server.start())
    while not stopped.wait_up_to(SAY_EVERY_S):
        announce()
    if postman:
        postman.stop()
    server.stop()


def _postman(settings: Settings) -> Postman | None:
    """Start to send messages, where anybody is to be told."""
    if not settings.notify:
        return None
    from node.notify import Postman

    postman = Postman(settings)
    postman.start()
    return postman


@contextlib.contextmanager
def _sole(folder: Path, role: str) -> Iterator[_Announce]:
    """Hold the role's lock on the spool: two workers on one spool would do the same work twice.

    Raises
    ------
    ConfigError
        When another node holds it.
    """
    run = folder / "run"
    _make_private(folder)
    _make_private(run)
    descriptor = os.open(run / f"{role}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    announce = _Announce(run / f"{role}.json")
    try:
        _lock(descriptor, folder, role)
        announce.clear()
        try:
            yield announce
        finally:
            announce.clear()
    finally:
        os.close(descriptor)


def _make_private(folder: Path) -> None:
    """Make a folder that this user alone may look into, also where somebody made it before with the rights of others."""
    make_folder(folder)
    if stat.S_IMODE(folder.stat().st_mode) != FOLDER_MODE:
        with contextlib.suppress(PermissionError):  # it is another user's, who has let this one in
            folder.chmod(FOLDER_MODE)


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
    settings : Settings
    roles : tuple of str
    method : {"fork", "spawn"}
        ``"fork"`` spares the receiver half a second of imports at the start; ``"spawn"`` is for a caller with threads.
    """

    def __init__(self, settings: Settings, roles: tuple[str, ...] = ROLES, method: str = "fork") -> None:
        self._settings, self._roles = settings, roles
        self._context: Any = multiprocessing.get_context(method)
        self._children: dict[str, Any] = {}
        self._started: dict[str, float] = {}
        self._pulses: dict[str, Any] = {}
        self._due: dict[str, float] = {}
        self._pauses = dict.fromkeys(roles, 1.0)
        self._stopped = StopEvent()

    def run(self) -> None:
        """Start the roles and keep them running until a signal, or until a role needs a person.

        Raises
        ------
        RoleError
            When a role ended with a mistake of configuration; it has said which.
        """
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: self._stopped.set())
        try:
            self.start()
            while not self._stopped.wait(0.1):
                self.look_after()
        finally:
            self.stop()

    def start(self) -> None:
        """Start every role, the receiver with both hands free: the worker's imports would slow its own.

        Raises
        ------
        RoleError
            When the first cannot run until a person has acted.
        """
        first, *others = self._roles
        self._start(first)
        ready = self._settings.spool.folder / "run" / f"{first}.json"
        deadline = time.monotonic() + FIRST_READY_WITHIN_S
        while not ready.exists() and self._children[first].exitcode is None and time.monotonic() < deadline:
            if self._stopped.wait(0.01):
                return
        self.look_after()
        for role in others:
            self._start(role)

    def stop(self) -> None:
        """Stop every role, in order, and kill one that does not stop in time."""
        self._due.clear()
        for role in self._roles:
            child = self._children.pop(role, None)
            if child is None:
                continue
            child.terminate()
            child.join(STOP_WITHIN_S)
            if child.exitcode is None:
                child.kill()
                child.join()

    def look_after(self) -> None:
        """Start again what has died and waited out its pause.

        Raises
        ------
        RoleError
            When a role ended because a person must act; it has said how.
        """
        now = time.monotonic()
        for role in [role for role, due in self._due.items() if due <= now]:
            del self._due[role]
            self._start(role)
        for role, child in list(self._children.items()):
            if child.exitcode is not None:
                del self._children[role]
                self._ended(role, child.exitcode, now)
            elif self._hangs(role, now):
                child.kill()

    def _hangs(self, role: str, now: float) -> bool:
        """Tell once of a role that it was silent for too long; one that still starts has not spoken yet."""
        pulse = self._pulses[role]
        if not pulse.value or now - pulse.value <= SILENT_FOR_S:
            return False
        pulse.value = 0.0
        log.alarm("process.hung", process=role, wait_s=SILENT_FOR_S)
        return True

    def _start(self, role: str) -> None:
        self._pulses[role] = self._context.Value("d", 0.0, lock=False)
        arguments = self._settings, role, self._pulses[role]
        self._children[role] = self._context.Process(target=run_role, args=arguments, name=role)
        self._children[role].start()
        self._started[role] = time.monotonic()

    def _ended(self, role: str, code: int, now: float) -> None:
        if code == EXIT_CONFIG:
            raise RoleError(f"the role {role!r} cannot run; its message above says what to do")
        if now - self._started[role] > STEADY_AFTER_S:
            self._pauses[role] = 1.0
        pause = self._pauses[role]
        self._due[role] = now + pause
        self._pauses[role] = min(2 * pause, LONGEST_PAUSE_S)
        log.alarm("process.died", process=role, code=code, wait_s=pause)
