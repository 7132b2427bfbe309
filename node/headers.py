"""The headers of a generation's instances: parsed and judged once for all stages, and new to each who asks for one."""

from __future__ import annotations

import os
from copy import copy
from functools import cached_property, lru_cache
from pathlib import Path
from typing import BinaryIO

from pydicom import Dataset, dcmread

from node.attributes import text, whole
from node.errors import NotAssessable
from node.gate import GateRules, judge


class Header:
    """One instance's attributes, without pixel data.

    Parameters
    ----------
    parsed : Dataset
        Whose values nobody has looked at.
    """

    def __init__(self, parsed: Dataset) -> None:
        self._parsed = parsed
        self._refusals: dict[GateRules, NotAssessable | None] = {}

    def fresh(self) -> Dataset:
        """Return the header as it was parsed: the identity is taken from bytes, and whoever looks at a value turns it into text."""
        again = copy(self._parsed)
        again._dict = dict(self._parsed._dict)
        return again

    @cached_property
    def position(self) -> tuple[int, int, str]:
        """What orders the images of a study."""
        header = self.fresh()
        return whole(header, "SeriesNumber") or 0, whole(header, "InstanceNumber") or 0, text(header, "SOPInstanceUID")

    def judge(self, rules: GateRules) -> None:
        """Let the image pass, or raise why not, as `node.gate.judge` does, which is asked once."""
        if rules not in self._refusals:
            self._refusals[rules] = _refusal(self.fresh(), rules)
        if (refusal := self._refusals[rules]) is not None:
            raise NotAssessable(refusal.reason, refusal.detail)


def _refusal(header: Dataset, rules: GateRules) -> NotAssessable | None:
    try:
        judge(header, rules)
    except NotAssessable as refusal:
        return refusal
    return None


# Of the study in work and those that are looked at ahead.
@lru_cache(maxsize=8)
def headers(paths: tuple[Path, ...], settled: str) -> tuple[Header, ...]:
    """Return the headers of a generation, which are asked for up to four times.

    Parameters
    ----------
    paths : tuple of Path
        Its instances' files.
    settled : str
        When it was settled: one that was forgotten and comes anew is settled anew.
    """
    return tuple(Header(_read(path)) for path in paths)


def _read(path: Path) -> Dataset:
    with path.open("rb") as file:
        return dcmread(_Counted(file), stop_before_pixels=True)


class _Counted:
    """A file that knows where it stands: the library asks it 80 times a header, and a file asks the system each time.

    With each call of the system this thread would give up the interpreter.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._at = file, 0

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(count)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = self._file.seek(offset, whence)
        return self._at

    def tell(self) -> int:
        return self._at
