"""Which images pass the gate, and the reason for each that does not."""

import contextlib
import random
import re
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from node.anatomy import names_chest
from node.errors import NotAssessable, Reason
from node.gate import GateRules, is_image, is_own_object, judge
from node.product import MANUFACTURER, MODEL_NAME

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR")  # pydicom's, about the odd values given here

CR, DX = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1"
FOR_PROCESSING, SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.1.1.1", "1.2.840.10008.5.1.4.1.1.7"
COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"


def header(**attributes):
    """The header of a frontal chest film; any attribute can be set, or left out by giving None."""
    dataset = Dataset()
    ordinary = {
        "SOPClassUID": DX,
        "Modality": "DX",
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "PresentationIntentType": "FOR PRESENTATION",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PatientOrientation": ["L", "F"],
        "PatientAge": "045Y",
        "Rows": 2500,
        "Columns": 2048,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
    }
    for keyword, value in (ordinary | attributes).items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def item(value="", scheme="SCT", meaning="x", **attributes):
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    for keyword, content in attributes.items():
        setattr(code, keyword, content)
    return code


def passes(rules=GateRules(), **attributes):  # noqa: B008 the rules are frozen
    judge(header(**attributes), rules)


def refusal(rules=GateRules(), **attributes):  # noqa: B008 the rules are frozen
    with pytest.raises(NotAssessable) as refused:
        judge(header(**attributes), rules)
    return refused.value


def reason(**attributes):
    return refusal(**attributes).reason


# Kind of object


@pytest.mark.parametrize("attributes", [{}, {"SOPClassUID": CR, "Modality": "CR", "PresentationIntentType": None}])
def test_a_frontal_chest_film_passes(attributes):
    passes(**attributes)


def test_acceptance_goes_by_sop_class_not_by_modality():
    passes(Modality="RG")
    passes(Modality=None)


@pytest.mark.parametrize(
    ("sop_class", "modality"),
    [
        ("CT Image Storage", "CT"),
        ("Enhanced CT Image Storage", "CT"),
        ("MR Image Storage", "MR"),
        ("Ultrasound Image Storage", "US"),
        ("Digital Mammography X-Ray Image Storage - For Presentation", "MG"),
        ("Digital Intra-Oral X-Ray Image Storage - For Presentation", "IO"),
        ("X-Ray Angiographic Image Storage", "XA"),
        ("RT Image Storage", "RTIMAGE"),
        ("VL Photographic Image Storage", "XC"),
    ],
)
def test_another_kind_of_image_is_of_the_wrong_modality(sop_class, modality):
    refused = refusal(SOPClassUID=uid_named(sop_class), Modality=modality)
    assert (refused.reason, refused.detail) == (Reason.WRONG_MODALITY, modality)


def uid_named(name):
    return next(uid for uid in pydicom.uid.UID_dictionary if UID(uid).name == name)


@pytest.mark.parametrize(
    ("sop_class", "modality"),
    [
        ("Comprehensive SR Storage", "SR"),
        ("Grayscale Softcopy Presentation State Storage", "PR"),
        ("Key Object Selection Document Storage", "KO"),
        ("Encapsulated PDF Storage", "DOC"),
        ("Segmentation Storage", "SEG"),
    ],
)
def test_a_report_state_or_document_is_not_an_image(sop_class, modality):
    refused = refusal(SOPClassUID=uid_named(sop_class), Modality=modality)
    assert (refused.reason, refused.detail) == (Reason.NOT_AN_IMAGE, modality)


@pytest.mark.parametrize("sop_class", [None, "", "1.2.3.4"])
def test_an_object_without_a_known_sop_class_is_not_an_image(sop_class):
    assert reason(SOPClassUID=sop_class) is Reason.NOT_AN_IMAGE


def test_is_image_knows_what_carries_a_picture():
    assert is_image(CR) and is_image(DX) and is_image(SECONDARY_CAPTURE) and is_image(FOR_PROCESSING)
    assert not is_image(COMPREHENSIVE_SR) and not is_image("1.2.3")


@pytest.mark.parametrize("attributes", [{"SOPClassUID": FOR_PROCESSING}, {"PresentationIntentType": "FOR PROCESSING"}])
def test_raw_detector_data_are_for_processing(attributes):
    assert reason(**attributes) is Reason.FOR_PROCESSING


def test_an_image_made_afterwards_is_secondary_but_a_derived_one_is_read():
    assert reason(ImageType=["DERIVED", "SECONDARY"]) is Reason.SECONDARY
    passes(ImageType=["DERIVED", "PRIMARY"])
    passes(ImageType="ORIGINAL PRIMARY")
    passes(ImageType=None)


def test_a_secondary_capture_is_read_only_by_rule_and_only_with_a_chest():
    wrapped = {"SOPClassUID": SECONDARY_CAPTURE, "Modality": "CR", "ImageType": ["DERIVED", "SECONDARY"]}
    rules = GateRules(read_secondary_capture=True)
    assert reason(**wrapped) is Reason.SECONDARY
    passes(rules, **wrapped)
    assert refusal(rules, **wrapped | {"Modality": "OT"}).reason is Reason.WRONG_MODALITY
    assert refusal(rules, **wrapped | {"BodyPartExamined": ""}).reason is Reason.NOT_CHEST


def test_what_this_node_made_or_had_a_hand_in_is_its_own():
    equipment = item(Manufacturer=MANUFACTURER, ManufacturerModelName=MODEL_NAME)
    made = header(Manufacturer=MANUFACTURER, ManufacturerModelName=MODEL_NAME, SOPClassUID=COMPREHENSIVE_SR)
    touched = header(Manufacturer="Maker", ContributingEquipmentSequence=Sequence([item(), equipment]))
    for own in (made, touched):
        assert is_own_object(own)
        with pytest.raises(NotAssessable) as refused:
            judge(own, GateRules(read_secondary_capture=True))
        assert refused.value.reason is Reason.OWN_OBJECT
    assert not is_own_object(header(Manufacturer="Maker", ManufacturerModelName=MODEL_NAME))


# One gray film of a readable size


def test_color_and_several_frames_are_refused():
    assert reason(PhotometricInterpretation="RGB", SamplesPerPixel=3) is Reason.COLOR
    assert reason(NumberOfFrames=12) is Reason.MULTI_FRAME
    passes(NumberOfFrames=1)


def test_a_thumbnail_is_too_small():
    refused = refusal(Rows=127, Columns=2048)
    assert (refused.reason, refused.detail) == (Reason.TOO_SMALL, "127 x 2048")
    passes(Rows=128, Columns=128)
    passes(GateRules(minimum_px=32), Rows=32, Columns=32)


# Body part


@pytest.mark.parametrize(
    "part", ["CHEST", "Thorax", "TÓRAX", "LUNG", "thorax_pa", "CHESTABDOMEN", "胸部", "", "UNKNOWN", None]
)
def test_a_chest_or_an_empty_body_part_passes(part):
    passes(BodyPartExamined=part)


@pytest.mark.parametrize("part", ["HAND", "ABDOMEN", "TSPINE", "RIB", "STERNUM", "BREAST", "EXTREMITY", "B?cken"])
def test_another_body_part_is_refused_by_its_name(part):
    refused = refusal(BodyPartExamined=part)
    assert refused.reason is Reason.NOT_CHEST
    assert refused.detail == part.upper().replace("?", " ")


@pytest.mark.parametrize(
    "hint",
    [
        {"SeriesDescription": "Thorax p.a."},
        {"ProtocolName": "Chest PA"},
        {"AcquisitionDeviceProcessingDescription": "CHEST,FRN,P->A"},
        {"StudyDescription": "Rx tórax"},
        {"RequestedProcedureDescription": "Röntgen Lunge"},
        {"AnatomicRegionSequence": Sequence([item("51185008")])},
        {"AnatomicRegionSequence": Sequence([item("816094009")])},
        {"AnatomicRegionSequence": Sequence([item("T-D3000", "SRT")])},
        {"AnatomicRegionSequence": Sequence([item("T-28000", "SNM3")])},
        {"RequestAttributesSequence": Sequence([item(RequestedProcedureDescription="Chest 1 view")])},
        {"ProcedureCodeSequence": Sequence([item("X1", "99LOCAL", "Thorax ap liegend")])},
    ],
)
def test_another_hint_of_the_chest_outweighs_a_wrong_body_part(hint):
    passes(BodyPartExamined="SKULL", **hint)


def test_a_study_of_chest_and_abdomen_does_not_make_its_abdomen_a_chest():
    study = {"StudyDescription": "XR CHEST AND ABDOMEN"}
    assert reason(BodyPartExamined="ABDOMEN", **study) is Reason.NOT_CHEST
    passes(BodyPartExamined="CHEST", **study)


@pytest.mark.parametrize(
    ("words", "part"),
    [("HAND 2 VIEWS", "HAND"), ("Knie rechts", "KNEE"), ("Bassin de face", "PELVIS"), ("MODALITYLUT - TEETH", "TEETH")],
)
def test_where_the_body_part_is_silent_words_for_another_one_refuse(words, part):
    refused = refusal(BodyPartExamined="", SeriesDescription=words)
    assert (refused.reason, refused.detail) == (Reason.NOT_CHEST, part)


def test_where_the_body_part_is_silent_a_code_for_another_one_refuses():
    assert reason(BodyPartExamined="", AnatomicRegionSequence=Sequence([item("72696002")])) is Reason.NOT_CHEST


@pytest.mark.parametrize("words", ["Chest", "Rx torace", "Radiographie pulmonaire", "Poumons", "Röntgen-Thorax", "X-Lunge",
                                   "Грудная клетка", "Лёгкие", "胸部正面", "흉부", "Klatka piersiowa", "THORAX_AP"])  # fmt: skip
def test_the_chest_is_known_in_many_languages(words):
    assert names_chest(words)


@pytest.mark.parametrize("words", ["Manchester protocol", "Abteilung", "Behandlung", "Thoracic spine", "Columna torácica",
                                   "Rachis thoracique", "Brustwirbelsäule", "胸椎", "Breast", ""])  # fmt: skip
def test_words_that_only_look_like_the_chest_are_not_taken_for_it(words):
    assert not names_chest(words)


@pytest.mark.parametrize(
    "species",
    [{"PatientSpeciesDescription": "Canine"}, {"PatientSpeciesCodeSequence": Sequence([item("448771007")])}],
)
def test_a_dogs_chest_is_refused(species):
    refused = refusal(**species)
    assert (refused.reason, refused.detail) == (Reason.NOT_CHEST, "NOT HUMAN")


def test_a_patient_who_is_said_to_be_human_passes():
    passes(PatientSpeciesDescription="Homo sapiens", PatientSpeciesCodeSequence=Sequence([item("337915000")]))


# View


@pytest.mark.parametrize("view", ["AP", "PA", "", None, "ERECT", "FRONTAL", "CHEST PA"])
def test_a_frontal_or_unknown_view_passes(view):
    passes(ViewPosition=view)


@pytest.mark.parametrize("view", ["LL", "RL", "LLD", "RLD", "LLO", "RLO", "LAT", "LATERAL", "LAO", "RPO", "OBLIQUE"])
def test_a_lateral_oblique_or_decubitus_view_is_not_read(view):
    refused = refusal(ViewPosition=view)
    assert (refused.reason, refused.detail) == (Reason.NOT_FRONTAL, view)


@pytest.mark.parametrize(
    "code",
    [("399067008", "SCT"), ("399173006", "SCT"), ("399198007", "SCT"), ("R-10236", "SRT"), ("R-10232", "SNM3")],
)
def test_a_lateral_view_code_is_not_read_even_where_view_position_says_pa(code):
    refused = refusal(ViewCodeSequence=Sequence([item(*code)]))
    assert (refused.reason, refused.detail) == (Reason.NOT_FRONTAL, "LATERAL")


def test_an_oblique_view_code_is_not_read():
    refused = refusal(ViewPosition=None, ViewCodeSequence=Sequence([item("399135007")]))
    assert (refused.reason, refused.detail) == (Reason.NOT_FRONTAL, "OBLIQUE OR OTHER")


@pytest.mark.parametrize("code", [("272479007", "SCT"), ("399348003", "SCT"), ("399033003", "SCT"), ("R-10206", "SRT")])
def test_a_frontal_view_code_passes(code):
    passes(ViewPosition=None, ViewCodeSequence=Sequence([item(*code)]))


def test_a_view_code_of_a_private_scheme_says_nothing():
    passes(ViewCodeSequence=Sequence([item("V7", "99LOCAL")]))


@pytest.mark.parametrize("orientation", [["A", "F"], ["P", "F"], ["AL", "F"], ["P", "H"]])
def test_rows_that_run_front_to_back_are_a_lateral_view(orientation):
    assert reason(PatientOrientation=orientation) is Reason.NOT_FRONTAL


@pytest.mark.parametrize("orientation", [["L", "F"], ["R", "F"], ["L", "H"], "", "A", None, ["LA", "F"]])
def test_a_frontal_or_unusable_orientation_passes(orientation):
    passes(PatientOrientation=orientation)


@pytest.mark.parametrize(
    "words", ["Chest Lat", "Thorax seitlich", "W CHEST, LAT.", "Thorax de profil", "CHEST_LAT", "胸部側面"]
)
def test_words_for_a_lateral_view_count_where_nothing_else_is_said(words):
    refused = refusal(ViewPosition="", SeriesDescription=words)
    assert (refused.reason, refused.detail) == (Reason.NOT_FRONTAL, "LATERAL")


@pytest.mark.parametrize(
    "attributes",
    [
        {"ViewPosition": "PA", "SeriesDescription": "Chest lateral"},
        {"ViewPosition": "", "SeriesDescription": "Chest PA/LAT"},
        {"ViewPosition": "", "SeriesDescription": "Bilateral lungs"},
        {"ViewPosition": "", "StudyDescription": "Chest frontal and lateral"},
    ],
)
def test_words_for_a_lateral_view_do_not_count_against_a_stated_frontal_one(attributes):
    passes(**attributes)


# Age

ADULTS = GateRules(age_years=(18, 90))


@pytest.mark.parametrize("age", ["018Y", "090Y", "45Y", "216M", "", None, "062", "old", "999Y", "000"])
def test_an_age_in_range_unknown_or_malformed_passes(age):
    passes(ADULTS, PatientAge=age)


@pytest.mark.parametrize("age", ["017Y", "091Y", "006M", "003W", "010D", "000Y"])
def test_an_age_outside_the_models_range_is_refused(age):
    refused = refusal(ADULTS, PatientAge=age)
    assert (refused.reason, refused.detail) == (Reason.AGE_OUT_OF_RANGE, "model is for 18 to 90 years")


def test_the_age_is_reckoned_from_the_dates_where_it_is_not_stated():
    dates = {"PatientAge": None, "StudyDate": "20260301"}
    assert refusal(ADULTS, PatientBirthDate="20080401", **dates).reason is Reason.AGE_OUT_OF_RANGE
    for birth in ("20080201", "19000101", "18000101", "2008", "20081399", "20300101", ""):
        passes(ADULTS, PatientBirthDate=birth, **dates)


def test_without_a_rule_any_age_passes():
    passes(PatientAge="001D")


# Order, words and damage


def test_the_most_telling_reason_comes_first():
    hand = {"BodyPartExamined": "HAND", "ViewPosition": "LL", "PatientAge": "001Y"}
    assert refusal(ADULTS, **hand).reason is Reason.NOT_CHEST
    assert refusal(ADULTS, SOPClassUID=COMPREHENSIVE_SR, Rows=1, **hand).reason is Reason.NOT_AN_IMAGE
    assert refusal(ADULTS, SOPClassUID=FOR_PROCESSING, **hand).reason is Reason.FOR_PROCESSING


@settings(max_examples=200, deadline=None)
@given(part=st.text(min_size=1, max_size=60), modality=st.text(max_size=30))
def test_a_detail_holds_nothing_but_a_short_code(part, modality):
    dataset = header(SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    dataset.add(pydicom.DataElement("BodyPartExamined", "LO", part))
    dataset.add(pydicom.DataElement("Modality", "LO", modality))
    for sop_class in ("1.2.840.10008.5.1.4.1.1.2", DX):
        dataset.SOPClassUID = sop_class
        assert re.fullmatch("[A-Z0-9 ]{0,16}", detail_of(dataset))


def detail_of(dataset):
    try:
        judge(dataset, GateRules())
    except NotAssessable as refused:
        return refused.detail
    return ""


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about the damage
def test_any_damage_to_a_header_gives_a_pass_or_a_reason(tmp_path):
    dataset = header(
        AnatomicRegionSequence=Sequence([item("51185008")]),
        ViewCodeSequence=Sequence([item("399348003")]),
        RequestAttributesSequence=Sequence([item(RequestedProcedureDescription="Chest 1 view")]),
        SpecificCharacterSet=["", "ISO 2022 IR 87"],
        StudyDescription="Chest",
    )
    pydicom.dcmwrite(tmp_path / "header.dcm", dataset, implicit_vr=False, little_endian=True)
    whole, chance = (tmp_path / "header.dcm").read_bytes(), random.Random(7)
    judged = sum(is_judged(whole, chance, tmp_path / "damaged.dcm") for _ in range(600))
    assert judged > 300, "most of the mutations should leave something to judge"


def is_judged(content: bytes, chance: random.Random, path: Path) -> bool:
    changed = bytearray(content)
    for _ in range(chance.choice([1, 2, 5])):
        changed[chance.randrange(len(changed))] = chance.choice([0, 255, chance.randrange(256)])
    path.write_bytes(changed)
    try:
        damaged = pydicom.dcmread(path, force=True)
    except (OSError, ValueError, NotImplementedError, pydicom.errors.BytesLengthException):
        return False
    with contextlib.suppress(NotAssessable):
        judge(damaged, GateRules(age_years=(18, 90)))
    return True
