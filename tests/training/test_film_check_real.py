"""The film check on real films: of sources left out, of other machines, and on photographs."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from node.pixels import read_dicom
from node.samples import FOLDER
from training import film_check
from training.data import Films, read_films
from training.film_check import counts, fitted, gathered

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} with real films is not on this machine"),
]


@pytest.fixture(scope="module")
def real():
    folder = SHARED / "cxr"
    every = read_films(folder / "manifest.csv", folder, ("Normal", "Pneumonia", "Tuberculosis"))
    some = np.random.default_rng(0).permutation(len(every))[:1000]
    columns = {name: getattr(every, name) for name in ("files", "labels", "sources", "splits", "patients")}
    return Films(**{**vars(every), **{name: column[some] for name, column in columns.items()}})


@pytest.fixture(scope="module")
def material(real):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(film_check, "_NOT_FILMS", 3000)
        return gathered(real, np.arange(len(real)), 0)


@pytest.mark.parametrize("source", ["kermany", "nih", "qatar", "tbx11k", "nlm_shenzhen"])
def test_films_of_a_source_left_out_are_known_and_their_turns_noticed(material, source):
    own = material.sources == source
    found = counts(fitted(material.within(~own), 0), material, own)
    # Wider than what was measured on all films: here are a sixth of them.
    assert found["films"] > 60
    assert found["refused"] <= 0.04 * found["films"]
    assert found["taken_for_turned"] + found["taken_for_inverted"] <= 0.03 * found["films"]
    assert found["collimated"] <= 0.05 * found["films"]
    assert min(found["noticed"].values()) >= 0.95 * found["films"]


def test_real_files_of_other_machines(material):
    check, folder = fitted(material, 0), SHARED / "dicom"
    for name in ("chest_CR-MONO1-10-chest", "other_Monochrome1-Jpeg"):  # the second is a chest, whatever its name
        look = check.look(read_dicom(folder / f"{name}.dcm"))
        assert (look.is_film, look.quarter_turns, look.inverted) == (True, 0, False)
    lying = check.look(read_dicom(folder / "chest_Fake_MONOHR1.dcm"))
    assert (lying.is_film, lying.quarter_turns, lying.inverted) == (True, 0, True)
    assert not check.look(read_dicom(folder / "other_RG2_J2KR.dcm")).is_film  # a hip


def test_the_sample_studies(material):
    check = fitted(material, 0)
    for path in FOLDER.rglob("*.dcm"):
        look = check.look(read_dicom(path))
        assert look.is_film == (path.name != "step-wedge.dcm"), path.name
        assert not look.is_film or (look.quarter_turns, look.inverted) == (0, False)


def test_photographs_are_no_films(material):
    check = fitted(material, 0)
    for picture in load_sample_images().images:
        assert not check.look(picture.mean(2).astype(np.float32) / 255).is_film
