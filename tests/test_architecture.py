"""The layers hold, and the heavy libraries stay where they belong."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SEEN_BY_TRAINING = {
    "node.pixels",
    "node.bundle",
    "node.network",
    "node.infer",
    "node.explain",
    "node.likeness",
    "node.film_check",
    "node.operating_points",
    "node.site_calibration",
    "node.site_words",
    "node.errors",
    "node.study",
}
BROAD = {"Exception", "BaseException"}
HEAVY = {"tensorflow", "keras", "sklearn", "pandas", "matplotlib", "training"}


def test_the_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "4 kept, 0 broken" in done.stdout


def test_tensorflow_is_imported_by_the_modules_that_run_the_model_alone() -> None:
    importers = {
        module for module, imported in _imports("node") if imported.partition(".")[0] in ("tensorflow", "keras")
    }
    assert importers == {"node.network", "node.folded", "node.graph"}


def test_training_sees_the_node_through_its_few_doors_alone() -> None:
    seen = {imported for _, imported in _imports("training") if imported.startswith("node.")}
    assert seen
    assert seen <= SEEN_BY_TRAINING


@pytest.mark.slow
@pytest.mark.parametrize("module", ["node.receive", "node.web.server", "node.cli", "node.service", "node.status"])
def test_a_process_without_a_model_loads_no_heavy_library(module: str) -> None:
    code = f"import sys, json, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "node" in loaded
    assert not loaded & HEAVY


def test_there_is_one_broad_except_in_the_node() -> None:
    broad = [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "node").rglob("*.py"))
        for handler in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(handler, ast.ExceptHandler) and _is_broad(handler)
    ]
    assert broad == ["node/workflow.py"]


def _is_broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or (isinstance(kind, ast.Name) and kind.id in BROAD) for kind in caught)


def _imports(package: str) -> Iterator[tuple[str, str]]:
    """Yield (module, module it imports) for every import statement of a package, the late ones in functions too."""
    for path in sorted((ROOT / package).rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for statement in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(statement, ast.Import):
                yield from ((module, alias.name) for alias in statement.names)
            elif isinstance(statement, ast.ImportFrom) and statement.module:
                names = [f"{statement.module}.{alias.name}" for alias in statement.names]
                yield from ((module, name if _is_module(name) else statement.module) for name in names)


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()
