"""Pictures of a study for who is logged in: its film, and the Grad-CAM picture that was sent of it.

A film is a stranger's, so that it is decoded as the worker does it: in another process that may be lost. The Grad-CAM
picture is the node's own, as it lies among the results.
"""

from __future__ import annotations

import contextlib
import threading
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames
from pydicom.uid import JPEGBaseline8Bit

from node import audit, audit_message
from node.config import Settings
from node.darkroom import Darkroom
from node.errors import InferenceError, NotAssessable
from node.pixels import InputSpec
from node.spool import Generation, Kind, Spool

# Pixels: of a thumbnail, and of a picture on a study's own page.
SMALL_HEIGHT, LARGE_HEIGHT = 96, 720
# A small one has 5 to 10 kB, a large one some 100 to 400.
KEPT = 128
# The process that decodes films is let go of when nobody has looked at one for so long.
IDLE_S = 600.0
# Nobody waits longer for a picture, whatever the worker may take for it.
LONGEST_S = 15.0

Image = npt.NDArray[np.uint8]


class Pictures:
    """Draws the pictures of studies.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._darkroom: Darkroom | None = None
        self._timer: threading.Timer | None = None
        self._film = lru_cache(KEPT)(self._draw_film)
        self._heat_map = lru_cache(KEPT)(_draw_heat_map)

    def film(self, spool: Spool, key: str, height: int) -> bytes | None:
        """Return the film that a study's answer is about, else its first, as PNG; None where none can be shown."""
        path = _leading_film(spool, key)
        with contextlib.suppress(InferenceError, OSError):
            return self._film(path, height) if path else None
        return None

    def heat_map(self, spool: Spool, key: str, height: int) -> bytes | None:
        """Return the first Grad-CAM picture of the latest reading, as PNG; None where there is none."""
        first = heat_map_of(spool, key)
        with contextlib.suppress(OSError):
            for path in sorted(first.parent.glob("*.dcm")) if first else ():  # the same picture in other encodings
                if drawn := self._heat_map(path, height):
                    return drawn
        return None

    def study(self, spool: Spool, key: str) -> audit_message.Study:
        """Return the study as audit records name it."""
        return audit.study_of(key, _leading_film(spool, key))

    def close(self) -> None:
        """End the process that decodes films."""
        with self._lock:
            if self._timer:
                self._timer.cancel()
            if self._darkroom:
                self._darkroom.close()
            self._darkroom = None

    def _draw_film(self, path: Path, height: int) -> bytes | None:
        with self._lock:
            if self._timer:
                self._timer.cancel()
            limits = self._settings.limits
            if self._darkroom is None:
                self._darkroom = Darkroom(InputSpec(), min(limits.film_s, LONGEST_S), limits.film_mb)
            self._timer = threading.Timer(IDLE_S, self.close)
            self._timer.daemon = True
            self._timer.start()
            try:
                return _png(self._darkroom.develop(path).picture, height)
            except NotAssessable:
                return None


def heat_map_of(spool: Spool, key: str) -> Path | None:
    """Return where the first Grad-CAM picture of a study's latest reading lies, None where there is none."""
    for generation in spool.generations(key)[-1:]:
        results = spool.generation_folder(key, generation.name) / "results"
        return next(iter(sorted(results.glob("*/*-picture/*.dcm"))), None)
    return None


def _leading_film(spool: Spool, key: str) -> Path | None:
    folder = spool.study_folder(key)
    for generation in spool.generations(key)[-1:]:
        for instance in _by_weight(spool, generation):
            path = folder / f"{instance}.{Kind.IMAGE}.dcm"
            if path.exists():
                return path
    return next(iter(sorted(folder.glob(f"*.{Kind.IMAGE}.dcm"))), None)


def _by_weight(spool: Spool, generation: Generation) -> list[str]:
    """Return the instances of a generation, the one that its answer is about first."""
    reading = spool.reading(generation.study_key, generation.name)
    if reading is None:
        return list(generation.instances)
    leading = [reading.leading.instance_key] if reading.leading else []
    return [*leading, *(image.instance_key for image in reading.images)]


def _draw_heat_map(path: Path, height: int) -> bytes | None:
    picture = _own_picture(dcmread(path))
    return None if picture is None else _png(picture, height)


def _own_picture(dataset: Dataset) -> Image | None:
    """Return a picture that the node wrote, (rows, columns, 3) in OpenCV's order of colors; None in other encodings."""
    rows, columns, syntax = int(dataset.Rows), int(dataset.Columns), dataset.file_meta.TransferSyntaxUID
    if syntax == JPEGBaseline8Bit:
        frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
        return cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_COLOR)
    if syntax.is_compressed or dataset.get("PlanarConfiguration") != 0 or len(dataset.PixelData) < 3 * rows * columns:
        return None
    rgb = np.frombuffer(dataset.PixelData, np.uint8, 3 * rows * columns).reshape(rows, columns, 3)
    return np.ascontiguousarray(rgb[..., ::-1])


def _png(picture: Image, height: int) -> bytes:
    rows, columns = picture.shape[:2]
    scale = min(1.0, height / rows)
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    return cv2.imencode(".png", cv2.resize(picture, size, interpolation=cv2.INTER_AREA))[1].tobytes()
