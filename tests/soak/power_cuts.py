"""Kill -9 over and over, at random moments, and then count: ``python -m tests.soak.power_cuts --help``.

Three kills of four hit the receiver alone, while several modalities send and a worker reads: it starts in a second, so
they are cheap. The others hit the whole node, one of its processes or all at once, while films are read and delivered to
Orthanc where that is installed. Whoever got no answer sends again, as modalities do; now and then one also sends again what
was answered.

In the end nothing may be lost that was acknowledged, nothing half written may be held, and the PACS must hold one set of
results for each generation of each study, whatever was sent how often.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import dcmread

from node.durable import key_of, read_json
from node.spool import Spool
from tests.peers import HOST, Orthanc, Peer, listens, wait_until
from tests.running import REPOSITORY, RunningNode, _children
from tests.soak.films import Film, film, new_uid
from tests.soak.pacs import RecordingPACS
from tests.soak.senders import Modality

RECEIVER_SHARE = 0.75
# Of the kills that are not the receiver's alone.
PHASES = ("work", "work", "web", "supervisor", "all", "all", "all")
SENDERS = 4
DRAIN_WITHIN_S = 1800.0


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


@dataclass
class Account:
    """What was done, and what came of it."""

    kills: Counter[str] = field(default_factory=Counter)
    moments: list[dict[str, Any]] = field(default_factory=list)
    acknowledged: int = 0
    studies: int = 0
    lost: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    unequal: list[str] = field(default_factory=list)
    parked: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    results: int = 0
    sent_twice: int = 0

    @property
    def faults(self) -> int:
        return len(self.lost) + len(self.torn) + len(self.unsettled) + len(self.unequal)

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "kills": dict(self.kills), "faults": self.faults}


class Sending:
    """Modalities that send all the time, each study on an association of its own, until they are stopped."""

    def __init__(self, port: int, count: int, seed: int, is_read: bool, pause_s: float = 0.0) -> None:
        self._port, self._is_read, self._pause_s = port, is_read, pause_s
        self._stopped = threading.Event()
        self.modalities = [Modality() for _ in range(count)]
        self._threads = [
            threading.Thread(target=self._run, args=(modality, random.Random(seed + number)), daemon=True)
            for number, modality in enumerate(self.modalities)
        ]

    def __enter__(self) -> Sending:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    @property
    def acknowledged(self) -> dict[str, Film]:
        return {uid: each for modality in self.modalities for uid, each in list(modality.acknowledged.items())}

    def _run(self, modality: Modality, chosen: random.Random) -> None:
        left: list[Film] = []
        while not self._stopped.is_set():
            if left and chosen.random() < 0.5:
                films = left  # it was cut off, and goes on with the rest
            else:
                study = new_uid()
                films = [film(study, self._is_read) for _ in range(chosen.choice((1, 1, 2, 4)))]
                if modality.acknowledged and chosen.random() < 0.05:
                    films.append(chosen.choice(list(modality.acknowledged.values())[-20:]))  # sent once more
            leave = chosen.choice(("release", "release", "release", "abort", "drop"))
            left = modality.send(self._port, films, leave, within_s=20)
            self._stopped.wait(0.05 if left else self._pause_s)


class Role:
    """One role of the node as a process that can be killed and started again at once."""

    def __init__(self, node: RunningNode, role: str) -> None:
        self._node, self._role = node, role
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (self._node.folder / "spool" / "run" / f"{self._role}.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", "node", "serve", "--role", self._role, "--config", str(self._node.config)]
        with (self._node.folder / f"{self._role}.log").open("ab") as output:
            self.process = subprocess.Popen(command, cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT)

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()

    def is_ready(self) -> bool:
        assert self.process is not None and self.process.poll() is None, f"{self._role} ended by itself"
        return (self._node.folder / "spool" / "run" / f"{self._role}.json").exists()


def kill_the_receiver(node: RunningNode, kills: int, acknowledgments: int, account: Account, seed: int) -> list[Film]:
    """Kill the receiver alone at random moments from its start, while a worker reads what it takes."""
    chosen = random.Random(seed)
    receiver, worker = Role(node, "receive"), Role(node, "work")
    try:
        worker.start()
        with Sending(node.port, SENDERS, seed, is_read=False) as sending:
            while account.kills["receive"] < kills or len(sending.acknowledged) < acknowledgments:
                receiver.start()
                is_early = chosen.random() < 0.1
                if not is_early:
                    wait_until(lambda: listens(node.port), 60, "the receiver listening")
                after_s = chosen.uniform(0, 1.0)
                time.sleep(after_s)
                receiver.kill()
                account.kills["receive"] += 1
                moment = {"phase": "receive", "after_s": round(after_s, 3), "is_early": is_early}
                account.moments.append(moment | {"acknowledged": len(sending.acknowledged)})
                if account.kills["receive"] % 10 == 0:
                    backlog = len(list((node.folder / "spool" / "studies").iterdir()))
                    say(
                        f"receiver killed {account.kills['receive']} times; {len(sending.acknowledged)} acknowledged, "
                        f"{backlog} studies"
                    )
            receiver.start()
            wait_until(lambda: listens(node.port), 60, "the receiver listening")
            time.sleep(2)
        wait_until(receiver.is_ready, 60, "the receiver")
        drain(node.spool)
    finally:
        receiver.kill(signal.SIGTERM)
        worker.kill(signal.SIGTERM)
    return list(sending.acknowledged.values())


def kill_the_node(node: RunningNode, kills: int, account: Account, seed: int) -> list[Film]:
    """Kill the whole node, or one of its processes, at random moments while films are read and delivered."""
    chosen, pauses = random.Random(seed), 0
    try:
        with Sending(node.port, 1, seed, is_read=True, pause_s=2.0) as sending:
            for number in range(kills):
                if node.process is None:
                    node.start()
                phase, after_s = chosen.choice(PHASES), chosen.uniform(0, 18)
                time.sleep(after_s)
                kill(node, phase)
                pauses += phase in ("work", "web")
                account.kills[phase] += 1
                moment = {"phase": phase, "after_s": round(after_s, 3), "is_early": False}
                account.moments.append(moment | {"acknowledged": len(sending.acknowledged)})
                if (number + 1) % 5 == 0:
                    say(f"node killed {number + 1} times; {len(sending.acknowledged)} films acknowledged")
                if pauses > 2 and node.process is not None:  # a supervisor waits longer from death to death
                    node.stop()
                    pauses = 0
            if node.process is None:
                node.start()
        node.wait_until_working()
        drain(node.spool)
    finally:
        node.stop()
    return list(sending.acknowledged.values())


def kill(node: RunningNode, phase: str) -> None:
    """Kill what a phase names, by process id."""
    assert node.process is not None
    if phase == "all":
        node.kill()
    elif phase == "supervisor":  # its roles notice, and end by themselves
        process, node.process = node.process, None
        process.kill()
        process.wait()
    else:
        announced = node.folder / "spool" / "run" / f"{phase}.json"
        children = sorted(_children(node.process.pid))
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, IndexError):
            pid = read_json(announced)["pid"] if announced.exists() else children[1 if phase == "work" else 2]
            if pid in children:  # what a dead role announced may be the number of somebody else by now
                os.kill(pid, signal.SIGKILL)


def drain(spool: Spool) -> None:
    """Wait until nothing has been left to do for some seconds but what waits for a person."""
    deadline, said, rests = time.monotonic() + DRAIN_WITHIN_S, 0.0, 0
    while rests < 5:
        left = len(spool.agenda.tasks("todo")) + len(spool.agenda.tasks("open")) + len(_undelivered(spool))
        rests = 0 if left else rests + 1
        if time.monotonic() > deadline:
            say(f"not drained: {left} left")
            return
        if left and time.monotonic() - said > 15:
            said = time.monotonic()
            say(f"waiting for {left} tasks and deliveries")
        time.sleep(1.0)


def _undelivered(spool: Spool) -> list[dict[str, Any]]:
    return [entry for entry in spool.outbox.open_deliveries("pacs") if entry["state"] != "parked"]


def take_up_parked(node: RunningNode, account: Account) -> None:
    """Note what waits for a person, and have it done: a worker killed twice at one study is no reason to lose it."""
    spool = node.spool
    for task in spool.agenda.tasks("parked"):
        account.parked.append(spool.agenda.reason(task)["message"])
        spool.take_up(task)
    if account.parked:
        with node:
            node.wait_until_working()
            drain(spool)


def judge(
    node: RunningNode, films: list[Film], arrived: Callable[[str], dict[str, set[str]]], account: Account
) -> None:
    """Hold the spool, and what reached the PACS, against what was acknowledged.

    `arrived` gives, for a Study Instance UID, the digests under which each SOP instance came.
    """
    spool = node.spool
    account.acknowledged += len(films)
    for each in films:
        found = list(spool.study_folder(key_of(each.study_instance_uid)).glob(f"{key_of(each.sop_instance_uid)}.*.dcm"))
        if len(found) != 1:
            account.lost.append(each.sop_instance_uid)
        elif not found[0].read_bytes().endswith(each.data_set):
            account.torn.append(each.sop_instance_uid)
    uids = {key_of(each.study_instance_uid): each.study_instance_uid for each in films}
    for study_key in spool.studies():
        account.studies += 1
        held = {path.name.split(".")[0] for path in spool.study_folder(study_key).glob("*.image.dcm")}
        generations = spool.generations(study_key)
        if held != set(generations[-1].instances if generations else ()):
            account.unsettled.append(study_key)
        wanted = set()
        for generation in generations:
            results = spool.results(study_key, generation.name, "viewer")
            delivery = spool.outbox.delivery("pacs", study_key, generation.name)
            if not results or delivery is None or delivery["state"] != "delivered":
                account.unequal.append(f"{study_key} {generation.name}: not delivered")
            wanted |= {str(dcmread(forms[0], specific_tags=["SOPInstanceUID"]).SOPInstanceUID) for forms in results}
        came = arrived(uids[study_key]) if study_key in uids else None
        if came is None:  # a study of which nothing was acknowledged may be held, and is then answered as any other
            continue
        account.results += len(wanted)
        if set(came) != wanted or any(len(digests) != 1 for digests in came.values()):
            account.unequal.append(f"{study_key}: {len(came)} results at the PACS, {len(wanted)} wanted")
    account.left_over += [str(path.relative_to(spool.folder)) for path in spool.folder.rglob("*.part")]


def from_recording(pacs: RecordingPACS, account: Account) -> Callable[[str], dict[str, set[str]]]:
    by_study: dict[str, dict[str, set[str]]] = {}
    arrivals = pacs.arrivals()
    for study, _, instance, digest in arrivals:
        by_study.setdefault(study, {}).setdefault(instance, set()).add(digest)
    account.sent_twice += len(arrivals) - sum(len(each) for each in by_study.values())
    return lambda study: by_study.get(study, {})


def run(folder: Path, kills: int, acknowledgments: int, seed: int) -> Account:
    """Do all of it in a folder; gives the account."""
    account = Account()
    of_receiver = round(kills * RECEIVER_SHARE)
    say(f"{of_receiver} kills of the receiver, {acknowledgments} acknowledgments at least")
    with RecordingPACS(folder / "pacs") as pacs:
        node = RunningNode(folder / "first", [_destination(pacs, pacs.ae_title)])
        films = kill_the_receiver(node, of_receiver, acknowledgments, account, seed)
        take_up_parked(node, account)
        judge(node, films, from_recording(pacs, account), account)
    say(f"{account.acknowledged} acknowledged, {account.faults} faults; {kills - of_receiver} kills of the node")
    # Orthanc where it is installed: a real PACS, whose answers and timing are its own.
    has_orthanc = shutil.which("/usr/sbin/Orthanc") is not None
    with Orthanc(folder / "orthanc") if has_orthanc else RecordingPACS(folder / "pacs-2") as other:
        node = RunningNode(folder / "second", [_destination(other, other.ae_title)])
        films = kill_the_node(node, kills - of_receiver, account, seed + 100)
        take_up_parked(node, account)
        if isinstance(other, Orthanc):
            orthanc = other
            judge(
                node,
                films,
                lambda study: {each.sop_instance_uid: {"-"} for each in orthanc.instances(study)},
                account,
            )
        else:
            judge(node, films, from_recording(other, account), account)
    return account


def _destination(peer: Peer, ae_title: str) -> dict[str, Any]:
    return {"name": "pacs", "ae_title": ae_title, "host": HOST, "port": peer.port}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--acknowledgments", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("out/soak"))
    asked = parser.parse_args()
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="power-cuts-"))
    try:
        account = run(folder, asked.kills, asked.acknowledgments, asked.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    form = account.to_json() | {"seconds": round(time.monotonic() - began), "seed": asked.seed}
    (asked.out / "power_cuts.json").write_text(json.dumps(form, indent=1))
    from tests.soak.plots import draw_power_cuts

    draw_power_cuts(form, asked.out / "power_cuts.png")
    say(
        f"{sum(account.kills.values())} kills {dict(account.kills)}, {account.acknowledged} acknowledged, "
        f"{account.studies} studies, {account.results} results: {len(account.lost)} lost, {len(account.torn)} torn, "
        f"{len(account.unsettled)} not settled, {len(account.unequal)} without exactly one set of results, "
        f"{len(account.parked)} parked on the way; {asked.out}/power_cuts.json"
    )
    raise SystemExit(0 if account.faults == 0 else 1)


if __name__ == "__main__":
    main()
