"""Draw the synthetic quality control film among the samples: an aluminum step wedge, as if exposed on a DX detector.

Nothing here was ever in front of a detector, and the film says so in its own lead letters.
"""

import cv2
import numpy as np
import numpy.typing as npt

ROWS, COLUMNS = 480, 400
PIXEL_MM = 0.5
STEPS = 11
STEP_MM = 2.0
# Aluminum at 40 keV, about the effective energy of a 70 kV beam: 0.5685 cm2/g (Hubbell and Seltzer, NIST) x 2.699 g/cm3.
ATTENUATION_PER_MM = 0.5685 * 2.699 / 10
OPAQUE = 4.0
PHOTONS_PER_PIXEL = 4000
AIR = 200
WHITEST = 4000

Depth = npt.NDArray[np.float32]


def step_wedge() -> npt.NDArray[np.uint16]:
    """Return the film, (480, 400) uint16 of 12 bits, 0.5 mm a pixel, 0 is black (air)."""
    depth = np.zeros((ROWS, COLUMNS), np.float32)
    _wedge(depth, left=56, top=56)
    _bar_groups(depth, left=236, top=64)
    _discs(depth, column=290, top=236)
    _letters(depth)
    _collimation(depth)
    detected = _expose(cv2.GaussianBlur(depth, (0, 0), 0.6))
    values: npt.NDArray[np.uint16] = (
        np.clip(AIR + detected * (WHITEST - AIR) / OPAQUE, 0, 4095).round().astype(np.uint16)
    )
    return values


def _wedge(depth: Depth, left: int, top: int) -> None:
    """Eleven steps of 2 mm aluminum, each 16 mm high and 60 mm wide."""
    for step in range(STEPS):
        row = top + step * 32
        depth[row : row + 32, left : left + 120] = (step + 1) * STEP_MM * ATTENUATION_PER_MM


def _bar_groups(depth: Depth, left: int, top: int) -> None:
    """Lead bars of 0.125, 0.25 and 0.5 line pairs a millimeter: bars of 8, 4 and 2 pixels."""
    for bar in (8, 4, 2):
        for number in range(4):
            column = left + number * 2 * bar
            depth[top : top + 110, column : column + bar] = OPAQUE
        left += 8 * bar + 12


def _discs(depth: Depth, column: int, top: int) -> None:
    """Aluminum discs of 10 mm, from 2 mm thick down to 1/16 mm: the last ones are hardly seen."""
    for number in range(6):
        center = (column - 26 + 52 * (number % 2), top + 52 * (number // 2))
        disc = np.zeros_like(depth)
        cv2.circle(disc, center, 10, STEP_MM / 2**number * ATTENUATION_PER_MM, cv2.FILLED)
        depth += disc


def _letters(depth: Depth) -> None:
    """Lead letters, so that nobody takes the film for a patient's."""
    letters = np.zeros(depth.shape, np.uint8)
    for row, text in ((408, "QC STEP WEDGE"), (426, "AL 2 MM STEPS"), (444, "SYNTHETIC")):
        cv2.putText(letters, text, (226, row), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1, cv2.LINE_AA)
    depth += letters.astype(np.float32) / 255 * OPAQUE


def _collimation(depth: Depth) -> None:
    """Lead blades over the outer 8 mm."""
    blades = np.full_like(depth, OPAQUE)
    blades[16:-16, 16:-16] = depth[16:-16, 16:-16]
    depth[:] = blades


def _expose(depth: Depth) -> Depth:
    """Count photons behind the depth, with a 6 % heel effect from top to bottom, and take the logarithm back."""
    heel = np.linspace(1.0, 0.94, ROWS, dtype=np.float32)[:, np.newaxis]
    counts = np.random.default_rng(40).poisson(PHOTONS_PER_PIXEL * heel * np.exp(-depth))
    logarithm: Depth = -np.log(np.maximum(counts, 1) / PHOTONS_PER_PIXEL).astype(np.float32)
    return logarithm
