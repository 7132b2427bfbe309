"""The report's pictures: made for a column 800 pixels wide, for eyes that tell few colors apart, and for print.

Classes differ by color and by line, never by color alone. Colors are those of Okabe and Ito 2008, Color Universal Design.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.measure import MACRO
from training.statistics import Column

_INK, _MUTED, _GRID = "#1f2933", "#6b7680", "#d9dee3"
_GRAY, _BLUE, _VERMILION, _GREEN, _ORANGE, _PURPLE = "#5f6b76", "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7"
_COLORS = (_GRAY, _BLUE, _VERMILION, _GREEN, _ORANGE, _PURPLE)
_LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
_MARKERS = ("o", "s", "D", "^", "v", "P")
_WIDTH, _DPI = 8.0, 160
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _MUTED,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
}
_SHOWN_IN_FOREST = {
    "accuracy": "accuracy",
    f"auc {MACRO}": "AUC, mean of classes",
    "sensitivity any": "abnormal films flagged",
}
_ROBUST = {"accuracy": ("accuracy", _INK, "-", "o"), f"auc {MACRO}": ("AUC, mean of classes", _BLUE, "--", "s")}


def plots(metrics: Mapping[str, Any]) -> dict[str, bytes]:
    """Draw what the metrics allow.

    Parameters
    ----------
    metrics : mapping
        As `training.evaluate.evaluate` or `training.score.score` builds it.

    Returns
    -------
    dict of str to bytes
        PNG by name: confusion, roc, reliability, left_out, robustness, fairness.
    """
    wanted = {
        "confusion": (_confusion, True),
        "roc": (_roc, bool(metrics["roc"])),
        "reliability": (_reliability, True),
        "left_out": (_left_out, bool(metrics.get("left_out"))),
        "robustness": (_robustness, bool(metrics.get("robustness"))),
        "fairness": (_fairness, bool(metrics.get("fairness", {}).get("attributes"))),
    }
    with mpl.rc_context(_STYLE):
        return {name: _png(draw(metrics)) for name, (draw, possible) in wanted.items() if possible}


def save(pictures: Mapping[str, bytes], folder: Path) -> None:
    """Write each picture as ``NAME.png``."""
    for name, content in pictures.items():
        (folder / f"{name}.png").write_bytes(content)


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _figure(height: float) -> Figure:
    return Figure(figsize=(_WIDTH, height), layout="constrained")


def _confusion(metrics: Mapping[str, Any]) -> Figure:
    names, table = list(metrics["films"]), np.array(metrics["confusion"])
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    figure = _figure(1.5 + 1.15 * len(names))
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), count in np.ndenumerate(table):
        color = "white" if shares[row, column] > 0.55 else _INK
        _label(axes, f"{count}", (column, row), (0, 7), fontsize=17, color=color)
        _label(axes, _percent(shares[row, column]), (column, row), (0, -14), fontsize=11, color=color)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(
        range(len(names)), [f"{name}\n{total} films" for name, total in zip(names, table.sum(1), strict=True)]
    )
    axes.set_xlabel("most probable class")
    axes.set_ylabel("class by the data set")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return figure


def _roc(metrics: Mapping[str, Any]) -> Figure:
    figure = _figure(5.6)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=_MUTED, linewidth=1, linestyle=":")
    _label(axes, "a coin", (0.5, 0.5), (14, -12), color=_MUTED, fontsize=10)
    names = list(metrics["films"])
    for name, points in metrics["roc"].items():
        color, line = _COLORS[names.index(name) % len(_COLORS)], _LINES[names.index(name) % len(_LINES)]
        value, low, high = metrics["metrics"][f"auc {name}"]
        label = f"{name}: AUC {value:.3f} [{low:.3f}, {high:.3f}]"
        axes.plot(points["false_positive_rate"], points["true_positive_rate"], color=color, linestyle=line, label=label)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.set_xlabel("false positive rate: films of other classes called so")
    axes.set_ylabel("true positive rate: films of the class called so")
    axes.legend(loc="lower right", fontsize=11, title="class against all others, 95 % interval", alignment="left")
    return figure


def _reliability(metrics: Mapping[str, Any]) -> Figure:
    bins = metrics["reliability"]
    confidence, accuracy, counts = (np.array(bins[key]) for key in ("confidence", "accuracy", "films"))
    figure = _figure(5.8)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    low = max(0.0, float(confidence.min()) - 0.05)
    above.plot([low, 1], [low, 1], color=_MUTED, linewidth=1, linestyle=":", label="probability kept")
    ends = np.abs(_wilson(accuracy, counts) - accuracy)
    above.errorbar(confidence, accuracy, ends, color=_BLUE, marker="o", markersize=7, elinewidth=2, linestyle="", label="films called rightly, 95 % interval")  # fmt: skip
    above.set(ylim=(min(low, float((accuracy - ends[0]).min())) - 0.03, 1.03))
    above.set_ylabel("share called rightly")
    figure.legend(
        loc="outside upper left", ncols=2, title=f"expected calibration error {metrics['ece']:.3f}", alignment="left"
    )
    width = 0.8 * (bins["from"][1] - bins["from"][0] if len(counts) > 1 else 0.05)
    bars = below.bar(confidence, counts, width=min(width, 0.05), color=_BLUE)
    below.bar_label(bars, fontsize=9, color=_INK, padding=2)
    below.set(ylim=(0, counts.max() * 1.3), xlim=(low, 1.02))
    below.set_ylabel("films")
    below.set_xlabel("probability of the most probable class")
    below.grid(axis="x", visible=False)
    return figure


def _left_out(metrics: Mapping[str, Any]) -> Figure:
    names = list(metrics["films"])
    rows = [
        (
            source,
            label,
            metrics["by_source"].get(source, {}).get("metrics", {}).get(f"auc {label}"),
            found["metrics"][f"auc {label}"],
        )
        for source, found in metrics["left_out"].items()
        for label in names[1:]
        if f"auc {label}" in found["metrics"]
    ]
    figure = _figure(1.7 + 0.8 * len(rows))
    axes = figure.add_subplot()
    for position, (_, _, inside, outside) in enumerate(rows):
        if inside:
            axes.plot(
                [outside[0], inside[0]],
                [position, position],
                color=_GRID,
                linewidth=6,
                solid_capstyle="round",
                zorder=1,
            )
            _whisker(axes, inside, position - 0.13, _BLUE, "o", filled=False)
        _whisker(axes, outside, position + 0.13, _VERMILION, "D", filled=True)
        _label(
            axes,
            f"{outside[0]:.2f}",
            (outside[0], position + 0.13),
            (0, -14),
            fontsize=11,
            color=_VERMILION,
            weight="bold",
        )
    axes.axvline(0.5, color=_MUTED, linewidth=1.2, linestyle=":")
    axes.text(0.5, -0.62, "a coin", ha="center", va="bottom", fontsize=10, color=_MUTED)
    lowest = min([0.5, *(row[3][1] for row in rows)])
    axes.set(xlim=(lowest - 0.05, 1.01), ylim=(len(rows) - 0.4, -0.6))
    axes.set_yticks(range(len(rows)), [f"{source}\n{label}" for source, label, *_ in rows])
    axes.set_xlabel("AUC against the other films of the source, 95 % interval by patient")
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.scatter([], [], color=_VERMILION, marker="D", s=60, label="source left out of training")
    axes.scatter(
        [],
        [],
        facecolor="white",
        edgecolor=_BLUE,
        linewidth=2,
        marker="o",
        s=60,
        label="source in training, its test films",
    )
    figure.legend(loc="outside upper left", ncols=2)
    return figure


def _whisker(axes: Any, value: Sequence[float], position: float, color: str, marker: str, filled: bool) -> None:
    axes.plot(value[1:], [position, position], color=color, linewidth=2, zorder=2)
    face = color if filled else "white"
    axes.scatter(value[0], position, s=60, marker=marker, facecolor=face, edgecolor=color, linewidth=2, zorder=3)


def _robustness(metrics: Mapping[str, Any]) -> Figure:
    found = metrics["robustness"]
    figure = _figure(5.9)
    grid = figure.subplots(2, 3, sharey=True).ravel()
    lowest = 1.0
    for axes, (name, one) in zip(grid, found["alterations"].items(), strict=True):
        points = sorted(
            [*one["strengths"], {"strength": one["untouched"], **found["untouched"]}], key=lambda at: at["strength"]
        )
        if one["untouched"] > points[0]["strength"] and one["untouched"] == points[-1]["strength"]:
            points.reverse()
        places = np.arange(len(points))
        still = next(place for place, at in enumerate(points) if at["strength"] == one["untouched"])
        axes.axvspan(still - 0.3, still + 0.3, color="#eef1f4", zorder=0)
        for metric, (_, color, line, marker) in _ROBUST.items():
            values = np.array([at.get(metric, [np.nan] * 3) for at in points])
            lowest = min(lowest, float(np.nanmin(values, initial=1.0)))
            axes.fill_between(places, values[:, 1], values[:, 2], color=color, alpha=0.12, linewidth=0)
            axes.plot(places, values[:, 0], color=color, linestyle=line, marker=marker, markersize=5)
        axes.set_xticks(
            places,
            ["as is" if place == still else f"{at['strength']:g}" for place, at in enumerate(points)],
            fontsize=9,
        )
        axes.set_title(name)
        axes.set_xlabel(fill(one["meaning"], 30), fontsize=9, color=_MUTED)
    grid[0].set_ylim(lowest - 0.02, 1.005)
    for name, color, line, marker in _ROBUST.values():
        grid[0].plot([], [], color=color, linestyle=line, marker=marker, label=name)
    figure.legend(
        loc="outside upper left", ncols=2, title=f"{found['films']} test films, 95 % interval", alignment="left"
    )
    return figure


def _fairness(metrics: Mapping[str, Any]) -> Figure:
    rows = [*_groups(metrics["fairness"]["attributes"])]
    figure = _figure(1.7 + 0.37 * len(rows))
    panels = figure.subplots(1, len(_SHOWN_IN_FOREST), sharey=True)
    for axes, (metric, title) in zip(panels, _SHOWN_IN_FOREST.items(), strict=True):
        for position, (_, group, together) in enumerate(rows):
            if group and metric in group["metrics"]:
                apart = metric in group["differs"]
                _whisker(
                    axes,
                    group["metrics"][metric],
                    position,
                    _VERMILION if apart else _BLUE,
                    "D" if apart else "o",
                    filled=apart,
                )
            elif group and not group["metrics"] and metric in together:
                axes.text(together[metric][0], position, "too few ", ha="right", va="center", fontsize=9, color=_MUTED)
            if metric in together:
                axes.plot(
                    [together[metric][0]] * 2,
                    [position - 0.5, position + 0.5],
                    color=_MUTED,
                    linewidth=1.2,
                    linestyle=":",
                    zorder=1,
                )
        axes.set_title(fill(title, 16))
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlim(right=1.03)
    panels[0].set_ylim(len(rows) - 0.4, -0.6)
    panels[0].set_yticks(range(len(rows)), [name for name, *_ in rows])
    for label, (_, group, _) in zip(panels[0].get_yticklabels(), rows, strict=True):
        label.set_fontweight("normal" if group else "bold")
    panels[0].plot([], [], color=_BLUE, marker="o", markerfacecolor="white", label="no difference shown")
    panels[0].plot([], [], color=_VERMILION, marker="D", label="differs from the rest")
    panels[0].plot([], [], color=_MUTED, linestyle=":", linewidth=1.2, label="all of them")
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def _groups(attributes: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield, for each attribute, a heading, then its groups, each with the metrics of all of them together."""
    for attribute, found in attributes.items():
        yield attribute if attribute == "source" else f"{attribute} ({', '.join(found['sources'])})", {}, {}
        for name, group in found["groups"].items():
            yield f"{name or 'not stated'}, {group['patients']} patients", group, found["metrics"]


def _label(axes: Any, text: str, at: tuple[float, float], offset: tuple[float, float], **style: Any) -> None:
    """Write text centered at so many points from a place."""
    axes.annotate(text, at, offset, textcoords="offset points", ha="center", va="center", **style)


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _wilson(share: Column, counts: Column) -> npt.NDArray[np.float64]:
    """Return the ends of a 95 % interval of a share, (2, shares): one that holds for few films, too (Wilson 1927)."""
    z = 1.96
    center = (share + z**2 / (2 * counts)) / (1 + z**2 / counts)
    half = z / (1 + z**2 / counts) * np.sqrt(share * (1 - share) / counts + z**2 / (4 * counts**2))
    return np.stack([np.minimum(center - half, share), np.maximum(center + half, share)])
