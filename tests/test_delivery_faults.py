"""A PACS that does what no PACS should: each result waits for it or for a person, and is there once in the end."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.sop_class import (
    BasicTextSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
    StorageCommitmentPushModel,
)

from node import association, journey, requestor
from node.agenda import Task
from node.commitment import CommitmentResult
from node.config import Destination, Settings
from node.config import Spool as SpoolSection
from node.deliver import GIVE_UP_AFTER_S, StorageSCU, Stored
from node.dimse import c_store_status, failure_reason
from node.durable import key_of
from node.errors import TryAgain
from node.journey import ASK_AGAIN_AFTER, Follow, Journey
from node.spool import Kind, Spool
from node.workflow import Desk
from tests.acceptor import Acceptor
from tests.raw import (
    ABORT,
    AC,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    command,
    elements,
    pdu,
)
from tests.scp import HOST, UNCOMPRESSED, instance, raw_server, storage_scp, write, write_picture

STUDY = "1.2.3"


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (association, "ACSE_TIMEOUT_S"),
        (association, "DIMSE_TIMEOUT_S"),
        (association, "RELEASE_TIMEOUT_S"),
        (requestor, "PDU_TIMEOUT_S"),
    ):
        monkeypatch.setattr(module, name, 1.0)


# One C-STORE, on the wire


def take_all(connection: Acceptor) -> None:
    """Be a PACS as it should be, for one instance."""
    context_id, request = connection.accept().take_store()
    connection.send(command(context_id, connection.response(request)))
    assert connection.answer()[0] == RELEASE_RQ
    connection.send(pdu(RELEASE_RP, bytes(4)))


def say_nothing(connection: Acceptor) -> None:
    pass


def accept_and_hang(connection: Acceptor) -> None:
    connection.accept()


def hang_in_the_middle_of_a_pdu(connection: Acceptor) -> None:
    context_id, request = connection.accept().take_store()
    connection.send(command(context_id, connection.response(request))[:20])


def close_in_the_middle_of_a_pdu(connection: Acceptor) -> None:
    hang_in_the_middle_of_a_pdu(connection)
    connection.socket.shutdown(socket.SHUT_RDWR)


def close_while_it_is_sent_to(connection: Acceptor) -> None:
    connection.accept().answer()
    connection.socket.shutdown(socket.SHUT_RDWR)


def abort_while_it_is_sent_to(connection: Acceptor) -> None:
    connection.accept().answer()
    connection.send(pdu(ABORT, b"\0\0\0\0"))


def release_at_once(connection: Acceptor) -> None:
    connection.accept().send(pdu(RELEASE_RQ, bytes(4)))


def release_instead_of_an_answer(connection: Acceptor) -> None:
    connection.accept().take_store()
    connection.send(pdu(RELEASE_RQ, bytes(4)))


def confirm_a_release_nobody_asked_for(connection: Acceptor) -> None:
    connection.accept().take_store()
    connection.send(pdu(RELEASE_RP, bytes(4)))


def accept_twice(connection: Acceptor) -> None:
    connection.accept().take_store()
    connection.send(pdu(AC, bytes(68)))


def answer_in_no_known_pdu(connection: Acceptor) -> None:
    connection.accept().take_store()
    connection.send(pdu(0x55, bytes(10)))


def answer_with_4_gb(connection: Acceptor) -> None:
    connection.accept().take_store()
    connection.send(pdu(P_DATA, bytes(100), 0xFFFFFFFF))


def answer_something_else(connection: Acceptor) -> None:
    context_id, request = connection.accept().take_store()
    connection.send(command(context_id, connection.response(request | {0x0110: b"\x63\x00"})))


def answer_without_a_status(connection: Acceptor) -> None:
    context_id, request = connection.accept().take_store()
    connection.send(
        command(context_id, elements(x0002=request[0x0002], x0100=0x8001, x0120=request[0x0110], x0800=0x0101))
    )


FAULTS = [
    say_nothing,
    accept_and_hang,
    hang_in_the_middle_of_a_pdu,
    close_in_the_middle_of_a_pdu,
    close_while_it_is_sent_to,
    abort_while_it_is_sent_to,
    release_at_once,
    release_instead_of_an_answer,
    confirm_a_release_nobody_asked_for,
    accept_twice,
    answer_in_no_known_pdu,
    answer_with_4_gb,
    answer_something_else,
    answer_without_a_status,
]


@pytest.mark.usefixtures("short_waits", "all_threads_end")
@pytest.mark.parametrize("misbehave", FAULTS, ids=lambda fault: fault.__name__)
def test_a_peer_that_breaks_the_protocol_is_tried_again_and_then_takes_the_result(
    tmp_path: Path, misbehave: Callable[[Acceptor], None]
) -> None:
    came: list[Acceptor] = []

    def serve(accepted: socket.socket) -> None:
        came.append(Acceptor(accepted))
        (misbehave if len(came) == 1 else take_all)(came[-1])

    report = write(instance(), tmp_path / "report.dcm")
    with raw_server(serve) as port:
        destination = Destination(name="pacs", ae_title="PACS", host=HOST, port=port)
        with StorageSCU(destination, "CXRTRIAGE") as scu:
            began = time.monotonic()
            with pytest.raises(TryAgain, match="destination 'pacs'"):
                scu.store([report])
            assert time.monotonic() - began < 30, "it was given one second for each of its answers"
            assert scu.store([report]).status.code == 0x0000
    assert len(came) == 2


# A delivery: what is written down of it


@dataclass
class Delivery:
    """Results of one study on their way to a destination named pacs, without a lane: waits are told, not waited."""

    journey: Journey
    task: Task
    write_rest: Callable[[], None]
    waits: list[float] = field(default_factory=list)

    @property
    def entry(self) -> dict[str, Any]:
        entry = self.journey.spool.outbox.delivery("pacs", self.task.study_key, self.task.generation)
        assert entry is not None
        return entry

    def do(self, task: Task) -> Follow | None:
        """Do one task as its lane would."""
        follow = Desk(self.journey)._guarded(task, getattr(self.journey, task.verb))
        if isinstance(follow, Follow):
            self.waits.append(follow.wait_s)
        return follow or None

    def go_on(self, follow: Follow | None, at_most: int = 10_000) -> None:
        """Do what follows until nothing does."""
        for _ in range(at_most):
            if follow is None:
                return
            follow = self.do(follow.task)
        raise AssertionError(f"no end after {at_most} attempts")

    def parked(self) -> list[str]:
        agenda = self.journey.spool.agenda
        return [agenda.reason(task)["message"] for task in agenda.tasks("parked")]

    def take_up(self) -> Follow:
        """Do ``cxr-node retry``."""
        (task,) = self.journey.spool.agenda.tasks("parked")
        again = self.journey.spool.take_up(task)
        assert self.journey.spool.agenda.tasks("parked") == []
        self.journey.spool.agenda.finished(again)
        return Follow(again, 0.0)


Ready = Callable[..., Delivery]


@pytest.fixture
def ready(tmp_path: Path) -> Iterator[Ready]:
    """Give a delivery of a report, in three forms, and a picture."""
    scus: list[Any] = []

    def make(port: int = 1, scu: Any = None, commitment: bool = False, in_parts: bool = False) -> Delivery:
        spool = Spool(tmp_path / "spool")
        spool.take(STUDY, "1.2.3.4", Kind.IMAGE, (b"an image",))
        task = spool.settle(key_of(STUDY))
        assert task is not None
        classes = (ComprehensiveSRStorage, EnhancedSRStorage, BasicTextSRStorage)
        results = {
            f"viewer/01-report/{number}.dcm": write(instance(each), tmp_path / f"{number}.dcm").read_bytes()
            for number, each in enumerate(classes)
        }
        if in_parts:
            spool.write_report(task.study_key, task.generation, results)
            results = {}
        results["viewer/02-picture/0.dcm"] = write_picture(tmp_path / "picture.dcm").read_bytes()
        rest = partial(spool.write_results, task.study_key, task.generation, results)
        if not in_parts:
            rest()
        spool.agenda.finished(task)
        destination = Destination(name="pacs", ae_title="PACS", host=HOST, port=port, commitment=commitment)
        scus.append(scu or StorageSCU(destination, "CXRTRIAGE", spool.outbox.write_commitment))
        settings = Settings(spool=SpoolSection(folder=tmp_path / "spool"), destinations=(destination,))
        of_spool = Journey(settings, spool, cast(Any, None), cast(Any, None), {"pacs": scus[-1]})
        (follow,) = of_spool.post(task)
        return Delivery(of_spool, follow.task, rest)

    yield make
    for scu in scus:
        if isinstance(scu, StorageSCU):
            scu.close()


def uids(delivery: Delivery) -> list[str]:
    """What is to arrive: the first form of each result."""
    held = delivery.journey.spool.results(delivery.task.study_key, delivery.task.generation, "viewer")
    return [str(dcmread(forms[0]).SOPInstanceUID) for forms in held]


# In two parts: the report while its pictures are drawn


def test_a_report_goes_ahead_and_the_rest_follows_once_it_is_written(ready: Ready) -> None:
    with storage_scp() as pacs:
        delivery = ready(pacs.port, in_parts=True)
        assert delivery.do(delivery.task) is None
        (report,) = [each.sop_instance_uid for each in pacs.received]
        assert delivery.entry["state"] == "waiting"
        assert not delivery.journey.spool.is_through(delivery.task.study_key)
        delivery.write_rest()
        (follow,) = delivery.journey.go_on(delivery.task)
        assert delivery.do(follow.task) is None
        assert [each.sop_instance_uid for each in pacs.received] == uids(delivery)
        assert uids(delivery)[0] == report
    assert delivery.entry["state"] == "delivered"
    assert [uid for _, uid in delivery.entry["stored"]] == uids(delivery)
    assert delivery.journey.go_on(delivery.task) == []


def test_the_rest_that_is_written_while_the_report_is_sent_follows_at_once(ready: Ready) -> None:
    with storage_scp() as pacs:
        delivery = ready(pacs.port, in_parts=True)
        scu = delivery.journey.destinations["pacs"]
        store = scu.store

        def store_and_write(files: Any) -> Stored:
            stored = store(files)
            delivery.write_rest()
            return stored

        scu.store = store_and_write  # type: ignore[method-assign]
        follow = delivery.do(delivery.task)
        scu.store = store  # type: ignore[method-assign]
        delivery.go_on(follow)
        assert [each.sop_instance_uid for each in pacs.received] == uids(delivery)
    assert delivery.entry["state"] == "delivered"


def test_a_rest_that_fails_is_tried_again_without_the_report(ready: Ready) -> None:
    with storage_scp() as pacs:
        delivery = ready(pacs.port, in_parts=True)
        delivery.do(delivery.task)
        delivery.write_rest()
        pacs.status = 0xA700
        (rest,) = delivery.journey.go_on(delivery.task)
        again = delivery.do(rest.task)
        assert again is not None
        pacs.status = 0x0000
        delivery.go_on(again)
        assert [each.sop_instance_uid for each in pacs.received].count(uids(delivery)[0]) == 1
    assert delivery.entry["state"] == "delivered"
    assert [uid for _, uid in delivery.entry["stored"]] == uids(delivery)


@pytest.mark.parametrize("code", [0x0000, 0xB000, 0xB006, 0xB007, 0x0111])
def test_what_the_pacs_has_taken_or_had_before_is_delivered(ready: Ready, code: int) -> None:
    with storage_scp() as pacs:
        pacs.status = code
        delivery = ready(pacs.port)
        assert delivery.do(delivery.task) is None
        assert delivery.entry["state"] == "delivered"
        assert [each.sop_instance_uid for each in pacs.received] == uids(delivery)
        assert delivery.do(delivery.task) is None, "done over, it sends nothing"
        assert len(pacs.received) == 2


def test_a_record_that_cannot_be_made_parks_no_result_that_is_stored(
    ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError

    monkeypatch.setattr("node.audit.sent", fail)
    with storage_scp() as pacs:
        delivery = ready(pacs.port)
        assert delivery.do(delivery.task) is None
        assert delivery.entry["state"] == "delivered"
        assert delivery.parked() == []


def test_a_destination_that_was_given_another_profile_is_told_of_and_gets_its_results_once_it_has_the_old_one(
    ready: Ready,
) -> None:
    with storage_scp() as pacs:
        delivery = ready(pacs.port)
        old = delivery.journey.settings
        new = old.destinations[0].model_copy(update={"profile": "air"})
        object.__setattr__(delivery.journey, "settings", old.model_copy(update={"destinations": (new,)}))
        assert delivery.do(delivery.task) is None
        (reason,) = delivery.parked()
        assert "no results of the profile 'air'" in reason
        assert pacs.received == []
        object.__setattr__(delivery.journey, "settings", old)
        delivery.go_on(delivery.take_up())
        assert [each.sop_instance_uid for each in pacs.received] == uids(delivery)


@pytest.mark.parametrize("code", [0xA700, 0x0110, 0x0213])
def test_what_passes_by_itself_waits_and_is_sent_again(ready: Ready, code: int) -> None:
    with storage_scp() as pacs:
        pacs.status = code
        delivery = ready(pacs.port)
        follow = delivery.do(delivery.task)
        assert follow is not None
        assert (follow.task, follow.wait_s <= 2) == (delivery.task.next, True)
        assert delivery.entry["state"] == "waiting"
        assert f"0x{code:04X}" in delivery.entry["error"]
        pacs.status = 0x0000
        pacs.received.clear()
        delivery.go_on(follow)
        assert (delivery.entry["state"], delivery.entry["error"]) == ("delivered", None)
        assert [each.sop_instance_uid for each in pacs.received] == uids(delivery)


@pytest.mark.parametrize("code", [0x0122, 0x0124, 0xA800, 0xA900, 0xC000])
def test_what_a_person_must_mend_is_parked_with_its_reason_and_retry_delivers_it_once(ready: Ready, code: int) -> None:
    with storage_scp() as pacs:
        pacs.status = code
        delivery = ready(pacs.port)
        assert delivery.do(delivery.task) is None
        assert delivery.entry["state"] == "parked"
        assert f"0x{code:04X}" in delivery.entry["error"]
        assert delivery.parked() == [delivery.entry["error"]]
        pacs.status = 0x0000
        pacs.received.clear()
        delivery.go_on(delivery.take_up())
        assert delivery.entry["state"] == "delivered"
        assert [each.sop_instance_uid for each in pacs.received] == uids(delivery)


@pytest.mark.parametrize("code", [0x0122, 0xA800])
def test_a_form_that_is_refused_by_its_class_gives_way_to_the_next(ready: Ready, code: int) -> None:
    taken: list[str] = []

    def store(event: Any) -> int:
        sop_class = event.request.AffectedSOPClassUID
        if sop_class in (ComprehensiveSRStorage, EnhancedSRStorage):
            return code
        taken.append(sop_class)
        return 0x0000

    with storage_scp(handlers=[(evt.EVT_C_STORE, store)]) as pacs:
        delivery = ready(pacs.port)
        delivery.go_on(Follow(delivery.task, 0.0))
        assert delivery.entry["state"] == "delivered"
    assert taken == [BasicTextSRStorage, SecondaryCaptureImageStorage]


def test_a_pacs_that_takes_reports_but_no_pictures_has_the_report_and_a_person_is_told(ready: Ready) -> None:
    with storage_scp([(ComprehensiveSRStorage, [ExplicitVRLittleEndian])]) as pacs:
        delivery = ready(pacs.port)
        assert delivery.do(delivery.task) is None
        assert [each.sop_class_uid for each in pacs.received] == [ComprehensiveSRStorage]
        (reason,) = delivery.parked()
        assert "Let it accept Secondary Capture Image Storage" in reason


@pytest.mark.parametrize(("result", "state"), [(1, "parked"), (2, "waiting")], ids=["for good", "for now"])
def test_a_rejected_association_parks_or_waits_as_the_pacs_says(ready: Ready, result: int, state: str) -> None:
    def reject(event: Any) -> None:
        event.assoc.acse.send_reject(result, 3 if result == 2 else 1, 1)
        event.assoc.kill()

    with storage_scp(handlers=[(evt.EVT_REQUESTED, reject)]) as pacs:
        delivery = ready(pacs.port)
        delivery.do(delivery.task)
        assert delivery.entry["state"] == state
        assert "refused the association" in delivery.entry["error"]


class Absent:
    """A destination that cannot be reached."""

    def store(self, alternatives: Sequence[Path]) -> Stored:
        raise TryAgain("destination 'pacs' cannot be reached: connection refused.")


@pytest.mark.usefixtures("no_fsync")
def test_after_72_hours_of_waiting_it_is_parked_and_retry_delivers_it_once(ready: Ready) -> None:
    delivery = ready(scu=Absent())
    delivery.go_on(Follow(delivery.task, 0.0))
    assert GIVE_UP_AFTER_S - 600 <= sum(delivery.waits) <= GIVE_UP_AFTER_S == 72 * 3600
    assert 432 <= len(delivery.waits) <= 600, "every ten minutes, or a little less"
    (reason,) = delivery.parked()
    assert "given up after 72 h" in reason and "connection refused" in reason
    with (
        storage_scp() as pacs,
        StorageSCU(Destination(name="pacs", ae_title="PACS", host=HOST, port=pacs.port), "CXRTRIAGE") as scu,
    ):
        cast(dict[str, Any], delivery.journey.destinations)["pacs"] = scu
        delivery.go_on(delivery.take_up())
        assert [each.sop_instance_uid for each in pacs.received] == uids(delivery)
    assert delivery.entry["state"] == "delivered"
    assert delivery.entry["failures"] == 0, "after a person's word it begins anew"


# Storage commitment


class Committing:
    """A PACS that takes everything and is asked for its commitment; what it reports, and when, is the test's to say."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.asked: list[str] = []

    def store(self, alternatives: Sequence[Path]) -> Stored:
        file = dcmread(alternatives[0], stop_before_pixels=True)
        self.stored.append(str(file.SOPInstanceUID))
        return Stored(str(file.SOPClassUID), self.stored[-1], ExplicitVRLittleEndian, c_store_status(0x0000))

    def request_commitment(self, references: Sequence[tuple[str, str]], transaction_uid: str) -> None:
        self.asked.append(transaction_uid)


@pytest.fixture
def committing(ready: Ready) -> tuple[Delivery, Committing, Follow]:
    """A delivery that waits for its commitment."""
    scu = Committing()
    delivery = ready(scu=scu, commitment=True)
    follow = delivery.do(delivery.task)
    assert follow is not None and delivery.entry["state"] == "committing"
    return delivery, scu, follow


def report(
    delivery: Delivery, transaction: str, committed: Sequence[str], failed: Sequence[tuple[str, int]] = ()
) -> bool:
    reasons = tuple((uid, failure_reason(code)) for uid, code in failed)
    return delivery.journey.spool.outbox.write_commitment(CommitmentResult(transaction, tuple(committed), reasons))


def kept(delivery: Delivery) -> list[Path]:
    return list((delivery.journey.spool.folder / "commitments").iterdir())


Waiting = tuple[Delivery, Committing, Follow]


@pytest.mark.usefixtures("no_fsync")
def test_a_commitment_that_never_comes_is_asked_for_every_hour_and_given_up_after_72(
    committing: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Six looks an hour instead of sixty.
    monkeypatch.setattr(journey, "CONFIRM_EVERY_S", (1.0, 600.0))
    monkeypatch.setattr(journey, "ASK_AGAIN_AFTER", 7)
    delivery, scu, follow = committing
    delivery.go_on(follow)
    assert delivery.entry["state"] == "parked"
    assert abs(sum(delivery.waits) - GIVE_UP_AFTER_S) < 3600
    assert 50 <= len(scu.asked) <= 80
    assert len(set(scu.asked)) == len(scu.asked), "each request has a transaction of its own (PS3.4 J.3.2)"
    (reason,) = delivery.parked()
    assert "has not reported its commitment" in reason
    follow = delivery.take_up()
    assert report(delivery, scu.asked[3], uids(delivery)), "it comes at last, to a request of long ago"
    delivery.go_on(follow)
    assert delivery.entry["state"] == "delivered"
    assert kept(delivery) == []


def test_a_commitment_that_takes_longer_than_it_is_waited_for_counts_all_the_same(committing: Waiting) -> None:
    delivery, scu, follow = committing
    for _ in range(ASK_AGAIN_AFTER + 2):
        follow = delivery.do(follow.task) or follow
    assert len(scu.asked) == 2
    assert report(delivery, scu.asked[0], uids(delivery))
    delivery.go_on(follow)
    assert delivery.entry["state"] == "delivered"
    assert kept(delivery) == []


def test_a_commitment_that_comes_twice_is_acted_on_once(committing: Waiting) -> None:
    delivery, scu, follow = committing
    assert [report(delivery, scu.asked[0], uids(delivery)) for _ in range(2)] == [True, True]
    delivery.go_on(follow)
    assert delivery.entry["state"] == "delivered"
    assert report(delivery, scu.asked[0], [], [(uids(delivery)[0], 0x0112)]) is False, "nobody waits for it any more"
    assert delivery.do(follow.task) is None
    assert delivery.entry["state"] == "delivered"
    assert kept(delivery) == []


def test_a_commitment_for_an_unknown_transaction_leaves_nothing(committing: Waiting) -> None:
    delivery, _, follow = committing
    assert report(delivery, "2.25.4711", uids(delivery)) is False
    assert delivery.do(follow.task) is not None
    assert delivery.entry["state"] == "committing"
    assert len(kept(delivery)) == 1


@pytest.mark.parametrize("named_twice", [False, True])
def test_what_the_pacs_lost_is_stored_and_asked_for_again(committing: Waiting, named_twice: bool) -> None:
    delivery, scu, follow = committing
    first, second = uids(delivery)
    # A PACS that contradicts itself is believed where it says that it failed.
    report(delivery, scu.asked[0], [first, *([second] if named_twice else [])], [(second, 0x0112)])
    again = delivery.do(follow.task)
    assert again is not None and again.task.verb == "deliver"
    assert "did not commit to 1 results: 0x0112" in delivery.entry["error"]
    follow = cast(Follow, delivery.do(again.task))
    assert scu.stored == [first, second] * 2
    assert len(set(scu.asked)) == 2
    report(delivery, scu.asked[1], [first, second])
    delivery.go_on(follow)
    assert delivery.entry["state"] == "delivered"
    assert kept(delivery) == []


def test_a_pacs_that_will_not_keep_a_class_is_named_and_a_person_is_told(committing: Waiting) -> None:
    delivery, scu, follow = committing
    first, second = uids(delivery)
    report(delivery, scu.asked[0], [first], [(second, 0x0122)])
    assert delivery.do(follow.task) is None
    (reason,) = delivery.parked()
    assert "0x0122 (referenced SOP class not supported)" in reason
    delivery.take_up()


def test_a_stop_between_the_answer_and_what_was_to_follow_asks_once_more(
    committing: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery, scu, follow = committing
    report(delivery, scu.asked[0], [])
    with pytest.raises(TryAgain):
        delivery.journey.confirm(follow.task)  # and the process ends here, before the failure is noted
    again = delivery.do(follow.task)
    assert again is not None and again.task.verb == "deliver"
    assert delivery.do(again.task) is not None
    assert len(set(scu.asked)) == 2


def test_a_pacs_that_refuses_the_request_for_commitment_is_judged_and_asked_with_another_transaction(
    ready: Ready,
) -> None:
    asked: list[str] = []
    answers = iter([0x0213, 0x0000])

    def on_action(event: Any) -> tuple[int, None]:
        asked.append(str(event.action_information.TransactionUID))
        return next(answers), None

    both = [(each, UNCOMPRESSED) for each in (ComprehensiveSRStorage, SecondaryCaptureImageStorage)]
    contexts = [*both, (StorageCommitmentPushModel, UNCOMPRESSED)]
    with storage_scp(contexts, handlers=[(evt.EVT_N_ACTION, on_action)]) as pacs:
        delivery = ready(pacs.port, commitment=True)
        again = delivery.do(delivery.task)
        assert again is not None and again.task.verb == "deliver"
        assert "0x0213" in delivery.entry["error"]
        follow = delivery.do(again.task)
        assert follow is not None and follow.task.verb == "confirm"
    assert len(set(asked)) == 2
