"""Films as files in, predictions out: decoded in the darkroom, read by the networks of this process.

Films that wait are decoded ahead of their turn, and the networks are given several that lie ready at once: their weights then
come through the processor's cache once for all of them. Nobody waits for company, and nobody's answer depends on it
(`node.infer.Reader.at_once`).
"""

from __future__ import annotations

import queue
import threading
from collections import OrderedDict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from node import watch
from node.darkroom import Darkroom
from node.errors import InferenceError, NotAssessable
from node.prints import Gray, Print
from node.study import Prediction

if TYPE_CHECKING:
    from node.infer import Reader  # TensorFlow comes with it

# Prints are kept for a moment, for a film is looked at twice, by the networks and for its picture. Each has 1 to 2 MB.
KEPT = 16


class FilmReader:
    """Reads films from files, for one thread; a thread of its own has them decoded.

    Parameters
    ----------
    reader : Reader
    darkroom : Darkroom
        With the preprocessing of the reader's bundle.
    step_s : float
        How long the networks may take for films that are read at once, and whoever asked with what it got, until this process is
        ended.
    """

    def __init__(self, reader: Reader, darkroom: Darkroom, step_s: float) -> None:
        self._reader, self._darkroom, self._step_s = reader, darkroom, step_s
        self._films: OrderedDict[tuple[Path, int], _Film] = OrderedDict()
        self._to_develop: queue.SimpleQueue[_Film] = queue.SimpleQueue()
        threading.Thread(target=self._develop, name="darkroom", daemon=True).start()

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
        film = self._film(path)
        self._print(film)
        if film.answer is None:
            self._answer([film, *self._company(film)])
        if isinstance(film.answer, NotAssessable):
            raise NotAssessable(film.answer.reason, film.answer.detail)
        assert film.answer is not None
        return film.answer

    def look_ahead(self, path: Path) -> None:
        """Have a film that will be read soon decoded, while this process does other things."""
        self._film(path).is_ahead = True

    def forget_ahead(self) -> None:
        """Read no film that was looked ahead at in another one's company."""
        for film in self._films.values():
            film.is_ahead = False

    def picture(self, path: Path) -> Gray:
        """Return a film as a report shows it, (rows, columns) uint8, 0 is black.

        Raises
        ------
        NotAssessable, InferenceError, OSError
            As `read` does; a film that was read may be asked for again after a new start.
        """
        return self._print(self._film(path)).picture

    def _film(self, path: Path) -> _Film:
        """Return a film, which is being decoded at the latest from now on."""
        # By its time, too: a study that was forgotten may come again under the same name.
        name = path, path.stat().st_mtime_ns
        if name not in self._films or self._films[name].met_trouble:  # which may be over by now
            self._films[name] = _Film(path)
            self._to_develop.put(self._films[name])
        while len(self._films) > KEPT:
            self._films.popitem(last=False)
        return self._films[name]

    def _print(self, film: _Film) -> Print:
        """Wait until a film is decoded; one that could not be is decoded anew when it is asked for again."""
        if not film.is_developed:
            before_it = sum(not each.is_developed for each in self._films.values())
            watch.wind(before_it * self._darkroom.longest_s + self._step_s)
            film.wait()
            watch.wind(self._step_s)
        if not film.is_sound:
            self._drop(film)
        return film.developed()

    def _drop(self, film: _Film) -> None:
        self._films = OrderedDict((name, each) for name, each in self._films.items() if each is not film)

    def _company(self, film: _Film) -> list[_Film]:
        """Return the films that lie ready beside this one."""
        ready = (each for each in self._films.values() if each.is_ahead and each.answer is None and each.is_sound)
        return [each for each in ready if each is not film][: self._reader.at_once - 1]

    def _answer(self, films: list[_Film]) -> None:
        """Have the first of these films read, and the others where that does not harm it."""
        try:
            answers = self._reader.read_prints([film.developed() for film in films])
        except InferenceError:
            if len(films) == 1:
                raise
            self._answer(films[:1])  # the others' turn is to come
        else:
            for film, answer in zip(films, answers, strict=True):
                film.answer = answer

    def _develop(self) -> None:
        while True:
            film = self._to_develop.get()
            with film:
                film.print = self._darkroom.develop(film.path)


class _Film:
    """A film on its way to an answer; in its context it is decoded, and what that comes to is kept, an error too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.print: Print | None = None
        self.answer: Prediction | NotAssessable | None = None
        self.is_ahead = False
        self._error: BaseException | None = None
        self._done = threading.Event()

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> bool:
        self._error = error
        self._done.set()
        return True

    @property
    def is_developed(self) -> bool:
        """Whether there is a print, or will never be one."""
        return self._done.is_set()

    @property
    def is_sound(self) -> bool:
        """Whether there is a print."""
        return self.is_developed and self._error is None

    @property
    def met_trouble(self) -> bool:
        """Whether there is no print for a reason that is not the film's own."""
        return self.is_developed and not (self.is_sound or isinstance(self._error, NotAssessable))

    def wait(self) -> None:
        """Wait until it is developed."""
        self._done.wait()

    def developed(self) -> Print:
        """Return the print, or raise what came in its place."""
        if self._error is not None:
            raise self._error
        assert self.print is not None
        return self.print
