"""A recipe says everything that decides a run, and nothing else names the run."""

from pathlib import Path

import pytest
import yaml

from node.errors import ConfigError
from training import recipe as recipes

SHIPPED = Path(__file__).resolve().parents[2] / "config" / "training.yaml"


def changed(folder, change):
    form = yaml.safe_load(SHIPPED.read_text())
    change(form)
    path = folder / "training.yaml"
    path.write_text(yaml.safe_dump(form))
    return path


def test_the_shipped_recipe_is_read_and_holds_no_machine_path():
    recipe = recipes.load(SHIPPED)
    assert recipe.labels == ("Normal", "Pneumonia", "Tuberculosis")
    assert [cls.urgent for cls in recipe.classes] == [False, False, True]
    assert not recipe.data.manifest.is_absolute() and not recipe.data.images.is_absolute()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda form: form["fit"].update(warmup=3), "fit.warmup"),
        (lambda form: form["fit"].pop("patience"), "fit.patience"),
        (lambda form: form["fit"]["stages"][0].update(unfrozen_from="block9"), "fit.stages.0.unfrozen_from"),
        (lambda form: form["members"][0].update(graph="ResNet50"), "members.0.graph"),
        (lambda form: form["augment"].update(border=0.6), "augment.border"),
        (lambda form: form["calibrate"].update(sensitivity=1.2), "calibrate.sensitivity"),
        (lambda form: form["backbone"].update(activation="tanh"), "backbone.activation"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(tmp_path, change, complaint):
    with pytest.raises(ConfigError, match=complaint):
        recipes.load(changed(tmp_path, change))


def test_what_is_no_yaml_or_not_there_is_a_configuration_error(tmp_path):
    (tmp_path / "bad.yaml").write_text("a: [")
    for name in ("bad.yaml", "absent.yaml"):
        with pytest.raises(ConfigError, match=name):
            recipes.load(tmp_path / name)


def test_the_digest_follows_settings_and_content_but_not_places(tmp_path):
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "manifest.csv").write_text("file\nx\n")
    one, same = (recipes.load(SHIPPED, tmp_path / p / "manifest.csv", tmp_path / p) for p in ("a", "b"))
    assert one.digest() == same.digest()
    other = recipes.load(
        changed(tmp_path, lambda form: form["members"][0].update(seed=7)), tmp_path / "a" / "manifest.csv"
    )
    assert other.digest() != one.digest()
    (tmp_path / "b" / "manifest.csv").write_text("file\ny\n")
    assert same.digest() != one.digest()


def test_what_is_given_on_the_command_line_wins():
    recipe = recipes.load(SHIPPED, Path("m.csv"), Path("films"), "none", activation="relu6")
    assert (recipe.data.manifest, recipe.data.images) == (Path("m.csv"), Path("films"))
    assert (recipe.backbone.weights, recipe.architecture(recipe.members[0]).activation) == ("none", "relu6")


@pytest.mark.parametrize(
    ("change", "trained_anew"),
    [
        (lambda form: form["evaluate"].update(resamples=10), False),
        (lambda form: form["calibrate"].update(sensitivity=0.8), False),
        (lambda form: form.update(version="9.9.9"), False),
        (lambda form: form["fit"].update(dropout=0.5), True),
        (lambda form: form["augment"].update(gray=0.1), True),
        (lambda form: form["members"][0].update(working_px=96), True),
        (lambda form: form["backbone"].update(weights="imagenet"), True),
        (lambda form: form["data"].update(left_out=["nih"]), True),
    ],
)
def test_a_network_is_trained_anew_when_what_made_it_changes_and_only_then(tmp_path, change, trained_anew):
    (tmp_path / "manifest.csv").write_text("file\nx\n")

    def name(recipe):
        return recipe.network_digest(recipe.members[0])

    def loaded(path):
        return recipes.load(path, tmp_path / "manifest.csv", tmp_path)

    before = loaded(changed(tmp_path, lambda form: form["backbone"].update(weights="none")))
    after = loaded(changed(tmp_path, lambda form: (form["backbone"].update(weights="none"), change(form))))
    assert (name(before) != name(after)) == trained_anew
    assert before.digest() != after.digest()
