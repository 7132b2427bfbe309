"""The gray scale of a film: which light each stored value stands for.

An image holds at most 65,536 different words, so the whole path of PS3.4 N.2 is worked out once on a table of them
and the film is looked up in it::

    word -> stored value -> padding mask -> modality LUT -> VOI LUT -> [0, 1] -> inverted if MONOCHROME1

A histogram of the words says which of them occur; all that depends on the film's content is judged on it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from node.attributes import items, number, numbers, text, value_of, whole
from node.errors import NotAssessable, Reason

Table = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# A film deeper than 8 bits that comes without a usable VOI LUT is shown between these percentiles of its pixels, those
# nnU-Net clips at (Isensee et al., Nature Methods 18, 2021): a marker or a dead pixel does not set the window.
WINDOW_PERCENTILES = (0.5, 99.5)

# Half a step of an 8-bit display: what differs by less looks like one gray.
LEAST_LIGHT = 0.5 / 255


@dataclass(frozen=True, slots=True)
class Samples:
    """How one pixel's word holds its value (PS3.3 C.7.6.3).

    Attributes
    ----------
    bits_stored, high_bit : int
        (0028,0101) and (0028,0102).
    signed : bool
        Pixel Representation (0028,0103) is 1: two's complement.
    inverted : bool
        Photometric Interpretation (0028,0004) is MONOCHROME1: the lowest value is white.
    """

    bits_stored: int
    high_bit: int
    signed: bool
    inverted: bool


def gray_table(words: npt.NDArray[Any], samples: Samples, dataset: Dataset) -> npt.NDArray[np.float32]:
    """Work out the light of each possible word.

    Parameters
    ----------
    words : ndarray, (rows, columns) uint8 or uint16
    samples : Samples
    dataset : Dataset
        With the Pixel Padding, Modality LUT and VOI LUT attributes; Presentation LUT Shape is not looked at, for
        Photometric Interpretation alone says which end is white.

    Returns
    -------
    ndarray, (256,) or (65536,) float32 in [0, 1]
        0 is black; padding is black too, whatever the photometric interpretation. Words of which the film has none
        may be black as well.

    Raises
    ------
    NotAssessable
        BROKEN_PIXELS where the film holds one gray value only, or its header gives values no number can hold.

    References
    ----------
    DICOM PS3.3 C.7.5.1.1.2 (padding), C.11.1 (modality LUT), C.11.2 (VOI LUT); PS3.4 N.2.
    """
    whole = _histogram(words)
    counts = whole[: _worked_out(whole, samples)].astype(np.float64)
    stored = _stored_values(counts > 0, samples, _has_embedded_overlays(dataset))
    padding = _padding(dataset, stored)
    shown = (counts > 0) & ~padding
    with np.errstate(all="ignore"):
        values = _modality(dataset, stored, shown)
        if not np.isfinite(values[shown]).all():
            raise NotAssessable(Reason.BROKEN_PIXELS, "rescale out of range")
        _check_varied(values, shown, 0.0)
        light = _first_that_shows(_voi_tables(dataset, values, shown), shown)
        if light is None:
            light = _scaled(values, *_display_range(values, counts * shown, stored, samples))
    _check_varied(light, shown, LEAST_LIGHT)
    if samples.inverted:
        light = 1.0 - light
    light[padding] = 0.0
    table = np.zeros(whole.size, np.float32)
    table[: light.size] = light
    return table


def _histogram(words: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    size = 256 if words.dtype == np.uint8 else 65536
    counts: npt.NDArray[np.float32] = cv2.calcHist([words], [0], None, [size], [0, size]).ravel()
    return counts


def _worked_out(counts: npt.NDArray[np.float32], samples: Samples) -> int:
    """Return how many words a table must begin with: all that occur, and all that unsigned samples may be.

    Most films have 4,096. The rest of the table has no say: what is judged is judged on words that occur, but for the full
    range of 8 stored bits and, among signed samples, for the signs that their words can have.
    """
    if samples.signed:
        return counts.size
    highest = int(np.flatnonzero(counts > 0)[-1])
    return min(counts.size, 1 << max(highest.bit_length(), samples.high_bit + 1, 8))


def _is_flat(table: Table, shown: Mask, least: float) -> bool:
    values = table[shown]
    return values.size < 2 or not float(values.max() - values.min()) > least


def _check_varied(table: Table, shown: Mask, least: float) -> None:
    if _is_flat(table, shown, least):
        raise NotAssessable(Reason.BROKEN_PIXELS, "one gray value only")


def _stored_values(present: Mask, samples: Samples, overlays: bool) -> Table:
    """Return the stored value of each word, trusting the header only as far as the words bear it out."""
    patterns = np.arange(present.size)
    used = int(np.bitwise_or.reduce(patterns[present], initial=0))
    shift = _shift(samples, used)
    values, used = patterns >> shift, used >> shift
    bits = samples.bits_stored
    if _masks_high_bits(used >> bits, present.size, samples, shift > 0 or overlays):
        values = values & ((1 << bits) - 1)
        used &= (1 << bits) - 1
    if samples.signed:
        # High bits left at zero hide the sign in the highest stored bit; otherwise the word carries it itself.
        width = bits if used < 1 << bits else present.size.bit_length() - 1
        values = np.where(values >= 1 << (width - 1), values - (1 << width), values)
    return values.astype(np.float64)


def _shift(samples: Samples, used: int) -> int:
    """Return how far the values are moved up in their words, 0 where only High Bit says so and the words deny it."""
    shift = samples.high_bit + 1 - samples.bits_stored
    return shift if shift > 0 and used >> samples.bits_stored else 0


def _masks_high_bits(excess: int, size: int, samples: Samples, declared: bool) -> bool:
    """Tell whether the bits above the stored ones are foreign: overlays, or flags parted from the value by a gap.

    Without either they are the value's own, under a Bits Stored that is too small: masking would wrap the film.
    """
    if not excess or (samples.signed and excess == (size - 1) >> samples.bits_stored and not declared):
        return False
    return declared or not excess & 1


def _has_embedded_overlays(dataset: Dataset) -> bool:
    """Tell whether an overlay is kept in unused bits of the pixel data (retired; PS3.3 C.9.2 of 2004)."""
    return any((group, 0x0102) in dataset and (group, 0x3000) not in dataset for group in range(0x6000, 0x6020, 2))


def _padding(dataset: Dataset, stored: Table) -> Mask:
    value, limit = whole(dataset, "PixelPaddingValue"), whole(dataset, "PixelPaddingRangeLimit")
    if value is None:
        return np.zeros(stored.size, np.bool_)
    value = _reread(value, stored)
    low, high = sorted((value, value if limit is None else _reread(limit, stored)))
    return (stored >= low) & (stored <= high)


def _reread(value: int, stored: Table) -> int:
    """Return a 16-bit value read with the wrong sign as it was meant, going by what the pixels can hold."""
    if value < 0 and stored.min() >= 0:
        return value + 65536
    if value > 32767 and stored.min() < 0:
        return value - 65536
    return value


def _modality(dataset: Dataset, stored: Table, shown: Mask) -> Table:
    for item in items(dataset, "ModalityLUTSequence")[:1]:
        lut = _lut(item, stored, shown)
        if lut is not None:
            return lut[0]
    # A slope of 0 would make every film one gray: it is taken as not given, as the Standard's default of 1.
    slope, intercept = number(dataset, "RescaleSlope") or 1.0, number(dataset, "RescaleIntercept") or 0.0
    return stored * slope + intercept


def _lut(item: Dataset, values: Table, shown: Mask) -> tuple[Table, float] | None:
    """Look values up in a LUT item; return them with the highest output the LUT can give, None where it is no LUT."""
    descriptor = numbers(item, "LUTDescriptor")
    if len(descriptor) != 3 or not all(math.isfinite(part) for part in descriptor):
        return None
    count, first, bits = (int(part) for part in descriptor)
    data = _lut_data(item, count % 65536 or 65536, bits)
    if not data.size or not 1 <= bits <= 16:
        return None
    index = np.clip(values - _first_mapped(first, values[shown]), 0, data.size - 1)
    # Outputs above the stated bits are real, and would wrap or saturate if the statement were believed.
    highest = max((1 << bits) - 1, int(data.max()))
    return data[np.nan_to_num(index).astype(np.intp)].astype(np.float64), float(highest)


def _first_mapped(first: int, values: Table) -> int:
    """Return the first input value mapped, which the VR may have given the wrong sign (PS3.3 C.11.2.1.1)."""
    lowest, highest = values.min(initial=0), values.max(initial=0)
    if first > 32767 and lowest < 0:
        return first - 65536
    if first < 0 and lowest >= 0 and highest > 32767:
        return first + 65536
    return first


def _lut_data(item: Dataset, count: int, bits: int) -> npt.NDArray[np.int64]:
    """Return the entries of a LUT as unsigned values, however they were stored: US, SS, or bytes in OW or OB."""
    data = value_of(item, "LUTData")
    if isinstance(data, bytes):
        if bits <= 8 and 0 <= len(data) - count <= 1:
            return np.frombuffer(data, np.uint8, count).astype(np.int64)
        entries = min(count, len(data) // 2)
        order = ">u2" if item.original_encoding[1] is False else "<u2"
        return np.frombuffer(data, order, entries).astype(np.int64)
    parts = numbers(item, "LUTData")
    if not parts or not all(math.isfinite(part) for part in parts):
        return np.empty(0, np.int64)
    return np.asarray(parts[:count], np.int64) & 0xFFFF


def _voi_tables(dataset: Dataset, values: Table, shown: Mask) -> Iterator[Table]:
    """Yield the light of each value by each VOI transformation of the header, the Standard's first choice first."""
    for item in items(dataset, "VOILUTSequence")[:1]:
        lut = _lut(item, values, shown)
        if lut is not None:
            yield lut[0] / lut[1]
    function = text(dataset, "VOILUTFunction").upper()
    for center, width in zip(numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth"), strict=False):
        if math.isfinite(center) and math.isfinite(width) and width > 0:
            yield window(values, center, width, function)


def window(values: Table, center: float, width: float, function: str = "LINEAR") -> Table:
    """Apply one window.

    Parameters
    ----------
    values : ndarray, float64
        Output of the modality LUT.
    center, width : float
        Window Center (0028,1050) and Window Width (0028,1051); width above 0.
    function : {"LINEAR", "LINEAR_EXACT", "SIGMOID"}
        VOI LUT Function (0028,1056). Anything else, and empty, is LINEAR. A LINEAR window narrower than 1, which the
        Standard forbids, is taken as LINEAR_EXACT: it comes with rescaled values that are no integers.

    Returns
    -------
    ndarray, float64 in [0, 1]

    References
    ----------
    DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3.
    """
    if function == "SIGMOID":
        steepness = np.clip(-4.0 * (values - center) / width, -_LARGEST_EXPONENT, _LARGEST_EXPONENT)
        return 1.0 / (1.0 + np.exp(steepness))
    if function == "LINEAR_EXACT" or width < 1:
        return _clipped((values - center) / width + 0.5)
    if width == 1:
        return (values > center - 0.5).astype(np.float64)
    return _clipped((values - (center - 0.5)) / (width - 1.0) + 0.5)


_LARGEST_EXPONENT = math.floor(math.log(sys.float_info.max))


def _clipped(light: Table) -> Table:
    return np.clip(np.nan_to_num(light), 0.0, 1.0)


def _first_that_shows(tables: Iterator[Table], shown: Mask) -> Table | None:
    """Return the first table that does not drown the film in a single gray: such a window is a header's mistake."""
    return next((table for table in tables if not _is_flat(table, shown, LEAST_LIGHT)), None)


def _display_range(values: Table, counts: Table, stored: Table, samples: Samples) -> tuple[float, float]:
    """Return the values to show as black and as white where no VOI transformation does.

    A film of 8 stored bits was made to be shown as it is; a deeper one is shown between two percentiles.
    """
    present = np.flatnonzero(counts)
    lowest, highest = float(values[present].min()), float(values[present].max())
    if samples.bits_stored <= 8:
        bottom = -(1 << (samples.bits_stored - 1)) if samples.signed else 0
        full = values[(stored >= bottom) & (stored < bottom + (1 << samples.bits_stored))]
        return min(lowest, float(full.min())), max(highest, float(full.max()))
    order = present[np.argsort(values[present], kind="stable")]
    reached = np.cumsum(counts[order])
    low, high = (values[order[np.searchsorted(reached, reached[-1] * p / 100)]] for p in WINDOW_PERCENTILES)
    return (float(low), float(high)) if low < high else (lowest, highest)


def _scaled(values: Table, low: float, high: float) -> Table:
    return _clipped((values - low) / (high - low))
