"""Wrap real films of public data sets, and one drawn QC film, as the DICOM studies of node/samples.

    python tests/tools/make_samples.py --pictures ../shared/data/cxr

Writes node/samples/<study>/*.dcm and node/samples/samples.yaml; the same pictures give the same bytes. Needs DCMTK's
dcmcjpeg for the one JPEG Lossless image. Headers are fictitious, yet complete DX and CR IODs (PS3.3 A.26 and A.2).
"""

import argparse
import hashlib
import subprocess
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import yaml
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
)
from step_wedge import PIXEL_MM, step_wedge

SAMPLES = Path(__file__).resolve().parents[2] / "node" / "samples"
UIDS = uuid.UUID("6f0c1b9e-4a57-4f39-9c5d-3e9f1d2a7b60")
STUDY_DATE = "20250303"
VIEW_CODES = {"PA": ("272479007", "postero-anterior"), "AP": ("399348003", "antero-posterior")}

NIH = "NIH ChestX-ray14"
KERMANY = "Kermany chest X-ray images (pediatric)"
SHENZHEN = "Shenzhen chest X-ray set (NLM)"

Values = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Film:
    """One image: where its picture is, and how its stored values are made from the picture's 8 bits.

    stored = offset + gain * value, of 255 - value for MONOCHROME1; the VOI window undoes it exactly (PS3.3 C.11.2.1.2.1).
    """

    file: str
    picture: str
    view: str = "PA"
    modality: str = "CR"
    bits: int = 12
    gain: int = 16
    offset: int = 0
    photometric: str = "MONOCHROME2"
    transfer_syntax: UID = ExplicitVRLittleEndian
    spacing_mm: tuple[float, float] | None = None


@dataclass(frozen=True)
class Study:
    """One study: its fictitious patient, its truth and its films."""

    name: str
    patient: str
    age: int | None
    sex: str
    truth: str | None
    expected: str
    description: str
    source: str
    films: tuple[Film, ...]


STUDIES = (
    Study(
        "01-normal-adult",
        "SAMPLE^ONE",
        24,
        "F",
        "Normal",
        "read",
        "Adult chest PA without a finding; DX, 12 bit, with a VOI window inside the stored range.",
        NIH,
        # The original has 2500 x 2048 pixels of 0.168 mm (Data_Entry_2017.csv) and was squeezed into a square.
        (
            Film(
                "chest-pa.dcm",
                "nih/Normal/00003412_000_d3283b.jpg",
                modality="DX",
                gain=12,
                offset=512,
                spacing_mm=(0.168 * 2048 / 512, 0.168 * 2500 / 512),
            ),
        ),
    ),
    Study(
        "02-normal-child",
        "SAMPLE^TWO",
        3,
        "",
        "Normal",
        "read",
        "Child's chest AP without a finding; CR, 10 bit, Implicit VR Little Endian.",
        KERMANY,
        (
            Film(
                "chest-ap.dcm",
                "kermany/Normal/IM-0261-0001_0dc911.jpg",
                view="AP",
                bits=10,
                gain=4,
                transfer_syntax=ImplicitVRLittleEndian,
            ),
        ),
    ),
    Study(
        "03-pneumonia-adult",
        "SAMPLE^THREE",
        46,
        "F",
        "Pneumonia",
        "read",
        "Adult bedside chest AP with opacities on both sides; CR, 12 bit, JPEG Lossless.",
        NIH,
        (
            Film(
                "chest-ap.dcm",
                "nih/Pneumonia/00004344_002_c8a9b8.jpg",
                view="AP",
                transfer_syntax=JPEGLosslessSV1,
            ),
        ),
    ),
    Study(
        "04-pneumonia-child",
        "SAMPLE^FOUR",
        3,
        "",
        "Pneumonia",
        "read",
        "Child's chest AP with consolidation of the left lung; CR, 10 bit, MONOCHROME1.",
        KERMANY,
        (
            Film(
                "chest-ap.dcm",
                "kermany/Pneumonia/person1274_bacteria_3235_ddbd7d.jpg",
                view="AP",
                bits=10,
                gain=4,
                offset=3,
                photometric="MONOCHROME1",
            ),
        ),
    ),
    Study(
        "05-tuberculosis-adult",
        "SAMPLE^FIVE",
        None,
        "",
        "Tuberculosis",
        "read",
        "Adult chest PA with changes in both upper zones; CR, 12 bit, only 128 x 128 pixels.",
        SHENZHEN,
        (Film("chest-pa.dcm", "nlm_shenzhen/Tuberculosis/aug0_CHNCXR_0338_1_ee647d.png"),),
    ),
    Study(
        "06-two-frontal-views",
        "SAMPLE^SIX",
        60,
        "M",
        "Pneumonia",
        "read",
        "Two frontal films of one adult, PA and AP, joined into one study; CR, 8 bit.",
        NIH,
        (
            Film("chest-pa.dcm", "nih/Pneumonia/00009507_004_2cda32.jpg", bits=8, gain=1),
            Film("chest-ap.dcm", "nih/Pneumonia/00009507_018_5fa5b8.jpg", view="AP", bits=8, gain=1),
        ),
    ),
    Study(
        "07-step-wedge",
        "SAMPLE^SEVEN",
        None,
        "",
        None,
        "not analysed",
        "An aluminum step wedge, drawn by a program as if exposed for quality control; DX, no chest.",
        "drawn by tests/tools/step_wedge.py",
        (Film("step-wedge.dcm", "", view="", modality="DX", gain=1, spacing_mm=(PIXEL_MM, PIXEL_MM)),),
    ),
)


def sample_uid(*names: str) -> str:
    """Return the UID that belongs to these names, the same in every run (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(UIDS, '|'.join(names)).int}"


def stored_values(film: Film, pictures: Path) -> Values:
    """Return the film's stored values, (rows, columns)."""
    if not film.picture:
        return step_wedge()
    picture = cv2.imread(str(pictures / film.picture), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise FileNotFoundError(film.picture)
    values: Values = picture.astype(np.uint16)
    if film.photometric == "MONOCHROME1":
        values = 255 - values
    return film.gain * values + film.offset


def native_bytes(values: Values, bits: int) -> bytes:
    """Return Pixel Data as stored without compression, little endian."""
    return values.astype("u1" if bits == 8 else "<u2").tobytes()


def data_set(study: Study, number: int, values: Values, pictures: Path) -> Dataset:
    """Return a whole DX or CR image of the study, its Pixel Data native."""
    film = study.films[number - 1]
    dataset = Dataset()
    for module in (_patient, _study):
        module(dataset, study)
    _series(dataset, study, film, number)
    _anatomy(dataset, film)
    _pixels(dataset, film, values)
    _image(dataset, study, film, pictures / film.picture)
    if film.modality == "DX":
        _digital_x_ray(dataset, film)
    return dataset


def _patient(dataset: Dataset, study: Study) -> None:
    number = study.name[:2]
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = study.patient
    dataset.PatientID = f"CXR-SAMPLE-{number}"
    dataset.IssuerOfPatientID = "CXR-SAMPLES"
    dataset.PatientBirthDate = f"{int(STUDY_DATE[:4]) - study.age}0115" if study.age is not None else ""
    dataset.PatientSex = study.sex
    if study.age is not None:
        dataset.PatientAge = f"{study.age:03d}Y"
    if study.truth is None:
        dataset.QualityControlSubject = "YES"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Source published without identity; this header is fictitious"


def _study(dataset: Dataset, study: Study) -> None:
    number = study.name[:2]
    dataset.StudyInstanceUID = sample_uid(study.name)
    dataset.StudyDate = STUDY_DATE
    dataset.StudyTime = f"{8 + int(number):02d}1500"
    dataset.ReferringPhysicianName = "REFERRER^SAMPLE"
    dataset.StudyID = f"S{number}"
    dataset.AccessionNumber = f"SAMPLE{number}"
    dataset.StudyDescription = "XR CHEST" if study.truth else "QC STEP WEDGE"


def _series(dataset: Dataset, study: Study, film: Film, number: int) -> None:
    dataset.Modality = film.modality
    dataset.SeriesInstanceUID = sample_uid(study.name, "series")
    dataset.SeriesNumber = 1
    dataset.SeriesDate = dataset.StudyDate
    dataset.SeriesTime = dataset.StudyTime
    dataset.SeriesDescription = "Chest frontal" if study.truth else "Step wedge"
    dataset.ProtocolName = dataset.SeriesDescription
    dataset.Manufacturer = "Sample Imaging Systems"
    dataset.ManufacturerModelName = f"SIS {film.modality}-40"
    dataset.DeviceSerialNumber = f"SAMPLE-{film.modality}-1"
    dataset.SoftwareVersions = "1.0"
    dataset.StationName = f"SAMPLE_{film.modality}1"
    dataset.InstitutionName = "Sample Hospital"
    dataset.SOPInstanceUID = sample_uid(study.name, str(number))
    dataset.InstanceNumber = number


def _anatomy(dataset: Dataset, film: Film) -> None:
    dataset.BodyPartExamined = "CHEST" if film.view else "PHANTOM"
    dataset.ViewPosition = film.view
    # Shown as if the patient faced the reader, PA and AP alike: the row runs to the patient's left, the column to the feet.
    dataset.PatientOrientation = ["L", "F"]
    if film.spacing_mm:
        dataset.ImagerPixelSpacing = [f"{spacing:.6g}" for spacing in film.spacing_mm]


def _image(dataset: Dataset, study: Study, film: Film, path: Path) -> None:
    dataset.ImageType = ["DERIVED", "PRIMARY"] if film.picture else ["ORIGINAL", "PRIMARY"]
    dataset.ContentDate = dataset.AcquisitionDate = dataset.StudyDate
    dataset.ContentTime = dataset.AcquisitionTime = dataset.StudyTime
    dataset.BurnedInAnnotation = "NO"
    dataset.QualityControlImage = "NO" if film.picture else "YES"
    dataset.LossyImageCompression = "00"
    if not film.picture:
        dataset.ImageComments = "Synthetic image drawn by a program; no radiograph. Research and education only."
        return
    identifier = Path(film.picture).name.rsplit("_", 1)[0]
    dataset.ImageComments = (
        f"Sample, fictitious header. Image: {study.source}, {identifier}. Research and education only."
    )
    dataset.DerivationDescription = f"8-bit picture, stored = {film.offset} + {film.gain} x value"
    if path.suffix == ".jpg":
        ratio = dataset.Rows * dataset.Columns / path.stat().st_size
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionRatio = f"{ratio:.2f}"
        dataset.LossyImageCompressionMethod = "ISO_10918_1"


def _pixels(dataset: Dataset, film: Film, values: Values) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = film.photometric
    dataset.Rows, dataset.Columns = values.shape
    dataset.BitsAllocated = 8 if film.bits == 8 else 16
    dataset.BitsStored = film.bits
    dataset.HighBit = film.bits - 1
    dataset.PixelRepresentation = 0
    native = native_bytes(values, film.bits)
    dataset.PixelData = native + b"\0" * (len(native) % 2)
    dataset["PixelData"].VR = "OB" if film.bits == 8 else "OW"
    span = film.gain * 255 if film.picture else 2**film.bits - 1
    dataset.WindowCenter = f"{film.offset + (span + 1) / 2:g}"
    dataset.WindowWidth = f"{span + 1}"
    dataset.VOILUTFunction = "LINEAR"


def _digital_x_ray(dataset: Dataset, film: Film) -> None:
    """Add what the DX IOD asks for beyond CR (PS3.3 C.8.11); what nobody knows of the films stays empty."""
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImageLaterality = "U"
    dataset.AnatomicRegionSequence = [
        _code("SCT", "51185008", "Chest") if film.view else _code("DCM", "113681", "Phantom")
    ]
    if film.view:
        view = _code("SCT", *VIEW_CODES[film.view])
        view.ViewModifierCodeSequence = []
        dataset.ViewCodeSequence = [view]
    dataset.PositionerType = ""
    dataset.DetectorType = ""
    dataset.AcquisitionContextSequence = []
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = -1
    dataset.RescaleIntercept = "0"
    dataset.RescaleSlope = "1"
    dataset.RescaleType = "US"
    dataset.PresentationLUTShape = "IDENTITY"


def _code(scheme: str, value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item


def write(dataset: Dataset, film: Film, path: Path) -> None:
    """Write a Part 10 file in the film's transfer syntax."""
    dx = film.modality == "DX"
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation if dx else ComputedRadiographyImageStorage
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = film.transfer_syntax
    dataset.file_meta.ImplementationClassUID = UID(sample_uid("implementation"))
    dataset.file_meta.ImplementationVersionName = "CXRSAMPLES_1"
    if film.transfer_syntax == JPEGLosslessSV1:
        dataset.PixelData = _jpeg_lossless(dataset)
        dataset["PixelData"].VR = "OB"
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def _jpeg_lossless(dataset: Dataset) -> bytes:
    """Return encapsulated Pixel Data made by DCMTK: JPEG Lossless, first-order prediction, no loss."""
    with tempfile.TemporaryDirectory() as folder:
        raw, compressed = Path(folder, "raw.dcm"), Path(folder, "jpeg.dcm")
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.save_as(raw, enforce_file_format=True)
        subprocess.run(["dcmcjpeg", "--encode-lossless-sv1", "--true-lossless", str(raw), str(compressed)], check=True)
        dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        pixel_data: bytes = dcmread(compressed).PixelData
    return pixel_data


def make(pictures: Path, out: Path) -> None:
    """Write all studies and samples.yaml below `out`."""
    entries = [_make_study(study, pictures, out) for study in STUDIES]
    heading = "# Written by tests/tools/make_samples.py. Where the films come from, and under which licence: ATTRIBUTION.md.\n"
    text = yaml.safe_dump({"studies": entries}, sort_keys=False, width=120, allow_unicode=True)
    (out / "samples.yaml").write_text(heading + text)


def _make_study(study: Study, pictures: Path, out: Path) -> dict[str, Any]:
    files = []
    for number, film in enumerate(study.films, start=1):
        values = stored_values(film, pictures)
        path = out / study.name / film.file
        write(data_set(study, number, values, pictures), film, path)
        files.append(
            {
                "file": f"{study.name}/{film.file}",
                "picture": film.picture or None,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "pixels_sha256": hashlib.sha256(native_bytes(values, film.bits)).hexdigest(),
            }
        )
    return {
        "name": study.name,
        "description": study.description,
        "source": study.source,
        "truth": study.truth,
        "expected": study.expected,
        "files": files,
    }


def main() -> None:
    """Make the samples anew."""
    parser = argparse.ArgumentParser(description="Write the sample studies of node/samples.")
    parser.add_argument(
        "--pictures", type=Path, required=True, help="folder that holds nih/, kermany/ and nlm_shenzhen/"
    )
    parser.add_argument("--out", type=Path, default=SAMPLES)
    arguments = parser.parse_args()
    make(arguments.pictures, arguments.out)


if __name__ == "__main__":
    main()
