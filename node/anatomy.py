"""What a header says of the body part and the view, in codes and in the words of many languages.

Headers are wrong in some 15 % of images (Gueld et al., SPIE 4685, 2002), and a technologist types what the menu
offers; so no single attribute decides, and the words searched for are stems, accents and case set aside.
"""

import re
import unicodedata

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from node.attributes import items, strings, text

# Written in the words of the place; "thoracic spine" is no chest, nor are the breastbone and the ribs in Japanese.
_CHEST_WORDS = (
    r"\bchest|\bcxr\b|thora[xck]|tora(?:x|c|ks)|\blungs?\b|\blunge|\blungor|poumon|pulmo|polmon|\blongen\b|"
    r"brustkorb|klatk|hrudn|mellkas|akciger|gogus|грудн|легк|θωρακ|胸|肺|흉부"
)
_SPINE_WORDS = (
    r"spine|spinal|wirbel|\bbws\b|rachis|column|colonna|vertebr|lumb|pozvon|позвон|椎|胸骨|肋骨|흉추|"
    r"sternum|clavic|schlusselbein|scapul"
)
_ELSEWHERE = {
    "ABDOMEN": r"\babdom|\bbauch|\bkub\b|брюшн|腹|복부",
    "PELVIS": r"\bpelvi|\bbecken|\bbassin\b|骨盤",
    "SPINE": r"spine|wirbelsaul|\b[bhl]ws\b|rachis|column|vertebr|позвон|椎",
    "SKULL": r"\bskull|\bschadel|\bcrane|\bhead\b|\bkopf|череп|頭",
    "TEETH": r"\bteeth|\btooth|\bdental|\bzahn|panoramic|\bopg\b|歯",
    "NECK": r"\bneck\b|\bhals\b|cervical",
    "SHOULDER": r"\bshoulder|\bschulter|\bepaule|\bhombro|плеч|肩",
    "ARM": r"\bhumerus|\bforearm|\belbow|\bellenbogen|\bcoude\b|\bcodo\b|локот|肘",
    "HAND": r"\bhands?\b|\bmano\b|\bfingers?\b|\bwrist|\bhandgelenk|\bpoignet|кист|手",
    "HIP": r"\bhips?\b|\bhuft|\bhanche|\bcadera|股関節",
    "LEG": r"\bfemur|\btibia|\bleg\b|\bthigh|\bunterschenkel|\boberschenkel|下肢",
    "KNEE": r"\bknees?\b|\bknie|\bgenou|\brodilla|\bpatell|колен|膝",
    "FOOT": r"\bfoot\b|\bfeet\b|\bfuss|\bankle|\bsprunggelenk|\bcheville|\btobillo|\bcalcan|стоп|足",
    "BREAST": r"\bmammo|\bbreast",
}
_SIDE_WORDS = r"\blat(?:\b|eral)|seitlich|\bprofil|\bperfil|боков|側面|측면|\bdecub|\bobl(?:\b|iq)|\bschrag|\bsagit"
_FRONT_WORDS = r"\b(?:pa|ap|p\.a|a\.p)\b|\bfront|\bface\b|\bvorn|прям|正面|전후|후전"


def folded(words: str) -> str:
    """Return the words without case, accents and underscores, so that Thorax, TÓRAX and torax_pa meet."""
    parts = unicodedata.normalize("NFKD", words.replace("_", " "))
    return "".join(part for part in parts if not unicodedata.combining(part)).casefold()


def _stems(pattern: str) -> re.Pattern[str]:
    return re.compile(folded(pattern))


_CHEST, _SPINE, _SIDE, _FRONT = (_stems(words) for words in (_CHEST_WORDS, _SPINE_WORDS, _SIDE_WORDS, _FRONT_WORDS))
_ELSEWHERE_STEMS = {part: _stems(words) for part, words in _ELSEWHERE.items()}

# A Body Part Examined that says nothing, as if it were empty.
_UNSPECIFIC = {"", "unknown", "other", "undefined", "none", "n/a", "na", "default", "body", "general", "misc", "test"}

# PS3.16 CID 4031: the regions that hold the chest. The first is what SNOMED-RT T-D3000 became, the second its successor.
_CHEST_REGIONS = tuple(
    Code(value, "SCT", meaning)
    for value, meaning in (
        ("51185008", "Chest"),
        ("816094009", "Chest"),
        ("39607008", "Lung"),
        ("86598002", "Apex of Lung"),
        ("417437006", "Neck and Chest"),
        ("416550000", "Chest and Abdomen"),
        ("416775004", "Chest, Abdomen and Pelvis"),
        ("416152001", "Neck, Chest and Abdomen"),
        ("416319003", "Neck, Chest, Abdomen and Pelvis"),
    )
)
# PS3.16 CID 4010: a SNOMED view that is none of these is not frontal.
_FRONTAL_VIEWS = tuple(
    Code(value, "SCT", meaning)
    for value, meaning in (
        ("272479007", "postero-anterior"),
        ("399348003", "antero-posterior"),
        ("399033003", "frontal"),
    )
)
_LATERAL_VIEWS = tuple(
    Code(value, "SCT", meaning)
    for value, meaning in (
        ("399067008", "lateral"),
        ("399173006", "left lateral"),
        ("399198007", "right lateral"),
    )
)

_IMAGE_TEXTS = ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription")
_STUDY_TEXTS = ("StudyDescription", "RequestedProcedureDescription", "PerformedProcedureStepDescription")
_STUDY_CODES = ("ProcedureCodeSequence", "RequestedProcedureCodeSequence")


def names_chest(words: str) -> bool:
    """Tell whether words in any of the known languages speak of the chest and not only of its bones."""
    plain = folded(words)
    return bool(_CHEST.search(plain)) and not _SPINE.search(plain)


def body_part(header: Dataset) -> str:
    """Return Body Part Examined (0018,0015), empty where it says nothing."""
    stated = text(header, "BodyPartExamined")
    return "" if folded(stated) in _UNSPECIFIC else stated


def is_chest(header: Dataset) -> bool:
    """Tell whether anything in the header speaks for the chest.

    The body part itself, the words and codes of this image or its series, then those of the study. A study's words
    do not count where they name the other body part too: "chest and abdomen" does not make the abdomen a chest.
    """
    part = body_part(header)
    if names_chest(part) or _region_is_chest(header) or any(names_chest(words) for words in _image_texts(header)):
        return True
    stem = folded(part)[:3]
    return any(names_chest(words) and not (stem and stem in folded(words)) for words in _study_texts(header))


def elsewhere(header: Dataset) -> str:
    """Return the region that codes or words name where Body Part Examined is silent, empty where none is named."""
    regions = _codes(header, "AnatomicRegionSequence")
    if regions:
        return "OTHER REGION"
    plain = folded(" ".join((*_image_texts(header), *_study_texts(header))))
    return next((part for part, stems in _ELSEWHERE_STEMS.items() if stems.search(plain)), "")


def side_view(header: Dataset) -> str:
    """Return the word for a view that is not frontal, empty for a frontal and for an unknown one.

    View Position, the view code and Patient Orientation each speak alone. Words count only where none of them says
    frontal, and where they do not name both views.

    References
    ----------
    DICOM PS3.3 C.8.1.2 (CR), C.8.11.5 (DX positioning), C.7.6.1.1.1 (Patient Orientation); PS3.16 CID 4010.
    """
    positions = [folded(part) for part in strings(header, "ViewPosition")]
    codes = _codes(header, "ViewCodeSequence")
    if (
        stated := next(filter(None, map(_side_position, positions)), "")
        or _side_code(codes)
        or _side_orientation(header)
    ):
        return stated
    if {"ap", "pa"} & set(positions) or codes:
        return ""
    return next(("LATERAL" for words in _image_texts(header) if _names_side_only(words)), "")


# PS3.3 C.8.1.2: left and right lateral, lateral decubitus and lateral oblique; C.8.11.5 leaves DX free, and machines
# write these. A decubitus film is frontal in its beam, but fluid and heart lie otherwise than in any training film.
_SIDE_POSITIONS = {"ll", "rl", "lld", "rld", "llo", "rlo", "lao", "rao", "lpo", "rpo"}


def _side_position(position: str) -> str:
    if position in _SIDE_POSITIONS or _names_side_only(position):
        return position
    return ""


def _side_code(codes: tuple[Code, ...]) -> str:
    stated = [code for code in codes if code.scheme_designator in ("SCT", "SRT")]
    if any(code in _LATERAL_VIEWS for code in stated):
        return "LATERAL"
    return "OBLIQUE OR OTHER" if any(code not in _FRONTAL_VIEWS for code in stated) else ""


def _side_orientation(header: Dataset) -> str:
    """Read Patient Orientation (0020,0020): rows that run to the front or the back were seen from the side."""
    orientation = strings(header, "PatientOrientation")
    return "LATERAL" if len(orientation) > 1 and orientation[0][:1].upper() in ("A", "P") else ""


def _names_side_only(words: str) -> bool:
    plain = folded(words)
    return bool(_SIDE.search(plain)) and not _FRONT.search(plain)


def _region_is_chest(header: Dataset) -> bool:
    codes = _codes(header, "AnatomicRegionSequence")
    return any(code in _CHEST_REGIONS or names_chest(code.meaning) for code in codes)


def _image_texts(header: Dataset) -> list[str]:
    return [text(header, keyword) for keyword in _IMAGE_TEXTS]


def _study_texts(header: Dataset) -> list[str]:
    requests = items(header, "RequestAttributesSequence")
    asked = [text(item, "RequestedProcedureDescription") for item in requests]
    asked += [text(item, "ScheduledProcedureStepDescription") for item in requests]
    coded = [code.meaning for keyword in _STUDY_CODES for code in _codes(header, keyword)]
    return [text(header, keyword) for keyword in _STUDY_TEXTS] + asked + coded


def _codes(header: Dataset, keyword: str) -> tuple[Code, ...]:
    return tuple(_code(item) for item in items(header, keyword) if text(item, "CodeValue"))


def _code(item: Dataset) -> Code:
    """Return the coded concept of an item; the older designators of SNOMED-RT become SRT (PS3.16 section 8.2)."""
    scheme = text(item, "CodingSchemeDesignator")
    scheme = "SRT" if scheme in ("SNM3", "99SDM") else scheme
    return Code(text(item, "CodeValue"), scheme, text(item, "CodeMeaning"))
