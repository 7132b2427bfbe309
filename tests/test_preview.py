"""What an operator is told of a film before and beside the running node: whether it would be read, and with which warnings."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from node import bundle as bundles
from node.check import examine
from node.config import Model
from node.preview import preview
from tests.bundles import SHIPPED, film_check, golden_planes, variant
from tests.filled import settings_for
from tests.films import dx_film, file_bytes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Settings with a bundle that checks films, and whose first golden case expects a warning that is not given."""
    folder = tmp_path_factory.mktemp("node")
    cases = json.loads((SHIPPED / bundles.GOLDEN_CASES).read_text())
    cases[0]["warnings"] = ["LOOKS_TURNED"]
    files = {bundles.FILM_CHECK: film_check(), bundles.GOLDEN_CASES: json.dumps(cases).encode()}
    return settings_for(folder, model=Model(bundle=variant(folder / "bundle", files=files).folder, device="cpu"))


@pytest.mark.parametrize(
    ("drawn", "said"),
    [
        (lambda plane: plane, "would be read, without a warning; film"),
        (lambda plane: 1 - np.rot90(plane), "would be read, with a warning: looks turned, looks inverted"),
        (lambda plane: np.random.default_rng(0).random(plane.shape, np.float32), "would NOT be read: NOT_A_CHEST_FILM"),
    ],
)
def test_preview_says_what_the_node_would_say_of_the_film(drawn, said, settings, tmp_path: Path):
    path, out = tmp_path / "film.dcm", tmp_path / "seen.png"
    path.write_bytes(file_bytes(dx_film(np.ascontiguousarray(drawn(golden_planes()[0])))))
    assert said in preview(path, out, settings)
    assert cv2.imread(str(out)) is not None


def test_check_names_a_golden_film_that_lacks_a_warning(settings):
    (golden,) = [finding for finding in examine(settings) if finding.subject == "golden cases"]
    first = json.loads((SHIPPED / bundles.GOLDEN_CASES).read_text())[0]["file"]
    assert not golden.passed
    assert f"not answered as they must be: {first}. Restore" in golden.words
