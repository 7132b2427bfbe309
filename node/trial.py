"""What would happen to one file if it were sent, ``python -m node.trial``: in a process of its own, which may be lost.

The file is a stranger's, so that nothing of it is looked at by who asks: this process has little time and memory, writes
nothing, says when it is ready to look, and ends with its answer in JSON. The file comes as standard input, which must be seekable; the rules as
JSON in the only argument. Door, gate and preprocessing are asked in the order, and by the functions, of the node itself; the
network is not asked.
"""

from __future__ import annotations

import base64
import contextlib
import json
import mmap
import os
import struct
import sys
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID

from node import confine
from node.door.inspect import inspect
from node.errors import NotAssessable, Parked, Reason, ReceiveError
from node.film_check import FilmCheck, FilmLook
from node.gate import GateRules, is_own_object, judge
from node.part10 import Part10File
from node.pixels import InputSpec, read_dicom
from node.prints import Print, print_of
from node.report.words import words
from node.storage_classes import STORAGE_CLASSES, TRANSFER_SYNTAXES, is_image
from node.study import FilmWarning

FILE = Path("/proc/self/fd/0")
# What is loaded takes its time, and is not the file's doing.
READY = "+"
_TOO_MUCH = "decoding takes more memory than limits.film_mb allows"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that would happen.

    Attributes
    ----------
    name, outcome, why : str
    passed : bool
        Whether the film goes on from here.
    """

    name: str
    outcome: str
    why: str
    passed: bool


@dataclass(slots=True)
class Trial:
    """What would happen to the file.

    Attributes
    ----------
    headline, because : str
    steps : list of Step
    seen : str
        What the model sees, in base64: ``rows`` times ``columns`` bytes, 0 is black; empty where it sees nothing.
    rows, columns : int
    """

    headline: str = ""
    because: str = ""
    steps: list[Step] = field(default_factory=list)
    seen: str = ""
    rows: int = 0
    columns: int = 0

    def step(self, name: str, outcome: str, why: str, passed: bool = True) -> None:
        """Note what would happen next."""
        self.steps.append(Step(name, outcome, why, passed))


def main() -> None:
    """Answer for the file at standard input."""
    rules = json.loads(sys.argv[1])
    warnings.simplefilter("ignore")
    cv2.setNumThreads(1)
    words("en")  # what is loaded late is loaded now
    confine.end_with_parent()
    confine.harden()
    confine.limit_address_space(rules["memory_mb"])
    _say(READY)
    _say(json.dumps(asdict(attempt(FILE, rules))))
    os._exit(0)


def _say(words: str) -> None:
    sys.stdout.write(words)
    sys.stdout.flush()


def attempt(file: Path, rules: dict[str, Any]) -> Trial:
    """Say what would happen to a file; in this process, which it may bring down.

    Parameters
    ----------
    file : Path
    rules : dict
        ``spec``, ``read_secondary_capture``, ``minimum_px``, ``age_years``, and in ``film_check`` the path of its
        parameters, or an empty text.
    """
    trial = Trial()
    try:
        _try(trial, file, rules)
    except MemoryError:
        _spoil(trial, _TOO_MUCH)
    except cv2.error as error:
        if error.code != cv2.Error.StsNoMem:
            raise
        _spoil(trial, _TOO_MUCH)
    return trial


def _try(trial: Trial, file: Path, rules: dict[str, Any]) -> None:
    header = _at_the_door(trial, file)
    if header is None:
        return
    if is_own_object(header):
        _end(
            trial,
            "Taken, and left alone",
            "It is a result of this node, or made from one; reading it would go round in a loop.",
        )
        return
    if not _at_the_gate(trial, header, rules):
        return
    _preprocessed(trial, file, rules)


def _at_the_door(trial: Trial, file: Path) -> Dataset | None:
    """Ask whether the receiver would take it; return its header where it would."""
    try:
        sent = Part10File.read(file)
    except (Parked, ValueError, KeyError, NotImplementedError, struct.error):
        trial.step("Sender", "not sent", "it has no DICOM file meta information (PS3.10 7.1)", passed=False)
        _end(trial, "No DICOM file", "A program that sends DICOM files would not know how to send it.")
        return None
    named, syntax = (sent.sop_class_uid, sent.sop_instance_uid), sent.transfer_syntax_uid
    if named[0] not in STORAGE_CLASSES:
        _refuse_context(trial, "this SOP class is not accepted, for the node takes no such objects")
        return None
    if syntax not in TRANSFER_SYNTAXES:
        _refuse_context(trial, "its transfer syntax is not accepted; the sender may offer another one")
        return None
    what = f"{STORAGE_CLASSES[named[0]]}, {UID(syntax).name}"
    trial.step("Association", "accepted", what)
    try:
        with file.open("rb") as opened:
            held = memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
        inspect(held[sent.offset :], syntax, *named)
    except ReceiveError as error:
        trial.step("Door", f"0x{error.status:04X}", error.comment, passed=False)
        _end(
            trial,
            f"Refused with 0x{error.status:04X}",
            "The sender is told why, and the instance is kept in the quarantine.",
        )
        return None
    trial.step("Door", "0x0000", "whole to its last byte, and what it was announced as")
    if not is_image(named[0]):
        trial.step("Gate", "not read", " - ".join(words("en").reasons[Reason.NOT_AN_IMAGE]), passed=False)
        _end(
            trial,
            "Taken, and not read",
            "A study that holds nothing else is answered NOT ANALYSED; beside images it changes nothing.",
        )
        return None
    return dcmread(file, stop_before_pixels=True, force=True)


def _refuse_context(trial: Trial, why: str) -> None:
    trial.step("Association", "presentation context rejected", why, passed=False)
    _end(trial, "Not taken", "The sender sees that this kind of object, in this encoding, is not accepted.")


def _at_the_gate(trial: Trial, header: Dataset, rules: dict[str, Any]) -> bool:
    age = rules["age_years"]
    try:
        judge(header, GateRules(rules["read_secondary_capture"], rules["minimum_px"], tuple(age) if age else None))
    except NotAssessable as error:
        return _not_read(trial, "Gate", error)
    trial.step("Gate", "passes", "by its header, a frontal chest film for presentation")
    return True


def _preprocessed(trial: Trial, file: Path, rules: dict[str, Any]) -> None:
    spec = InputSpec.from_json(rules["spec"])
    try:
        plane = read_dicom(file)
    except NotAssessable as error:
        _not_read(trial, "Decoding", error)
        return
    rows, columns = plane.shape
    trial.step("Decoding", "decoded", f"{columns} x {rows} pixels; modality LUT and VOI LUT applied")
    film = print_of(plane, spec)
    _keep_what_is_seen(trial, film, spec)
    stretch = f", gray from percentile {spec.percentiles[0]:g} to {spec.percentiles[1]:g}" if spec.percentiles else ""
    trial.step("Preprocessing", f"{spec.columns} x {spec.rows} pixels", f"reduced by {spec.interpolation}{stretch}")
    look = _look(film, rules["film_check"])
    if look and not look.is_film:
        _not_read(trial, "Film check", NotAssessable(Reason.NOT_A_CHEST_FILM))
        return
    warned = ", ".join(_warnings(look)) if look else ""
    if look:
        trial.step("Film check", f"warns: {warned}" if warned else "no warning", "its shapes are those of a chest film")
    _end(
        trial,
        "Taken and read" + (", with a warning" if warned else ""),
        "What the model would answer, and whether the film is like those it learned from, is not asked here.",
    )


def _keep_what_is_seen(trial: Trial, film: Print, spec: InputSpec) -> None:
    gray = np.round(film.gray * 255).astype(np.uint8)
    trial.seen, trial.rows, trial.columns = base64.b64encode(gray.tobytes()).decode("ascii"), spec.rows, spec.columns


def _look(film: Print, parameters: str) -> FilmLook | None:
    return FilmCheck.load(Path(parameters)).judge(film.features, film.content) if parameters else None


def _warnings(look: FilmLook) -> list[str]:
    said = words("en").warnings
    found = {
        FilmWarning.LOOKS_TURNED: look.quarter_turns,
        FilmWarning.LOOKS_INVERTED: look.inverted,
        FilmWarning.LOOKS_COLLIMATED: look.collimated,
    }
    return [said[warning] for warning, is_so in found.items() if is_so]


def _not_read(trial: Trial, name: str, error: NotAssessable) -> bool:
    said = " - ".join(words("en").reasons[error.reason])
    trial.step(name, "not read", f"{said}{f' ({error.detail})' if error.detail else ''}", passed=False)
    _end(trial, "Taken, and not read", f"Its report says NOT ANALYSED, for: {said}.")
    return False


def _spoil(trial: Trial, why: str) -> None:
    """Note that decoding took too much."""
    trial.step("Decoding", "given up", why, passed=False)
    _end(trial, "Taken, and not read", "Its report says NOT ANALYSED, for it could not be decoded.")


def _end(trial: Trial, headline: str, because: str) -> None:
    trial.headline, trial.because = headline, because


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
