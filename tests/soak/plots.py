"""What was measured, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

COLORS = {"receive": "tab:blue", "work": "tab:orange", "web": "tab:green", "supervisor": "tab:red", "all": "black"}


def draw_power_cuts(form: dict[str, Any], path: Path) -> None:
    """Draw the moment of each kill, by what was killed, and the acknowledgments up to then."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for phase, color in COLORS.items():
        of_phase = [(number, each) for number, each in enumerate(form["moments"], 1) if each["phase"] == phase]
        if not of_phase:
            continue
        numbers, moments = zip(*of_phase, strict=True)
        left.plot(numbers, [each["after_s"] for each in moments], "o", ms=3, color=color, label=phase)
        right.plot(numbers, [each["acknowledged"] for each in moments], ".", ms=4, color=color, label=phase)
    left.set(xlabel="kill", ylabel="seconds after the start or the kill before", yscale="symlog")
    left.legend()
    right.set(xlabel="kill", ylabel="acknowledged so far (each part counts anew)")
    figure.suptitle(
        f"{sum(form['kills'].values())} kills, {form['acknowledged']} acknowledged: {len(form['lost'])} lost, "
        f"{len(form['torn'])} torn, {len(form['unequal'])} without exactly one set of results"
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_soak(
    samples: Sequence[dict[str, Any]], latencies: Sequence[tuple[float, float]], title: str, path: Path
) -> None:
    """Draw memory, threads and descriptors of each role, the answer times and the sizes, over the studies delivered."""
    figure, axes = plt.subplots(2, 3, figsize=(15, 8), layout="constrained")
    roles = ("receive", "work", "web")
    studies = [each["studies"] for each in samples]
    for axis, field, label in zip(
        axes.flat, ("rss_mb", "threads", "descriptors"), ("resident memory, MB", "threads", "descriptors"), strict=False
    ):
        for role in roles:
            axis.plot(studies, [each["roles"][role][field] for each in samples], label=role)
        axis.set(xlabel="studies delivered", ylabel=label, ylim=(0, None))
        axis.legend()
    axes[1, 0].plot([at for at, _ in latencies], [1000 * seconds for _, seconds in latencies], ".", ms=2)
    axes[1, 0].set(xlabel="seconds", ylabel="C-STORE answered after, ms", yscale="log")
    axes[1, 1].plot(studies, [each["status_ms"] for each in samples])
    axes[1, 1].set(xlabel="studies delivered", ylabel="status page answered after, ms", ylim=(0, None))
    axes[1, 2].plot([each["s"] for each in samples], [each["sent"] for each in samples], label="sent")
    axes[1, 2].plot([each["s"] for each in samples], studies, label="delivered")
    axes[1, 2].set(xlabel="seconds", ylabel="studies")
    axes[1, 2].legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    plt.close(figure)
