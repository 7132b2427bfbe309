"""The folder that outlives a power cut: received instances and what was read from them.

It is the truth; the queue only says what to do next. ::

    spool/
      incoming/NAME.part                        an instance on its way in
      studies/STUDY/INSTANCE.KIND.dcm           a received instance; KIND is image, document or own
      studies/STUDY/GENERATION/generation.json  which instances are read together, and when they came
      studies/STUDY/GENERATION/reading.json     what the model said of them
      studies/STUDY/GENERATION/results/PROFILE/NN-KIND/K.dcm   what is sent; K counts encodings by preference
      studies/STUDY/GENERATION/deliveries/DESTINATION.json     what became of it
      todo, open, parked, claims                tasks (`node.agenda`)
      outbox, commitments                       deliveries (`node.outbox`)

STUDY and INSTANCE are digests of UIDs: no value that a peer sent becomes part of a path.

References
----------
DICOM PS3.4 B.2.2: an SCP that answers Success has taken responsibility for the instance.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
import threading
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from node.agenda import Agenda, Task
from node.durable import FOLDER_MODE, NewFile, key_of, make_folder, read_json, sync_folder, write_json, write_new
from node.errors import CannotUnderstand, OutOfResources
from node.outbox import Outbox
from node.study import StudyReading


class Kind(StrEnum):
    """What an instance is to the node."""

    IMAGE = "image"
    DOCUMENT = "document"
    OWN = "own"


@dataclass(frozen=True, slots=True)
class Generation:
    """The instances of a study that are read together.

    Attributes
    ----------
    study_key, name : str
        The name is the digest of the instances it covers, so the same instances are never read twice.
    number : int
        1 for the first reading of the study, then counting up.
    instances : tuple of str
        Instance keys, sorted.
    received, settled : str
        ISO 8601 moments in UTC: when its first instance came, and when the study counted as complete.
    previous : str or None
        The name of the generation before.
    """

    study_key: str
    name: str
    number: int
    instances: tuple[str, ...]
    received: str
    settled: str
    previous: str | None


class Spool:
    """The spool folder.

    Parameters
    ----------
    folder : Path
        Made when it does not exist; readable by this user alone.

    Attributes
    ----------
    agenda : Agenda
        What is still to do.
    outbox : Outbox
        What became of the results.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("incoming", "studies"):
            make_folder(folder / name)
        self.agenda = Agenda(folder)
        self.outbox = Outbox(folder)
        self._placing = threading.Lock()

    def clear_incoming(self) -> None:
        """Remove what a stopped receiver left half written; none of it was answered with Success."""
        for path in (self.folder / "incoming").glob("*.part"):
            path.unlink(missing_ok=True)
        sync_folder(self.folder / "studies")  # a study's folder may be there, but not yet durable

    def incoming(self) -> NewFile:
        """Begin the file of an instance on its way in: filled as its bytes come, it is taken in the end or discarded.

        Raises
        ------
        OutOfResources
            When the disk does not take it.
        """
        try:
            return NewFile(self.folder / "incoming" / f"{uuid.uuid4().hex}.part")
        except OSError as error:
            raise OutOfResources.on(error) from None

    def take(
        self, study_uid: str, sop_instance_uid: str, kind: Kind, content: NewFile | Iterable[bytes | memoryview]
    ) -> bool:
        """Store one instance so that it survives a power cut.

        Parameters
        ----------
        study_uid, sop_instance_uid : str
        kind : Kind
        content : NewFile or iterable of bytes-like
            The whole Part 10 file, as `incoming` began it or in pieces. The file is not the caller's any more.

        Returns
        -------
        bool
            False when the spool held the same instance with the same content already.

        Raises
        ------
        OutOfResources
            When the disk does not take it; nothing of it is left.
        CannotUnderstand
            When the spool holds this SOP Instance UID with other content. The first content stays.
        """
        file, parts = (content, ()) if isinstance(content, NewFile) else (self.incoming(), content)
        try:
            for part in parts:
                file.write(part)
            file.sync()
            return self._place(file.path, self.study_folder(key_of(study_uid)), key_of(sop_instance_uid), kind)
        except OSError as error:
            raise OutOfResources.on(error) from None
        finally:
            file.discard()

    def _place(self, incoming: Path, study: Path, instance_key: str, kind: Kind) -> bool:
        """Give a whole file its name in the study, or find it there already."""
        with self._placing:  # where two associations bring one UID or one study at once, the first is done first
            held = next((path for other in Kind if (path := study / f"{instance_key}.{other}.dcm").exists()), None)
            if held is None:
                make_folder(study)
                incoming.rename(study / f"{instance_key}.{kind}.dcm")
        if held is not None and not filecmp.cmp(incoming, held, shallow=False):
            raise CannotUnderstand("SOP Instance UID is held with other content")
        # For what was held, too: who brought it may not have come this far yet.
        sync_folder(study)
        return held is None

    def settle(self, study_key: str) -> Task | None:
        """Close the study's present instances into a generation and note the task of reading it.

        Returns
        -------
        Task or None
            None when these instances are being read together or have been, or there is nothing to read.

        Notes
        -----
        Documents (reports, presentation states) count only in a study without an image: a presentation state saved
        after the reading must not make a new report.
        """
        instances = self._instances(study_key)
        name = _digest(instances)
        if not instances or (self._is_closed(study_key, name) and self._is_begun(study_key, name)):
            return None
        if not self._is_closed(study_key, name):
            self._write_generation(study_key, name, instances)
        task = Task("read", study_key, name)
        self.agenda.note(task)
        return task

    def unsettled(self) -> list[str]:
        """Return the studies that a stopped receiver had taken and not settled."""
        begun = self.agenda.generations()
        return [study_key for study_key in self.studies() if self._is_unsettled(study_key, begun)]

    def _is_unsettled(self, study_key: str, begun: set[tuple[str, str]]) -> bool:
        instances = self._instances(study_key)
        name = _digest(instances)
        return bool(instances) and (study_key, name) not in begun and not self.has_results(study_key, name)

    def _is_closed(self, study_key: str, name: str) -> bool:
        return (self.generation_folder(study_key, name) / "generation.json").exists()

    def _is_begun(self, study_key: str, name: str) -> bool:
        """Tell whether a generation has a task or results; a stop, or a full disk, may have fallen before its task."""
        return self.has_results(study_key, name) or (study_key, name) in self.agenda.generations()

    def _instances(self, study_key: str) -> dict[str, float]:
        """Return {instance key: time of arrival} of the images, or of the documents where there is no image."""
        found: dict[str, dict[str, float]] = {kind: {} for kind in Kind}
        for entry in os.scandir(self.study_folder(study_key)):
            if entry.name.endswith(".dcm"):
                key, kind, _ = entry.name.split(".")
                found[kind][key] = entry.stat().st_mtime
        return found[Kind.IMAGE] or found[Kind.DOCUMENT]

    def _write_generation(self, study_key: str, name: str, instances: dict[str, float]) -> None:
        earlier = self.generations(study_key)
        generation = Generation(
            study_key=study_key,
            name=name,
            number=len(earlier) + 1,
            instances=tuple(sorted(instances)),
            received=datetime.fromtimestamp(min(instances.values()), UTC).isoformat(),
            settled=datetime.now(UTC).isoformat(),
            previous=earlier[-1].name if earlier else None,
        )
        write_json(self.generation_folder(study_key, name) / "generation.json", asdict(generation))

    def study_folder(self, study_key: str) -> Path:
        """Return a study's folder."""
        return self.folder / "studies" / study_key

    def studies(self) -> list[str]:
        """Return the keys of all studies held."""
        return sorted(entry.name for entry in os.scandir(self.folder / "studies"))

    def instance_path(self, study_key: str, instance_key: str) -> Path:
        """Return where an instance lies."""
        folder = self.study_folder(study_key)
        return next(path for kind in Kind if (path := folder / f"{instance_key}.{kind}.dcm").exists())

    def generation_folder(self, study_key: str, name: str) -> Path:
        """Return a generation's folder."""
        return self.study_folder(study_key) / name

    def generation(self, study_key: str, name: str) -> Generation:
        """Return one generation of a study."""
        return _read_generation(self.generation_folder(study_key, name) / "generation.json")

    def generations(self, study_key: str) -> list[Generation]:
        """Return the study's generations, oldest first."""
        found = [_read_generation(path) for path in self.study_folder(study_key).glob("*/generation.json")]
        return sorted(found, key=lambda generation: generation.number)

    def write_reading(self, reading: StudyReading) -> None:
        """Keep what the model said of a generation."""
        write_json(self.generation_folder(reading.study_key, reading.generation) / "reading.json", reading.to_json())

    def reading(self, study_key: str, name: str) -> StudyReading | None:
        """Return what the model said of a generation, None when it has not been read."""
        path = self.generation_folder(study_key, name) / "reading.json"
        return StudyReading.from_json(read_json(path)) if path.exists() else None

    def write_results(self, study_key: str, name: str, results: dict[str, bytes]) -> None:
        """Write all results of a generation as one: they appear together or not at all, and never change.

        Parameters
        ----------
        study_key, name : str
        results : dict of str to bytes
            {relative path such as ``viewer/01-triage_report/0.dcm``: file}.
        """
        folder = self.generation_folder(study_key, name)
        if (folder / "results").exists():
            return
        made = folder / ".results"
        shutil.rmtree(made, ignore_errors=True)  # left by a worker that was stopped here
        try:
            made.mkdir(FOLDER_MODE)
            for relative, data in results.items():
                make_folder((made / relative).parent)
                write_new(made / relative, (data,))
            for path in (made, *(path for path in made.rglob("*") if path.is_dir())):
                sync_folder(path)
            made.rename(folder / "results")
        except OSError:
            shutil.rmtree(made, ignore_errors=True)
            raise
        sync_folder(folder)

    def take_up(self, task: Task) -> Task:
        """Put a parked task back to work, and return what was noted for it.

        A delivery begins anew, with its waits forgotten; results that were stored are stored once more, which changes
        nothing at the destination.
        """
        again = task.next
        entry = self.outbox.delivery(task.destination, task.study_key, task.generation)
        if entry is not None:
            again = replace(task, verb="deliver", attempt=entry["attempt"] + 1)
            entry.update(state="waiting", error=None, failures=0, waited_s=0.0, next=again.name)
            self.outbox.post(task.destination, task.study_key, task.generation, entry)
        self.agenda.note(again)
        self.agenda.unpark(task)
        return again

    def has_results(self, study_key: str, name: str) -> bool:
        """Tell whether the results of a generation have been written."""
        return (self.generation_folder(study_key, name) / "results").exists()

    def results(self, study_key: str, name: str, profile: str) -> list[list[Path]]:
        """Return the objects of a generation in the order of sending, each as its encodings by preference."""
        folder = self.generation_folder(study_key, name) / "results" / profile
        return [sorted(item.glob("*.dcm")) for item in sorted(folder.iterdir())] if folder.exists() else []


def _digest(instances: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(instances)).encode()).hexdigest()[:16]


def _read_generation(path: Path) -> Generation:
    form = read_json(path)
    return Generation(**{**form, "instances": tuple(form["instances"])})
