"""Whether two DICOM files hold the same instance, told by a process that may die of them: ``python -m node.same_instance``.

It ends with 0 where they do, and with anything else where they do not or it cannot tell.
"""

from __future__ import annotations

import resource
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from node import confine
from node.attributes import DAMAGE, whole
from node.decoders import Frame, decode, transfer_syntax
from node.errors import NotAssessable
from node.pixels import check_monochrome_single_frame

PIXEL_DATA = 0x7FE00010
# What changes with the encoding, or says where an instance lies and not what it is: lengths, offsets, padding, and
# Retrieve AE Title, Instance Availability, Storage Media File-set ID and UID (PS3.4 C.3.4, PS3.3 C.7.5.1 of old). Encoders
# add a sentence on themselves to the Derivation Description (DCMTK's dcmcjpeg, lossless as well).
OF_THE_ENCODING = {0x00080001, 0x00082111, PIXEL_DATA, 0x7FE00001, 0x7FE00002, 0x7FE00003, 0xFFFCFFFC}
OF_THE_PLACE = {0x00080054, 0x00080056, 0x00880130, 0x00880140}
# Implicit, Explicit and Deflated Explicit VR Little Endian: native pixels are the same bytes in each.
_LITTLE_ENDIAN = dict.fromkeys(("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"), "native")
# Two films of the largest kind, decoded, and the libraries.
MEMORY_BYTES, PROCESSOR_S, ORPHANED_S = 4 << 30, 10, 60


def is_same(first: Dataset, second: Dataset) -> bool:
    """Tell whether two data sets are the same but for their encoding.

    Parameters
    ----------
    first, second : Dataset
        With file meta information.

    Returns
    -------
    bool
        False, too, where pixels that are encoded differently are not those of one gray frame.
    """
    if _attributes(first) != _attributes(second):
        return False
    if (PIXEL_DATA in first) != (PIXEL_DATA in second):
        return False
    return PIXEL_DATA not in first or _same_pixels(first, second)


def _attributes(dataset: Dataset) -> dict[int, Any]:
    """Return all values by tag, those of sequences within."""
    ignored = OF_THE_ENCODING | OF_THE_PLACE
    tags = (tag for tag in dataset.keys() if tag.element != 0 and int(tag) not in ignored)  # noqa: SIM118
    return {int(tag): _value(dataset[tag].value) for tag in tags}


def _value(value: Any) -> Any:
    if isinstance(value, Sequence):
        return [_attributes(item) for item in value]
    if isinstance(value, bytes):
        return value.removesuffix(b"\0")
    return str(value).rstrip("\0 ")


def _same_pixels(first: Dataset, second: Dataset) -> bool:
    forms = {_LITTLE_ENDIAN.get(syntax, syntax) for syntax in (transfer_syntax(first), transfer_syntax(second))}
    if len(forms) == 1 and first.PixelData == second.PixelData:
        return True
    return np.array_equal(_words(first), _words(second))


def _words(dataset: Dataset) -> np.ndarray[Any, Any]:
    """Return the stored bits of the one frame: what decoders make of the others differs."""
    check_monochrome_single_frame(dataset)
    rows, columns, allocated, stored, high = (
        whole(dataset, keyword) or 0 for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit")
    )
    if allocated not in (8, 16) or not 0 < stored <= high + 1 <= allocated:
        raise ValueError
    words = decode(dataset, Frame(rows, columns, allocated))
    return (words.astype(np.int32) >> (high + 1 - stored)) & ((1 << stored) - 1)


def compare(first: Path, second: Path) -> bool:
    """Tell whether two files hold the same instance; what cannot be read holds none."""
    try:
        return is_same(dcmread(first), dcmread(second))
    except (*DAMAGE, NotAssessable, MemoryError):
        return False


def main(first: str, second: str) -> int:
    """Compare two files within bounds; return the exit status. For a process of its own."""
    confine.harden()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_S, PROCESSOR_S))
    signal.alarm(ORPHANED_S)  # without a handler it ends the process, wherever it is
    warnings.simplefilter("ignore")
    return 0 if compare(Path(first), Path(second)) else 1


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
