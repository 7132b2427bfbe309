"""Content items of a structured report, each with its concept name and its relation to the item above.

highdicom makes the items, each kind of them once; here they get what viewers need: every container is SEPARATE, for a
viewer leaves out the concept names within a CONTINUOUS one ("93.0 % 5.0 % 2.0 %", no telling which is what).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    DeviceObserverIdentifyingAttributes,
    ImageContentItem,
    NumContentItem,
    ObservationContext,
    ObserverContext,
    TextContentItem,
)
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from node import codes
from node.product import MANUFACTURER, MODEL_NAME
from node.report.draft import CONTENT_SEQUENCE, Draft, Kept
from node.report.header import coded
from node.report.words import Words, in_percent

Item = Draft

CONTAINS = "CONTAINS"
INFERRED_FROM = "INFERRED FROM"
HAS_CONCEPT_MOD = "HAS CONCEPT MOD"
HAS_ACQ_CONTEXT = "HAS ACQ CONTEXT"

_LINE_END = "\r\n"  # PS3.5 6.1.3
_TEXT_VALUE, _REFERENCED_SOP_SEQUENCE = 0x0040A160, 0x00081199
# Numbers have one decimal, and those near 0 and 100 % come again and again.
ITEMS_KEPT = 2048
# What stands in an item until it has its own value.
_ANY = "1"


def container(name: Code, items: Sequence[Item], template: str | None = None, root: bool = False) -> Item:
    """Make a container of separate items; the root has no relation, and names its template."""
    return Item((_container(name, template, root),), below=tuple(items))


def below(item: Item, children: Sequence[Item]) -> Item:
    """Return the item with children."""
    return Item(item.kept, item.own, tuple(children))


def text(name: Code, lines: str | Sequence[str], relation: str = CONTAINS) -> Item:
    """Make a text of one or more lines."""
    value = lines if isinstance(lines, str) else _LINE_END.join(lines)
    return Item((_text(name, relation),), (DataElement(_TEXT_VALUE, "UT", value),))


def code(name: Code, value: Code, relation: str = CONTAINS) -> Item:
    """Make a coded answer."""
    return Item((_code(name, value, relation),))


def percentage(name: Code, fraction: float, relation: str = CONTAINS) -> Item:
    """Make a number in percent from a fraction in [0, 1], as `node.report.words.in_percent` says it."""
    return Item((_number(name, in_percent(fraction), codes.PERCENT, relation),))


def image(name: Code | None, sop_class_uid: str, sop_instance_uid: str, relation: str = INFERRED_FROM) -> Item:
    """Make a reference to an image; without a name where its template has none."""
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return Item((_image(name, relation),), (DataElement(_REFERENCED_SOP_SEQUENCE, "SQ", [reference]),))


def pixels(name: Code, count: int, relation: str) -> Item:
    """Make a count of pixels."""
    return Item((_number(name, count, codes.PIXELS, relation),))


def language(words: Words) -> Item:
    """Say in which language the report is (TID 1204)."""
    return code(codes.LANGUAGE, Code(words.code, "RFC5646", words.name), HAS_CONCEPT_MOD)


@lru_cache
def observer(device_uid: str, ae_title: str) -> tuple[Item, ...]:
    """Say that a device speaks, and which (TID 1001, 1002, 1004)."""
    device = DeviceObserverIdentifyingAttributes(
        uid=device_uid,
        name=ae_title,
        manufacturer_name=MANUFACTURER,
        model_name=MODEL_NAME,
        serial_number=ae_title,
    )
    context = ObservationContext(observer_device_context=ObserverContext(codes.DEVICE, device))
    return tuple(of_library(item) for item in context)


def of_library(item: Dataset, more: Sequence[Item] = ()) -> Item:
    """Take over an item that the library has made, with all below it and perhaps more."""
    own = tuple(element for element in item.values() if element.tag != CONTENT_SEQUENCE)
    children = [of_library(child) for child in item.get("ContentSequence", ())]
    return Item((), own, (*children, *more))


@cache
def _container(name: Code, template: str | None, root: bool) -> Kept:
    relation = None if root else CONTAINS
    made = ContainerContentItem(
        coded(name), is_content_continuous=False, template_id=template, relationship_type=relation
    )
    return Kept.of(made)


@cache
def _text(name: Code, relation: str) -> Kept:
    return Kept.of(TextContentItem(coded(name), _ANY, relationship_type=relation), without="TextValue")


@cache
def _code(name: Code, value: Code, relation: str) -> Kept:
    return Kept.of(CodeContentItem(coded(name), coded(value), relationship_type=relation))


@lru_cache(maxsize=ITEMS_KEPT)
def _number(name: Code, value: float, unit: Code, relation: str) -> Kept:
    return Kept.of(NumContentItem(coded(name), value, coded(unit), relationship_type=relation))


@cache
def _image(name: Code | None, relation: str) -> Kept:
    made = ImageContentItem(coded(name or codes.SOURCE), _ANY, _ANY, relationship_type=relation)
    if name is None:
        del made.ConceptNameCodeSequence  # the library cannot do without
    return Kept.of(made, without="ReferencedSOPSequence")
