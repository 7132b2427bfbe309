"""What was answered, as a CSV file: every study once, nothing of a patient unless it is asked for."""

from __future__ import annotations

import csv
import io
import stat
from pathlib import Path

import pytest
from pydicom import dcmread

from node import comparison
from node.comparison import to_csv
from node.errors import ConfigError, Reason
from node.release import is_to_be_sent, release, withhold
from node.study import Triage
from tests.filled import PATIENT, FilledSpool
from tests.films import dx_film, file_bytes


@pytest.fixture
def filled(tmp_path: Path) -> FilledSpool:
    return FilledSpool(tmp_path / "spool")


def rows(filled: FilledSpool, identifiers: bool = False) -> dict[str, dict[str, str]]:
    """The file as a spreadsheet reads it, by study."""
    found = list(csv.DictReader(io.StringIO("".join(to_csv(filled.spool, identifiers)))))
    assert len({row["study"] for row in found}) == len(found), "each study once"
    return {row["study"]: row for row in found}


def test_each_study_has_its_answer_with_probabilities_model_and_times(filled: FilledSpool) -> None:
    task = filled.delivered(Triage.URGENT, images=2, refused=(Reason.NOT_FRONTAL,))
    (row,) = rows(filled).values()
    assert row["study"] == task.study_key
    assert (row["answer"], row["label"], row["results"]) == ("urgent", "Tuberculosis", "delivered")
    assert (row["images"], row["images_read"], row["not_read"]) == ("3", "2", "NOT_FRONTAL")
    assert [row[f"p_{label}"] for label in ("Normal", "Pneumonia", "Tuberculosis")] == ["0.0670", "0.0200", "0.9130"]
    assert (row["model_version"], row["weights"]) == ("0.1.0", "abababababab")
    assert row["received"] <= row["settled"] <= row["started"] <= row["done"]
    assert row["notice"] == "Research and education only, not for diagnosis"


def test_a_study_of_which_nothing_was_read_has_no_probabilities_and_one_that_is_not_read_no_line(
    filled: FilledSpool,
) -> None:
    filled.received()
    filled.settled()
    filled.read(Triage.FLAGGED)
    task = filled.read(images=0, refused=(Reason.NOT_CHEST,))
    found = rows(filled)
    assert len(found) == 2
    assert (found[task.study_key]["answer"], found[task.study_key]["p_Normal"]) == ("not_analysed", "")


def test_it_says_what_became_of_the_results(filled: FilledSpool) -> None:
    spool = filled.spool
    expected = {filled.delivered().study_key: "delivered", filled.read().study_key: "not sent"}
    waiting = filled.post(filled.read(), "pacs", "waiting")
    expected[waiting.study_key] = "on their way"
    shadow, unreleased, withheld = filled.read(), filled.read(), filled.read()
    for task, mode in ((shadow, "shadow"), (unreleased, "supervised"), (withheld, "supervised")):
        assert not is_to_be_sent(spool, mode, task, has_results=True)
    withhold(spool, withheld.study_key, "Dr. Who")
    for task, word in ((shadow, "shadow"), (unreleased, "unreleased"), (withheld, "withheld")):
        expected[task.study_key] = word
    found = rows(filled)
    assert {key: row["results"] for key, row in found.items()} == expected
    assert found[withheld.study_key]["asked_by"] == "Dr. Who"
    release(spool, "supervised", unreleased.study_key, "another")
    assert rows(filled)[unreleased.study_key]["asked"] == "release"


def test_a_study_that_was_read_anew_is_told_by_its_latest_reading(filled: FilledSpool) -> None:
    first = filled.read(Triage.NOT_FLAGGED)
    filled.read_again(first, Triage.FLAGGED)
    (row,) = rows(filled).values()
    assert (row["reading"], row["answer"]) == ("2", "flagged")


def test_no_patient_is_told_unless_that_is_asked_for(filled: FilledSpool) -> None:
    task = filled.delivered(refused=(Reason.NOT_CHEST,))
    told = "".join(to_csv(filled.spool))
    for value in (*PATIENT.values(), "RECOGNIZABLE", "1.2.826.0.1"):
        assert value not in told
    (row,) = rows(filled, identifiers=True).values()
    header = dcmread(next(filled.spool.study_folder(task.study_key).glob("*.dcm")))
    assert (row["study_instance_uid"], row["accession_number"]) == (header.StudyInstanceUID, PATIENT["AccessionNumber"])
    assert PATIENT["PatientID"] not in "".join(row.values())


@pytest.mark.parametrize("value", ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)"])
def test_what_a_sender_wrote_is_no_formula(filled: FilledSpool, value: str) -> None:
    task = filled.read()
    (path,) = filled.spool.study_folder(task.study_key).glob("*.dcm")
    path.write_bytes(file_bytes(dx_film(AccessionNumber=value)))
    (row,) = rows(filled, identifiers=True).values()
    assert row["accession_number"] == f"'{value}"


def test_the_file_is_its_owner_s_alone_and_replaces_no_other(filled: FilledSpool, tmp_path: Path) -> None:
    filled.read()
    out = tmp_path / "answers.csv"
    comparison.write(out, to_csv(filled.spool))
    assert len(out.read_text().splitlines()) == 2
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    with pytest.raises(ConfigError, match="is there already"):
        comparison.write(out, to_csv(filled.spool))
    with pytest.raises(ConfigError, match="cannot be written"):
        comparison.write(tmp_path / "no" / "folder", ())
