"""The real peers of the node, on free loopback ports with folders of their own: Orthanc and the DCMTK tools.

Every program started here is stopped by its own process id, and its output is kept in its folder so that a failing test
can be explained. In continuous integration (``CI=true``) a missing program fails the test; elsewhere it skips it.

>>> with Orthanc(tmp_path) as pacs:
...     pacs.add_modality("node", "CXRTRIAGE", "127.0.0.1", node_port)
...     pacs.store_to("node", [pacs.upload(path.read_bytes())])
"""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx
import pytest

HOST = "127.0.0.1"
PROGRAMS = {
    "orthanc": "/usr/sbin/Orthanc",
    "nginx": "/usr/sbin/nginx",
    "chromium": "/usr/bin/chromium",
    "storescp": "storescp",
    "storescu": "storescu",
    "echoscu": "echoscu",
    "dcmdump": "dcmdump",
    "dsrdump": "dsrdump",
}
DICOM_WEB_PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
START_WITHIN_S = 30.0
STOP_WITHIN_S = 10.0


def require_peer(name: str) -> str:
    """Path of a peer's program; where it is missing, skip the test, or fail it when ``CI=true``."""
    found = shutil.which(PROGRAMS.get(name, name))
    if found:
        return found
    message = f"{name} is not installed on this machine"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"{message}, and continuous integration may not go without it")
    pytest.skip(message)


def free_port() -> int:
    """Return a TCP port of the loopback interface that is free now."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
    return port


def listens(port: int) -> bool:
    """Whether somebody accepts connections on the port."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(true: Callable[[], object], within_s: float = START_WITHIN_S, what: str = "it") -> None:
    """Wait until ``true()`` holds; fail the test where it does not in time."""
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come true within {within_s:.0f} s")
        time.sleep(0.02)


class Peer:
    """A program in a folder of its own, known by its process id.

    Parameters
    ----------
    folder : Path
        Created if missing; holds whatever the peer writes, and its output in ``<name>.log``.
    """

    name = "peer"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def command(self) -> list[str]:
        """Command line of the program, for the present ports."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether the program answers."""
        return listens(self.port)

    def start(self) -> Self:
        """Start the program and wait until it answers."""
        command = self.command()
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: self._died() or self.ready(), what=f"{self.name} answering")
            if self._died():
                pytest.fail(f"{self.name} ended at once:\n{self.log.read_text(errors='replace')[-2000:]}")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the program, gently first. A second call does nothing."""
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _died(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


class Instance(NamedTuple):
    """One instance as Orthanc holds it."""

    sop_class_uid: str
    sop_instance_uid: str
    modality: str
    series_instance_uid: str
    series_description: str
    id: str


class Orthanc(Peer):
    """Debian's Orthanc as PACS: no authentication, storage in its folder, C-STORE and storage commitment allowed.

    Parameters
    ----------
    folder : Path
        Storage, index, configuration and log. Start it again with the same object or folder and it remembers.
    ae_title : str
        AE title of the PACS.
    dicom_web : bool
        Load the DICOMweb plugin, served at ``url + "/dicom-web"``.
    options : Mapping
        More Orthanc settings, over those below, such as ``{"DicomCheckCalledAet": True}``.

    Attributes
    ----------
    port, http_port : int
        DICOM and HTTP ports on 127.0.0.1; they stay the same over stop and start.
    url : str
        Root of the REST API.
    http : httpx.Client
        A client of the REST API.
    """

    name = "orthanc"

    def __init__(
        self,
        folder: Path,
        ae_title: str = "ORTHANC",
        dicom_web: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(folder)
        self.ae_title = ae_title
        self.http_port = free_port()
        self.url = f"http://{HOST}:{self.http_port}"
        self.dicom_web = dicom_web
        self.options = dict(options or {})
        self.modalities: dict[str, dict[str, Any]] = {}
        self.http = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def command(self) -> list[str]:
        configuration = self.folder / "orthanc.json"
        configuration.write_text(json.dumps(self.settings(), indent=1))
        return [require_peer("orthanc"), str(configuration)]

    def settings(self) -> dict[str, Any]:
        """Return the configuration of this Orthanc."""
        return {
            "Name": self.ae_title,
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "DicomAet": self.ae_title,
            "DicomPort": self.port,
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowEcho": True,
            "DicomModalities": self.modalities,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "StableAge": 1,
            "Plugins": [DICOM_WEB_PLUGIN] if self.dicom_web else [],
            **self.options,
        }

    def ready(self) -> bool:
        try:
            return self.http.get("/system").status_code == httpx.codes.OK and listens(self.port)
        except httpx.TransportError:
            return False

    def add_modality(self, name: str, ae_title: str, host: str, port: int, **permissions: Any) -> None:
        """Make an AE known to Orthanc, before or after the start; it may do everything unless told otherwise.

        Parameters
        ----------
        name : str
            Name to use in :meth:`store_to`.
        permissions
            More keys of the modality, such as ``AllowStorageCommitment=False``.
        """
        allowed = {"AllowStore": True, "AllowEcho": True, "AllowStorageCommitment": True}
        modality = {"AET": ae_title, "Host": host, "Port": port, **allowed, **permissions}
        self.modalities[name] = modality
        if self.process is not None:
            self.http.put(f"/modalities/{name}", json=modality).raise_for_status()

    def upload(self, instance: bytes) -> str:
        """Put a Part 10 file into Orthanc by REST; gives its Orthanc id."""
        answer = self.http.post("/instances", content=instance).raise_for_status()
        identifier: str = answer.json()["ID"]
        return identifier

    def store_to(self, modality: str, ids: Sequence[str]) -> None:
        """Have Orthanc send instances, series or studies, by their ids, to a modality by C-STORE; fails where refused."""
        self.http.post(f"/modalities/{modality}/store", json=list(ids)).raise_for_status()

    def echo(self, modality: str) -> bool:
        """Whether Orthanc's C-ECHO to a modality succeeds."""
        return self.http.post(f"/modalities/{modality}/echo", json={}).status_code == httpx.codes.OK

    def instances(self, study_instance_uid: str) -> list[Instance]:
        """List the instances of a study in the order of their SOP instance UIDs; empty where Orthanc has no such study."""
        query = {"Level": "Instance", "Expand": True, "Query": {"StudyInstanceUID": study_instance_uid}}
        found = self.http.post("/tools/find", json=query).raise_for_status().json()
        return sorted((self._instance(each["ID"]) for each in found), key=lambda instance: instance.sop_instance_uid)

    def _instance(self, identifier: str) -> Instance:
        tags = self.http.get(f"/instances/{identifier}/tags", params={"short": ""}).raise_for_status().json()
        modality, description = tags.get("0008,0060", ""), tags.get("0008,103e", "")
        return Instance(tags["0008,0016"], tags["0008,0018"], modality, tags["0020,000e"], description, identifier)

    def download(self, identifier: str) -> bytes:
        """Part 10 bytes of an instance as Orthanc holds it."""
        return self.http.get(f"/instances/{identifier}/file").raise_for_status().content

    def stop(self) -> None:
        super().stop()
        self.http.close()
        self.http = httpx.Client(base_url=self.url, timeout=60, trust_env=False)


class StoreSCP(Peer):
    """DCMTK's storescp; the instances it took lie in ``received`` as Part 10 files.

    Parameters
    ----------
    folder : Path
        Folder of the peer.
    ae_title : str
        AE title of the peer.
    options : Sequence of str
        More arguments, such as ``["--refuse"]`` or ``["+xi"]`` (Implicit VR Little Endian only).
    """

    name = "storescp"

    def __init__(self, folder: Path, ae_title: str = "STORESCP", options: Sequence[str] = ()) -> None:
        super().__init__(folder)
        self.ae_title = ae_title
        self.options = list(options)
        self.received = folder / "received"
        self.received.mkdir(exist_ok=True)

    def command(self) -> list[str]:
        program = require_peer("storescp")
        return [program, "-aet", self.ae_title, "-od", str(self.received), *self.options, str(self.port)]

    def files(self) -> list[Path]:
        """Files received so far."""
        return sorted(self.received.iterdir())


def storescu(
    port: int,
    files: Sequence[Path],
    called_ae_title: str = "CXRTRIAGE",
    calling_ae_title: str = "STORESCU",
    options: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """Send files by DCMTK's storescu, with Nagle's algorithm off (it stalls small objects by 40 ms).

    Returns
    -------
    subprocess.CompletedProcess
        ``returncode`` 0 where all was sent, and the tool's verbose words in ``stdout``.
    """
    titles = ["-aec", called_ae_title, "-aet", calling_ae_title]
    # -R proposes the SOP classes of the files only: the default list of storescu lacks newer ones.
    command = [require_peer("storescu"), "-v", "-R", *titles, *options, HOST, str(port), *map(str, files)]
    return _tool(command)


def echoscu(port: int, called_ae_title: str = "CXRTRIAGE", calling_ae_title: str = "ECHOSCU") -> bool:
    """Whether DCMTK's C-ECHO to a port succeeds."""
    titles = ["-aec", called_ae_title, "-aet", calling_ae_title]
    return _tool([require_peer("echoscu"), *titles, HOST, str(port)]).returncode == 0


def _tool(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TCP_NODELAY": "1"}
    joined = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(command, env=environment, text=True, timeout=120, check=False, **joined)  # type: ignore[call-overload,no-any-return]
