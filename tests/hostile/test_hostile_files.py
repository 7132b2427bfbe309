"""What the receiver's door answers to each damaged or odd file, and what gate and pixels then say, without a network."""

from __future__ import annotations

from collections import Counter
from io import BytesIO

import pydicom
import pytest

from node import bundle as bundles
from node.door.inspect import inspect
from node.errors import NotAssessable, Reason, ReceiveError
from node.file_head import file_head
from node.film_check import FilmCheck
from node.gate import GateRules, is_own_object, judge
from node.pixels import read_dicom
from tests.bundles import SHIPPED
from tests.hostile.files import Hostile, hostile_files

pytestmark = pytest.mark.slow

FILES = hostile_files()
CHECK = FilmCheck.load(bundles.load(SHIPPED).film_check)


def test_there_are_hundreds_of_them_each_with_a_name_of_its_own() -> None:
    assert len(FILES) >= 300
    assert [name for name, count in Counter(each.name for each in FILES).items() if count > 1] == []


def test_each_is_made_the_same_each_time() -> None:
    for each in FILES[:: len(FILES) // 40]:
        assert each.data() == each.data(), each.name


def answer_to(hostile: Hostile, data: bytes) -> tuple[int, str]:
    """The status that the door answers, with its comment."""
    try:
        inspect(data, hostile.transfer_syntax_uid, hostile.sop_class_uid, hostile.sop_instance_uid)
    except ReceiveError as refusal:
        return refusal.status, refusal.comment
    return 0x0000, ""


@pytest.mark.parametrize("hostile", FILES, ids=lambda each: f"{each.module}: {each.name}")
def test_each_is_answered_as_it_should_be(hostile: Hostile) -> None:
    data = hostile.data()
    if hostile.answer.status == 0x0122:
        pytest.skip("the receiver itself looks at the presentation context")
    status, comment = answer_to(hostile, data)
    assert (status, len(comment) <= 64) == (hostile.answer.status, True), comment
    if hostile.answer.outcome in ("", "parked"):
        return
    assert outcome_of(hostile, data) == {"warned": "read"}.get(hostile.answer.outcome, hostile.answer.outcome)


def outcome_of(hostile: Hostile, data: bytes) -> str:
    """What the worker would make of it, but for the model."""
    head = file_head(hostile.sop_class_uid, hostile.sop_instance_uid, hostile.transfer_syntax_uid)
    header = pydicom.dcmread(BytesIO(head + data), stop_before_pixels=True)
    if is_own_object(header):
        return "kept"
    try:
        judge(header, GateRules())
        plane = read_dicom(pydicom.dcmread(BytesIO(head + data), force=True))
    except NotAssessable as refused:
        return str(refused.reason)
    return "read" if CHECK.look(plane).is_film else str(Reason.NOT_A_CHEST_FILM)
