"""The attention box: where the heat map stands out, as regions that a viewer draws on the film itself.

TID 1500 with planar regions alone, each with a tracking UID: a measurement group without a region blackens OHIF. Viewers
show the name and value of a number beside the box, so the class is in the name.

References
----------
DICOM PS3.16 TID 1500, TID 1410; PS3.3 C.18.6 (coordinates).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    FindingSite,
    ImageRegion,
    Measurement,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    SourceImageForRegion,
    TrackingIdentifier,
)

from node import codes
from node.attributes import whole
from node.explain import Region, regions
from node.product import uid
from node.report import answer
from node.report.films import Film
from node.report.header import Context
from node.report.items import HAS_CONCEPT_MOD, Item, code, container, language, observer, of_library, text
from node.report.words import in_percent
from node.study import Triage


def content(context: Context) -> Item | None:
    """Build the content tree.

    Parameters
    ----------
    context : Context

    Returns
    -------
    Item or None
        The root container; None where no map of a flagged film has a region that stands out.
    """
    groups = [group for film in context.study.read for group in _groups(context, film)]
    if not groups:
        return None
    items = [
        language(context.words),
        *observer(context.options.device, context.options.ae_title),
        code(codes.PROCEDURE_REPORTED, codes.PLAIN_CHEST_X_RAY, HAS_CONCEPT_MOD),
        container(codes.IMAGING_MEASUREMENTS, groups),
        container(codes.QUALITATIVE_EVALUATIONS, [text(codes.COMMENT, answer.impression(context))]),
    ]
    return container(codes.IMAGING_MEASUREMENT_REPORT, items, template="1500", root=True)


def _groups(context: Context, film: Film) -> Iterator[Item]:
    """Yield a measurement group for each region of a flagged film, the strongest first."""
    prediction, rows, columns = film.prediction, whole(film.header, "Rows"), whole(film.header, "Columns")
    assert prediction is not None
    is_flagged = prediction.triage in (Triage.URGENT, Triage.FLAGGED) and prediction.reliable
    # The map explains one class alone: a box around another would name the wrong one.
    if not is_flagged or prediction.flagged_label != prediction.map_label or not rows or not columns:
        return
    for number, region in enumerate(regions(prediction.heat_map, (rows, columns)), start=1):
        yield _group(context, film, number, region)


def _group(context: Context, film: Film, number: int, region: Region) -> Item:
    assert film.prediction is not None
    model, label = context.study.reading.model, film.prediction.map_label
    left, top, right, bottom = region
    outline = np.array([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)])
    group = PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=uid("region", film.sop_instance_uid, label, str(number), model.weights_sha256),
            identifier=f"Attention {label} {film.number}.{number}",
        ),
        referenced_region=ImageRegion(
            "POLYLINE", outline, SourceImageForRegion(film.sop_class_uid, film.sop_instance_uid)
        ),
        finding_type=codes.CONDITIONS[label],
        finding_sites=[FindingSite(codes.LUNG)],
        algorithm_id=AlgorithmIdentification(
            name=model.name, version=model.version, family=codes.ARTIFICIAL_INTELLIGENCE
        ),
        measurements=[
            Measurement(codes.probability_of(label), in_percent(film.prediction.of(label).probability), codes.PERCENT)
        ],
    )[0]
    group.ContinuityOfContent = "SEPARATE"
    return of_library(group)
