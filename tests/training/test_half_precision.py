"""Weights in half the space say the same."""

import h5py
import numpy as np
import pytest

from node import network
from node.bundle import load
from node.errors import BundleError
from node.graph import load_models
from node.pixels import model_input, read_picture
from tests.bundles import SHIPPED
from training.calibrate import softmax
from training.half_precision import half_precision

pytestmark = pytest.mark.training

LARGE = 50_000


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A trained network in full precision: the shipped one, whose weights may be rounded already, with what rounding takes."""
    model, rng = load_models(load(SHIPPED))[0], np.random.default_rng(0)
    model.set_weights([_unrounded(weight, rng) if weight.size >= LARGE else weight for weight in model.get_weights()])
    path = tmp_path_factory.mktemp("full") / "model.weights.h5"
    model.save_weights(path)
    return model, path


def _unrounded(weight, rng):
    # Two numbers of 16 bit lie up to 2**-10 of their value apart.
    return weight * (1 + rng.uniform(-(2**-11), 2**-11, weight.shape)).astype(np.float32)


def test_large_kernels_are_rounded_and_nothing_else(full, tmp_path):
    _, path = full
    halved = tmp_path / "half.weights.h5"
    halved.write_bytes(half_precision(path))
    names = []
    with h5py.File(path) as before, h5py.File(halved) as after:
        before.visit(names.append)
        for name in names:
            if isinstance(before[name], h5py.Dataset):
                large = before[name].ndim > 1 and before[name].size >= LARGE
                assert after[name].dtype == (np.float16 if large else before[name].dtype)
                assert after[name].shape == before[name].shape
            else:
                assert dict(after[name].attrs) == dict(before[name].attrs)
    assert halved.stat().st_size < 0.65 * path.stat().st_size
    assert half_precision(path) == halved.read_bytes()


def test_a_network_of_rounded_weights_gives_the_same_probabilities_to_a_thousandth(full, tmp_path):
    model, path = full
    bundle = load(SHIPPED)
    spec = bundle.manifest.preprocessing
    films = np.stack([model_input(read_picture(SHIPPED / case.file), spec) for case in bundle.golden])
    halved = tmp_path / "half.weights.h5"
    halved.write_bytes(half_precision(path))
    rounded = network.build(bundle.manifest.members[0].architecture)
    rounded.load_weights(halved)
    assert rounded.dtype == "float32"
    before, after = (np.asarray(each(films, training=False)) for each in (model, rounded))
    differences = np.abs(softmax(before) - softmax(after))
    assert 0 < differences.max() < 1e-3


@pytest.mark.parametrize("value", [1e5, np.inf, np.nan])
def test_a_weight_that_does_not_fit_is_refused_by_name(value, tmp_path):
    path = tmp_path / "model.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/conv/vars/0", data=np.full((250, 200), value, np.float32))
    with pytest.raises(BundleError, match="layers/conv/vars/0 does not fit"):
        half_precision(path)
