import pytest

from node import dimse
from node.dimse import Outcome


@pytest.mark.parametrize("code", [0x0000, 0xB000, 0xB006, 0xB007, 0x0111])
def test_success_warnings_and_duplicates_are_delivered(code):
    assert dimse.c_store_status(code).outcome is Outcome.DELIVERED


@pytest.mark.parametrize("code", [0xA700, 0xA701, 0xA7FF, 0x0110, 0x0210, 0x0213])
def test_a_shortage_or_a_failure_in_processing_is_tried_again(code):
    assert dimse.c_store_status(code).outcome is Outcome.TRY_AGAIN


@pytest.mark.parametrize(
    "code", [0xA800, 0xA900, 0xA9FF, 0xC000, 0xC123, 0xCFFF, 0x0117, 0x0122, 0x0124, 0x0211, 0x0212]
)
def test_what_the_peer_says_of_the_instance_or_the_caller_is_parked(code):
    assert dimse.c_store_status(code).outcome is Outcome.PARKED


@pytest.mark.parametrize("code", [0x0001, 0x0107, 0x0116, 0xB123])
def test_any_warning_says_that_the_operation_was_performed(code):
    assert dimse.c_store_status(code).outcome is Outcome.DELIVERED
    assert dimse.n_action_status(code).outcome is Outcome.DELIVERED


@pytest.mark.parametrize("code", [0x0099, 0xA600, 0xD000, 0xFE00, 0xFF00])
def test_an_unknown_failure_is_tried_again_for_a_repeat_does_no_harm(code):
    status = dimse.c_store_status(code)
    assert status.outcome is Outcome.TRY_AGAIN
    assert f"0x{code:04X}" in str(status)


def test_a_status_reads_as_the_standard_names_it():
    assert str(dimse.c_store_status(0xA700)) == "0xA700 (refused: out of resources)"
    assert str(dimse.c_store_status(0xB000)) == "0xB000 (warning: coercion of data elements)"


def test_every_code_has_one_judgment_and_no_table_hides_another_code():
    for code in range(0x10000):
        status = dimse.c_store_status(code)
        assert status.code == code
        if 0xA700 <= code <= 0xA7FF:
            assert status.outcome is Outcome.TRY_AGAIN
        if code >= 0xC000 and code <= 0xCFFF:
            assert status.outcome is Outcome.PARKED


@pytest.mark.parametrize("code", [0x0112, 0x0114, 0x0115, 0x0117, 0x0118, 0x0119, 0x0123, 0x0124, 0x0211, 0x0212])
def test_a_commitment_request_the_peer_cannot_serve_is_parked(code):
    assert dimse.n_action_status(code).outcome is Outcome.PARKED


def test_statuses_of_storage_mean_nothing_to_an_action():
    assert dimse.n_action_status(0xA900).outcome is Outcome.TRY_AGAIN


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (0x0110, Outcome.TRY_AGAIN),
        (0x0112, Outcome.TRY_AGAIN),
        (0x0213, Outcome.TRY_AGAIN),
        (0x0131, Outcome.TRY_AGAIN),
        (0x0119, Outcome.PARKED),
        (0x0122, Outcome.PARKED),
    ],
)
def test_an_instance_the_peer_has_lost_is_stored_again_and_one_it_cannot_hold_is_parked(code, outcome):
    assert dimse.failure_reason(code).outcome is outcome
