"""The studies that came last, as an administrator follows them: received, settled, reading, read, delivered, parked."""

from __future__ import annotations

import contextlib
import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from node.agenda import Task
from node.config import Settings
from node.release import asked
from node.spool import Generation, Kind, Spool
from node.study import Prediction, StudyReading

Form = dict[str, Any]


def latest_studies(
    spool: Spool, settings: Settings, tasks: Mapping[str, Sequence[Task]], working: bool, count: int
) -> list[Form]:
    """Describe the studies that changed last.

    Parameters
    ----------
    spool : Spool
    settings : Settings
    tasks : mapping of str to sequence of Task
        The agenda, by state.
    working : bool
        Whether a worker runs.
    count : int

    Returns
    -------
    list of dict
        JSON-ready, the latest received first. A study is known by its key; no UID and no attribute of it is told.
    """
    view = _View.of(spool, settings, tasks, working)
    found = []
    for key in heapq.nlargest(count, spool.studies(), key=lambda key: changed_at(spool.study_folder(key))):
        # A task may be taken up again, and a study removed, between the list and the look.
        with contextlib.suppress(FileNotFoundError):
            found += [form for form in (view.of_key(key),) if form]
    return sorted(found, key=lambda study: str(study["received"]), reverse=True)


def one_study(
    spool: Spool, settings: Settings, tasks: Mapping[str, Sequence[Task]], working: bool, key: str
) -> Form | None:
    """Describe one study as `latest_studies` does; None where it is not held, or nothing of it is to be read."""
    view = _View.of(spool, settings, tasks, working)
    with contextlib.suppress(FileNotFoundError):
        return view.of_key(key)
    return None


def changed_at(path: Path) -> float:
    """Return when a file or folder changed, in seconds of the Unix epoch; 0 when it is not there."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0


@dataclass(frozen=True, slots=True)
class _View:
    """What is known of all studies at this moment."""

    spool: Spool
    settings: Settings
    parked: Mapping[tuple[str, str], Task]
    unreleased: set[tuple[str, str]]
    at_work: tuple[str, str] | None

    @classmethod
    def of(cls, spool: Spool, settings: Settings, tasks: Mapping[str, Sequence[Task]], working: bool) -> _View:
        """Look at the agenda."""
        # One study is read at a time, in the order in which the tasks were noted.
        reading = ((t.study_key, t.generation) for t in tasks["open"] if t.verb == "read")
        parked, unreleased = (
            {(t.study_key, t.generation): t for t in tasks[state]} for state in ("parked", "unreleased")
        )
        return cls(spool, settings, parked, set(unreleased), next(reading, None) if working else None)

    def of_key(self, key: str) -> Form | None:
        """Describe a study; None where nothing of it is to be read."""
        generations, folder = self.spool.generations(key), self.spool.study_folder(key)
        if generations:
            return self.study(generations[-1])
        images = _unsettled(folder)
        return _arriving(key, images, changed_at(folder)) if images else None

    def study(self, generation: Generation) -> Form:
        """Describe a study by its latest generation."""
        name = generation.study_key, generation.name
        reading, task = self.spool.reading(*name), self.parked.get(name)
        deliveries = self._deliveries(*name)
        return {
            "study": generation.study_key,
            "generation": generation.name,
            "number": generation.number,
            "state": "parked" if task else self._state(name, reading, deliveries),
            "reason": self.spool.agenda.reason(task)["message"] if task else None,
            **_said(reading, len(generation.instances)),
            "received": generation.received,
            "settled": generation.settled,
            "composed": _composed(self.spool.generation_folder(*name) / "results"),
            "deliveries": deliveries,
            "asked": asked(self.spool, *name),
        }

    def _state(self, name: tuple[str, str], reading: StudyReading | None, deliveries: Form) -> str:
        if reading is None:
            return "reading" if name == self.at_work else "settled"
        if name in self.unreleased:
            return "unreleased"
        if why := self.spool.unsent(*name):
            return str(why)
        wanted = {destination.name for destination in self.settings.destinations}
        arrived = {destination for destination, delivery in deliveries.items() if delivery["state"] == "delivered"}
        return "delivered" if wanted and wanted == arrived else "read"

    def _deliveries(self, study_key: str, generation: str) -> Form:
        """Return what became of the results at each destination they were posted to."""
        found = {}
        for destination in self.settings.destinations:
            entry = self.spool.outbox.delivery(destination.name, study_key, generation)
            if entry is not None:
                found[destination.name] = {
                    "state": entry["state"],
                    "since": entry["since"],
                    "at": entry.get("delivered_at"),
                    "error": entry["error"],
                }
        return found


def _unsettled(folder: Path) -> int:
    """Count the instances to be read; the node's own results, which a PACS sends back, make no study of their own."""
    return sum(path.name.split(".")[1] != Kind.OWN for path in folder.glob("*.dcm"))


def _composed(results: Path) -> str | None:
    """Return when the last result of a reading was written, None before all are."""
    moments = [path.stat().st_mtime for path in results.rglob("*.dcm")] or [changed_at(results)]
    return datetime.fromtimestamp(max(moments), UTC).isoformat() if max(moments) else None


def _arriving(key: str, images: int, received: float) -> Form:
    """Describe a study that is still coming in."""
    return {
        "study": key,
        "generation": None,
        "number": None,
        "state": "received",
        "reason": None,
        **_said(None, images),
        "received": datetime.fromtimestamp(received, UTC).isoformat(),
        "settled": None,
        "composed": None,
        "deliveries": {},
        "asked": None,
    }


def _said(reading: StudyReading | None, images: int) -> Form:
    """Say what the model said of a study; the details of a reason stay in the report, for they echo the sender."""
    leading = reading.leading.prediction if reading and reading.leading else None
    refused = Counter(str(image.reason) for image in reading.images if image.reason) if reading else {}
    return {
        "answer": str(reading.triage) if reading else None,
        "label": leading.flagged_label if leading else None,
        "images": {"total": images, "read": len(reading.read) if reading else None, "not_read": dict(refused)},
        "probabilities": _probabilities(leading),
        "started": reading.times.started.isoformat() if reading else None,
        "done": reading.times.done.isoformat() if reading else None,
    }


def _probabilities(leading: Prediction | None) -> dict[str, float]:
    """Return the probabilities of the leading image, none where they do not hold."""
    return {finding.label: finding.probability for finding in leading.findings} if leading and leading.reliable else {}
