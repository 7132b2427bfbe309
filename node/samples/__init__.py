"""The sample studies that come with the product: real films of public data sets, one drawn QC film, fictitious headers.

Where they come from and under which licence: ``ATTRIBUTION.md`` beside this file. They show that the node works; they
are far too few to say how well the model reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class SampleStudy:
    """One sample study.

    Attributes
    ----------
    name : str
        Name of its folder, e.g. ``"03-pneumonia-adult"``.
    description : str
        What it shows, technically too.
    truth : str or None
        The label its source gives it; None where the question makes no sense.
    expected : str
        ``"read"``, or ``"not analysed"``. What the model answers is not promised.
    files : tuple of Path
        DICOM files.
    """

    name: str
    description: str
    truth: str | None
    expected: str
    files: tuple[Path, ...]


def studies() -> list[SampleStudy]:
    """Return the sample studies in the order of their names."""
    entries = yaml.safe_load((FOLDER / "samples.yaml").read_text("utf-8"))["studies"]
    return [
        SampleStudy(
            name=entry["name"],
            description=entry["description"],
            truth=entry["truth"],
            expected=entry["expected"],
            files=tuple(FOLDER / file["file"] for file in entry["files"]),
        )
        for entry in entries
    ]
