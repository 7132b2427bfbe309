"""The scores file of a bundle is enough to choose a site's cut-offs, with no film read again."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from node import bundle as bundles
from node.errors import ConfigError
from node.site_thresholds import in_force
from tests.bundles import SHIPPED
from training.cli import app
from training.site import cases_of

pytestmark = pytest.mark.slow

NAMES = ("Normal", "Pneumonia", "Tuberculosis")


@pytest.fixture(scope="module")
def bundle():
    return bundles.load(SHIPPED)


@pytest.fixture
def scores(tmp_path):
    """As ``cxr-train evaluate --bundle`` writes it: sixty films of each class, two a patient."""
    rng = np.random.default_rng(0)
    path = tmp_path / "scores.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "source", "patient_id", *NAMES, "triage"])
        for number in range(180):
            said = rng.dirichlet(1 + 4 * np.eye(3)[number % 3])
            row = [f"{number}.png", NAMES[number % 3], "here", str(number // 6), *(f"{p:.6f}" for p in said), "flagged"]
            writer.writerow(row)
    return path


def changed(path, old, new):
    path.write_text(path.read_text().replace(old, new, 1))
    return path


def test_scores_are_read_as_cases(scores, bundle):
    cases = cases_of(scores, bundle)
    assert cases.films() == dict.fromkeys(NAMES, 60)
    assert cases.counted() == dict.fromkeys(NAMES, 30)
    assert np.allclose(cases.probabilities.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("patient_id", "patient", "lacks patient_id"),
        ("Tuberculosis", "TB", "lacks Tuberculosis"),
        ("0.png,Normal", "0.png,Healthy", "lines 2: a label"),
        (",here,0,0.", ",here,0,x", "no numbers"),
    ],
)
def test_scores_that_cannot_be_used_are_refused(scores, bundle, old, new, complaint):
    with pytest.raises(ConfigError, match=complaint):
        cases_of(changed(scores, old, new), bundle)


def test_scores_of_another_bundle_are_refused(scores, bundle):
    scores.with_name("metrics.json").write_text(json.dumps({"bundle": bundle.digest}))
    assert len(cases_of(scores, bundle).labels) == 180
    scores.with_name("metrics.json").write_text(json.dumps({"bundle": "0" * 64}))
    with pytest.raises(ConfigError, match="another bundle"):
        cases_of(scores, bundle)


def test_the_verb_chooses_cut_offs_by_scores_and_writes_the_site_s_file(scores, bundle, tmp_path):
    out = tmp_path / "thresholds.yaml"
    done = CliRunner().invoke(
        app,
        [
            "calibrate",
            "--scores",
            str(scores),
            "--bundle",
            str(SHIPPED),
            "--prevalence",
            "Tuberculosis=0.02",
            "--out",
            str(out),
        ],
    )
    assert done.exit_code == 0, done.output
    assert "60 Tuberculosis (30 patients)" in done.output and "(PPV)" in done.output
    assert set(in_force(bundle, out).site.rules) != set(bundle.rules.values())


def test_scores_without_their_bundle_are_refused(scores):
    done = CliRunner().invoke(app, ["calibrate", "--scores", str(scores)])
    assert isinstance(done.exception, ConfigError)
