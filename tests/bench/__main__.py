"""Measure the node beside its alternatives, in one run: ``python -m tests.bench --help``."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.bench import backlog, delivery, inference, ingest, pixels, start_up, whole_way
from tests.bench.document import NAME, filled, from_json, merged, to_json
from tests.bench.machine import machine, moment
from tests.bench.measured import FULL, QUICK, Amount, Figures
from tests.bench.plots import draw
from tests.bench.tables import table
from tests.bench.targets import target_table

PARTS: dict[str, ModuleType] = {
    part.PART.replace(" ", "-"): part for part in (ingest, pixels, inference, delivery, whole_way, backlog, start_up)
}
DRAWN = {
    ingest.PART: "CPU ms an image",
    pixels.PART: pixels.CPU,
    inference.PART: inference.CPU,
    delivery.PART: delivery.LATENCY,
    whole_way.PART: "CPU ms an image",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="NAME", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    parser.add_argument("--rounds", type=int, help="how often those that are compared take turns")
    parser.add_argument("--studies", type=int, help="studies that four senders send")
    parser.add_argument("--backlogs", type=int, nargs="+", help="numbers of studies that wait")
    parser.add_argument(
        "--out", type=Path, default=Path("out/bench"), help="folder of performance.json, .md and pictures"
    )
    asked = parser.parse_args()
    amount = _amount(QUICK if asked.quick else FULL, asked)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in asked.only:  # each is written as it is done, for the next one may fail
        write(asked.out, {PARTS[name].PART: _measured(PARTS[name], amount)})
    print(f"\n{target_table(_read(asked.out))}\n\n{asked.out}/{NAME}.json", flush=True)


def _amount(usual: Amount, asked: argparse.Namespace) -> Amount:
    return Amount(asked.rounds or usual.rounds, asked.studies or usual.studies, asked.backlogs or usual.backlogs)


def _measured(part: ModuleType, amount: Amount) -> dict[str, Any]:
    """Measure one part, and say how it went."""
    began, started = moment(), time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        figures = Figures(part.measure(folder, amount))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    took_s = round(time.monotonic() - started)
    print(f"\n{part.PART}, {took_s} s\n\n{table(figures)}", flush=True)
    command = f"python -m tests.bench {shlex.join(sys.argv[1:])}".strip()
    return {"began": began, "ended": moment(), "took_s": took_s, "command": command, "values": to_json(figures)}


def write(out: Path, measured: dict[str, Any]) -> None:
    """Write figures, tables and pictures to a folder, beside those of parts that were not measured now."""
    out.mkdir(parents=True, exist_ok=True)
    form = merged(out / f"{NAME}.json", machine(), measured)
    (out / f"{NAME}.json").write_text(json.dumps(form, indent=1) + "\n")
    parts = _read(out)
    blocks = {"targets": target_table(parts), "machine": _machine_words(form)}
    for name, figures in parts.items():
        blocks[name] = f"{_run_words(form['parts'][name])}\n\n{table(figures)}"
        if name in DRAWN and name in measured:
            draw(figures, DRAWN[name], f"{name}: {DRAWN[name]}", out / f"{NAME}-{name.replace(' ', '-')}.png")
    document = out / f"{NAME}.md"
    if document.exists():
        document.write_text(filled(document.read_text("utf-8"), blocks), "utf-8")


def _read(out: Path) -> dict[str, Figures]:
    """Return the figures of all parts that were measured last."""
    form = json.loads((out / f"{NAME}.json").read_text())
    return {name: from_json(part["values"]) for name, part in form["parts"].items()}


def _machine_words(form: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in form["versions"].items())
    place = f"{form['processor']}, {form['cores']} cores, {form['memory_gb']:.0f} GB, {form['system']}, {form['file_system']}"
    return f"Measured on: {place}. {versions}."


def _run_words(part: dict[str, Any]) -> str:
    began, ended = part["began"], part["ended"]
    return (
        f"`{part['command']}`, {began['at']}, {part['took_s']} s; load {began['load']} before and {ended['load']} after, "
        f"yardstick {began['yardstick_ms']} and {ended['yardstick_ms']} ms."
    )


if __name__ == "__main__":
    main()
