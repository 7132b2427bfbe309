"""Every coded concept the node writes, with where its meaning is fixed.

A concept is (value, coding scheme designator, meaning). DCM codes are in PS3.16 Annex D, LN is LOINC, SCT is SNOMED CT in
the subset DICOM may use (PS3.16 Annex E and the context groups named here), UCUM gives units. Where no public code says
what is meant, the private scheme 99CXRTRIAGE does, and each object identifies it (PS3.3 C.12.1.1.8).
"""

from __future__ import annotations

from pydicom.sr.coding import Code

from node.errors import Reason
from node.product import PRIVATE_SCHEME
from node.study import FilmWarning, Triage


def _dcm(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning)


def _sct(value: str, meaning: str) -> Code:
    return Code(value, "SCT", meaning)


def _private(value: str, meaning: str) -> Code:
    return Code(value, PRIVATE_SCHEME, meaning)


# Titles and sections: TID 2000 with CID 7000 and CID 7001, TID 1500 with CID 7021.
DIAGNOSTIC_IMAGING_REPORT = Code("18748-4", "LN", "Diagnostic Imaging Report")
IMPRESSIONS = _dcm("121072", "Impressions")
IMPRESSION = _dcm("121073", "Impression")
FINDINGS = _dcm("121070", "Findings")
FINDING = _dcm("121071", "Finding")
PROCEDURE_DESCRIPTIONS = _dcm("121064", "Current Procedure Descriptions")
PROCEDURE_DESCRIPTION = _dcm("121065", "Procedure Description")
COMMENT = _dcm("121106", "Comment")
LANGUAGE = _dcm("121049", "Language of Content Item and Descendants")
IMAGING_MEASUREMENT_REPORT = _dcm("126000", "Imaging Measurement Report")
PROCEDURE_REPORTED = _dcm("121058", "Procedure reported")
IMAGE_LIBRARY = _dcm("111028", "Image Library")
IMAGE_LIBRARY_GROUP = _dcm("126200", "Image Library Group")
IMAGING_MEASUREMENTS = _dcm("126010", "Imaging Measurements")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")  # TID 1500

# What was examined: CID 100 has no plain chest radiograph, and the more exact code is allowed in its place.
PLAIN_CHEST_X_RAY = _sct("399208008", "Plain chest X-ray")
IMAGING_PROCEDURE = _sct("363679005", "Imaging procedure")  # CID 100
LUNG = _sct("39607008", "Lung")  # CID 4

# The answer: normality is CID 222; SNOMED CT gives priority its values, "Routine" where the order of reading may stay.
NORMALITY = _dcm("121402", "Normality")
NORMAL = _sct("17621005", "Normal")
ABNORMAL = _sct("263654008", "Abnormal")
UNDETERMINED = _sct("371934000", "Normality Undetermined")
PRIORITY = _sct("260870009", "Priority")
URGENT = _sct("103391001", "Urgent")
ROUTINE = _sct("50811001", "Routine")
PRIORITIES = {Triage.URGENT: URGENT, Triage.FLAGGED: ROUTINE, Triage.NOT_FLAGGED: ROUTINE}

CAD_SUMMARY = _dcm("111017", "CAD Processing and Findings Summary")
WITH_FINDINGS = _dcm("111242", "All algorithms succeeded; with findings")  # CID 6047
WITHOUT_FINDINGS = _dcm("111241", "All algorithms succeeded; without findings")
NONE_SUCCEEDED = _dcm("111245", "No algorithms succeeded; without findings")
CAD_SUMMARIES = {
    Triage.URGENT: WITH_FINDINGS,
    Triage.FLAGGED: WITH_FINDINGS,
    Triage.NOT_FLAGGED: WITHOUT_FINDINGS,
    Triage.UNCERTAIN: NONE_SUCCEEDED,
    Triage.NOT_ANALYSED: NONE_SUCCEEDED,
}

# The classes of the model.
CONDITIONS = {
    "Normal": NORMAL,
    "Pneumonia": _sct("233604007", "Pneumonia"),
    "Tuberculosis": _sct("154283005", "Pulmonary tuberculosis"),
}
CERTAINTY = _dcm("111012", "Certainty of Finding")
THRESHOLD = _dcm("122411", "Threshold Value")
STANDARD_DEVIATION = _sct("386136009", "Standard Deviation")
PERCENT = Code("%", "UCUM", "%")  # the meaning is what viewers print behind the number

# Which algorithm (TID 4019), on which images.
ALGORITHM_NAME = _dcm("111001", "Algorithm Name")
ALGORITHM_VERSION = _dcm("111003", "Algorithm Version")
ARTIFICIAL_INTELLIGENCE = _dcm("123110", "Artificial Intelligence")  # CID 7162
SOURCE_OF_MEASUREMENT = _dcm("121112", "Source of Measurement")
SOURCE = _sct("260753009", "Source")
MODALITY = _dcm("121139", "Modality")
MODALITIES = {
    "DX": _dcm("DX", "Digital Radiography"),
    "CR": _dcm("CR", "Computed Radiography"),
}
PIXEL_DATA_ROWS = _dcm("110910", "Pixel Data Rows")
PIXEL_DATA_COLUMNS = _dcm("110911", "Pixel Data Columns")
PIXELS = Code("{pixels}", "UCUM", "Pixels")
GRAD_CAM = _dcm("130403", "Gradient-weighted class activation")  # CID 217
SOURCE_IMAGE = _dcm("121322", "Source image for image processing operation")  # CID 7202
OF_INTEREST = _dcm("113000", "Of Interest")  # CID 7010
KEY_OBJECT_DESCRIPTION = _dcm("113012", "Key Object Description")
DEVICE = _dcm("121007", "Device")
ACQUISITION_EQUIPMENT = _dcm("109101", "Acquisition Equipment")  # CID 7005
PROCESSING_EQUIPMENT = _dcm("109102", "Processing Equipment")

# Ours.
REASON_NOT_READ = _private("REASON_NOT_READ", "Reason not read")
REASONS = {
    Reason.WRONG_MODALITY: _private("WRONG_MODALITY", "Not a radiograph"),
    Reason.NOT_AN_IMAGE: _private("NOT_AN_IMAGE", "Not an image"),
    Reason.NOT_CHEST: _private("NOT_CHEST", "Not a chest radiograph"),
    Reason.NOT_FRONTAL: _private("NOT_FRONTAL", "Not a frontal view"),
    Reason.FOR_PROCESSING: _private("FOR_PROCESSING", "Raw image for processing"),
    Reason.SECONDARY: _private("SECONDARY", "Derived copy of an image"),
    Reason.OWN_OBJECT: _private("OWN_OBJECT", "Result of this node"),
    Reason.MULTI_FRAME: _private("MULTI_FRAME", "Several frames in one object"),
    Reason.COLOR: _private("COLOR", "Color image"),
    Reason.NO_PIXELS: _private("NO_PIXELS", "No pixel data"),
    Reason.PIXEL_FORMAT: _private("PIXEL_FORMAT", "Unsupported kind of pixel data"),
    Reason.BROKEN_PIXELS: _private("BROKEN_PIXELS", "Damaged pixel data"),
    Reason.NOT_DECODED: _private("NOT_DECODED", "Decoding of pixel data given up"),
    Reason.TOO_SMALL: _private("TOO_SMALL", "Image too small"),
    Reason.AGE_OUT_OF_RANGE: _private("AGE_OUT_OF_RANGE", "Patient age outside the range of the model"),
    Reason.NOT_A_CHEST_FILM: _private("NOT_A_CHEST_FILM", "Picture does not look like a frontal chest film"),
}
IMAGE_WARNING = _private("IMAGE_WARNING", "Warning about the image")
WARNINGS = {
    FilmWarning.LOOKS_TURNED: _private("LOOKS_TURNED", "Looks turned"),
    FilmWarning.LOOKS_INVERTED: _private("LOOKS_INVERTED", "Looks inverted"),
    FilmWarning.LOOKS_COLLIMATED: _private("LOOKS_COLLIMATED", "Large empty border"),
    FilmWarning.UNLIKE_TRAINING: _private("UNLIKE_TRAINING", "Unlike the films the model was trained on"),
}
_ABBREVIATIONS = {"Normal": "NO", "Pneumonia": "PN", "Tuberculosis": "TB"}


def probability_of(label: str) -> Code:
    """Return the concept name of a calibrated probability, e.g. (PROBABILITY_TB, 99CXRTRIAGE, ...)."""
    return _private(f"PROBABILITY_{_ABBREVIATIONS[label]}", f"Probability of {label.lower()}")


def spread_of(label: str) -> Code:
    """Return the concept name of a probability's standard deviation."""
    return _private(f"SPREAD_{_ABBREVIATIONS[label]}", f"Standard deviation of the probability of {label.lower()}")


def cut_off_of(label: str) -> Code:
    """Return the concept name of a cut-off."""
    return _private(f"CUTOFF_{_ABBREVIATIONS[label]}", f"Cut-off for {label.lower()}")


def private_codes() -> tuple[Code, ...]:
    """Return every code of the private scheme, as docs and conformance statement list them."""
    named = [make(label) for label in CONDITIONS for make in (probability_of, spread_of, cut_off_of)]
    return (REASON_NOT_READ, *REASONS.values(), IMAGE_WARNING, *WARNINGS.values(), *named)
