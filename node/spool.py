"""The folder that outlives a power cut: received instances and what was read from them.

It is the truth: whoever is stopped finds here what there is to do. ::

    spool/
      incoming/NAME.part                        an instance on its way in
      studies/STUDY/INSTANCE.KIND.dcm           a received instance; KIND is image, document or own
      studies/STUDY/GENERATION/generation.json  which instances are read together, and when they came
      studies/STUDY/GENERATION/reading.json     what the model said of them
      studies/STUDY/GENERATION/report           the reports among the results, sent while the others are made
      studies/STUDY/GENERATION/results/PROFILE/NN-KIND/K.dcm   what is sent; K counts encodings by preference
      studies/STUDY/GENERATION/deliveries/DESTINATION.json     what became of it
      studies/STUDY/GENERATION/WHY.json         its results are kept and not sent; WHY is shadow, withheld or superseded
      todo, open, parked, unreleased, claims    tasks (`node.agenda`)
      outbox, commitments                       deliveries (`node.outbox`)
      notices                                   messages to those who are told (`node.notices`)
      quarantine                                refused instances (`node.quarantine`)
      trash/STUDY.NAME                          a forgotten study while it is being deleted

STUDY and INSTANCE are digests of UIDs: no value that a peer sent becomes part of a path.

References
----------
DICOM PS3.4 B.2.2: an SCP that answers Success has taken responsibility for the instance.
"""

from __future__ import annotations

import filecmp
import hashlib
import math
import os
import re
import shutil
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from node import disk
from node.agenda import STATES, Agenda, Task
from node.durable import (
    FOLDER_MODE,
    NewFile,
    clear_left,
    key_of,
    make_folder,
    read_json,
    replace_file,
    sync_all,
    sync_folder,
    write_json,
    write_new,
)
from node.errors import CannotUnderstand, OtherContent, OutOfResources
from node.outbox import Outbox
from node.resend import is_same_instance

if TYPE_CHECKING:
    from node.study import StudyReading

# Folders of small files that come and go, of all studies together.
_OF_MANY_STUDIES = (*STATES, "claims", "outbox", "commitments", "notices", "quarantine", "run")


class Kind(StrEnum):
    """What an instance is to the node."""

    IMAGE = "image"
    DOCUMENT = "document"
    OWN = "own"


class Unsent(StrEnum):
    """Why results are kept and not sent."""

    SHADOW = "shadow"
    WITHHELD = "withheld"
    SUPERSEDED = "superseded"


# A file that a person, or a program of theirs, put among ours must not stop the node: it is passed over.
_KEY = re.compile(r"[0-9a-f]{32}")
_INSTANCE = re.compile(rf"{_KEY.pattern}\.({'|'.join(Kind)})\.dcm")
_ENDINGS = {kind: f".{kind}.dcm" for kind in Kind}


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
    reserve_bytes : int
        Room on its disk that instances must leave to the results of what was acknowledged; 0: none.

    Attributes
    ----------
    agenda : Agenda
        What is still to do.
    outbox : Outbox
        What became of the results.
    """

    def __init__(self, folder: Path, reserve_bytes: int = 0) -> None:
        self.folder, self._reserve_bytes = folder, reserve_bytes
        self._incoming, self._studies = folder / "incoming", folder / "studies"
        for each in (self._incoming, self._studies):
            make_folder(each)
        self.agenda = Agenda(folder)
        self.outbox = Outbox(folder)
        # Settling looks at a study for longer than an instance should wait for its place; forgetting takes both.
        self._settling, self._placing = threading.Lock(), threading.Lock()

    @property
    def trash(self) -> Path:
        """The folder that forgotten studies are deleted in."""
        return self.folder / "trash"

    def room(self) -> disk.Room:
        """Return how much room its disk has."""
        return disk.room(self.folder, self._reserve_bytes)

    def is_short(self) -> bool:
        """Tell whether no instance is to be taken: only the reserve is left, or the disk cannot even be asked."""
        try:
            return self.room().is_short
        except OSError:
            return True

    def clear_incoming(self) -> None:
        """Remove what a stopped receiver left half written; none of it was answered with Success.

        So is what any killed process left beside tasks and deliveries; in a study it goes with the study.
        """
        for path in self._incoming.glob("*.part"):
            path.unlink(missing_ok=True)
        for name in _OF_MANY_STUDIES:
            clear_left(self.folder / name)
        sync_folder(self._studies)  # a study's folder may be there, but not yet durable

    def incoming(self) -> NewFile:
        """Begin the file of an instance on its way in: filled as its bytes come, it is taken in the end or discarded.

        Raises
        ------
        OutOfResources
            When the disk does not take it, or only the reserve is left.
        """
        try:
            if self.room().is_short:
                raise OutOfResources.reserved()
            return NewFile(self._incoming / f"{os.urandom(16).hex()}.part")
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
            The whole Part 10 file, as `incoming` began it or in pieces. The file is not the caller's any more, unless
            it cannot be understood.

        Returns
        -------
        bool
            False when the spool held the same instance already, with the same content in whatever encoding.

        Raises
        ------
        OutOfResources
            When the disk does not take it; nothing of it is left.
        OtherContent
            When the spool holds this SOP Instance UID with other content. The first content stays.
        """
        file, parts = (content, ()) if isinstance(content, NewFile) else (self.incoming(), content)
        is_refused = False
        try:
            for part in parts:
                file.write(part)
            file.sync()
            # As paths, the study's folder and its files would cost as much as the walk over the data set.
            return self._place(file, f"{self._studies}/{key_of(study_uid)}", key_of(sop_instance_uid), kind)
        except CannotUnderstand:
            is_refused = True
            raise
        except OSError as error:
            raise OutOfResources.on(error) from None
        finally:
            if not (is_refused and file is content):
                file.discard()

    def _place(self, file: NewFile, study: str, instance_key: str, kind: Kind) -> bool:
        """Give a whole file its name in the study, or find it there already."""
        name = f"{study}/{instance_key}"
        with self._placing:  # where two associations bring one UID or one study at once, the first is done first
            held = next(filter(os.path.exists, [name + ending for ending in _ENDINGS.values()]), None)
            if held is None:
                make_folder(study)
                file.keep_as(name + _ENDINGS[kind])
            else:
                os.utime(study)  # who sends it again wants the study held
        if held and not (filecmp.cmp(file.path, held, shallow=False) or is_same_instance(Path(held), file.path)):
            raise OtherContent("SOP Instance UID is held with other content")
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
        with self._settling:
            return self._settle(study_key) if self.study_folder(study_key).exists() else None

    def _settle(self, study_key: str) -> Task | None:
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
            if _INSTANCE.fullmatch(entry.name):
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

    def forget(self, study_key: str, untouched_s: float) -> bool:
        """Delete a study of which nothing is left to do. Only the receiver's process may, for it alone brings new work.

        Parameters
        ----------
        study_key : str
        untouched_s : float
            For how many seconds nothing of it may have come or gone.

        Returns
        -------
        bool
            False when it has to stay, or is not there.

        Raises
        ------
        OSError
            When the disk does not let it go; it is then held as before, or in the trash.
        """
        gone = self.trash / f"{study_key}.{os.urandom(16).hex()}"
        make_folder(self.trash)
        with self._settling, self._placing:
            if time.time() - self.touched(study_key) < untouched_s or not self.is_through(study_key):
                return False
            self.study_folder(study_key).rename(gone)
        # Before the first file of it goes: a power cut must not bring back a part of the study under its name.
        sync_folder(self.trash)
        sync_folder(self._studies)
        shutil.rmtree(gone, ignore_errors=True)
        return True

    def empty_trash(self) -> None:
        """Delete what a stopped receiver was deleting."""
        make_folder(self.trash)
        for left in self.trash.iterdir():
            shutil.rmtree(left, ignore_errors=True)

    def touched(self, study_key: str) -> float:
        """Return when something of a study came last, in seconds of the Unix epoch: an instance, results, a delivery.

        Infinity where the study is not there.
        """
        study = self.study_folder(study_key)
        try:
            folders = [study, *(Path(entry) for entry in os.scandir(study) if entry.is_dir())]
            folders += [path for folder in folders[1:] if (path := folder / "deliveries").exists()]
            return max(folder.stat().st_mtime for folder in folders)
        except FileNotFoundError:
            return math.inf

    def unsent(self, study_key: str, name: str) -> Unsent | None:
        """Return why the results of a generation are not to be sent, None where nobody has said so."""
        return next((why for why in Unsent if self.unsent_note(study_key, name, why).exists()), None)

    def keep_unsent(self, study_key: str, name: str, why: Unsent) -> None:
        """Note durably that the results of a generation are kept and not sent."""
        write_json(self.unsent_note(study_key, name, why), {"at": datetime.now(UTC).isoformat()})

    def unsent_note(self, study_key: str, name: str, why: Unsent) -> Path:
        """Return the file that says so."""
        return self.generation_folder(study_key, name) / f"{why}.json"

    def is_through(self, study_key: str) -> bool:
        """Tell whether nothing is left to do of a study: all of it read, and every result where it was to go.

        Results that were made and posted to no destination count as not delivered, unless they are not to be sent.
        """
        instances, generations = self._instances(study_key), self.generations(study_key)
        if instances and _digest(instances) not in {generation.name for generation in generations}:
            return False
        # Twice, for a task that is taken up again goes from parked to todo.
        tasks = (task for state in (*STATES, *STATES) for task in self.agenda.tasks(state))
        if any(task.study_key == study_key for task in tasks):
            return False
        return all(self._is_delivered(study_key, generation.name) for generation in generations)

    def _is_delivered(self, study_key: str, name: str) -> bool:
        # In this order: a delivery is noted before its task is finished, and as done before it is open no more.
        if not self.has_results(study_key, name) or self.outbox.is_open(study_key, name):
            return False
        results = (self.generation_folder(study_key, name) / "results").rglob("*.dcm")
        is_settled = next(results, None) is None or self.outbox.is_done(study_key, name)
        return is_settled or self.unsent(study_key, name) is not None

    def study_folder(self, study_key: str) -> Path:
        """Return a study's folder."""
        return self._studies / study_key

    def studies(self) -> list[str]:
        """Return the keys of all studies held."""
        return sorted(entry.name for entry in os.scandir(self._studies) if _KEY.fullmatch(entry.name))

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
        """Keep what the model said of a generation; it is on the disk before the results are."""
        write_json(self._reading(reading.study_key, reading.generation), reading.to_json(), lasts=False)

    def reading(self, study_key: str, name: str) -> StudyReading | None:
        """Return what the model said of a generation, None when it has not been read."""
        from node.study import StudyReading  # numpy comes with it, which the receiver starts sooner without

        try:
            return StudyReading.from_json(read_json(self._reading(study_key, name)))
        except (FileNotFoundError, ValueError):  # ValueError: a power cut left it empty, and no results of it
            return None

    def _reading(self, study_key: str, name: str) -> Path:
        return self.generation_folder(study_key, name) / "reading.json"

    def write_report(self, study_key: str, name: str, results: dict[str, bytes]) -> None:
        """Write the reports of a generation, which are sent while the rest of its results is made; else as `write_results`."""
        self._write_once(study_key, name, "report", results)

    def write_results(self, study_key: str, name: str, results: dict[str, bytes]) -> None:
        """Write all results of a generation as one: they appear together or not at all, and never change.

        Parameters
        ----------
        study_key, name : str
        results : dict of str to bytes
            {relative path such as ``viewer/01-triage_report/0.dcm``: file}; without the reports that are written already.
        """
        self._write_once(study_key, name, "results", results)

    def _write_once(self, study_key: str, name: str, what: str, results: dict[str, bytes]) -> None:
        folder = self.generation_folder(study_key, name)
        if (folder / what).exists():
            return
        made = folder / f".{what}"
        shutil.rmtree(made, ignore_errors=True)  # left by a worker that was stopped here
        try:
            made.mkdir(FOLDER_MODE)
            written = {made}
            for relative, data in results.items():
                path = _in_its_folders(made, relative)
                write_new(path, (data,), lasts=False)
                written |= {path, path.parent, path.parent.parent}
            for report in (folder / "report").glob("*/*/*.dcm") if what == "results" else ():  # they were synced before
                path = _in_its_folders(made, str(report.relative_to(folder / "report")))
                path.hardlink_to(report)
                written |= {path.parent, path.parent.parent}
            reading = self._reading(study_key, name)
            if reading.exists() and not (folder / "report").exists():
                written.add(reading)
            sync_all(written)
            made.rename(folder / what)
        except OSError:
            shutil.rmtree(made, ignore_errors=True)
            raise
        sync_folder(folder)

    def add_form(self, of_result: Path, name: str, data: bytes) -> Path:
        """Write one more form of a result, beside those that are there, and return its path."""
        replace_file(of_result / name, data)
        return of_result / name

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
            for of_the_last_try in ("due", "sent"):
                entry.pop(of_the_last_try, None)
            self.outbox.post(task.destination, task.study_key, task.generation, entry)
        self.agenda.note(again)
        self.agenda.unpark(task)
        return again

    def has_results(self, study_key: str, name: str) -> bool:
        """Tell whether all results of a generation have been written."""
        return (self.generation_folder(study_key, name) / "results").exists()

    def has_report(self, study_key: str, name: str) -> bool:
        """Tell whether the reports of a generation have been written, or all of its results."""
        return (self.generation_folder(study_key, name) / "report").exists() or self.has_results(study_key, name)

    def results(self, study_key: str, name: str, profile: str) -> list[list[Path]]:
        """Return the objects of a generation in the order of sending, each as its encodings by preference.

        Those that are written: the reports alone while `has_results` says no.
        """
        generation = self.generation_folder(study_key, name)
        folder = generation / ("results" if self.has_results(study_key, name) else "report") / profile
        return [sorted(item.glob("*.dcm")) for item in sorted(folder.iterdir())] if folder.exists() else []


def _in_its_folders(made: Path, relative: str) -> Path:
    """Return where a result is written; its folders are this user's alone."""
    path = made / relative
    for parent in (path.parent.parent, path.parent):
        parent.mkdir(FOLDER_MODE, exist_ok=True)
    return path


def _digest(instances: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(instances)).encode()).hexdigest()[:16]


def _read_generation(path: Path) -> Generation:
    form = read_json(path)
    return Generation(**{**form, "instances": tuple(form["instances"])})
