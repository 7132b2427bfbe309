"""Nothing of a patient leaves the spool but by DICOM, whatever is sent, whatever libraries print, and whatever crashes.

Studies are sent that carry a mark in everything a peer can choose, but for AE titles; then everything that the node wrote,
printed or served is searched for the mark.
"""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset, config
from pydicom.datadict import DicomDictionary
from pydicom.dataelem import RawDataElement
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pynetdicom import evt

from node.durable import key_of
from node.study import Triage
from tests import raw
from tests.inboxes import hook
from tests.journeys.films import as_new_study, file_of
from tests.peers import HOST, require_peer, storescu, wait_until
from tests.running import RunningNode, cxr_node
from tests.scp import storage_scp

pytestmark = [pytest.mark.peers, pytest.mark.slow]

MARK = "QXZVWKJ"
TEXT_VRS = {"LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
# An arc of our own, so that UIDs of these studies can be told from those of everything else.
UIDS = "2.25.4815162342"
# Imported by every process before anything else: libraries are told to print what they can, and a signal raises.
LOUD = f"""
import signal, warnings
import pydicom.config, pynetdicom
pydicom.config.debug(True, True)
pynetdicom.debug_logger()
warnings.simplefilter("always")
def fail(*_):
    raise ValueError("{MARK} failed")
signal.signal(signal.SIGUSR1, fail)
"""


class LoudNode(RunningNode):
    """A node whose libraries are told to print what they can."""

    def command(self) -> list[str]:
        (self.folder / "sitecustomize.py").write_text(LOUD)
        told = {
            "PYTHONPATH": str(self.folder),
            "PYTHONWARNINGS": "always",
            "PYTHONFAULTHANDLER": "1",
            "PYTHONASYNCIODEBUG": "1",
            "TF_CPP_MIN_LOG_LEVEL": "0",
        }
        return ["env", *(f"{name}={value}" for name, value in told.items()), *super().command()]

    def pid(self, role: str) -> int:
        """Process id of a role that is ready."""
        path = self.folder / "spool" / "run" / f"{role}.json"
        wait_until(path.exists, 120, f"{role} being ready")
        return int(json.loads(path.read_text())["pid"])


def film(number: int, name: str = "01-normal-adult", **attributes: object) -> Dataset:
    """A readable film whose every text attribute holds the mark."""
    dataset = as_new_study(name)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{UIDS}.{number}.1", f"{UIDS}.{number}.2"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{UIDS}.{number}.3"
    for tag, (vr, *_, keyword) in DicomDictionary.items():
        if vr in TEXT_VRS and tag >> 16 in range(0x0008, 0x0040):
            setattr(dataset, keyword, f"{MARK}^{MARK}" if vr == "PN" else MARK)
    block = dataset.private_block(0x0011, MARK, create=True)
    block.add_new(1, "LO", MARK)
    block.add_new(2, "UN", MARK.encode())
    item = Dataset()
    item.PatientID, item.TypeOfPatientID = MARK, "TEXT"
    dataset.OtherPatientIDsSequence = Sequence([item])
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def with_raw(dataset: Dataset, **values: bytes) -> Dataset:
    """Give attributes values that their VR does not allow, as a careless modality does."""
    for keyword, value in values.items():
        tag = Tag(keyword)
        vr = DicomDictionary[int(tag)][0]
        padded = value + b" " * (len(value) % 2)
        dataset._dict[tag] = RawDataElement(tag, vr, len(padded), padded, 0, False, True)
    return dataset


def careless() -> list[Dataset]:
    """Films with values that pydicom, numpy or XML stumble over."""
    mark = MARK.encode()
    dates = with_raw(film(1), PatientBirthDate=b"31/12/1960", StudyDate=mark, StudyTime=mark, PatientAge=b"QXZV")
    numbers = with_raw(film(2), InstanceNumber=mark, SeriesNumber=mark, PatientWeight=mark, PixelAspectRatio=mark)
    units = with_raw(film(3), WindowCenter=mark, WindowWidth=mark, RescaleSlope=mark, FrameOfReferenceUID=mark)
    codes = with_raw(film(4), Modality=mark, PhotometricInterpretation=mark, PatientSex=mark, ViewPosition=mark)
    charset = with_raw(film(5), SpecificCharacterSet=mark, PatientName=b"\x1b$B" + mark + b"\x1b(Z\xff\xfe")
    unicode = film(
        6, SpecificCharacterSet="ISO_IR 192", PatientName=f"{MARK}^\u5c71\u7530=\u202e{MARK}", PatientID=f"{MARK}\u0130"
    )
    long = with_raw(film(7), PatientID=mark * 400, AccessionNumber=b"\r\n{" + mark, PatientComments=b"\x1b[31m" + mark)
    return [dates, numbers, units, codes, charset, unicode, long]


def insults(port: int) -> None:
    """Send messages that are no messages, with the mark in every field that is not an AE title."""
    mark = MARK.encode()
    identity = raw.item(0x58, b"\x02\x00" + bytes((0, len(mark))) + mark + bytes((0, len(mark))) + mark)
    version = raw.item(0x55, mark)
    asked = [
        {"application_context": MARK},
        {"contexts": [raw.context_item(1, MARK, [MARK])]},
        {"information": raw.user_information(identity, version)},
        {"information": mark * 9},
    ]
    for request in asked:
        with raw.Raw(port) as caller:
            caller.send(raw.request(**request)).answer()  # type: ignore[arg-type]
    data = b"\x08\x00\x18\x00UI\x08\x00" + mark + b"\0" + b"\x10\x00\x10\x00PN\xff\xff" + mark
    commands = [
        raw.store_request(mark, x1030=mark, x1031=mark),
        raw.store_request("1.2.3", MARK),
        raw.store_request("1.2.3", x0110=mark),
        raw.elements(x0100=raw.C_STORE, x0002=mark, x0110=1, x0800=raw.DATA_SET, x9999=mark),
        mark * 3,
        raw.store_request("1.2.3"),
        raw.elements(x0100=raw.N_EVENT_REPORT, x0002=raw.COMMITMENT, x1000=mark, x1002=7, x0110=1, x0800=raw.DATA_SET),
    ]
    for command in commands:
        for context in (raw.STORE, raw.COMMIT):
            with raw.Raw(port) as caller:
                raw.outcome(caller.associate(), raw.command(context, command), raw.data_set(context, data))


def served(port: int) -> Iterator[tuple[str, str]]:
    """Everything that the node serves by HTTP."""
    for path in ("/", "/status.json", "/healthz", "/readyz", "/metrics", f"/{MARK[:3]}"):
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=30) as answer:
                yield path, answer.read().decode()
        except urllib.error.HTTPError as error:
            yield path, error.read().decode()


def written(folder: Path) -> Iterator[tuple[str, str]]:
    """Everything that the node wrote or printed, and its files' names; what it is there to keep is left out."""
    for path in sorted(folder.rglob("*")):
        yield f"name of {path.name}", str(path.relative_to(folder))
        is_kept = path.suffix in (".dcm", ".part") or "quarantine" in path.parts
        if path.is_file() and not is_kept and path.name != "sitecustomize.py":
            yield str(path.relative_to(folder)), path.read_bytes().decode("latin-1")


def marks(text: str) -> list[str]:
    """Where a text holds the mark, a date, or a UID of these studies; each with some of what stands around it."""
    found = re.finditer(rf"{MARK}|31/12/1960|{re.escape(UIDS)}\.\d|QXZV\b", text, re.IGNORECASE)
    return [ascii(text[max(0, match.start() - 60) : match.end() + 20]) for match in found]


@pytest.fixture
def careless_values() -> Iterator[None]:
    """Let this test's own films have values that pydicom would not write."""
    before = config.settings.reading_validation_mode, config.settings.writing_validation_mode
    config.settings.reading_validation_mode = config.settings.writing_validation_mode = config.IGNORE
    yield
    config.settings.reading_validation_mode, config.settings.writing_validation_mode = before


def refuse(event: evt.Event) -> Dataset:
    """Refuse an instance in words that name the patient."""
    response = Dataset()
    response.Status, response.ErrorComment = 0xC123, f"{MARK} is dead"
    return response


@pytest.mark.usefixtures("careless_values")
def test_no_word_of_a_patient_is_in_anything_that_is_written_printed_or_served(tmp_path: Path) -> None:
    require_peer("storescu")
    films = [film(0), *careless()]
    with storage_scp() as pacs, storage_scp(handlers=[(evt.EVT_C_STORE, refuse)]) as rude, hook() as told:
        receiver = {"name": "it", "webhook": {"url": told.url()}, "about": [*map(str, Triage), "faults"]}
        destinations = [
            {"name": "pacs", "ae_title": "PACS", "host": HOST, "port": pacs.port},
            {"name": "rude", "ae_title": "RUDE", "host": HOST, "port": rude.port},
        ]
        folder = tmp_path / "node"
        settings = {"audit": {"file": "audit.log"}, "notify": [receiver]}
        with LoudNode(folder, destinations, settings) as node:
            node.wait_until_working()
            limits = {Path(f"/proc/{node.pid(role)}/limits").read_text() for role in ("receive", "work", "web")}
            for each in films:
                storescu(node.port, [file_of(each, tmp_path)])
            other = film(0)  # another content under the same UID
            other.PatientID = f"{MARK}2"
            storescu(node.port, [file_of(other, tmp_path)])
            insults(node.port)
            agenda = node.spool.agenda
            wait_until(
                lambda: (
                    node.delivered(films[0].StudyInstanceUID)
                    and not any(agenda.tasks("todo"))
                    and not [t for t in agenda.tasks("open") if t.verb == "read"]
                ),
                120,
                "every film being read",
            )
            wait_until(lambda: node.events("task.parked"), 60, "the refusal being noted")
            found = dict(served(node.web_port))
            found["status"] = cxr_node("status", "--json", "--config", node.config).stdout
            found["export"] = cxr_node("export", "--config", node.config).stdout
            wait_until(lambda: any(b'"answer"' in body for *_, body in told.requests), 30, "a message")
            found["status table"] = cxr_node("status", "--config", node.config).stdout
            os.kill(node.pid("receive"), signal.SIGUSR1)
            wait_until(lambda: node.events("process.failed"), 30, "the receiver failing")
            os.kill(node.pid("work"), signal.SIGABRT)
            wait_until(lambda: "work" in {e["process"] for e in node.events("process.died")}, 30, "the worker crashing")
        found |= dict(written(folder))
        found |= {f"message {number}": body.decode() for number, (*_, body) in enumerate(told.requests)}

    # It was a fair trial: films were read, refused and parked, libraries had something to say, and processes crashed.
    assert {event["error"] for event in node.events("process.failed")} == {"ValueError"}
    assert node.events("instance.refused") and node.events("association.aborted")
    assert len(node.events("instance.stored")) >= 3 and node.events("study.delivered")
    assert {e["code"] for e in node.events("process.died") if e["process"] == "work"} == {-signal.SIGABRT}
    assert len(pacs.received) >= 2
    assert key_of(films[0].StudyInstanceUID) in found["audit.log"]
    assert "cxr_node_turned_away" in found["/metrics"]
    assert key_of(films[0].StudyInstanceUID) in found["export"]

    assert {name: marks(text) for name, text in found.items() if marks(text)} == {}
    assert all(re.search(r"^Max core file size +[01] ", limit, re.MULTILINE) for limit in limits)
    assert not list(folder.rglob("core*"))
