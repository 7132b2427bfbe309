import pytest
from pydicom import Dataset

from node import commitment
from node.commitment import InvalidArgumentValue, NoSuchEventType
from node.dimse import Outcome

REPORT = ("1.2.840.10008.5.1.4.1.1.88.33", "2.25.1")
PICTURE = ("1.2.840.10008.5.1.4.1.1.7", "2.25.2")


def event_information(committed=(), failed=(), transaction_uid="2.25.9"):
    """What an SCP reports: the request's own items, and failed ones with their reasons."""
    information = Dataset()
    information.TransactionUID = transaction_uid
    if committed:
        information.ReferencedSOPSequence = commitment.action_information(committed, "2.25.9").ReferencedSOPSequence
    if failed:
        references = [reference for reference, _ in failed]
        items = commitment.action_information(references, "2.25.9").ReferencedSOPSequence
        for item, (_, reason) in zip(items, failed, strict=True):
            item.FailureReason = reason
        information.FailedSOPSequence = items
    return information


def test_a_request_names_each_instance_and_its_transaction():
    information = commitment.action_information([REPORT, PICTURE], "2.25.9")
    assert information.TransactionUID == "2.25.9"
    assert [
        (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) for item in information.ReferencedSOPSequence
    ] == [REPORT, PICTURE]


def test_a_successful_report_commits_to_all():
    result = commitment.commitment_result(1, event_information([REPORT, PICTURE]))
    assert result.transaction_uid == "2.25.9"
    assert result.committed == ("2.25.1", "2.25.2")
    assert result.failed == ()


def test_failures_keep_their_reasons_and_what_to_do():
    result = commitment.commitment_result(2, event_information([REPORT], [(PICTURE, 0x0112)]))
    ((sop_instance_uid, reason),) = result.failed
    assert result.committed == ("2.25.1",)
    assert sop_instance_uid == "2.25.2"
    assert reason.code == 0x0112
    assert reason.outcome is Outcome.TRY_AGAIN


def test_a_failure_is_believed_even_in_a_report_of_success():
    assert commitment.commitment_result(1, event_information([REPORT], [(PICTURE, 0x0122)])).failed


def test_a_failure_without_a_reason_is_a_failure_in_processing():
    information = event_information(failed=[(PICTURE, 0x0112)])
    del information.FailedSOPSequence[0].FailureReason
    ((_, reason),) = commitment.commitment_result(2, information).failed
    assert reason.code == 0x0110


def test_an_event_the_class_does_not_have_is_refused():
    with pytest.raises(NoSuchEventType):
        commitment.commitment_result(3, event_information([REPORT]))


@pytest.mark.parametrize("uid", ["", "../../etc/passwd", "2.25." + "9" * 60, "2.25.1\n"])
def test_a_transaction_that_is_no_uid_is_refused(uid):
    information = event_information([REPORT])
    information.TransactionUID = "2.25.9"
    information["TransactionUID"]._value = uid
    with pytest.raises(InvalidArgumentValue):
        commitment.commitment_result(1, information)


def test_a_missing_transaction_uid_or_instance_uid_is_refused():
    information = event_information([REPORT])
    del information.TransactionUID
    with pytest.raises(InvalidArgumentValue):
        commitment.commitment_result(1, information)
    information = event_information([REPORT])
    del information.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    with pytest.raises(InvalidArgumentValue):
        commitment.commitment_result(1, information)


def test_success_is_answered_only_after_the_result_is_kept():
    kept = []
    assert commitment.answer_event_report(1, event_information([REPORT]), kept.append) == 0x0000
    assert [result.committed for result in kept] == [("2.25.1",)]


def test_a_report_that_cannot_be_kept_is_not_answered_with_success():
    def full_disk(_result):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        commitment.answer_event_report(1, event_information([REPORT]), full_disk)


@pytest.mark.parametrize(("event_type", "uid", "status"), [(7, "2.25.9", 0x0113), (1, "", 0x0115)])
def test_a_refused_report_is_answered_with_its_status_and_not_kept(event_type, uid, status):
    kept = []
    information = event_information([REPORT], transaction_uid=uid)
    assert commitment.answer_event_report(event_type, information, kept.append) == status
    assert kept == []
