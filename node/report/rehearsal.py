"""A rehearsal: an invented study is reported on in memory, so that the first real one is no slower than the next.

The first report of a process reads the tables of highdicom (0.2 s), the fonts and the phrases, and pays for what the
libraries import late.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from io import BytesIO

import numpy as np
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from node import codes
from node.prints import FILM_HEIGHT
from node.product import uid
from node.report.compose import compose
from node.report.source import Profile, ReportOptions, ResultObject, StudySource
from node.study import Finding, ImageReading, ModelIdentity, Prediction, StudyReading, Times, Triage

_KEY = "rehearsal"


def rehearse(options: ReportOptions, profiles: Iterable[Profile]) -> list[ResultObject]:
    """Compose the results of an invented study.

    Parameters
    ----------
    options : ReportOptions
        As they are for real studies.
    profiles : iterable of "viewer" or "air"

    Returns
    -------
    list of ResultObject
        To look at; they are of nobody, and nothing is written.
    """
    return [result for profile in profiles for result in compose(_study(), options, profile)]


def _study() -> StudySource:
    heat_map = np.zeros((7, 7), np.float32)
    heat_map[1, 5] = 1
    findings = [Finding(label, 0.25, 0.02, None if label == "Normal" else 0.5) for label in codes.CONDITIONS]
    findings[-1] = Finding(findings[-1].label, 0.9, 0.02, 0.5)
    flagged = findings[-1].label
    prediction = Prediction(tuple(findings), Triage.URGENT, flagged, flagged, heat_map)
    now = datetime.now(UTC)
    reading = StudyReading(
        _KEY,
        _KEY,
        (ImageReading(1, _KEY, prediction=prediction),),
        ModelIdentity(_KEY, "0", "0" * 64),
        Times(now, now, now, now),
    )
    film = np.tile(np.linspace(0, 255, FILM_HEIGHT).astype(np.uint8), (FILM_HEIGHT, 1))
    return StudySource(reading, {_KEY: _header()}, lambda key: film)


def _header() -> Dataset:
    """Return the header of a film, parsed from bytes as a real one is."""
    header = Dataset()
    header.SOPClassUID, header.Modality = ComputedRadiographyImageStorage, "CR"
    header.StudyInstanceUID, header.SeriesInstanceUID = uid(_KEY, "study"), uid(_KEY, "series")
    header.SOPInstanceUID = uid(_KEY, "film")
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    dcmwrite(buffer, header, enforce_file_format=True)
    buffer.seek(0)
    return dcmread(buffer)
