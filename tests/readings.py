"""Readings of invented studies: what the model might have said of the films in ``tests.films``."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from node.errors import Reason
from node.prints import shown
from node.report import ReportOptions, StudySource
from node.study import (
    FilmWarning,
    Finding,
    FloatArray,
    ImageReading,
    ModelIdentity,
    Prediction,
    StudyReading,
    Times,
    Triage,
)
from tests.films import chest, dx_film, parsed

RECEIVED = datetime(2026, 11, 22, 10, 15, 58, tzinfo=UTC)
TIMES = Times(RECEIVED, *(RECEIVED + timedelta(seconds=seconds) for seconds in (2, 3, 4)))
MODEL = ModelIdentity("CXR triage EfficientNetB0", "0.1.0", "0123456789abcdef" * 4, ("temperature=1.37",))
OPTIONS = ReportOptions("CXRTRIAGE", config_digest="0011223344556677")
NOT_READ = tuple[Reason, str]


def heat_map(strength: float) -> FloatArray:
    """A map with one spot; 0.25 and less is not shown."""
    cells = np.full((7, 7), 0.05, np.float32)
    cells[1, 5], cells[2, 5], cells[1, 4] = strength, 0.6 * strength, 0.5 * strength
    return cells


def prediction(
    triage: Triage,
    normal: float,
    pneumonia: float,
    tuberculosis: float,
    flagged: str | None = None,
    strength: float = 0.1,
    spreads: tuple[float, float, float] = (0.02, 0.03, 0.04),
    cut_offs: tuple[float, float] = (0.5, 0.6),
) -> Prediction:
    findings = (
        Finding("Normal", normal, spreads[0], None),
        Finding("Pneumonia", pneumonia, spreads[1], cut_offs[0]),
        Finding("Tuberculosis", tuberculosis, spreads[2], cut_offs[1]),
    )
    leading = "Tuberculosis" if tuberculosis >= pneumonia else "Pneumonia"
    return Prediction(findings, triage, flagged, flagged or leading, heat_map(strength))


URGENT = prediction(Triage.URGENT, 0.021, 0.049, 0.93, "Tuberculosis", 1.0)
FLAGGED = prediction(Triage.FLAGGED, 0.112, 0.808, 0.08, "Pneumonia", 0.8)
NORMAL = prediction(Triage.NOT_FLAGGED, 0.942, 0.041, 0.017)
NOT_QUITE_NORMAL = prediction(Triage.NOT_FLAGGED, 0.44, 0.45, 0.11)
UNCERTAIN = prediction(Triage.UNCERTAIN, 0.386, 0.352, 0.262, None, 0.3, (0.17, 0.15, 0.19))
TURNED_URGENT = replace(URGENT, warnings=(FilmWarning.LOOKS_TURNED,))
INVERTED = replace(NORMAL, triage=Triage.UNCERTAIN, warnings=(FilmWarning.LOOKS_INVERTED,))
UNLIKE = replace(NORMAL, warnings=(FilmWarning.UNLIKE_TRAINING,), likeness=0.41)
COLLIMATED_FLAGGED = replace(FLAGGED, warnings=(FilmWarning.LOOKS_COLLIMATED,))
ALL_WARNINGS = replace(INVERTED, warnings=tuple(FilmWarning))
NO_FILM = (Reason.NOT_A_CHEST_FILM, "")
LATERAL = (Reason.NOT_FRONTAL, "LL")


def source(
    *said: tuple[Dataset, Prediction | NOT_READ],
    plane: Callable[[str], FloatArray] | None = None,
    previous: Dataset | None = None,
) -> StudySource:
    """A study of these headers or films, each with what was said of it."""
    headers, readings = {}, []
    for number, (film, outcome) in enumerate(said, start=1):
        headers[f"key{number}"] = film if "PixelData" not in film else parsed(film)
        if isinstance(outcome, Prediction):
            readings.append(ImageReading(number, f"key{number}", prediction=outcome))
        else:
            readings.append(ImageReading(number, f"key{number}", reason=outcome[0], detail=outcome[1]))
    reading = StudyReading("study", "generation", tuple(readings), MODEL, TIMES)
    return StudySource(reading, headers, lambda key: shown((plane or _film)(key)), previous)


def _film(_: str) -> FloatArray:
    return chest(64, 56)


def lateral(number: int = 2, **attributes: Any) -> tuple[Dataset, NOT_READ]:
    """A lateral view that the gate kept away from the model."""
    return dx_film(InstanceNumber=number, ViewPosition="LL", **attributes), LATERAL


@cache
def studies() -> dict[str, Sequence[tuple[Dataset, Prediction | NOT_READ]]]:
    """One study of each kind of answer, by name."""
    ct = [(dx_film(chest(16, 16), InstanceNumber=number), (Reason.WRONG_MODALITY, "CT")) for number in range(2, 40)]
    document = dx_film(InstanceNumber=9, SeriesNumber=9, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.22")
    return {
        "urgent": [(dx_film(), URGENT), lateral()],
        "flagged": [(dx_film(), FLAGGED)],
        "pair": [(dx_film(), NOT_QUITE_NORMAL), (dx_film(InstanceNumber=2), FLAGGED)],
        "normal": [(dx_film(), NORMAL)],
        "not flagged": [(dx_film(), NOT_QUITE_NORMAL)],
        "uncertain": [(dx_film(), UNCERTAIN)],
        "not analysed": [lateral()],
        "turned": [(dx_film(), TURNED_URGENT)],
        "inverted": [(dx_film(), INVERTED)],
        "unlike": [(dx_film(), UNLIKE), lateral()],
        "warned": [(dx_film(), ALL_WARNINGS), (dx_film(InstanceNumber=2), COLLIMATED_FLAGGED)],
        "no film": [(dx_film(), NO_FILM)],
        "many slices": [(dx_film(), NORMAL), *ct, (document, (Reason.NOT_AN_IMAGE, "SR"))],
    }
