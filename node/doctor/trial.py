"""A round trip: a sample film as test data, read by the model, reported on, and stored at each destination.

The patient is called TEST, every UID is new, and the results say in the study's description that they may be deleted.
Only results are sent, never the film: a destination takes from the node what the node would send.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from highdicom.sr import srread
from pydicom import Dataset, dcmread
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from node import log
from node.bundle import Bundle, load
from node.config import Destination, Settings
from node.deliver import StorageSCU
from node.doctor.findings import Finding, bad, good, told
from node.errors import NodeError, Parked
from node.pixels import Plane, read_dicom
from node.prints import shown
from node.product import NAME
from node.report import EXTRAS, Encoded, ReportOptions, ResultObject, StudySource, compose
from node.samples import studies
from node.site_thresholds import in_force
from node.study import ImageReading, StudyReading, Times

PATIENT_NAME, PATIENT_ID = "TEST^CXR TRIAGE NODE", "TEST-CXR-NODE"
STUDY_DESCRIPTION = f"TEST of {NAME}: delete me"
_SAMPLE = "01-normal-adult"
_KEY = "film"
_READ_BY_HIGHDICOM = (ComprehensiveSRStorage, Comprehensive3DSRStorage, EnhancedSRStorage)


def round_trip(settings: Settings) -> Iterator[Finding]:
    """Make test results and store them at every destination.

    Parameters
    ----------
    settings : Settings

    Yields
    ------
    Finding
    """
    subject = "test study"
    try:
        bundle = in_force(load(settings.model.bundle), settings.model.thresholds)
        film, plane = _film()
        reading = _read(settings, bundle, plane)
        made = {
            profile: compose(_source(reading, film, plane), _options(settings), profile)
            for profile in sorted({each.profile for each in settings.destinations})
        }
    except NodeError as error:
        yield told(subject, error)
        return
    for results in made.values():
        for result in results:
            yield _parsed(subject, result)
    for at in settings.destinations:
        yield _stored(settings, at, made[at.profile])


def _film() -> tuple[Dataset, Plane]:
    """Return the header of a sample film made test data, as parsed from bytes, and its plane."""
    sample = next(each for each in studies() if each.name == _SAMPLE)
    film, now = dcmread(sample.files[0]), datetime.now().astimezone()
    film.PatientName, film.PatientID, film.IssuerOfPatientID = PATIENT_NAME, PATIENT_ID, ""
    film.AccessionNumber, film.StudyID, film.StudyDescription = "TEST", "TEST", STUDY_DESCRIPTION
    film.ReferringPhysicianName, film.InstitutionName = "TEST", "TEST"
    film.StudyDate, film.StudyTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(film, keyword, generate_uid(None))
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    written = BytesIO()
    film.save_as(written, enforce_file_format=True)
    written.seek(0)
    return dcmread(written, stop_before_pixels=True), read_dicom(film)


def _read(settings: Settings, bundle: Bundle, plane: Plane) -> StudyReading:
    started = datetime.now(UTC)
    with log.native_notes_held_back():
        from node.infer import Reader  # TensorFlow comes with it

        prediction = Reader(bundle, settings.model.device).read(plane)
    times = Times(started, started, started, datetime.now(UTC))
    return StudyReading("test", "test", (ImageReading(1, _KEY, prediction=prediction),), bundle.identity, times)


def _source(reading: StudyReading, film: Dataset, plane: Plane) -> StudySource:
    return StudySource(reading=reading, headers={_KEY: film}, shown=lambda key: shown(plane), previous=None)


def _options(settings: Settings) -> ReportOptions:
    report = settings.report
    return ReportOptions(
        ae_title=settings.listen.ae_title,
        heat_map=report.heat_map,
        not_analysed=report.not_analysed,
        language=report.language,
        map_opacity=report.map_opacity,
        extra=report.extra,
        config_digest=settings.digest(),
    )


def _parsed(subject: str, result: ResultObject) -> Finding:
    """Read a result as a receiver would, by libraries that did not write it alone."""
    for encoded in result.encodings:
        try:
            _parse(encoded)
        except (ValueError, AttributeError, KeyError) as error:
            return bad(
                subject,
                f"the {result.kind} as {UID(encoded.sop_class_uid).name} cannot be read back ({type(error).__name__})",
                "Please report this, with the version of the node.",
            )
    forms = ", ".join(UID(encoded.sop_class_uid).name.removesuffix(" Storage") for encoded in result.encodings)
    return good(subject, f"{result.kind} made and read back: {forms}")


def _parse(encoded: Encoded) -> None:
    dataset = dcmread(BytesIO(encoded.data))
    if dataset.PatientID != PATIENT_ID:
        raise ValueError
    if encoded.sop_class_uid == SecondaryCaptureImageStorage:
        assert dataset.pixel_array.shape[:2] == (dataset.Rows, dataset.Columns)
    elif encoded.sop_class_uid in _READ_BY_HIGHDICOM:
        srread(BytesIO(encoded.data))


def _stored(settings: Settings, at: Destination, results: Sequence[ResultObject]) -> Finding:
    subject = f"test study to {at.name}"
    try:
        with (
            tempfile.TemporaryDirectory(prefix="cxr-node-doctor-") as folder,
            StorageSCU(at, settings.listen.ae_title, extra=[r.kind for r in results if r.kind in EXTRAS]) as scu,
        ):
            done = []
            for result in results:
                with contextlib.suppress(*((Parked,) if result.kind in EXTRAS else ())):  # as in a delivery
                    done.append(scu.store(_written(Path(folder), result)))
    except NodeError as error:
        return told(subject, error)
    kinds = ", ".join(UID(each.sop_class_uid).name.removesuffix(" Storage") for each in done)
    warned = ", ".join(sorted({str(each.status) for each in done if each.status.code}))
    return good(
        subject,
        f"stored: {kinds}{f' (it answered {warned})' if warned else ''}. "
        f"Look for patient {PATIENT_ID} in a viewer, then delete that study",
    )


def _written(folder: Path, result: ResultObject) -> list[Path]:
    paths = []
    for number, encoded in enumerate(result.encodings):
        path = folder / f"{result.sop_instance_uid}-{number}.dcm"
        path.write_bytes(encoded.data)
        paths.append(path)
    return paths
