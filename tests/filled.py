"""A spool filled through its own API: every kind of study an administrator may see, with recognizable patients in it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.uid import generate_uid

from node.agenda import Task
from node.config import Destination, Settings, Web
from node.config import Model as ModelSection
from node.config import Spool as SpoolSection
from node.durable import key_of, write_json
from node.errors import Reason
from node.spool import Kind, Spool
from node.study import Finding, ImageReading, ModelIdentity, Prediction, StudyReading, Times, Triage
from tests.films import dx_film, file_bytes

# None of these may ever be seen outside the spool.
PATIENT = {
    "PatientName": "Recognizable^Rosalind",
    "PatientID": "MRN-4711-XYZ",
    "PatientBirthDate": "19470311",
    "AccessionNumber": "ACC-90210",
    "InstitutionName": "Clinic of the Telltale Name",
}
MODEL = ModelIdentity("CXR triage EfficientNetB0", "0.1.0", "ab" * 32)


def settings_for(folder: Path, **sections: Any) -> Settings:
    """Return settings with a spool in `folder`, two destinations, and a status page on a free port."""
    form: dict[str, Any] = {
        "spool": SpoolSection(folder=folder / "spool"),
        "model": ModelSection(bundle=folder / "no-model"),
        "destinations": (
            Destination(name="pacs", ae_title="ORTHANC", host="127.0.0.1", port=4242),
            Destination(name="teaching", ae_title="TEACHING", host="127.0.0.1", port=4243, commitment=True),
        ),
        "web": Web(port=0),
    }
    return Settings(**{**form, **sections})


class FilledSpool:
    """Brings studies into a spool as far as a test wants them."""

    def __init__(self, folder: Path) -> None:
        self.spool = Spool(folder)
        self._count = 0

    def received(self, images: int = 1, kind: Kind = Kind.IMAGE) -> str:
        """Bring in the images of a new study; return its key."""
        self._count += 1
        study_uid = generate_uid(entropy_srcs=[f"study {self._count}"])
        for number in range(images):
            instance_uid = generate_uid(entropy_srcs=[study_uid, f"image {number}"])
            film = dx_film(StudyInstanceUID=study_uid, SOPInstanceUID=instance_uid, **PATIENT)
            self.spool.take(study_uid, instance_uid, kind, (file_bytes(film),))
        return key_of(study_uid)

    def settled(self, images: int = 1) -> Task:
        """Bring in a study and settle it."""
        task = self.spool.settle(self.received(images))
        assert task is not None
        return task

    def read(self, triage: Triage = Triage.NOT_FLAGGED, images: int = 1, refused: tuple[Reason, ...] = ()) -> Task:
        """Bring in a study and have it read; the last images are refused."""
        return self._read(self.settled(images + len(refused)), triage, images, refused)

    def read_again(self, task: Task, triage: Triage) -> Task:
        """Bring one more image of a study, and have the whole study read anew."""
        (self.spool.study_folder(task.study_key) / f"{'0' * 32}.image.dcm").write_bytes(b"another image")
        again = self.spool.settle(task.study_key)
        assert again is not None
        images = len(self.spool.generation(again.study_key, again.generation).instances)
        return self._read(again, triage, images, ())

    def _read(self, task: Task, triage: Triage, images: int, refused: tuple[Reason, ...]) -> Task:
        self.write_reading(task, triage, images, refused)
        self.spool.write_results(task.study_key, task.generation, {"viewer/01-report/0.dcm": b"a report"})
        self.spool.agenda.finished(task)
        return task

    def write_reading(self, task: Task, triage: Triage, images: int = 1, refused: tuple[Reason, ...] = ()) -> None:
        """Say what the model would have said of a study that is settled."""
        generation = self.spool.generation(task.study_key, task.generation)
        keys = generation.instances
        readings = [ImageReading(n, key, prediction=prediction(triage)) for n, key in enumerate(keys[:images], 1)]
        readings += [
            ImageReading(n, key, reason=reason, detail="RECOGNIZABLE")
            for n, (key, reason) in enumerate(zip(keys[images:], refused, strict=True), images + 1)
        ]
        settled = datetime.fromisoformat(generation.settled)
        started, done = settled + timedelta(seconds=0.03), settled + timedelta(seconds=0.25)
        times = Times(datetime.fromisoformat(generation.received), settled, started, done)
        reading = StudyReading(task.study_key, task.generation, tuple(readings), MODEL, times, generation.previous)
        self.spool.write_reading(reading)

    def post(self, task: Task, destination: str, state: str, hours: float = 0.0, error: str | None = None) -> Task:
        """Write what became of a study's results at a destination, `hours` after they were posted."""
        now = datetime.now(UTC)
        entry = {"study": task.study_key, "generation": task.generation, "destination": destination, "state": state}
        entry |= {"since": (now - timedelta(hours=hours)).isoformat(), "attempt": 1, "error": error, "next": None}
        if state == "delivered":
            entry["delivered_at"] = (now + timedelta(seconds=0.9)).isoformat()
        self.spool.outbox.post(destination, task.study_key, task.generation, entry)
        return replace(task, verb="deliver", destination=destination)

    def delivered(self, triage: Triage = Triage.NOT_FLAGGED, **read: Any) -> Task:
        """Bring in a study, have it read, and its results delivered to both destinations."""
        task = self.read(triage, **read)
        for destination in ("pacs", "teaching"):
            self.post(task, destination, "delivered")
        return task


def prediction(triage: Triage) -> Prediction:
    """Return a prediction that gives this answer."""
    tuberculosis = {Triage.URGENT: 0.913, Triage.FLAGGED: 0.08, Triage.UNCERTAIN: 0.31}.get(triage, 0.004)
    pneumonia = 0.72 if triage is Triage.FLAGGED else 0.02
    findings = (
        Finding("Normal", 1 - tuberculosis - pneumonia, 0.02, None),
        Finding("Pneumonia", pneumonia, 0.02, 0.6),
        Finding("Tuberculosis", tuberculosis, 0.02, 0.5),
    )
    flagged = {Triage.URGENT: "Tuberculosis", Triage.FLAGGED: "Pneumonia"}.get(triage)
    return Prediction(findings, triage, flagged, flagged or "Tuberculosis", np.zeros((7, 7), np.float32))


@contextmanager
def role(spool: Path, name: str, **facts: Any) -> Iterator[None]:
    """Hold a role's lock, and announce it as running where facts are given."""
    run = spool / "run"
    run.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if facts:
            write_json(run / f"{name}.json", {"pid": os.getpid(), "since": datetime.now(UTC).isoformat(), **facts})
        yield
    finally:
        os.close(descriptor)
