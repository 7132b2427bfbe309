"""What the node answered, a line a study, as CSV: to compare a node in shadow mode with those who read for real.

Without a word about the patient: a study is named by its key. Where a comparison needs to know it, Study Instance UID and
Accession Number are added on request; the file then holds patients' data.
"""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydicom import dcmread

from node.attributes import text
from node.durable import write_new
from node.errors import ConfigError
from node.product import NOTICE
from node.release import asked
from node.spool import Generation, Spool
from node.study import Prediction, StudyReading

COLUMNS = (
    *("study", "reading", "received", "settled", "started", "done"),
    *("answer", "label", "images", "images_read", "not_read", "warnings"),
    *("model", "model_version", "weights", "site_cut_offs", "results", "asked", "asked_by", "asked_at"),
)
IDENTIFIERS = ("study_instance_uid", "accession_number")
# A spreadsheet would take text that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(spool: Spool, identifiers: bool = False) -> Iterator[str]:
    """Yield the lines of a CSV file: what the latest reading of each study says, the first received first.

    Each class of the model has a column ``p_CLASS`` with its probability in the image that decides the answer: empty where
    there is none, or where it may not be relied upon.

    Parameters
    ----------
    spool : Spool
    identifiers : bool
        Whether Study Instance UID and Accession Number are told.

    Yields
    ------
    str
    """
    rows = [_row(spool, *found) | (_identifiers(spool, found[0]) if identifiers else {}) for found in _readings(spool)]
    # In the model's order; readings of an earlier model may have others.
    probabilities = dict.fromkeys(column for row in rows for column in row if column.startswith("p_"))
    columns = (*COLUMNS, *probabilities, *(IDENTIFIERS if identifiers else ()), "notice")
    yield _line(columns)
    for row in sorted(rows, key=lambda row: row["received"]):
        yield _line([_plain(row.get(column, "")) for column in columns])


def _readings(spool: Spool) -> Iterator[tuple[Generation, StudyReading]]:
    """Yield the latest reading of each study that has one."""
    for key in spool.studies():
        with contextlib.suppress(FileNotFoundError):  # forgotten between the list and the look
            for generation in reversed(spool.generations(key)):
                if reading := spool.reading(key, generation.name):
                    yield generation, reading
                    break


def _row(spool: Spool, generation: Generation, reading: StudyReading) -> dict[str, str]:
    times, model = reading.times, reading.model
    leading = reading.leading.prediction if reading.leading else None
    said = asked(spool, generation.study_key, generation.name) or {}
    return {
        "study": generation.study_key,
        "reading": str(generation.number),
        **{name: getattr(times, name).isoformat() for name in ("received", "settled", "started", "done")},
        "answer": str(reading.triage),
        "label": (leading.flagged_label if leading else None) or "",
        "images": str(len(reading.images)),
        "images_read": str(len(reading.read)),
        "not_read": " ".join(sorted({str(image.reason) for image in reading.images if image.reason})),
        "warnings": " ".join(map(str, leading.warnings)) if leading else "",
        "model": model.name,
        "model_version": model.version,
        "weights": model.weights_sha256[:12],
        "site_cut_offs": model.site_thresholds,
        "results": _became(spool, generation),
        **{column: said.get(name, "") for column, name in (("asked", "what"), ("asked_by", "by"), ("asked_at", "at"))},
        **_probabilities(leading),
        "notice": NOTICE,
    }


def _probabilities(leading: Prediction | None) -> dict[str, str]:
    if leading is None or not leading.reliable:
        return {}
    return {f"p_{finding.label}": f"{finding.probability:.4f}" for finding in leading.findings}


def _became(spool: Spool, generation: Generation) -> str:
    """Say in a word what became of the results."""
    name = generation.study_key, generation.name
    if why := spool.unsent(*name):
        return str(why)
    if spool.outbox.is_open(*name):
        return "on their way"
    if spool.outbox.is_done(*name):
        return "delivered"
    waits = any((task.study_key, task.generation) == name for task in spool.agenda.tasks("unreleased"))
    return "unreleased" if waits else "not sent"


def _identifiers(spool: Spool, generation: Generation) -> dict[str, str]:
    path = spool.instance_path(generation.study_key, generation.instances[0])
    header = dcmread(path, stop_before_pixels=True, specific_tags=["StudyInstanceUID", "AccessionNumber"])
    values = text(header, "StudyInstanceUID"), text(header, "AccessionNumber")
    return dict(zip(IDENTIFIERS, values, strict=True))


def _plain(value: str) -> str:
    """Return a value that no spreadsheet takes for a formula: with an apostrophe before it where it looks like one."""
    return f"'{value}" if value.startswith(_FORMULA) else value


def _line(values: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()


def write(path: Path, lines: Iterable[str]) -> None:
    """Write a new file that its owner alone may read.

    Raises
    ------
    ConfigError
        When there is one already, or it cannot be written.
    """
    try:
        write_new(path, (line.encode() for line in lines))
    except FileExistsError:
        raise ConfigError(f"{path} is there already; name another file, or remove it first") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from None
