"""What somebody is to be told: one small file a message and receiver, kept until it is sent, or too old to be of use.

::

    notices/RECEIVER/ID.json

The stages of a study only write such files, which takes no network; `node.notify` sends them. A message may be sent twice,
where a kill falls between the sending and its note, and its identifier tells the receiver.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from node import log
from node.config import Settings
from node.config_notify import Receiver
from node.durable import make_folder, read_json, write_json
from node.product import NOTICE
from node.spool import Spool
from node.study import StudyReading

Form = dict[str, Any]
# So many may wait for one receiver; the oldest make way, for a receiver that is away must not fill the disk.
WAITING = 1000
# What an HL7 message says of patient and order, beside the study.
PATIENT = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex")
ORDER = ("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "StudyDescription", "RequestedProcedureDescription")
_ENTRY = re.compile(r"[0-9a-f]{32}\.json")
_TOLD = "told.json"


@dataclass(frozen=True, slots=True)
class Notice:
    """A message on its way to one receiver.

    Attributes
    ----------
    receiver : str
        Its name in the configuration.
    message : dict
        JSON-ready; ``id`` is 32 hexadecimal digits, the same for each receiver and each attempt.
    attempts : int
        How often it was tried to send it.
    """

    receiver: str
    message: Form
    attempts: int = 0

    @property
    def age_s(self) -> float:
        """Seconds since what it tells of."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.message["at"])).total_seconds()


class Box:
    """The messages of a spool that are to be sent.

    Parameters
    ----------
    spool : Path
        The spool's folder.
    """

    def __init__(self, spool: Path) -> None:
        self._folder = spool / "notices"
        make_folder(self._folder)

    def put(self, notice: Notice) -> None:
        """Note durably that a message is to be sent; one of the same identifier is replaced."""
        write_json(self._path(notice), {"message": notice.message, "attempts": notice.attempts})

    def sent(self, notice: Notice) -> None:
        """Note that nothing is left to do of a message."""
        self._path(notice).unlink(missing_ok=True)

    def waiting(self, receiver: str) -> list[Notice]:
        """Return the messages for a receiver: first those tried least often, of these the oldest first."""
        found = _waiting(self._folder / receiver)
        return sorted(found, key=lambda notice: (notice.attempts, notice.message["at"]))

    def receivers(self) -> list[str]:
        """Return the receivers that anything was for, also those that are not configured any more."""
        return sorted(path.name for path in self._folder.iterdir() if path.is_dir())

    def _path(self, notice: Notice) -> Path:
        return self._folder / notice.receiver / f"{notice.message['id']}.json"


def waiting(spool: Path, receiver: str) -> list[Notice]:
    """Return the messages for a receiver without making a folder: who only looks may be another user."""
    return list(_waiting(spool / "notices" / receiver))


def _waiting(folder: Path) -> Iterator[Notice]:
    for path in folder.iterdir() if folder.exists() else ():
        if _ENTRY.fullmatch(path.name):
            with contextlib.suppress(
                FileNotFoundError, ValueError, KeyError
            ):  # sent meanwhile, or spoiled by a foreign hand
                form = read_json(path)
                yield Notice(folder.name, form["message"], form["attempts"])


def tell_of_study(spool: Spool, settings: Settings, study_key: str, generation: str, unreleased: bool = False) -> None:
    """Note whom to tell of the answer to a study. Nothing that goes wrong here may hold up the study.

    Parameters
    ----------
    spool : Spool
    settings : Settings
    study_key, generation : str
    unreleased : bool
        Whether the results wait for a person, instead of being sent.
    """
    if not settings.notify:
        return
    with log.Outlived("notice.failed", study=study_key):
        reading = spool.reading(study_key, generation)
        told = spool.generation_folder(study_key, generation) / (f"unreleased.{_TOLD}" if unreleased else _TOLD)
        if reading is None or told.exists():
            return
        occasion = "unreleased" if unreleased else str(reading.triage)
        receivers = [receiver for receiver in settings.notify if receiver.is_told(occasion)]
        for receiver in receivers:
            Box(spool.folder).put(Notice(receiver.name, _of_study(spool, settings, receiver, reading, occasion)))
        if receivers:  # a stop before this has them told again, under the same identifiers
            write_json(told, {"at": _now(), "receivers": [receiver.name for receiver in receivers]})


def of_faults(settings: Settings, faults: list[Form], over: list[str]) -> Form:
    """Return a message about faults.

    Parameters
    ----------
    settings : Settings
    faults : list of dict
        ``what``, ``do``, and ``count``: how often it began since the last message.
    over : list of str
        What is over since.
    """
    some = f"{len(faults)} to look at" if faults else "nothing to look at any more"
    return _message(settings, uuid.uuid4().hex, "faults", f"{some}") | {"faults": faults, "over": over}


def of_test(settings: Settings) -> Form:
    """Return a message that says it is a test."""
    return _message(settings, uuid.uuid4().hex, "test", "TEST: this receiver is told; nothing has happened")


def _of_study(spool: Spool, settings: Settings, receiver: Receiver, reading: StudyReading, occasion: str) -> Form:
    """Return a message about a study, with what this receiver may know."""
    leading = reading.leading.prediction if reading.leading else None
    label = leading.flagged_label if leading else None
    word = str(reading.triage).replace("_", " ").upper()
    summary = f"{word}: {label}" if label else word
    identifier = hashlib.sha256("|".join((occasion, reading.study_key, reading.generation)).encode()).hexdigest()[:32]
    message = _message(settings, identifier, "unreleased" if occasion == "unreleased" else "study", summary) | {
        "page": _page(settings, reading.study_key),
        "study": reading.study_key,
        "reading": spool.generation(reading.study_key, reading.generation).number,
        "answer": str(reading.triage),
        "label": label,
        "warnings": [str(warning) for warning in leading.warnings] if leading else [],
        "model": f"{reading.model.name} {reading.model.version}",
        "received": reading.times.received.isoformat(),
        "done": reading.times.done.isoformat(),
    }
    if receiver.identifiers == "plain":
        header = _header(spool, reading)
        message |= {
            "study_instance_uid": header["StudyInstanceUID"],
            "accession_number": header["AccessionNumber"],
        }
        if receiver.hl7:
            message["header"] = {keyword: header[keyword] for keyword in (*PATIENT, *ORDER)}
            message["probabilities"] = _probabilities(reading)
    return message


def _page(settings: Settings, study_key: str) -> str:
    """Return where the study is shown: on a page of its own, where people can log in."""
    web = settings.web
    return f"{web.url}/studies/{study_key}" if web.url and web.password_file else web.url


def _message(settings: Settings, identifier: str, kind: str, summary: str) -> Form:
    return {
        "id": identifier,
        "kind": kind,
        "at": _now(),
        "node": settings.listen.ae_title,
        "summary": summary,
        "page": settings.web.url,
        "notice": f"{NOTICE}.",
    }


def _probabilities(reading: StudyReading) -> dict[str, float]:
    leading = reading.leading.prediction if reading.leading else None
    if leading is None or not leading.reliable:
        return {}
    return {finding.label: round(finding.probability, 4) for finding in leading.findings}


def _header(spool: Spool, reading: StudyReading) -> dict[str, str]:
    """Return what messages may need of a film's header."""
    from pydicom import dcmread  # late: the status page asks how many messages wait, and does without

    from node.attributes import text

    image = reading.leading or reading.images[0]
    keywords = ("StudyInstanceUID", *PATIENT, *ORDER)
    path = spool.instance_path(reading.study_key, image.instance_key)
    header = dcmread(path, stop_before_pixels=True, specific_tags=list(keywords))
    return {keyword: text(header, keyword) for keyword in keywords}


def _now() -> str:
    return datetime.now(UTC).isoformat()
