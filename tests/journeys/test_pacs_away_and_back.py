"""A PACS that is away, slow, or strict: its results wait for it, and no other destination waits with them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage

from node.archive import Archive
from node.durable import key_of
from tests.acceptor import Acceptor
from tests.journeys.films import as_new_study, file_of
from tests.peers import HOST, Orthanc, StoreSCP, free_port, require_peer, storescu, wait_until
from tests.running import AE_TITLE, RunningNode, cxr_node
from tests.scp import raw_server
from tests.validators import dciodvfy_errors

pytestmark = [pytest.mark.peers, pytest.mark.slow]


def destination(name: str, ae_title: str, port: int, **more: object) -> dict[str, object]:
    return {"name": name, "ae_title": ae_title, "host": HOST, "port": port, **more}


def test_one_pacs_that_is_down_delays_no_other_and_gets_its_results_when_it_is_back(tmp_path: Path) -> None:
    port = free_port()
    with Archive(tmp_path / "up", "UP") as up:
        away = destination("away", "AWAY", port)
        with RunningNode(tmp_path / "node", [away, destination("up", "UP", up.port)]) as node:
            films = [as_new_study("01-normal-adult") for _ in range(3)]
            for film in films:
                assert storescu(node.port, [file_of(film, tmp_path)]).returncode == 0
            for film in films:
                node.wait_until_delivered(film.StudyInstanceUID, "up")
            assert not any(node.delivered(film.StudyInstanceUID, "away") for film in films)
            with Archive(tmp_path / "away", "AWAY", port=port) as back:
                for film in films:
                    node.wait_until_delivered(film.StudyInstanceUID, "away")
                assert len(back.instances) == len(up.instances) == 6


def accept(connection: socket.socket) -> None:
    Acceptor(connection).accept()


def test_two_pacs_that_hang_delay_no_other(tmp_path: Path) -> None:
    """One takes the connection and says nothing, one accepts the association and never answers a C-STORE."""
    with (
        Archive(tmp_path / "up", "UP") as up,
        raw_server(lambda connection: None) as mute,
        raw_server(accept) as deaf,
    ):
        hanging = [destination("mute", "MUTE", mute), destination("deaf", "DEAF", deaf)]
        with RunningNode(tmp_path / "node", [*hanging, destination("up", "UP", up.port)]) as node:
            node.wait_until_working()
            for _ in range(3):
                film = as_new_study("01-normal-adult")
                assert storescu(node.port, [file_of(film, tmp_path)]).returncode == 0
                # Either hangs for 30 s at each attempt; reading and delivering a study takes one or two.
                node.wait_until_delivered(film.StudyInstanceUID, "up", within_s=25)
                assert not any(node.delivered(film.StudyInstanceUID, each) for each in ("mute", "deaf"))
            assert len(up.instances) == 6
            assert node.events("task.parked") == []


def test_a_pacs_that_does_not_know_the_node_is_named_and_retry_delivers_once_it_does(tmp_path: Path) -> None:
    require_peer("storescp")
    refusing = StoreSCP(tmp_path / "refusing", options=["--refuse"])
    with refusing, RunningNode(tmp_path / "node", [destination("pacs", "STORESCP", refusing.port)]) as node:
        film = as_new_study("01-normal-adult")
        assert storescu(node.port, [file_of(film, tmp_path)]).returncode == 0
        wait_until(lambda: node.events("delivery.postponed") or node.events("task.parked"), 120, "a refusal")
        refusing.stop()
        with StoreSCP(tmp_path / "taking") as taking:
            text = node.config.read_text().replace(str(refusing.port), str(taking.port))
            node.stop()
            node.config.write_text(text)
            node.start()
            assert cxr_node("retry", "--config", node.config).returncode == 0
            node.wait_until_delivered(film.StudyInstanceUID)
            assert len(taking.files()) == 2


def test_a_result_counts_as_delivered_only_once_orthanc_has_committed_to_it(tmp_path: Path) -> None:
    require_peer("orthanc")
    with Orthanc(tmp_path / "pacs") as pacs:
        to_pacs = destination("pacs", pacs.ae_title, pacs.port, commitment=True)
        with RunningNode(tmp_path / "node", [to_pacs]) as node:
            film = as_new_study("01-normal-adult")
            assert storescu(node.port, [file_of(film, tmp_path)]).returncode == 0
            study = key_of(film.StudyInstanceUID)
            wait_until(lambda: "committing" in _states(node, study), 120, "a commitment asked for")
            # Orthanc reports to the modality it knows by the node's AE title: before that nothing is delivered.
            assert not node.delivered(film.StudyInstanceUID)
            pacs.add_modality("node", AE_TITLE, HOST, node.port)
            assert cxr_node("retry", "--config", node.config).returncode == 0
            node.wait_until_delivered(film.StudyInstanceUID)
            (name,) = [generation.name for generation in node.spool.generations(study)]
            entry = node.spool.outbox.delivery("pacs", study, name)
            assert entry is not None
            assert entry["committed_at"]


def test_the_air_profile_sends_a_valid_tid_1500_report_and_the_picture(tmp_path: Path) -> None:
    with (
        Archive(tmp_path / "archive", "AIR") as archive,
        RunningNode(tmp_path / "node", [destination("pacs", "AIR", archive.port, profile="air")]) as node,
    ):
        film = as_new_study("05-tuberculosis-adult")
        assert storescu(node.port, [file_of(film, tmp_path)]).returncode == 0
        node.wait_until_delivered(film.StudyInstanceUID)
        classes = {each.sop_class_uid for each in archive.instances}
        assert classes == {Comprehensive3DSRStorage, SecondaryCaptureImageStorage}
        for each in archive.instances:
            assert dciodvfy_errors(each.path) == []
            dataset = dcmread(each.path)
            if dataset.Modality == "SR":
                assert dataset.ContentTemplateSequence[0].TemplateIdentifier == "1500"


def _states(node: RunningNode, study: str) -> list[str]:
    spool = node.spool
    if not spool.study_folder(study).exists():
        return []
    entries = [spool.outbox.delivery("pacs", study, each.name) for each in spool.generations(study)]
    return [entry["state"] for entry in entries if entry]
