"""Where the worker's time goes: one study after the other in one process, stage by stage: ``python -m tests.bench.stages``.

Set ``OPENBLAS_NUM_THREADS=1`` and ``TF_ENABLE_ONEDNN_OPTS=1``, as the worker does: else a second thread of OpenBLAS waits by
turning round, and is counted, and TensorFlow may have other kernels.

With ``--profile`` it tells where within the stages, by cProfile and the thread's CPU time: Python code then looks some four times
as dear beside native code.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import structlog
import yaml

from node import bundle as bundles
from node import config
from node.darkroom import Darkroom
from node.durable import key_of
from node.file_head import file_head
from node.film_reader import FilmReader
from node.infer import Reader
from node.journey import Journey
from node.spool import Kind, Spool
from tests.bench.images import raw
from tests.bench.tables import number
from tests.raw import CR
from tests.running import BUNDLE

# The first studies make what stays; they are left out.
FIRST = 3
SHOWN = 40


class Stages:
    """CPU and wall time of each stage, study by study."""

    def __init__(self, profile: cProfile.Profile | None) -> None:
        self._profile = profile
        self._took: dict[str, list[tuple[float, float, float]]] = defaultdict(list)

    def time(self, name: str, stage: Callable[..., Any], *given: Any) -> Any:
        """Do a stage."""
        if self._profile and len(self._took[name]) >= FIRST:
            self._profile.enable()
        began = time.process_time(), time.thread_time(), time.perf_counter()
        done = stage(*given)
        ended = time.process_time(), time.thread_time(), time.perf_counter()
        if self._profile:
            self._profile.disable()
        self._took[name].append(tuple(1000 * (end - start) for start, end in zip(began, ended, strict=True)))  # type: ignore[arg-type]
        return done

    def table(self) -> str:
        """Return the medians, and the least of the first column, as a Markdown table."""
        rows = [
            "| stage | CPU ms, process | least | CPU ms, this thread | wall ms |",
            "| --- | ---: | ---: | ---: | ---: |",
        ]
        for name, all_took in self._took.items():
            took = all_took[FIRST:]
            process, thread, wall = (statistics.median(column) for column in zip(*took, strict=True))
            least = min(each[0] for each in took)
            rows.append(f"| {name} | {' | '.join(number(value) for value in (process, least, thread, wall))} |")
        return "\n".join(rows)


def run(folder: Path, studies: int, stages: Stages) -> None:
    """Take, read, compose, post and draw studies of one raw image of 10 MB; decoding is in another process, and not counted."""
    form = {
        "spool": {"folder": "spool"},
        "model": {"bundle": str(BUNDLE), "device": "cpu"},
        "destinations": [{"name": "pacs", "ae_title": "NOBODY", "host": "127.0.0.1", "port": 1}],
    }
    (folder / "node.yaml").write_text(yaml.safe_dump(form))
    settings = config.load(folder / "node.yaml")
    spool, bundle, limits = Spool(settings.spool.folder), bundles.load(BUNDLE), settings.limits
    reader = Reader(bundle, "cpu")
    with Darkroom(bundle.manifest.preprocessing, limits.film_s, limits.film_mb) as darkroom:
        journey = Journey(settings, spool, bundle, FilmReader(reader, darkroom, limits.step_s), {})
        for _ in range(FIRST + studies):
            image = raw().new()
            head = file_head(CR, image.sop_instance_uid, image.transfer_syntax_uid)
            content = head, image.head, image.rest
            named = image.study_instance_uid, image.sop_instance_uid
            stages.time("take", spool.take, *named, Kind.IMAGE, content)
            task = stages.time("settle", spool.settle, key_of(image.study_instance_uid))
            for stage in (journey.read, journey.compose, journey.post, journey.draw):
                stages.time(stage.__name__, stage, task)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=14)
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args()
    structlog.configure(processors=[_drop])
    cv2.setNumThreads(1)  # as in the worker
    profile = cProfile.Profile(time.thread_time) if asked.profile else None
    stages = Stages(profile)
    with tempfile.TemporaryDirectory(prefix="stages-") as folder:
        run(Path(folder), asked.studies, stages)
    print(stages.table())
    if profile:
        pstats.Stats(profile).strip_dirs().sort_stats("cumulative").print_stats(SHOWN)


def _drop(*_: Any) -> Any:
    raise structlog.DropEvent


if __name__ == "__main__":
    main()
