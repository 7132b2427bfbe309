"""Who is to be told what is noted durably, once a study and once a fault, and holds no patient unless that is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from pydicom import dcmread

from node import notices
from node.agenda import Task
from node.config import Settings, Web
from node.config_notify import Email, Receiver, Webhook
from node.durable import write_json
from node.journey import Journey
from node.notices import Box, Notice, tell_of_study
from node.notify import faults
from node.notify.faults import FaultWatch
from node.notify.words import body, subject
from node.product import NOTICE
from node.study import Triage
from tests.filled import PATIENT, FilledSpool, role, settings_for

HOOK = Webhook(url="https://hooks.example/cxr")
MAIL = Email(host="mail.example", sender="a@x.example", recipients=("b@x.example",))
EVERYTHING = ("urgent", "flagged", "uncertain", "not_flagged", "not_analysed", "unreleased", "faults")


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Settings]:
    def made(*receivers: Receiver, **more: Any) -> Settings:
        return settings_for(tmp_path, notify=receivers or (Receiver(name="oncall", webhook=HOOK),), **more)

    return made


@pytest.fixture
def filled(tmp_path: Path) -> FilledSpool:
    return FilledSpool(tmp_path / "spool")


def messages(filled: FilledSpool, receiver: str = "oncall") -> list[dict[str, Any]]:
    return [notice.message for notice in Box(filled.spool.folder).waiting(receiver)]


def posted(filled: FilledSpool, settings: Settings, triage: Triage) -> Task:
    """Have the worker post the results of a study."""
    task = filled.read(triage)
    Journey(settings, filled.spool, cast(Any, None), cast(Any, None), {}).post(task)
    return task


# Studies


def test_of_an_urgent_study_a_message_is_noted_as_its_results_are_posted(
    settings: Callable[..., Settings], filled: FilledSpool
) -> None:
    task = posted(filled, settings(web=Web(port=0, url="https://cxr.example")), Triage.URGENT)
    (message,) = messages(filled)
    assert (message["kind"], message["summary"], message["study"]) == ("study", "URGENT: Tuberculosis", task.study_key)
    assert (message["node"], message["page"]) == ("CXRTRIAGE", "https://cxr.example")
    assert NOTICE in message["notice"]


def test_a_message_leads_to_the_page_of_the_study_where_people_can_log_in(
    settings: Callable[..., Settings], filled: FilledSpool, tmp_path: Path
) -> None:
    web = Web(port=0, url="https://cxr.example", password_file=tmp_path / "password")
    task = posted(filled, settings(web=web), Triage.URGENT)
    (message,) = messages(filled)
    assert message["page"] == f"https://cxr.example/studies/{task.study_key}"


@pytest.mark.parametrize("triage", list(Triage))
def test_each_receiver_is_told_of_the_answers_it_wants_and_no_others(
    settings: Callable[..., Settings], filled: FilledSpool, triage: Triage
) -> None:
    everything, usual = Receiver(name="all", webhook=HOOK, about=EVERYTHING), Receiver(name="usual", email=MAIL)
    none = Receiver(name="faults", webhook=HOOK, about=("faults",))
    posted(filled, settings(everything, usual, none), triage)
    assert [len(messages(filled, name)) for name in ("all", "usual", "faults")] == [
        1,
        triage in (Triage.URGENT, Triage.FLAGGED),
        0,
    ]


def test_a_stage_that_is_repeated_notes_no_second_message(
    settings: Callable[..., Settings], filled: FilledSpool
) -> None:
    task = posted(filled, settings(), Triage.URGENT)
    box = Box(filled.spool.folder)
    for notice in box.waiting("oncall"):
        box.sent(notice)
    Journey(settings(), filled.spool, cast(Any, None), cast(Any, None), {}).post(task)
    assert messages(filled) == []


def test_a_stop_between_message_and_its_note_leaves_a_message_of_the_same_identifier(
    settings: Callable[..., Settings], filled: FilledSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = filled.read(Triage.URGENT)
    with monkeypatch.context() as patch:
        patch.setattr("node.notices.write_json", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            tell_of_study(filled.spool, settings(), task.study_key, task.generation)
    tell_of_study(filled.spool, settings(), task.study_key, task.generation)
    first = [message["id"] for message in messages(filled)]
    (filled.spool.generation_folder(task.study_key, task.generation) / "told.json").unlink()
    tell_of_study(filled.spool, settings(), task.study_key, task.generation)
    assert [message["id"] for message in messages(filled)] == first
    again = filled.read_again(task, Triage.URGENT)
    tell_of_study(filled.spool, settings(), again.study_key, again.generation)
    assert len({message["id"] for message in messages(filled)}) == 2, "a new reading is another message"


@pytest.mark.parametrize(("mode", "kinds"), [("shadow", []), ("supervised", ["unreleased"])])
def test_nobody_is_told_of_results_that_are_not_sent_but_who_is_to_release_them(
    settings: Callable[..., Settings], filled: FilledSpool, mode: str, kinds: list[str]
) -> None:
    receivers = Receiver(name="clinic", webhook=HOOK), Receiver(name="reader", email=MAIL, about=("unreleased",))
    posted(filled, settings(*receivers, mode=mode), Triage.URGENT)
    assert messages(filled, "clinic") == []
    assert [message["kind"] for message in messages(filled, "reader")] == kinds


def test_trouble_with_a_message_holds_up_no_study(
    settings: Callable[..., Settings], filled: FilledSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarms: list[str] = []
    monkeypatch.setattr("node.log.alarm", lambda name, **_: alarms.append(name))
    task = filled.read(Triage.URGENT)
    next(filled.spool.study_folder(task.study_key).glob("*.dcm")).unlink()
    plain = Receiver(name="oncall", webhook=HOOK, identifiers="plain")
    follows = Journey(settings(plain), filled.spool, cast(Any, None), cast(Any, None), {}).post(task)
    assert [follow.task.destination for follow in follows] == ["pacs", "teaching"]
    assert alarms == ["notice.failed"]


def test_no_patient_is_told_unless_that_is_asked_for(settings: Callable[..., Settings], filled: FilledSpool) -> None:
    receivers = Receiver(name="key", webhook=HOOK), Receiver(name="plain", webhook=HOOK, identifiers="plain")
    task = posted(filled, settings(*receivers), Triage.URGENT)
    (by_key,), (plain,) = messages(filled, "key"), messages(filled, "plain")
    header = dcmread(next(filled.spool.study_folder(task.study_key).glob("*.dcm")))
    told = json.dumps(by_key) + body(by_key) + subject(by_key)
    for value in (*PATIENT.values(), str(header.StudyInstanceUID), str(header.SOPInstanceUID)):
        assert value not in told
    assert plain["study_instance_uid"] == header.StudyInstanceUID
    assert plain["accession_number"] == PATIENT["AccessionNumber"]
    assert PATIENT["PatientID"] not in json.dumps(plain)
    assert f"Accession Number: {PATIENT['AccessionNumber']}" in body(plain)
    assert by_key["id"] == plain["id"]


# Faults


class Watched:
    """A fault watch with a clock held in the hand."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings, self.now_s = settings, 1000.0
        self.box = Box(settings.spool.folder)
        monkeypatch.setattr("node.notify.faults.time.monotonic", lambda: self.now_s)
        self.watch = FaultWatch(settings)

    def look(self, after_s: float = 0.0) -> list[dict[str, Any]]:
        """Look again; gives the messages since, and takes them away."""
        self.now_s += after_s
        self.watch.look()
        found = self.box.waiting("oncall")
        for notice in found:
            self.box.sent(notice)
        return [notice.message for notice in found]


@pytest.fixture
def watched(settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, filled: FilledSpool) -> Watched:
    monkeypatch.setattr(faults, "ROLES", {"receive": "no study is taken in"})
    monkeypatch.setattr("node.status._model", lambda _: {"error": None})
    return Watched(settings(), monkeypatch)


def whats(message: dict[str, Any]) -> list[str]:
    return [fault["what"] for fault in message["faults"]]


def test_a_storm_of_faults_is_one_message_that_counts_and_then_one_in_ten_minutes(
    watched: Watched, filled: FilledSpool
) -> None:
    def park(count: int) -> None:
        for _ in range(count):
            filled.spool.agenda.park(filled.settled(), "InferenceError", "why")

    with role(watched.settings.spool.folder, "receive", host="127.0.0.1", port=1):
        assert watched.look() == []
        park(3)
        (message,) = watched.look(15)
        assert whats(message) == ["Waiting for a person: 3 parked."]
        assert message["faults"][0]["count"] == 3
        park(2)
        assert watched.look(15) == [], "not again within ten minutes"
        park(1)
        (message,) = watched.look(600)
        assert (whats(message), message["faults"][0]["count"]) == (["Waiting for a person: 6 parked."], 3)
        assert "(3 times since the last message)" in body(message)
        assert watched.look(6000) == [], "what was told is told once"


def test_what_is_over_is_told_too(watched: Watched, filled: FilledSpool) -> None:
    task = filled.settled()
    with role(watched.settings.spool.folder, "receive", host="127.0.0.1", port=1):
        filled.spool.agenda.park(task, "InferenceError", "why")
        assert len(watched.look()) == 1
        filled.spool.agenda.unpark(task)
        (message,) = watched.look(600)
    assert (message["faults"], message["over"]) == ([], ["Waiting for a person: 1 parked."])
    assert "Nothing is wrong any more." in body(message)


def test_a_destination_that_is_away_for_long_a_full_disk_and_overdue_results_are_told(
    watched: Watched, filled: FilledSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with role(watched.settings.spool.folder, "receive", host="127.0.0.1", port=1):
        filled.post(filled.read(), "pacs", "waiting", hours=0.2, error="pacs cannot be reached. Start it.")
        assert watched.look() == [], "it may be back soon"
        filled.post(filled.read(), "pacs", "waiting", hours=2, error="pacs cannot be reached. Start it.")
        monkeypatch.setattr("node.disk.Room.is_short", True)
        (message,) = watched.look(15)
    assert [what.split(":")[0] for what in whats(message)] == [
        "pacs takes no results",
        "The disk is short of room, new images are refused",
    ]
    assert message["faults"][0]["do"] == "pacs cannot be reached. Start it. The node tries again by itself."


def test_a_role_that_is_gone_for_a_minute_is_told_and_one_that_was_started_again(watched: Watched) -> None:
    folder = watched.settings.spool.folder
    assert watched.look() == []
    (message,) = watched.look(61)
    assert whats(message) == ["receive does not run: no study is taken in."]
    with role(folder, "receive", host="127.0.0.1", port=1):
        (message,) = watched.look(600)
        assert message["over"] == ["receive does not run: no study is taken in."]
        for pid in (4711, 4712):
            write_json(folder / "run" / "receive.json", {"pid": pid, "since": "2026-01-01T00:00:00+00:00"})
            assert watched.look(15) == []
        (message,) = watched.look(600)
    assert whats(message) == ["receive died and was started again: was wrong and is not any more."]
    assert message["faults"][0]["count"] == 2


def test_a_role_that_takes_its_time_to_start_is_told_after_five_minutes(watched: Watched) -> None:
    with role(watched.settings.spool.folder, "receive"):
        assert watched.look() == []
        assert watched.look(120) == []
        (message,) = watched.look(200)
    assert whats(message) == ["receive does not run: no study is taken in."]


def test_after_a_restart_what_was_told_is_not_told_again(
    watched: Watched, filled: FilledSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with role(watched.settings.spool.folder, "receive", host="127.0.0.1", port=1):
        filled.spool.agenda.park(filled.settled(), "InferenceError", "why")
        assert len(watched.look()) == 1
        again = Watched(watched.settings, monkeypatch)
        assert again.look() == []
        filled.spool.agenda.park(filled.settled(), "InferenceError", "why")
        assert len(again.look()) == 1


# The box


def test_a_message_waits_until_it_is_sent_and_the_least_tried_come_first(tmp_path: Path) -> None:
    box = Box(tmp_path)

    def notice(number: int, attempts: int = 0) -> Notice:
        return Notice("oncall", {"id": f"{number:032x}", "at": f"2026-01-01T00:00:0{number}+00:00"}, attempts)

    for each in (notice(1, attempts=2), notice(3), notice(2)):
        box.put(each)
    for name in ("notes.txt", f"{9:032x}.json"):
        (tmp_path / "notices" / "oncall" / name).write_text("x")
    assert Box(tmp_path).waiting("oncall") == [notice(2), notice(3), notice(1, attempts=2)]
    box.put(notice(2, attempts=9))
    box.sent(notice(3))
    box.sent(notice(3))
    assert box.waiting("oncall") == [notice(1, attempts=2), notice(2, attempts=9)]
    assert box.waiting("another") == []
    assert box.receivers() == ["oncall"]
    assert notices.WAITING >= 100
