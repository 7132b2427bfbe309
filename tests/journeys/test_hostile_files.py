"""Hundreds of damaged, lying and odd files through a real association to the real node, and good films between them.

Each file gets the status it should, the receiver stays small and answers, each study that was accepted ends in a report or
a named parking, and the good films get theirs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from node.archive import Archive
from node.door.inspect import inspect
from node.door.walk import OBJECT_LIMIT_BYTES
from node.durable import key_of
from node.spool import Spool
from node.study import ImageReading
from tests.hostile.files import CR, EXPLICIT, READ, Film, Hostile, by_module
from tests.peers import HOST, wait_until
from tests.raw import P_DATA, Raw, command, context_item, data_set, fragment, outcome, pdu, store_request
from tests.running import RunningNode

pytestmark = pytest.mark.slow

ECHO_WITHIN_S, REST_WITHIN_S, MEMORY_MB = 2.0, 15.0, 300
# What may differ at rest though nothing is kept: Python and the C library give back what they like.
SLACK_MB = 60


class Receiver:
    """The receiver's process, looked at from outside."""

    def __init__(self, node: RunningNode) -> None:
        pid = json.loads((node.folder / "spool" / "run" / "receive.json").read_text())["pid"]
        self._proc = Path("/proc") / str(pid)
        # Before the first measure it has done all that it does for a film.
        (self._proc / "clear_refs").write_text("5")
        self.threads, self.descriptors, self.memory_kb = self._threads(), self._descriptors(), self._status("VmRSS")

    def _status(self, field: str) -> int:
        text = (self._proc / "status").read_text()
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith(f"{field}:")))

    def _threads(self) -> int:
        return self._status("Threads")

    def _descriptors(self) -> int:
        return len(list((self._proc / "fd").iterdir()))

    def peak_mb(self) -> float:
        """How much its memory has grown since, at most."""
        return (self._status("VmHWM") - self.memory_kb) / 1024

    def rests(self) -> bool:
        """Whether its threads, descriptors and memory are as they were."""
        grown_mb = (self._status("VmRSS") - self.memory_kb) / 1024
        return self._threads() <= self.threads and self._descriptors() <= self.descriptors and grown_mb < SLACK_MB


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with Archive(tmp_path_factory.mktemp("archive"), "PACS") as running:
        yield running


@pytest.fixture(scope="module")
def node(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    to_archive = {"name": "pacs", "ae_title": "PACS", "host": HOST, "port": archive.port}
    settings = {"report": {"heat_map": "off"}}
    with RunningNode(tmp_path_factory.mktemp("node"), [to_archive], settings) as running:
        running.wait_until_working()
        yield running


def sent() -> dict[str, list[Hostile]]:
    """What is sent, by module: of the oddities that are read like any film one in three, for reading takes its time.

    What gate and pixels say to each of the others is in ``tests/hostile``.
    """
    return {
        module: [each for number, each in enumerate(files) if each.is_alone or each.answer != READ or number % 3 == 0]
        for module, files in by_module()
    }


def caller_of(node: RunningNode, files: list[Hostile]) -> tuple[Raw, dict[tuple[str, str], int]]:
    """Associate for these files; gives the presentation context of each class and transfer syntax."""
    pairs = sorted({(each.sop_class_uid, each.transfer_syntax_uid) for each in files})
    contexts = {pair: 2 * number + 1 for number, pair in enumerate(pairs)}
    proposed = [context_item(number, pair[0], [pair[1]]) for pair, number in contexts.items()]
    return Raw(node.port, within_s=120).associate(contexts=proposed), contexts


def answers(node: RunningNode, files: list[Hostile]) -> dict[str, object]:
    """Send files on one association after the other, for some end theirs."""
    found: dict[str, object] = {}
    caller, contexts = caller_of(node, files)
    for each in files:
        context_id = contexts[each.sop_class_uid, each.transfer_syntax_uid]
        # A data set that says another class than its context goes with a command that does so, too.
        sop_class_uid = CR if each.answer.status == 0x0122 else each.sop_class_uid
        request = command(context_id, store_request(each.sop_instance_uid, sop_class_uid))
        found[each.name] = outcome(caller, request, data_set(context_id, each.data(), 100_000))
        if found[each.name] == "closed" or len(found[each.name]) == 2:  # type: ignore[arg-type]
            caller.socket.close()
            caller, contexts = caller_of(node, files)
    caller.socket.close()
    return found


def good_film(node: RunningNode, number: int) -> str:
    """Send a film as it should be, as a study of its own; gives its study UID."""
    film = Film(f"good film {number}")
    contexts = [context_item(1, CR, [EXPLICIT])]
    with Raw(node.port).associate(contexts=contexts) as caller:
        request = command(1, store_request(film.uid))
        assert outcome(caller, request, data_set(1, film.encoded())) == (0x0000,)
    return film.study_uid


def echoes(node: RunningNode) -> bool:
    with Raw(node.port, within_s=ECHO_WITHIN_S) as caller:
        return caller.associate().echo() == 0x0000


def test_every_hostile_file_gets_its_answer_and_the_good_films_between_them_their_reports(
    node: RunningNode, archive: Archive
) -> None:
    good = [good_film(node, 0)]
    assert echoes(node)
    time.sleep(1)  # until the first association's threads have ended
    receiver = Receiver(node)
    wrong = []
    assert sum(map(len, sent().values())) > 600
    for number, (module, files) in enumerate(sent().items(), start=1):
        found = answers(node, files)
        for each in files:
            if found[each.name] != (each.answer.status,):
                wrong.append(f"{module}: {each.name}: {found[each.name]}, not {each.answer.status:#06x}")
        assert echoes(node), f"no C-ECHO after {module}"
        good.append(good_film(node, number))
    assert wrong == []
    assert receiver.peak_mb() < MEMORY_MB
    wait_until(receiver.rests, REST_WITHIN_S, "the receiver's threads, descriptors and memory as before")
    for study_uid in good:
        node.wait_until_delivered(study_uid)
    _check_outcomes(node, archive)
    _check_that_nothing_is_said(node)


def _check_outcomes(node: RunningNode, archive: Archive) -> None:
    files = [each for module in sent().values() for each in module]
    taken = {each: _study_of(each) for each in files if each.answer.status == 0x0000}
    read = {key_of(uid): uid for each, uid in taken.items() if each.answer.outcome != "kept"}
    wait_until(lambda: all(_is_done(node.spool, key) for key in read), 120, "each study done or parked")
    parked = {task.study_key for task in node.spool.agenda.tasks("parked")}
    reports = {instance.study_instance_uid for instance in archive.instances}
    wrong = []
    for each, uid in taken.items():
        found = _outcome(node.spool, key_of(uid), key_of(each.sop_instance_uid), parked)
        expected = each.answer.outcome
        if found != expected and not (expected == "read" and found == "warned"):
            wrong.append(f"{each.module}: {each.name}: {found}, not {expected}")
        if found not in ("parked", "kept") and uid not in reports:
            wrong.append(f"{each.module}: {each.name}: no report in its study")
    assert wrong == []


def _study_of(hostile: Hostile) -> str:
    data = hostile.data()
    found = inspect(data, hostile.transfer_syntax_uid, hostile.sop_class_uid, hostile.sop_instance_uid)
    return found.study_instance_uid


def _is_done(spool: Spool, study_key: str) -> bool:
    """Whether the latest generation of a study is delivered or parked."""
    if not spool.study_folder(study_key).exists() or not (generations := spool.generations(study_key)):
        return False
    if any(task.study_key == study_key for task in spool.agenda.tasks("parked")):
        return True
    entry = spool.outbox.delivery("pacs", study_key, generations[-1].name)
    return entry is not None and entry["state"] == "delivered"


def _outcome(spool: Spool, study_key: str, instance_key: str, parked: set[str]) -> str:
    if study_key in parked:
        return "parked"
    images: list[ImageReading] = []
    for generation in spool.generations(study_key)[-1:]:
        reading = spool.reading(study_key, generation.name)
        images += reading.images if reading else ()
    image = next((image for image in images if image.instance_key == instance_key), None)
    if image is None:
        return "kept" if spool.instance_path(study_key, instance_key).exists() else "lost"
    if image.prediction:
        return "warned" if image.prediction.warnings else "read"
    assert image.reason is not None
    return str(image.reason)


def _check_that_nothing_is_said(node: RunningNode) -> None:
    """Neither log nor status page hold anything that the files wanted said."""
    log = node.log.read_bytes()
    for event in ("thread.died", "door.failed", "process.failed", "process.died", "settling.failed"):
        assert node.events(event) == []
    assert all(line.startswith("{") for line in log.decode().splitlines() if '"event"' in line)
    pages = [httpx.get(f"http://{HOST}:{node.web_port}{path}", timeout=30).text for path in ("/", "/status.json")]
    for said in (log.decode(), *pages):
        assert "\x1b" not in said
        assert "alert(document.cookie)" not in said
        assert "Doe" not in said


def test_an_object_above_the_limit_is_swallowed_and_refused_and_the_association_goes_on(node: RunningNode) -> None:
    piece = bytes(100_000)
    with Raw(node.port, within_s=120).associate(contexts=[context_item(1, CR, [EXPLICIT])]) as caller:
        caller.send(command(1, store_request("1.2.3.4")))
        for _ in range(OBJECT_LIMIT_BYTES // len(piece) + 1):
            caller.send(pdu(P_DATA, fragment(1, 0, piece)))
        assert outcome(caller, pdu(P_DATA, fragment(1, 2, b""))) == (0xA700,)
        assert list((node.folder / "spool" / "incoming").iterdir()) == []
        film = Film("after the largest")
        assert outcome(caller, command(1, store_request(film.uid)), data_set(1, film.encoded())) == (0x0000,)
    node.wait_until_delivered(film.study_uid)
