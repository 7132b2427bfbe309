"""What a site's cases ask for is chosen, measured and told with its doubt, or refused where there are too few."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from node import bundle as bundles
from node.bundle import Rule
from node.errors import ConfigError
from node.operating_points import CALIBRATED_FOR, FLAGGED, UNCERTAIN, answers, place
from node.site_calibration import FEWEST, Cases, Wanted, calibrate_site, cautions, wanted_for
from node.site_thresholds import in_force
from node.site_words import concluded, left_out, told
from tests.bundles import SHIPPED

NAMES = ("Normal", "Pneumonia", "Tuberculosis")
WANTED = Wanted(0.9, 0.05, {})
RULES = {"Pneumonia": Rule("Pneumonia", 0.67, 0.47, False), "Tuberculosis": Rule("Tuberculosis", 0.65, 0.42, True)}


@pytest.fixture(scope="module")
def bundle():
    return bundles.load(SHIPPED)


def cases_of(*counts, seed=0, films_each=1):
    """A site where the model tells classes apart fairly well, and says everything too low."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), np.array(counts) * films_each)
    logits = rng.normal(size=(len(labels), 3)) + 1.5 * np.eye(3)[labels] + np.array([2.0, 0, 0])
    raised = np.exp(logits)
    patients = np.array([f"patient {number // films_each}" for number in range(len(labels))])
    return Cases(NAMES, labels, raised / raised.sum(1, keepdims=True), patients)


def test_the_cut_offs_are_those_the_cases_ask_for():
    cases = cases_of(200, 60, 80)
    found = calibrate_site(cases, RULES, WANTED)
    for index, label in enumerate(NAMES[1:], start=1):
        pair = place(cases.probabilities[cases.labels == index, index], 0.9, 0.05)
        assert (found.rules[label].cut_off, found.rules[label].uncertain_from) == (pair.cut_off, pair.uncertain_from)
        assert found.rules[label].urgent == RULES[label].urgent
    own, model = found.compared[1].own.point, found.compared[1].model.point
    assert own.sensitivity[0] >= 0.9 > model.sensitivity[0]
    assert own.specificity[0] < model.specificity[0]
    assert own.cut_off[1] < own.cut_off[0] < own.cut_off[2]
    assert model.cut_off == (RULES["Tuberculosis"].cut_off,) * 3


def test_what_is_wanted_is_the_bundle_s_unless_it_is_said(bundle):
    assert wanted_for(replace(bundle, reference={}), None, None, ()) == WANTED
    kept = replace(bundle, reference={CALIBRATED_FOR: {"sensitivity": 0.8, "uncertain_share": 0.1}})
    assert wanted_for(kept, None, None, ()) == Wanted(0.8, 0.1, {})
    assert wanted_for(kept, 0.95, 0.02, ["Tuberculosis=0.02"]) == Wanted(0.95, 0.02, {"Tuberculosis": 0.02})


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        (["Tuberculosis"], "write it as"),
        (["Tuberculosis=two"], "write it as"),
        (["Tuberculosis=2"], "between 0 and 1"),
        (["Tuberculosis=nan"], "between 0 and 1"),
        (["Normal=0.5"], "abnormal classes are Pneumonia, Tuberculosis"),
        (["Fracture=0.5"], "abnormal classes are Pneumonia, Tuberculosis"),
        (["Pneumonia=0.5", "Tuberculosis=0.5"], "nobody would be normal"),
    ],
)
def test_a_prevalence_that_cannot_be_is_refused(bundle, texts, complaint):
    with pytest.raises(ConfigError, match=complaint):
        wanted_for(bundle, None, None, texts)


def test_predictive_values_follow_from_prevalence():
    """Bayes' rule, by hand; pneumonia that is flagged as tuberculosis counts against it."""
    cases = cases_of(200, 60, 80)
    found = calibrate_site(cases, RULES, Wanted(0.9, 0.05, {"Tuberculosis": 0.02, "Pneumonia": 0.1}))
    cut_off = found.rules["Tuberculosis"].cut_off
    reach = [(cases.probabilities[cases.labels == index, 2] >= cut_off).mean() for index in range(3)]
    flagged = 0.88 * reach[0] + 0.1 * reach[1] + 0.02 * reach[2]
    outlook = found.compared[1].own.outlook
    assert outlook.flagged[0] == pytest.approx(flagged, abs=1e-4)
    assert outlook.positive[0] == pytest.approx(0.02 * reach[2] / flagged, abs=1e-4)
    assert outlook.negative[0] == pytest.approx(1 - 0.02 * (1 - reach[2]) / (1 - flagged), abs=1e-4)
    for low, high in ((outlook.flagged[1:]), (outlook.positive[1:]), (outlook.negative[1:])):
        assert low < high


def test_a_specificity_that_looks_perfect_does_not_make_a_perfect_predictive_value():
    cases = cases_of(30, 0, 30)
    cases.probabilities[cases.labels == 0] = (0.98, 0.01, 0.01)
    cases.probabilities[cases.labels == 2] = (0.1, 0.1, 0.8)
    outlook = calibrate_site(cases, RULES, Wanted(0.9, 0.05, {"Tuberculosis": 0.01})).compared[0].own.outlook
    assert outlook.positive[0] == 1.0
    assert outlook.positive[1] < 0.3


def test_the_answers_per_study_weigh_the_classes_by_prevalence():
    cases = cases_of(100, 0, 50)
    found = calibrate_site(cases, RULES, Wanted(0.9, 0.05, {"Tuberculosis": 0.3}))
    said = answers(cases.probabilities, NAMES, RULES)
    normal, abnormal = said[cases.labels == 0], said[cases.labels == 2]
    for kind, expected in zip((FLAGGED, UNCERTAIN), found.answers["model"], strict=True):
        share = 0.7 * (normal == kind).mean() + 0.3 * (abnormal == kind).mean()
        assert expected[0] == pytest.approx(share, abs=1e-4)
    assert calibrate_site(cases, RULES, WANTED).answers == {}


@pytest.mark.parametrize("counts", [(19, 0, 100), (100, 19, 19), (0, 0, 0), (0, 100, 100), (100, 0, 0)])
def test_too_few_cases_are_refused(counts):
    with pytest.raises(ConfigError, match=f"at least {FEWEST} Normal and {FEWEST} of one abnormal class"):
        calibrate_site(cases_of(*counts), RULES, WANTED)


def test_cases_are_counted_by_patient():
    with pytest.raises(ConfigError, match="10 Tuberculosis; counted by patient"):
        calibrate_site(cases_of(40, 0, 10, films_each=5), RULES, WANTED)


def test_a_smaller_share_below_the_band_takes_more_cases():
    with pytest.raises(ConfigError, match="at least 49 Normal and 49 of one"):
        calibrate_site(cases_of(48, 48, 48), RULES, Wanted(0.9, 0.02, {}))


def test_a_class_with_too_few_cases_keeps_the_model_s_cut_off():
    found = calibrate_site(cases_of(100, 5, 30), RULES, WANTED)
    assert list(found.rules) == ["Tuberculosis"]
    assert any("Pneumonia: 5 patients are too few" in caution for caution in cautions(found))
    none = calibrate_site(cases_of(100, 0, 30), RULES, WANTED)
    assert any("Pneumonia: no cases" in caution for caution in cautions(none))


def test_a_prevalence_of_a_class_without_cases_is_refused():
    with pytest.raises(ConfigError, match="no cases of Pneumonia"):
        calibrate_site(cases_of(100, 0, 30), RULES, Wanted(0.9, 0.05, {"Pneumonia": 0.1}))


def test_few_cases_are_warned_of_and_many_are_not():
    few = " ".join(cautions(calibrate_site(cases_of(20, 0, 20), RULES, WANTED)))
    assert "20 patients (Normal) the specificity is known only to about" in few
    assert "20 patients (Tuberculosis) the sensitivity is known only to about +-1" in few
    many = list(cautions(calibrate_site(cases_of(2000, 2000, 2000), RULES, WANTED)))
    assert many == [
        "Chosen and measured on the same cases, which flatters a little: try the cut-offs on cases kept aside."
    ]


def test_the_words_say_both_columns_and_the_doubt():
    found = calibrate_site(cases_of(200, 0, 60), RULES, Wanted(0.9, 0.05, {"Tuberculosis": 0.02}))
    text = told(found)
    point = found.compared[0].own.point
    assert "Cases: 200 Normal (200 patients), 0 Pneumonia (0 patients), 60 Tuberculosis (60 patients)" in text
    assert "Tuberculosis, sensitivity 90 % wanted" in text and "these cases" in text and "the model" in text
    assert f"{100 * point.cut_off[0]:g} % [{100 * point.cut_off[1]:.0f}, {100 * point.cut_off[2]:.0f}]" in text
    assert f"{100 * point.sensitivity[0]:.1f} % [" in text
    for words in (
        "(PPV)",
        "(NPV)",
        "of 100 studies",
        "Where 2 % of the studies are Tuberculosis",
        "! Pneumonia: no cases",
    ):
        assert words in text
    assert "nan" not in text
    assert max(map(len, text.splitlines())) <= 140


def test_the_file_that_is_written_is_taken_by_the_node(bundle, tmp_path):
    found = calibrate_site(cases_of(200, 0, 60), RULES, WANTED)
    assert "Nothing was written" in concluded(found, bundle, None)
    text = concluded(found, bundle, tmp_path / "thresholds.yaml")
    assert "model.thresholds" in text
    there = in_force(bundle, tmp_path / "thresholds.yaml")
    assert there.rules["Tuberculosis"] == found.rules["Tuberculosis"]
    assert there.rules["Pneumonia"] == bundle.rules["Pneumonia"]


def test_films_left_out_are_counted_by_reason():
    assert (
        left_out(Counter({"not frontal": 3, "not chest": 1}))
        == "Left out, as the node does: 3 not frontal, 1 not chest."
    )
    assert left_out(Counter()) == ""
