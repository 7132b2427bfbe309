"""What every result carries around its content: names that never change, equipment, evidence, and one moment in time.

Nothing here asks the clock: a result that is built again has the same UIDs and the same bytes, so a PACS that has it
already keeps one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import cache, cached_property

from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from node import __version__, codes
from node.attributes import items, text
from node.product import MANUFACTURER, MODEL_NAME, NAME, PRIVATE_SCHEME, uid
from node.report.draft import Kept
from node.report.films import Film, Study
from node.report.identity import Identity, is_utc_offset
from node.report.source import ReportOptions
from node.report.words import Words

_LO_LENGTH = 64
# What stands in a frame, which is the same for each study, until its own names are set.
OF_NO_STUDY = uid("no study")


@dataclass(frozen=True)
class Reference:
    """An instance that a report names as evidence."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True)
class Context:
    """What all results of one reading share.

    Attributes
    ----------
    study : Study
    options : ReportOptions
    words : Words
    identity : Identity
    """

    study: Study
    options: ReportOptions
    words: Words
    identity: Identity

    def uid(self, kind: str, *about: str) -> str:
        """Return the UID of a result: the same for one reading, by one model, settings and software, and only then.

        Parameters
        ----------
        kind : str
        about : str
            What tells this result from others of its kind, e.g. its SOP Class UID.
        """
        return uid(kind, *about, *self._fingerprint)

    @cached_property
    def _fingerprint(self) -> tuple[str, ...]:
        # The whole study, not one film: a picture says "image 1 of 2", which a late image makes another picture.
        films = sorted(film.sop_instance_uid for film in self.study.films)
        options = self.options
        looks = (
            options.ae_title,
            options.device,
            options.language,
            options.config_digest,
            str(options.map_opacity),
        )
        # A study that was forgotten and comes again is read anew, perhaps with other content; the times differ anyway.
        reading = self.study.reading
        return (*films, reading.model.weights_sha256, reading.times.started.isoformat(), __version__, *looks)

    @property
    def model_uid(self) -> str:
        """Device UID of the model, new with each training (IHE AI Results, Contributing Equipment)."""
        return uid("model", self.study.reading.model.weights_sha256)

    @cached_property
    def utc_offset(self) -> str:
        """The source's Timezone Offset From UTC, empty where it has none."""
        offset = text(self.study.leading.header, "TimezoneOffsetFromUTC")
        return offset if is_utc_offset(offset) else ""

    @cached_property
    def moment(self) -> datetime:
        """When the reading started, on the clock that the study's own times are on.

        The offset of a data set holds for all its times, those of the study included. A source without one keeps the
        time of its place, and so does the node then, by its own time zone.
        """
        started = self.study.reading.times.started
        if not self.utc_offset:
            return started.astimezone()
        minutes = int(self.utc_offset[1:3]) * 60 + int(self.utc_offset[3:])
        return started.astimezone(timezone(timedelta(minutes=-minutes if self.utc_offset[0] == "-" else minutes)))

    @property
    def date(self) -> str:
        """The moment's date, as DICOM writes it."""
        return self.moment.strftime("%Y%m%d")

    @property
    def time(self) -> str:
        """The moment's time, as DICOM writes it."""
        return self.moment.strftime("%H%M%S")

    @cached_property
    def stamp(self) -> Kept:
        """Times, node and equipment, as they stand in every result."""
        return Kept.of(_stamp(self))


def _stamp(context: Context) -> Dataset:
    """Return times, node and equipment; whatever the library had stamped with the present they replace."""
    dataset = Dataset()
    for moment in ("InstanceCreation", "Series", "Content"):
        setattr(dataset, f"{moment}Date", context.date)
        setattr(dataset, f"{moment}Time", context.time)
    if context.utc_offset:
        dataset.TimezoneOffsetFromUTC = context.utc_offset
    dataset.StationName = context.options.ae_title
    dataset.DeviceSerialNumber = context.options.ae_title
    dataset.ContributingEquipmentSequence = list(_equipment(context))
    return dataset


def of_this_node(dataset: Dataset) -> None:
    """Set what every result of this node says of where it comes from."""
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = MODEL_NAME
    dataset.SoftwareVersions = __version__


def evidence(context: Context, pictures: Sequence[Reference]) -> list[Dataset]:
    """Return Current Requested Procedure Evidence Sequence (0040,A375): every instance that was there, and the pictures.

    References
    ----------
    DICOM PS3.3 Table C.17-2 and C.17.2.3.
    """
    films = (Reference(f.sop_class_uid, f.sop_instance_uid, f.series_instance_uid) for f in context.study.films)
    return [_study_item(context.study.study_instance_uid, (*films, *pictures))]


def evidence_of(report: Dataset) -> set[str]:
    """Return the SOP Instance UIDs that a report names as its evidence."""
    return {
        text(reference, "ReferencedSOPInstanceUID")
        for study in items(report, "CurrentRequestedProcedureEvidenceSequence")
        for series in items(study, "ReferencedSeriesSequence")
        for reference in items(series, "ReferencedSOPSequence")
    }


def predecessor(previous: Dataset) -> list[Dataset]:
    """Return Predecessor Documents Sequence (0040,A360), which names the report that this one replaces."""
    replaced = Reference(*(text(previous, k) for k in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")))
    return [_study_item(text(previous, "StudyInstanceUID"), [replaced])]


def author(context: Context) -> Dataset:
    """Return the item of Author Observer Sequence (0040,A078) that names this node (PS3.3 Table 10-1)."""
    item = Dataset()
    item.ObserverType = "DEV"
    item.StationName = context.options.ae_title
    item.DeviceUID = context.options.device
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = MODEL_NAME
    item.InstitutionName = None
    item.InstitutionCodeSequence = []
    return item


def concept(code: Code) -> list[CodedConcept]:
    """Return a coded concept as the one item of a code sequence."""
    return [coded(code)]


@cache
def coded(code: Code) -> CodedConcept:
    """Return a coded concept, made once; it is shared and not to be changed."""
    return CodedConcept.from_code(code)


def _study_item(study_instance_uid: str, references: Iterable[Reference]) -> Dataset:
    by_series: dict[str, dict[str, Reference]] = {}
    for reference in references:
        by_series.setdefault(reference.series_instance_uid, {})[reference.sop_instance_uid] = reference
    item = Dataset()
    item.StudyInstanceUID = study_instance_uid
    item.ReferencedSeriesSequence = [_series_item(series, held.values()) for series, held in by_series.items()]
    return item


def _series_item(series_instance_uid: str, references: Iterable[Reference]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = series_instance_uid
    item.ReferencedSOPSequence = [sop_reference(r.sop_class_uid, r.sop_instance_uid) for r in references]
    return item


def sop_reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """Return an item that names an instance (PS3.3 Table 10-11)."""
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def _equipment(context: Context) -> Iterable[Dataset]:
    """Yield what contributed: the modality where it names itself, and the model (PS3.3 C.12.1.5)."""
    acquired = _acquisition_equipment(context.study.leading)
    if acquired is not None:
        yield acquired
    model = context.study.reading.model
    item = Dataset()
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = model.name[:_LO_LENGTH]
    item.SoftwareVersions = model.version[:_LO_LENGTH]
    item.DeviceUID = context.model_uid
    item.ContributionDateTime = context.study.reading.times.started.astimezone(UTC).strftime("%Y%m%d%H%M%S+0000")
    item.ContributionDescription = f"Classification and heat map by {NAME}"
    item.PurposeOfReferenceCodeSequence = concept(codes.PROCESSING_EQUIPMENT)
    yield item


def _acquisition_equipment(film: Film) -> Dataset | None:
    keywords = ("Manufacturer", "ManufacturerModelName", "StationName", "DeviceSerialNumber", "SoftwareVersions")
    item = Dataset()
    for keyword in keywords:
        value = text(film.header, keyword)
        # Names beyond ASCII would decide the character set of the whole result.
        if value and value.isascii() and value.isprintable() and len(value) <= (16 if keyword == "StationName" else 64):
            setattr(item, keyword, value)
    if "Manufacturer" not in item:
        return None
    item.PurposeOfReferenceCodeSequence = concept(codes.ACQUISITION_EQUIPMENT)
    return item


def private_scheme() -> Dataset:
    """Return the item of Coding Scheme Identification Sequence (0008,0110) that says whose the private codes are."""
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeName = f"{NAME} codes"
    item.CodingSchemeVersion = "1"
    item.CodingSchemeResponsibleOrganization = MANUFACTURER
    return item
