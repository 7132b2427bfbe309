"""Thousands of studies and associations through the running node, and what they leave in it: ``python -m tests.soak.soak``.

Films go through the receiver, the model and the delivery to a PACS; beside them come callers of every kind: monitors,
echo floods, half-open connections, aborts in the middle of a message, strangers, garbage. Every few seconds memory,
threads and descriptors of each role are written down, and in the end they are judged.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.peers import HOST
from tests.running import RunningNode
from tests.soak.films import film, new_uid
from tests.soak.pacs import RecordingPACS
from tests.soak.plots import draw_soak
from tests.soak.power_cuts import say
from tests.soak.senders import Crowd, Modality
from tests.soak.watch import Watch, judge

# More than this waits on no sender: what a backlog costs is measured by itself (`tests.soak.backlog`).
MOST_IN_WORK = 30
REST_S = 20.0
DEATHS = ("thread.died", "process.died", "process.failed", "process.hung")


def run(folder: Path, studies: int, associations: int, read_share: float, seed: int) -> dict[str, Any]:
    """Do all of it in a folder."""
    modality, warm_up, others = Modality(), max(20, studies // 10), associations - studies
    with RecordingPACS(folder / "pacs") as pacs:
        (pacs.folder / "arrivals").touch()
        destination = {"name": "pacs", "ae_title": pacs.ae_title, "host": HOST, "port": pacs.port}
        with RunningNode(folder / "node", [destination]) as node, Crowd(node.port, seed) as crowd:
            node.wait_until_working()
            watch = Watch(node, pacs, crowd)
            chosen = random.Random(seed)
            for number in range(1, studies + 1):
                films = _study(chosen, read_share)
                assert modality.send(node.port, films) == [], "a film was not acknowledged"
                watch.sent = number
                crowd.call(round(others * number / studies))
                watch.go_on()
                watch.wait(lambda: watch.sent - watch.delivered() <= MOST_IN_WORK, 300, "few enough in work")
                if number == warm_up:
                    before, first = _at_rest(watch, others * number // studies), len(watch.samples)
            after = _at_rest(watch, others)
            deaths = [each for name in DEATHS for each in node.events(name)]
        arrivals = pacs.arrivals()
    latencies = _by_size(modality)
    judged = judge(watch.samples[first:], before, after, latencies)
    judged["processes or threads that died"] = (len(deaths), 0)
    judged["calls that were not answered as the Standard says"] = (crowd.failed, 0)
    return {
        "studies": studies,
        "associations": studies + crowd.made,
        "sent_twice": len(arrivals) - len({instance for _, _, instance, _ in arrivals}),
        "ms": {kind: _spread_ms(seconds) for kind, seconds in latencies.items()},
        "judged": {what: {"measured": found, "most": most} for what, (found, most) in judged.items()},
        "passed": all(found <= most for found, most in judged.values()),
        "samples": watch.samples,
        "latencies": [(began - modality.latencies[0][0], seconds) for began, seconds, _ in modality.latencies],
    }


def _study(chosen: random.Random, read_share: float) -> list[Any]:
    """Return the films of a study: one, and now and then a small one beside it."""
    study = new_uid()
    films = [film(study, chosen.random() < read_share)]
    if chosen.random() < 0.1:
        films.append(film(study, is_read=False))
    return films


def _at_rest(watch: Watch, calls: int) -> dict[str, Any]:
    """Return a sample of the node once it has nothing to do and has had time to let go of what it held."""
    watch.wait(lambda: watch.delivered() >= watch.sent, 600, "all studies delivered")
    watch.wait(lambda: watch.calls >= calls, 600, "all other calls made")
    time.sleep(REST_S)
    return watch.look()


def _by_size(modality: Modality) -> dict[str, list[float]]:
    """Return the seconds that answers took, for small and for large films, where there are enough of a kind."""
    small = min(size for _, _, size in modality.latencies)
    kinds: dict[str, list[float]] = {"small": [], "large": []}
    for _, seconds, size in modality.latencies:
        kinds["small" if size < 2 * small else "large"].append(seconds)
    return {kind: seconds for kind, seconds in kinds.items() if len(seconds) > 50}


def _spread_ms(seconds: list[float]) -> dict[str, float]:
    return {
        "median": 1000 * statistics.median(seconds),
        "p99": 1000 * float(np.quantile(seconds, 0.99)),
        "most": 1000 * max(seconds),
        "count": len(seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=5000)
    parser.add_argument("--associations", type=int, default=20_000, help="in all, those of the studies included")
    parser.add_argument("--read-share", type=float, default=0.25, help="of the films, that the model reads")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("out/soak"))
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        form = run(folder, asked.studies, max(asked.associations, asked.studies), asked.read_share, asked.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    latencies = form.pop("latencies")
    (asked.out / "soak.json").write_text(json.dumps(form, indent=1))
    _write_csv(form["samples"], asked.out / "soak.csv")
    title = f"{form['studies']} studies, {form['associations']} associations"
    draw_soak(form["samples"], latencies, title, asked.out / "soak.png")
    for what, found in form["judged"].items():
        say(
            f"{'ok ' if found['measured'] <= found['most'] else 'NOT'} {what}: {found['measured']:.2f} (at most {found['most']})"
        )
    say(f"{title}; answers {form['ms']}; {asked.out}/soak.json")
    sys.exit(0 if form["passed"] else 1)


def _write_csv(samples: list[dict[str, Any]], path: Path) -> None:
    flat = [
        {key: value for key, value in each.items() if key != "roles"}
        | {f"{role}_{field}": value for role, facts in each["roles"].items() for field, value in facts.items()}
        for each in samples
    ]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, flat[0])
        writer.writeheader()
        writer.writerows(flat)


if __name__ == "__main__":
    main()
