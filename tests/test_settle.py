"""When a study counts as complete: the rules by a clock held in the hand, then a settler at work with short waits."""

import threading
import time

import pytest

from node import settle
from node.settle import Settler
from tests.peers import wait_until

# Long enough that no test lives to see it.
NEVER_S = 600.0
SHORT_S = 0.05


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self):
        self.now_s = 1000.0

    def monotonic(self):
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    held = Clock()
    monkeypatch.setattr(settle, "time", held)
    return held


class Calls(list):
    """What a settler called, and how many calls were under way at once."""

    def __init__(self):
        super().__init__()
        self.at_once = self.most_at_once = 0

    def __call__(self, study_key):
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.append(study_key)
        self.at_once -= 1


@pytest.fixture
def calls():
    return Calls()


@pytest.fixture
def settler(calls):
    """Run settlers; all are stopped at the end."""
    running = []

    def run(settle_s, quiet_s, on_settled=calls):
        running.append(Settler(settle_s, quiet_s, on_settled))
        running[-1].start()
        return running[-1]

    yield run
    for each in running:
        each.stop()
    assert not any(thread.name == "settler" for thread in threading.enumerate())


def due_in_s(settler, clock, study_key="a"):
    """In how many seconds a settler that does not run would call."""
    return settler._due_s(settler._arrivals[study_key]) - clock.now_s


def idle(settle_s=1.0, quiet_s=5.0):
    return Settler(settle_s, quiet_s, lambda study_key: None)


# The rules


def test_a_study_is_complete_settle_s_after_its_association_is_released(clock):
    settler = idle()
    settler.arrived("a", 1)
    clock.now_s += 2
    settler.released(1)
    assert due_in_s(settler, clock) == 1.0


@pytest.mark.parametrize("is_released", [True, False])
def test_a_sender_that_never_rests_keeps_no_study_from_being_read(clock, is_released):
    settler = idle()
    for association in range(15):
        settler.arrived("a", association if is_released else 0)
        if is_released:
            settler.released(association)
        clock.now_s += 4
    assert due_in_s(settler, clock) == settle.LONGEST_QUIETS * 5.0 - 15 * 4


def test_images_of_one_association_do_not_make_it_wait_longer(clock):
    settler = idle()
    for _ in range(20):
        settler.arrived("a", 1)
        clock.now_s += 0.1
    settler.released(1)
    assert due_in_s(settler, clock) == 1.0


def test_a_sender_that_keeps_its_association_open_is_given_quiet_s_after_its_last_image(clock):
    settler = idle()
    settler.arrived("a", 1)
    assert due_in_s(settler, clock) == 5.0
    clock.now_s += 4
    assert due_in_s(settler, clock) == 1.0
    settler.arrived("a", 1)
    assert due_in_s(settler, clock) == 5.0


def test_where_images_come_one_association_each_quiet_s_take_the_place_of_settle_s(clock):
    settler = idle()
    for association in (1, 2, 3):
        settler.arrived("a", association)
        clock.now_s += 0.2
        settler.released(association)
        assert due_in_s(settler, clock) == (1.0 if association == 1 else 5.0)
        clock.now_s += 0.5


def test_one_association_of_several_still_open_keeps_the_study_waiting(clock):
    settler = idle()
    settler.arrived("a", 1)
    settler.arrived("a", 2)
    clock.now_s += 1
    settler.released(1)
    clock.now_s += 2
    assert due_in_s(settler, clock) == 2.0
    settler.released(2)
    assert due_in_s(settler, clock) == 5.0


def test_an_association_whose_number_is_used_again_counts_as_another(clock):
    settler = idle()
    for _ in range(2):
        settler.arrived("a", 1)
        settler.released(1)
    assert due_in_s(settler, clock) == 5.0


def test_an_association_that_brings_two_studies_completes_both(clock):
    settler = idle()
    settler.arrived("a", 1)
    settler.arrived("b", 1)
    clock.now_s += 1
    settler.released(1)
    assert due_in_s(settler, clock, "a") == due_in_s(settler, clock, "b") == 1.0


def test_the_end_of_another_association_changes_nothing(clock):
    settler = idle()
    settler.arrived("a", 1)
    settler.released(2)
    assert due_in_s(settler, clock) == 5.0


def test_an_association_that_ended_before_its_last_image_was_stored_does_not_hold_the_study(clock):
    settler = idle()
    settler.released(1)
    settler.arrived("a", 1)
    assert due_in_s(settler, clock) == 5.0


def test_ending_an_association_twice_does_not_start_its_wait_again(clock):
    settler = idle()
    settler.arrived("a", 1)
    settler.released(1)
    clock.now_s += 0.75
    settler.released(1)
    assert due_in_s(settler, clock) == 0.25


def test_only_the_end_of_an_association_that_brought_something_wakes_the_thread(clock, monkeypatch):
    settler, woken = idle(), []
    settler.arrived("a", 1)
    monkeypatch.setattr(settler._changed, "notify", lambda: woken.append(True))
    settler.released(2)
    assert not woken
    settler.released(1)
    settler.released(1)
    assert woken == [True]


def test_quiet_s_is_never_shorter_than_settle_s(clock):
    settler = idle(settle_s=3.0, quiet_s=0.5)
    settler.arrived("a", 1)
    assert due_in_s(settler, clock) == 3.0
    settler.released(1)
    settler.arrived("a", 2)
    settler.released(2)
    assert due_in_s(settler, clock) == 3.0


def test_a_study_that_comes_back_waits_as_if_its_last_image_came_then(clock):
    settler = idle()
    settler.come_back("a")
    settler.come_back("b", 10.0)
    assert (due_in_s(settler, clock, "a"), due_in_s(settler, clock, "b")) == (5.0, 15.0)


def test_coming_back_does_not_delay_a_study_that_is_arriving(clock):
    settler = idle()
    settler.arrived("a", 1)
    settler.released(1)
    settler.come_back("a", 10.0)
    assert due_in_s(settler, clock) == 1.0


def test_an_image_of_a_study_that_comes_back_is_waited_for_by_quiet_s(clock):
    settler = idle()
    settler.come_back("a", 10.0)
    settler.arrived("a", 1)
    assert due_in_s(settler, clock) == 5.0
    settler.released(1)
    assert due_in_s(settler, clock) == 1.0


# At work


def test_a_released_study_is_settled_once(settler, calls):
    running = settler(SHORT_S, NEVER_S)
    running.arrived("a", 1)
    running.arrived("a", 1)
    running.released(1)
    wait_until(lambda: calls)
    running.arrived("b", 2)
    running.released(2)
    wait_until(lambda: "b" in calls)
    assert calls == ["a", "b"]


def test_a_study_is_not_settled_while_its_association_is_open(settler, calls):
    running = settler(SHORT_S, NEVER_S)
    running.arrived("a", 1)
    running.arrived("b", 2)
    running.released(2)
    wait_until(lambda: calls)
    time.sleep(3 * SHORT_S)
    assert calls == ["b"]
    running.released(1)
    wait_until(lambda: len(calls) == 2)
    assert calls == ["b", "a"]


def test_a_study_of_two_associations_is_not_settled_after_settle_s(settler, calls):
    running = settler(SHORT_S, NEVER_S)
    for association in (1, 2):
        running.arrived("a", association)
        running.released(association)
    running.arrived("b", 3)
    running.released(3)
    wait_until(lambda: calls)
    time.sleep(3 * SHORT_S)
    assert calls == ["b"]


def test_a_study_of_many_associations_is_settled_once_after_quiet_s(settler, calls):
    running = settler(0.1, 0.4)
    for association in range(10):
        running.arrived("a", association)
        running.released(association)
    wait_until(lambda: calls)
    time.sleep(0.6)
    assert calls == ["a"]


def test_a_study_of_an_association_that_never_ends_is_settled(settler, calls):
    running = settler(SHORT_S, 0.2)
    running.arrived("a", 1)
    wait_until(lambda: calls)
    assert calls == ["a"]


def test_a_late_image_settles_the_study_again(settler, calls):
    running = settler(SHORT_S, SHORT_S)
    for time_of_coming in (1, 2, 3):
        running.arrived("a", time_of_coming)
        running.released(time_of_coming)
        wait_until(lambda expected=time_of_coming: len(calls) == expected)
    assert calls == ["a"] * 3


def test_the_same_open_association_may_bring_more_after_the_study_was_settled(settler, calls):
    running = settler(SHORT_S, 0.1)
    running.arrived("a", 1)
    wait_until(lambda: len(calls) == 1)
    running.arrived("a", 1)
    running.released(1)
    wait_until(lambda: len(calls) == 2)
    assert calls == ["a", "a"]


def test_a_study_that_comes_back_is_settled(settler, calls):
    running = settler(SHORT_S, SHORT_S)
    running.come_back("a")
    wait_until(lambda: calls)
    assert calls == ["a"]


@pytest.mark.parametrize("stays", [False, True], ids=["who brought it has gone", "who brought it stays"])
def test_an_image_of_a_study_that_was_put_off_far_is_not_kept_waiting_for_that(settler, calls, stays):
    running = settler(SHORT_S, SHORT_S)
    running.come_back("a", NEVER_S)
    running.arrived("a", 1)
    if not stays:
        running.released(1)
    wait_until(lambda: calls)
    assert calls == ["a"]


def test_a_study_may_be_put_off_from_within_the_call(settler):
    attempts = []

    def on_settled(study_key):
        attempts.append(study_key)
        if len(attempts) < 3:
            running.come_back(study_key, 0.01)

    running = settler(SHORT_S, SHORT_S, on_settled)
    running.come_back("a")
    wait_until(lambda: len(attempts) == 3)
    time.sleep(4 * SHORT_S)
    assert attempts == ["a"] * 3


@pytest.mark.parametrize("error", [ValueError, KeyError, TypeError, RecursionError, MemoryError, OSError])
def test_a_fault_in_settling_one_study_ends_no_thread_and_the_study_is_settled_later(settler, monkeypatch, error):
    monkeypatch.setattr(settle, "AFTER_FAULT_S", SHORT_S)
    attempts = []

    def on_settled(study_key):
        attempts.append(study_key)
        if attempts == ["a"]:
            raise error

    running = settler(SHORT_S, SHORT_S, on_settled)
    running.come_back("a")
    wait_until(lambda: attempts == ["a", "a"])
    running.come_back("b")
    wait_until(lambda: attempts == ["a", "a", "b"])


def test_studies_are_never_settled_two_at_once_nor_twice(settler, calls):
    running = settler(SHORT_S, SHORT_S)
    keys = [f"{number}" for number in range(40)]

    def bring(number):
        running.arrived(keys[number], number)
        running.released(number)

    threads = [threading.Thread(target=bring, args=(number,)) for number in range(len(keys))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: len(calls) >= len(keys))
    assert sorted(calls) == sorted(keys)
    assert calls.most_at_once == 1


def test_images_may_arrive_while_a_study_is_being_settled(settler):
    held, go_on, done = threading.Event(), threading.Event(), []

    def on_settled(study_key):
        held.set()
        assert go_on.wait(20)
        done.append(study_key)

    running = settler(SHORT_S, SHORT_S, on_settled)
    running.arrived("a", 1)
    running.released(1)
    assert held.wait(20)
    running.arrived("a", 2)
    running.released(2)
    go_on.set()
    wait_until(lambda: len(done) == 2)
    assert done == ["a", "a"]


def test_nothing_is_remembered_of_settled_studies(settler, calls):
    running = settler(SHORT_S, SHORT_S)
    for association in range(30):
        running.arrived(str(association), association)
        running.released(association)
    wait_until(lambda: len(calls) == 30)
    assert running._arrivals == {}


def test_a_settler_that_is_stopped_does_not_wait_for_its_studies(settler, calls):
    running = settler(NEVER_S, NEVER_S)
    running.arrived("a", 1)
    running.released(1)
    running.stop()
    running.stop()
    assert calls == []


def test_a_settler_that_was_never_started_stops():
    idle().stop()
