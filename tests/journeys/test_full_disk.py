"""The spool's disk fills up, to its last byte, and has room again: nothing acknowledged is lost, nobody has to act."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import Association

from node.archive import Archive
from node.durable import key_of
from tests.journeys.films import as_new_study, file_of
from tests.peers import HOST, echoscu, wait_until
from tests.radiographs import split
from tests.running import RunningNode
from tests.senders import associated, request, send

pytestmark = [pytest.mark.peers, pytest.mark.slow]

# The reserve holds the results of three films, one after the other, and the room that work is not begun without.
DISK_MB, RESERVE_MB = 192, 64
GOES_ON_WITHIN_S = 30


class Disk:
    """A small file system of its own, which a ballast fills."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._ballast = folder, folder / "ballast"

    @property
    def free(self) -> int:
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def leave(self, free: int) -> None:
        """Fill it until so many bytes are left."""
        with self._ballast.open("ab") as file:
            while (more := self.free - free) > 0:
                file.write(bytes(min(more, 1 << 20)))
                file.flush()

    def fill(self) -> None:
        """Fill it to the last byte."""
        while self.free:
            with contextlib.suppress(OSError), self._ballast.open("ab", buffering=0) as file:
                file.write(bytes(4096))

    def make_room(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Mount a small disk where the node's spool will be."""
    folder = tmp_path / "node" / "spool"
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk (root may)")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def umask_of_nobody() -> Iterator[None]:
    """Have the node started where new files are everybody's to read and write."""
    before = os.umask(0)
    yield
    os.umask(before)


def answer(association: Association, film: Dataset, folder: Path) -> int:
    """Send a film on an association that stands already."""
    syntax, data = split(file_of(film, folder))
    status: int = send(association, data, film.SOPInstanceUID, film.SOPClassUID, str(syntax)).Status
    return status


def proposal(film: Dataset) -> list[tuple[str, str]]:
    return [(str(film.SOPClassUID), str(film.file_meta.TransferSyntaxUID))]


def partial_files(disk: Disk) -> list[Path]:
    """Files that are neither whole nor under their name."""
    return [path for path in disk.folder.rglob("*") if path.suffix == ".part" or path.name.startswith(".")]


def held(disk: Disk, film: Dataset) -> bool:
    return (disk.folder / "studies" / key_of(film.StudyInstanceUID)).exists()


def is_delivered(node: RunningNode, film: Dataset) -> bool:
    return node.delivered(film.StudyInstanceUID)


def test_a_disk_that_fills_up_costs_nothing_that_was_acknowledged_and_goes_on_by_itself(
    tmp_path: Path, disk: Disk, umask_of_nobody: None
) -> None:
    early, refused, late = (as_new_study("01-normal-adult") for _ in range(3))
    with Archive(tmp_path / "archive", "PACS") as archive:
        node = RunningNode(
            tmp_path / "node",
            [{"name": "pacs", "ae_title": "PACS", "host": HOST, "port": archive.port}],
            {"spool": {"reserve_mb": RESERVE_MB}},
        )
        page = f"http://{HOST}:{node.web_port}"
        with node, httpx.Client(base_url=page, trust_env=False, timeout=20) as client:
            node.wait_until_working()
            wait_until(lambda: client.get("/readyz").status_code == 200, 30, "the node being ready")
            with associated(node.port, proposal(early)) as standing:
                # The reserve has begun: what was taken is read and delivered in it, and nothing new is taken.
                assert answer(standing, early, tmp_path) == 0x0000
                disk.leave((RESERVE_MB << 20) - 4096)
                assert answer(standing, refused, tmp_path) == 0xA700
                rejected = request(node.port, proposal(refused))
                rejection = rejected.acceptor.primitive or rejected.dul.receive_pdu()
                assert (rejection.result, rejection.result_source, rejection.diagnostic) == (2, 3, 1)
                assert echoscu(node.port)
                ready = client.get("/readyz")
                assert (ready.status_code, "the disk is short of room" in ready.text) == (503, True)
                node.wait_until_delivered(early.StudyInstanceUID)
                assert not held(disk, refused)
                # Some room again, and while a film waits to be read the disk fills up to its last byte.
                disk.make_room()
                worker = client.get("/status.json").json()["roles"]["work"]["pid"]
                os.kill(worker, signal.SIGSTOP)
                assert answer(standing, late, tmp_path) == 0x0000
            wait_until(lambda: node.spool.agenda.tasks("todo"), what="the film being settled")
            disk.fill()
            os.kill(worker, signal.SIGCONT)
            wait_until(lambda: node.events("disk.full"), what="the worker finding the disk full")
            assert echoscu(node.port)
            assert client.get("/").status_code == client.get("/metrics").status_code == 200
            # One that dies meanwhile is started again, and waits as well.
            os.kill(worker, signal.SIGKILL)
            wait_until(lambda: len(node.events("disk.full")) > 1, 120, "the next worker finding the disk full")
            time.sleep(5)
            assert [event["process"] for event in node.events("process.died")] == ["work"]
            assert not is_delivered(node, late)
            disk.make_room()
            wait_until(lambda: _is_taken(node, refused, tmp_path), GOES_ON_WITHIN_S, "a film being taken again")
            wait_until(lambda: is_delivered(node, late), GOES_ON_WITHIN_S, "the film that waited being delivered")
            node.wait_until_delivered(refused.StudyInstanceUID)
            assert client.get("/readyz").status_code == 200
            wait_until(lambda: not node.spool.agenda.tasks("open"), what="all tasks finished")
            assert node.spool.agenda.tasks("parked") == []
            assert not partial_files(disk)
            assert len(node.events("process.died")) == 1
            assert _modes(disk) == {"folder": {0o700}, "file": {0o600}}
        for film in (early, refused, late):
            results = [each for each in archive.instances if each.study_instance_uid == film.StudyInstanceUID]
            assert sorted(dcmread(each.path).Modality for each in results) == ["OT", "SR"], "one report and one picture"


def _is_taken(node: RunningNode, film: Dataset, folder: Path) -> bool:
    with associated(node.port, proposal(film)) as association:
        return answer(association, film, folder) == 0x0000


def _modes(disk: Disk) -> dict[str, set[int]]:
    paths = [path for path in disk.folder.rglob("*") if path.name != "ballast"]
    assert any(path.suffix == ".dcm" for path in paths)
    return {
        "folder": {path.stat().st_mode & 0o777 for path in (disk.folder, *paths) if path.is_dir()},
        "file": {path.stat().st_mode & 0o777 for path in paths if path.is_file()},
    }
