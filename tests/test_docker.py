"""What the container files promise: the package is whole, Orthanc sends it radiographs, nothing is open to others."""

import json
import shutil
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
import yaml
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from node.config import Settings, load
from tests.peers import HOST, Orthanc, require_peer, wait_until
from tests.scp import EVERYTHING, UNCOMPRESSED, instance, picture, storage_scp

DOCKER = Path(__file__).resolve().parents[1] / "docker"
RADIOGRAPHS = [ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation]


def _compose() -> dict[str, dict[str, object]]:
    services: dict[str, dict[str, object]] = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))["services"]
    return services


def _orthanc_settings() -> dict[str, object]:
    settings: dict[str, object] = json.loads((DOCKER / "orthanc.json").read_text("utf-8"))
    return settings


def _radiograph(sop_class_uid: str, modality: str, study_instance_uid: str) -> bytes:
    """Return a DICOM file that is a radiograph by its header."""
    film = picture()
    film.SOPClassUID, film.Modality, film.StudyInstanceUID = sop_class_uid, modality, study_instance_uid
    return _file(film)


def _file(dataset: Dataset) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.peers
@pytest.mark.slow
def test_orthanc_forwards_radiographs_and_what_comes_back_starts_nothing(tmp_path: Path) -> None:
    require_peer("orthanc")
    accepted = [*EVERYTHING, *((sop_class_uid, UNCOMPRESSED) for sop_class_uid in RADIOGRAPHS)]
    with storage_scp(accepted, ae_title="CXRTRIAGE") as node:
        shipped = _orthanc_settings()
        modalities = {"cxr-node": {**shipped["DicomModalities"]["cxr-node"], "Host": HOST, "Port": node.port}}  # type: ignore[index]
        options = {"LuaScripts": [str(DOCKER / "forward.lua")], "StableAge": 1, "DicomModalities": modalities}
        with Orthanc(tmp_path, options=options) as pacs:
            report, heat_map = instance(), picture()
            study = heat_map.StudyInstanceUID = report.StudyInstanceUID
            pacs.upload(_radiograph(RADIOGRAPHS[0], "CR", study))
            wait_until(lambda: len(node.received) == 1, what="the CR series forwarded")
            pacs.upload(_file(report))
            pacs.upload(_file(heat_map))
            assert {held.modality for held in pacs.instances(study)} == {"CR", "SR", "OT"}
            pacs.upload(_radiograph(RADIOGRAPHS[1], "DX", study))
            # Series become stable in their order: once the DX is here, SR and OT have had their turn.
            wait_until(lambda: len(node.received) >= 2, what="the DX series forwarded")
    assert [received.sop_class_uid for received in node.received] == RADIOGRAPHS


@pytest.mark.slow
def test_the_installed_package_holds_every_file_of_the_source(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(DOCKER.parent / name, tmp_path)
    for package in ("node", "training"):
        shutil.copytree(DOCKER.parent / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "."]
    subprocess.run(build, cwd=tmp_path, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    sources = {
        path.relative_to(tmp_path).as_posix()
        for package in ("node", "training")
        for path in (tmp_path / package).rglob("*")
        if path.is_file()
    }
    assert sources <= set(zipfile.ZipFile(wheel).namelist())


def test_orthanc_and_the_node_name_each_other_rightly() -> None:
    node, orthanc = load(DOCKER / "node.yaml"), _orthanc_settings()
    destination = node.destinations[0]
    assert (destination.ae_title, destination.port) == (orthanc["DicomAet"], orthanc["DicomPort"])
    known = orthanc["DicomModalities"]["cxr-node"]  # type: ignore[index]
    assert (known["AET"], known["Port"]) == (node.listen.ae_title, node.listen.port)
    assert {destination.host, known["Host"]} == set(_compose())


def test_no_port_of_the_containers_is_open_to_other_machines() -> None:
    ports = [str(port) for service in _compose().values() for port in service["ports"]]  # type: ignore[attr-defined]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_container_of_the_node_writes_to_its_volume_alone() -> None:
    node = _compose()["node"]
    settings = load(DOCKER / "node.yaml")
    assert node["read_only"] is True
    assert f"spool:{settings.spool.folder}" in node["volumes"]  # type: ignore[operator]
    dockerfile = (DOCKER / "Dockerfile").read_text("utf-8")
    assert f"VOLUME {settings.spool.folder}" in dockerfile
    assert dockerfile.index("USER 10001") < dockerfile.index("ENTRYPOINT")
    assert settings.model.bundle == Path("/") / Settings().model.bundle
