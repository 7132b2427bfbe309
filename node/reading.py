"""The first half of a study's way after the spool: read, compose, draw. Each is a plain function of one task.

Each leaves its result in the spool before it returns and finds it there when it is asked again, so it may be cut off
and repeated at any point. `node.journey` has the other half, and `node.workflow` puts them in their order.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydicom import Dataset, dcmread

from node import __version__, log, watch
from node.agenda import Task
from node.bundle import Bundle
from node.config import Settings
from node.errors import NotAssessable, Reason
from node.film_reader import FilmReader
from node.gate import GateRules
from node.headers import Header, headers
from node.report import Profile, ReportOptions, ResultObject, StudySource, Writer, rehearse
from node.spool import Generation, Spool
from node.study import ImageReading, StudyReading, Times

# More studies than are looked at ahead at a time.
_LOOKED_AT = 16


@dataclass(frozen=True)
class ReadingStages:
    """What reading a study and writing its results need.

    Attributes
    ----------
    settings : Settings
    spool : Spool
    bundle : Bundle
    reader : FilmReader
    """

    settings: Settings
    spool: Spool
    bundle: Bundle
    reader: FilmReader
    # Of the last report, whose pictures are drawn right after it; to begin anew takes 2 ms of CPU.
    _composed: dict[Task, dict[Profile, Writer]] = field(default_factory=dict, init=False, repr=False, compare=False)
    # Studies wait for several turns, and are looked at in each.
    _looked_at: deque[Task] = field(
        default_factory=lambda: deque(maxlen=_LOOKED_AT), init=False, repr=False, compare=False
    )

    def read(self, task: Task) -> None:
        """Read every image of a generation that the gate lets through.

        Raises
        ------
        InferenceError
            When the model gives no usable answer.
        """
        if self.spool.reading(task.study_key, task.generation):
            return
        self._wind()
        started = datetime.now(UTC)
        generation = self.spool.generation(task.study_key, task.generation)
        images = tuple(
            self._read_image(task, number, key, header)
            for number, (key, header) in enumerate(self._headers(generation).items(), start=1)
        )
        times = Times(
            received=datetime.fromisoformat(generation.received),
            settled=datetime.fromisoformat(generation.settled),
            started=started,
            done=datetime.now(UTC),
        )
        reading = StudyReading(
            task.study_key, task.generation, images, self.bundle.identity, times, generation.previous
        )
        self.spool.write_reading(reading)
        log.event(
            "study.read",
            study=task.study_key,
            generation=task.generation,
            images=len(images),
            read=len(reading.read),
            triage=str(reading.triage),
            ms=round((times.done - started).total_seconds() * 1000),
        )

    def look_ahead(self, task: Task) -> None:
        """Have the first film of a generation that the gate lets through decoded by the time it is read."""
        if task in self._looked_at or self.spool.reading(task.study_key, task.generation):
            return
        self._looked_at.append(task)
        self._wind()
        for key, header in self._headers(self.spool.generation(task.study_key, task.generation)).items():
            with contextlib.suppress(NotAssessable):
                header.judge(self._rules())
                self.reader.look_ahead(self.spool.instance_path(task.study_key, key))
                return

    def forget_ahead(self) -> None:
        """Have the next study read by itself, whatever was looked at ahead."""
        self.reader.forget_ahead()

    def compose(self, task: Task) -> None:
        """Write the report of a reading, for every profile that a destination has, and all results where there are no more.

        Raises
        ------
        ReportError
            When an object cannot be built, or would break a viewer.
        """
        if self.spool.has_report(task.study_key, task.generation):
            return
        self._wind()
        writers = self._writers(task)
        reports = {profile: writer.report() for profile, writer in writers.items()}
        has_rest = any(writer.has_rest for writer in writers.values())
        write = self.spool.write_report if has_rest else self.spool.write_results
        write(task.study_key, task.generation, _files(reports, first=1))
        self._composed.clear()
        self._composed[task] = writers
        log.event("report.composed", study=task.study_key, generation=task.generation)

    def draw(self, task: Task) -> None:
        """Draw the pictures that a report names, and write what is sent besides; otherwise as `compose`."""
        if self.spool.has_results(task.study_key, task.generation):
            return
        self._wind()
        writers = self._composed.pop(task, None) or self._writers(task)
        rest = {profile: writer.rest() for profile, writer in writers.items()}
        files = _files(rest, first=2)
        self.spool.write_results(task.study_key, task.generation, files)
        log.event("results.composed", study=task.study_key, generation=task.generation, results=len(files))

    def in_every_form(self, task: Task, profile: Profile) -> ResultObject:
        """Write a report once more, in every SOP class that it may have; otherwise as `compose`."""
        (report,) = self._writers(task)[profile].report(every_form=True)
        return report

    def rehearse(self) -> None:
        """Compose results of an invented study in memory, so that the first real one waits for nothing that loads late."""
        rehearse(self._options(), self._profiles())

    def _read_image(self, task: Task, number: int, key: str, header: Header) -> ImageReading:
        self._wind()
        try:
            header.judge(self._rules())
            prediction = self.reader.read(self.spool.instance_path(task.study_key, key))
            return ImageReading(number, key, prediction=prediction)
        except NotAssessable as error:
            if error.reason is Reason.NOT_DECODED:
                log.alarm("film.given_up", study=task.study_key, generation=task.generation, reason=error.detail)
            return ImageReading(number, key, reason=error.reason, detail=error.detail)

    def _wind(self) -> None:
        """Have this process end where the next step does not."""
        watch.wind(self.settings.limits.step_s)

    def _rules(self) -> GateRules:
        gate = self.settings.gate
        return GateRules(gate.read_secondary_capture, gate.minimum_px, self.bundle.manifest.age_years)

    def _profiles(self) -> list[Profile]:
        return sorted({destination.profile for destination in self.settings.destinations})

    def _options(self) -> ReportOptions:
        report = self.settings.report
        shaping = [self.settings.digest(), self.bundle.digest, self.settings.listen.ae_title, __version__]
        if self.bundle.site:
            shaping.append(self.bundle.site.digest)
        return ReportOptions(
            ae_title=self.settings.listen.ae_title,
            heat_map=report.heat_map,
            not_analysed=report.not_analysed,
            language=report.language,
            map_opacity=report.map_opacity,
            extra=report.extra,
            config_digest=hashlib.sha256("|".join(shaping).encode()).hexdigest(),
        )

    def _headers(self, generation: Generation) -> dict[str, Header]:
        """Return the headers of a generation's instances, in the order of its images."""
        paths = tuple(self.spool.instance_path(generation.study_key, key) for key in generation.instances)
        found = zip(generation.instances, headers(paths, generation.settled), strict=True)
        return dict(sorted(found, key=lambda of_key: of_key[1].position))

    def _writers(self, task: Task) -> dict[Profile, Writer]:
        """Return who writes the results of a reading, by profile."""
        reading = self.spool.reading(task.study_key, task.generation)
        assert reading is not None, "compose follows read"
        generation = self.spool.generation(task.study_key, task.generation)
        attributes = {key: header.fresh() for key, header in self._headers(generation).items()}
        sources = {
            profile: StudySource(
                reading=reading,
                headers=attributes,
                shown=lambda key: self.reader.picture(self.spool.instance_path(task.study_key, key)),
                previous=self._previous_report(task.study_key, reading.previous, profile),
            )
            for profile in self._profiles()
        }
        return {profile: Writer(source, self._options(), profile) for profile, source in sources.items()}

    def _previous_report(self, study_key: str, name: str | None, profile: str) -> Dataset | None:
        """Return the header of the latest earlier report of this profile that was sent, or is on its way."""
        while name is not None:
            results = self.spool.results(study_key, name, profile)
            if results and self.spool.outbox.is_posted(study_key, name):
                return dcmread(results[0][0], stop_before_pixels=True)
            name = self.spool.generation(study_key, name).previous
        return None


def _files(results: dict[Profile, list[ResultObject]], first: int) -> dict[str, bytes]:
    """Return results as {relative path: file}, numbered in the order of sending."""
    return {
        f"{profile}/{index:02d}-{result.kind}/{preference}.dcm": encoded.data
        for profile, of_profile in results.items()
        for index, result in enumerate(of_profile, start=first)
        for preference, encoded in enumerate(result.encodings)
    }
