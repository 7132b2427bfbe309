"""Attributes of a header that may be damaged: what cannot be read counts as absent, and nothing is raised.

pydicom converts a value when it is first asked for, so any attribute of a stranger's header can raise almost anything.
"""

import math
import struct
import zlib
from collections.abc import Iterable
from typing import Any

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.sequence import Sequence
from pydicom.valuerep import PersonName

# What pydicom and the decoders were seen to raise on mutated instances. OSError is pydicom's word for a sequence that
# ends early, so nothing guarded by this may touch a file. MemoryError is not here: it speaks of this machine.
DAMAGE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    EOFError,
    OSError,
    RuntimeError,
    BytesLengthException,
    InvalidDicomError,
    struct.error,
    zlib.error,
)


def value_of(dataset: Dataset, keyword: str) -> Any:
    """Return the value of an attribute, None where it is absent or cannot be read."""
    try:
        return dataset.get(keyword)
    except DAMAGE:
        return None


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Return the values of a numeric attribute, in order; NaN stands for a value that is no number."""
    return tuple(_number(part) for part in _parts(value_of(dataset, keyword)))


def number(dataset: Dataset, keyword: str) -> float | None:
    """Return the first value of a numeric attribute, None where there is no finite one."""
    first = next(iter(numbers(dataset, keyword)), math.nan)
    return first if math.isfinite(first) else None


def whole(dataset: Dataset, keyword: str) -> int | None:
    """Return the first value of an integer attribute, None where there is none."""
    first = number(dataset, keyword)
    return int(first) if first is not None and first == int(first) else None


def strings(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of a text attribute, in order, without surrounding spaces."""
    return tuple(str(part).strip(" \0") for part in _parts(value_of(dataset, keyword)) if part is not None)


def text(dataset: Dataset, keyword: str) -> str:
    """Return all values of a text attribute as one line, empty where there is none."""
    return " ".join(strings(dataset, keyword)).strip()


def items(dataset: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """Return the items of a sequence, none where it is absent or cannot be read."""
    sequence = value_of(dataset, keyword)
    return tuple(sequence) if isinstance(sequence, Sequence) else ()


def _parts(value: Any) -> tuple[Any, ...]:
    if value is None or isinstance(value, bytes | Sequence | Dataset):
        return ()
    if isinstance(value, Iterable) and not isinstance(value, str | PersonName):
        return tuple(value)
    return (value,)


def _number(part: Any) -> float:
    try:
        return float(part)
    except (TypeError, ValueError, ArithmeticError):
        return math.nan
