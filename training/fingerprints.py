"""What each film's file and picture are known by, read once and kept: digests, looks, or why it cannot be read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from rich.progress import track

from node.errors import NotAssessable
from node.pixels import Plane, read_picture

CACHE = "fingerprints"  # the folder among the runs
# Of what is kept below; another way of looking needs another number, or kept fingerprints would be compared with new ones.
_METHOD = 1
_SIDE = 32  # pixels of the picture that is looked at
_FREQUENCIES = 16  # of each direction
# A row or column that varies by less is margin: black bars of a film padded to a square, the white rim of a scan.
_MARGIN = 0.06
_hann = np.hanning(_SIDE + 2)[1:-1]
_WINDOW = (np.outer(_hann, _hann) ** 0.25).astype(np.float32)
_RANKS = np.linspace(-0.5, 0.5, _SIDE * _SIDE, dtype=np.float32)
# A mirror turns the sign of every second wave across.
_MIRROR = (-1.0) ** np.arange(1, _FREQUENCIES + 1, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a film is known by.

    Attributes
    ----------
    content : str
        SHA-256 of the file.
    pixels : str
        SHA-256 of the decoded film at 16 bits: the same for a PNG and a TIFF of the same pixels.
    looks, mirrored : str
        256 bits in hexadecimal, of the film and of its mirror image; see `looks`.
    """

    content: str
    pixels: str
    looks: str
    mirrored: str


Known = Fingerprint | str


def fingerprints(images: Path, files: Iterable[str], cache: Path) -> dict[str, Known]:
    """Return each film's fingerprint, or in words why it cannot be read.

    A film is read again only where its size or its time of change is another than when it was last read.

    Parameters
    ----------
    images : Path
        The folder that `files` are relative to.
    files : iterable of str
    cache : Path
        Folder of what is kept between runs: one file for each folder of images.
    """
    kept_in = cache / f"{hashlib.sha256(str(images.resolve()).encode()).hexdigest()[:12]}.json"
    kept = _kept(kept_in)
    stamps = {file: _stamp(images / file) for file in files}
    new = [file for file, stamp in stamps.items() if file not in kept or kept[file][0] != stamp]
    try:
        with ThreadPoolExecutor() as pool:
            read = pool.map(fingerprint, [images / file for file in new])
            for file, known in track(zip(new, read, strict=True), "reading films", len(new), disable=not new):
                kept[file] = stamps[file], known
    finally:
        if new:
            _keep(kept_in, kept)
    return {file: kept[file][1] for file in stamps}


def fingerprint(path: Path) -> Known:
    """Read one film; return its fingerprint, or in words why it cannot be read."""
    try:
        plane = read_picture(path)
        content = path.read_bytes()
    except NotAssessable as error:
        return error.detail
    except OSError as error:
        return error.strerror or type(error).__name__
    words = np.round(plane * 65535).astype(np.uint16)
    return Fingerprint(
        hashlib.sha256(content).hexdigest(),
        hashlib.sha256(repr(words.shape).encode() + words.tobytes()).hexdigest(),
        *(np.packbits(bits).tobytes().hex() for bits in looks(plane)),
    )


def looks(plane: Plane) -> npt.NDArray[np.bool_]:
    """Return 256 bits of a film, and 256 of its mirror image, that another encoding, size, margin or gray scale of the same film hardly changes.

    The film without its margins, at 32 by 32 pixels, each pixel replaced by its rank so that no gray curve matters and faded toward
    the edges, where markers are; of its cosine transform the 16 by 16 lowest frequencies that vary in both directions, each above
    their median or not. 64 bits do not do for chest films, which are all alike: within 2 bits of each other lie 11 pairs of different
    patients of 6,447 films, where a copy with another gray curve is 6 bits away.

    Parameters
    ----------
    plane : ndarray, (rows, columns) float32 in [0, 1]

    Returns
    -------
    ndarray, (2, 256) bool

    References
    ----------
    C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010 (the hash of the cosine transform).
    """
    small = cv2.resize(_without_margins(plane), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    ranks = np.empty(small.shape, np.float32)
    ranks.flat[np.argsort(small, axis=None, kind="stable")] = _RANKS
    low = cv2.dct(ranks * _WINDOW)[1 : _FREQUENCIES + 1, 1 : _FREQUENCIES + 1]
    both = np.stack([low, low * _MIRROR]).reshape(2, -1)
    found: npt.NDArray[np.bool_] = both > np.median(both, axis=1, keepdims=True)
    return found


def _without_margins(plane: Plane) -> Plane:
    rows, columns = (np.flatnonzero(np.ptp(plane, axis=axis) > _MARGIN) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return plane
    return np.ascontiguousarray(plane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _kept(path: Path) -> dict[str, tuple[tuple[int, int], Known]]:
    """Read what an earlier run kept; what this version did not write is as good as nothing."""
    try:
        form = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(form, dict) or form.get("method") != _METHOD:
        return {}
    return {
        file: ((size, changed), known if isinstance(known, str) else Fingerprint(*known))
        for file, (size, changed, known) in form["films"].items()
    }


def _keep(path: Path, kept: dict[str, tuple[tuple[int, int], Known]]) -> None:
    films = {
        file: [*stamp, known if isinstance(known, str) else astuple(known)] for file, (stamp, known) in kept.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.part")  # two runs may be at it
    unfinished.write_text(json.dumps({"method": _METHOD, "films": films}))
    unfinished.rename(path)
