"""Each file that is taken ends in a report: one on its own header, as the worker would write it, without a model."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import pydicom
import pytest

from node.errors import Reason, ReportError
from node.file_head import file_head
from node.report import StudySource, compose
from node.study import ImageReading, StudyReading
from tests.films import chest
from tests.hostile.files import Hostile, hostile_files
from tests.readings import MODEL, NORMAL, OPTIONS, TIMES

pytestmark = pytest.mark.slow

# Those whose identity is odd, and one in ten of the others: of these the report says little but that they were there.
TAKEN = [each for each in hostile_files() if each.answer.status == 0x0000 and each.answer.outcome != "kept"]
ODD = [each for number, each in enumerate(TAKEN) if each.is_alone or number % 10 == 0]


@pytest.mark.parametrize("hostile", ODD, ids=lambda each: f"{each.module}: {each.name}")
def test_each_that_is_taken_gets_a_report_or_is_parked_with_a_reason(hostile: Hostile) -> None:
    head = file_head(hostile.sop_class_uid, hostile.sop_instance_uid, hostile.transfer_syntax_uid)
    header = pydicom.dcmread(BytesIO(head + hostile.data()), stop_before_pixels=True)
    is_read = hostile.answer.outcome in ("read", "warned", "parked")
    said = {"prediction": NORMAL} if is_read else {"reason": Reason(hostile.answer.outcome)}
    images = (ImageReading(1, "key", **said),)  # type: ignore[arg-type]
    source = StudySource(
        StudyReading("study", "name", images, MODEL, TIMES), {"key": header}, lambda key: chest(64, 56)
    )
    options = replace(OPTIONS, heat_map="off")
    if hostile.answer.outcome == "parked":
        with pytest.raises(ReportError):
            compose(source, options, "viewer")
        return
    (report,) = compose(source, options, "viewer")
    assert report.kind == "triage_report"
