"""A bundle is what its manifest says, to the byte, or it is refused with the file's name."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from node import bundle as bundles
from node.errors import BundleError
from node.study import FilmWarning
from tests.bundles import SHIPPED

FOLDER = SHIPPED
NAMES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file())
ARCHITECTURE = {
    "backbone": "EfficientNetB0",
    "activation": "relu6",
    "rows": 224,
    "columns": 224,
    "classes": 3,
    "dropout": 0.3,
}
CODE = {"value": "1", "scheme": "99TEST", "meaning": "x"}


@pytest.fixture
def copy(tmp_path):
    return Path(shutil.copytree(FOLDER, tmp_path / "bundle"))


def reseal(folder, change):
    """Change the manifest as one who knows the seal would."""
    form = yaml.safe_load((folder / bundles.MANIFEST).read_bytes())
    form.pop("seal")
    change(form)
    body = yaml.safe_dump(form, sort_keys=False).encode()
    (folder / bundles.MANIFEST).write_bytes(body + b"seal: " + hashlib.sha256(body).hexdigest().encode() + b"\n")


def about():
    """A consistent manifest of a bundle whose weights are the bytes b"weights"."""
    return {
        "name": "test",
        "version": "1",
        "labels": [{"name": name, "code": CODE} for name in ("Normal", "Pneumonia", "Tuberculosis")],
        "members": [{"file": bundles.WEIGHTS, "architecture": ARCHITECTURE}],
        "preprocessing": {"rows": 224, "columns": 224, "interpolation": "area", "percentiles": [1.0, 99.0]},
        "calibration": {"temperature": 1.5},
        "triage": {
            "thresholds_for": hashlib.sha256(b"weights").hexdigest(),
            "rules": [
                {"label": "Pneumonia", "cut_off": 0.6, "uncertain_from": 0.4, "urgent": False},
                {"label": "Tuberculosis", "cut_off": 0.5, "uncertain_from": 0.3, "urgent": True},
            ],
        },
        "heat_map": {"layer": "top_activation", "reference_share": {"Pneumonia": 0.5, "Tuberculosis": 0.6}},
        "likeness": None,
        "age_years": None,
        "training": {"recipe": "x", "films": {"train": 1}, "patients": 1, "sources": ["x"]},
        "made_with": {"keras": "3"},
    }


def contents(**changed):
    return {
        bundles.WEIGHTS: b"weights",
        bundles.REFERENCE: b"{}",
        bundles.CARD: b"card",
        bundles.GOLDEN_CASES: b"[]",
        bundles.ATTRIBUTION: b"none",
        **changed,
    }


def test_the_shipped_bundle_is_whole_and_at_most_40_mb():
    bundle = bundles.load(FOLDER)
    assert bundle.label_names == ("Normal", "Pneumonia", "Tuberculosis")
    assert [label.code.value for label in bundle.manifest.labels] == ["17621005", "233604007", "154283005"]
    assert {label: rule.urgent for label, rule in bundle.rules.items()} == {"Pneumonia": False, "Tuberculosis": True}
    assert len(bundle.golden) >= 3
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 40e6


@pytest.mark.parametrize("name", NAMES)
def test_one_changed_byte_is_found_and_the_file_named(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=name.replace(".", r"\.")) as refusal:
        bundles.load(copy)
    assert "expected" in str(refusal.value) and "found" in str(refusal.value) and "restore" in str(refusal.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        bundles.load(copy)


def test_a_folder_that_is_not_there_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="cannot be read"):
        bundles.load(tmp_path / "absent")


def test_cut_offs_chosen_for_other_weights_are_refused(copy):
    other, name = b"retrained", bundles.load(copy).manifest.members[0].file
    (copy / name).write_bytes(other)
    reseal(copy, lambda form: form["files"].update({name: hashlib.sha256(other).hexdigest()}))
    with pytest.raises(BundleError, match=r"cut-offs were chosen for weights [0-9a-f]{64}.*calibrate"):
        bundles.load(copy)


def turn_likeness_over(form):
    """Have one of likeness and its file, not both."""
    form["likeness"] = None if form["likeness"] else {"neighbors": 10, "cut_off": 0.5}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda form: form.update(surprise=1), "surprise"),
        (lambda form: form["preprocessing"].update(crop=3), "crop"),
        (lambda form: form["triage"]["rules"][0].update(cutoff=0.5), "cutoff"),
        (lambda form: form.update(format=1), "format"),
        (lambda form: form["triage"]["rules"].pop(), "one rule for each label"),
        (lambda form: form["triage"]["rules"][0].update(uncertain_from=0.99), "uncertain_from is above cut_off"),
        (lambda form: form["triage"]["rules"][0].update(cut_off=1.5), "less than or equal to 1"),
        (lambda form: form["calibration"].update(temperature=0), "greater than 0"),
        (lambda form: form["calibration"].update(temperature=float("nan")), "temperature"),
        (lambda form: form.update(members=[]), "members"),
        (lambda form: form["members"].append(form["members"][0]), "two members have one file"),
        (lambda form: form["members"][0].update(file="absent.weights.h5"), "lacks absent.weights.h5"),
        (lambda form: form["members"][0]["architecture"].update(rows=128), "differ in size"),
        (lambda form: form["members"][0]["architecture"].update(classes=2), "differ in number"),
        (lambda form: form["members"][0]["architecture"].update(backbone="ResNet50"), "backbone"),
        (lambda form: form["members"][0]["architecture"].update(working_px=225), "working_px is larger"),
        (lambda form: form["members"][0]["architecture"].update(working_px=31), "working_px"),
        (turn_likeness_over, "need each other"),
        (lambda form: form["files"].pop("card.md"), "lacks card.md"),
        (lambda form: form["files"].pop("golden/nih-normal.jpg"), "golden/nih-normal.jpg"),
    ],
)
def test_a_manifest_that_is_unknown_or_contradicts_itself_is_refused(copy, change, complaint):
    reseal(copy, change)
    with pytest.raises(BundleError, match=complaint):
        bundles.load(copy)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "golden/../../secret", "golden\\x", ".hidden", "a//b", "a\n"]
)
def test_a_name_that_leaves_the_folder_is_refused(copy, name):
    reseal(copy, lambda form: form["files"].update({name: "0" * 64}))
    with pytest.raises(BundleError, match="pattern"):
        bundles.load(copy)


def test_a_link_that_leaves_the_folder_is_refused(copy, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes((copy / bundles.CARD).read_bytes())
    (copy / bundles.CARD).unlink()
    (copy / bundles.CARD).symlink_to(outside)
    with pytest.raises(BundleError, match="leads out"):
        bundles.load(copy)


def test_a_manifest_cannot_run_code(copy, tmp_path):
    proof = tmp_path / "proof"
    body = f"name: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{proof}']]\n".encode()
    (copy / bundles.MANIFEST).write_bytes(body + b"seal: " + hashlib.sha256(body).hexdigest().encode() + b"\n")
    with pytest.raises(BundleError, match="cannot be parsed"):
        bundles.load(copy)
    assert not proof.exists()


def test_what_is_written_is_read_back(tmp_path):
    written = bundles.write(tmp_path / "new", about(), contents())
    assert bundles.load(tmp_path / "new") == written
    assert written.manifest.calibration.temperature == 1.5
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_bundle_is_never_written_over(tmp_path):
    bundles.write(tmp_path / "new", about(), contents())
    with pytest.raises(BundleError, match="never changed"):
        bundles.write(tmp_path / "new", about(), contents())


def test_cut_offs_for_other_weights_are_not_written(tmp_path):
    with pytest.raises(BundleError, match="calibrate"):
        bundles.write(tmp_path / "new", about(), contents(**{bundles.WEIGHTS: b"retrained"}))
    assert not (tmp_path / "new").exists()


def ensemble(tmp_path, name, one=b"one", other=b"other"):
    """Write a bundle of two members."""
    names = ("members/1.weights.h5", "members/2.weights.h5")
    form = about() | {"members": [{"file": each, "architecture": ARCHITECTURE | {"working_px": 160}} for each in names]}
    digests = [hashlib.sha256(content).hexdigest() for content in (one, other)]
    form["triage"]["thresholds_for"] = bundles.weights_digest(digests)
    held = contents(**dict(zip(names, (one, other), strict=True)))
    del held[bundles.WEIGHTS]
    return bundles.write(tmp_path / name, form, held)


def test_the_cut_offs_of_an_ensemble_are_bound_to_all_its_weights_in_their_order(tmp_path):
    first, turned = ensemble(tmp_path, "a"), ensemble(tmp_path, "b", b"other", b"one")
    assert first.identity.weights_sha256 != turned.identity.weights_sha256
    assert first.identity.weights_sha256 not in first.manifest.files.values()
    assert first.identity.parameters[2] == "members=2"
    name, other = "members/2.weights.h5", b"retrained"
    (tmp_path / "a" / name).write_bytes(other)
    reseal(tmp_path / "a", lambda form: form["files"].update({name: hashlib.sha256(other).hexdigest()}))
    with pytest.raises(BundleError, match="cut-offs were chosen for weights"):
        bundles.load(tmp_path / "a")


def test_a_bundle_may_hold_neighbors_and_a_film_check(tmp_path):
    form = about() | {"likeness": {"neighbors": 10, "cut_off": 0.7}}
    held = contents(**{bundles.NEIGHBORS: b"bank", bundles.FILM_CHECK: b"check"})
    bundle = bundles.write(tmp_path / "new", form, held)
    assert bundle.neighbors.read_bytes() == b"bank" and bundle.film_check.read_bytes() == b"check"
    assert bundle.manifest.likeness.cut_off == 0.7
    without = bundles.write(tmp_path / "without", about(), contents())
    assert (without.neighbors, without.film_check, without.manifest.likeness) == (None, None, None)


def test_a_golden_case_may_expect_warnings_that_exist(tmp_path):
    case = {"file": bundles.CARD, "label": "Normal", "source": "x", "probabilities": {}, "tolerance": 0.1}
    case |= {"map_label": "Pneumonia", "map_peak": 0.0}
    expected = json.dumps([case, case | {"warnings": ["LOOKS_TURNED"]}]).encode()
    golden = bundles.write(tmp_path / "new", about(), contents(**{bundles.GOLDEN_CASES: expected})).golden
    assert [each.warnings for each in golden] == [(), (FilmWarning.LOOKS_TURNED,)]
    wrong = json.dumps([case | {"warnings": ["LOOKS_FINE"]}]).encode()
    with pytest.raises(BundleError, match="warnings"):
        bundles.write(tmp_path / "wrong", about(), contents(**{bundles.GOLDEN_CASES: wrong}))


def test_the_identity_changes_with_every_file(tmp_path):
    first = bundles.write(tmp_path / "a", about(), contents()).identity
    same = bundles.write(tmp_path / "b", about(), contents()).identity
    other = bundles.write(tmp_path / "c", about(), contents(**{bundles.CARD: b"another card"})).identity
    assert first == same != other
    assert first.weights_sha256 == other.weights_sha256 == hashlib.sha256(b"weights").hexdigest()
    assert first.parameters[:3] == ("input=224x224x3", "temperature=1.5", "members=1")


def test_a_bundle_cannot_be_changed_once_read():
    bundle = bundles.load(FOLDER)
    with pytest.raises(AttributeError):
        bundle.manifest.version = "9"
    assert replace(bundle.manifest, version="9").version == "9"


def test_reading_a_bundle_imports_no_tensorflow():
    program = f"import sys; from node.bundle import load; load({str(FOLDER)!r}); print({{'tensorflow', 'keras'}} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=FOLDER.parents[1], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
