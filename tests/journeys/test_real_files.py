"""Real DICOM files of many makers: each gets a result or a named reason, and none stops the node."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from node.archive import Archive
from node.durable import key_of
from node.send import send
from tests.peers import HOST, echoscu
from tests.running import AE_TITLE, RunningNode

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "dicom"

pytestmark = [pytest.mark.slow, pytest.mark.peers]


@pytest.mark.skipif(not FOLDER.exists(), reason=f"{FOLDER} with real files is not on this machine")
def test_every_real_file_gets_a_result_or_a_named_reason(tmp_path: Path) -> None:
    files = sorted(FOLDER.glob("*.dcm"))
    copies = [_as_new_study(path, tmp_path) for path in files]
    with (
        Archive(tmp_path / "archive", "PACS") as archive,
        RunningNode(
            tmp_path / "node", [{"name": "pacs", "ae_title": "PACS", "host": HOST, "port": archive.port}]
        ) as node,
    ):
        sent = send(copies, HOST, node.port, AE_TITLE, "MODALITY")
        assert [result.path.name for result in sent if not result.stored] == []
        for path in copies:
            uid = str(dcmread(path, stop_before_pixels=True).StudyInstanceUID)
            node.wait_until_delivered(uid)
            (generation,) = node.spool.generations(key_of(uid))
            reading = node.spool.reading(key_of(uid), generation.name)
            assert reading is not None
            assert all(image.prediction or image.reason for image in reading.images), path.name
            reports = [each for each in archive.instances if each.study_instance_uid == uid]
            assert reports, path.name
        assert node.spool.agenda.tasks("parked") == []
        assert echoscu(node.port)


def _as_new_study(path: Path, folder: Path) -> Path:
    """Give a file identifiers of its own: some of these files share one SOP Instance UID."""
    dataset = dcmread(path, force=True)
    dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = (generate_uid() for _ in range(3))
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, _ = dataset.original_encoding
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1"
    out = folder / path.name
    dataset.save_as(out, enforce_file_format=True)
    return out
