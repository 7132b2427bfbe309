"""The coded concepts mean what the Standard says they mean."""

import pytest
from pydicom.sr._concepts_dict import concepts
from pydicom.sr.coding import Code

from node import codes
from node.errors import Reason
from node.product import PRIVATE_SCHEME
from node.study import FilmWarning, Triage

# SNOMED CT and UMLS codes that pydicom's tables of PS3.16 do not hold, or hold under a longer name of SNOMED's.
NOT_IN_THE_TABLES = {"399208008", "50811001", "233604007", "154283005", "C0034375", "{pixels}"}
OTHER_NAMES = {"260870009", "260753009", "103391001", "%"}


def every_code() -> list[Code]:
    held = [value for value in vars(codes).values() if isinstance(value, Code)]
    for table in (codes.PRIORITIES, codes.CAD_SUMMARIES, codes.CONDITIONS, codes.MODALITIES):
        held += table.values()
    return held


@pytest.mark.parametrize("code", sorted({c for c in every_code() if c.scheme_designator != PRIVATE_SCHEME}))
def test_a_public_code_has_the_meaning_of_the_standard(code: Code) -> None:
    meanings = {held[code.value][0] for held in concepts[code.scheme_designator].values() if code.value in held}
    if code.value in NOT_IN_THE_TABLES:
        assert not meanings
    elif code.value not in OTHER_NAMES:
        assert code.meaning in meanings


def test_every_reason_has_a_private_code_of_its_own_name() -> None:
    assert {reason: code.value for reason, code in codes.REASONS.items()} == {reason: reason.value for reason in Reason}
    assert len({code.meaning for code in codes.REASONS.values()}) == len(Reason)


def test_every_warning_has_a_private_code_of_its_own_name() -> None:
    assert {warning: code.value for warning, code in codes.WARNINGS.items()} == {w: w.value for w in FilmWarning}
    assert len({code.meaning for code in codes.WARNINGS.values()}) == len(FilmWarning)


def test_private_codes_are_told_apart_and_fit_their_value_representations() -> None:
    held = codes.private_codes()
    assert len({code.value for code in held}) == len(held) == 2 + len(Reason) + len(FilmWarning) + 9
    for code in held:
        assert code.scheme_designator == PRIVATE_SCHEME
        assert len(code.meaning) <= 64
        assert code.meaning.isascii()


def test_every_code_fits_in_code_value() -> None:
    # PS3.3 Table 8.8-1: a longer one goes to Long Code Value, which readers that look at Code Value alone would miss.
    assert [code.value for code in codes.private_codes() if len(code.value) > 16] == []


def test_every_triage_has_a_summary_and_only_an_answer_has_a_priority() -> None:
    assert set(codes.CAD_SUMMARIES) == set(Triage)
    assert set(Triage) - set(codes.PRIORITIES) == {Triage.UNCERTAIN, Triage.NOT_ANALYSED}
