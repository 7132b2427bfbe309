"""A study's way after the spool: what `node.reading` writes is posted, delivered to each destination, and confirmed by it.

Each stage leaves its result in the spool before it returns and finds it there when it is asked again, so it may be cut off
and repeated at any point. `node.workflow` puts them in their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from node import audit, log
from node.agenda import Task
from node.config import Destination
from node.deliver import GIVE_UP_AFTER_S, LONGEST_BACKOFF_S, StorageSCU, Stored, backoff_s
from node.dimse import Outcome
from node.errors import NotTaken, Parked, TryAgain
from node.notices import tell_of_study
from node.product import uid
from node.reading import ReadingStages
from node.release import is_to_be_sent
from node.report import EXTRAS, REPORTS, Profile

# Seconds between looks for a commitment: PACS answer within seconds, or after a night's archiving.
CONFIRM_EVERY_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
# After these many looks (about an hour) the commitment is asked for again; a lost report is the usual reason.
ASK_AGAIN_AFTER = 60


@dataclass(frozen=True, slots=True)
class Follow:
    """What is to be done next, and in how many seconds."""

    task: Task
    wait_s: float


@dataclass(frozen=True)
class Journey(ReadingStages):
    """What all stages need: what reading does, and the way to each destination.

    Attributes
    ----------
    destinations : mapping of str to StorageSCU
        By the destination's name.
    """

    destinations: Mapping[str, StorageSCU]

    def go_on(self, task: Task) -> list[Follow]:
        """Return the deliveries that have begun with the report alone."""
        names = [destination.name for destination in self.settings.destinations]
        entries = [self.spool.outbox.delivery(name, task.study_key, task.generation) for name in names]
        return [Follow(Task.parse(entry["next"]), wait_s(entry)) for entry in entries if entry and entry["next"]]

    def post(self, task: Task) -> list[Follow]:
        """Put the results of a generation into the outbox of every destination, or keep them back where the mode says so.

        Raises
        ------
        Parked
            Where a person has released them and the node is in shadow mode since.
        """
        name = task.study_key, task.generation
        wanted = [each for each in self.settings.destinations if self.spool.results(*name, each.profile)]
        if not is_to_be_sent(self.spool, self.settings.mode, task, bool(wanted)):
            if self.settings.mode == "supervised" and self.spool.agenda.is_noted(Task("post", *name)):
                tell_of_study(self.spool, self.settings, *name, unreleased=True)
            return []
        tasks = []
        for destination in wanted:
            deliver = replace(task, verb="deliver", destination=destination.name, attempt=1)
            if self.spool.outbox.delivery(destination.name, *name) is None:
                self._save(deliver, _fresh_entry(deliver))
            tasks.append(Follow(deliver, 0.0))
        if tasks:
            tell_of_study(self.spool, self.settings, *name)
        return tasks

    def deliver(self, task: Task) -> Follow | None:
        """Store the results of a generation at one destination, once.

        Returns
        -------
        Follow or None
            The first look for the commitment, None when the delivery is complete.

        Raises
        ------
        TryAgain, Parked
        """
        destination = self._destination(task.destination)
        entry = self._entry(task)
        if entry["state"] == "delivered":
            return None
        if self.settings.mode == "shadow":
            raise Parked(
                "the node is in shadow mode since, and sends nothing. When it is not any more, run cxr-node retry."
            )
        # Before they are listed: more may come meanwhile.
        is_whole = self.spool.has_results(task.study_key, task.generation)
        results = self.spool.results(task.study_key, task.generation, destination.profile)
        if not results:
            raise Parked(
                f"this study has no results of the profile {destination.profile!r}, which destination {task.destination!r} "
                "was given since. Give it back the profile it had, then run cxr-node retry."
            )
        before = [(sop_class_uid, uid) for sop_class_uid, uid in entry.get("sent", ())]
        stored = before + self._store(task, results[len(before) :])
        with log.Outlived("audit.failed", destination=task.destination):  # what is stored is not parked for its record
            study = audit.study_of(task.study_key, results[0][0])
            audit.sent(destination, study, Counter(sop_class_uid for sop_class_uid, _ in stored[len(before) :]))
        if not is_whole:
            return self._await_the_rest(task, entry, stored)
        entry.pop("sent", None)
        entry.update(stored=stored, stored_at=_now(), error=None)
        if destination.commitment:
            return self._ask_for_commitment(task, entry)
        self._close(task, entry)
        return None

    def _store(self, task: Task, results: list[list[Path]]) -> list[tuple[str, str]]:
        """Store results, and return the (SOP class UID, SOP instance UID) of each that was taken; an extra may be refused."""
        stored = []
        for alternatives in results:
            try:
                done = self._store_one(task, alternatives)
            except Parked as refused:
                if (kind := kind_of(alternatives)) not in EXTRAS:
                    raise
                log.alarm(
                    "result.refused", study=task.study_key, destination=task.destination, kind=kind, error=str(refused)
                )
                continue
            stored.append((done.sop_class_uid, done.sop_instance_uid))
            log.event("result.stored", study=task.study_key, destination=task.destination, status=str(done.status))
        return stored

    def _store_one(self, task: Task, alternatives: list[Path]) -> Stored:
        """Store a result, in another of its forms where the destination does not take the one that there is."""
        scu = self.destinations[task.destination]
        try:
            return scu.store(alternatives)
        except NotTaken:
            others = self._other_forms(task, alternatives)
            if not others:
                raise
            return scu.store([*alternatives, *others])

    def _other_forms(self, task: Task, alternatives: list[Path]) -> list[Path]:
        """Write the forms of a report that it does not have yet, and return them; only a report has others."""
        of_result = alternatives[0].parent
        if kind_of(alternatives) not in REPORTS:
            return []
        report = self.in_every_form(task, cast("Profile", of_result.parent.name))
        missing = list(enumerate(report.encodings))[len(alternatives) :]
        return [self.spool.add_form(of_result, f"{preference}.dcm", encoded.data) for preference, encoded in missing]

    def _ask_for_commitment(self, task: Task, entry: dict[str, Any]) -> Follow:
        """Ask the destination to commit to what it stored, and plan the first look for its answer."""
        look, transaction = replace(task, verb="confirm", attempt=entry["looks"] + 1), uid("commitment", task.name)
        self.spool.outbox.expect_commitment(transaction)
        entry["transactions"] = [*_others(entry, transaction), transaction]
        entry.update(state="committing", next=look.name, due=_due(CONFIRM_EVERY_S[0]))
        self._save(task, entry)
        self.destinations[task.destination].request_commitment(entry["stored"], transaction)
        return Follow(look, CONFIRM_EVERY_S[0])

    def _await_the_rest(self, task: Task, entry: dict[str, Any], sent: list[tuple[str, str]]) -> Follow | None:
        """Note that the report has been stored, and go on at once where the rest was written meanwhile."""
        rest = replace(task, attempt=entry["attempt"] + 1)
        entry.update(sent=sent, error=None, next=rest.name)
        self._save(task, entry)
        # Whoever writes it looks for this note afterwards: either here or there it is seen that there is more to send.
        return Follow(rest, 0.0) if self.spool.has_results(task.study_key, task.generation) else None

    def confirm(self, task: Task) -> Follow | None:
        """Look once whether the destination has committed to what it stored.

        Returns
        -------
        Follow or None
            The next look, None when it has committed to everything.

        Raises
        ------
        TryAgain
            When an instance must be stored, or the commitment requested, once more.
        Parked
            When the destination refuses to commit for a reason that does not pass.
        """
        entry = self._entry(task)
        if entry["state"] == "delivered":
            return None
        if not entry.get("transactions"):  # a stop fell between the answer, which was acted on, and what was to follow
            raise TryAgain(f"destination {task.destination!r} is asked for its commitment once more")
        answer = self._answer(entry)
        entry["looks"] = task.attempt
        if answer is None:
            return self._look_again(task, entry)
        asked = entry.pop("transactions")
        missing = {instance for _, instance in entry["stored"]} - _committed(answer)
        if missing:
            self._save(task, entry)
        else:
            entry["committed_at"] = _now()
            self._close(task, entry)
        for transaction in asked:
            self.spool.outbox.forget_commitment(transaction)
        if missing:
            raise _uncommitted(task, answer, len(missing))
        return None

    def _answer(self, entry: dict[str, Any]) -> dict[str, Any] | None:
        """Return what the destination reported last: also to an earlier request, for all of them name the same instances."""
        for transaction in reversed(entry.get("transactions", ())):
            if answer := self.spool.outbox.commitment(transaction):
                return answer
        return None

    def _look_again(self, task: Task, entry: dict[str, Any]) -> Follow:
        """Plan the next look for a commitment; its wait counts as those between attempts do."""
        if task.attempt % ASK_AGAIN_AFTER == 0:
            self._save(task, entry)
            raise TryAgain(f"destination {task.destination!r} has not reported its commitment; asking again")
        wait_s = CONFIRM_EVERY_S[min(task.attempt, len(CONFIRM_EVERY_S) - 1)]
        entry.update(waited_s=entry["waited_s"] + wait_s, next=task.next.name, due=_due(wait_s))
        self._save(task, entry)
        return Follow(task.next, wait_s)

    def put_off(self, task: Task, error: TryAgain) -> Follow:
        """Note a failed attempt and say when the next one is due.

        The waits are added up instead of reading the clock, so that a clock that jumps ends no delivery.

        Raises
        ------
        Parked
            When it has been tried for three days.
        """
        entry = self._entry(task)
        entry["failures"] += 1
        wait_s = backoff_s(entry["failures"], f"{task.destination}/{task.study_key}")
        if entry["waited_s"] + wait_s > GIVE_UP_AFTER_S:
            raise Parked(f"given up after {GIVE_UP_AFTER_S / 3600:.0f} h. The last trouble was: {error}")
        again = replace(task, verb="deliver", attempt=entry["attempt"] + 1)
        waited_s = entry["waited_s"] + wait_s
        entry.update(state="waiting", error=str(error), waited_s=waited_s, next=again.name, due=_due(wait_s))
        self._save(again, entry)
        log.alarm(
            "delivery.postponed", study=task.study_key, destination=task.destination, wait_s=wait_s, error=str(error)
        )
        return Follow(again, wait_s)

    def set_aside(self, task: Task, error: str, message: str) -> None:
        """Park a task for a person, with the reason."""
        if task.destination != "-":
            entry = self._entry(task)
            entry.update(state="parked", error=message, next=None)
            self._save(task, entry)
        self.spool.agenda.park(task, error, message)
        log.alarm("task.parked", verb=task.verb, study=task.study_key, destination=task.destination, error=message)

    def _close(self, task: Task, entry: dict[str, Any]) -> None:
        entry.update(state="delivered", delivered_at=_now(), error=None, next=None)
        self._save(task, entry)
        log.event(
            "study.delivered",
            study=task.study_key,
            destination=task.destination,
            results=len(entry["stored"]),
            attempt=entry["failures"] + 1,
        )

    def _entry(self, task: Task) -> dict[str, Any]:
        """Return the state of a delivery, a fresh one when it has not begun."""
        held = self.spool.outbox.delivery(task.destination, task.study_key, task.generation)
        return held or _fresh_entry(task)

    def _save(self, task: Task, entry: dict[str, Any]) -> None:
        if task.verb == "deliver":
            entry["attempt"] = max(task.attempt, entry["attempt"])
        self.spool.outbox.post(task.destination, task.study_key, task.generation, entry)

    def _destination(self, name: str) -> Destination:
        for destination in self.settings.destinations:
            if destination.name == name:
                return destination
        raise Parked(f"destination {name!r} is not in the configuration any more; add it, then run cxr-node retry")


def kind_of(alternatives: Sequence[Path]) -> str:
    """Return the kind of a result by the folder that its encodings lie in, such as ``01-triage_report``."""
    return alternatives[0].parent.name.partition("-")[2]


def _fresh_entry(task: Task) -> dict[str, Any]:
    return {
        "study": task.study_key,
        "generation": task.generation,
        "destination": task.destination,
        "state": "waiting",
        "since": _now(),
        "next": task.name,
        "attempt": 1,
        "looks": 0,
        "failures": 0,
        "waited_s": 0.0,
        "error": None,
    }


def wait_s(entry: dict[str, Any]) -> float:
    """Return for how long an open delivery is still to wait (s), after a stop.

    No longer than between any two attempts: where the clock was set back by a day, work must not rest for a day.
    """
    due = entry.get("due")
    left_s = (datetime.fromisoformat(due) - datetime.now(UTC)).total_seconds() if due else 0.0
    return min(max(left_s, 0.0), LONGEST_BACKOFF_S)


def _due(wait_s: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=wait_s)).isoformat()


def _others(entry: dict[str, Any], transaction: str) -> list[str]:
    """Return the transactions of a delivery's earlier requests."""
    return [each for each in entry.get("transactions", ()) if each != transaction]


def _committed(answer: dict[str, Any]) -> set[str]:
    """Return the instances that are committed to; of one that is named as failed, too, the failure is believed."""
    return set(answer["committed"]) - {instance for instance, _, _ in answer["failed"]}


def _uncommitted(task: Task, answer: dict[str, Any], missing: int) -> TryAgain | Parked:
    reasons = sorted({status for _, status, _ in answer["failed"]}) or ["no reason given"]
    message = f"destination {task.destination!r} did not commit to {missing} results: {', '.join(reasons)}"
    if any(outcome == Outcome.PARKED for _, _, outcome in answer["failed"]):
        return Parked(f"{message}. Its log says why; mend that, then run cxr-node retry.")
    return TryAgain(message)


def _now() -> str:
    return datetime.now(UTC).isoformat()
