"""The instances of a study as a report counts them: images with their numbers, and everything that is not an image."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from pydicom.dataset import Dataset

from node.attributes import items, text
from node.errors import Reason, ReportError
from node.report.identity import is_da, raw_value
from node.report.source import StudySource
from node.storage_classes import is_image
from node.study import ImageReading, Prediction, StudyReading, Triage

# With more images left out than this, they are told by reason instead of one by one: a CT of 500 slices that came with
# the study must not bury the answer.
MOST_TOLD_ONE_BY_ONE = 4
MOST_REFERENCES = 10

# View Position (0018,5101) and View Code Sequence (0054,0220), PS3.3 C.8.11.5.1.1 and CID 4010.
_POSITIONS = {"AP", "PA", "LL", "RL"}
_LATERAL = {"LL", "RL", "LATERAL"}
_VIEW_CODES = {
    "399067008": "LATERAL",
    "399173006": "LL",
    "399198007": "RL",
    "272479007": "PA",
    "399348003": "AP",
}
_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True)
class Film:
    """One instance of the study.

    Attributes
    ----------
    reading : ImageReading
    header : Dataset
    number : int
        Position among the study's images, from 1; 0 for an instance that is not an image.
    """

    reading: ImageReading
    header: Dataset
    number: int

    @property
    def prediction(self) -> Prediction | None:
        """What the model says, None when the image was not read."""
        return self.reading.prediction

    @property
    def reason(self) -> Reason:
        """Why the image was not read."""
        assert self.reading.reason is not None
        return self.reading.reason

    @property
    def sop_class_uid(self) -> str:
        """SOP Class UID."""
        return _uid(self.header, "SOPClassUID")

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID."""
        return _uid(self.header, "SOPInstanceUID")

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID."""
        return _uid(self.header, "SeriesInstanceUID")

    @cached_property
    def view(self) -> str:
        """AP, PA, LL, RL or LATERAL as the header says it, empty when it does not."""
        position = text(self.header, "ViewPosition").upper()
        if position in _POSITIONS:
            return position
        codes = (text(item, "CodeValue") for item in items(self.header, "ViewCodeSequence"))
        return next((_VIEW_CODES[code] for code in codes if code in _VIEW_CODES), "")

    @property
    def is_lateral(self) -> bool:
        """Whether header or gate call it a lateral view."""
        detail = self.reading.detail.upper()
        return self.view in _LATERAL or detail in _LATERAL or "LATERAL" in detail


@dataclass(frozen=True)
class Study:
    """The study that a report is about.

    Attributes
    ----------
    source : StudySource
    images : tuple of Film
        Everything to look at, by number.
    others : tuple of Film
        Documents, presentation states and the like.
    """

    source: StudySource
    images: tuple[Film, ...]
    others: tuple[Film, ...]

    @property
    def reading(self) -> StudyReading:
        """What the node says of the study."""
        return self.source.reading

    @property
    def triage(self) -> Triage:
        """The study's answer."""
        return self.reading.triage

    @property
    def read(self) -> tuple[Film, ...]:
        """The images that the model read."""
        return tuple(film for film in self.images if film.prediction)

    @property
    def not_read(self) -> tuple[Film, ...]:
        """The images that the model did not read."""
        return tuple(film for film in self.images if not film.prediction)

    @property
    def films(self) -> tuple[Film, ...]:
        """Every instance."""
        return self.images + self.others

    @property
    def leading(self) -> Film:
        """The image that decides the answer, or the first instance where none was read."""
        leading = self.reading.leading
        return next((film for film in self.images if film.reading is leading), self.films[0])

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID."""
        return _uid(self.leading.header, "StudyInstanceUID")

    @property
    def is_normal(self) -> bool:
        """Whether nothing is flagged and every image that was read looks normal to the model."""
        return self.triage is Triage.NOT_FLAGGED and all(looks_normal(film.prediction) for film in self.read)


def study_of(source: StudySource) -> Study:
    """Pair each reading with its header and count the images.

    Results of this node are left out: they are no part of what was examined.

    Raises
    ------
    ReportError
        When a header is missing or lacks a UID, or the instances are not of one study and one patient.
    """
    images: list[Film] = []
    others: list[Film] = []
    for reading in source.reading.images:
        if reading.reason is Reason.OWN_OBJECT:
            continue
        header = source.headers.get(reading.instance_key)
        if header is None:
            raise ReportError(f"instance {reading.instance_key} of study {source.reading.study_key} has no header")
        to_look_at = reading.reason is not Reason.NOT_AN_IMAGE and is_image(_uid(header, "SOPClassUID"))
        films = images if to_look_at else others
        films.append(Film(reading, header, len(images) + 1 if to_look_at else 0))
    _require_one_study(images + others)
    return Study(source, tuple(images), tuple(others))


def looks_normal(prediction: Prediction | None) -> bool:
    """Tell whether Normal is the most probable class of an image that is not flagged, and nothing warns of it."""
    if prediction is None or prediction.triage is not Triage.NOT_FLAGGED or prediction.warnings:
        return False
    return max(prediction.findings, key=lambda finding: finding.probability).label == "Normal"


def told(films: Sequence[Film]) -> list[tuple[Film, ...]]:
    """Return the images that were not read as a reader is told of them: one by one, or by reason when there are many."""
    if len(films) <= MOST_TOLD_ONE_BY_ONE:
        return [(film,) for film in films]
    by_reason = sorted(films, key=reason_key)
    return [tuple(group) for _, group in groupby(by_reason, key=reason_key)]


def reason_key(film: Film) -> str:
    """Return the key of the words for why an image was not read: its reason, or LATERAL where that is known."""
    return "LATERAL" if film.reason is Reason.NOT_FRONTAL and film.is_lateral else str(film.reason)


def _require_one_study(films: list[Film]) -> None:
    for film in films:
        _uid(film.header, "SOPInstanceUID")
        _uid(film.header, "SeriesInstanceUID")
    if len({_uid(film.header, "StudyInstanceUID") for film in films}) > 1:
        raise ReportError("the instances carry different Study Instance UIDs")
    if not _agree_on_the_patient([film.header for film in films]):
        raise ReportError("the images of one study carry different Patient IDs; a person must find out whose they are")


def _agree_on_the_patient(headers: Sequence[Dataset]) -> bool:
    """Tell whether instances are of one patient, those that were not read included: a report names them as evidence.

    A name alone decides only where there is no Patient ID, for names are corrected and written in many ways. The issuer
    and the birth date may be missing, not differ.
    """
    if len({raw_value(header, "PatientID").strip() for header in headers}) > 1:
        return False
    stated = ["IssuerOfPatientID"] if any(raw_value(header, "PatientID") for header in headers) else ["PatientName"]
    births = {raw_value(header, "PatientBirthDate").decode("latin-1").strip() for header in headers}
    return len({birth for birth in births if is_da(birth)}) < 2 and all(
        len({raw_value(header, keyword).strip() for header in headers} - {b""}) < 2 for keyword in stated
    )


def _uid(header: Dataset, keyword: str) -> str:
    value = text(header, keyword)
    if not _UID.fullmatch(value):
        raise ReportError(f"{keyword} is absent or not a UID")
    return value
