"""The doctor's whole round: a running node, a real PACS that was told what the doctor says, and a test study."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import pytest
from highdicom.sr import srread
from pydicom import dcmread

from node.config import load
from node.doctor import instructions
from node.doctor.trial import PATIENT_ID, STUDY_DESCRIPTION
from tests.peers import HOST, Orthanc, echoscu
from tests.running import RunningNode, cxr_node

pytestmark = [pytest.mark.slow, pytest.mark.peers]


class OnlyReceiving(RunningNode):
    """A node whose receiver alone runs: the doctor brings its own model."""

    def command(self) -> list[str]:
        return [*super().command(), "--role", "receive"]

    def ready(self) -> bool:
        return (self.folder / "spool" / "run" / "receive.json").exists() and echoscu(self.port)


def test_a_test_study_reaches_a_pacs_that_was_told_what_the_doctor_says(tmp_path: Path) -> None:
    pacs = Orthanc(tmp_path / "pacs")
    destination = {"name": "pacs", "ae_title": "ORTHANC", "host": HOST, "port": pacs.port, "commitment": True}
    node = OnlyReceiving(tmp_path / "node", [destination])
    told = json.loads(f"{{{instructions.orthanc(load(node.config))}}}")
    pacs.options |= {"DicomAlwaysAllowStore": False, "DicomAlwaysAllowEcho": True, **told}
    with pacs, node:
        assert pacs.echo("cxr-node")
        done = cxr_node("doctor", "--send", "--json", "--config", node.config)
        form = json.loads(done.stdout)
        assert done.returncode == 0, done.stdout + done.stderr
        found = {(each["subject"], each["found"]) for each in form["findings"]}
        assert any(subject == "port" and "this node answers" in words for subject, words in found)
        assert any(subject == "test study to pacs" and "stored" in words for subject, words in found)
        query = {"Level": "Instance", "Query": {"PatientID": PATIENT_ID}}
        held = [dcmread(BytesIO(pacs.download(each))) for each in pacs.http.post("/tools/find", json=query).json()]
    assert sorted(each.Modality for each in held) == ["OT", "SR"]
    for each in held:
        assert str(each.PatientName).startswith("TEST")
        assert each.StudyDescription == STUDY_DESCRIPTION
    (report,) = [each for each in held if each.Modality == "SR"]
    written = BytesIO()
    report.save_as(written, enforce_file_format=True)
    written.seek(0)
    assert srread(written).ContentSequence
