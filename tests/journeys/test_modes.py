"""A whole node in shadow and supervised mode beside a PACS: what is not to be there is not, and what is released is there once."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.archive import Archive
from node.durable import key_of
from node.spool import Unsent
from tests.journeys.films import as_new_study, file_of
from tests.peers import HOST, storescu, wait_until
from tests.running import RunningNode, cxr_node

pytestmark = [pytest.mark.peers, pytest.mark.slow, pytest.mark.timeout(600)]


def destination(archive: Archive) -> dict[str, object]:
    return {"name": "pacs", "ae_title": "PACS", "host": HOST, "port": archive.port}


def change_mode(node: RunningNode, mode: str) -> None:
    text, changed = re.subn("^mode: .*$", f"mode: {mode}", node.config.read_text(), flags=re.MULTILINE)
    assert changed == 1
    node.config.write_text(text)


def send(node: RunningNode, film: Dataset, folder: Path) -> str:
    assert storescu(node.port, [file_of(film, folder)]).returncode == 0
    return key_of(film.StudyInstanceUID)


def reports(archive: Archive, film: Dataset) -> list[Dataset]:
    held = [each for each in archive.instances if each.study_instance_uid == film.StudyInstanceUID]
    return [header for each in held if (header := dcmread(each.path)).Modality == "SR"]


def test_a_node_sends_nothing_in_shadow_mode_and_later_what_a_person_releases_and_no_more(tmp_path: Path) -> None:
    shadowed, released, withheld = (as_new_study("05-tuberculosis-adult") for _ in range(3))
    with Archive(tmp_path / "archive", "PACS") as archive:
        node = RunningNode(tmp_path / "node", [destination(archive)], {"mode": "shadow"})
        with node:
            node.wait_until_working()
            in_shadow = send(node, shadowed, tmp_path)
            wait_until(lambda: _why_unsent(node, in_shadow) is Unsent.SHADOW, 120, "the study read")
            assert "shadow mode: nothing is sent" in cxr_node("status", "--config", node.config).stdout
        change_mode(node, "supervised")
        with node:
            node.wait_until_working()
            keys = [send(node, film, tmp_path) for film in (released, withheld)]
            wait_until(
                lambda: len(node.spool.agenda.tasks("unreleased")) == 2, 120, "two studies that wait for a person"
            )
            node.kill()  # what waits outlives a power cut
        change_mode(node, "live")
        with node:
            node.wait_until_working()
            told = json.loads(cxr_node("status", "--json", "--config", node.config).stdout)
            assert {entry["study"] for entry in told["unreleased"]["entries"]} == set(keys)
            assert len(archive.instances) == 0
            assert cxr_node("release", keys[0][:12], "--config", node.config).returncode == 0
            assert cxr_node("withhold", keys[1], "--config", node.config).returncode == 0
            again = cxr_node("release", in_shadow, "--config", node.config)
            assert again.returncode == 1 and "not to be sent (shadow)" in again.stderr
            node.wait_until_delivered(released.StudyInstanceUID)
        assert [len(reports(archive, film)) for film in (shadowed, released, withheld)] == [0, 1, 0]
        out = tmp_path / "answers.csv"
        assert cxr_node("export", "--out", out, "--config", node.config).returncode == 0
        became = {row["study"]: row["results"] for row in csv.DictReader(out.open())}
        assert became == {in_shadow: "shadow", keys[0]: "delivered", keys[1]: "withheld"}


def test_a_late_image_of_a_study_that_waits_makes_one_report_that_names_none_before_it(tmp_path: Path) -> None:
    first = as_new_study("05-tuberculosis-adult")
    late = as_new_study("05-tuberculosis-adult", StudyInstanceUID=first.StudyInstanceUID)
    later = as_new_study("05-tuberculosis-adult", StudyInstanceUID=first.StudyInstanceUID)
    key = key_of(first.StudyInstanceUID)
    with Archive(tmp_path / "archive", "PACS") as archive:
        node = RunningNode(tmp_path / "node", [destination(archive)], {"mode": "supervised"})
        with node:
            node.wait_until_working()
            for number, film in enumerate((first, late), start=1):
                send(node, film, tmp_path)
                wait_until(
                    lambda number=number: _waits(node, key) == number, 120, f"reading {number} to wait for a person"
                )
            assert len(node.spool.agenda.tasks("unreleased")) == 1
            assert cxr_node("release", key, "--config", node.config).returncode == 0
            wait_until(lambda: len(reports(archive, first)) == 1, 60, "the report")
            send(node, later, tmp_path)
            wait_until(lambda: _waits(node, key) == 3, 120, "reading 3 to wait for a person")
            (sent,) = reports(archive, first)
            assert "PredecessorDocumentsSequence" not in sent, "the one before was never sent"
            assert cxr_node("release", key, "--config", node.config).returncode == 0
            wait_until(lambda: len(reports(archive, first)) == 2, 60, "the report that replaces it")
        (newer,) = (report for report in reports(archive, first) if report.SOPInstanceUID != sent.SOPInstanceUID)
        (replaced,) = newer.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
        assert replaced.ReferencedSOPInstanceUID == sent.SOPInstanceUID


def _why_unsent(node: RunningNode, key: str) -> Unsent | None:
    generations = node.spool.generations(key)
    return node.spool.unsent(key, generations[-1].name) if generations else None


def _waits(node: RunningNode, key: str) -> int:
    """The number of the generation of a study that waits for a person, 0 where none does."""
    tasks = [task for task in node.spool.agenda.tasks("unreleased") if task.study_key == key]
    return max((node.spool.generation(key, task.generation).number for task in tasks), default=0)
