"""The whole node as its own processes, started as an administrator starts it, on a free loopback port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.durable import key_of
from node.spool import Spool
from tests.peers import Peer, echoscu, free_port, wait_until

REPOSITORY = Path(__file__).resolve().parents[1]
BUNDLE = next(iter(sorted((REPOSITORY / "models").glob("*/bundle.yaml"), reverse=True))).parent
AE_TITLE = "CXRTRIAGE"


class RunningNode(Peer):
    """``cxr-node serve`` with a configuration of its own; the same folder remembers over stop and start.

    Parameters
    ----------
    folder : Path
        Holds configuration, spool and log.
    destinations : Sequence of dict
        As in the configuration file.
    settings : dict
        More sections of the configuration file.
    """

    name = "node"

    def __init__(
        self, folder: Path, destinations: Sequence[dict[str, Any]] = (), settings: dict[str, Any] | None = None
    ) -> None:
        super().__init__(folder)
        self.config = folder / "node.yaml"
        self.web_port = free_port()
        form: dict[str, Any] = {
            "listen": {"ae_title": AE_TITLE, "port": self.port},
            "spool": {"folder": "spool"},
            "model": {"bundle": str(BUNDLE), "device": "cpu"},
            "web": {"port": self.web_port},
            "study": {"settle_s": 0.3, "quiet_s": 1.0},
            "destinations": list(destinations),
        }
        for section, values in (settings or {}).items():
            form[section] = {**form[section], **values} if isinstance(values, dict) and section in form else values
        self.config.write_text(yaml.safe_dump(form))

    def command(self) -> list[str]:
        return [sys.executable, "-m", "node", "serve", "--config", str(self.config)]

    def ready(self) -> bool:
        return (self.folder / "spool" / "run" / "receive.json").exists() and echoscu(self.port)

    @property
    def spool(self) -> Spool:
        return Spool(self.folder / "spool")

    def working(self) -> bool:
        """Whether the model is loaded."""
        return (self.folder / "spool" / "run" / "work.json").exists()

    def wait_until_working(self) -> None:
        wait_until(lambda: self._died() or self.working(), 120, "the model being loaded")

    def kill(self) -> None:
        """End every process of the node at once, as a power cut would: kill -9."""
        process, self.process = self.process, None
        assert process is not None
        for pid in [*_children(process.pid), process.pid]:
            os.kill(pid, signal.SIGKILL)
        process.wait()
        for name in ("receive", "work", "web"):
            (self.folder / "spool" / "run" / f"{name}.json").unlink(missing_ok=True)

    def delivered(self, study_instance_uid: str, destination: str = "pacs", generations: int = 1) -> bool:
        """Whether so many generations of a study have been read and their results delivered."""
        spool, study = self.spool, key_of(study_instance_uid)
        if not spool.study_folder(study).exists():
            return False
        found = spool.generations(study)
        states = [spool.outbox.delivery(destination, study, generation.name) for generation in found]
        return len(found) >= generations and all(state and state["state"] == "delivered" for state in states)

    def wait_until_delivered(
        self, study_instance_uid: str, destination: str = "pacs", generations: int = 1, within_s: float = 120
    ) -> None:
        what = f"study delivered to {destination}"
        wait_until(lambda: self.delivered(study_instance_uid, destination, generations), within_s, what)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Events of this name from the log."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]


def cxr_node(*arguments: str | Path, within_s: float = 180) -> subprocess.CompletedProcess[str]:
    """Run a verb of the command line."""
    command = [sys.executable, "-m", "node", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=within_s, check=False, cwd=REPOSITORY)


def study_uid(path: Path) -> str:
    """Study Instance UID of a DICOM file."""
    return str(dcmread(path, specific_tags=["StudyInstanceUID"], stop_before_pixels=True).StudyInstanceUID)


def values(report: Dataset) -> dict[str, float]:
    """The numbers of a report by their names; of several images, those of the last."""
    found: dict[str, float] = {}
    for item in report.get("ContentSequence", ()):
        if item.ValueType == "NUM":
            name = str(item.ConceptNameCodeSequence[0].CodeMeaning)
            found[name] = float(item.MeasuredValueSequence[0].NumericValue)
        found |= values(item)
    return found


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [descendant for child in map(int, found) for descendant in (*_children(child), child)]
