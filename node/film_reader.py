"""Films as files in, predictions out: decoded in the darkroom, read by the networks of this process."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from node import watch
from node.darkroom import Darkroom
from node.prints import Gray, Print
from node.study import Prediction

if TYPE_CHECKING:
    from node.infer import Reader  # TensorFlow comes with it

# Prints are kept for a moment, for a film is looked at twice, by the networks and for its picture. Each has 1 to 2 MB.
KEPT = 16


class FilmReader:
    """Reads films from files.

    Parameters
    ----------
    reader : Reader
    darkroom : Darkroom
        With the preprocessing of the reader's bundle.
    step_s : float
        How long the networks may take for a film, and whoever asked for it with what it got, until this process is ended.
    """

    def __init__(self, reader: Reader, darkroom: Darkroom, step_s: float) -> None:
        self._reader, self._darkroom, self._step_s = reader, darkroom, step_s
        self._kept = lru_cache(maxsize=KEPT)(self._developed)

    def read(self, path: Path) -> Prediction:
        """Read one film.

        Raises
        ------
        NotAssessable
            Where it cannot be decoded, or is no chest film.
        InferenceError
            Where the model gives no usable answer.
        OSError
            Where the file cannot be read.
        """
        return self._reader.read_print(self._print(path))

    def look_ahead(self, path: Path) -> None:
        """Have the film that will be read next decoded while this process does other things."""
        self._darkroom.begin(path)

    def picture(self, path: Path) -> Gray:
        """Return a film as a report shows it, (rows, columns) uint8, 0 is black.

        Raises
        ------
        NotAssessable, InferenceError, OSError
            As `read` does; a film that was read may be asked for again after a new start.
        """
        return self._print(path).picture

    def _print(self, path: Path) -> Print:
        # By its time, too: a study that was forgotten may come again under the same name.
        return self._kept(path, path.stat().st_mtime_ns)

    def _developed(self, path: Path, _: int) -> Print:
        watch.wind(self._darkroom.longest_s + self._step_s)
        made = self._darkroom.develop(path)
        watch.wind(self._step_s)
        return made
