"""What a person orders: parked work taken up again, a study read anew."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from node import orders
from node.cli import app
from node.orders import OrderError
from node.study import Triage
from tests.filled import FilledSpool


@pytest.fixture
def filled(tmp_path: Path) -> FilledSpool:
    return FilledSpool(tmp_path / "spool")


def test_a_study_is_read_anew_as_another_generation_of_the_same_images(filled: FilledSpool) -> None:
    first = filled.delivered(Triage.URGENT, images=2)
    task = orders.replay(filled.spool, first.study_key[:12])
    before, after = filled.spool.generations(first.study_key)
    assert (task.verb, task.generation) == ("read", after.name)
    assert filled.spool.agenda.tasks("todo") == [task]
    assert (after.instances, after.received) == (before.instances, before.received)
    assert (after.number, after.previous) == (2, before.name)
    assert after.name != before.name
    assert filled.spool.reading(first.study_key, after.name) is None


def test_a_study_may_be_read_anew_over_and_over(filled: FilledSpool) -> None:
    key = filled.delivered().study_key
    for number in (2, 3, 4):
        filled._read(orders.replay(filled.spool, key), Triage.FLAGGED, 1, ())
        assert filled.spool.generations(key)[-1].number == number
    assert len({generation.name for generation in filled.spool.generations(key)}) == 4


def test_the_same_images_once_more_begin_nothing_after_a_replay(filled: FilledSpool) -> None:
    key = filled.delivered().study_key
    filled._read(orders.replay(filled.spool, key), Triage.FLAGGED, 1, ())
    assert filled.spool.settle(key) is None
    assert filled.spool.unsettled() == []


def test_an_image_that_comes_after_a_replay_is_read_with_the_others(filled: FilledSpool) -> None:
    task = filled.delivered()
    again = filled._read(orders.replay(filled.spool, task.study_key), Triage.FLAGGED, 1, ())
    filled.read_again(again, Triage.URGENT)
    assert [len(each.instances) for each in filled.spool.generations(task.study_key)] == [1, 1, 2]


def test_a_study_that_is_not_through_is_not_read_anew(filled: FilledSpool) -> None:
    arriving, settled, parked = filled.received(), filled.settled(), filled.settled()
    filled.spool.agenda.park(parked, "InferenceError", "a reason")
    read = filled.delivered()
    orders.replay(filled.spool, read.study_key)
    for key, words in (
        (arriving, "has not been read yet"),
        (settled.study_key, "has not been read yet"),
        (parked.study_key, "has not been read yet"),
        (read.study_key, "has not been read yet"),
        ("f" * 32, "no study"),
        ("", "no study"),
    ):
        with pytest.raises(OrderError, match=words):
            orders.replay(filled.spool, key)


def test_a_study_with_new_images_is_read_with_them_by_itself(filled: FilledSpool) -> None:
    key = filled.delivered().study_key
    (filled.spool.study_folder(key) / f"{'0' * 32}.image.dcm").write_bytes(b"another image")
    with pytest.raises(OrderError, match="has new images"):
        orders.replay(filled.spool, key)


def test_the_beginning_of_several_keys_names_no_study(filled: FilledSpool) -> None:
    key = filled.delivered().study_key
    (filled.spool.folder / "studies" / (key[:30] + "zz")).mkdir()  # passed over: no key
    other = key[:31] + ("0" if key[31] != "0" else "1")
    filled.spool.study_folder(other).mkdir()
    with pytest.raises(OrderError, match="give more of the key"):
        orders.replay(filled.spool, key[:31])


def test_a_study_that_is_read_anew_is_not_forgotten_meanwhile(filled: FilledSpool) -> None:
    key = filled.delivered().study_key
    orders.replay(filled.spool, key)
    assert not filled.spool.forget(key, 0.0)


def test_parked_work_is_taken_up_by_the_beginning_of_a_key_or_all_of_it(filled: FilledSpool) -> None:
    first, second = filled.settled(), filled.settled()
    for task in (first, second):
        filled.spool.agenda.park(task, "InferenceError", "a reason")
    assert orders.retry(filled.spool, first.study_key[:10]) == [first]
    assert filled.spool.agenda.tasks("parked") == [second]
    assert orders.retry(filled.spool) == [second]
    assert orders.retry(filled.spool) == []


def test_the_command_says_which_study_is_read_anew(tmp_path: Path, filled: FilledSpool) -> None:
    (tmp_path / "node.yaml").write_text("spool: {folder: spool}\n")
    key = filled.delivered().study_key
    arguments = ["replay", key[:12], "--config", str(tmp_path / "node.yaml")]
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, done.output) == (0, f"{key}: is read anew\n")
    assert isinstance(CliRunner().invoke(app, arguments).exception, OrderError)
