"""Files that are damaged, lie, or are merely odd: how they are made, and what the node has to answer to each.

Each is made by a small function that says the answer in its decorator. All begin as the same small chest film, which the
node reads; what stands in the function is all that is wrong with the file.

>>> @made(REFUSED)
... def cut_in_the_last_pixel(film):
...     return film.encoded()[:-1]
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.encaps import encapsulate
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian

from node.errors import Reason
from node.pixels import read_picture
from tests.bundles import SHIPPED
from tests.radiographs import element, encoded, implicit

CR, EXPLICIT = str(ComputedRadiographyImageStorage), str(ExplicitVRLittleEndian)
ITEM, ITEM_DELIMITER, SEQUENCE_DELIMITER = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA, UNDEFINED = 0x7FE00010, 0xFFFFFFFF
REFERENCED_IMAGES, PRIVATE = 0x00081140, 0x00291010
SIDE_PX, BITS = 144, 12
FILMS_A_STUDY = 25
MODULES = (
    "boundaries",
    "lengths",
    "nesting",
    "representations",
    "places",
    "syntaxes",
    "fragments",
    "streams",
    "pixel_modules",
    "gray_scales",
    "identifiers",
    "texts",
    "strangers",
    "oddities",
)


@dataclass(frozen=True)
class Answer:
    """What the node has to say of a file.

    Attributes
    ----------
    status : int
        Of the C-STORE response.
    outcome : str
        Of what was taken: ``"read"``, ``"warned"`` (read, with a warning), the `Reason` for which it is not read,
        ``"kept"`` (nothing to read) or ``"parked"``. Empty where it is refused.
    """

    status: int
    outcome: str = ""


READ, WARNED, KEPT, PARKED = (Answer(0x0000, outcome) for outcome in ("read", "warned", "kept", "parked"))
REFUSED, MISMATCH, ANOTHER_CLASS = (Answer(status) for status in (0xC210, 0xA900, 0x0122))


def not_read(reason: Reason) -> Answer:
    """Taken, and reported as not analysed for this reason."""
    return Answer(0x0000, str(reason))


BROKEN, FORMAT, NO_PIXELS = (
    not_read(reason) for reason in (Reason.BROKEN_PIXELS, Reason.PIXEL_FORMAT, Reason.NO_PIXELS)
)


@dataclass(frozen=True)
class Hostile:
    """One file.

    Attributes
    ----------
    name : str
    module : str
        The kind of what is wrong with it.
    answer : Answer
    transfer_syntax_uid, sop_class_uid, sop_instance_uid : str
        As the sender announces it.
    study_instance_uid : str
        Of the study that it was made for; the file itself may say otherwise.
    is_alone : bool
        Whether it is the only one of its study.
    data : callable
        Makes the encoded data set, anew each time.
    """

    name: str
    module: str
    answer: Answer
    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    is_alone: bool
    data: Callable[[], bytes]


_FILES: list[Hostile] = []


def made(
    answer: Answer | Callable[[Any], Answer],
    syntax: str = EXPLICIT,
    sop_class: str = CR,
    announced: str | None = None,
    each: Mapping[str, Any] | Iterable[Any] = ("",),
    alone: bool = False,
) -> Callable[[Callable[..., bytes]], Callable[..., bytes]]:
    """Register the function that makes a file, or one for each of some values.

    Parameters
    ----------
    answer : Answer
        Or a function of the value that gives it.
    syntax, sop_class : str
        UIDs of the presentation context that the file is sent on.
    announced : str, optional
        The SOP Instance UID of the command, where it is not the film's own.
    each : mapping or iterable
        Values, or values by name; the function is called with the film and one of them.
    alone : bool
        Whether the film is a study by itself; others share one, for each study costs the node a report.
    """

    def register(make: Callable[..., bytes]) -> Callable[..., bytes]:
        values = each if isinstance(each, Mapping) else {str(value): value for value in each}
        for suffix, value in values.items():
            name = " ".join((make.__name__.replace("_", " "), suffix)).strip()
            given = () if values == {"": ""} else (value,)
            module = make.__module__.rpartition(".")[2]
            study = uid_of("study of", name if alone else f"{module} {len(_FILES) // FILMS_A_STUDY}")
            _FILES.append(
                Hostile(
                    name=name,
                    module=module,
                    answer=answer(value) if callable(answer) else answer,
                    transfer_syntax_uid=syntax,
                    sop_class_uid=sop_class,
                    sop_instance_uid=uid_of(name) if announced is None else announced,
                    study_instance_uid=study,
                    is_alone=alone,
                    data=lambda name=name, study=study, given=given: make(Film(name, study), *given),  # type: ignore[misc]
                )
            )
        return make

    return register


@cache
def hostile_files() -> tuple[Hostile, ...]:
    """Return all files, by their modules."""
    for module in MODULES:
        importlib.import_module(f"tests.hostile.{module}")
    return tuple(_FILES)


def uid_of(*words: str) -> str:
    """Return a UID that is the same in each run."""
    return f"2.25.{int.from_bytes(hashlib.sha256(' '.join(words).encode()).digest()[:12], 'big')}"


@cache
def stored_values() -> np.ndarray:
    """Return a real chest film, small: (144, 144) uint16 of 12 bits, 0 is black."""
    plane = read_picture(min((SHIPPED / "golden").glob("*.[jp][pn]g")))
    small = cv2.resize(plane, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    words: np.ndarray = np.round(small * (2**BITS - 1)).astype(np.uint16)
    return words


class Film:
    """A chest film as elements of Explicit VR Little Endian, which may be set to anything.

    Parameters
    ----------
    name : str
        Its UIDs are made from it.
    study_uid : str
    """

    def __init__(self, name: str, study_uid: str = "") -> None:
        self.elements: dict[int, tuple[bytes, bytes]] = {}
        self.uid, self.series_uid = uid_of(name), uid_of("series of", name)
        self.study_uid = study_uid or uid_of("study of", name)
        self.set(
            SpecificCharacterSet="ISO_IR 100",
            ImageType="ORIGINAL\\PRIMARY",
            SOPClassUID=CR,
            SOPInstanceUID=self.uid,
            StudyDate="20261122",
            StudyTime="101500",
            AccessionNumber="ACC-1",
            Modality="CR",
            Manufacturer="Invented Devices",
            StudyDescription="XR CHEST",
            PatientName="Doe^Jo",
            PatientID="P-1",
            PatientBirthDate="19610215",
            PatientSex="O",
            BodyPartExamined="CHEST",
            ViewPosition="PA",
            StudyInstanceUID=self.study_uid,
            SeriesInstanceUID=self.series_uid,
            SeriesNumber="1",
            InstanceNumber="1",
            SamplesPerPixel=1,
            PhotometricInterpretation="MONOCHROME2",
            Rows=SIDE_PX,
            Columns=SIDE_PX,
            BitsAllocated=16,
            BitsStored=BITS,
            HighBit=BITS - 1,
            PixelRepresentation=0,
            WindowCenter="2048",
            WindowWidth="4096",
            PixelData=stored_values().tobytes(),
        )

    def set(self, **values: str | int | bytes | None) -> Film:
        """Set values by keyword: a number is of VR US, None takes the element away."""
        for keyword, value in values.items():
            tag = tag_for_keyword(keyword)
            assert tag is not None
            vr = b"OW" if tag == PIXEL_DATA else dictionary_VR(tag)[:2].encode()
            if value is None:
                self.elements.pop(tag, None)
            elif isinstance(value, int):
                self.elements[tag] = (b"US", value.to_bytes(2, "little"))
            else:
                given = value.encode("latin-1") if isinstance(value, str) else value
                pad = b"\0" if vr in (b"UI", b"OB", b"UN") else b" "
                self.elements[tag] = (vr, given + pad * (len(given) % 2))
        return self

    def put(self, tag: int, vr: bytes, value: bytes) -> Film:
        """Set an element to exactly this."""
        self.elements[tag] = (vr, value)
        return self

    def encoded(self, form: Callable[..., bytes] = element) -> bytes:
        """Encode all elements in the order of their tags."""
        return self.part(form=form)

    def part(self, first: int = 0, end: int = 0xFFFFFFFF, form: Callable[..., bytes] = element) -> bytes:
        """Encode the elements from one tag to before another."""
        held = {tag: self.elements[tag] for tag in sorted(self.elements) if first <= tag < end}
        return b"".join(form(tag, vr, value) for tag, (vr, value) in held.items())

    def header(self) -> bytes:
        """Encode all but the pixel data."""
        return self.part(end=PIXEL_DATA)

    def around(self, tag: int, middle: bytes) -> bytes:
        """Encode the film with an element as these bytes, in the place of that tag."""
        return self.part(end=tag) + middle + self.part(first=tag + 1)

    def behind(self, *tail: bytes) -> bytes:
        """Encode the film and put bytes behind it."""
        return self.encoded() + b"".join(tail)

    def recoded(self, transfer_syntax_uid: str) -> bytes:
        """Encode in another uncompressed transfer syntax, by pydicom, which leaves the order of pixels' bytes to others."""
        parsed = self.parsed()
        if transfer_syntax_uid == ExplicitVRBigEndian:
            parsed.PixelData = np.frombuffer(parsed.PixelData, "<u2").astype(">u2").tobytes()
        return encoded(parsed, transfer_syntax_uid)

    def parsed(self) -> pydicom.Dataset:
        return pydicom.filereader.read_dataset(BytesIO(self.encoded()), is_implicit_VR=False, is_little_endian=True)

    def eight_bit(self) -> np.ndarray:
        """Make it a film of 8 bits; gives its pixels."""
        pixels: np.ndarray = (stored_values() >> (BITS - 8)).astype(np.uint8)
        self.set(BitsAllocated=8, BitsStored=8, HighBit=7, WindowCenter="128", WindowWidth="256")
        self.put(PIXEL_DATA, b"OB", pixels.tobytes())
        return pixels

    def encapsulated(self, *frames: bytes) -> bytes:
        """Encode with frames in the place of the pixel data, one fragment each."""
        return self.fragments(encapsulate(list(frames)) + implicit(SEQUENCE_DELIMITER, b""))

    def fragments(self, items: bytes) -> bytes:
        """Encode with these bytes as encapsulated pixel data, delimiter included or not."""
        return self.around(PIXEL_DATA, element(PIXEL_DATA, b"OB", b"", UNDEFINED) + items)


def implicit_form(tag: int, vr: bytes, value: bytes) -> bytes:
    """Encode an element in Implicit VR Little Endian."""
    return implicit(tag, value)


def item(content: bytes, length: int | None = None) -> bytes:
    """Encode an item of a sequence."""
    return implicit(ITEM, content, length)


def by_module() -> Iterator[tuple[str, list[Hostile]]]:
    """Yield the files of each module."""
    for module in MODULES:
        yield module, [each for each in hostile_files() if each.module == module]
