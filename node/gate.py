"""Which images the model may read, and the reason where it may not: judged on the header alone.

Acceptance goes by SOP class, never by Modality alone. Doubt about the kind of object or the view refuses; silence
about the body part passes, for the PACS sends this AE title its chest films and many CR headers leave it empty.
The reasons are asked in the order in which they tell a reader most.

==================  ====================================================================================
OWN_OBJECT          made by this node, or from something it made: answering it would go round in a loop
FOR_PROCESSING      raw detector data, not yet a film
SECONDARY           a Secondary Capture, where these are not read, or an image made afterwards from a film
NOT_AN_IMAGE        a report, a presentation state, a key object selection, an encapsulated document
WRONG_MODALITY      an image of another kind
COLOR, MULTI_FRAME  not one gray film
TOO_SMALL           a thumbnail
NOT_CHEST           another body part, or another species
NOT_FRONTAL         a lateral, oblique or decubitus view
AGE_OUT_OF_RANGE    a patient the model was not made for
==================  ====================================================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from pydicom.dataset import Dataset

from node.anatomy import body_part, elsewhere, folded, is_chest, side_view
from node.attributes import items, strings, text, whole
from node.errors import NotAssessable, Reason
from node.pixels import check_monochrome_single_frame
from node.product import MANUFACTURER, MODEL_NAME
from node.storage_classes import is_image

__all__ = ["GateRules", "is_image", "is_own_object", "judge"]

CR_IMAGE = "1.2.840.10008.5.1.4.1.1.1"
DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
# Secondary Capture and its multi-frame kinds, 7.1 to 7.4.
SECONDARY_CAPTURE = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.7(\.[1-4])?")

# A date or an age beyond this is an anonymizer's placeholder (1 January 1900, 999Y) far more often than a patient:
# people above 110 are counted by name.
OLDEST_YEARS = 110
_DAYS_A_YEAR = 365.25
_YEARS = {"D": 1 / _DAYS_A_YEAR, "W": 7 / _DAYS_A_YEAR, "M": 1 / 12, "Y": 1.0}


@dataclass(frozen=True, slots=True)
class GateRules:
    """What a site and its model allow.

    Attributes
    ----------
    read_secondary_capture : bool
        Read Secondary Captures that name Modality CR or DX and the chest, as public data sets wrap their films. Their
        Image Type is then not asked, for a converted film is SECONDARY by nature.
    minimum_px : int
        Shorter side of the smallest film that is read. 128 is the smallest film the models were trained on; less than
        that is a thumbnail.
    age_years : (float, float) or None
        First and last year of age the model was made for, both included; None for any. An age that is unknown or
        malformed passes.
    """

    read_secondary_capture: bool = False
    minimum_px: int = 128
    age_years: tuple[float, float] | None = None


def judge(header: Dataset, rules: GateRules) -> None:
    """Let an image pass, or say why the model may not read it.

    Parameters
    ----------
    header : Dataset
        Without pixel data; any attribute may be missing or damaged.
    rules : GateRules

    Raises
    ------
    NotAssessable
        With the most telling reason. The detail is a fixed word, or a coded attribute cut to 16 capital letters,
        digits and spaces.

    References
    ----------
    DICOM PS3.3 C.7.6.1.1.2 (Image Type), C.8.11.5 (DX positioning); PS3.16 CID 4010, 4031.
    """
    for check in _CHECKS:
        check(header, rules)


def is_own_object(header: Dataset) -> bool:
    """Tell whether this node made the object, or had a hand in what it was made from."""
    return _is_this_node(header) or any(_is_this_node(item) for item in items(header, "ContributingEquipmentSequence"))


def _is_this_node(equipment: Dataset) -> bool:
    return (text(equipment, "Manufacturer"), text(equipment, "ManufacturerModelName")) == (MANUFACTURER, MODEL_NAME)


def coded(words: str) -> str:
    """Return at most 16 capital letters, digits and spaces of an attribute, the length and alphabet of a CS value."""
    return re.sub("[^A-Z0-9]+", " ", folded(words).upper()).strip()[:16].strip()


def _check_maker(header: Dataset, rules: GateRules) -> None:
    if is_own_object(header):
        raise NotAssessable(Reason.OWN_OBJECT)


def _check_kind(header: Dataset, rules: GateRules) -> None:
    sop_class_uid = text(header, "SOPClassUID")
    modality = coded(text(header, "Modality"))
    if _is_secondary_capture(header):
        _check_secondary_capture(modality, rules)
    elif sop_class_uid == DX_FOR_PROCESSING:
        raise NotAssessable(Reason.FOR_PROCESSING)
    elif not is_image(sop_class_uid):
        raise NotAssessable(Reason.NOT_AN_IMAGE, modality)
    elif sop_class_uid not in (CR_IMAGE, DX_FOR_PRESENTATION):
        raise NotAssessable(Reason.WRONG_MODALITY, modality)


def _is_secondary_capture(header: Dataset) -> bool:
    return SECONDARY_CAPTURE.fullmatch(text(header, "SOPClassUID")) is not None


def _check_secondary_capture(modality: str, rules: GateRules) -> None:
    if not rules.read_secondary_capture:
        raise NotAssessable(Reason.SECONDARY, modality)
    if modality not in ("CR", "DX"):
        raise NotAssessable(Reason.WRONG_MODALITY, modality)


def _check_image_type(header: Dataset, rules: GateRules) -> None:
    if text(header, "PresentationIntentType").upper() == "FOR PROCESSING":
        raise NotAssessable(Reason.FOR_PROCESSING)
    image_type = strings(header, "ImageType")
    if image_type[1:2] and image_type[1].upper() == "SECONDARY" and not _is_secondary_capture(header):
        raise NotAssessable(Reason.SECONDARY)


def _check_pixel_format(header: Dataset, rules: GateRules) -> None:
    check_monochrome_single_frame(header)
    rows, columns = whole(header, "Rows"), whole(header, "Columns")
    if rows and columns and min(rows, columns) < rules.minimum_px:
        raise NotAssessable(Reason.TOO_SMALL, f"{rows} x {columns}")


def _check_body_part(header: Dataset, rules: GateRules) -> None:
    if _is_of_an_animal(header):
        raise NotAssessable(Reason.NOT_CHEST, "NOT HUMAN")
    if is_chest(header):
        return
    other = coded(body_part(header)) or elsewhere(header)
    if other or _is_secondary_capture(header):
        raise NotAssessable(Reason.NOT_CHEST, other)


def _is_of_an_animal(header: Dataset) -> bool:
    """Tell whether Patient Species (0010,2201) or its code says other than human (PS3.3 C.7.1.4)."""
    described = folded(text(header, "PatientSpeciesDescription"))
    codes = [text(item, "CodeValue") for item in items(header, "PatientSpeciesCodeSequence")]
    if not described and not any(codes):
        return False
    return not ("human" in described or "homo" in described or {"337915000", "L-85B00"} & set(codes))


def _check_view(header: Dataset, rules: GateRules) -> None:
    if view := side_view(header):
        raise NotAssessable(Reason.NOT_FRONTAL, coded(view))


def _check_age(header: Dataset, rules: GateRules) -> None:
    age = _age_years(header)
    if rules.age_years is None or age is None or not 0 <= age <= OLDEST_YEARS:
        return
    first, last = rules.age_years
    if not first <= age < last + 1:
        raise NotAssessable(Reason.AGE_OUT_OF_RANGE, f"model is for {first:g} to {last:g} years")


def _age_years(header: Dataset) -> float | None:
    stated = re.fullmatch(r"(\d{1,3})([DWMY])", text(header, "PatientAge").upper())
    if stated:
        return int(stated[1]) * _YEARS[stated[2]]
    birth, study = _day(header, "PatientBirthDate"), _day(header, "StudyDate")
    return (study - birth).days / _DAYS_A_YEAR if birth and study else None


def _day(header: Dataset, keyword: str) -> date | None:
    stated = re.fullmatch(r"(\d{4})(\d{2})(\d{2})", text(header, keyword))
    try:
        return date(*(int(part) for part in stated.groups())) if stated else None
    except ValueError:
        return None


_CHECKS = (
    _check_maker,
    _check_kind,
    _check_image_type,
    _check_pixel_format,
    _check_body_part,
    _check_view,
    _check_age,
)
