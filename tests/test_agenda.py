"""Tasks outlive the worker: each is a file, found again in the state it was in."""

import os
import re
import stat

import pytest

from node.agenda import STATES, Agenda, Task
from node.durable import read_json

READ = Task("read", "1f" * 16, "ab" * 8)
DELIVER = Task("deliver", "1f" * 16, "ab" * 8, "pacs", 3)


@pytest.fixture
def agenda(tmp_path):
    return Agenda(tmp_path / "spool")


def states_of(agenda, task):
    return [state for state in STATES if task in agenda.tasks(state)]


@pytest.mark.parametrize("task", [READ, DELIVER, Task("confirm", "k", "g", "the-pacs_2", 12)])
def test_a_task_is_built_again_from_its_name(task):
    assert Task.parse(task.name) == task


def test_the_name_says_what_is_to_be_done():
    assert READ.name == f"read.{'1f' * 16}.{'ab' * 8}.-.1"
    assert DELIVER.name == f"deliver.{'1f' * 16}.{'ab' * 8}.pacs.3"


def test_the_next_attempt_is_the_same_work_under_another_name():
    assert DELIVER.next == Task("deliver", DELIVER.study_key, DELIVER.generation, "pacs", 4)
    assert DELIVER.next.name != DELIVER.name


def test_a_new_agenda_has_nothing_to_do(agenda):
    assert [agenda.tasks(state) for state in STATES] == [[] for _ in STATES]
    assert agenda.generations() == set()


def test_a_task_goes_from_noted_to_claimed_to_finished(agenda):
    agenda.note(READ)
    assert states_of(agenda, READ) == ["todo"]
    agenda.claimed(READ)
    assert states_of(agenda, READ) == ["open"]
    agenda.finished(READ)
    assert states_of(agenda, READ) == []


POST = Task("post", "1f" * 16, "ab" * 8)


def test_what_is_kept_back_waits_until_it_is_released_once(agenda):
    agenda.keep_back(POST)
    assert states_of(agenda, POST) == ["unreleased"]
    assert agenda.release(POST)
    assert states_of(agenda, POST) == ["todo"]
    assert not agenda.release(POST)


def test_what_is_withheld_is_no_task_until_it_is_released_all_the_same(agenda, tmp_path):
    kept = tmp_path / "spool" / "withheld.json"
    assert not agenda.withhold(POST, kept)
    agenda.keep_back(POST)
    assert agenda.withhold(POST, kept)
    assert (states_of(agenda, POST), read_json(kept)["verb"]) == ([], "post")
    assert not agenda.release(POST)
    assert agenda.release(POST, kept)
    assert states_of(agenda, POST) == ["todo"]
    assert not agenda.withhold(POST, kept)


def test_what_is_dropped_waits_no_more_and_what_was_released_before_is_not_dropped(agenda):
    agenda.keep_back(POST)
    agenda.drop(POST)
    agenda.drop(POST)
    assert states_of(agenda, POST) == []
    agenda.keep_back(POST)
    agenda.release(POST)
    agenda.drop(POST)
    assert states_of(agenda, POST) == ["todo"]


def test_the_same_work_is_known_in_any_state_and_at_any_attempt(agenda):
    assert not agenda.is_noted(POST)
    agenda.keep_back(POST)
    assert agenda.is_noted(POST) and agenda.is_noted(POST.next)
    assert not agenda.is_noted(READ) and not agenda.is_noted(Task("post", POST.study_key, "0" * 16))
    agenda.release(POST)
    agenda.park(POST, "Parked", "why")
    assert agenda.is_noted(POST)


def test_a_second_agenda_on_the_folder_finds_the_tasks(agenda, tmp_path):
    agenda.note(READ)
    agenda.claimed(READ)
    agenda.note(DELIVER)
    other = Agenda(tmp_path / "spool")
    assert (other.tasks("open"), other.tasks("todo")) == ([READ], [DELIVER])


def test_a_task_noted_twice_is_one_task(agenda):
    agenda.note(READ)
    agenda.note(READ)
    assert agenda.tasks("todo") == [READ]


def test_claiming_or_finishing_what_is_gone_changes_nothing(agenda):
    agenda.claimed(READ)
    agenda.finished(READ)
    agenda.unpark(READ)
    assert states_of(agenda, READ) == []


def test_finishing_ends_a_task_that_was_never_claimed(agenda):
    agenda.note(READ)
    agenda.finished(READ)
    assert states_of(agenda, READ) == []


def test_finishing_ends_a_task_that_was_noted_again_while_it_was_open(agenda):
    agenda.note(READ)
    agenda.claimed(READ)
    agenda.note(READ)
    agenda.finished(READ)
    assert states_of(agenda, READ) == []


@pytest.mark.parametrize("claimed", [True, False])
def test_a_parked_task_waits_for_a_person_with_its_reason(agenda, claimed):
    agenda.note(READ)
    if claimed:
        agenda.claimed(READ)
    agenda.park(READ, "InferenceError", "no usable answer")
    assert states_of(agenda, READ) == ["parked"]
    reason = agenda.reason(READ)
    assert (reason["error"], reason["message"]) == ("InferenceError", "no usable answer")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", reason["at"])


def test_a_task_is_parked_before_it_leaves_the_work_to_do(agenda, monkeypatch):
    """A kill between the two leaves it in both, never in neither."""
    agenda.note(READ)
    monkeypatch.setattr(agenda, "finished", lambda task: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        agenda.park(READ, "InferenceError", "")
    assert states_of(agenda, READ) == ["todo", "parked"]


def test_an_unparked_task_has_no_state_left(agenda):
    agenda.park(READ, "InferenceError", "")
    agenda.unpark(READ)
    assert states_of(agenda, READ) == []


def test_tasks_come_oldest_first(agenda, tmp_path):
    tasks = [Task("read", f"{number:032x}", "g") for number in (3, 1, 2)]
    for age, task in enumerate(tasks):
        agenda.note(task)
        os.utime(tmp_path / "spool" / "todo" / task.name, (1000 + age, 1000 + age))
    assert agenda.tasks("todo") == tasks


def test_tasks_of_one_age_come_by_name(agenda, tmp_path):
    tasks = [Task("read", f"{number:032x}", "g") for number in (1, 2, 3)]
    for task in reversed(tasks):
        agenda.note(task)
        os.utime(tmp_path / "spool" / "todo" / task.name, (1000, 1000))
    assert agenda.tasks("todo") == tasks


def test_a_task_that_goes_while_the_tasks_are_listed_is_no_error(agenda, tmp_path, monkeypatch):
    agenda.note(READ)
    agenda.note(DELIVER)
    listed = list(os.scandir(tmp_path / "spool" / "todo"))
    agenda.finished(READ)
    monkeypatch.setattr(os, "scandir", lambda folder: listed)
    assert set(agenda.tasks("todo")) == {READ, DELIVER}


def test_a_half_written_task_is_no_task(agenda, tmp_path):
    (tmp_path / "spool" / "todo" / ".0123456789abcdef").write_bytes(b'{"verb": "re')
    assert agenda.tasks("todo") == []


@pytest.mark.parametrize(
    "stray", ["notes.txt", ".read.k.g.-.1", "lost+found", f"{READ.name}.bak", f"copy of {READ.name}"]
)
def test_a_file_that_a_person_put_there_is_no_task(agenda, tmp_path, stray):
    agenda.note(READ)
    for state in STATES:
        (tmp_path / "spool" / state / stray).write_text("x")
    assert states_of(agenda, READ) == ["todo"]
    assert agenda.generations() == {(READ.study_key, READ.generation)}


def test_the_generations_of_all_states_are_known(agenda):
    tasks = [Task("read", "a", "1"), Task("deliver", "b", "2", "pacs"), Task("confirm", "c", "3", "pacs", 9)]
    for task in tasks:
        agenda.note(task)
    agenda.claimed(tasks[1])
    agenda.park(tasks[2], "Parked", "")
    assert agenda.generations() == {("a", "1"), ("b", "2"), ("c", "3")}


def test_a_noted_task_says_in_the_file_what_its_name_says(agenda, tmp_path):
    agenda.note(DELIVER)
    assert Task(**read_json(tmp_path / "spool" / "todo" / DELIVER.name)) == DELIVER


def test_nobody_else_may_look(agenda, tmp_path):
    agenda.note(READ)
    agenda.park(DELIVER, "Parked", "why")
    for path in (tmp_path / "spool").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_worker_that_died_at_a_task_is_counted_under_the_same_supervisor_alone(agenda):
    assert agenda.claim(READ, "supervisor 1") == 0
    assert agenda.claim(READ, "supervisor 1") == 1
    assert agenda.claim(READ, "supervisor 2") == 1
    assert agenda.claim(READ, "supervisor 2") == 2


def test_a_worker_that_lived_to_the_end_of_a_task_leaves_no_suspicion(agenda):
    agenda.claim(READ, "supervisor 1")
    agenda.unclaim(READ)
    agenda.unclaim(READ)
    assert agenda.claim(READ, "supervisor 1") == 0


def test_a_death_at_one_task_says_nothing_of_another(agenda):
    agenda.claim(READ, "supervisor 1")
    assert agenda.claim(DELIVER, "supervisor 1") == agenda.claim(READ.next, "supervisor 1") == 0


def test_a_claim_is_no_task(agenda):
    agenda.claim(READ, "supervisor 1")
    assert states_of(agenda, READ) == []
    assert agenda.generations() == set()


def test_a_claim_that_a_power_cut_emptied_counts_no_death(agenda, tmp_path):
    agenda.claim(READ, "one")
    (tmp_path / "spool" / "claims" / READ.name).write_bytes(b"")
    assert agenda.claim(READ, "one") == 0
    assert agenda.claim(READ, "one") == 1
