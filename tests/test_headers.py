"""Headers of a generation: parsed and judged once, and new to each who asks for them."""

import shutil
from pathlib import Path
from typing import Any, cast

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from node import headers
from node.agenda import Task
from node.errors import NotAssessable, Reason
from node.gate import GateRules
from node.reading import ReadingStages
from node.report.identity import raw_value
from node.spool import Generation, Spool
from tests.films import dx_film, file_bytes
from tests.spools import STUDY, take

NAME = b"Yamada^Tarou=\x1b$B;3ED\x1b(B"


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def settled(spool: Spool, **attributes: Any) -> Generation:
    film = dx_film(**{"SeriesNumber": 1, **attributes})
    assert take(spool, content=file_bytes(film), study=STUDY)
    task = spool.settle(spool.studies()[0])
    assert task is not None
    return spool.generation(task.study_key, task.generation)


def header(spool: Spool, generation: Generation) -> Dataset:
    stages = ReadingStages(cast(Any, None), spool, cast(Any, None), cast(Any, None))
    (found,) = stages._headers(generation).values()
    return found.fresh()


def test_what_one_reader_of_a_header_makes_of_it_the_next_one_does_not_see(spool: Spool) -> None:
    generation = settled(spool, SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^Tarou=山田")
    first = header(spool, generation)
    for element in first:
        assert element is not None  # each value is taken out of its bytes
    first.PatientName = "Somebody^Else"
    del first.PatientID
    second = header(spool, generation)
    assert isinstance(second.get_item(0x00100010), RawDataElement)
    assert raw_value(second, "PatientName") == NAME
    assert "PatientID" in second
    assert str(second.PatientName) == "Yamada^Tarou=山田"


def test_a_header_is_parsed_once_for_all_stages(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    generation, parsed, parse = settled(spool), [], headers._read
    monkeypatch.setattr(headers, "_read", lambda path: (parsed.append(path), parse(path))[1])
    for _ in range(3):
        assert header(spool, generation).SeriesNumber == 1
    assert len(parsed) == 1


@pytest.mark.parametrize(
    ("attributes", "refusal"),
    [({}, None), ({"PresentationIntentType": "FOR PROCESSING"}, Reason.FOR_PROCESSING)],
    ids=["passes", "is refused"],
)
def test_a_header_that_passes_or_is_refused_does_so_each_time_and_is_judged_once_by_the_same_rules(
    attributes: dict[str, str], refusal: Reason | None, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged, judge = [], headers.judge
    monkeypatch.setattr(headers, "judge", lambda *given: (judged.append(given[1]), judge(*given))[1])
    stages = ReadingStages(cast(Any, None), spool, cast(Any, None), cast(Any, None))
    (found,) = stages._headers(settled(spool, **attributes)).values()
    for rules in (GateRules(), GateRules(), GateRules(minimum_px=1)):
        assert refused(found, rules) is refusal
    assert judged == [GateRules(), GateRules(minimum_px=1)]


def refused(found: headers.Header, rules: GateRules) -> Reason | None:
    try:
        found.judge(rules)
    except NotAssessable as refusal:
        return refusal.reason
    return None


def test_a_study_that_was_forgotten_and_comes_again_under_its_name_has_its_own_header(spool: Spool) -> None:
    first = settled(spool)
    assert header(spool, first).SeriesNumber == 1
    shutil.rmtree(spool.study_folder(first.study_key))
    spool.agenda.finished(Task("read", first.study_key, first.name))
    again = settled(spool, SeriesNumber=2)
    assert again.name == first.name
    assert header(spool, again).SeriesNumber == 2
