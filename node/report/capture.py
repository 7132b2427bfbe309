"""The picture as a Secondary Capture image: what every viewer shows, with no need to understand reports.

References
----------
DICOM PS3.3 A.8.1, C.7.6.1, C.8.6.1, C.8.6.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import imagecodecs
import numpy as np
from highdicom.sc import SCImage
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, SecondaryCaptureImageStorage

from node import __version__, codes
from node.attributes import strings, text
from node.prints import Gray
from node.product import MANUFACTURER, MODEL_NAME
from node.report import answer
from node.report.canvas import RGB
from node.report.draft import Draft, Kept
from node.report.encode import encode
from node.report.films import Film
from node.report.header import OF_NO_STUDY, Context, Reference, concept, of_this_node, sop_reference
from node.report.picture import draw
from node.report.source import Encoded, ResultObject

SERIES_NUMBER = 903
# Letters and thin lines stay clean; at 95 the stream is half as large again.
JPEG_QUALITY = 92
_ORIENTATION = re.compile(r"[ALRPHF]{1,3}")  # PS3.3 C.7.6.1.1.1, bipeds
_CODE_STRING = re.compile(r"[A-Z0-9 _]{1,16}")


@dataclass(frozen=True)
class Capture:
    """A picture, ready to send, and how a report names it."""

    film: Film
    reference: Reference
    result: ResultObject
    rgb: RGB


def reference_of(context: Context, film: Film) -> Reference:
    """Return the names of a film's picture, known before it is drawn."""
    return Reference(
        SecondaryCaptureImageStorage,
        context.uid("picture", film.sop_instance_uid),
        # A series for each picture: its description, which says the answer, is the series' own.
        context.uid("series", "picture", film.sop_instance_uid),
    )


def capture(context: Context, film: Film, gray: Gray) -> Capture:
    """Draw the picture of a film and write it as Secondary Capture.

    Parameters
    ----------
    context : Context
    film : Film
        One that was read.
    gray : ndarray, (rows, columns) uint8
        The film as it is shown.

    Raises
    ------
    ReportError
        When the identity fits no character set.
    """
    reference = reference_of(context, film)
    rgb = draw(context, film, gray)
    dataset = _dataset(context, film, reference, rgb)
    _compress(dataset, rgb)
    names = {"SOPClassUID": reference.sop_class_uid, "SOPInstanceUID": reference.sop_instance_uid}
    data = encode(Draft((_frame(), context.stamp), tuple(dataset.values())), names, context.identity, JPEGBaseline8Bit)
    encoded = Encoded(reference.sop_class_uid, reference.sop_instance_uid, JPEGBaseline8Bit, data)
    return Capture(film, reference, ResultObject("picture", (encoded,)), rgb)


def _compress(dataset: Dataset, rgb: RGB) -> None:
    """Add pixels as a JPEG stream of a thirtieth of their size; delivery unpacks it for a PACS that takes none.

    There is no second, finer form: what has one UID has one content.
    """
    frame = imagecodecs.jpeg8_encode(rgb, level=JPEG_QUALITY, subsampling="422")
    dataset.LossyImageCompressionRatio = round(rgb.size / len(frame), 2)
    dataset.add_new("PixelData", "OB", encapsulate([frame]))
    dataset["PixelData"].is_undefined_length = True


@cache
def _frame() -> Kept:
    """Return what the library makes of a picture, with every attribute that is the same for each film."""
    dataset = SCImage(
        pixel_array=np.zeros((1, 1, 3), np.uint8),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=OF_NO_STUDY,
        series_instance_uid=OF_NO_STUDY,
        series_number=SERIES_NUMBER,
        sop_instance_uid=OF_NO_STUDY,
        instance_number=1,
        manufacturer=MANUFACTURER,
        patient_orientation=("L", "F"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    of_this_node(dataset)
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionMethod = "ISO_10918_1"
    dataset.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    dataset.SecondaryCaptureDeviceManufacturerModelName = MODEL_NAME
    dataset.SecondaryCaptureDeviceSoftwareVersions = __version__
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.ConversionType = "WSD"
    dataset.BurnedInAnnotation = "YES"
    dataset.RecognizableVisualFeatures = "NO"
    dataset.ContentQualification = "RESEARCH"
    dataset.ImageComments = "AI-generated heat map. Research use only - not for diagnosis."
    dataset.DerivationCodeSequence = concept(codes.GRAD_CAM)
    return Kept.of(dataset, without="PixelData")


def _dataset(context: Context, film: Film, reference: Reference, rgb: RGB) -> Dataset:
    """Make what is the film's own of an image, without its pixels."""
    dataset = Dataset()
    dataset.StudyInstanceUID = context.study.study_instance_uid
    dataset.SeriesInstanceUID, dataset.SOPInstanceUID = reference.series_instance_uid, reference.sop_instance_uid
    dataset.SeriesDescription = answer.picture_description(film)
    dataset.Rows, dataset.Columns = rgb.shape[:2]
    dataset.DateOfSecondaryCapture, dataset.TimeOfSecondaryCapture = context.date, context.time
    model = context.study.reading.model
    dataset.DerivationDescription = f"Grad-CAM of {model.name} {model.version}, weights {answer.digest(context)}"
    source = sop_reference(film.sop_class_uid, film.sop_instance_uid)
    source.PurposeOfReferenceCodeSequence = concept(codes.SOURCE_IMAGE)
    dataset.SourceImageSequence = [source]
    _orient(dataset, film)
    return dataset


def _orient(dataset: Dataset, film: Film) -> None:
    """Say where the film's sides point, and what of the body it shows, as far as its header knows."""
    orientation = strings(film.header, "PatientOrientation")
    known = len(orientation) == 2 and all(_ORIENTATION.fullmatch(value) for value in orientation)
    dataset.PatientOrientation = list(orientation) if known else None
    body_part = text(film.header, "BodyPartExamined")
    if _CODE_STRING.fullmatch(body_part):
        dataset.BodyPartExamined = body_part
    else:
        dataset.Laterality = None  # type 2C where the body part might be a paired one, as far as anybody is told
