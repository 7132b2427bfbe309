"""What the container files promise: a whole package, no rights, a read-only file system, and nothing open to others."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
import yaml
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from node.config import Settings, load
from tests.hospital import Hospital, Ports
from tests.journeys.films import as_new_study, file_of
from tests.peers import HOST, Orthanc, require_peer, storescu, wait_until
from tests.running import RunningNode
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
    assert {destination.host, known["Host"]} <= set(_compose())


def test_no_port_of_the_containers_is_open_to_other_machines() -> None:
    ports = [str(port) for service in _compose().values() for port in service.get("ports", ())]  # type: ignore[attr-defined]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def _stages(file: str = "Dockerfile") -> list[list[str]]:
    """Return the instructions of each stage of a Dockerfile, continuation lines joined."""
    text = (DOCKER / file).read_text("utf-8").replace("\\\n", " ")
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    starts = [number for number, line in enumerate(lines) if line.startswith("FROM ")]
    return [lines[start:end] for start, end in zip(starts, [*starts[1:], len(lines)], strict=True)]


def test_the_container_of_the_node_writes_to_its_volume_alone() -> None:
    node = _compose()["node"]
    settings = load(DOCKER / "node.yaml")
    assert node["read_only"] is True
    assert f"spool:{settings.spool.folder}" in node["volumes"]  # type: ignore[operator]
    assert [str(volume).partition(":")[0] for volume in node["volumes"] if not str(volume).endswith(":ro")] == ["spool"]  # type: ignore[attr-defined]
    (tmp,) = node["tmpfs"]  # type: ignore[misc]
    assert re.fullmatch(r"/tmp:size=\d+m,.*noexec,nosuid,nodev", tmp)
    assert f"VOLUME {settings.spool.folder}" in _stages()[-1]
    assert settings.model.bundle == Path("/") / Settings().model.bundle


def test_the_container_of_the_node_has_no_rights_to_lose() -> None:
    node, final = _compose()["node"], _stages()[-1]
    assert node["cap_drop"] == ["ALL"]
    assert "cap_add" not in node
    assert "privileged" not in node
    assert node["security_opt"] == ["no-new-privileges:true"]
    assert node["ulimits"] == {"core": 0}
    assert "USER 10001:10001" in final
    assert node["user"] == "10001:10001"
    # Nothing that root would do comes after.
    assert {line.split()[0] for line in final[final.index("USER 10001:10001") + 1 :]} <= {
        *("VOLUME", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT", "CMD")
    }


def test_the_image_holds_what_the_lock_file_names_by_digest_and_no_tool_to_install_more() -> None:
    build, final = _stages()
    installs = [line for line in build if " install " in line]
    assert len(installs) == 2
    assert "--require-hashes -r requirements.lock" in installs[0] and "--only-binary=:all:" in installs[0]
    assert "--no-deps --no-build-isolation ." in installs[1]
    assert any("venv --without-pip" in line for line in build)
    assert not any(word in line for line in (*build, *final) for word in ("apt-get", "curl", "wget", "ADD "))
    assert any("pip uninstall" in line for line in final)
    copied = [line for line in final if line.startswith("COPY")]
    assert [line.split()[1] for line in copied] == ["--from=build", "models", "docker/node.yaml"]


def test_both_stages_have_one_base_that_can_be_given_by_its_digest() -> None:
    text = (DOCKER / "Dockerfile").read_text("utf-8")
    default = re.search(r"^ARG BASE=(python:3\.\d+-slim-\w+(?:@sha256:[0-9a-f]{64})?)$", text, re.MULTILINE)
    assert default is not None
    assert [stage[0].split()[1] for stage in _stages()] == ["${BASE}", "${BASE}"]
    assert _compose()["node"]["build"]["args"]["BASE"] == f"${{CXR_BASE:-{default[1]}}}"  # type: ignore[index]


def test_the_health_of_the_node_is_asked_of_the_port_it_serves() -> None:
    (check,) = [line for line in _stages()[-1] if line.startswith("HEALTHCHECK")]
    assert f"http://127.0.0.1:{Settings().web.port}/readyz" in check


def test_what_the_containers_say_does_not_fill_the_disk() -> None:
    for service in _compose().values():
        assert {"max-size", "max-file"} <= set(service["logging"]["options"])  # type: ignore[index]


def _tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a tool that the development extra brings."""
    program = Path(sys.executable).with_name(name)
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("overlay", [(), ("compose.gpu.yaml",)], ids=["cpu", "gpu"])
def test_compose_takes_the_files_it_is_given(overlay: tuple[str, ...]) -> None:
    files = [word for name in ("compose.yaml", *overlay) for word in ("-f", DOCKER / name)]
    done = _tool("docker-compose", *files, "config", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    services = json.loads(done.stdout)["services"]
    for service in services.values():
        for volume in service.get("volumes", ()):
            assert volume["type"] == "volume" or Path(volume["source"]).exists(), volume
    assert services["samples"]["image"] == services["node"]["image"]
    assert ("deploy" in services["node"]) is bool(overlay)


@pytest.mark.parametrize("file", ["Dockerfile", "viewer/Dockerfile"])
def test_hadolint_has_nothing_to_say(file: str) -> None:
    done = _tool("hadolint", DOCKER / file)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


def test_the_container_of_the_viewer_has_no_rights_to_lose_and_writes_nothing() -> None:
    viewer, final = _compose()["viewer"], _stages("viewer/Dockerfile")[-1]
    assert viewer["read_only"] is True
    assert "volumes" not in viewer
    assert viewer["cap_drop"] == ["ALL"]
    assert viewer["security_opt"] == ["no-new-privileges:true"]
    assert viewer["user"] == "101:101"
    assert "USER 101:101" in final
    settings = (DOCKER / "viewer" / "nginx.conf").read_text("utf-8")
    for written in re.findall(r"^ *(?:pid|\w+_temp_path) (\S+);", settings, re.MULTILINE):
        assert written.startswith("/tmp/")


def test_every_image_is_named_by_a_tag_and_can_be_given_by_its_digest() -> None:
    images = {"orthancteam/orthanc:25.4.0"}
    for file in ("Dockerfile", "viewer/Dockerfile"):
        text = (DOCKER / file).read_text("utf-8")
        defaults = dict(re.findall(r"^ARG (\w+)=(\w+:[\w.-]+)$", text, re.MULTILINE))
        assert {stage[0].split()[1].strip("${}") for stage in _stages(file)} == set(defaults)
        images |= set(defaults.values())
    given = (DOCKER / "compose.yaml").read_text("utf-8")
    assert set(re.findall(r"\$\{\w+:-([^}]+)\}", given)) == images


def test_the_image_for_a_gpu_holds_the_same_packages_and_cudas() -> None:
    repository = DOCKER.parent
    assert "COPY ${LOCK} requirements.lock" in _stages()[0]
    assert "ARG LOCK=requirements.lock" in _stages()[0]
    gpu = yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text("utf-8"))["services"]["node"]
    lock = gpu["build"]["args"]["LOCK"]
    assert f"!{lock}" in (DOCKER / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    pins, more = (
        set(re.findall(r"^([a-z0-9._-]+==\S+)", (repository / name).read_text("utf-8"), re.MULTILINE))
        for name in ("requirements.lock", lock)
    )
    assert pins <= more, "make lock"
    assert more > pins
    assert all(pin.startswith("nvidia-") for pin in more - pins)


def test_what_runs_without_containers_has_their_settings_but_for_hosts_ports_and_folders(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path, Ports.free())
    shipped, run = _orthanc_settings(), hospital.pacs.settings()
    assert {key for key in run if run[key] != shipped.get(key)} == {
        *("StorageDirectory", "IndexDirectory", "LuaScripts", "DicomPort", "HttpPort", "DicomModalities"),
        # What the network of the containers does for them.
        *("RemoteAccessAllowed", "DicomAlwaysAllowStore", "DicomCheckModalityHost"),
    }
    assert run["LuaScripts"] == [str(DOCKER / "forward.lua")]
    node, node_here = (yaml.safe_load(path.read_text()) for path in (DOCKER / "node.yaml", hospital.node.config))
    assert set(node) == set(node_here)
    differing = {
        f"{section}.{key}"
        for section in set(node) - {"destinations"}
        for key in node_here[section]
        if node_here[section][key] != node[section].get(key)
    }
    assert differing == {"listen.host", "listen.port", "spool.folder", "model.bundle", "web.host", "web.port"}
    assert node["destinations"][0] | {"host": HOST, "port": hospital.pacs.port} == node_here["destinations"][0]
    lines, here = (
        path.read_text().splitlines()
        for path in (DOCKER / "viewer" / "nginx.conf", hospital.viewer.folder / "nginx.conf")
    )
    differing = {line.split()[0] for line, other in zip(lines, here, strict=True) if line != other}
    paths = {"client_body_temp_path", "proxy_temp_path", "fastcgi_temp_path", "uwsgi_temp_path", "scgi_temp_path"}
    assert differing == {"pid", *paths, "server", "listen", "root", "return"}


def test_the_image_of_the_viewer_holds_what_its_settings_serve() -> None:
    final = _stages("viewer/Dockerfile")[-1]
    copied = [line.split()[1:-1] for line in final if line.startswith("COPY ") and line.endswith("/etc/viewer/")]
    assert sorted(copied[0]) == ["app-config.js", "nginx.conf", "start.html"]
    (unpacked,) = [line.split()[-1] for line in final if line.startswith("COPY --from")]
    settings = (DOCKER / "viewer" / "nginx.conf").read_text("utf-8")
    assert set(re.findall(r"root (\S+);", settings)) == {unpacked, "/etc/viewer"}


# Run as compose.yaml has it, as far as that goes without Docker: another user without any right, and a file system that
# takes no write but to the spool. Folders that only root may enter are replaced by ones that lead to Python and the source.
CONFINED = """
set -eu
umask 022
work=$1 mnt=/mnt; shift
mount --make-rprivate /
mount --bind "$work" "$work"
mount -t tmpfs tmpfs $mnt
number=0
for tree in "$BASE" "$REPOSITORY"; do
    number=$((number + 1)); mkdir $mnt/$number; mount --bind "$tree" $mnt/$number
done
number=0
for tree in "$BASE" "$REPOSITORY"; do
    number=$((number + 1)); closed=$tree
    while [ "$closed" != / ]; do
        closed=$(dirname "$closed")
        [ "$closed" = / ] || [ "$(($(stat -c %a "$closed") % 10 % 2))" = 1 ] || {
            mount -t tmpfs -o mode=755 tmpfs "$closed"
            mkdir -p "$tree"; mount --bind $mnt/$number "$tree"; mount -o remount,ro "$closed"; }
    done
    mount -o remount,ro,bind "$tree" 2>/dev/null || true
done
mount -o remount,ro,bind /
exec setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs \\
    env HOME=/nonexistent TMPDIR="$work/tmp" PYTHONDONTWRITEBYTECODE=1 "$@"
"""


class ConfinedNode(RunningNode):
    """The node as another user, on a file system that is read-only but for its own folder."""

    def command(self) -> list[str]:
        script = ["unshare", "--mount", "sh", "-c", CONFINED, "sh", str(self.folder)]
        trees = [f"BASE={sys.base_prefix}", f"REPOSITORY={DOCKER.parent}"]
        return ["env", *trees, *script, *super().command()]


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root can take rights away")
def test_the_node_reads_and_delivers_without_rights_on_a_read_only_file_system(tmp_path: Path) -> None:
    for program in ("unshare", "setpriv", "storescu"):
        require_peer(program)
    with tempfile.TemporaryDirectory(prefix="cxr-node-") as name, storage_scp(EVERYTHING, ae_title="PACS") as pacs:
        folder = Path(name)
        for each in (folder, folder / "tmp"):
            each.mkdir(exist_ok=True)
            os.chown(each, 65534, 65534)
        settings = {"audit": {"file": "audit.log"}}
        to_pacs = {"name": "pacs", "ae_title": "PACS", "host": HOST, "port": pacs.port}
        with ConfinedNode(folder, [to_pacs], settings) as node:
            assert node.process is not None
            status = Path(f"/proc/{node.process.pid}/status").read_text()
            assert re.search(r"^Uid:\t65534\t65534\t65534\t65534$", status, re.MULTILINE)
            assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE) and re.search(
                r"^CapBnd:\t0+$", status, re.MULTILINE
            )
            assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
            mounts = Path(f"/proc/{node.process.pid}/mounts").read_text().splitlines()
            assert [line.split()[3].split(",")[0] for line in mounts if line.split()[1] == "/"][-1] == "ro"
            node.wait_until_working()
            film = as_new_study("01-normal-adult")
            assert storescu(node.port, [file_of(film, tmp_path)]).returncode == 0
            node.wait_until_delivered(film.StudyInstanceUID)
        assert len(pacs.received) == 2
        assert {path.stat().st_uid for path in folder.rglob("*")} - {0} == {65534}
        # The film that came, and the results that went: the report by itself where it was ahead of its picture.
        assert (folder / "audit.log").read_text("utf-8").count("110104") in (2, 3)
