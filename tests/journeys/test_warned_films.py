"""A film that is turned, and a picture that is none: what comes back says so, from the running node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from node import bundle as bundles
from node import codes
from node.archive import Archive
from node.pixels import Plane
from node.report.page import answer_lines
from tests.bundles import film_check, golden_planes, variant
from tests.films import dx_film, file_bytes
from tests.peers import HOST
from tests.running import RunningNode, cxr_node

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with Archive(tmp_path_factory.mktemp("archive"), "PACS") as running:
        yield running


@pytest.fixture(scope="module")
def node(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    folder = tmp_path_factory.mktemp("node")
    bundle = variant(folder / "bundle", files={bundles.FILM_CHECK: film_check()})
    to_archive = {"name": "pacs", "ae_title": "PACS", "host": HOST, "port": archive.port}
    with RunningNode(folder, [to_archive], {"model": {"bundle": str(bundle.folder)}}) as running:
        running.wait_until_working()
        yield running


def results(node: RunningNode, archive: Archive, plane: Plane, folder: Path) -> dict[str, Dataset]:
    """Send a film as a study of its own; return what comes back, by modality."""
    uids = {name: generate_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")}
    path = folder / "film.dcm"
    path.write_bytes(file_bytes(dx_film(np.ascontiguousarray(plane), **uids)))
    assert cxr_node("send", path, "--config", node.config).returncode == 0
    node.wait_until_delivered(uids["StudyInstanceUID"])
    stored = (dcmread(instance.path) for instance in archive.instances)
    return {each.Modality: each for each in stored if each.StudyInstanceUID == uids["StudyInstanceUID"]}


def coded(report: Dataset, name: str) -> list[str]:
    """The values of the codes of this name that stand in a section."""
    items = (item for section in report.ContentSequence for item in section.get("ContentSequence", ()))
    return [
        str(item.ConceptCodeSequence[0].CodeValue)
        for item in items
        if item.ValueType == "CODE" and item.ConceptNameCodeSequence[0].CodeValue == name
    ]


def test_a_turned_film_comes_back_with_a_warning_right_below_an_answer_that_is_not_negative(
    node: RunningNode, archive: Archive, tmp_path: Path
) -> None:
    found = results(node, archive, np.rot90(golden_planes()[0]), tmp_path)
    lines = answer_lines(found["SR"])
    assert not lines[0].startswith("NOT FLAGGED")
    # A turned film may look unlike the training films, too; what weighs more is said first.
    assert lines[1].startswith("WARNING - image 1: looks turned")
    assert coded(found["SR"], codes.IMAGE_WARNING.value)[0] == "LOOKS_TURNED"
    assert "%" not in found["SR"].SeriesDescription and "%" not in found["OT"].SeriesDescription


def test_a_picture_that_is_no_film_comes_back_as_not_analysed(
    node: RunningNode, archive: Archive, tmp_path: Path
) -> None:
    found = results(node, archive, np.random.default_rng(0).random((300, 300), np.float32), tmp_path)
    lines = answer_lines(found["SR"])
    assert lines[0].startswith("NOT ANALYSED")
    assert "does not look like a frontal chest film" in lines[1]
    assert coded(found["SR"], codes.REASON_NOT_READ.value) == ["NOT_A_CHEST_FILM"]
    assert "OT" not in found
