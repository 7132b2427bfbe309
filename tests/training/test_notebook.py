"""The notebook runs from its first cell to its last on a few real films, and is kept without output."""

import csv
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
FILMS = ROOT.parent / "shared" / "data" / "cxr"
NOTEBOOK = ROOT / "training" / "notebooks" / "chest_xray_classification.ipynb"
EACH = 4


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def few_films(folder):
    """Write a manifest of a few films of each source, split and label."""
    seen = {}
    with (FILMS / "manifest.csv").open(newline="") as stream:
        reader = csv.DictReader(stream)
        kept = []
        for row in reader:
            group = row["source"], row["split"], row["label"]
            seen[group] = seen.get(group, 0) + 1
            if seen[group] <= EACH:
                kept.append(row)
    path = folder / "manifest.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, reader.fieldnames)
        writer.writeheader()
        writer.writerows(kept)
    return path


@pytest.mark.training
@pytest.mark.timeout(600)
def test_every_cell_of_the_notebook_runs(notebook, tmp_path, monkeypatch):
    if not FILMS.exists():
        pytest.skip("shared/data/cxr is not on this machine")
    monkeypatch.setenv("CXR_MANIFEST", str(few_films(tmp_path)))
    monkeypatch.setenv("CXR_IMAGES", str(FILMS))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    client = NotebookClient(notebook, timeout=400, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}})
    client.execute()
    pictures = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 5


def test_the_notebook_is_kept_without_output(notebook):
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
