"""The networks' graphs: the size they work at, the formula of an ensemble, one answer on every backend."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from node import bundle as bundles
from node import network
from node.area import area_matrix
from node.pixels import InputSpec, model_input, read_picture
from tests.bundles import SHIPPED

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
(MEMBER, *_) = bundles.load(SHIPPED).manifest.members
WEIGHTS = SHIPPED / MEMBER.file
SMALL = replace(MEMBER.architecture, rows=64, columns=64, working_px=48)


def test_the_mean_of_shares_on_one_grid_is_their_mean():
    one, other = np.random.default_rng(4).normal(size=(2, 3, 7, 7, 2)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(network.mean_shares([one, other])), (one + other) / 2, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(network.mean_shares([one])), one)


def test_shares_on_a_coarser_grid_are_laid_out_on_the_finer_one_and_keep_their_sum():
    rng = np.random.default_rng(5)
    fine, coarse = rng.normal(size=(2, 7, 7, 3)).astype(np.float32), rng.normal(size=(2, 5, 4, 3)).astype(np.float32)
    mean = np.asarray(network.mean_shares([coarse, fine]))
    assert mean.shape == (2, 7, 7, 3)
    np.testing.assert_allclose(mean.sum((1, 2)), (fine.sum((1, 2)) + coarse.sum((1, 2))) / 2, atol=1e-5)
    flat = np.asarray(network.mean_shares([np.ones_like(coarse), np.zeros_like(fine)]))
    np.testing.assert_allclose(flat, flat[0, 0, 0, 0], rtol=1e-5)


def test_a_share_stays_in_its_place_on_the_finer_grid():
    coarse = np.zeros((1, 2, 2, 1), np.float32)
    coarse[0, 0, 1] = 4.0
    mean = np.asarray(network.mean_shares([coarse, np.zeros((1, 4, 4, 1), np.float32)]))[0, ..., 0]
    np.testing.assert_allclose(mean, [[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5], [0, 0, 0, 0], [0, 0, 0, 0]])


@pytest.fixture(scope="module")
def picture():
    shipped = bundles.load(SHIPPED)
    return model_input(read_picture(SHIPPED / shipped.golden[1].file), InputSpec(64, 64))[np.newaxis]


def test_a_network_that_works_at_fewer_pixels_sees_the_area_means_alone(picture):
    # Trained weights: the features of random ones hardly depend on the picture.
    model, plain = network.build(SMALL), network.build(replace(SMALL, rows=48, columns=48, working_px=None))
    for each in (model, plain):
        each.load_weights(WEIGHTS)
    down = area_matrix(64, 48)
    reduced = np.einsum("ri,sj,nijk->nrsk", down, down, picture)
    found, expected = (np.asarray(m(p, training=False)) for m, p in ((model, picture), (plain, reduced)))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.ptp(expected) > 0.1
    assert network.feature_map(model).output_shape[1:3] == (2, 2)


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "channels"), [("B1", 1280), ("B2", 1408), ("B3", 1536)])
def test_larger_backbones_are_built_with_their_activation(backbone, channels):
    model = network.build(replace(SMALL, backbone=f"EfficientNet{backbone}"))
    assert model.get_layer(network.BACKBONE).output_shape == (None, 2, 2, channels)
    held = {
        layer.activation.__name__ for layer in model.get_layer(network.BACKBONE).layers if "Activation" in repr(layer)
    }
    assert held == {SMALL.activation}
    assert network.Head.of(model).slope.shape == (channels, 3)


PROGRAM = """
import json, sys, numpy as np
from node import network
from node.bundle import Architecture
import keras
architecture, weights, picture = sys.argv[1:]
model = network.build(Architecture(**json.loads(architecture)))
model.load_weights(weights)
logits = keras.ops.convert_to_numpy(model(np.load(picture), training=False))
print(json.dumps([keras.backend.backend(), logits.tolist()]))
"""


@pytest.mark.slow
def test_torch_gives_the_answer_that_tensorflow_gives(picture, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    model = network.build(SMALL)
    model.load_weights(WEIGHTS)
    np.save(tmp_path / "picture.npy", picture)
    arguments = [json.dumps(asdict(SMALL)), str(WEIGHTS), str(tmp_path / "picture.npy")]
    environment = os.environ | {"KERAS_BACKEND": "torch"}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, text=True, capture_output=True, check=True)
    backend, logits = json.loads(done.stdout.splitlines()[-1])
    assert backend == "torch"
    np.testing.assert_allclose(logits, np.asarray(model(picture, training=False)), atol=1e-3)
