"""What the model would see of one file, drawn beside the film, and whether it would be read, and with which warnings."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from node import log
from node.bundle import Bundle, load
from node.config import Settings
from node.errors import NodeError, NotAssessable
from node.gate import GateRules, judge
from node.pixels import Plane, model_input, read_dicom
from node.report.words import words

HEIGHT_PX = 672
GAP_PX = 12


class PreviewError(NodeError):
    """The file cannot be drawn; the message says why."""


def preview(file: Path, out: Path, settings: Settings) -> str:
    """Draw the film and the model's input, and say whether it would be read and what would be warned of.

    Parameters
    ----------
    file : Path
        A DICOM file.
    out : Path
        The PNG to write: the film at the left, at the right the model's input, enlarged without smoothing.
    settings : Settings

    Returns
    -------
    str
        One line for the operator.

    Raises
    ------
    PreviewError
        When the file is no DICOM file, or has no picture to draw.
    BundleError
        When the model bundle, which holds the preprocessing, cannot be used.
    """
    bundle = load(settings.model.bundle)
    header = _header(file)
    refusal = _refusal(header, settings, bundle)
    try:
        plane = read_dicom(file)
    except NotAssessable as error:
        raise PreviewError(f"{file}: {refusal or f'would NOT be read: {error}'}; there is nothing to draw") from None
    decision = refusal or _reading(plane, settings, bundle)
    if not cv2.imwrite(str(out), _side_by_side(plane, model_input(plane, bundle.manifest.preprocessing))):
        raise PreviewError(f"{out}: cannot be written; name a .png file in a folder that exists")
    return f"{file}: {decision}; film {plane.shape[1]} x {plane.shape[0]} px, drawn in {out}"


def _header(file: Path) -> Dataset:
    try:
        return dcmread(file, stop_before_pixels=True)
    except InvalidDicomError:
        raise PreviewError(f"{file}: not a DICOM file") from None
    except OSError as error:
        raise PreviewError(f"{file}: cannot be read ({error.strerror})") from None


def _refusal(header: Dataset, settings: Settings, bundle: Bundle) -> str:
    """Return why the gate would not let the image through, empty where it would."""
    gate = settings.gate
    try:
        judge(header, GateRules(gate.read_secondary_capture, gate.minimum_px, bundle.manifest.age_years))
    except NotAssessable as error:
        return f"would NOT be read: {error}"
    return ""


def _reading(plane: Plane, settings: Settings, bundle: Bundle) -> str:
    """Return whether the reader would take the film, and what it would warn of."""
    with log.native_notes_held_back():
        from node.infer import Reader  # here alone: TensorFlow takes seconds to load

        try:
            prediction = Reader(bundle, settings.model.device).read(plane)
        except NotAssessable as error:
            return f"would NOT be read: {error}"
    said = words("en").warnings
    warned = ", ".join(said[warning] for warning in prediction.warnings)
    return f"would be read, with a warning: {warned}" if warned else "would be read, without a warning"


def _side_by_side(plane: Plane, picture: Plane) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return the film and the model's input at one height, as 8-bit gray."""
    columns = round(plane.shape[1] * HEIGHT_PX / plane.shape[0])
    film = cv2.resize(plane, (columns, HEIGHT_PX), interpolation=cv2.INTER_AREA)
    seen = cv2.resize(picture[..., 0], (HEIGHT_PX, HEIGHT_PX), interpolation=cv2.INTER_NEAREST)
    gap = np.ones((HEIGHT_PX, GAP_PX), np.float32)
    drawn: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = np.round(np.hstack((film, gap, seen)) * 255).astype(
        np.uint8
    )
    return drawn
