"""What was refused is kept for a person, with the reason and without a patient, and never more of it than there is room for."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from node import log, quarantine
from node.cli import app
from node.config import Settings
from node.config import Spool as SpoolSection
from node.durable import read_json, write_json
from node.quarantine import COUNT_LIMIT, KEPT_S, Quarantine
from node.spool import Spool
from node.status import snapshot
from tests.radiographs import PATIENT, encoded, radiograph
from tests.senders import associated, bring, send
from tests.spools import no_space


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool")


def held(spool, limit_bytes=1 << 20):
    return Quarantine(spool.folder / "quarantine", limit_bytes)


def refuse(spool, where, size=1000, reason="why"):
    file = spool.incoming()
    file.write(bytes(size))
    try:
        where.keep(file, size, "PACS", "127.0.0.1", "CR", "0xC210", reason)
    finally:
        file.discard()


def names(spool):
    return sorted(path.name for path in (spool.folder / "quarantine").glob("*"))


# What comes in


def test_a_malformed_instance_is_kept_as_it_came_with_the_reason_and_without_a_patient(node):
    data = encoded(radiograph(SOPInstanceUID="1.2.3.4"))[:-1]
    with associated(node.port) as association:
        assert send(association, data, "1.2.3.4").Status == 0xC210
    (entry,) = held(node.spool).entries()
    assert (entry.calling, entry.address, entry.status, entry.bytes) == ("MODALITY", "127.0.0.1", "0xC210", len(data))
    assert entry.sop_class == "Computed Radiography Image Storage"
    assert "overruns its place" in entry.reason
    said, kept = (node.spool.folder / "quarantine" / f"{entry.name}.{suffix}" for suffix in ("json", "dcm"))
    assert kept.read_bytes().endswith(data)
    assert not any(value in said.read_text() for value in (*PATIENT.values(), "1.2.3.4"))
    assert {oct(path.stat().st_mode & 0o777) for path in (said, kept)} == {"0o600"}
    assert oct(said.parent.stat().st_mode & 0o777) == "0o700"
    assert list((node.spool.folder / "incoming").iterdir()) == []


def test_another_instance_than_announced_is_kept(node):
    with associated(node.port) as association:
        assert send(association, encoded(radiograph(SOPInstanceUID="1.2.3.5")), "1.2.3.4").Status == 0xA900
    assert [entry.status for entry in held(node.spool).entries()] == ["0xA900"]


def test_other_content_of_a_held_uid_raises_an_alarm_is_kept_and_is_seen_on_the_status(node, monkeypatch):
    alarms = []
    monkeypatch.setattr(log, "repeated", lambda name, kind, **fields: alarms.append((name, fields["reason"])))
    assert bring(node.port, radiograph(SOPInstanceUID="1.2.3.4")) == [0x0000]
    assert bring(node.port, radiograph(SOPInstanceUID="1.2.3.4", Rows=4)) == [0xC210]
    reason = "SOP Instance UID is held with other content"
    assert ("instance.refused", reason) in alarms
    (entry,) = held(node.spool).entries()
    assert entry.reason == reason
    assert dcmread(node.spool.folder / "quarantine" / f"{entry.name}.dcm").Rows == 4
    state = snapshot(Settings(spool=SpoolSection(folder=node.spool.folder)))
    assert [each["reason"] for each in state["quarantine"]["entries"]] == [reason]
    assert any(reason in trouble["what"] for trouble in state["troubles"])
    assert node.receiver.tally()["refused"] == {"0xC210": 1}


def test_what_was_taken_and_what_there_was_no_room_for_is_not_kept(node):
    assert bring(node.port, radiograph(), radiograph()) == [0x0000, 0x0000]
    with associated(node.port) as association:
        node.spool._reserve_bytes = 1 << 60
        assert send(association, encoded(radiograph(SOPInstanceUID="1.2.3.4"))[:-1], "1.2.3.4").Status == 0xA700
    assert held(node.spool).entries() == []


def test_an_instance_that_the_quarantine_does_not_take_is_refused_all_the_same(node, monkeypatch):
    with associated(node.port) as association:
        monkeypatch.setattr(quarantine, "write_json", no_space)
        answer = send(association, encoded(radiograph(SOPInstanceUID="1.2.3.4"))[:-1], "1.2.3.4")
    assert answer.Status == 0xC210
    assert names(node.spool) == []


# Its bounds


def test_the_newest_are_kept_and_no_more_than_so_many(spool, no_fsync, monkeypatch):
    monkeypatch.setattr(quarantine, "COUNT_LIMIT", 3)
    for number in range(5):
        refuse(spool, held(spool), reason=f"reason {number}")
        _age(spool, timedelta(minutes=1))
    assert [entry.reason for entry in held(spool).entries()] == ["reason 4", "reason 3", "reason 2"]
    assert len(names(spool)) == 6
    assert COUNT_LIMIT >= 100


def test_no_more_bytes_than_the_limit_are_kept_and_none_of_one_that_would_push_out_the_others(spool, no_fsync):
    for size in (200, 200, 200, 200, 250, 251):
        refuse(spool, held(spool, 1000), size)
        _age(spool, timedelta(minutes=1))
    assert [entry.bytes for entry in held(spool).entries()] == [250, 200, 200, 200]


def test_a_refusal_costs_no_look_at_the_reasons_of_those_before_it(spool, no_fsync, monkeypatch):
    refuse(spool, held(spool), reason="before")
    with monkeypatch.context() as watched:
        watched.setattr(quarantine, "read_json", lambda path: pytest.fail(f"{path.name} was read"))
        refuse(spool, held(spool), reason="new")
    assert {entry.reason for entry in held(spool).entries()} == {"before", "new"}


def test_a_reason_whose_instance_is_gone_goes_too(spool):
    refuse(spool, held(spool))
    next((spool.folder / "quarantine").glob("*.dcm")).unlink()
    held(spool).prune()
    assert names(spool) == []


def test_nothing_is_kept_where_the_configuration_grants_no_room(spool):
    refuse(spool, held(spool, 0))
    assert names(spool) == []


def test_what_was_kept_for_long_goes_and_so_does_what_has_no_reason(spool):
    refuse(spool, held(spool))
    _age(spool, timedelta(seconds=KEPT_S + 1))
    refuse(spool, held(spool), reason="new")
    (spool.folder / "quarantine" / "20200101-000000-0.dcm").write_bytes(b"left by a stopped receiver")
    held(spool).prune()
    assert [entry.reason for entry in held(spool).entries()] == ["new"]
    assert len(names(spool)) == 2


def test_what_a_foreign_hand_spoilt_is_no_reason_to_keep_no_more(spool):
    refuse(spool, held(spool))
    next((spool.folder / "quarantine").glob("*.json")).write_text("{")
    (spool.folder / "quarantine" / "notes.json").write_text("[1]")
    refuse(spool, held(spool), reason="new")
    held(spool).prune()
    assert [entry.reason for entry in held(spool).entries()] == ["new"]
    assert len(names(spool)) == 3, "the new one, and the notes that are not ours"


def test_a_reason_that_names_another_file_than_its_own_deletes_nothing(spool):
    refuse(spool, held(spool))
    (said,) = (spool.folder / "quarantine").glob("*.json")
    other = spool.folder / "other.dcm"
    other.write_bytes(b"not of the quarantine")
    said.with_name("20200101-000000-0.json").write_text(json.dumps(read_json(said) | {"name": "../other"}))
    held(spool).prune()
    assert other.exists()
    assert [entry.name for entry in held(spool).entries()] == [said.stem]


def _age(spool, by):
    """Have everything in the quarantine look as if it had come earlier."""
    folder = spool.folder / "quarantine"
    for path in folder.glob("*.json"):
        form = read_json(path)
        moment = datetime.fromisoformat(form["at"]) - by
        form |= {"at": moment.isoformat(), "name": f"{moment.astimezone(UTC):%Y%m%d-%H%M%S}-{path.stem[-8:]}"}
        path.with_suffix(".dcm").rename(folder / f"{form['name']}.dcm")
        path.unlink()
        write_json(folder / f"{form['name']}.json", form)


# The operator's look at it


def test_the_operator_lists_copies_and_drops(spool, tmp_path):
    config = tmp_path / "node.yaml"
    config.write_text(json.dumps({"spool": {"folder": str(spool.folder)}}))

    def run(*arguments):
        result = CliRunner().invoke(app, ["quarantine", *arguments, "--config", str(config)])
        return result.exit_code, result.output

    assert run() == (0, "nothing is in the quarantine\n")
    refuse(spool, held(spool), reason="the data set is empty")
    (entry,) = held(spool).entries()
    code, said = run()
    assert (code, entry.name in said, "0xC210 the data set is empty" in said) == (0, True, True)
    assert run("no-such-name")[0] == 1
    before = os.umask(0)
    try:
        assert run(entry.name, "--export", str(tmp_path / "out"))[0] == 0
    finally:
        os.umask(before)
    copy = tmp_path / "out" / f"{entry.name}.dcm"
    assert (copy.stat().st_size, oct(copy.stat().st_mode & 0o777)) == (1000, "0o600")
    assert run(entry.name, "--export", str(tmp_path / "out"), "--drop")[0] == 1
    assert [kept.name for kept in held(spool).entries()] == [entry.name], "what was not copied is not deleted"
    assert run("--drop")[0] == 0
    assert names(spool) == []
