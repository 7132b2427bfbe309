"""What the results say, word for word: the answer first, and never silence."""

from dataclasses import replace

import pytest
from pydicom.dataset import Dataset

from node.errors import Reason
from node.report import answer, warned
from node.report.films import study_of
from node.report.header import Context
from node.report.identity import identity_of
from node.report.source import StudySource
from node.report.words import width, words
from node.study import FilmWarning, Triage
from tests import readings
from tests.films import chest, dx_film
from tests.readings import (
    ALL_WARNINGS,
    COLLIMATED_FLAGGED,
    FLAGGED,
    INVERTED,
    NO_FILM,
    NORMAL,
    NOT_QUITE_NORMAL,
    OPTIONS,
    TURNED_URGENT,
    UNCERTAIN,
    UNLIKE,
    URGENT,
    lateral,
    prediction,
    source,
)

LANGUAGES = ("en", "de", "fr", "es", "pt", "ja")
RESEARCH = "Research use only - not for diagnosis."


def context_of(study_source: StudySource, language: str = "en") -> Context:
    study = study_of(study_source)
    return Context(study, replace(OPTIONS, language=language), words(language), identity_of(study.leading.header))


def said(*study: tuple[Dataset, object], language: str = "en") -> list[str]:
    return answer.impression(context_of(source(*study), language))


def test_an_urgent_study_says_what_is_suspected_and_what_it_rests_on() -> None:
    assert said((dx_film(), URGENT), lateral()) == [
        "URGENT - suspected TUBERCULOSIS (93 %)",
        "Based on 1 of 2 images. Image 2 not read: lateral view.",
        RESEARCH,
    ]


def test_a_flagged_study_says_so() -> None:
    assert said((dx_film(), FLAGGED)) == ["FLAGGED - suspected PNEUMONIA (81 %)", "Based on 1 of 1 image.", RESEARCH]


def test_nothing_found_does_not_exclude_disease() -> None:
    assert said((dx_film(), NORMAL)) == [
        "NOT FLAGGED - no pneumonia or tuberculosis pattern above the cut-off.",
        "This does not exclude disease.",
        "Based on 1 of 1 image.",
        RESEARCH,
    ]


def test_an_uncertain_study_is_not_a_negative_one() -> None:
    assert said((dx_film(), UNCERTAIN))[:2] == [
        "UNCERTAIN - the model could not decide.",
        "Not a negative result. Read as usual.",
    ]


def test_a_study_with_a_flagged_and_an_uncertain_image_is_flagged() -> None:
    assert said((dx_film(), UNCERTAIN), (dx_film(InstanceNumber=2), FLAGGED))[0].startswith("FLAGGED")


def test_a_study_with_an_uncertain_and_a_normal_image_is_uncertain() -> None:
    assert said((dx_film(), NORMAL), (dx_film(InstanceNumber=2), UNCERTAIN))[0].startswith("UNCERTAIN")


def test_a_study_that_was_not_analysed_says_why() -> None:
    assert said(lateral(1), lateral(2)) == [
        "NOT ANALYSED - no frontal chest image in this study.",
        "Reason: lateral view; the model reads frontal views only.",
        "Not a negative result. Read as usual.",
        RESEARCH,
    ]


def test_different_reasons_are_told_image_by_image() -> None:
    hand = (dx_film(InstanceNumber=3), (Reason.NOT_CHEST, "HAND"))
    assert said(lateral(1), hand)[1] == (
        "Image 1 not read: lateral view. Image 2 not read: not a chest radiograph (HAND)."
    )


def test_damaged_pixels_are_not_called_a_missing_chest_image() -> None:
    lines = said((dx_film(), (Reason.BROKEN_PIXELS, "decoder: ValueError")))
    assert lines[0] == "NOT ANALYSED - no image of this study could be read by the model."
    assert lines[1] == "Reason: damaged pixel data (decoder: ValueError); it cannot be decoded."


def test_a_view_that_is_not_frontal_is_not_called_lateral_for_it() -> None:
    lines = said((dx_film(ViewPosition="RAO", ViewCodeSequence=...), (Reason.NOT_FRONTAL, "RAO")))
    assert lines[1] == "Reason: not a frontal view (RAO); the model reads frontal views only."


def test_a_picture_that_is_no_chest_film_was_not_analysed_and_is_not_called_a_missing_one() -> None:
    assert said((dx_film(), NO_FILM)) == [
        "NOT ANALYSED - no image of this study could be read by the model.",
        "Reason: does not look like a frontal chest film; the model reads frontal chest films only.",
        "Not a negative result. Read as usual.",
        RESEARCH,
    ]


def test_a_warning_stands_right_below_the_answer() -> None:
    assert said((dx_film(), UNLIKE))[:4] == [
        "NOT FLAGGED - no pneumonia or tuberculosis pattern above the cut-off.",
        "WARNING - image 1: unlike the model's training films.",
        "Rely on the answer less than usual.",
        "This does not exclude disease.",
    ]


def test_a_flag_on_a_film_that_looks_turned_stays_and_shows_no_percentage() -> None:
    assert said((dx_film(), TURNED_URGENT))[:3] == [
        "URGENT - suspected TUBERCULOSIS (?)",
        "WARNING - image 1: looks turned.",
        "The model was not made for such pictures: its percentages do not hold.",
    ]


def test_a_film_that_looks_inverted_is_uncertain_because_of_that() -> None:
    assert said((dx_film(), INVERTED))[:4] == [
        "UNCERTAIN - the model was not made for a picture like this.",
        "WARNING - image 1: looks inverted.",
        "The model was not made for such pictures: its percentages do not hold.",
        "Not a negative result. Read as usual.",
    ]


def test_a_percentage_that_holds_leads_before_a_higher_one_that_does_not() -> None:
    lower = prediction(Triage.URGENT, 0.2, 0.1, 0.7, "Tuberculosis")
    lines = said((dx_film(), TURNED_URGENT), (dx_film(InstanceNumber=2), lower))
    assert lines[:2] == ["URGENT - suspected TUBERCULOSIS (70 %)", "WARNING - image 1: looks turned."]


def test_images_with_the_same_warnings_are_warned_of_together_and_others_apart() -> None:
    films = [(dx_film(InstanceNumber=number), UNLIKE) for number in (1, 2, 3)]
    lines = said(*films, (dx_film(InstanceNumber=4), ALL_WARNINGS))
    assert lines[1:5] == [
        "WARNING - 3 images: unlike the model's training films.",
        "Rely on the answer less than usual.",
        "WARNING - image 4: looks turned, looks inverted, large empty border, unlike the model's training films.",
        "The model was not made for such pictures: its percentages do not hold.",
    ]


def test_five_hundred_slices_do_not_bury_the_answer() -> None:
    slices = [
        (dx_film(chest(16, 16), InstanceNumber=number), (Reason.WRONG_MODALITY, "CT")) for number in range(2, 502)
    ]
    lines = said((dx_film(), NORMAL), *slices)
    assert lines[2] == "Based on 1 of 501 images. 500 images not read: not a radiograph (CT)."


def test_four_images_that_were_not_read_are_told_one_by_one_and_five_by_reason() -> None:
    four, five = [lateral(number) for number in range(2, 6)], [lateral(number) for number in range(2, 7)]
    assert said((dx_film(), NORMAL), *four)[2].count("not read: lateral view") == 4
    assert said((dx_film(), NORMAL), *five)[2] == "Based on 1 of 6 images. 5 images not read: lateral view."


def test_a_document_in_the_study_is_no_image_of_it() -> None:
    document = dx_film(InstanceNumber=2, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    assert said((dx_film(), NORMAL), (document, (Reason.NOT_AN_IMAGE, "SR")))[2] == "Based on 1 of 1 image."


def test_a_study_of_documents_alone_says_that_there_is_no_image() -> None:
    document = dx_film(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    assert said((document, (Reason.NOT_AN_IMAGE, "SR")))[:2] == [
        "NOT ANALYSED - no frontal chest image in this study.",
        "Reason: not an image (SR); the model reads chest radiographs only.",
    ]


def test_a_new_report_names_the_one_it_replaces_and_the_image_that_came_late() -> None:
    previous = readings.parsed(dx_film())
    previous.ContentDate, previous.ContentTime = "20261122", "091604"
    first = dx_film()
    previous.CurrentRequestedProcedureEvidenceSequence = [_evidence(first)]
    replaced = source((first, URGENT), (dx_film(InstanceNumber=3), NORMAL), previous=previous)
    line = answer.impression(context_of(replaced))[2]
    assert line == "Replaces the report of 2026-11-22 09:16 (image 2 arrived later)."


def test_a_replaced_report_without_evidence_is_named_alone() -> None:
    previous = Dataset()
    previous.ContentDate, previous.ContentTime, previous.TimezoneOffsetFromUTC = "20261122", "091604", "+0100"
    line = answer.impression(context_of(source((dx_film(), NORMAL), previous=previous)))[3]
    assert line == "Replaces the report of 2026-11-22 09:16 +0100."


@pytest.mark.parametrize(
    ("outcome", "report", "picture"),
    [
        (URGENT, "AI URGENT: TB 93%", "AI TB 93% map 1"),
        (FLAGGED, "AI FLAG: pneum. 81%", "AI pneum. 81% map 1"),
        (NORMAL, "AI: not flagged", "AI not flagged map 1"),
        (UNCERTAIN, "AI: UNCERTAIN", "AI UNCERTAIN map 1"),
        (TURNED_URGENT, "AI URGENT: TB ?", "AI TB ? map 1"),
        (INVERTED, "AI: UNCERTAIN", "AI UNCERTAIN map 1"),
        (COLLIMATED_FLAGGED, "AI FLAG: pneum. 81%", "AI pneum. 81% map 1"),
        (prediction(Triage.URGENT, 0.001, 0.001, 0.998, "Tuberculosis"), "AI URGENT: TB >99%", "AI TB >99% map 1"),
    ],
)
def test_series_descriptions_have_the_answer_within_the_width_that_viewers_show(
    outcome: object, report: str, picture: str
) -> None:
    context = context_of(source((dx_film(), outcome)))
    film = context.study.images[0]
    assert answer.series_description(film.prediction) == report
    assert answer.picture_description(film) == picture
    assert max(len(report), len(picture)) <= 22


def test_the_series_description_of_a_study_not_analysed_says_so() -> None:
    assert answer.series_description(None) == "AI: NOT ANALYSED"


def test_an_image_is_told_as_an_aligned_table() -> None:
    context = context_of(source((dx_film(), URGENT), lateral()))
    assert answer.image_table(context, context.study.images[0]) == [
        "Image 1 of 2: PA, series 1, image 1",
        "Tuberculosis    93 %  +/- 4   cut-off 60 %  ABOVE",
        "Pneumonia        5 %  +/- 3   cut-off 50 %  below",
        "Normal           2 %  +/- 2",
    ]
    assert answer.not_read(context, context.study.not_read) == [
        "Image 2 of 2: lateral (LL), series 1, image 2",
        "NOT READ - lateral view; the model reads frontal views only",
    ]


def test_an_uncertain_image_says_so_below_its_table() -> None:
    context = context_of(source((dx_film(), UNCERTAIN)))
    lines = answer.image_table(context, context.study.images[0])
    assert lines[-1] == "UNCERTAIN - the model could not decide on this image."


def test_an_image_s_table_says_what_warns_of_it_and_doubts_percentages_that_do_not_hold() -> None:
    context = context_of(source((dx_film(), TURNED_URGENT)))
    assert answer.image_table(context, context.study.images[0]) == [
        "Image 1 of 1: PA, series 1, image 1",
        "WARNING - looks turned",
        "Tuberculosis    93 %  ?       cut-off 60 %  ABOVE",
        "Pneumonia        5 %  ?       cut-off 50 %  below",
        "Normal           2 %  ?",
    ]
    context = context_of(source((dx_film(), replace(INVERTED, warnings=tuple(FilmWarning)))))
    lines = answer.image_table(context, context.study.images[0])
    assert [line for line in lines if line.startswith("WARNING")] == lines[1:5]
    assert lines[-1] == "UNCERTAIN - the model was not made for such pictures."


def test_a_warning_that_leaves_the_percentages_alone_leaves_their_spread() -> None:
    context = context_of(source((dx_film(), UNLIKE)))
    lines = answer.image_table(context, context.study.images[0])
    assert lines[1:3] == ["WARNING - unlike the model's training films", "Normal          94 %  +/- 2"]


def test_a_header_that_tells_nothing_of_an_image_leaves_its_number() -> None:
    bare = dx_film(ViewPosition=..., ViewCodeSequence=..., SeriesNumber=..., InstanceNumber=...)
    context = context_of(source((bare, NORMAL)))
    assert answer.image_title(context, context.study.images[0]) == "Image 1 of 1"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("warnings", [(), tuple(FilmWarning)])
def test_a_table_is_at_most_seventy_columns_wide_and_aligned(language: str, warnings: tuple[FilmWarning, ...]) -> None:
    close = prediction(Triage.NOT_FLAGGED, 0.398, 0.0049, 0.5971, spreads=(0.1, 0.12, 0.2))
    context = context_of(source((dx_film(), replace(close, warnings=warnings))), language)
    _, *lines = answer.image_table(context, context.study.images[0])
    rows = [line for line in lines if "%" in line]
    assert max(width(row) for row in rows) < 60
    assert max(width(line) for line in lines) <= 70
    assert len({width(row[: row.index("%")]) for row in rows}) == 1


def test_how_it_was_made_names_software_model_cut_offs_and_the_four_moments() -> None:
    assert answer.made(context_of(source((dx_film(), URGENT)))) == [
        "Software: CXR Triage Node 0.1.0, AE title CXRTRIAGE",
        "Model: CXR triage EfficientNetB0 0.1.0, weights 0123456789ab",
        "Cut-offs of the model: tuberculosis 60 %, pneumonia 50 %",
        "+/- is the standard deviation over repeated readings with random dropout in the model's head.",
        "Configuration: 001122334455",
        "2026-11-22 10:15:58 UTC first image received",
        "2026-11-22 10:16:00 UTC study complete",
        "2026-11-22 10:16:01 UTC reading started",
        "2026-11-22 10:16:02 UTC reading done",
        RESEARCH,
    ]


def test_the_cut_offs_of_a_site_are_told_as_such() -> None:
    made = source((dx_film(), URGENT))
    model = replace(made.reading.model, parameters=("temperature=1.37", "thresholds_sha256=9d236ad7318c32c8"))
    context = context_of(replace(made, reading=replace(made.reading, model=model)))
    assert "Cut-offs of this site, 9d236ad7318c: tuberculosis 60 %, pneumonia 50 %" in answer.made(context)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", readings.studies())
def test_every_answer_in_every_language_ends_with_research_use_only(name: str, language: str) -> None:
    context = context_of(source(*readings.studies()[name]), language)
    lines = answer.impression(context)
    assert lines[-1] == words(language).answer["research"]
    assert 3 <= len([line for line in lines if line not in warned.below_the_answer(context)]) <= 5
    assert not any("{" in line or "}" in line for line in lines)


def test_normality_is_normal_only_where_normal_is_the_most_probable_class() -> None:
    assert study_of(source((dx_film(), NORMAL))).is_normal
    assert not study_of(source((dx_film(), NOT_QUITE_NORMAL))).is_normal
    assert not study_of(source((dx_film(), NORMAL), (dx_film(InstanceNumber=2), NOT_QUITE_NORMAL))).is_normal


def test_normality_is_never_normal_for_an_image_that_is_warned_of() -> None:
    assert not study_of(source((dx_film(), UNLIKE))).is_normal


def _evidence(film: Dataset) -> Dataset:
    reference, series, study = Dataset(), Dataset(), Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = film.SOPClassUID, film.SOPInstanceUID
    series.ReferencedSOPSequence = [reference]
    study.ReferencedSeriesSequence = [series]
    return study
