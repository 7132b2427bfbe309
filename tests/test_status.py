import hashlib
import json
import os
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from node import bundle
from node.agenda import Task
from node.config import Model, Settings
from node.config_notify import Receiver, Webhook
from node.errors import ConfigError, Reason
from node.notices import tell_of_study
from node.pixels import InputSpec
from node.release import is_to_be_sent, withhold
from node.spool import Kind
from node.status import render, roles, snapshot
from node.status_text import answer, headline, images, percent, progress, results, waited
from node.study import FilmWarning, Triage
from tests.filled import PATIENT, FilledSpool, prediction, role, settings_for


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path)


@pytest.fixture
def filled(settings: Settings) -> FilledSpool:
    return FilledSpool(settings.spool.folder)


def shown(state: dict, width: int = 140) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(render(state))
    return console.file.getvalue()


def states(settings: Settings) -> dict[str, str]:
    return {study["study"]: study["state"] for study in snapshot(settings)["studies"]}


def troubles(settings: Settings) -> str:
    return "\n".join(f"{trouble['what']} {trouble['do']}" for trouble in snapshot(settings)["troubles"])


def test_a_node_that_never_ran_is_looked_at_without_making_its_folders(settings: Settings) -> None:
    state = snapshot(settings)
    assert state["studies"] == []
    assert state["queue"] == {"todo": 0, "open": 0, "parked": 0, "unreleased": 0}
    assert not state["ready"]
    assert state["disk"]["free_bytes"] > 0
    assert not settings.spool.folder.exists()


def test_a_snapshot_survives_json(settings: Settings, filled: FilledSpool) -> None:
    filled.delivered(Triage.URGENT, refused=(Reason.NOT_FRONTAL,))
    state = snapshot(settings)
    assert json.loads(json.dumps(state)) == state


def test_a_role_runs_while_its_lock_is_held_and_it_has_announced_itself(settings: Settings) -> None:
    folder = settings.spool.folder
    assert roles(folder)["receive"] == {"state": "stopped", "running": False}
    with role(folder, "receive"):
        assert roles(folder)["receive"] == {"state": "starting", "running": False}
    with role(folder, "receive", host="127.0.0.1", port=11112):
        found = roles(folder)["receive"]
        assert (found["state"], found["port"], found["pid"]) == ("running", 11112, os.getpid())


def test_what_a_killed_role_announced_is_not_believed(settings: Settings) -> None:
    with role(settings.spool.folder, "work", device="cpu"):
        pass
    assert (settings.spool.folder / "run" / "work.json").exists()
    assert roles(settings.spool.folder)["work"]["state"] == "stopped"


def test_the_node_is_ready_while_it_receives_and_works(settings: Settings) -> None:
    folder = settings.spool.folder
    with role(folder, "receive", port=1):
        assert not snapshot(settings)["ready"]
        with role(folder, "work", device="cpu"):
            assert snapshot(settings)["ready"]


def test_a_study_is_followed_from_its_arrival_to_its_delivery(settings: Settings, filled: FilledSpool) -> None:
    arriving = filled.received()
    waiting, at_work = filled.settled(), filled.settled()
    filled.spool.agenda.claimed(at_work)
    read, parked, delivered = filled.read(), filled.settled(), filled.delivered()
    filled.spool.agenda.park(parked, "InferenceError", "the model's answer is not finite; the study is parked")
    with role(settings.spool.folder, "work", device="cpu"):
        assert states(settings) == {
            arriving: "received",
            waiting.study_key: "settled",
            at_work.study_key: "reading",
            read.study_key: "read",
            parked.study_key: "parked",
            delivered.study_key: "delivered",
        }


def test_of_the_studies_in_the_queue_one_is_being_read_and_none_without_a_worker(
    settings: Settings, filled: FilledSpool
) -> None:
    for task in (first := filled.settled(), filled.settled()):
        filled.spool.agenda.claimed(task)
    assert set(states(settings).values()) == {"settled"}
    with role(settings.spool.folder, "work", device="cpu"):
        assert [key for key, state in states(settings).items() if state == "reading"] == [first.study_key]


def test_a_study_counts_as_delivered_once_every_destination_has_it(settings: Settings, filled: FilledSpool) -> None:
    task = filled.read()
    filled.post(task, "pacs", "delivered")
    assert states(settings) == {task.study_key: "read"}
    filled.post(task, "teaching", "delivered")
    assert states(settings) == {task.study_key: "delivered"}


def test_a_study_says_what_was_read_what_was_not_and_when(settings: Settings, filled: FilledSpool) -> None:
    filled.delivered(Triage.URGENT, images=2, refused=(Reason.NOT_FRONTAL, Reason.NOT_FRONTAL, Reason.SECONDARY))
    (study,) = snapshot(settings)["studies"]
    assert (study["answer"], study["label"], study["number"]) == ("urgent", "Tuberculosis", 1)
    assert study["images"] == {"total": 5, "read": 2, "not_read": {"NOT_FRONTAL": 2, "SECONDARY": 1}}
    assert study["probabilities"]["Tuberculosis"] == 0.913
    moments = [study[name] for name in ("received", "settled", "started", "done")]
    assert moments == sorted(moments)
    assert study["deliveries"]["teaching"]["at"] > study["done"]
    assert images(study) == "2 of 5 read; 2 not frontal; 1 secondary"
    assert answer(study) == "URGENT: Tuberculosis"
    assert list(progress(study)) == ["settled", "started", "read", "composed"]
    assert [words.split(" +")[0] for words in results(study).values()] == ["delivered", "delivered"]


def test_probabilities_that_do_not_hold_are_not_shown(
    settings: Settings, filled: FilledSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = replace(prediction(Triage.URGENT), warnings=(FilmWarning.LOOKS_TURNED,))
    monkeypatch.setattr("tests.filled.prediction", lambda triage: said)
    filled.read(Triage.URGENT)
    (study,) = snapshot(settings)["studies"]
    assert (study["answer"], study["probabilities"]) == ("urgent", {})


def test_a_study_of_which_nothing_could_be_read_has_an_answer_and_no_probabilities(
    settings: Settings, filled: FilledSpool
) -> None:
    filled.read(images=0, refused=(Reason.NOT_CHEST,))
    (study,) = snapshot(settings)["studies"]
    assert (study["answer"], study["probabilities"]) == ("not_analysed", {})


def test_the_node_s_own_results_sent_back_to_it_make_no_study(settings: Settings, filled: FilledSpool) -> None:
    filled.received(kind=Kind.OWN)
    assert states(settings) == {}


def test_late_images_show_the_new_reading(settings: Settings, filled: FilledSpool) -> None:
    task = filled.delivered()
    study = filled.spool.study_folder(task.study_key)
    (study / f"{'0' * 32}.image.dcm").write_bytes(b"another image")
    assert filled.spool.settle(task.study_key)
    (found,) = snapshot(settings)["studies"]
    assert (found["number"], found["state"], found["answer"]) == (2, "settled", None)


def test_only_the_latest_studies_are_listed_and_all_are_counted(settings: Settings, filled: FilledSpool) -> None:
    tasks = [filled.settled() for _ in range(6)]
    for age, task in enumerate(reversed(tasks)):
        os.utime(filled.spool.study_folder(task.study_key), (0, 1_000_000 - age))
    state = snapshot(settings, latest=2)
    assert {study["study"] for study in state["studies"]} == {task.study_key for task in tasks[-2:]}
    assert state["studies_held"] == 6
    assert state["queue"]["todo"] == 6


def test_parked_work_is_listed_with_its_reason_up_to_the_limit(settings: Settings, filled: FilledSpool) -> None:
    for task in (filled.settled(), filled.settled(), filled.settled()):
        filled.spool.agenda.park(task, "InferenceError", "the worker died 3 times while it read this study")
    state = snapshot(settings, latest=2)
    assert state["queue"]["parked"] == 3
    assert [found["message"] for found in state["parked"]] == ["the worker died 3 times while it read this study"] * 2


def test_a_destination_says_how_many_wait_since_when_and_why(settings: Settings, filled: FilledSpool) -> None:
    why = "pacs cannot be reached: connection refused. Check that it is running, and its host and port."
    filled.post(filled.read(), "pacs", "waiting", hours=3, error=why)
    filled.post(filled.read(), "pacs", "waiting")
    filled.post(filled.read(), "pacs", "committing")
    filled.post(filled.read(), "pacs", "parked", hours=90, error="refused for good")
    filled.post(filled.read(), "pacs", "delivered")
    pacs, teaching = snapshot(settings)["destinations"]
    assert [pacs[state] for state in ("waiting", "committing", "parked")] == [2, 1, 1]
    assert waited(pacs["oldest_s"]) == "3 h"
    assert pacs["last_error"] == why
    assert (teaching["waiting"], teaching["oldest_s"], teaching["last_error"]) == (0, None, None)
    assert "pacs does not take results: 2 waiting, the oldest for 3 h." in troubles(settings)


def test_a_delivery_on_its_way_is_no_trouble(settings: Settings, filled: FilledSpool) -> None:
    filled.post(filled.read(), "pacs", "waiting")
    assert "pacs" not in troubles(settings)


def test_every_trouble_says_what_to_do(settings: Settings, filled: FilledSpool) -> None:
    filled.spool.agenda.park(filled.settled(), "InferenceError", "the model's answer is not finite")
    found = snapshot(settings.model_copy(update={"destinations": ()}))["troubles"]
    words = "\n".join(trouble["what"] for trouble in found)
    for subject in ("receive is stopped", "work is stopped", "model cannot be used", "no destination", "1 parked"):
        assert subject in words
    assert all(trouble["do"] for trouble in found)


def test_a_full_disk_is_a_trouble(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.status.ROOM_WANTED_BYTES", 0)
    assert "GiB left" not in troubles(settings)
    monkeypatch.setattr("node.status.ROOM_WANTED_BYTES", 1 << 60)
    assert "GiB left" in troubles(settings)


def test_a_spool_of_another_user_is_answered_with_who_should_ask(
    settings: Settings, filled: FilledSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ConfigError, match="Ask as the user that runs the node"):
        snapshot(settings)


def test_the_model_is_told_by_name_version_and_weights(settings: Settings, tmp_path: Path) -> None:
    assert "cannot be read" in snapshot(settings)["model"]["error"]
    made = write_bundle(tmp_path / "model")
    state = snapshot(settings.model_copy(update={"model": Model(bundle=tmp_path / "model")}))
    assert state["model"] == {
        "name": "a model",
        "version": "9.9.9",
        "weights": made.manifest.files[bundle.WEIGHTS][:12],
        "cut_offs": {"Tuberculosis": 0.5},
        "cut_offs_of": "the model",
        "error": None,
    }


def test_no_value_of_a_patient_and_no_uid_is_told(settings: Settings, filled: FilledSpool) -> None:
    filled.received()
    filled.delivered(Triage.FLAGGED, refused=(Reason.NOT_CHEST,))
    parked = filled.settled()
    filled.spool.agenda.park(parked, "ValueError", "unexpected ValueError while the study was read; please report it")
    state = snapshot(settings)
    assert len(state["studies"]) == 3
    told = json.dumps(state) + shown(state)
    for value in (*PATIENT.values(), "Recognizable", "Rosalind", "RECOGNIZABLE", "1.2.826.0.1"):
        assert value not in told


def test_the_terminal_shows_what_runs_what_waits_and_what_to_do(settings: Settings, filled: FilledSpool) -> None:
    task = filled.post(filled.read(Triage.URGENT), "pacs", "parked", error="ORTHANC answered 0xC000")
    filled.spool.agenda.park(task, "Parked", "ORTHANC answered 0xC000 [to a result]. Mend it, then run cxr-node retry.")
    text = shown(snapshot(settings))
    for words in ("Not ready: receive is stopped, work is stopped.", "What is wrong", "URGENT: Tuberculosis"):
        assert words in text
    assert "[to a result]" in text  # brackets are no markup
    assert task.study_key[:12] in text
    assert "Research and education only, not for diagnosis" in text


def test_the_terminal_shows_a_node_that_never_ran(settings: Settings) -> None:
    text = shown(snapshot(settings), width=80)
    assert "Latest studies" not in text
    assert "Start the node: cxr-node serve." in text


@pytest.mark.parametrize(("probability", "words"), [(0.0, "<1 %"), (0.0149, "1 %"), (0.5, "50 %"), (0.9999, ">99 %")])
def test_a_probability_is_never_a_plain_0_or_100(probability: float, words: str) -> None:
    assert percent(probability) == words


def test_a_task_taken_up_again_between_the_list_and_the_look_is_left_out(
    settings: Settings, filled: FilledSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Task("read", "0" * 32, "0" * 16)
    kept = filled.settled()
    filled.spool.agenda.park(kept, "InferenceError", "a reason")
    listed = filled.spool.agenda.tasks("parked")
    monkeypatch.setattr("node.agenda.Agenda.tasks", lambda _, state: [gone, *listed] if state == "parked" else [])
    assert [found["study"] for found in snapshot(settings)["parked"]] == [kept.study_key]


def write_bundle(folder: Path) -> bundle.Bundle:
    """Write the smallest bundle that is whole; its weights are never loaded here."""
    weights = b"weights"
    code = {"value": "1", "scheme": "99TEST", "meaning": "a label"}
    rule = {"label": "Tuberculosis", "cut_off": 0.5, "uncertain_from": 0.3, "urgent": True}
    architecture = {"backbone": "EfficientNetB0", "activation": "swish", "rows": 224, "columns": 224}
    architecture |= {"classes": 2, "dropout": 0.2}
    about = {
        "name": "a model",
        "version": "9.9.9",
        "labels": [{"name": name, "code": code} for name in ("Normal", "Tuberculosis")],
        "members": [{"file": bundle.WEIGHTS, "architecture": architecture}],
        "preprocessing": InputSpec(),
        "calibration": {"temperature": 1.0},
        "triage": {"thresholds_for": hashlib.sha256(weights).hexdigest(), "rules": [rule]},
        "heat_map": {"layer": "top_activation", "reference_share": {"Tuberculosis": 1.0}},
        "likeness": None,
        "age_years": None,
        "training": {"recipe": "none", "films": {}, "patients": 0, "sources": []},
        "made_with": {},
    }
    contents = {bundle.WEIGHTS: weights, bundle.REFERENCE: b"{}", bundle.CARD: b"a card"}
    contents |= {bundle.GOLDEN_CASES: b"[]", bundle.ATTRIBUTION: b"nobody's"}
    return bundle.write(folder, about, contents)


# Modes


def in_mode(settings: Settings, mode: str) -> Settings:
    return settings.model_copy(update={"mode": mode})


def keep_back(settings: Settings, filled: FilledSpool, triage: Triage = Triage.FLAGGED) -> Task:
    task = filled.read(triage)
    assert not is_to_be_sent(filled.spool, "supervised", task, has_results=True)
    return task


def test_a_node_in_shadow_mode_says_so_first_and_needs_no_destination(settings: Settings, filled: FilledSpool) -> None:
    task = filled.read()
    assert not is_to_be_sent(filled.spool, "shadow", task, has_results=True)
    shadow = in_mode(settings, "shadow").model_copy(update={"destinations": ()})
    with (
        role(settings.spool.folder, "receive", host="127.0.0.1", port=1),
        role(settings.spool.folder, "work", device="cpu"),
    ):
        state = snapshot(shadow)
    assert headline(state).startswith("Running in shadow mode: nothing is sent.")
    assert "shadow mode: nothing is sent" in shown(state)
    assert (state["mode"], states(shadow)) == ("shadow", {task.study_key: "shadow"})
    assert "no destination" not in troubles(shadow)


def test_what_waits_for_a_person_is_counted_and_listed_urgent_results_first(
    settings: Settings, filled: FilledSpool
) -> None:
    tasks = [keep_back(settings, filled), keep_back(settings, filled, Triage.URGENT), filled.delivered()]
    supervised = in_mode(settings, "supervised")
    with (
        role(settings.spool.folder, "receive", host="127.0.0.1", port=1),
        role(settings.spool.folder, "work", device="cpu"),
    ):
        state = snapshot(supervised)
    found = state["unreleased"]
    assert [entry["study"] for entry in found["entries"]] == [task.study_key for task in (tasks[1], tasks[0])]
    assert (found["count"], found["urgent"], found["overdue"]) == (2, 1, 0)
    assert found["entries"][0]["answer"] == "urgent"
    assert states(supervised)[tasks[0].study_key] == "unreleased"
    assert "Running, supervised." in headline(state) and "2 to release." in headline(state)
    text = shown(state)
    assert "To release, or to withhold" in text and "URGENT: Tuberculosis" in text
    assert snapshot(settings, latest=0)["unreleased"]["entries"] == []


def test_what_waits_for_a_person_for_too_long_is_a_trouble_urgent_results_sooner(
    settings: Settings, filled: FilledSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_back(settings, filled)
    keep_back(settings, filled, Triage.URGENT)
    assert "wait for a person" not in troubles(settings)
    monkeypatch.setattr("node.release.LONG_IF_URGENT_S", -60.0)
    assert "Results wait for a person: 2, 1 of them urgent, the oldest for" in troubles(settings)
    assert "cxr-node release" in troubles(settings)
    assert snapshot(settings)["unreleased"]["overdue"] == 1


def test_a_study_that_was_withheld_says_by_whom_and_when(settings: Settings, filled: FilledSpool) -> None:
    task = keep_back(settings, filled)
    withhold(filled.spool, task.study_key, "Dr. Who")
    (study,) = snapshot(settings)["studies"]
    assert study["state"] == "withheld"
    assert (study["asked"]["what"], study["asked"]["by"]) == ("withhold", "Dr. Who")
    assert snapshot(settings)["unreleased"]["count"] == 0


def test_a_receiver_that_takes_no_messages_is_a_trouble(
    settings: Settings, filled: FilledSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = Receiver(name="oncall", webhook=Webhook(url="https://hooks.example/"))
    told = settings.model_copy(update={"notify": (receiver,)})
    assert snapshot(told)["notices"] == [{"receiver": "oncall", "waiting": 0, "oldest_s": None}]
    task = filled.read(Triage.URGENT)
    tell_of_study(filled.spool, told, task.study_key, task.generation)
    assert snapshot(told)["notices"][0]["waiting"] == 1
    assert "oncall takes no messages" not in troubles(told)
    monkeypatch.setattr("node.status.NOTICE_LATE_S", -60.0)
    assert "oncall takes no messages: 1 waiting, the oldest for" in troubles(told)
