"""The figures, drawn: medians as bars, each panel a case."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from tests.bench.measured import Figures
from tests.bench.tables import number

NODE_COLOR, OTHER_COLOR = "#1f5fa8", "#b8bfc7"
PANELS_A_ROW = 3


def draw(figures: Figures, quantity: str, title: str, path: Path) -> None:
    """Draw the medians of one quantity, a panel for each case in which there are several to compare.

    Parameters
    ----------
    figures : Figures
    quantity : str
    title : str
    path : Path
        A PNG file.
    """
    cases = [case for case in figures.cases() if len(_measured(figures, case, quantity)) > 1]
    if not cases:
        return
    across = 2 if len(cases) == 4 else min(PANELS_A_ROW, len(cases))
    down = -(-len(cases) // across)
    most = max(len(_measured(figures, case, quantity)) for case in cases)
    size = (4.2 * across, (0.55 + 0.34 * most) * down + 0.5)
    figure, axes = plt.subplots(down, across, figsize=size, layout="constrained", squeeze=False)
    for axis in axes.flat[len(cases) :]:
        axis.set_axis_off()
    for case, axis in zip(cases, axes.flat, strict=False):
        _panel(axis, figures, case, quantity)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _panel(axis: Axes, figures: Figures, case: str, quantity: str) -> None:
    subjects = _measured(figures, case, quantity)
    medians = [figures.median(case, subject, quantity) or 0.0 for subject in subjects]
    bars = axis.barh(subjects, medians, color=[NODE_COLOR, *[OTHER_COLOR] * (len(subjects) - 1)], height=0.65)
    axis.bar_label(bars, [number(value) for value in medians], padding=3, fontsize=8)
    axis.set_title(case, fontsize=9, loc="left")
    axis.invert_yaxis()
    axis.set_xlim(0, 1.18 * max(medians))
    axis.set_xticks([])
    axis.tick_params(labelsize=8, length=0)
    for side in ("top", "right", "bottom"):
        axis.spines[side].set_visible(False)


def _measured(figures: Figures, case: str, quantity: str) -> Sequence[str]:
    return [subject for subject in figures.subjects(case) if figures.values(case, subject, quantity)]
