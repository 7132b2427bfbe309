"""What the node says of itself, read from the spool alone: what runs, what waits, what is parked and why.

It opens no database and loads no model into memory, so it answers while the node is stopped too. Studies are spoken of
by their keys in the spool; nothing of a patient enters it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from node import __version__, disk, notices, recent
from node.agenda import STATES, Task
from node.bundle import MANIFEST, Bundle, load
from node.config import Destination, Settings
from node.durable import read_json
from node.errors import BundleError, ConfigError
from node.product import NOTICE as NOTICE
from node.quarantine import Quarantine
from node.recent import Form, changed_at, latest_studies
from node.release import is_overdue, unreleased
from node.site_thresholds import cut_offs, in_force, source
from node.spool import Spool
from node.status_text import mebibytes, still_unreleased, waited
from node.status_text import render as render
from node.study import StudyReading, Triage
from node.tls.certificates import Files, Stamp, all_files, days_left, expires
from node.tls.watch import WARN_DAYS

# Each role, and what does not happen while it does not run.
ROLES = {
    "receive": "no study is taken in",
    "work": "studies are not read and results are not sent",
    "web": "there is no status page",
}
FOLDERS = ("incoming", "studies", *STATES, "outbox", "commitments")
OPEN_STATES = ("waiting", "committing", "parked")
# As many studies as an administrator looks through, and few enough to be read anew every few seconds.
LATEST = 20
# A message that its receiver has not taken for so long (s) is worth a look.
NOTICE_LATE_S = 1800.0
# A day of a busy department: 200 films of 15 MB, and their results.
ROOM_WANTED_BYTES = 4 << 30


def snapshot(settings: Settings, latest: int = LATEST) -> Form:
    """Say how the node is doing now.

    Parameters
    ----------
    settings : Settings
    latest : int
        How many of the latest studies, and of the parked tasks, to list. Everything is counted.

    Returns
    -------
    dict
        JSON-ready. Moments are ISO 8601 in UTC, durations seconds, sizes bytes.

    Raises
    ------
    ConfigError
        When this user may not look into the spool.
    """
    try:
        return _snapshot(settings, latest)
    except PermissionError:
        raise ConfigError(
            f"this user may not look into the spool {settings.spool.folder}. Ask as the user that runs the node."
        ) from None


def roles(folder: Path) -> Form:
    """Say of each role whether it runs.

    Parameters
    ----------
    folder : Path
        The spool's folder.

    Returns
    -------
    dict
        By role: ``state`` (running, starting or stopped), ``running``, and while it runs what it announced: ``pid``,
        ``since``, ``host`` and ``port``, or ``device``; of the receiver also ``door`` (`Receiver.door`).
    """
    return {role: _role(folder / "run", role) for role in ROLES}


def is_ready(found: Form, room: Form) -> bool:
    """Tell from what `roles` and `room_of` said whether a study that is sent now would be taken and read."""
    return bool(found["receive"]["running"] and found["work"]["running"] and not room["short"])


def room_of(settings: Settings) -> Form:
    """Say how much room there is where the spool is, or will be, and whether new images are refused for the lack of it."""
    room = disk.room(settings.spool.folder, settings.spool.reserve_bytes)
    return {
        "free_bytes": room.free_bytes,
        "total_bytes": room.total_bytes,
        "reserve_bytes": room.reserve_bytes,
        "short": room.is_short,
    }


def one_study(spool: Spool, settings: Settings, key: str) -> Form | None:
    """Describe one study as `snapshot` does; None where it is not held, or nothing of it is to be read."""
    tasks = {state: spool.agenda.tasks(state) for state in STATES}
    return recent.one_study(spool, settings, tasks, roles(settings.spool.folder)["work"]["running"], key)


def _snapshot(settings: Settings, latest: int) -> Form:
    found, room = roles(settings.spool.folder), room_of(settings)
    spool = _open(settings.spool.folder)
    tasks = {state: spool.agenda.tasks(state) if spool else [] for state in STATES}
    state = {
        "notice": NOTICE,
        "version": __version__,
        "at": datetime.now(UTC).isoformat(),
        "ae_title": settings.listen.ae_title,
        "mode": settings.mode,
        "ready": is_ready(found, room),
        "roles": found,
        "queue": {name: len(held) for name, held in tasks.items()},
        "destinations": [_destination(spool, destination) for destination in settings.destinations],
        "parked": list(_parked(spool, tasks["parked"][:latest])) if spool else [],
        "unreleased": _unreleased(spool, latest),
        "notices": [_notices(settings.spool.folder, receiver.name) for receiver in settings.notify] if spool else [],
        "studies_held": len(spool.studies()) if spool else 0,
        "studies": latest_studies(spool, settings, tasks, found["work"]["running"], latest) if spool else [],
        "model": _model(settings),
        "disk": room,
        "quarantine": _quarantine(settings.spool.folder, latest),
        "certificates": [_certificate(files, files.stamp()) for files in all_files(settings)],
    }
    return state | {"troubles": list(_troubles(state))}


def _open(folder: Path) -> Spool | None:
    """Return the spool, None before the node first ran: looking must not make folders, least of all as another user."""
    return Spool(folder) if all((folder / name).is_dir() for name in FOLDERS) else None


def _role(run: Path, role: str) -> Form:
    facts: Form = {}
    held = _is_held(run / f"{role}.lock")
    if held:
        # Not there while the role starts; one that a killed role left behind is told from it by the lock.
        with contextlib.suppress(FileNotFoundError):
            facts = read_json(run / f"{role}.json")
    state = "running" if facts else "starting" if held else "stopped"
    return {"state": state, "running": bool(facts), **facts}


def _is_held(lock: Path) -> bool:
    """Tell whether a process holds a lock; asking takes it for a moment, which its next owner waits out."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _destination(spool: Spool | None, destination: Destination) -> Form:
    """Say what a destination has not taken yet, since when, and what it said last."""
    entries = list(spool.outbox.open_deliveries(destination.name)) if spool else []
    counts = Counter(entry["state"] for entry in entries)
    # What waits for a person is listed by itself; here it must not hide a destination that is away.
    moving = [entry for entry in entries if entry["state"] != "parked"] or entries
    by_age = sorted(moving, key=lambda entry: str(entry["since"]))
    return {
        "name": destination.name,
        "ae_title": destination.ae_title,
        "host": destination.host,
        "port": destination.port,
        **{state: counts[state] for state in OPEN_STATES},
        "oldest_s": _age_s(by_age[0]["since"]) if by_age else None,
        "last_success": spool.outbox.last_success(destination.name) if spool else None,
        "last_error": next((entry["error"] for entry in by_age if entry["error"]), None),
    }


def _age_s(moment: str) -> float:
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())


def _parked(spool: Spool, tasks: list[Task]) -> Iterator[Form]:
    for task in tasks:
        # It may be taken up again between the list and the look.
        with contextlib.suppress(FileNotFoundError):
            yield {
                "study": task.study_key,
                "generation": task.generation,
                "verb": task.verb,
                "destination": task.destination if task.destination != "-" else None,
                **spool.agenda.reason(task),
            }


def _unreleased(spool: Spool | None, latest: int) -> Form:
    """Say which results wait for a person to release them, urgent ones first and then the oldest, and what they say."""
    waiting = unreleased(spool) if spool else []
    return {
        "count": len(waiting),
        "urgent": sum(reading.triage is Triage.URGENT for reading in waiting),
        "overdue": sum(map(is_overdue, waiting)),
        "oldest_s": max((_age_s(reading.times.done.isoformat()) for reading in waiting), default=None),
        "entries": [_waits(reading) for reading in waiting[:latest]],
    }


def _notices(folder: Path, receiver: str) -> Form:
    """Say how many messages a receiver has not taken yet, and how old the oldest is."""
    waiting = notices.waiting(folder, receiver)
    return {
        "receiver": receiver,
        "waiting": len(waiting),
        "oldest_s": max((each.age_s for each in waiting), default=None),
    }


def _waits(reading: StudyReading) -> Form:
    leading = reading.leading.prediction if reading.leading else None
    return {
        "study": reading.study_key,
        "generation": reading.generation,
        "since": reading.times.done.isoformat(),
        "answer": str(reading.triage),
        "label": leading.flagged_label if leading else None,
    }


def _model(settings: Settings) -> Form:
    """Say which model the configuration names, and whose cut-offs hold."""
    try:
        bundle = bundle_in_force(settings)
    except (BundleError, ConfigError) as error:
        return dict.fromkeys(("name", "version", "weights", "cut_offs", "cut_offs_of")) | {"error": str(error)}
    return {
        "name": bundle.identity.name,
        "version": bundle.identity.version,
        "weights": bundle.identity.weights_sha256[:12],
        "cut_offs": cut_offs(bundle),
        "cut_offs_of": source(bundle),
        "error": None,
    }


def bundle_in_force(settings: Settings) -> Bundle:
    """Return the bundle that the configuration names, with the cut-offs that hold.

    Raises
    ------
    BundleError, ConfigError
        Where it, or the site's cut-offs, cannot be used.
    """
    folder = settings.model.bundle
    return in_force(_bundle(folder, changed_at(folder / MANIFEST)), settings.model.thresholds)


@lru_cache(maxsize=4)
def _bundle(folder: Path, changed: float) -> Bundle:
    """Return a bundle; its digests are verified once for each manifest, for a page asks every few seconds."""
    return load(folder)


def _quarantine(folder: Path, latest: int) -> Form:
    """Say which refused instances are kept, the newest first, and why they were refused."""
    kept = Quarantine(folder / "quarantine").entries()
    return {
        "count": len(kept),
        "bytes": sum(entry.bytes for entry in kept),
        "entries": [asdict(entry) for entry in kept[:latest]],
    }


@lru_cache(maxsize=64)
def _certificate(files: Files, stamp: Stamp) -> Form:
    """Say when the certificate of a section ``tls`` expires, and what is wrong with its files as they lie there now."""
    moment, error = None, None
    try:
        moment = expires(files.section, files.certificate).isoformat() if files.certificate else None
        files.check(in_force=False, with_key=False)
    except ConfigError as complaint:
        error = str(complaint)
    return {"section": files.section, "expires": moment, "error": error}


def _certificate_troubles(certificates: list[Form]) -> Iterator[Form]:
    """Yield what is wrong with certificates, in time to have them renewed."""
    for found in certificates:
        section = found["section"]
        if found["error"]:
            yield _trouble(
                f"The files of {section} cannot be used; the node goes on with those before.", found["error"]
            )
        elif found["expires"] and (days := days_left(datetime.fromisoformat(found["expires"]))) < WARN_DAYS:
            when = "has expired" if days < 0 else f"expires in {days} {'day' if days == 1 else 'days'}"
            yield _trouble(
                f"The certificate of {section} {when}.",
                "Have it renewed and put it in its place; the node takes it up by itself.",
            )


def _destination_troubles(state: Form) -> Iterator[Form]:
    if not state["destinations"] and state["mode"] != "shadow":
        yield _trouble("There is no destination: results go nowhere.", "Add one under destinations, then restart.")
    for destination in state["destinations"]:
        if destination["waiting"] and destination["last_error"]:
            yield _trouble(
                f"{destination['name']} does not take results: {destination['waiting']} waiting, "
                f"the oldest for {waited(destination['oldest_s'])}.",
                f"{destination['last_error']} The node tries again by itself.",
            )


def _troubles(state: Form) -> Iterator[Form]:
    """Yield what is wrong, and what to do about it, the most pressing first."""
    stopped = [role for role in ROLES if state["roles"][role]["state"] == "stopped"]
    if stopped:
        consequences = "; ".join(f"{role} is stopped: {ROLES[role]}" for role in stopped)
        yield _trouble(
            f"{consequences}.",
            "Start the node: cxr-node serve. One that runs starts a role that died again, within a minute.",
        )
    if state["model"]["error"]:
        yield _trouble("The model cannot be used: no study is read.", state["model"]["error"])
    yield from _destination_troubles(state)
    if state["unreleased"]["overdue"]:
        yield _trouble(
            f"Results wait for a person: {still_unreleased(state['unreleased'])}.",
            "Look at them on the page or by cxr-node status, then run cxr-node release or cxr-node withhold.",
        )
    yield from _certificate_troubles(state["certificates"])
    for each in state["notices"]:
        if (each["oldest_s"] or 0) > NOTICE_LATE_S:
            yield _trouble(
                f"{each['receiver']} takes no messages: {each['waiting']} waiting, the oldest for {waited(each['oldest_s'])}.",
                "The log says why (notice.postponed); cxr-node doctor --notify tries it. They are sent once it is mended.",
            )
    if state["queue"]["parked"]:
        yield _trouble(
            f"Waiting for a person: {state['queue']['parked']} parked.",
            "Mend the cause given under Parked, then run cxr-node retry.",
        )
    if state["quarantine"]["count"]:
        last = state["quarantine"]["entries"][:1]
        words = f" The last came from {last[0]['calling']}: {last[0]['reason']}." if last else ""
        yield _trouble(
            f"Instances were refused: {state['quarantine']['count']} are kept.{words}",
            "Their sender was told; have it mended there and sent again. See cxr-node quarantine, and drop what is settled.",
        )
    if state["disk"]["short"]:
        yield _trouble(
            f"The disk of the spool is short of room: {mebibytes(state['disk']['free_bytes'])} left, "
            f"{mebibytes(state['disk']['reserve_bytes'])} are kept for results. New images are refused.",
            "Make room, or have studies forgotten sooner (spool.keep_days, spool.keep_gb). It then goes on by itself.",
        )
    elif state["disk"]["free_bytes"] < ROOM_WANTED_BYTES:
        yield _trouble(
            f"The disk of the spool has {state['disk']['free_bytes'] / 2**30:.1f} GiB left.",
            f"Make room, or move spool.folder: at least {ROOM_WANTED_BYTES >> 30} GiB are wanted.",
        )


def _trouble(what: str, remedy: str) -> Form:
    return {"what": what, "do": remedy}
