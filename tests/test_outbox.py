"""A delivery is written down before it is believed, and found again wherever a stop left it."""

import re
import stat
from datetime import UTC, datetime, timedelta

import pytest

from node.commitment import CommitmentResult
from node.dimse import failure_reason
from node.durable import key_of
from node.outbox import Outbox

STUDY, GENERATION = "1f" * 16, "ab" * 8
TRANSACTION = "2.25.4711"


@pytest.fixture
def outbox(tmp_path):
    return Outbox(tmp_path / "spool")


@pytest.fixture
def files(tmp_path):
    return lambda: {
        str(path.relative_to(tmp_path / "spool")) for path in (tmp_path / "spool").rglob("*") if path.is_file()
    }


def post(outbox, state, destination="pacs", study_key=STUDY, **more):
    entry = {"state": state, "study": study_key, **more}
    outbox.post(destination, study_key, GENERATION, entry)
    return entry


def test_a_delivery_that_has_not_begun_has_no_state(outbox):
    assert outbox.delivery("pacs", STUDY, GENERATION) is None
    assert list(outbox.open_deliveries("pacs")) == []


@pytest.mark.parametrize("state", ["waiting", "committing", "parked"])
def test_an_open_delivery_is_found_by_its_destination_and_its_study(outbox, state):
    entry = post(outbox, state, attempt=2, error=None)
    assert outbox.delivery("pacs", STUDY, GENERATION) == entry
    assert list(outbox.open_deliveries("pacs")) == [entry]


def test_a_delivered_one_is_kept_beside_the_results_and_is_open_no_more(outbox, files):
    post(outbox, "waiting")
    entry = post(outbox, "delivered", stored=[["1.2", "3.4"]])
    assert outbox.delivery("pacs", STUDY, GENERATION) == entry
    assert list(outbox.open_deliveries("pacs")) == []
    assert files() == {f"studies/{STUDY}/{GENERATION}/deliveries/pacs.json", "outbox/pacs/last_success"}


def test_when_a_destination_took_something_last_is_known(outbox):
    assert outbox.last_success("pacs") is None
    post(outbox, "waiting")
    assert outbox.last_success("pacs") is None
    before = datetime.now(UTC) - timedelta(seconds=1)  # file systems keep time coarsely
    post(outbox, "delivered", stored=[["1.2", "3.4"]])
    assert before < datetime.fromisoformat(outbox.last_success("pacs")) < datetime.now(UTC) + timedelta(seconds=1)
    assert outbox.last_success("teaching") is None


def test_each_post_replaces_the_one_before(outbox, files):
    post(outbox, "waiting", attempt=1)
    second = post(outbox, "waiting", attempt=2)
    assert outbox.delivery("pacs", STUDY, GENERATION) == second
    assert len(files()) == 1


def test_destinations_do_not_see_each_others_deliveries(outbox):
    here, there = post(outbox, "waiting", "here"), post(outbox, "parked", "there")
    assert list(outbox.open_deliveries("here")) == [here]
    assert list(outbox.open_deliveries("there")) == [there]
    post(outbox, "delivered", "here")
    assert outbox.delivery("there", STUDY, GENERATION) == there


def test_generations_of_one_study_are_deliveries_of_their_own(outbox):
    outbox.post("pacs", STUDY, "first", {"state": "delivered"})
    outbox.post("pacs", STUDY, "second", {"state": "waiting"})
    assert outbox.delivery("pacs", STUDY, "first") == {"state": "delivered"}
    assert outbox.delivery("pacs", STUDY, "second") == {"state": "waiting"}


def test_a_stop_between_delivered_and_no_longer_open_leaves_it_delivered(outbox, tmp_path):
    open_entry = tmp_path / "spool" / "outbox" / "pacs" / f"{STUDY}.{GENERATION}.json"
    post(outbox, "waiting")
    kept = open_entry.read_bytes()
    delivered = post(outbox, "delivered")
    open_entry.write_bytes(kept)
    assert outbox.delivery("pacs", STUDY, GENERATION) == delivered
    post(outbox, "delivered")
    assert not open_entry.exists()


def test_a_half_written_delivery_is_not_read(outbox, tmp_path):
    entry = post(outbox, "waiting")
    (tmp_path / "spool" / "outbox" / "pacs" / ".0123.json").write_bytes(b'{"sta')
    assert list(outbox.open_deliveries("pacs")) == [entry]


def test_a_file_that_is_none_of_ours_is_not_read(outbox, tmp_path):
    entry = post(outbox, "waiting")
    (tmp_path / "spool" / "outbox" / "pacs" / "notes.json").write_text("none of ours")
    assert list(outbox.open_deliveries("pacs")) == [entry]


def test_a_delivery_that_is_closed_while_they_are_listed_is_left_out(outbox):
    first, second = post(outbox, "waiting", study_key="a1" * 16), post(outbox, "waiting", study_key="b2" * 16)
    listing = outbox.open_deliveries("pacs")
    assert next(listing) == first
    post(outbox, "delivered", study_key="b2" * 16)
    assert list(listing) == []
    assert second["study"] == "b2" * 16


def test_a_commitment_is_kept_until_it_has_been_acted_on(outbox, files):
    outbox.expect_commitment(TRANSACTION)
    assert outbox.commitment(TRANSACTION) is None
    outbox.write_commitment(CommitmentResult(TRANSACTION, ("1.2", "1.3"), (("1.4", failure_reason(0x0112)),)))
    answer = outbox.commitment(TRANSACTION)
    assert answer["committed"] == ["1.2", "1.3"]
    ((instance, status, outcome),) = answer["failed"]
    assert instance == "1.4"
    assert "0112" in status
    assert outcome == str(failure_reason(0x0112).outcome)
    outbox.forget_commitment(TRANSACTION)
    outbox.forget_commitment(TRANSACTION)
    assert outbox.commitment(TRANSACTION) is None
    assert files() == set()


def test_a_commitment_that_nobody_reported_is_none(outbox):
    assert outbox.commitment(TRANSACTION) is None


def test_a_commitment_that_nobody_waits_for_is_not_kept(outbox, files):
    assert outbox.write_commitment(CommitmentResult(TRANSACTION, ("1.2",), ())) is False
    assert files() == set()


def test_a_commitment_reported_twice_is_the_later_one(outbox):
    outbox.expect_commitment(TRANSACTION)
    outbox.write_commitment(CommitmentResult(TRANSACTION, (), ()))
    outbox.write_commitment(CommitmentResult(TRANSACTION, ("1.2",), ()))
    assert outbox.commitment(TRANSACTION)["committed"] == ["1.2"]


@pytest.mark.parametrize("transaction", ["../../../etc/passwd", "1.2/3", "x" * 300, "", "."])
def test_a_transaction_of_any_name_stays_in_its_folder(outbox, tmp_path, transaction):
    outbox.expect_commitment(transaction)
    outbox.write_commitment(CommitmentResult(transaction, ("1.2",), ()))
    assert outbox.commitment(transaction)["committed"] == ["1.2"]
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert path == tmp_path / "spool" / "commitments" / f"{key_of(transaction)}.json"
    assert re.fullmatch(r"[0-9a-f]{32}\.json", path.name)


def test_nobody_else_may_look(outbox, tmp_path):
    post(outbox, "waiting")
    post(outbox, "delivered", "other")
    outbox.expect_commitment(TRANSACTION)
    outbox.write_commitment(CommitmentResult(TRANSACTION, (), ()))
    paths = list((tmp_path / "spool").rglob("*"))
    assert len(paths) > 5
    for path in (tmp_path / "spool", *paths):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
