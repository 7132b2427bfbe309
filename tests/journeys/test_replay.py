"""A study that a person has read anew, by the page of a whole node: the PACS gets a second report, which names the first."""

from __future__ import annotations

import re
from pathlib import Path
from unittest.mock import patch

import httpx
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node import password
from node.archive import Archive
from node.durable import key_of
from tests.journeys.films import as_new_study, file_of
from tests.pages import PASSWORD
from tests.peers import HOST, storescu, wait_until
from tests.running import RunningNode, cxr_node

pytestmark = [pytest.mark.peers, pytest.mark.slow, pytest.mark.timeout(600)]


def reports(archive: Archive) -> list[Dataset]:
    headers = [dcmread(each.path, stop_before_pixels=True) for each in archive.instances]
    return sorted((each for each in headers if each.Modality == "SR"), key=lambda each: str(each.ContentTime))


def test_a_study_is_read_anew_by_its_button_and_by_the_command(tmp_path: Path) -> None:
    film = as_new_study("05-tuberculosis-adult")
    key = key_of(film.StudyInstanceUID)
    with Archive(tmp_path / "archive", "PACS") as archive:
        destination = {"name": "pacs", "ae_title": "PACS", "host": HOST, "port": archive.port}
        node = RunningNode(tmp_path / "node", [destination], {"web": {"password_file": "web.password"}})
        with patch.multiple(password, LOG2_N=10, P=1):
            password.write(node.folder / "web.password", PASSWORD)
        with node, httpx.Client(base_url=f"http://{HOST}:{node.web_port}", trust_env=False, timeout=60) as browser:
            node.wait_until_working()
            assert storescu(node.port, [file_of(film, tmp_path)]).returncode == 0
            node.wait_until_delivered(film.StudyInstanceUID)
            assert browser.post("/login", data={"password": PASSWORD}).status_code == 303
            shown = browser.get(f"/studies/{key}").text
            assert "URGENT: Tuberculosis" in shown
            (token, *_) = re.findall(r'name="form_token" value="([^"]+)"', shown)
            assert browser.post(f"/studies/{key}/replay", data={"form_token": token}).status_code == 303
            node.wait_until_delivered(film.StudyInstanceUID, generations=2)
            for name in ("film.png", "picture.png?large"):
                assert browser.get(f"/studies/{key}/{name}").headers["content-type"] == "image/png"
            assert cxr_node("replay", key[:12], "--config", node.config).returncode == 0
            node.wait_until_delivered(film.StudyInstanceUID, generations=3)
            (line,) = node.events("order.given")
            assert (line["verb"], line["study"], line["role"]) == ("replay", key, "web")
        wait_until(lambda: len(reports(archive)) == 3, 30, "three reports")
        first, second, third = reports(archive)
        for earlier, later in ((first, second), (second, third)):
            (study,) = later.PredecessorDocumentsSequence
            (series,) = study.ReferencedSeriesSequence
            (named,) = series.ReferencedSOPSequence
            assert named.ReferencedSOPInstanceUID == earlier.SOPInstanceUID
            assert later.SeriesInstanceUID != earlier.SeriesInstanceUID
        assert "PredecessorDocumentsSequence" not in first
