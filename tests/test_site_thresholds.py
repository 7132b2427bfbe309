"""A site's cut-offs hold for the weights they were made for, are told, and change what results are called; or the node says no."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from datetime import date

import pytest
import yaml

from node import bundle as bundles
from node.check import examine
from node.config import Model, load
from node.errors import ConfigError
from node.infer import Reader, triage
from node.journey import Journey
from node.pixels import read_picture
from node.service import EXIT_CONFIG
from node.site_thresholds import Made, in_force, write
from node.status import snapshot
from node.status_text import cut_offs, percent
from node.study import Triage
from tests.bundles import SHIPPED
from tests.filled import settings_for

pytestmark = pytest.mark.slow

MADE = Made(date(2026, 3, 1), 0.9, 0.05, {"Normal": 310, "Tuberculosis": 64}, {"Normal": 305, "Tuberculosis": 60})


@pytest.fixture(scope="module")
def bundle():
    return bundles.load(SHIPPED)


@pytest.fixture
def path(bundle, tmp_path):
    """A site that flags tuberculosis from 41 %."""
    rule = replace(bundle.rules["Tuberculosis"], cut_off=0.41, uncertain_from=0.17)
    write(tmp_path / "thresholds.yaml", bundle, MADE, {"Tuberculosis": rule})
    return tmp_path / "thresholds.yaml"


def changed(path, change):
    """Change the file as an administrator would, in an editor."""
    form = yaml.safe_load(path.read_text())
    change(form)
    path.write_text(yaml.safe_dump(form))
    return path


def test_without_a_file_the_model_s_cut_offs_hold(bundle):
    assert in_force(bundle, None) is bundle
    assert bundle.site is None


def test_the_site_s_cut_off_replaces_the_model_s_and_the_others_stay(bundle, path):
    there = in_force(bundle, path)
    assert (there.rules["Tuberculosis"].cut_off, there.rules["Tuberculosis"].uncertain_from) == (0.41, 0.17)
    assert there.rules["Tuberculosis"].urgent
    assert there.rules["Pneumonia"] == bundle.rules["Pneumonia"]
    assert list(there.rules) == list(bundle.rules)
    assert triage({"Normal": 0.59, "Pneumonia": 0.0, "Tuberculosis": 0.41}, there.rules)[0] is Triage.URGENT
    assert triage({"Normal": 0.6, "Pneumonia": 0.0, "Tuberculosis": 0.4}, there.rules)[0] is Triage.UNCERTAIN
    assert triage({"Normal": 0.84, "Pneumonia": 0.0, "Tuberculosis": 0.16}, there.rules)[0] is Triage.NOT_FLAGGED


def test_the_file_says_how_it_was_made(path):
    form = yaml.safe_load(path.read_text())
    assert form["made"] == {
        "date": date(2026, 3, 1),
        "sensitivity": 0.9,
        "uncertain_share": 0.05,
        "films": {"Normal": 310, "Tuberculosis": 64},
        "patients": {"Normal": 305, "Tuberculosis": 60},
    }


def test_a_file_in_use_is_not_written_over(bundle, path):
    with pytest.raises(ConfigError, match="choose another name"):
        write(path, bundle, MADE, {})


def test_the_model_is_another_one_with_the_site_s_cut_offs(bundle, path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    identity = in_force(bundle, path).identity
    assert identity.parameters == (*bundle.identity.parameters, f"thresholds_sha256={digest[:16]}")
    assert identity.weights_sha256 == bundle.identity.weights_sha256


def test_results_get_other_uids_with_every_change_of_the_file(bundle, path, tmp_path):
    def options(held):
        return Journey(settings_for(tmp_path), None, held, None, {})._options().config_digest

    first = options(in_force(bundle, path))
    second = options(in_force(bundle, changed(path, lambda form: form["rules"][0].update(cut_off=0.5))))
    assert len({options(bundle), first, second}) == 3


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda form: form.update(thresholds_for="0" * 64), "made for weights 000000000000, the bundle"),
        (lambda form: form.update(temperature=2.0), "another temperature"),
        (lambda form: form["rules"][0].update(label="Fracture"), "Fracture is no label that this model flags"),
        (lambda form: form["rules"][0].update(label="Normal"), "Normal is no label that this model flags"),
        (lambda form: form["rules"][0].update(uncertain_from=0.5), "uncertain_from 0.5 is above cut_off 0.41"),
        (lambda form: form["rules"][0].update(cut_off=0.415), "no whole percent"),
        (lambda form: form["rules"][0].update(cut_off=1.5), "cut_off: Input should be less than or equal to 1"),
        (lambda form: form["rules"][0].update(cut_off=float("nan")), "cut_off: Input should be"),
        (lambda form: form["rules"].append(dict(form["rules"][0])), "listed twice"),
        (lambda form: form.update(rules=[]), "no rule"),
        (lambda form: form.update(format=2), "format"),
        (lambda form: form.pop("thresholds_for"), "thresholds_for: Field required"),
        (lambda form: form.update(cutoffs={}), "cutoffs"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_do(bundle, path, change, complaint):
    with pytest.raises(ConfigError, match=complaint) as refusal:
        in_force(bundle, changed(path, change))
    assert "cxr-node calibrate" in str(refusal.value) and str(path) in str(refusal.value)


@pytest.mark.parametrize("content", [b"- [", b"\xff\xfe\x00", b"", b"just words", b"- 1\n- 2\n"])
def test_a_file_that_is_no_such_file_is_refused(bundle, path, content):
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="cxr-node calibrate"):
        in_force(bundle, path)


def test_a_file_that_is_missing_is_named(bundle, tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        in_force(bundle, tmp_path / "nowhere.yaml")


def test_the_configuration_names_the_file_from_its_own_folder(tmp_path):
    config = tmp_path / "node.yaml"
    config.write_text("model:\n  thresholds: thresholds.yaml\n")
    assert load(config).model.thresholds == tmp_path / "thresholds.yaml"
    for none in ('""', "", "null"):
        config.write_text(f"model:\n  thresholds: {none}\n")
        assert load(config).model.thresholds is None


def test_a_worker_does_not_start_on_a_mismatched_pair(path, tmp_path):
    changed(path, lambda form: form.update(thresholds_for="0" * 64))
    config = tmp_path / "node.yaml"
    config.write_text(yaml.safe_dump({"model": {"bundle": str(SHIPPED), "thresholds": str(path)}}))
    # A process of its own: a role shapes the one that it runs in.
    command = [sys.executable, "-m", "node", "serve", "--config", str(config), "--role", "work"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == EXIT_CONFIG
    assert "made for weights 000000000000" in ended.stderr


def test_a_reader_answers_by_the_site_s_cut_offs(bundle, path):
    there = in_force(bundle, changed(path, lambda form: form["rules"][0].update(cut_off=0.0, uncertain_from=0.0)))
    prediction = Reader(there, "cpu").read(read_picture(SHIPPED / bundle.golden[0].file))
    assert (prediction.triage, prediction.flagged_label) == (Triage.URGENT, "Tuberculosis")
    assert prediction.of("Tuberculosis").cut_off == 0.0


def test_status_and_check_tell_whose_cut_offs_hold(path, tmp_path):
    plain = settings_for(tmp_path)
    of_model = plain.model_copy(update={"model": Model(bundle=SHIPPED)})
    of_site = plain.model_copy(update={"model": Model(bundle=SHIPPED, thresholds=path)})
    assert cut_offs(snapshot(of_model)["model"]).startswith("Cut-offs of the model: Pneumonia ")
    told = cut_offs(snapshot(of_site)["model"])
    assert told.startswith(f"Cut-offs of this site, {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}: ")
    assert told.endswith("Tuberculosis 41 %")
    changed(path, lambda form: form["rules"][0].update(cut_off=0.3))
    assert cut_offs(snapshot(of_site)["model"]).endswith("Tuberculosis 30 %")
    changed(path, lambda form: form.update(thresholds_for="0" * 64))
    state = snapshot(of_site)
    assert "made for weights 000000000000" in state["model"]["error"]
    assert any("no study is read" in trouble["what"] for trouble in state["troubles"])
    (finding,) = [finding for finding in examine(of_site) if finding.subject == "model"]
    assert not finding.passed and "cxr-node calibrate" in finding.words


@pytest.mark.parametrize("whole", range(1, 100))
def test_a_probability_shown_equal_to_the_cut_off_has_reached_it(whole):
    cut_off = whole / 100
    assert percent(cut_off) == f"{whole} %"
    assert percent(cut_off - 1e-6) != f"{whole} %"
