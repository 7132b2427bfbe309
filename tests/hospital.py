"""What ``docker/compose.yaml`` starts, started without containers: PACS, node and viewer of the files in ``docker``.

The files are the very ones that the containers read. Only what a machine without containers has otherwise is put in their
place here: hosts, ports and folders. Orthanc cannot listen on one address alone, so without a container's network around
it, it takes instances from known AE titles at this machine alone.
"""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import yaml

from node import samples
from tests.peers import HOST, Orthanc, Peer, free_port, require_peer
from tests.running import REPOSITORY, RunningNode

DOCKER = REPOSITORY / "docker"
VIEWER = DOCKER / "viewer"
OHIF = REPOSITORY / ".peers" / "ohif"
# Who may store in the PACS besides the node: what storescu and cxr-node send call themselves unless told otherwise.
SENDERS = ("STORESCU", "CXRSEND")


def usual_or_free(usual: int) -> int:
    """Return the usual port where nobody has it, else one that the system chooses."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, usual))
        except OSError:
            return free_port()
    return usual


@dataclass
class Ports:
    """The ports of one hospital; those of the containers, unless somebody has them."""

    dicom: int = field(default_factory=lambda: usual_or_free(4242))
    rest: int = field(default_factory=lambda: usual_or_free(8042))
    node: int = field(default_factory=lambda: usual_or_free(11112))
    status: int = field(default_factory=lambda: usual_or_free(8080))
    viewer: int = field(default_factory=lambda: usual_or_free(3000))

    @classmethod
    def free(cls) -> Self:
        """Return ports that nobody has, for one hospital among many."""
        return cls(*(free_port() for _ in range(5)))


class ShippedOrthanc(Orthanc):
    """Orthanc by ``docker/orthanc.json``."""

    def __init__(self, folder: Path, ports: Ports) -> None:
        super().__init__(folder)
        self.port, self.http_port, self._node_port = ports.dicom, ports.rest, ports.node
        self.url = f"http://{HOST}:{self.http_port}"
        self.http.base_url = self.url  # type: ignore[assignment]

    def settings(self) -> dict[str, Any]:
        shipped: dict[str, Any] = json.loads((DOCKER / "orthanc.json").read_text("utf-8"))
        node = shipped["DicomModalities"]["cxr-node"]
        here = {"Host": HOST, "Port": self._node_port}
        return {
            **shipped,
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "DicomPort": self.port,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "DicomAlwaysAllowStore": False,
            "DicomCheckModalityHost": True,
            "LuaScripts": [str(DOCKER / "forward.lua")],
            "DicomModalities": {
                "cxr-node": node | here,
                **{sender: {"AET": sender, "Host": HOST, "Port": 104} for sender in SENDERS},
            },
        }


class ShippedNode(RunningNode):
    """The node by ``docker/node.yaml``."""

    def __init__(self, folder: Path, ports: Ports) -> None:
        super().__init__(folder)
        self.port, self.web_port = ports.node, ports.status
        form = yaml.safe_load((DOCKER / "node.yaml").read_text("utf-8"))
        form["listen"] |= {"host": HOST, "port": self.port}
        form["spool"] |= {"folder": str(self.folder / "spool")}
        form["model"] |= {"bundle": f"{REPOSITORY}{form['model']['bundle']}"}
        form["destinations"][0] |= {"host": HOST, "port": ports.dicom}
        form["web"] |= {"host": HOST, "port": self.web_port}
        self.config.write_text(yaml.safe_dump(form))


class Nginx(Peer):
    """Nginx by ``docker/viewer/nginx.conf``, with the viewer behind it."""

    name = "nginx"

    def __init__(self, folder: Path, ports: Ports) -> None:
        super().__init__(folder)
        self.port = ports.viewer
        self.url = f"http://{HOST}:{self.port}"
        here = {
            "orthanc:8042": f"{HOST}:{ports.rest}",
            "listen 3000;": f"listen {HOST}:{ports.viewer};",
            "$host:8080": f"$host:{ports.status}",
            "/usr/share/ohif": str(OHIF),
            "/etc/viewer": str(VIEWER),
            "/tmp/": f"{self.folder}/",
        }
        text = replaced((VIEWER / "nginx.conf").read_text("utf-8"), here)
        (self.folder / "nginx.conf").write_text(text, "utf-8")

    def command(self) -> list[str]:
        if not (OHIF / "index.html").exists():
            require_peer("OHIF")
        # Files of the viewer may lie where only who starts it may read, so its workers are no other user.
        return [require_peer("nginx"), "-e", "stderr", "-g", "user root;", "-c", str(self.folder / "nginx.conf")]


def replaced(text: str, values: Mapping[str, str]) -> str:
    """Return the text with each value in the place of another, which must be there; in one pass, so that none meets another."""
    for old in values:
        assert old in text, f"{old} is not there to be replaced"
    return re.sub("|".join(map(re.escape, values)), lambda found: values[found[0]], text)


class Hospital:
    """PACS, node and viewer, started and stopped together.

    Parameters
    ----------
    folder : Path
        For all that they write.
    ports : Ports

    Attributes
    ----------
    pacs : ShippedOrthanc
    node : ShippedNode
    viewer : Nginx
    """

    def __init__(self, folder: Path, ports: Ports) -> None:
        self.pacs = ShippedOrthanc(folder / "pacs", ports)
        self.node = ShippedNode(folder / "node", ports)
        self.viewer = Nginx(folder / "viewer", ports)
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            for peer in (self.pacs, self.node, self.viewer):
                starting.enter_context(peer)
            self._running = starting.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._running.close()

    def load_samples(self) -> None:
        """Store the sample studies in the PACS, by the very command of the container that does so."""
        compose = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))
        (shipped,) = compose["services"]["samples"]["command"]
        here = {
            "cxr-node send": f"{sys.executable} -m node send",
            "/samples": str(samples.FOLDER),
            "/etc/cxr-node/node.yaml": str(self.node.config),
            "orthanc": HOST,
            "4242": str(self.pacs.port),
        }
        command = ["sh", "-c", replaced(shipped, here)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, cwd=REPOSITORY)
        if done.returncode:
            pytest.fail(f"the sample studies could not be stored:\n{done.stdout}{done.stderr}")
