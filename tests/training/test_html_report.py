"""The report is one page that needs nothing else, and says first what must be known first."""

from html.parser import HTMLParser

import pytest

from tests.training.made_up import MadeUpRun
from tests.training.made_up import recipe as recipe_of
from training.evaluate import evaluate
from training.html_report import html_report, write_report
from training.plots import plots
from training.sections import Picture, captioned
from training.summary import targets

pytestmark = pytest.mark.slow

VOID = {"meta", "img", "br", "link", "input"}
PNG = b"\x89PNG\r\n\x1a\n"


class Page(HTMLParser):
    """The tags of a page, with their attributes, and whether each was closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words, self.crossed = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.crossed.append(tag)

    def handle_data(self, data):
        self.words.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    run = MadeUpRun(
        tmp_path_factory.mktemp("runs") / "abc", recipe=recipe_of(resamples=20, robustness_films=30), seeds=(1, 2)
    )
    found = evaluate(run, run.calibrated())
    return found | {"targets": targets(found, run.recipe.targets)}


@pytest.fixture(scope="module")
def page(metrics):
    return Page(html_report(metrics, captioned(plots(metrics))))


def test_every_tag_is_closed_in_its_turn(page):
    assert (page.open, page.crossed) == ([], [])


def test_the_page_runs_nothing_and_fetches_nothing(page):
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "action", "srcset", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:image/"))
    assert "url(" not in "".join(page.words)


def test_what_it_is_worth_outside_is_said_before_anything_else(page):
    words = " ".join(" ".join(page.words).split())
    first = words.index("At hospitals it learned from")
    assert words.index("not for diagnosis") < first < words.index("Targets")
    assert "at a hospital it never saw, it tells pneumonia with an AUC of" in words


def test_a_screen_reader_is_told_what_is_shown(page):
    assert page.of("html") == [{"lang": "en"}]
    assert len(page.of("h1")) == len(page.of("main")) == 1
    assert all(len(picture["alt"]) > 20 for picture in page.of("img"))
    assert len(page.of("table")) == len(page.of("caption")) > 8
    assert {cell["scope"] for cell in page.of("th")} == {"row", "col"}
    assert all(region["aria-label"] and region["tabindex"] == "0" for region in page.of("div") if "role" in region)


def test_links_lead_to_sections_that_are_there(page):
    targets_of = {attributes["href"][1:] for attributes in page.of("a")}
    assert targets_of <= {attributes.get("id") for _, attributes in page.tags}
    assert len([attributes["id"] for _, attributes in page.tags if "id" in attributes]) == len(targets_of)


def test_six_pictures_are_within_the_page(page):
    assert len(page.of("img")) == 6


def test_other_stages_are_shown_where_they_measured(metrics):
    group = {"films": 9, "patients": 8, "metrics": {"peak model": [0.9, 0.8, 1.0], "peak anywhere": [0.3, 0.2, 0.4]}}
    explanation = {"lungs": {"Pneumonia": {"all": group, "by_source": {"clinic": group}}}, "boxes": None}
    noticed = {"turned 90": 19, "inverted": 20}
    of_films = {"films": 20, "refused": 1, "taken_for_turned": 0, "taken_for_inverted": 0, "noticed": noticed}
    checks = {
        "test": of_films,
        "left_out": {"ward": of_films},
        "not_films": {"page_of_text": {"pictures": 50, "refused": 49}},
    }
    pictures = {
        name: (Picture(PNG, f"The picture of {name}", f"The picture of {name}"),)
        for name in ("explanation", "training", "films")
    }
    text = html_report({**metrics, "explanation": explanation, "film_checks": checks}, pictures)
    shown = Page(text)
    assert (shown.open, shown.crossed) == ([], [])
    assert len(shown.of("img")) == 3
    for words in (
        "Pneumonia, lungs, clinic",
        "page of text",
        "98.0 % (49)",
        "ward, left out",
        "turned 90: noticed",
        "How the training went",
    ):
        assert words in text.replace("\u00a0", " ")


def test_names_from_a_manifest_are_no_html(metrics):
    foul = "<script>alert(1)</script>"
    by_source = {foul: next(iter(metrics["by_source"].values()))}
    text = html_report({**metrics, "by_source": by_source, "left_out": {}}, {})
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_the_report_is_written_as_utf_8(metrics, tmp_path):
    write_report(metrics, {}, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text("utf-8") == html_report(metrics, {})
