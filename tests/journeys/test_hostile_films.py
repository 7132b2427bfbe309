"""Films and networks that never end: the study is named, the ones before and after it are read."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from node.archive import Archive
from node.durable import key_of
from node.send import send
from node.spool import Kind, Spool
from tests.bombs import large_film, slow_film
from tests.films import chest, dx_film, file_bytes
from tests.journeys.films import as_new_study, file_of
from tests.peers import HOST, wait_until
from tests.running import AE_TITLE, BUNDLE, RunningNode
from tests.test_darkroom import children
from tests.test_service import SUPERVISE, is_alive, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
__all__ = ["running"]

# A worker whose networks never answer for a film of this width, in place of TensorFlow.
HANGS_AT = 1000
HANGING_READER = f"""
import sys, time, types
sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})
def read_prints(self, films, refuse=True):
    from tests.readings import NORMAL
    if any(film.picture.shape[1] == {HANGS_AT} for film in films):
        time.sleep(10_000)
    return [NORMAL] * len(films)
fake = types.ModuleType("node.infer")
fake.Reader = type("Reader", (), {{"__init__": lambda *_: None, "device": "cpu", "at_once": 4, "read_prints": read_prints}})
sys.modules["node.infer"] = fake
"""


def held(archive: Archive, uid: str, modality: str) -> list[Dataset]:
    found = [dcmread(each.path) for each in archive.instances if each.study_instance_uid == uid]
    return [instance for instance in found if instance.Modality == modality]


@pytest.mark.peers
def test_films_that_hang_or_swell_between_two_good_ones_get_a_reason_and_the_others_their_reports(
    tmp_path: Path,
) -> None:
    hostile = [make(StudyInstanceUID=generate_uid()) for make in (slow_film, large_film)]
    films = [as_new_study("01-normal-adult"), *hostile, as_new_study("05-tuberculosis-adult")]
    first, slow, large, last = (str(film.StudyInstanceUID) for film in films)
    with Archive(tmp_path / "archive", "PACS") as archive:
        to_archive = {"name": "pacs", "ae_title": "PACS", "host": HOST, "port": archive.port}
        with RunningNode(tmp_path / "node", [to_archive], {"limits": {"film_s": 5, "film_mb": 400}}) as node:
            node.wait_until_working()
            for film in films:
                (sent,) = send([file_of(film, tmp_path)], HOST, node.port, AE_TITLE, "MODALITY")
                assert sent.stored
            for uid in (first, slow, large, last):
                node.wait_until_delivered(uid)
            assert node.spool.agenda.tasks("parked") == node.events("process.died") == []
            given_up = {(event["study"], event["reason"]) for event in node.events("film.given_up")}
        assert given_up == {(key_of(slow), "decoder: too slow"), (key_of(large), "decoder: out of memory")}
        for uid in (first, last):
            assert len(held(archive, uid, "SR")) == len(held(archive, uid, "OT")) == 1
        for uid in (slow, large):
            (report,) = held(archive, uid, "SR")
            assert "NOT ANALYSED" in report.SeriesDescription
            assert "decoding given up" in report.to_json() and held(archive, uid, "OT") == []


def put(spool: Spool, film: Dataset) -> str:
    """Put a study into the spool as the receiver would; gives its key."""
    uid = str(film.StudyInstanceUID)
    spool.take(uid, str(film.SOPInstanceUID), Kind.IMAGE, (file_bytes(film),))
    spool.settle(key_of(uid))
    return key_of(uid)


def test_a_study_at_which_the_networks_hang_twice_is_parked_and_the_others_are_read(running: Any) -> None:
    node = running(
        HANGING_READER + SUPERVISE,
        "work",
        limits={"step_s": 5},
        model={"bundle": str(BUNDLE)},
        destinations=[{"name": "pacs", "ae_title": "PACS", "host": HOST, "port": 1}],
    )
    spool = Spool(node.folder / "spool")
    hanging = put(spool, dx_film(chest(1024, HANGS_AT), StudyInstanceUID=generate_uid()))
    good = [put(spool, dx_film(StudyInstanceUID=generate_uid())) for _ in range(2)]
    wait_until(lambda: len(spool.agenda.tasks("parked")) == 1, 120, "the study being parked")
    (task,) = spool.agenda.tasks("parked")
    assert task.study_key == hanging
    assert spool.agenda.reason(task)["message"] == "the worker hung or died 2 times at this study"
    wait_until(lambda: all(spool.has_results(key, spool.generations(key)[0].name) for key in good), 60)
    hung = [line for line in node.lines() if line["event"] == "process.hung"]
    assert len(hung) == 2 and all("reading.py" in line["reason"] for line in hung)
    worker = node.pid("work")
    (developer,) = children(worker)
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not is_alive(developer), 30, "the end of the developer")
    assert node.end() == 0
