"""A run becomes a bundle: all its networks, what they are held against, and cases that prove it."""

import json
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from node import bundle as bundles
from node import network
from node.errors import BundleError
from node.graph import load_models
from node.likeness import likeness, read_bank
from node.pixels import model_input, read_picture
from tests.bundles import SHIPPED, variant
from training import recipe as recipes
from training.calibrate import Calibrated
from training.data import Films
from training.export import export
from training.recipe import Export

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = {"split": "val", "films": 6}

pytestmark = pytest.mark.training


class Run:
    """Two networks of the shipped weights that work at different sizes, on the golden films of the shipped bundle.

    Each film is there twice, once to train and once to validate.
    """

    def __init__(self, folder):
        shipped = bundles.load(SHIPPED)
        # In full precision, as a training leaves them.
        load_models(shipped)[0].save_weights(folder / "any.weights.h5")
        weights = (folder / "any.weights.h5").read_bytes()
        self.bundle = variant(folder / "pair", [(weights, {"working_px": size}) for size in (None, 160)])
        self.members = [
            SimpleNamespace(weights=self.bundle.folder / member.file, architecture=member.architecture)
            for member in self.bundle.manifest.members
        ]
        recipe = recipes.load(ROOT / "config" / "training.yaml")
        # The recipe's digest, and nothing else here, needs its input files.
        manifest = folder / "manifest.csv"
        manifest.write_text("")
        self.recipe = replace(
            recipe,
            data=replace(recipe.data, manifest=manifest),
            backbone=replace(recipe.backbone, weights="none"),
            export=Export(bank_films=5, neighbors=2, unlike_share=0.2, film_check=False),
        )
        cases = shipped.golden * 2
        self.films = Films(
            files=np.array([case.file for case in cases]),
            labels=np.array([shipped.label_names.index(case.label) for case in cases]),
            sources=np.array([case.source for case in cases]),
            splits=np.repeat(["train", "val"], len(shipped.golden)),
            patients=np.array([case.file for case in cases]),
            images=SHIPPED,
            terms={},
        )

    @cached_property
    def _maps(self):
        spec = self.bundle.manifest.preprocessing
        pictures = np.stack([model_input(read_picture(SHIPPED / str(file)), spec) for file in self.films.files])
        models = load_models(self.bundle)
        return [(network.Head.of(m), network.feature_map(m).predict_on_batch(pictures)) for m in models]

    def logits(self, rows):
        return np.mean([head.logits(maps.mean((1, 2)))[rows] for head, maps in self._maps], axis=0)

    def features(self, rows):
        return np.concatenate([maps.mean((1, 2))[rows] for _, maps in self._maps], axis=1)

    @property
    def calibrated(self):
        manifest = self.bundle.manifest
        rules, shares = manifest.triage.rules, manifest.heat_map.reference_share
        return Calibrated(manifest.weights_sha256, manifest.calibration.temperature, rules, shares, REFERENCE)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    # It replays its golden films before it returns.
    return export(run, run.calibrated, "# Card", tmp_path_factory.mktemp("exported") / "bundle")


def test_every_member_is_in_the_bundle_with_its_own_graph(exported, run):
    assert [member.file for member in exported.manifest.members] == ["members/1.weights.h5", "members/2.weights.h5"]
    assert [member.architecture.working_px for member in exported.manifest.members] == [None, 160]
    assert exported.manifest.training.recipe == run.recipe.digest()


def test_the_cut_offs_are_bound_to_the_weights_as_they_are_in_the_bundle(exported, run):
    assert exported.manifest.triage.thresholds_for == exported.manifest.weights_sha256
    assert exported.manifest.weights_sha256 != run.calibrated.weights_sha256


def test_the_bank_holds_training_films_and_the_cut_off_is_chosen_on_validation_films(exported, run):
    settings, bank = exported.manifest.likeness, read_bank(exported.neighbors)
    assert bank.shape == (5, run.features(np.arange(1)).shape[1]) and settings.neighbors == 2
    found = likeness(run.features(run.films.rows("val")), bank, 2)
    assert (found < settings.cut_off).sum() == 1
    held = json.loads((exported.folder / bundles.REFERENCE).read_text())
    assert held | REFERENCE == held
    assert held["likeness_percentiles"][0] == 1 and held["likeness"] == sorted(held["likeness"])


def test_golden_cases_are_typical_films_with_all_that_the_node_must_say(exported):
    assert {case.source for case in exported.golden} == {"kermany", "nih", "nlm_shenzhen"}
    for case in exported.golden:
        assert max(case.probabilities, key=case.probabilities.__getitem__) == case.label
        assert case.file.startswith(f"golden/{case.source}-{case.label.lower()}.")
    cases = json.loads((exported.folder / bundles.GOLDEN_CASES).read_text())
    assert all("warnings" in case for case in cases)


def test_a_calibration_of_other_weights_is_refused(run, tmp_path):
    with pytest.raises(BundleError, match="calibrate them again"):
        export(run, replace(run.calibrated, weights_sha256="0" * 64), "", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
