"""What goes in and what comes out: the study to report on, how to report, and the objects to send."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from pydicom.dataset import Dataset

from node.prints import Gray
from node.product import uid
from node.study import StudyReading

# In a film, bright lung markings stay visible through it, and its colors are told apart.
ALPHA = 0.55
Profile = Literal["viewer", "air"]
Extra = Literal["box", "key_object", "pdf"]
EXTRAS: tuple[Extra, ...] = get_args(Extra)
REPORTS = ("triage_report", "ai_results")
ResultKind = Literal["triage_report", "ai_results", "picture", "box", "key_object", "pdf"]


@dataclass(frozen=True)
class StudySource:
    """One reading of one study, with what it was read from.

    Attributes
    ----------
    reading : StudyReading
    headers : mapping of str to Dataset
        By instance key, the data sets without pixel data, as parsed from bytes: a data set built in memory may lose
        the letters of a name on its way through a character set with code extensions.
    shown : callable
        From an instance key to the film as `node.prints.shown` makes it: ndarray, (rows, columns) uint8, 0 is black.
        Asked only for images that get a picture.
    previous : Dataset or None
        Header of the report that this one replaces.
    """

    reading: StudyReading
    headers: Mapping[str, Dataset]
    shown: Callable[[str], Gray]
    previous: Dataset | None = None


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """How results are written.

    Attributes
    ----------
    ae_title : str
        AE title of this node, at most 16 characters.
    device_uid : str
        Device UID (0018,1002) of this node; derived from the AE title when empty.
    heat_map : "all", "flagged" or "off"
        Which images that were read get a picture.
    not_analysed : bool
        Whether a study without a readable image gets a report that says so. Silence would look like "nothing found".
    language : str
        One of the files in ``languages``.
    config_digest : str
        Digest of the settings that shape a result; a change gives new UIDs.
    map_opacity : float
        Opacity of the heat map where it is strongest, in (0, 1]. Its scale is absolute and no option.
    extra : tuple of "box", "key_object" or "pdf"
        What is sent besides, where there is something to say in it.
    """

    ae_title: str
    device_uid: str = ""
    heat_map: Literal["all", "flagged", "off"] = "all"
    not_analysed: bool = True
    language: str = "en"
    config_digest: str = ""
    map_opacity: float = ALPHA
    extra: tuple[Extra, ...] = ()

    @property
    def device(self) -> str:
        """The Device UID, given or derived."""
        return self.device_uid or uid("device", self.ae_title)


@dataclass(frozen=True, slots=True)
class Encoded:
    """One way to write a result.

    Attributes
    ----------
    sop_class_uid, sop_instance_uid, transfer_syntax_uid : str
    data : bytes
        The complete DICOM file (PS3.10).
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data: bytes


@dataclass(frozen=True, slots=True)
class ResultObject:
    """One result, to be sent in one of its encodings.

    Attributes
    ----------
    kind : ResultKind
        "box" is the attention box, "key_object" the Key Object Selection, "pdf" the report as Encapsulated PDF.
    encodings : tuple of Encoded
        In order of preference: the first whose presentation context the PACS accepts is sent, the others are not. They are
        written once a PACS does not take the first.
    """

    kind: ResultKind
    encodings: tuple[Encoded, ...]

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID of the preferred encoding."""
        return self.encodings[0].sop_instance_uid
