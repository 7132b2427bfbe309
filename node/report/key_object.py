"""The Key Object Selection of a flagged study: its flagged films, and their pictures, for worklists and viewers to find.

References
----------
DICOM PS3.3 A.35.4, C.17.6; PS3.16 TID 2010, CID 7010.
"""

from __future__ import annotations

from collections.abc import Mapping

from node import codes
from node.report import answer
from node.report.header import Context, Reference
from node.report.items import CONTAINS, Item, container, image, language, observer, text
from node.study import Triage


def content(context: Context, pictures: Mapping[str, Reference]) -> Item | None:
    """Build the content tree.

    Parameters
    ----------
    context : Context
    pictures : mapping of str to Reference
        By SOP Instance UID of a film, the picture that shows its heat map.

    Returns
    -------
    Item or None
        The root container; None where no image is flagged.
    """
    flagged = [
        film
        for film in context.study.read
        if film.prediction and film.prediction.triage in (Triage.URGENT, Triage.FLAGGED)
    ]
    if not flagged:
        return None
    named = [Reference(film.sop_class_uid, film.sop_instance_uid, film.series_instance_uid) for film in flagged]
    named += [pictures[film.sop_instance_uid] for film in flagged if film.sop_instance_uid in pictures]
    items = [
        language(context.words),
        *observer(context.options.device, context.options.ae_title),
        text(codes.KEY_OBJECT_DESCRIPTION, answer.impression(context)),
        *(image(None, each.sop_class_uid, each.sop_instance_uid, CONTAINS) for each in named),  # TID 2010: no name
    ]
    return container(codes.OF_INTEREST, items, template="2010", root=True)
