"""What the documents say is what the code does: settings, verbs, options, targets, links."""

import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pydantic import BaseModel

import node
import node.cli
import training.cli
from node.config import Destination, Settings, load

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "config" / "node.yaml"
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/design.md",
    "docs/operation.md",
    "docs/conformance.md",
    "docs/performance.md",
)
PROGRAMS = {"cxr-node": node.cli.app, "cxr-train": training.cli.app}
# What a first start needs in place of the default: somewhere to send results to.
EXAMPLES = {"destinations"}


def _read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def _settings(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, default) of every setting; a list of sections is one key."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _settings(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.default


def _commented_keys(text: str) -> dict[str, str]:
    """Return {dotted key: the comment above it} of a YAML file indented by two spaces; one comment may name two keys."""
    found: dict[str, str] = {}
    path, comment, last = [""], "", ""
    for line in text.splitlines():
        key = re.match(r"( *)([a-z_]+):", line)
        if line.lstrip().startswith("#"):
            comment += line.strip(" #") + " "
        elif key:
            path = [*path[: len(key[1]) // 2], key[2]]
            shared = last if re.search(rf"\b{key[2]}\b", last) else ""
            last = found[".".join(path)] = comment or shared
            comment = ""
        else:
            comment = last = ""
    return found


@pytest.mark.parametrize("key", [key for key, _ in _settings(Settings)])
def test_every_setting_is_in_the_configuration_file_with_its_meaning(key: str) -> None:
    assert _commented_keys(CONFIG.read_text("utf-8")).get(key), f"{key} is not there, or has no comment"


@pytest.mark.parametrize("key", list(Destination.model_fields))
def test_every_key_of_a_destination_is_explained_and_shown(key: str) -> None:
    explained = _commented_keys(CONFIG.read_text("utf-8"))["destinations"]
    assert re.search(rf"\b{key}\b", explained)
    assert key in yaml.safe_load(CONFIG.read_text("utf-8"))["destinations"][0]


@pytest.mark.parametrize(("key", "default"), [item for item in _settings(Settings) if item[0] not in EXAMPLES])
def test_the_configuration_file_shows_the_default(key: str, default: Any) -> None:
    value: Any = load(CONFIG)
    for name in key.split("."):
        value = getattr(value, name)
    if isinstance(default, Path):  # shown as seen from the file's own folder
        value, default = value.resolve(), ROOT / default
    assert value == default


def test_the_example_destination_has_the_defaults_a_destination_has() -> None:
    destination = load(CONFIG).destinations[0]
    given = Destination(name=destination.name, ae_title="X", host="127.0.0.1", port=104)
    assert (destination.profile, destination.commitment) == (given.profile, given.commitment)


def test_the_configuration_of_the_container_is_valid() -> None:
    settings = load(ROOT / "docker" / "node.yaml")
    assert settings.destinations


def test_every_verb_is_in_the_readme() -> None:
    text = _read("README.md")
    for program, app in PROGRAMS.items():
        for verb in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
            assert re.search(rf"{program} {verb}\b|`{verb}`", text), f"{program} {verb} is not in README.md"


def _commands(document: str) -> list[list[str]]:
    """Return every command line of our programs that a document shows, as words."""
    code = re.findall(r"`([^`\n]+)`", _read(document)) + _read(document).splitlines()
    lines = [line.replace("\\|", "/") for line in code if re.match(r"cxr-(node|train) [a-z]", line)]
    return [shlex.split(re.sub(r"[\[\]]", " ", line), comments=True) for line in lines]


def test_documents_show_commands() -> None:
    assert len(_commands("README.md")) > 8


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_commands_that_documents_show_exist_with_their_options(document: str) -> None:
    for program, verb, *words in _commands(document):
        commands = typer.main.get_command(PROGRAMS[program]).commands  # type: ignore[attr-defined]
        assert verb in commands, f"{document}: {program} {verb}"
        options = {option for parameter in commands[verb].params for option in parameter.opts}
        for word in words:
            assert not word.startswith("-") or word in options, f"{document}: {program} {verb} {word}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_make_targets_that_documents_show_exist(document: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", _read("Makefile"), re.MULTILINE))
    shown = re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)[^`]*`", _read(document), re.MULTILINE)
    for names in shown:
        assert set(names) - {""} <= targets, f"{document}: make {' '.join(names)}"


def test_every_make_target_says_what_it_is_for() -> None:
    shown = subprocess.run(["make", "-C", ROOT, "help"], text=True, capture_output=True, check=True).stdout
    for target in re.findall(r"^\.PHONY: ([a-z-]+)$", _read("Makefile"), re.MULTILINE):
        assert re.search(rf"make {target} +\w", shown), target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_documents_name_exist(document: str) -> None:
    text = _read(document)
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert ((ROOT / document).parent / target).exists(), f"{document}: {target}"
    for path in re.findall(r"`((?:node|training|tests|config|docker|docs)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), f"{document}: {path}"


def test_the_script_for_orthanc_in_the_readme_is_the_one_that_is_tested() -> None:
    script = re.search(r"```lua\n(.*?)```", _read("README.md"), re.DOTALL)
    assert script is not None
    assert script[1] in _read("docker/forward.lua")


def test_every_module_has_its_place_in_the_design() -> None:
    design = _read("docs/design.md")
    modules = [
        path.stem for path in (ROOT / "node").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    ]
    assert [name for name in modules if not name.startswith("__") and f"`{name}`" not in design] == []


def test_the_version_is_told_alike_everywhere() -> None:
    project = tomllib.loads(_read("pyproject.toml"))["project"]
    newest = re.search(r"^## \[([\d.]+)\]", _read("CHANGELOG.md"), re.MULTILINE)
    assert newest is not None
    assert project["version"] == node.__version__ == newest[1]
    assert f"cxr-triage-node:{node.__version__}" in _read("docker/compose.yaml")


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-gpu.lock", "requirements-dev.lock"])
def test_the_locks_pin_every_dependency_by_digest_and_name_no_place(lock: str) -> None:
    text = _read(lock)
    assert not re.search(r"://|--(extra-)?index-url|--find-links", text)
    pinned = re.findall(r"^([a-z0-9._-]+)==[^\n]*\\\n +--hash=sha256:", text, re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE))
    for name in _wanted(lock):
        assert name in pinned, f"{lock}: {name} is missing; run make lock"


def _wanted(lock: str) -> Iterator[str]:
    project = tomllib.loads(_read("pyproject.toml"))["project"]
    extras = ("train", "dev") if "dev" in lock else ("train",)
    for requirement in [
        *project["dependencies"],
        *(line for e in extras for line in project["optional-dependencies"][e]),
    ]:
        yield re.match(r"[\w-]+", requirement)[0].lower()  # type: ignore[index]
