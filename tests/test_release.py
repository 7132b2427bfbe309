"""Results go to a PACS at once, to nobody, or once a person has released them; never twice, and never an outdated one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Thread
from typing import Any, cast

import pytest

from node import release
from node.agenda import STATES, Task
from node.config import Settings
from node.durable import key_of
from node.errors import Parked, ReleaseError
from node.journey import Journey
from node.release import Reminder, asked, is_overdue, unreleased, withhold
from node.release import release as release_study
from node.spool import Spool, Unsent
from node.study import Triage
from tests.filled import FilledSpool, settings_for

BY = "reader"


class Node:
    """The worker's part of a node in one mode, done by hand: a study is read, and then its results are posted."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.filled = FilledSpool(folder / "spool")
        self.folder = folder
        self.change_mode(mode)

    def change_mode(self, mode: str) -> None:
        """Go on in another mode, as after a restart."""
        self.settings: Settings = settings_for(self.folder, mode=mode)
        self.journey = Journey(self.settings, self.spool, cast(Any, None), cast(Any, None), {})

    @property
    def spool(self) -> Spool:
        return self.filled.spool

    def post(self, task: Task) -> list[str]:
        """Post what a task says; gives the destinations that are sent to."""
        self.spool.agenda.finished(task)
        return [follow.task.destination for follow in self.journey.post(task)]

    def work(self) -> list[str]:
        """Do what was released."""
        return [name for task in self.spool.agenda.tasks("todo") for name in self.post(task)]

    def read(self, triage: Triage = Triage.NOT_FLAGGED) -> Task:
        """Have a study read and its results posted as the mode wants it."""
        task = self.filled.read(triage)
        self.post(task)
        return task

    def read_again(self, task: Task) -> Task:
        """Have it read anew with one more image."""
        again = self.filled.read_again(task, Triage.FLAGGED)
        self.post(again)
        return again

    def release(self, task: Task, **more: Any) -> list[str]:
        """Release a study and let the worker do what follows; gives the destinations that are sent to."""
        release_study(self.spool, self.settings.mode, task.study_key, BY, **more)
        return self.work()

    def sent(self, task: Task) -> bool:
        return self.spool.outbox.is_posted(task.study_key, task.generation)

    def why_unsent(self, task: Task) -> Unsent | None:
        return self.spool.unsent(task.study_key, task.generation)

    def waits(self) -> list[tuple[str, str]]:
        return [(reading.study_key, reading.generation) for reading in unreleased(self.spool)]


@pytest.fixture
def node(tmp_path: Path) -> Callable[[str], Node]:
    return lambda mode: Node(tmp_path, mode)


EVERYWHERE = ["pacs", "teaching"]


def test_the_mode_is_no_part_of_a_result(tmp_path: Path) -> None:
    digests = {settings_for(tmp_path, mode=mode).digest() for mode in ("live", "shadow", "supervised")}
    assert len(digests) == 1, "a result's UID holds it"


# Live


def test_a_live_node_posts_at_once_to_every_destination(node: Callable[[str], Node]) -> None:
    live = node("live")
    task = live.filled.read()
    assert live.post(task) == EVERYWHERE
    assert live.sent(task)
    assert live.waits() == []


# Shadow


def test_in_shadow_mode_results_are_kept_and_posted_nowhere(node: Callable[[str], Node]) -> None:
    shadow = node("shadow")
    task = shadow.filled.read()
    assert shadow.post(task) == []
    assert not shadow.sent(task)
    assert shadow.why_unsent(task) is Unsent.SHADOW
    assert shadow.spool.results(task.study_key, task.generation, "viewer")


@pytest.mark.parametrize("mode", ["live", "supervised"])
def test_what_was_read_in_shadow_mode_is_not_sent_when_the_mode_is_another_one(
    node: Callable[[str], Node], mode: str
) -> None:
    shadow = node("shadow")
    task = shadow.read()
    shadow.change_mode(mode)
    assert shadow.post(task) == []
    with pytest.raises(ReleaseError, match="not to be sent \\(shadow\\)"):
        shadow.release(task)
    assert not shadow.sent(task)
    assert shadow.waits() == []


def test_a_study_of_shadow_mode_is_through_and_goes_with_its_days(node: Callable[[str], Node]) -> None:
    shadow = node("shadow")
    task = shadow.read()
    assert shadow.spool.is_through(task.study_key)
    assert shadow.spool.forget(task.study_key, -1.0)


def test_what_was_on_its_way_when_shadow_mode_began_is_parked_and_not_sent(node: Callable[[str], Node]) -> None:
    live = node("live")
    (deliver, _) = live.journey.post(live.filled.read())
    live.change_mode("shadow")
    with pytest.raises(Parked, match="shadow mode"):
        live.journey.deliver(deliver.task)


def test_nothing_is_released_in_shadow_mode(node: Callable[[str], Node]) -> None:
    supervised = node("supervised")
    task = supervised.read()
    supervised.change_mode("shadow")
    with pytest.raises(ReleaseError, match="the node is in shadow mode"):
        supervised.release(task)
    assert supervised.waits() == [(task.study_key, task.generation)]


def test_what_was_released_just_before_shadow_mode_began_is_parked(node: Callable[[str], Node]) -> None:
    supervised = node("supervised")
    task = supervised.read()
    released = release_study(supervised.spool, "supervised", task.study_key, BY)
    supervised.change_mode("shadow")
    with pytest.raises(Parked, match="was released"):
        supervised.journey.post(released)
    supervised.journey.set_aside(released, "Parked", "why")
    supervised.change_mode("supervised")
    supervised.spool.take_up(released)
    assert supervised.work() == EVERYWHERE
    assert not (supervised.spool.folder / "outbox" / "-").exists()


def test_shadow_mode_needs_no_destination(node: Callable[[str], Node]) -> None:
    shadow = node("shadow")
    shadow.journey = replace(shadow.journey, settings=shadow.settings.model_copy(update={"destinations": ()}))
    task = shadow.read()
    assert shadow.why_unsent(task) is Unsent.SHADOW


# Supervised


def test_supervised_results_wait_and_are_sent_once_when_they_are_released(node: Callable[[str], Node]) -> None:
    supervised = node("supervised")
    task = supervised.read()
    assert supervised.waits() == [(task.study_key, task.generation)]
    assert not supervised.sent(task)
    assert not supervised.spool.is_through(task.study_key), "it must not be forgotten while it waits"
    assert supervised.release(task) == EVERYWHERE
    assert supervised.sent(task)
    assert supervised.waits() == []
    with pytest.raises(ReleaseError, match="on their way, or there already"):
        supervised.release(task)
    assert supervised.work() == []


def test_who_released_or_withheld_what_and_when_is_noted(node: Callable[[str], Node]) -> None:
    supervised = node("supervised")
    task = supervised.read()
    assert asked(supervised.spool, task.study_key, task.generation) is None
    withhold(supervised.spool, task.study_key, "Dr.\nWho" + "x" * 200)
    note = asked(supervised.spool, task.study_key, task.generation)
    assert note is not None
    assert (note["what"], note["by"]) == ("withhold", "Dr.Who" + "x" * 58)
    assert datetime.now(UTC) - datetime.fromisoformat(note["at"]) < timedelta(minutes=1)
    supervised.release(task)
    note = asked(supervised.spool, task.study_key, task.generation)
    assert note is not None and (note["what"], note["by"]) == ("release", BY)


def test_withheld_results_are_not_sent_and_go_with_their_days(node: Callable[[str], Node]) -> None:
    supervised = node("supervised")
    task = supervised.read()
    withhold(supervised.spool, task.study_key, BY)
    assert supervised.waits() == []
    assert supervised.work() == []
    assert supervised.why_unsent(task) is Unsent.WITHHELD
    assert supervised.spool.is_through(task.study_key)
    with pytest.raises(ReleaseError, match="withheld already"):
        withhold(supervised.spool, task.study_key, BY)


def test_withheld_results_may_be_released_all_the_same(node: Callable[[str], Node]) -> None:
    supervised = node("supervised")
    task = supervised.read()
    withhold(supervised.spool, task.study_key, BY)
    assert supervised.release(task) == EVERYWHERE
    assert supervised.why_unsent(task) is None


def test_what_was_released_cannot_be_withheld(node: Callable[[str], Node]) -> None:
    supervised = node("supervised")
    task = supervised.read()
    release_study(supervised.spool, "supervised", task.study_key, BY)
    for _ in range(2):
        with pytest.raises(ReleaseError, match="only the PACS can withdraw"):
            withhold(supervised.spool, task.study_key, BY)
        supervised.work()
    note = asked(supervised.spool, task.study_key, task.generation)
    assert note is not None and note["what"] == "release", "what had no effect is not noted"


def test_what_waited_when_the_mode_was_set_to_live_waits_on_and_may_be_released(node: Callable[[str], Node]) -> None:
    supervised = node("supervised")
    task = supervised.read()
    supervised.change_mode("live")
    assert supervised.post(task) == [], "its reading, taken up again after a stop"
    assert supervised.waits() == [(task.study_key, task.generation)]
    assert supervised.release(task) == EVERYWHERE


def test_a_study_without_results_waits_for_nobody(node: Callable[[str], Node]) -> None:
    supervised = node("supervised")
    task = supervised.filled.settled()
    supervised.spool.write_results(task.study_key, task.generation, {})
    assert supervised.post(task) == []
    assert supervised.spool.agenda.tasks("unreleased") == []


def test_a_reading_that_a_stop_has_repeated_does_not_wait_again(node: Callable[[str], Node]) -> None:
    supervised = node("supervised")
    task = supervised.read()
    assert supervised.post(task) == []
    assert len(supervised.spool.agenda.tasks("unreleased")) == 1
    released = release_study(supervised.spool, "supervised", task.study_key, BY)
    assert supervised.post(task) == []
    supervised.spool.agenda.claimed(released)
    assert supervised.post(task) == []
    assert supervised.spool.agenda.tasks("unreleased") == []
    assert supervised.post(released) == EVERYWHERE
    assert supervised.post(task) == EVERYWHERE, "begun is begun: each destination has one delivery, which is looked at"
    assert supervised.spool.agenda.tasks("unreleased") == []


# Late images


def test_a_late_image_makes_what_waits_outdated_and_its_new_results_wait_anew(node: Callable[[str], Node]) -> None:
    supervised = node("supervised")
    first = supervised.read()
    second = supervised.read_again(first)
    assert supervised.why_unsent(first) is Unsent.SUPERSEDED
    assert supervised.waits() == [(second.study_key, second.generation)]
    assert supervised.release(first) == EVERYWHERE, "a study's latest results are released"
    assert supervised.sent(second)
    assert not supervised.sent(first)
    assert len(supervised.spool.agenda.tasks("unreleased")) == 0


def test_nothing_is_released_while_a_late_image_is_being_read(node: Callable[[str], Node]) -> None:
    supervised = node("supervised")
    first = supervised.read()
    (supervised.spool.study_folder(first.study_key) / f"{'0' * 32}.image.dcm").write_bytes(b"late")
    supervised.spool.settle(first.study_key)
    with pytest.raises(ReleaseError, match="is being read"):
        release_study(supervised.spool, "supervised", first.study_key, BY)
    with pytest.raises(ReleaseError, match="is being read"):
        withhold(supervised.spool, first.study_key, BY)
    assert supervised.waits() == [], "nobody is asked to look at outdated results"


def test_what_was_released_is_not_sent_where_a_late_image_comes_before_it_is_posted(
    node: Callable[[str], Node],
) -> None:
    supervised = node("supervised")
    first = supervised.read()
    released = release_study(supervised.spool, "supervised", first.study_key, BY)
    (supervised.spool.study_folder(first.study_key) / f"{'0' * 32}.image.dcm").write_bytes(b"late")
    supervised.spool.settle(first.study_key)
    assert supervised.post(released) == []
    assert supervised.why_unsent(first) is Unsent.SUPERSEDED


def test_results_that_a_person_has_not_seen_are_not_released(node: Callable[[str], Node]) -> None:
    supervised = node("supervised")
    first = supervised.read()
    second = supervised.read_again(first)
    for act in (
        lambda g: supervised.release(first, generation=g),
        lambda g: withhold(supervised.spool, first.study_key, BY, g),
    ):
        with pytest.raises(ReleaseError, match="another image of this study has come"):
            act(first.generation)
    assert supervised.release(first, generation=second.generation) == EVERYWHERE


@pytest.mark.parametrize(("mode", "sends"), [("live", EVERYWHERE), ("shadow", [])])
def test_a_late_image_in_another_mode_makes_what_waits_outdated_too(
    node: Callable[[str], Node], mode: str, sends: list[str]
) -> None:
    supervised = node("supervised")
    first = supervised.read()
    supervised.change_mode(mode)
    again = supervised.filled.read_again(first, Triage.FLAGGED)
    assert supervised.post(again) == sends
    assert supervised.why_unsent(first) is Unsent.SUPERSEDED
    assert supervised.waits() == []


def test_a_reading_that_was_parked_and_is_outdated_by_now_does_not_wait(node: Callable[[str], Node]) -> None:
    supervised = node("supervised")
    first = supervised.filled.read()
    second = supervised.read_again(first)
    assert supervised.post(first) == []
    assert supervised.why_unsent(first) is Unsent.SUPERSEDED
    assert supervised.waits() == [(second.study_key, second.generation)]


def test_after_a_release_a_late_image_waits_and_its_report_replaces_the_one_that_was_sent(
    node: Callable[[str], Node],
) -> None:
    supervised = node("supervised")
    first = supervised.read()
    supervised.release(first)
    second = supervised.read_again(first)
    assert supervised.waits() == [(second.study_key, second.generation)]
    assert supervised.why_unsent(first) is None
    assert supervised.release(second) == EVERYWHERE


# Who asks for nothing


@pytest.mark.parametrize("act", [lambda s, k: release_study(s, "supervised", k, BY), lambda s, k: withhold(s, k, BY)])
def test_what_is_not_there_is_neither_released_nor_withheld(
    node: Callable[[str], Node], act: Callable[[Spool, str], Task]
) -> None:
    supervised = node("supervised")
    arriving = supervised.filled.received()
    settled = supervised.filled.settled().study_key
    delivered = supervised.filled.delivered().study_key
    words = {
        "": "no study - is held",
        "../../etc": "no study",
        key_of("unknown"): "no study",
        arriving: "still coming in",
        settled: "is being read",
        delivered: "there already",
    }
    for key, why in words.items():
        with pytest.raises(ReleaseError, match=why):
            act(supervised.spool, key)
    assert {task.verb for state in STATES for task in supervised.spool.agenda.tasks(state)} == {"read"}


def test_a_study_is_named_by_the_beginning_of_its_key_where_that_names_one(node: Callable[[str], Node]) -> None:
    supervised = node("supervised")
    tasks = [supervised.read() for _ in range(17)]
    firsts = [task.study_key[0] for task in tasks]
    twice = next(first for first in firsts if firsts.count(first) > 1)
    with pytest.raises(ReleaseError, match="several studies begin with"):
        release_study(supervised.spool, "supervised", twice, BY)
    assert release_study(supervised.spool, "supervised", tasks[0].study_key[:12], BY).study_key == tasks[0].study_key


# At the same time


def test_of_many_who_release_and_withhold_at_once_one_decides(node: Callable[[str], Node]) -> None:
    supervised = node("supervised")
    outcomes = set()
    for _ in range(15):
        task = supervised.read()
        start, won = Barrier(4), []

        def act(what: str, task: Task = task, start: Barrier = start, won: list[str] = won) -> None:
            spool = Spool(supervised.spool.folder)
            start.wait()
            try:
                if what == "release":
                    release_study(spool, "supervised", task.study_key, BY)
                else:
                    withhold(spool, task.study_key, BY)
            except ReleaseError:
                return
            won.append(what)

        threads = [Thread(target=act, args=(what,)) for what in ("release", "withhold", "release", "withhold")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Withheld first, it may be released after; released first, nothing else follows.
        assert sorted(won) in (["release"], ["release", "withhold"], ["withhold"])
        sent = supervised.work()
        assert sent == (EVERYWHERE if "release" in won else [])
        assert (supervised.why_unsent(task) is Unsent.WITHHELD) == ("release" not in won)
        outcomes.add(tuple(sorted(won)))
    assert any("release" in won for won in outcomes)


# Waiting too long


def test_what_waits_too_long_is_alarmed_once_an_hour_and_the_urgent_sooner(
    node: Callable[[str], Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    supervised = node("supervised")
    supervised.read(Triage.FLAGGED)
    supervised.read(Triage.URGENT)
    urgent, flagged = unreleased(supervised.spool)
    assert not is_overdue(flagged) and not is_overdue(urgent)
    said: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr("node.release.log.alarm", lambda name, **fields: said.append((name, fields)))
    Reminder(supervised.spool).look()
    assert said == []
    monkeypatch.setattr(release, "LONG_IF_URGENT_S", -1.0)
    now_s = [0.0]
    monkeypatch.setattr("node.release.time.monotonic", lambda: now_s[0])
    reminder = Reminder(supervised.spool)
    for minute in range(61):
        now_s[0] = 60.0 * minute
        reminder.look()
    assert said == [("release.overdue", {"count": 1, "study": urgent.study_key})] * 2
    monkeypatch.setattr(release, "LONG_S", -math.inf)
    now_s[0] += 3600
    reminder.look()
    assert said[-1][1] == {"count": 2, "study": urgent.study_key}
