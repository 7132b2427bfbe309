"""Films whose identifiers are swapped, shared or sent by eight senders at once: no result is ever about another film.

Each film carries its number as a bar code, which its picture must show, and gives numbers of its own, which its report
must say. What is delivered is held against that, and against patient, study and instance of the film.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from pydicom import Dataset, dcmread

from node.archive import Archive
from node.durable import key_of
from node.report.header import evidence_of
from tests.bundles import golden_planes
from tests.hostile.files import CR, EXPLICIT, PIXEL_DATA, Film, uid_of
from tests.peers import HOST, wait_until
from tests.raw import Raw, command, context_item, data_set, outcome, store_request
from tests.running import RunningNode, values

pytestmark = pytest.mark.slow

# A film of this height is drawn at its own size.
FILMS, SENDERS, SIDE_PX = 11, 8, 1024
# Pixels of the bar code: four bits, each with its opposite, between bars that are the same in all.
BAR_PX, BITS = 24, 4


def bars(number: int) -> np.ndarray:
    """The bar code of a number: (24, 288) float32 in [0, 1]."""
    bits = [number >> bit & 1 for bit in range(BITS)]
    pattern = [1, 0, *(bar for bit in bits for bar in (bit, 1 - bit)), 1, 0]
    return np.repeat(np.array(pattern, np.float32), BAR_PX)[np.newaxis].repeat(BAR_PX, axis=0)


def pixels(number: int) -> np.ndarray:
    """A chest film unlike the others in its gray, with its number in a corner: (1024, 1024) uint16 of 12 bits."""
    planes = golden_planes()
    plane = cv2.resize(planes[number % len(planes)], (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_LINEAR)
    plane = np.clip(plane, 0, 1) ** (0.7 + 0.04 * number)
    code = bars(number)
    plane[-2 * BAR_PX : -BAR_PX, -code.shape[1] - BAR_PX : -BAR_PX] = code
    return np.round(plane * 4095).astype("<u2")


@dataclass(frozen=True)
class Sent:
    """A film as it was sent: its picture, and what it says it is."""

    number: int
    patient_id: str
    study_uid: str
    sop_uid: str
    series_uid: str

    def data(self) -> bytes:
        film = Film("wrong picture", self.study_uid).set(
            SOPInstanceUID=self.sop_uid,
            SeriesInstanceUID=self.series_uid,
            PatientID=self.patient_id,
            PatientName=f"Doe^{self.patient_id}",
            Rows=SIDE_PX,
            Columns=SIDE_PX,
        )
        return film.put(PIXEL_DATA, b"OW", pixels(self.number).tobytes()).encoded()


def film(number: int, run: str, patient: int | None = None, study: str = "", sop: str = "", series: str = "") -> Sent:
    """A film of its own patient, study and series, unless told otherwise."""
    name = f"{run} {number}"
    return Sent(
        number,
        f"P-{number if patient is None else patient}",
        uid_of("study", study or name),
        uid_of("instance", sop or name),
        uid_of("series", series or name),
    )


def send(node: RunningNode, films: Sequence[Sent]) -> list[int]:
    """Send films on one association; gives the statuses."""
    with Raw(node.port, within_s=120).associate(contexts=[context_item(1, CR, [EXPLICIT])]) as caller:
        return [
            outcome(caller, command(1, store_request(each.sop_uid)), data_set(1, each.data(), 100_000))[0]  # type: ignore[misc]
            for each in films
        ]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with Archive(tmp_path_factory.mktemp("archive"), "PACS") as running:
        yield running


@pytest.fixture(scope="module")
def node(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    to_archive = {"name": "pacs", "ae_title": "PACS", "host": HOST, "port": archive.port}
    with RunningNode(tmp_path_factory.mktemp("node"), [to_archive]) as running:
        running.wait_until_working()
        yield running


@pytest.fixture(scope="module")
def numbers(node: RunningNode, archive: Archive) -> dict[int, dict[str, float]]:
    """What the node says of each film when it comes alone."""
    alone = [film(number, "alone") for number in range(FILMS)]
    assert send(node, alone) == [0x0000] * FILMS
    for each in alone:
        node.wait_until_delivered(each.study_uid)
    said = {each.number: values(reports(archive, each.study_uid)[0]) for each in alone}
    # Two films of which the model is quite sure may give the same numbers; those that are exchanged below do not.
    assert all(said[number] != said[number + 1] for number in range(FILMS - 1))
    return said


def results(archive: Archive, study_uid: str) -> list[Dataset]:
    return [dcmread(each.path) for each in archive.instances if each.study_instance_uid == study_uid]


def reports(archive: Archive, study_uid: str) -> list[Dataset]:
    return [each for each in results(archive, study_uid) if each.Modality == "SR"]


def pictures(archive: Archive, study_uid: str) -> list[Dataset]:
    return [each for each in results(archive, study_uid) if each.Modality == "OT"]


def number_in(picture: Dataset) -> int:
    """The number whose bar code a picture shows best."""
    gray = picture.pixel_array[..., 0].astype(np.float32) / 255
    left = np.ascontiguousarray(gray[:, : gray.shape[1] // 2])
    scores = [cv2.matchTemplate(left, bars(number), cv2.TM_CCOEFF_NORMED).max() for number in range(FILMS)]
    assert max(scores) > 0.9, "the picture shows no bar code"
    return int(np.argmax(scores))


def check(archive: Archive, films: Sequence[Sent], said: dict[int, dict[str, float]]) -> None:
    """Hold all results of a study against the films of it that were taken."""
    study_uid = films[0].study_uid
    by_uid = {each.sop_uid: each for each in films}
    drawn = pictures(archive, study_uid)
    for result in results(archive, study_uid):
        assert {result.PatientID, *(each.patient_id for each in films)} == {films[0].patient_id}
        assert result.PatientName == f"Doe^{films[0].patient_id}"
    (report,) = reports(archive, study_uid)
    assert evidence_of(report) == {*by_uid, *(each.SOPInstanceUID for each in drawn)}
    assert len(drawn) == len(films)
    for picture in drawn:
        (source,) = picture.SourceImageSequence
        assert number_in(picture) == by_uid[source.ReferencedSOPInstanceUID].number
    if len(films) == 1:
        assert values(report) == said[films[0].number]


def test_films_of_many_patients_from_eight_senders_at_once_get_their_own_results(
    node: RunningNode, archive: Archive, numbers: dict[int, dict[str, float]]
) -> None:
    """Each sender brings films of three patients in turn, and half of the studies come in part from two senders."""
    run = "at once"
    pairs = [
        [film(number, run), film((number + 5) % FILMS, f"{run} second", patient=number, study=f"{run} {number}")]
        for number in range(SENDERS)
    ]
    singles = [film(number, f"{run} alone") for number in range(SENDERS)]
    parts = [[pairs[sender][0], pairs[(sender + 3) % SENDERS][1], singles[sender]] for sender in range(SENDERS)]
    statuses: dict[int, list[int]] = {}
    begin = threading.Barrier(SENDERS)

    def bring(sender: int) -> None:
        begin.wait()
        statuses[sender] = send(node, parts[sender])

    threads = [threading.Thread(target=bring, args=(sender,)) for sender in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == {sender: [0x0000] * 3 for sender in range(SENDERS)}
    for each in singles:
        node.wait_until_delivered(each.study_uid)
        check(archive, [each], numbers)
    for pair in pairs:
        _wait_until_read_together(node, pair)
        latest = _latest(reports(archive, pair[0].study_uid))
        assert latest.PatientID == pair[0].patient_id
        assert {each.sop_uid for each in pair} <= evidence_of(latest)
        for picture in pictures(archive, pair[0].study_uid):
            (source,) = picture.SourceImageSequence
            held = {each.sop_uid: each.number for each in pair}
            assert number_in(picture) == held[source.ReferencedSOPInstanceUID]


def _wait_until_read_together(node: RunningNode, films: Sequence[Sent]) -> None:
    keys = {key_of(each.sop_uid) for each in films}
    study = key_of(films[0].study_uid)

    def together() -> bool:
        found = node.spool.generations(study)
        return bool(found) and set(found[-1].instances) == keys and node.delivered(films[0].study_uid)

    wait_until(together, 120, "both films of a study read together")


def _latest(found: Sequence[Dataset]) -> Dataset:
    """The report that replaces the others."""
    replaced = {
        str(reference.ReferencedSOPInstanceUID)
        for report in found
        for study in report.get("PredecessorDocumentsSequence", ())
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }
    (latest,) = [report for report in found if report.SOPInstanceUID not in replaced]
    return latest


def test_a_study_of_two_patients_is_parked_and_nothing_of_it_is_sent(
    node: RunningNode, archive: Archive, numbers: dict[int, dict[str, float]]
) -> None:
    """Neither patient's record may take a report on the other; whose the films are, a person must find out."""
    shared = [film(1, "shared", study="shared"), film(2, "shared", study="shared")]
    assert send(node, shared) == [0x0000, 0x0000]
    wait_until(lambda: _is_parked(node, shared[0].study_uid), 120, "the study being parked")
    assert results(archive, shared[0].study_uid) == []


def test_a_film_of_another_patient_that_comes_later_changes_nothing_of_what_was_said(
    node: RunningNode, archive: Archive, numbers: dict[int, dict[str, float]]
) -> None:
    first, second = film(3, "later", study="later"), film(4, "later", study="later")
    assert send(node, [first]) == [0x0000]
    node.wait_until_delivered(first.study_uid)
    assert send(node, [second]) == [0x0000]
    wait_until(lambda: _is_parked(node, first.study_uid), 120, "the study being parked")
    check(archive, [first], numbers)


def _is_parked(node: RunningNode, study_uid: str) -> bool:
    return any(task.study_key == key_of(study_uid) for task in node.spool.agenda.tasks("parked"))


def test_another_picture_under_a_uid_that_is_held_is_refused_and_the_first_stays(
    node: RunningNode, archive: Archive, numbers: dict[int, dict[str, float]]
) -> None:
    first = film(5, "swapped")
    assert send(node, [first]) == [0x0000]
    swapped = film(6, "swapped", patient=5, study="swapped 5", sop="swapped 5", series="swapped 5")
    of_another = film(6, "swapped", study="swapped 5", sop="swapped 5", series="swapped 5")
    assert send(node, [swapped, of_another, first]) == [0xC210, 0xC210, 0x0000]
    node.wait_until_delivered(first.study_uid)
    check(archive, [first], numbers)
    assert [event["reason"] for event in node.events("instance.refused")].count(
        "SOP Instance UID is held with other content"
    ) == 2


def test_one_instance_uid_in_the_studies_of_two_patients_gives_each_its_own_result(
    node: RunningNode, archive: Archive, numbers: dict[int, dict[str, float]]
) -> None:
    """And one series UID: swapped identifiers are their sender's mistake, which must mix up nothing here."""
    films = [film(number, "equal", sop="equal", series="equal") for number in (7, 8)]
    assert send(node, films) == [0x0000, 0x0000]
    for each in films:
        node.wait_until_delivered(each.study_uid)
        check(archive, [each], numbers)


def test_two_patients_whose_films_came_under_each_others_identifiers_are_not_mixed_further(
    node: RunningNode, archive: Archive, numbers: dict[int, dict[str, float]]
) -> None:
    """The node cannot know whose a film is, but its result goes where the film says, and shows that very film."""
    one = film(9, "crossed", patient=10, study="crossed 10")
    other = film(10, "crossed", patient=9, study="crossed 9")
    assert send(node, [one, other]) == [0x0000, 0x0000]
    for each in (one, other):
        node.wait_until_delivered(each.study_uid)
        check(archive, [each], numbers)
