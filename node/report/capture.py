"""The picture as a Secondary Capture image: what every viewer shows, with no need to understand reports.

References
----------
DICOM PS3.3 A.8.1, C.7.6.1, C.8.6.1, C.8.6.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from highdicom.sc import SCImage
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, SecondaryCaptureImageStorage

from node import __version__, codes
from node.attributes import strings, text
from node.product import MANUFACTURER, MODEL_NAME
from node.report import answer
from node.report.encode import encode
from node.report.films import Film
from node.report.header import Context, Reference, concept, sop_reference, stamp
from node.report.picture import RGB, draw
from node.report.source import Encoded, ResultObject
from node.study import FloatArray

SERIES_NUMBER = 903
_ORIENTATION = re.compile(r"[ALRPHF]{1,3}")  # PS3.3 C.7.6.1.1.1, bipeds
_CODE_STRING = re.compile(r"[A-Z0-9 _]{1,16}")


@dataclass(frozen=True)
class Capture:
    """A picture, ready to send, and how a report names it."""

    film: Film
    reference: Reference
    result: ResultObject


def reference_of(context: Context, film: Film) -> Reference:
    """Return the names of a film's picture, known before it is drawn."""
    return Reference(
        SecondaryCaptureImageStorage,
        context.uid("picture", film.sop_instance_uid),
        # A series for each picture: its description, which says the answer, is the series' own.
        context.uid("series", "picture", film.sop_instance_uid),
    )


def capture(context: Context, film: Film, plane: FloatArray) -> Capture:
    """Draw the picture of a film and write it as Secondary Capture.

    Parameters
    ----------
    context : Context
    film : Film
        One that was read.
    plane : ndarray, (rows, columns) float32 in [0, 1]

    Raises
    ------
    ReportError
        When the identity fits no character set.
    """
    reference = reference_of(context, film)
    datasets = _datasets(context, film, reference, draw(context, film, plane))
    encodings = tuple(
        Encoded(reference.sop_class_uid, reference.sop_instance_uid, syntax, encode(dataset, context.identity, syntax))
        for syntax, dataset in datasets
    )
    return Capture(film, reference, ResultObject("picture", encodings))


def _datasets(context: Context, film: Film, reference: Reference, rgb: RGB) -> Iterator[tuple[str, Dataset]]:
    """Yield the picture in each transfer syntax: JPEG first where it is wanted, always one that needs no decoder."""
    if not context.options.jpeg:
        yield ExplicitVRLittleEndian, _dataset(context, film, reference, rgb, ExplicitVRLittleEndian)
        return
    compressed = _dataset(context, film, reference, rgb, JPEGBaseline8Bit)
    frame = next(generate_frames(compressed.PixelData, number_of_frames=1))
    compressed.LossyImageCompression = "01"
    compressed.LossyImageCompressionRatio = round(rgb.size / len(frame), 2)
    compressed.LossyImageCompressionMethod = "ISO_10918_1"
    yield JPEGBaseline8Bit, compressed
    # One UID, one content: who does not take JPEG gets the same picture decoded, not a finer one.
    decoded = np.asarray(Image.open(BytesIO(frame)).convert("RGB"))
    plain = _dataset(context, film, reference, decoded, ExplicitVRLittleEndian)
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        setattr(plain, keyword, compressed[keyword].value)
    yield ExplicitVRLittleEndian, plain


def _dataset(context: Context, film: Film, reference: Reference, rgb: RGB, transfer_syntax_uid: str) -> Dataset:
    built = SCImage(
        pixel_array=rgb,
        photometric_interpretation="YBR_FULL_422" if transfer_syntax_uid == JPEGBaseline8Bit else "RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=context.study.study_instance_uid,
        series_instance_uid=reference.series_instance_uid,
        series_number=SERIES_NUMBER,
        sop_instance_uid=reference.sop_instance_uid,
        instance_number=1,
        manufacturer=MANUFACTURER,
        patient_orientation=("L", "F"),
        transfer_syntax_uid=transfer_syntax_uid,
        series_description=answer.picture_description(film),
    )
    dataset = Dataset()
    for element in built:
        dataset.add(element)
    stamp(dataset, context)
    del dataset.CodingSchemeIdentificationSequence  # no private code in a picture
    _describe(dataset, film)
    dataset.DateOfSecondaryCapture, dataset.TimeOfSecondaryCapture = dataset.ContentDate, dataset.ContentTime
    dataset.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    dataset.SecondaryCaptureDeviceManufacturerModelName = MODEL_NAME
    dataset.SecondaryCaptureDeviceSoftwareVersions = __version__
    model = context.study.reading.model
    dataset.DerivationDescription = f"Grad-CAM of {model.name} {model.version}, weights {answer.digest(context)}"
    return dataset


def _describe(dataset: Dataset, film: Film) -> None:
    """Say what kind of image it is, of which film, and that it is no diagnostic one."""
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.ConversionType = "WSD"
    dataset.BurnedInAnnotation = "YES"
    dataset.RecognizableVisualFeatures = "NO"
    dataset.ContentQualification = "RESEARCH"
    dataset.ImageComments = "AI-generated heat map. Research use only - not for diagnosis."
    dataset.DerivationCodeSequence = concept(codes.GRAD_CAM)
    source = sop_reference(film.sop_class_uid, film.sop_instance_uid)
    source.PurposeOfReferenceCodeSequence = concept(codes.SOURCE_IMAGE)
    dataset.SourceImageSequence = [source]
    orientation = strings(film.header, "PatientOrientation")
    known = len(orientation) == 2 and all(_ORIENTATION.fullmatch(value) for value in orientation)
    dataset.PatientOrientation = list(orientation) if known else None
    body_part = text(film.header, "BodyPartExamined")
    if _CODE_STRING.fullmatch(body_part):
        dataset.BodyPartExamined = body_part
    else:
        dataset.Laterality = None  # type 2C where the body part might be a paired one, as far as anybody is told
