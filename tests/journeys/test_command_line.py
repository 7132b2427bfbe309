"""The operator's verbs, and what they say to mistakes: who must do what, never a traceback."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from node.archive import Archive
from node.durable import key_of
from tests.journeys.films import SAMPLES, as_new_study, file_of
from tests.peers import HOST, wait_until
from tests.running import BUNDLE, RunningNode, cxr_node

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with Archive(tmp_path_factory.mktemp("archive"), "PACS") as running:
        yield running


@pytest.fixture
def stopped(archive: Archive, tmp_path: Path) -> RunningNode:
    """A node that is configured and not started."""
    return RunningNode(tmp_path, [{"name": "pacs", "ae_title": "PACS", "host": HOST, "port": archive.port}])


def test_check_passes_on_a_good_configuration_and_replays_the_golden_cases(stopped: RunningNode) -> None:
    done = cxr_node("check", "--config", stopped.config)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "golden cases" in done.stdout
    assert "BAD" not in done.stdout


def test_check_names_a_destination_that_does_not_answer(tmp_path: Path) -> None:
    node = RunningNode(tmp_path, [{"name": "far", "ae_title": "FAR", "host": HOST, "port": 1}])
    done = cxr_node("check", "--config", node.config)
    assert done.returncode == 1
    assert "far" in done.stdout


@pytest.mark.parametrize("damage", ["tampered", "missing"])
@pytest.mark.parametrize("verb", ["check", "serve"])
def test_a_damaged_model_is_named_and_refused(stopped: RunningNode, tmp_path: Path, verb: str, damage: str) -> None:
    copy = tmp_path / "model"
    if damage == "tampered":
        shutil.copytree(BUNDLE, copy)
        weights = next(copy.rglob("*.weights.h5"))
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    stopped.config.write_text(stopped.config.read_text().replace(str(BUNDLE), str(copy)))
    done = cxr_node(verb, "--config", stopped.config)
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert (".weights.h5" if damage == "tampered" else "bundle.yaml") in said.replace("\n", "")
    assert "Traceback" not in said


def test_a_busy_port_is_named_and_ends_the_start(stopped: RunningNode) -> None:
    with socket.socket() as holder:
        holder.bind((HOST, stopped.port))
        holder.listen()
        done = cxr_node("serve", "--config", stopped.config)
    assert done.returncode == 1
    assert f"cannot listen on {HOST}:{stopped.port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_mistakes_of_the_configuration_are_reported_with_line_and_key(tmp_path: Path) -> None:
    config = tmp_path / "bad.yaml"
    config.write_text("listen:\n  prt: 1\nstudy:\n  settle_s: soon\n")
    done = cxr_node("serve", "--config", config)
    assert done.returncode == 1
    assert f"{config}:2: listen.prt" in done.stderr
    assert f"{config}:4: study.settle_s" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_destination_is_answered_with_the_known_ones(stopped: RunningNode) -> None:
    done = cxr_node("echo", "nowhere", "--config", stopped.config)
    assert done.returncode == 1
    assert "pacs" in done.stderr


def test_echo_send_status_and_preview_on_a_running_node(stopped: RunningNode, archive: Archive, tmp_path: Path) -> None:
    film = as_new_study("01-normal-adult")
    path = file_of(film, tmp_path)
    with stopped as node:
        assert cxr_node("echo", "--config", node.config).returncode == 0
        sent = cxr_node("send", path, __file__, "--config", node.config)
        assert sent.returncode == 1, "this test file is no DICOM file"
        assert f"{path}: success" in sent.stdout
        node.wait_until_delivered(film.StudyInstanceUID)
        state = json.loads(cxr_node("status", "--config", node.config, "--json").stdout)
        assert key_of(film.StudyInstanceUID) in json.dumps(state)
        assert film.StudyInstanceUID not in json.dumps(state)
        drawn = cxr_node("preview", path, "--out", tmp_path / "seen.png", "--config", node.config)
        assert "would be read" in drawn.stdout
        assert cv2.imread(str(tmp_path / "seen.png")) is not None


def test_preview_says_why_a_film_would_not_be_read(stopped: RunningNode, tmp_path: Path) -> None:
    wedge = SAMPLES["07-step-wedge"].files[0]
    drawn = cxr_node("preview", wedge, "--out", tmp_path / "wedge.png", "--config", stopped.config)
    assert "NOT_CHEST" in drawn.stdout


def test_a_role_that_is_killed_is_started_again(stopped: RunningNode) -> None:
    import os
    import signal

    from node.durable import read_json

    with stopped as node:
        receiver = node.folder / "spool" / "run" / "receive.json"
        first = read_json(receiver)["pid"]
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: receiver.exists() and read_json(receiver)["pid"] != first, what="another receiver")
        wait_until(node.ready, what="the node answering again")
