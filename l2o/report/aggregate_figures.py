"""Figures about several test tasks at once, as wide as a column of a paper."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from l2o.report.compare import in_order
from l2o.report.figures import band
from l2o.report.style import COLUMN, COLUMN_WIDTH, INK, QUIET, Line, optimizer_lines
from l2o.report.text import short_name

_METRICS = {
    "iqm": "IQM \N{RIGHTWARDS ARROW}",
    "median": "median \N{RIGHTWARDS ARROW}",
    "optimality_gap": "optimality\n\N{LEFTWARDS ARROW} gap",
}
_ROW_HEIGHT = 0.2
_LEGEND_COLUMNS = 3
_UNIT = {"color": QUIET, "lw": 0.8, "ls": (0, (4, 3)), "zorder": 1}


Lines = Mapping[str, Line]


def lines_of(table: pd.DataFrame) -> Lines:
    """Return the styles of all optimizers of a table, for figures that show some of them."""
    return optimizer_lines(sorted(table["optimizer"].unique()))


def learning_curves(curves: Mapping[str, pd.DataFrame], lines: Lines) -> Figure:
    """Draw mean returns with 95% bands over seeds, one panel per task.

    Args:
        curves: Learning curves by task.
        lines: See :func:`lines_of`.
    """
    labels = _labels(pd.concat(curves.values()), keep_random=True)
    columns = min(2, len(curves))
    rows = -(-len(curves) // columns)
    with matplotlib.rc_context(COLUMN):
        figure = _figure(1.45 * rows + 0.1 + _legend_height(labels))
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (task, part) in zip(panels, curves.items(), strict=False):
            present = set(part["optimizer"])
            for label in (label for label in labels if label in present):
                points = band(part[part["optimizer"] == label])
                _curve(axes, points["env_steps"], points.iloc[:, 1:].to_numpy(), lines[label])
            axes.set_title(textwrap.fill(task.replace("_", " "), 18), fontsize=7.5)
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        for axes in panels[len(curves) :]:
            axes.set_visible(False)
        figure.supxlabel("environment steps", fontsize=8, color=INK)
        figure.supylabel("return", fontsize=8, color=INK)
        _legend(figure, labels, lines)
    return figure


def aggregates(table: pd.DataFrame, lines: Lines) -> Figure:
    """Draw IQM, median and optimality gap of the final scores, one row per optimizer.

    Args:
        table: See :data:`l2o.evaluation.aggregates.AGGREGATE_COLUMNS`.
        lines: See :func:`lines_of`.
    """
    table, labels = _final(table)
    with matplotlib.rc_context(COLUMN):
        figure = _figure(0.75 + _ROW_HEIGHT * len(labels))
        for axes, (metric, title) in zip(
            figure.subplots(1, len(_METRICS), sharey=True), _METRICS.items(), strict=True
        ):
            part = table[table["metric"] == metric].set_index("optimizer")
            _bars(axes, labels, part[["low", "estimate", "high"]], lines)
            axes.axvline(0 if metric == "optimality_gap" else 1, **_UNIT)
            axes.set_title(title, loc="center", fontweight="normal")
            axes.xaxis.set_major_locator(MaxNLocator(3))
        figure.supxlabel("score: 0 random policy, 1 tuned Adam", fontsize=8, color=INK)
    return figure


def profile(table: pd.DataFrame, lines: Lines) -> Figure:
    """Draw performance profiles with pointwise 95% bands.

    Args:
        table: See :data:`l2o.evaluation.aggregates.PROFILE_COLUMNS`.
        lines: See :func:`lines_of`.
    """
    figure, axes = _lines(table, lines, "threshold", "share")
    axes.set(xlabel="score \N{GREEK SMALL LETTER TAU}: 0 random policy, 1 tuned Adam")
    axes.set(ylabel="share of agents above \N{GREEK SMALL LETTER TAU}", ylim=(0, 1.03))
    axes.set_xlim(table["threshold"].min(), table["threshold"].max())
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.axvline(1, **_UNIT)
    return figure


def efficiency(table: pd.DataFrame, lines: Lines) -> Figure:
    """Draw the interquartile mean over the share of the lifetime, with pointwise 95% bands.

    Args:
        table: See :data:`l2o.evaluation.aggregates.EFFICIENCY_COLUMNS`.
        lines: See :func:`lines_of`.
    """
    figure, axes = _lines(table, lines, "share", "iqm")
    axes.set(xlabel="share of the environment steps", ylabel="IQM of the scores", xlim=(0, 1))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for level in (0, 1):
        axes.axhline(level, **_UNIT)
    return figure


def improvement(table: pd.DataFrame, lines: Lines) -> Figure:
    """Draw the probability that the champion is better than each other optimizer.

    Args:
        table: See :data:`l2o.evaluation.aggregates.IMPROVEMENT_COLUMNS`.
        lines: See :func:`lines_of`.
    """
    table, labels = _final(table, keep_random=True)
    with matplotlib.rc_context(COLUMN):
        figure = _figure(0.55 + _ROW_HEIGHT * len(labels))
        axes = figure.subplots()
        ends = table.set_index("optimizer")[["low", "probability", "high"]]
        _bars(axes, labels, ends, lines)
        axes.axvline(0.5, **_UNIT)
        axes.set(xlabel="P(champion > optimizer)", xlim=(-0.02, 1.02))
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    return figure


def _figure(height: float) -> Figure:
    figure = Figure(figsize=(COLUMN_WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03)
    return figure


def _labels(table: pd.DataFrame, keep_random: bool = False) -> list[str]:
    """Return the optimizers of a table in the order of the report.

    Scores of the random policy are 0 by definition and would only hide others.
    """
    labels = in_order(table[["optimizer"]].drop_duplicates().sort_values("optimizer"))["optimizer"]
    return [label for label in labels if keep_random or label != "random"]


def _final(table: pd.DataFrame, keep_random: bool = False) -> tuple[pd.DataFrame, list[str]]:
    """Return what a table says of the final return, and its optimizers."""
    table = table[table["score"] == "final"]
    return table, _labels(table, keep_random)


def _lines(table: pd.DataFrame, lines: Lines, x: str, y: str) -> tuple[Figure, Axes]:
    """Draw a line with its band for every optimizer."""
    labels = _labels(table)
    with matplotlib.rc_context(COLUMN):
        figure = _figure(2.1 + _legend_height(labels))
        axes = figure.subplots()
        for label in labels:
            part = table[table["optimizer"] == label].sort_values(x)
            _curve(axes, part[x], part[[y, "low", "high"]].to_numpy(), lines[label])
        _legend(figure, labels, lines)
    return figure, axes


def _curve(axes: Axes, x: Sequence[float], y: np.ndarray, line: Line) -> None:
    """Draw a line and its band; ``y`` is ``[points, (middle, low, high)]``."""
    middle, low, high = y.T
    axes.fill_between(x, low, high, color=line.colour, alpha=0.12, lw=0)
    axes.plot(x, middle, color=line.colour, ls=line.dashes, lw=0.8 * line.width)


def _bars(axes: Axes, labels: Sequence[str], ends: pd.DataFrame, lines: Lines) -> None:
    """Draw a point with its interval on a row for each optimizer, the first at the top."""
    for place, label in enumerate(labels):
        low, middle, high = ends.loc[label]
        colour = lines[label].colour
        axes.plot([low, high], [place, place], color=colour, lw=4, alpha=0.35)
        axes.plot([middle], [place], "o", ms=4, color=colour)
    axes.set_yticks(range(len(labels)), [short_name(label) for label in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=8)


def _legend_height(labels: Sequence[str]) -> float:
    return 0.16 * -(-len(labels) // _LEGEND_COLUMNS)


def _legend(figure: Figure, labels: Sequence[str], lines: Lines) -> None:
    """Name the lines above the plot; at their ends there is no room in a column."""
    handles = [
        Line2D([], [], color=line.colour, ls=line.dashes, lw=0.8 * line.width)
        for line in (lines[label] for label in labels)
    ]
    figure.legend(
        handles, [short_name(label) for label in labels], loc="outside upper center",
        ncols=_LEGEND_COLUMNS, handlelength=2.3, columnspacing=0.8, handletextpad=0.5,
        labelspacing=0.2, borderpad=0.1,
    )  # fmt: skip
