"""Content items of a structured report, each with its concept name and its relation to the item above.

highdicom makes the items; here they get what viewers need: every container is SEPARATE, for a viewer leaves out the
concept names within a CONTINUOUS one ("93.0 % 5.0 % 2.0 %", no telling which is what).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    ImageContentItem,
    NumContentItem,
    ObservationContext,
    ObserverContext,
    TextContentItem,
)
from pydicom.sr.coding import Code

from node import codes
from node.product import MANUFACTURER, MODEL_NAME
from node.report.words import Words, in_percent

Item = Any  # a highdicom ContentItem, which is a Dataset

CONTAINS = "CONTAINS"
INFERRED_FROM = "INFERRED FROM"
HAS_CONCEPT_MOD = "HAS CONCEPT MOD"
HAS_ACQ_CONTEXT = "HAS ACQ CONTEXT"

_LINE_END = "\r\n"  # PS3.5 6.1.3


def container(name: Code, items: Sequence[Item], template: str | None = None, root: bool = False) -> Item:
    """Make a container of separate items; the root has no relation, and names its template."""
    item = ContainerContentItem(
        _concept(name),
        is_content_continuous=False,
        template_id=template,
        relationship_type=None if root else CONTAINS,
    )
    return below(item, items)


def below(item: Item, children: Sequence[Item]) -> Item:
    """Return the item with children."""
    if children:
        item.ContentSequence = ContentSequence(list(children))
    return item


def text(name: Code, lines: str | Sequence[str], relation: str = CONTAINS) -> Item:
    """Make a text of one or more lines."""
    value = lines if isinstance(lines, str) else _LINE_END.join(lines)
    return TextContentItem(_concept(name), value, relationship_type=relation)


def code(name: Code, value: Code, relation: str = CONTAINS) -> Item:
    """Make a coded answer."""
    return CodeContentItem(_concept(name), _concept(value), relationship_type=relation)


def percentage(name: Code, fraction: float, relation: str = CONTAINS) -> Item:
    """Make a number in percent from a fraction in [0, 1], as `node.report.words.in_percent` says it."""
    return NumContentItem(_concept(name), in_percent(fraction), _concept(codes.PERCENT), relationship_type=relation)


def image(name: Code, sop_class_uid: str, sop_instance_uid: str, relation: str = INFERRED_FROM) -> Item:
    """Make a reference to an image."""
    return ImageContentItem(_concept(name), sop_class_uid, sop_instance_uid, relationship_type=relation)


def pixels(name: Code, count: int, relation: str) -> Item:
    """Make a count of pixels."""
    return NumContentItem(_concept(name), count, _concept(codes.PIXELS), relationship_type=relation)


def language(words: Words) -> Item:
    """Say in which language the report is (TID 1204)."""
    return code(codes.LANGUAGE, Code(words.code, "RFC5646", words.name), HAS_CONCEPT_MOD)


def observer(device_uid: str, ae_title: str) -> list[Item]:
    """Say that a device speaks, and which (TID 1001, 1002, 1004)."""
    device = DeviceObserverIdentifyingAttributes(
        uid=device_uid,
        name=ae_title,
        manufacturer_name=MANUFACTURER,
        model_name=MODEL_NAME,
        serial_number=ae_title,
    )
    return list(ObservationContext(observer_device_context=ObserverContext(codes.DEVICE, device)))


@cache
def _concept(concept: Code) -> CodedConcept:
    return CodedConcept.from_code(concept)
