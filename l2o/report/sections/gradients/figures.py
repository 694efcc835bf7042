"""The figures of the gradient studies, as wide as a column of a paper."""

from collections.abc import Iterator, Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from l2o.report.drawing.column import (
    Lines,
    axis_titles,
    column_figure,
    curve,
    interval_points,
    legend,
    name_rows,
    plain_curve,
)
from l2o.report.drawing.style import COLUMN, QUIET, Line, source_lines
from l2o.report.drawing.svg import Drawing
from l2o.report.results import Results
from l2o.report.sections.gradients.tables import accuracies
from l2o.statistics.columns.gradients import BIN_WIDTH, PHASES
from l2o.statistics.gradients import density, quantile

_PHASE_LINES = {
    "beginning": Line("#7fb8de", (0, (1.5, 1.2))),
    "middle": Line("#2f86c5", (0, (4, 2))),
    "end": Line("#003f6b"),
}
_EMPTY = 1e-3
"""Densities below are not drawn: single values of millions."""


def drawings(results: Results) -> Iterator[Drawing]:
    """Yield the figures of the studies that were made."""
    gradients = results.gradients
    if not gradients.histograms.empty:
        yield from study_drawings(gradients.tables, gradients.histograms)
    if gradients.identity is not None:
        figure = _identity(accuracies(gradients.identity))
        yield Drawing("gradient_identity_accuracy", figure, "Accuracy on the identity task")


def study_drawings(
    tables: Mapping[str, pd.DataFrame], histograms: pd.DataFrame
) -> Iterator[Drawing]:
    """Yield the figures of a study.

    Args:
        tables: Its tables by name.
        histograms: Of all sources.
    """
    if "range" in tables:
        text = "Distribution of log10 |g| by phase, one panel per source"
        yield Drawing("gradient_range_magnitudes", _magnitudes(histograms), text)
        text = "Distribution of the gradient itself by phase, one panel per source"
        yield Drawing("gradient_range_values", _values(histograms), text)
    if "distances" in tables:
        text = "Distance between the distributions of log10 |g| of phases, and of agents"
        yield Drawing("gradient_change_distances", _distances(tables["distances"]), text)
        text = "How alike gradients some steps apart are"
        auto = _autocorrelations(tables["autocorrelation"])
        yield Drawing("gradient_change_autocorrelation", auto, text)
        text = "How far what an optimizer sees in meta-training is from all that there is to see"
        yield Drawing("gradient_change_drift", _drifts(tables["drift"]), text)
    if "signal" in tables:
        text = "Signal-to-noise ratio and noise scale of gradients along the lifetime"
        yield Drawing("gradient_noise_signal", _signals(tables["signal"]), text)


def _magnitudes(histograms: pd.DataFrame) -> Figure:
    """Draw the density of log10 |g| in each phase, one panel per source.

    Args:
        histograms: See :data:`l2o.statistics.columns.gradients.HISTOGRAM_COLUMNS`.
    """
    sources = list(dict.fromkeys(histograms["source"]))
    with matplotlib.rc_context(COLUMN):
        figure, panels = _stacked(len(sources), 1.0, sharex=True)
        for axes, source in zip(panels, sources, strict=True):
            for phase, line in _PHASE_LINES.items():
                part = histograms[(histograms["source"] == source) & (histograms["phase"] == phase)]
                shares = density(part)
                shares = shares[shares > _EMPTY]
                plain_curve(axes, shares.index, shares, line)
            axes.set_title(source)
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_locator(MaxNLocator(3))
        axis_titles(figure, "log10 |g|", "share of non-zero values per decade")
        legend(figure, _PHASE_LINES)
    return figure


def _values(histograms: pd.DataFrame) -> Figure:
    """Draw the density of g itself, middle 98%, on a logarithmic axis, one panel per source."""
    sources = list(dict.fromkeys(histograms["source"]))
    with matplotlib.rc_context(COLUMN):
        figure, panels = _stacked(len(sources), 1.0)
        for axes, source in zip(panels, sources, strict=True):
            own = histograms[histograms["source"] == source]
            bound = 10 ** max(quantile(part, 0.99) for _, part in own.groupby("phase"))
            for phase, line in _PHASE_LINES.items():
                x, y = _density_of_values(own[own["phase"] == phase], bound)
                plain_curve(axes, x, y, line)
            axes.set_title(source)
            axes.set_yscale("log")
            axes.set_xlim(-bound, bound)
            axes.xaxis.set_major_locator(MaxNLocator(5))
        axis_titles(figure, "g", "density of non-zero values")
        legend(figure, _PHASE_LINES)
    return figure


def _distances(table: pd.DataFrame) -> Figure:
    """Draw distances between phases, and between agents for comparison, a row each.

    Args:
        table: See :data:`l2o.statistics.columns.gradients.DISTANCE_COLUMNS`.
    """
    with matplotlib.rc_context(COLUMN):
        figure = column_figure(0.75 + 0.3 * table["compared"].nunique())
        axes = figure.subplots()
        legend(figure, _rows_by_source(axes, table, "compared", "distance"))
        axes.set_xlim(left=0)
        axis_titles(figure, "Wasserstein distance of log10 |g|, decades")
    return figure


def _autocorrelations(table: pd.DataFrame) -> Figure:
    """Draw how alike gradients some steps apart are, a column per measure, a row per phase.

    Args:
        table: See :data:`l2o.statistics.columns.gradients.AUTOCORRELATION_COLUMNS`.
    """
    lines = source_lines(dict.fromkeys(table["source"]))
    titles = {"cosine": "cosine", "correlation": "correlation of log |g|"}
    with matplotlib.rc_context(COLUMN):
        figure = column_figure(3.2)
        panels = figure.subplots(len(PHASES), 2, sharex=True, sharey="col")
        for row, phase in zip(panels, PHASES, strict=True):
            for axes, (measure, title) in zip(row, titles.items(), strict=True):
                part = table[(table["phase"] == phase) & (table["measure"] == measure)]
                for source, own in part.groupby("source", sort=False):
                    ends = own[["estimate", "low", "high"]].to_numpy()
                    curve(axes, own["lag"], ends, lines[str(source)])
                axes.set_xscale("log", base=2)
                axes.axhline(0, color=QUIET, lw=0.6)
                axes.yaxis.set_major_locator(MaxNLocator(4))
                if phase == PHASES[0]:
                    axes.set_title(title, loc="center", fontweight="normal")
            row[0].set_ylabel(phase)
        axis_titles(figure, "optimizer steps between two gradients")
        legend(figure, lines)
    return figure


def _signals(table: pd.DataFrame) -> Figure:
    """Draw signal-to-noise ratio and noise scale along the lifetime.

    Args:
        table: See :data:`l2o.statistics.columns.gradients.SIGNAL_COLUMNS`.
    """
    lines = source_lines(dict.fromkeys(table["source"]))
    titles = {"snr": "signal-to-noise ratio", "noise_scale": "noise scale, examples"}
    with matplotlib.rc_context(COLUMN):
        figure = column_figure(1.9)
        for axes, (measure, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
            part = table[table["measure"] == measure]
            for place, (source, own) in enumerate(part.groupby("source", sort=False)):
                x = [PHASES.index(moment) + 0.12 * (place - 1) for moment in own["moment"]]
                colour = lines[str(source)].colour
                axes.vlines(x, own["low"], own["high"], color=colour, lw=4, alpha=0.35)
                axes.plot(x, own["estimate"], "o-", ms=3.5, lw=0.8, color=colour)
            axes.set_yscale("log")
            axes.set_xticks(range(len(PHASES)), PHASES)
            axes.set_title(title, loc="center", fontweight="normal")
            axes.margins(x=0.12)
        legend(figure, {name: Line(line.colour) for name, line in lines.items()})
    return figure


def _drifts(table: pd.DataFrame) -> Figure:
    """Draw how far what is seen in meta-training is from all ages alike, a line per scheme.

    Args:
        table: See :data:`l2o.statistics.columns.gradients.DRIFT_COLUMNS`.
    """
    lines = source_lines(dict.fromkeys(table["scheme"]))
    with matplotlib.rc_context(COLUMN):
        figure = column_figure(2.0)
        axes = figure.subplots()
        for scheme, own in table.groupby("scheme", sort=False):
            ends = own[["distance", "low", "high"]].to_numpy()
            curve(axes, own["outer_step"], ends, lines[str(scheme)])
        axes.set(xlabel="outer step", ylabel="distance, decades", xlim=(0, None), ylim=(0, None))
        legend(figure, lines)
    return figure


def _identity(table: pd.DataFrame) -> Figure:
    """Draw accuracies on the identity task, a row per gradient processing.

    Args:
        table: ``source``, ``processing``, and ``low``, ``mean``, ``high`` of the accuracy.
    """
    with matplotlib.rc_context(COLUMN):
        figure = column_figure(0.6 + 0.25 * table["processing"].nunique())
        axes = figure.subplots()
        legend(figure, _rows_by_source(axes, table, "processing", "mean"))
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axis_titles(figure, "outputs within 10% of the gradient")
    return figure


def _density_of_values(histogram: pd.DataFrame, bound: float) -> tuple[np.ndarray, np.ndarray]:
    """Return points ``g`` within a bound, and the density of values that are not zero there."""
    counts = histogram.groupby(["sign", "exponent"])["count"].sum().reset_index()
    low = 10 ** counts["exponent"]
    width = low * (10**BIN_WIDTH - 1)
    counts = counts.assign(
        x=counts["sign"] * (low + width / 2), y=counts["count"] / counts["count"].sum() / width
    )
    # Below a thousandth of the range the bins are finer than the figure.
    inside = counts[counts["x"].abs().between(bound / 1000, bound)].sort_values("x")
    return inside["x"].to_numpy(), inside["y"].to_numpy()


def _stacked(number: int, height: float, sharex: bool = False) -> tuple[Figure, Sequence[Axes]]:
    figure = column_figure(0.5 + height * number)
    return figure, figure.subplots(number, 1, squeeze=False, sharex=sharex)[:, 0]


def _rows_by_source(axes: Axes, table: pd.DataFrame, row: str, value: str) -> Lines:
    """Draw points with intervals on named rows, sources below each other; return their styles."""
    labels = list(dict.fromkeys(table[row]))
    lines = source_lines(dict.fromkeys(table["source"]))
    for place, (source, line) in enumerate(lines.items()):
        ends = table[table["source"] == source].set_index(row).loc[labels, ["low", value, "high"]]
        shift = 0.22 * (place - (len(lines) - 1) / 2)
        interval_points(axes, np.arange(len(labels)) + shift, ends, [line.colour] * len(labels), 3)
    name_rows(axes, [label.replace("_", " ") for label in labels], 7)
    return {name: Line(line.colour) for name, line in lines.items()}
