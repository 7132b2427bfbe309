"""A site's labeled films, DICOM or pictures, read as the node reads them: through its gate, by its reader.

The list is a CSV file with the columns file, label and, where it is known, patient_id. Without it a DICOM film is its patient's
by Patient ID, a picture a patient's own. Messages name lines of the list, not files, whose names may name patients.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from rich.progress import track

from node.attributes import text
from node.errors import ConfigError, NotAssessable
from node.gate import GateRules, judge
from node.pixels import Plane, read_dicom, read_picture
from node.site_calibration import Cases
from node.study import Prediction

NEEDED = ("file", "label")
_PICTURES = (b"\x89PNG", b"\xff\xd8")
_SHOWN = 5

Row = dict[str, str]


def read_cases(
    listed: Path, images: Path, names: tuple[str, ...], rules: GateRules, read: Callable[[Plane], Prediction]
) -> tuple[Cases, Counter[str]]:
    """Read the films of a list.

    Parameters
    ----------
    listed : Path
        The CSV file.
    images : Path
        The folder that its file names are relative to.
    names : tuple of str
        The model's classes, in the order of its outputs.
    rules : GateRules
    read : callable
        The reader's ``read``.

    Returns
    -------
    Cases
        Of the films that the node would read and answer by their probability.
    Counter of str
        How many films were left out, by reason.

    Raises
    ------
    ConfigError
        Where the list cannot be used; it names the lines.
    """
    rows = _rows(listed, images, names)
    found: list[tuple[int, list[float], str]] = []
    left_out: Counter[str] = Counter()
    for line, row in enumerate(track(rows, "reading"), start=2):
        try:
            plane, patient = _plane(images / row["file"], rules)
            prediction = read(plane)
        except NotAssessable as error:
            left_out[str(error.reason).replace("_", " ").lower()] += 1
        except InvalidDicomError:
            left_out["neither DICOM nor a picture"] += 1
        except OSError:
            left_out["not to be opened"] += 1
        else:
            if prediction.reliable:
                said = [prediction.of(name).probability for name in names]
                found.append((names.index(row["label"]), said, row.get("patient_id") or patient or f"line {line}"))
            else:
                left_out["looks turned or inverted"] += 1
    return _cases(names, found), left_out


def _cases(names: tuple[str, ...], found: Sequence[tuple[int, list[float], str]]) -> Cases:
    return Cases(
        names,
        np.array([label for label, _, _ in found], np.int64),
        np.array([said for _, said, _ in found]).reshape(-1, len(names)),
        np.array([patient for _, _, patient in found], str),
    )


def _plane(path: Path, rules: GateRules) -> tuple[Plane, str]:
    """Return the film and the Patient ID that it names, empty for a picture."""
    with path.open("rb") as file:
        is_picture = file.read(4).startswith(_PICTURES)
    if is_picture:
        return read_picture(path), ""
    header = dcmread(path, stop_before_pixels=True)
    judge(header, rules)
    return read_dicom(path), text(header, "PatientID")


def _rows(listed: Path, images: Path, names: tuple[str, ...]) -> list[Row]:
    try:
        with listed.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise ConfigError(f"{listed}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error):
        raise ConfigError(f"{listed}: is no CSV file in UTF-8; save it as such") from None
    if not rows or not set(NEEDED) <= rows[0].keys():
        raise ConfigError(f"{listed}: must list films under the columns file, label and, if known, patient_id")
    counts = Counter(row["file"] for row in rows)
    wrong = {
        f"have a label other than {', '.join(names)}": [row["label"] not in names for row in rows],
        f"name a file that is not in {images}": [
            not (row["file"] and (images / row["file"]).is_file()) for row in rows
        ],
        "name a file that another line names": [counts[row["file"]] > 1 for row in rows],
    }
    complaints = [f"{_lines(found)} {what}" for what, found in wrong.items() if any(found)]
    if complaints:
        raise ConfigError(f"{listed}: {'; '.join(complaints)}")
    return rows


def _lines(found: Sequence[bool]) -> str:
    lines = [str(line) for line, wrong in enumerate(found, start=2) if wrong]
    more = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return f"lines {', '.join(lines[:_SHOWN])}{more}" if len(lines) > 1 else f"line {lines[0]}"
