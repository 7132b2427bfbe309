"""kill -9 of the whole node at any moment, then a restart: every study gets exactly one set of results."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from pydicom import dcmread

from node.archive import Archive
from node.durable import key_of
from tests.journeys.films import as_new_study, file_of
from tests.peers import HOST, storescu, wait_until
from tests.running import RunningNode

pytestmark = [pytest.mark.peers, pytest.mark.slow, pytest.mark.timeout(600)]

# After this many seconds from the last acknowledgment: before settling, while reading, composing and delivering.
KILL_AFTER_S = (0.0, 0.35, 0.45, 0.6, 1.0)


def test_a_node_killed_in_any_phase_gives_each_study_exactly_one_set_of_results(tmp_path: Path) -> None:
    chosen = random.Random(7)
    with Archive(tmp_path / "archive", "PACS") as archive:
        to_archive = {"name": "pacs", "ae_title": "PACS", "host": HOST, "port": archive.port}
        node = RunningNode(tmp_path / "node", [to_archive])
        uids = []
        for after_s in KILL_AFTER_S:
            node.start()
            node.wait_until_working()
            films = [as_new_study(chosen.choice(("01-normal-adult", "05-tuberculosis-adult"))) for _ in range(2)]
            for film in films:
                assert storescu(node.port, [file_of(film, tmp_path)]).returncode == 0
                uids.append(film.StudyInstanceUID)
            time.sleep(after_s)
            node.kill()
        with node:
            for uid in uids:
                node.wait_until_delivered(uid)
            wait_until(lambda: not node.spool.agenda.tasks("open"), what="all tasks finished")
            assert node.spool.agenda.tasks("parked") == []
        for uid in uids:
            held = [dcmread(each.path) for each in archive.instances if each.study_instance_uid == uid]
            assert sorted(instance.Modality for instance in held) == ["OT", "SR"], "one report and one picture"
            assert len(node.spool.generations(key_of(uid))) == 1
