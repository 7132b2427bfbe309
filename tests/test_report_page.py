"""A report as a page: the answer first, nothing from elsewhere, and nothing of a name can become markup."""

import re
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from node.errors import ReportError
from node.report import compose
from node.report.page import page, png
from tests.films import dx_film, file_bytes, parsed
from tests.readings import OPTIONS, URGENT, lateral, source, studies

ANSWERS = {
    "urgent": ("URGENT - suspected TUBERCULOSIS (93 %)", "rgb(214, 69, 24)"),
    "flagged": ("FLAGGED - suspected PNEUMONIA (81 %)", "rgb(232, 163, 23)"),
    "normal": ("NOT FLAGGED - no pneumonia or tuberculosis pattern above the cut-off.", "rgb(62, 92, 118)"),
    "uncertain": ("UNCERTAIN - the model could not decide.", "rgb(120, 94, 150)"),
    "not analysed": ("NOT ANALYSED - no frontal chest image in this study.", "rgb(90, 94, 100)"),
}


def encodings(study: Sequence[Any], profile: Any = "viewer", **options: Any) -> list[bytes]:
    options.setdefault("heat_map", "off")
    return [encoded.data for encoded in compose(source(*study), replace(OPTIONS, **options), profile)[0].encodings]


@pytest.mark.parametrize("profile", ["viewer", "air"])
@pytest.mark.parametrize("name", ANSWERS)
def test_the_answer_is_the_head_of_the_page_in_its_color(name: str, profile: str) -> None:
    for report in encodings(studies()[name], profile):
        shown = page(report)
        answer, color = ANSWERS[name]
        assert f"<h1>{answer}</h1>" in shown
        assert f"<title>{answer}</title>" in shown
        assert f"background: {color}" in shown
        assert shown.count("Research use only - not for diagnosis.") >= 2


@pytest.mark.parametrize("profile", ["viewer", "air"])
@pytest.mark.parametrize(("name", "number"), [("turned", 1), ("unlike", 1), ("warned", 2), ("urgent", 0)])
def test_a_warning_stands_out_at_the_head_of_the_page(name: str, number: int, profile: str) -> None:
    for report in encodings(studies()[name], profile):
        shown = page(report)
        head = shown[shown.index("<header>") : shown.index("</header>")]
        assert head.count('<p class="warning">WARNING - image') == number
        assert ("Warning about the image" in shown) == bool(number)


def test_a_page_of_a_turned_film_shows_no_probability_as_a_number() -> None:
    for profile in ("viewer", "air"):
        shown = page(encodings(studies()["turned"], profile)[0])
        assert "93.0" not in shown


def test_each_probability_stands_beside_its_name() -> None:
    shown = page(encodings(studies()["urgent"])[0])
    assert '<tr><td>Probability of tuberculosis</td><td class="number">93.0 %</td></tr>' in shown
    assert '<tr><td>Cut-off for pneumonia</td><td class="number">50.0 %</td></tr>' in shown


def test_ai_results_are_told_class_by_class() -> None:
    shown = page(encodings(studies()["urgent"], "air")[0])
    group = shown[shown.index("<h3>CXR Tuberculosis 1</h3>") :]
    assert '<td>Certainty of Finding</td><td class="number">93.0 %</td>' in group
    assert '<td>Certainty of Finding, Standard Deviation</td><td class="number">4.0 %</td>' in group


def test_a_page_needs_nothing_from_elsewhere() -> None:
    results = compose(source((dx_film(), URGENT), lateral()), OPTIONS, "viewer")
    shown = page(results[0].encodings[0].data, [results[1].encodings[0].data])
    assert not re.search(r"<script|<link|https?://|@import|url\(", shown)
    assert shown.count("<img ") == 1
    assert 'src="data:image/png;base64,' in shown


def test_whose_report_it_is_stands_on_the_page_and_cannot_become_markup() -> None:
    film = parsed(dx_film(PatientName="Moyo^<script>alert(1)</script>", PatientID='"><b>'))
    shown = page(encodings([(film, URGENT)])[0])
    assert "<dd>Moyo &lt;script&gt;alert(1)&lt;/script&gt;</dd>" in shown
    assert "<b>" not in shown and "<script" not in shown
    assert "<dd>1989-01-02</dd>" in shown


def test_the_page_is_in_the_language_of_the_report() -> None:
    shown = page(encodings(studies()["urgent"], language="de")[0])
    assert '<html lang="de">' in shown
    assert "<h1>DRINGEND - Verdacht auf TUBERKULOSE (93 %)</h1>" in shown


def test_a_picture_becomes_a_png_of_the_same_pixels() -> None:
    picture = compose(source((dx_film(), URGENT)), OPTIONS, "viewer")[1].encodings[0].data
    shown = np.asarray(Image.open(BytesIO(png(picture))))
    assert np.array_equal(shown, dcmread(BytesIO(picture)).pixel_array)


def test_what_is_no_report_or_no_picture_is_refused() -> None:
    report = encodings(studies()["urgent"])[0]
    with pytest.raises(ReportError, match="no structured report"):
        page(file_bytes(dx_film()))
    with pytest.raises(ReportError, match="no Secondary Capture"):
        png(report)
