"""What a training says of itself after every epoch: JSON, TensorBoard, and curves as a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from tensorboard.summary import Writer

# Distinguishable with any color vision (Okabe and Ito 2008).
_TRAIN, _VAL, _RATE = "#0072B2", "#D55E00", "#999999"


class Logbook:
    """The rows of a training, an epoch each.

    Parameters
    ----------
    folder : Path
        Gets ``history.json``, ``curves.png`` and ``tensorboard/``.
    rows : list of dict
        Those of earlier epochs; new ones are appended to it.
    """

    def __init__(self, folder: Path, rows: list[dict[str, Any]]) -> None:
        self.folder, self.rows = folder, rows

    def write(self, row: dict[str, Any]) -> None:
        """Add an epoch: its last step, its stage, and its figures by name."""
        self.rows.append(row)
        (self.folder / "history.json").write_text(json.dumps(self.rows, indent=1) + "\n")
        writer = Writer(str(self.folder / "tensorboard"))
        for name, value in row.items():
            if isinstance(value, float):
                writer.add_scalar(name, value, row["step"])
        writer.close()
        draw_curves(self.rows, self.folder / "curves.png")


def draw_curves(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw loss, validation accuracy and learning rate over steps; a line marks where a stage of unfreezing begins."""
    steps = [row["step"] for row in rows]
    with mpl.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(8, 6), layout="constrained")
        losses, accuracy, rates = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 1))
        losses.plot(steps, [row["loss"] for row in rows], color=_TRAIN, marker="o", ms=3, label="train, altered films")
        losses.plot(
            steps, [row["val_loss"] for row in rows], color=_VAL, marker="o", ms=3, label="val, averaged weights"
        )
        losses.set_ylabel("loss")
        losses.legend(frameon=False)
        accuracy.plot(steps, [row["val_accuracy"] for row in rows], color=_VAL, marker="o", ms=3)
        accuracy.set_ylabel("val accuracy,\nbalanced")
        rates.plot(steps, [row["learning_rate"] for row in rows], color=_RATE)
        rates.set(ylabel="learning rate", xlabel="step", yscale="log")
        for axis in (losses, accuracy, rates):
            _mark_stages(axis, rows, named=axis is losses)
        figure.savefig(path, dpi=100)


def _mark_stages(axis: Any, rows: list[dict[str, Any]], *, named: bool) -> None:
    before = None
    for row, last in zip(rows, [0, *(row["step"] for row in rows)], strict=False):
        if row["stage"] != before:
            axis.axvline(last, color=_RATE, lw=0.8, ls=":")
            if named:
                axis.annotate(
                    f" from {row['stage']}", (last, 1), xycoords=("data", "axes fraction"), va="top", fontsize=9
                )
            before = row["stage"]
