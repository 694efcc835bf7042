"""The figures of the transfer: of each test task, and of all together, a column wide."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from l2o.report.compare import in_order
from l2o.report.drawing.column import (
    LEGEND_COLUMNS,
    Lines,
    axis_titles,
    column_figure,
    curve,
    interval_points,
    legend,
    name_rows,
)
from l2o.report.drawing.curves import band, learning_curves
from l2o.report.drawing.style import COLUMN, QUIET, optimizer_lines
from l2o.report.drawing.svg import Drawing
from l2o.report.results import Results, TransferSummary
from l2o.report.text import short_name

_METRICS = {
    "iqm": "IQM \N{RIGHTWARDS ARROW}",
    "median": "median \N{RIGHTWARDS ARROW}",
    "optimality_gap": "optimality\n\N{LEFTWARDS ARROW} gap",
}
_ROW_HEIGHT = 0.2
_UNIT = {"color": QUIET, "lw": 0.8, "ls": (0, (4, 3)), "zorder": 1}


def drawings(results: Results) -> Iterator[Drawing]:
    """Yield the learning curves on every test task, and the figures about all of them."""
    for task, evaluation in results.transfer.items():
        figure = learning_curves(evaluation.curves, f"{task} (test)")
        yield Drawing(f"transfer_{task}", figure, f"Learning curves on the test task {task}")
    if results.summary is not None:
        yield from summary_drawings(results.summary, "summary_")


def all_learning_curves(summary: TransferSummary, curves: Mapping[str, pd.DataFrame]) -> Drawing:
    """Return the learning curves on all test tasks in one figure.

    Args:
        summary: What was made of them.
        curves: By task.
    """
    figure = _learning_curves(curves, _lines_of(summary.scores))
    return Drawing("learning_curves", figure, "Learning curves on the test tasks")


def summary_drawings(summary: TransferSummary, prefix: str = "") -> Iterator[Drawing]:
    """Yield the figures about all test tasks at once.

    Args:
        summary: The tables.
        prefix: Of the figures' names.
    """
    lines = _lines_of(summary.scores)
    aggregated = _aggregates(summary.aggregates, lines)
    yield Drawing(f"{prefix}aggregates", aggregated, "IQM, median, optimality gap per optimizer")
    profile = _profile(summary.profiles, lines)
    yield Drawing(f"{prefix}profile", profile, "Share of agents above each score, per optimizer")
    improved = _improvement(summary.improvement, lines)
    text = "Probability that the champion is better than each other optimizer"
    yield Drawing(f"{prefix}improvement", improved, text)
    efficiency = _efficiency(summary.efficiency, lines)
    text = "Interquartile mean of the scores over the lifetime, per optimizer"
    yield Drawing(f"{prefix}efficiency", efficiency, text)


def _lines_of(table: pd.DataFrame) -> Lines:
    """Return the styles of all optimizers of a table, for figures that show some of them."""
    return optimizer_lines(sorted(table["optimizer"].unique()))


def _learning_curves(curves: Mapping[str, pd.DataFrame], lines: Lines) -> Figure:
    """Draw mean returns with 95% bands over seeds, one panel per task.

    Args:
        curves: Learning curves by task.
        lines: See :func:`_lines_of`.
    """
    labels = _labels(pd.concat(curves.values()), keep_random=True)
    columns = min(2, len(curves))
    rows = -(-len(curves) // columns)
    with matplotlib.rc_context(COLUMN):
        figure = column_figure(1.45 * rows + 0.1 + _legend_height(labels))
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (task, part) in zip(panels, curves.items(), strict=False):
            present = set(part["optimizer"])
            for label in (label for label in labels if label in present):
                points = band(part[part["optimizer"] == label])
                curve(axes, points["env_steps"], points.iloc[:, 1:].to_numpy(), lines[label])
            axes.set_title(textwrap.fill(task.replace("_", " "), 18), fontsize=7.5)
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        for axes in panels[len(curves) :]:
            axes.set_visible(False)
        axis_titles(figure, "environment steps", "return")
        _legend(figure, labels, lines)
    return figure


def _aggregates(table: pd.DataFrame, lines: Lines) -> Figure:
    """Draw IQM, median and optimality gap of the final scores, one row per optimizer.

    Args:
        table: See :data:`l2o.statistics.columns.comparisons.AGGREGATE_COLUMNS`.
        lines: See :func:`_lines_of`.
    """
    table, labels = _final(table)
    with matplotlib.rc_context(COLUMN):
        figure = column_figure(0.75 + _ROW_HEIGHT * len(labels))
        for axes, (metric, title) in zip(
            figure.subplots(1, len(_METRICS), sharey=True), _METRICS.items(), strict=True
        ):
            part = table[table["metric"] == metric].set_index("optimizer")
            _bars(axes, labels, part[["low", "estimate", "high"]], lines)
            axes.axvline(0 if metric == "optimality_gap" else 1, **_UNIT)
            axes.set_title(title, loc="center", fontweight="normal")
            axes.xaxis.set_major_locator(MaxNLocator(3))
        axis_titles(figure, "score: 0 random policy, 1 tuned Adam")
    return figure


def _profile(table: pd.DataFrame, lines: Lines) -> Figure:
    """Draw performance profiles with pointwise 95% bands.

    Args:
        table: See :data:`l2o.statistics.columns.comparisons.PROFILE_COLUMNS`.
        lines: See :func:`_lines_of`.
    """
    figure, axes = _lines(table, lines, "threshold", "share")
    axes.set(xlabel="score \N{GREEK SMALL LETTER TAU}: 0 random policy, 1 tuned Adam")
    axes.set(ylabel="share of agents above \N{GREEK SMALL LETTER TAU}", ylim=(0, 1.03))
    axes.set_xlim(table["threshold"].min(), table["threshold"].max())
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.axvline(1, **_UNIT)
    return figure


def _efficiency(table: pd.DataFrame, lines: Lines) -> Figure:
    """Draw the interquartile mean over the share of the lifetime, with pointwise 95% bands.

    Args:
        table: See :data:`l2o.statistics.columns.comparisons.EFFICIENCY_COLUMNS`.
        lines: See :func:`_lines_of`.
    """
    figure, axes = _lines(table, lines, "share", "iqm")
    axes.set(xlabel="share of the environment steps", ylabel="IQM of the scores", xlim=(0, 1))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for level in (0, 1):
        axes.axhline(level, **_UNIT)
    return figure


def _improvement(table: pd.DataFrame, lines: Lines) -> Figure:
    """Draw the probability that the champion is better than each other optimizer.

    Args:
        table: See :data:`l2o.statistics.columns.comparisons.IMPROVEMENT_COLUMNS`.
        lines: See :func:`_lines_of`.
    """
    table, labels = _final(table, keep_random=True)
    with matplotlib.rc_context(COLUMN):
        figure = column_figure(0.55 + _ROW_HEIGHT * len(labels))
        axes = figure.subplots()
        ends = table.set_index("optimizer")[["low", "probability", "high"]]
        _bars(axes, labels, ends, lines)
        axes.axvline(0.5, **_UNIT)
        axes.set(xlabel="P(champion > optimizer)", xlim=(-0.02, 1.02))
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
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
        figure = column_figure(2.1 + _legend_height(labels))
        axes = figure.subplots()
        for label in labels:
            part = table[table["optimizer"] == label].sort_values(x)
            curve(axes, part[x], part[[y, "low", "high"]].to_numpy(), lines[label])
        _legend(figure, labels, lines)
    return figure, axes


def _bars(axes: Axes, labels: Sequence[str], ends: pd.DataFrame, lines: Lines) -> None:
    """Draw a point with its interval on a row for each optimizer."""
    colours = [lines[label].colour for label in labels]
    interval_points(axes, range(len(labels)), ends.loc[labels], colours)
    name_rows(axes, [short_name(label) for label in labels], 8)


def _legend_height(labels: Sequence[str]) -> float:
    return 0.16 * -(-len(labels) // LEGEND_COLUMNS)


def _legend(figure: Figure, labels: Sequence[str], lines: Lines) -> None:
    legend(figure, {short_name(label): lines[label] for label in labels})
