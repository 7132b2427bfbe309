"""How the film check is made: what it is shown, what it learns, where its cut-offs are placed."""

import cv2
import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from node.film_check import CANVAS_PX, FEATURES, POSES, FilmCheck, in_each_pose
from node.pixels import read_picture
from tests.films import chest
from training import film_check
from training.data import Films
from training.film_check import Material, canvases_of, counts, distort, fit_film_check, fitted, gathered, measure
from training.film_network import Network, fit_network
from training.not_films import CUT, DRAWN, not_films

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Write drawn chests of two sources, one paler than the other, three fifths of them to train on."""
    folder, rng = tmp_path_factory.mktemp("films"), np.random.default_rng(1)
    names, splits = [], []
    for row in range(60):
        film = distort(cv2.resize(chest(opacity=row % 3 == 0), (200, 200)), rng) * (0.6 if row % 2 else 1)
        names.append(f"{row}.png")
        splits.append(("train", "train", "train", "val", "test")[row % 5])
        cv2.imwrite(str(folder / names[-1]), np.round(film * 255))
    count = len(names)
    sources = np.array(["dark", "pale"] * (count // 2))
    return Films(
        files=np.array(names),
        labels=np.zeros(count, np.int64),
        sources=sources,
        splits=np.array(splits),
        patients=np.array(names),
        images=folder,
        terms={},
    )


@pytest.fixture(scope="module", autouse=True)
def few():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(film_check, "_NOT_FILMS", 300)
        patch.setattr(film_check, "_NOT_FILMS_HELD_OUT", 50)
        yield


@pytest.fixture(scope="module")
def material(films, few):
    return gathered(films, np.arange(len(films)), 0)


def loaded(content, folder):
    path = folder / "film_check.npz"
    path.write_bytes(content)
    return FilmCheck.load(path)


def test_every_kind_of_picture_that_is_no_film_is_given(films):
    canvases = canvases_of(films, films.rows("train"))
    given = list(not_films(400, canvases, 0))
    assert {each.kind for each in given} == {draw.__name__ for draw in (*DRAWN, *CUT)}
    for each in given:
        assert each.picture.shape == (CANVAS_PX, CANVAS_PX) and each.picture.dtype == np.float32
        assert 0 <= each.picture.min() < each.picture.max() <= 1, each.kind
        assert (each.film is None) == (each.kind in {draw.__name__ for draw in DRAWN})


def test_equal_seeds_give_equal_pictures_and_others_do_not(films):
    canvases = canvases_of(films, films.rows("train"))
    one, again, other = ([each.picture for each in not_films(30, canvases, seed)] for seed in (4, 4, 5))
    np.testing.assert_array_equal(one, again)
    assert not any(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_distorted_film_is_another_picture_of_the_same_size_and_range(films):
    film = canvases_of(films, films.rows("train")[:1])[0] / np.float32(255)
    given = [distort(film, np.random.default_rng(seed)) for seed in range(20)]
    for each in given:
        assert each.shape == film.shape and each.dtype == np.float32
        assert each.min() >= 0 and each.max() <= 1
        assert np.abs(each - film).mean() > 0.01


def test_the_networks_gradient_is_that_of_its_loss():
    rng = np.random.default_rng(0)
    network = Network.random(rng)
    for name, value in vars(network).items():
        setattr(network, name, value.astype(np.float64))
    network.hidden_bias += rng.normal(0, 0.1, network.hidden_bias.shape)
    poses, is_film = rng.random((6, POSES, FEATURES)), np.array([True, False] * 3)

    def loss():
        hidden = np.maximum(poses @ network.hidden_weights + network.hidden_bias, 0)
        logits = np.pad(hidden @ network.output_weights + network.output_bias, ((0, 0), (0, 1)))
        shares = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        return -np.where(is_film, shares[:, 0], shares[:, -1]).mean()

    for (name, weights), gradient in zip(vars(network).items(), network.gradients(poses, is_film), strict=True):
        place = tuple(rng.integers(0, weights.shape)) if weights.ndim else ()
        at, step = weights[place].copy(), 1e-5
        weights[place] = at + step
        above = loss()
        weights[place] = at - step
        slope = (above - loss()) / (2 * step)
        weights[place] = at
        assert np.asarray(gradient)[place] == pytest.approx(slope, rel=1e-3, abs=1e-7), name


def test_the_network_learns_what_is_upright():
    rng = np.random.default_rng(2)
    upright = (rng.normal(0, 1, FEATURES) + rng.normal(0, 0.3, (400, FEATURES))).astype(np.float32)
    others = rng.normal(0, 1, (400, FEATURES)).astype(np.float32)
    network = fit_network(np.concatenate([upright, others]), np.arange(800) < 400, 0)
    hidden = np.maximum(in_each_pose(upright) @ network.hidden_weights + network.hidden_bias, 0)
    assert ((hidden @ network.output_weights).argmax(1) == 0).all()


def test_a_fitted_check_knows_films_their_turns_and_what_is_none(films, tmp_path):
    check = loaded(fit_film_check(films, films.rows("train"), 0), tmp_path)
    for row in films.rows("test"):
        plane = read_picture(films.images / films.files[row])
        look = check.look(plane)
        assert (look.is_film, look.quarter_turns, look.inverted) == (True, 0, False)
        assert check.look(np.ascontiguousarray(np.rot90(plane, 3))).quarter_turns == 3
        assert check.look(1 - plane).inverted
    for picture in load_sample_images().images:
        assert not check.look(picture.mean(2).astype(np.float32) / 255).is_film


def test_equal_films_and_seed_give_equal_bytes(films):
    rows = films.rows("train")[:10]
    one, again, other = (fit_film_check(films, rows, seed) for seed in (3, 3, 4))
    assert one == again != other


def test_a_source_that_is_left_out_gives_neither_films_nor_cuttings(material):
    kept = material.within(material.sources == "dark")
    assert set(kept.sources) == {"dark"} and len(kept.plain) == len(kept.distorted) == len(kept.content) == 30
    was = material.cut_from[(material.cut_from < 0) | (material.sources[material.cut_from] == "dark")]
    drawn = was < 0
    np.testing.assert_array_equal(kept.cut_from < 0, drawn)
    np.testing.assert_array_equal(kept.plain[kept.cut_from[~drawn]], material.plain[was[~drawn]])


def test_cut_offs_are_placed_on_the_validation_films(material):
    check = fitted(material, 0)
    poses = in_each_pose(material.distorted[material.splits == "val"].reshape(-1, FEATURES))
    logits, distances = check.logits(poses)[:, 0], check.distances(poses[:, 0])
    assert (logits < check.least_chest).mean() == pytest.approx(0.025, abs=1 / len(logits))
    assert (distances > check.most_distance).mean() == pytest.approx(0.045, abs=1 / len(logits))
    assert check.least_advantage >= 0


def test_without_validation_films_the_train_films_place_the_cut_offs(films, tmp_path):
    rows = np.flatnonzero(films.splits == "train")
    without = Films(**{**vars(films), "splits": np.where(films.splits == "val", "test", films.splits)})
    assert np.isfinite(loaded(fit_film_check(without, rows, 0), tmp_path).least_chest)


def test_the_measurement_counts_every_film_of_each_source_left_out(films):
    report = measure(films, 0)
    assert report["test"]["films"] == len(films.rows("test"))
    assert {source: found["films"] for source, found in report["left_out"].items()} == {"dark": 30, "pale": 30}
    assert sum(kind["pictures"] for kind in report["not_films"].values()) == 50
    for found in (report["test"], *report["left_out"].values()):
        assert found["refused"] + found["noticed"]["inverted"] <= found["films"]


def test_a_film_counts_as_noticed_where_its_turn_is_told_exactly(material):
    check = fitted(material, 0)
    blind = Material(**{**vars(material), "plain": np.zeros_like(material.plain)})
    assert counts(check, material, material.splits == "test")["noticed"]["turned 90"] == 12
    assert counts(check, blind, material.splits == "test")["noticed"]["turned 90"] == 0
