"""A whole node tells a real HTTP server of an urgent study and of what is wrong, and names no patient."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from node.archive import Archive
from node.durable import key_of
from tests.inboxes import hook
from tests.journeys.films import as_new_study, file_of
from tests.peers import HOST, storescu, wait_until
from tests.running import RunningNode

pytestmark = [pytest.mark.peers, pytest.mark.slow, pytest.mark.timeout(600)]


def test_an_urgent_study_is_told_once_and_so_is_one_that_was_parked(tmp_path: Path) -> None:
    patient = {"PatientName": "Recognizable^Rosalind", "PatientID": "MRN-4711-XYZ", "AccessionNumber": "ACC-90210"}
    film = as_new_study("05-tuberculosis-adult", **patient)
    one = as_new_study("01-normal-adult", **patient)
    another = as_new_study(
        "01-normal-adult", **patient | {"PatientID": "MRN-0815"}, StudyInstanceUID=one.StudyInstanceUID
    )
    with Archive(tmp_path / "archive", "PACS") as archive, hook() as kept:
        pacs = {"name": "pacs", "ae_title": "PACS", "host": HOST, "port": archive.port}
        receiver = {"name": "oncall", "webhook": {"url": kept.url()}}
        node = RunningNode(tmp_path / "node", [pacs], {"notify": [receiver]})
        with node:
            node.wait_until_working()
            assert storescu(node.port, [file_of(each, tmp_path) for each in (film, one, another)]).returncode == 0
            node.wait_until_delivered(film.StudyInstanceUID)
            wait_until(lambda: {"study", "faults"} <= {message["kind"] for message in told(kept)}, 120, "both messages")
        messages = told(kept)
    studies = [message for message in messages if message["kind"] == "study"]
    assert [message["study"] for message in studies] == [key_of(film.StudyInstanceUID)]
    assert studies[0]["answer"] == "urgent"
    faults = [fault["what"] for message in messages if message["kind"] == "faults" for fault in message["faults"]]
    assert faults == ["Waiting for a person: 1 parked."], "two patients in one study"
    everything = json.dumps(messages)
    for value in (*patient.values(), "Rosalind", film.StudyInstanceUID, film.SOPInstanceUID):
        assert value not in everything
    assert all("not for diagnosis" in message["notice"] for message in messages)


def told(kept: Any) -> list[dict[str, Any]]:
    return [json.loads(body) for _, _, body in kept.requests]
