"""Everything that is measured of a run, written into its folder: ``metrics.json``, ``report.html`` and their pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from training import explanation, explanation_pictures, film_check
from training.calibrate import Calibrated
from training.evaluate import evaluate
from training.html_report import write_report
from training.plots import plots, save
from training.run import Run
from training.sections import Picture, captioned
from training.summary import targets

REPORT = "report.html"
_EXPLAINED = {
    "explanation-maps": "Mean heat maps of test films rightly flagged, on the mean film",
    "explanation-examples": "Single films with their heat maps, lungs as found, and readers' boxes where there are any",
}


def evaluated(run: Run, calibrated: Calibrated) -> dict[str, Any]:
    """Measure a run, and write what was found.

    Parameters
    ----------
    run : Run
    calibrated : Calibrated

    Returns
    -------
    dict
        What `training.evaluate.evaluate` gives, with ``explanation``, ``film_checks`` and ``targets``; ``metrics.json`` holds it.
    """
    found = evaluate(run, calibrated)
    found["explanation"] = explanation.measure(run, calibrated)
    if run.recipe.export.film_check:
        found["film_checks"] = film_check.measure(run.films, run.recipe.members[0].seed)
    found["targets"] = targets(found, run.recipe.targets)
    run.keep("metrics", found)
    told(run, found, explanation_pictures.draw(run, calibrated))
    return found


def told(run: Run, metrics: Mapping[str, Any], explained: Mapping[str, bytes]) -> Path:
    """Draw and write the report of what was measured, and return its place."""
    drawn = plots(metrics)
    save({**drawn, **explained}, run.folder)
    pictures = {
        **captioned(drawn),
        "explanation": tuple(
            Picture(content, _EXPLAINED[name], _EXPLAINED[name]) for name, content in explained.items()
        ),
        "training": (*_curves(run),),
        "films": (*_contact_sheet(run),),
    }
    write_report(metrics, pictures, run.folder / REPORT)
    return run.folder / REPORT


def _curves(run: Run) -> Iterator[Picture]:
    for member in run.members:
        path = member.folder / "curves.png"
        if path.exists():
            caption = f"{member.member.graph}, seed {member.member.seed}: loss, accuracy on validation films and learning rate"
            yield Picture(path.read_bytes(), caption, caption)


def _contact_sheet(run: Run) -> Iterator[Picture]:
    path = run.root / "prepare" / "contact_sheet.png"
    if path.exists():
        caption = "Training films of each class and source, chosen by chance, as the network gets them"
        yield Picture(path.read_bytes(), caption, caption)
