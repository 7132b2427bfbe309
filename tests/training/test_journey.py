"""From films to a bundle the node can load, on a few dozen real films; and a bundle measured on a manifest."""

import csv
import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from node import bundle as bundles
from node.errors import BundleError, ConfigError
from node.infer import Reader, replay_golden
from training.cli import app

ROOT = Path(__file__).resolve().parents[2]
FILMS = ROOT.parent / "shared" / "data" / "cxr"
SHIPPED = ROOT / "models" / "cxr-triage-0.3.0"
EACH = 3

pytestmark = [pytest.mark.training, pytest.mark.timeout(900)]


def invoke(*arguments):
    outcome = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if outcome.exception and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    if not FILMS.exists():
        pytest.skip("shared/data/cxr is not on this machine")
    folder = tmp_path_factory.mktemp("training")
    with (FILMS / "manifest.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    kept, seen = [], {}
    for row in rows:
        group = row["source"], row["split"], row["label"]
        seen[group] = seen.get(group, 0) + 1
        if seen[group] <= EACH:
            kept.append(row)
    with (folder / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(kept)
    recipe = yaml.safe_load((ROOT / "config" / "training.yaml").read_text())
    recipe["members"] = [{"seed": 1, "working_px": 32}]
    stages = [{"unfrozen_from": "head", "epochs": 2, "learning_rate": 0.01}]
    recipe["fit"] |= {"batch": 8, "steps_per_epoch": 5, "average": 0.5, "stages": stages}
    recipe["evaluate"] |= {"resamples": 20, "robustness_films": 9, "random_control": False}
    recipe["export"] |= {"bank_films": 18}
    (folder / "training.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.fixture(scope="module")
def made(work):
    places = ("--recipe", work / "training.yaml", "--manifest", work / "manifest.csv", "--images", FILMS)
    invoke(
        "all",
        *places,
        "--weights",
        "none",
        "--activation",
        "relu6",
        "--runs",
        work / "runs",
        "--bundle",
        work / "bundle",
    )
    return bundles.load(work / "bundle")


def test_the_journey_ends_in_a_bundle_that_the_node_reads(made):
    assert made.manifest.training.films == {"train": 27, "val": 21, "test": 21}
    assert made.manifest.training.sources == ("kermany", "nih", "nlm_shenzhen", "qatar", "tbx11k")
    results = replay_golden(Reader(made, "cpu"), made)
    assert all(result.passed for result in results)


def test_the_card_says_what_was_measured_and_its_limits(made, work):
    card = (made.folder / bundles.CARD).read_text()
    metrics = json.loads(next((work / "runs").glob("*/metrics.json")).read_text())
    assert f"{metrics['metrics']['accuracy'][0]:.3f}" in card
    assert set(metrics["left_out"]) == {"kermany", "nih", "nlm_shenzhen", "qatar"}
    for words in (
        "never replaces a reader",
        "not for diagnosis",
        "No source holds both",
        "children",
        "Sources left out",
    ):
        assert words in card


def test_only_films_that_may_be_given_on_are_golden(made):
    assert {case.source for case in made.golden} <= {"kermany", "nih", "nlm_shenzhen"}
    assert made.golden
    attribution = (made.folder / bundles.ATTRIBUTION).read_text()
    assert all(case.file.removeprefix("golden/") in attribution for case in made.golden)


def test_a_bundle_is_not_written_over(made, work):
    places = ("--recipe", work / "training.yaml", "--manifest", work / "manifest.csv", "--images", FILMS)
    with pytest.raises(BundleError, match="never changed"):
        invoke(
            "export",
            *places,
            "--weights",
            "none",
            "--activation",
            "relu6",
            "--runs",
            work / "runs",
            "--bundle",
            made.folder,
        )


def test_a_stage_before_its_turn_says_what_is_missing(work, tmp_path):
    places = ("--recipe", work / "training.yaml", "--manifest", work / "manifest.csv", "--images", FILMS)
    with pytest.raises(ConfigError, match=r"calibration\.json is missing: run the stage before"):
        invoke("evaluate", *places, "--weights", "none", "--runs", tmp_path)


def test_a_bundle_is_measured_on_a_manifest(work, tmp_path):
    invoke(
        "evaluate", "--recipe", work / "training.yaml", "--bundle", SHIPPED,
        "--manifest", work / "manifest.csv", "--images", FILMS, "--out", tmp_path,
    )  # fmt: skip
    with (tmp_path / "scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 69
    assert list(rows[0]) == ["file", "label", "source", "patient_id", "Normal", "Pneumonia", "Tuberculosis", "triage"]
    assert all(
        abs(sum(float(row[name]) for name in ("Normal", "Pneumonia", "Tuberculosis")) - 1) < 1e-5 for row in rows
    )
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["bundle"] == bundles.load(SHIPPED).digest
    right = sum(
        row["label"] == max(("Normal", "Pneumonia", "Tuberculosis"), key=lambda name: float(row[name])) for row in rows
    )
    assert metrics["metrics"]["accuracy"][0] == pytest.approx(right / 69, abs=1e-4)
