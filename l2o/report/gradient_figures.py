"""Figures of the gradient studies, as wide as a column of a paper."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from l2o.analysis.gradients import BIN_WIDTH, PHASES, density, quantile
from l2o.report.style import COLUMN, COLUMN_WIDTH, INK, QUIET, Line, source_lines

_PHASE_LINES = {
    "beginning": Line("#7fb8de", (0, (1.5, 1.2))),
    "middle": Line("#2f86c5", (0, (4, 2))),
    "end": Line("#003f6b"),
}
_EMPTY = 1e-3
"""Densities below are not drawn: single values of millions."""


def magnitudes(histograms: pd.DataFrame) -> Figure:
    """Draw the density of log10 |g| in each phase, one panel per source.

    Args:
        histograms: See :data:`l2o.analysis.record.HISTOGRAM_COLUMNS`.
    """
    sources = list(dict.fromkeys(histograms["source"]))
    with matplotlib.rc_context(COLUMN):
        figure, panels = _stacked(len(sources), 1.0, sharex=True)
        for axes, source in zip(panels, sources, strict=True):
            for phase, line in _PHASE_LINES.items():
                part = histograms[(histograms["source"] == source) & (histograms["phase"] == phase)]
                shares = density(part)
                shares = shares[shares > _EMPTY]
                axes.plot(
                    shares.index, shares, color=line.colour, ls=line.dashes, lw=0.8 * line.width
                )
            axes.set_title(source)
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_locator(MaxNLocator(3))
        figure.supxlabel("log10 |g|", fontsize=8, color=INK)
        figure.supylabel("share of non-zero values per decade", fontsize=8, color=INK)
        _legend(figure, _PHASE_LINES)
    return figure


def values(histograms: pd.DataFrame) -> Figure:
    """Draw the density of g itself, middle 98%, on a logarithmic axis, one panel per source."""
    sources = list(dict.fromkeys(histograms["source"]))
    with matplotlib.rc_context(COLUMN):
        figure, panels = _stacked(len(sources), 1.0)
        for axes, source in zip(panels, sources, strict=True):
            own = histograms[histograms["source"] == source]
            bound = 10 ** max(quantile(part, 0.99) for _, part in own.groupby("phase"))
            for phase, line in _PHASE_LINES.items():
                x, y = _density_of_values(own[own["phase"] == phase], bound)
                axes.plot(x, y, color=line.colour, ls=line.dashes, lw=0.8 * line.width)
            axes.set_title(source)
            axes.set_yscale("log")
            axes.set_xlim(-bound, bound)
            axes.xaxis.set_major_locator(MaxNLocator(5))
        figure.supxlabel("g", fontsize=8, color=INK)
        figure.supylabel("density of non-zero values", fontsize=8, color=INK)
        _legend(figure, _PHASE_LINES)
    return figure


def distances(table: pd.DataFrame) -> Figure:
    """Draw distances between phases, and between agents for comparison, a row each.

    Args:
        table: See :data:`l2o.analysis.gradients.DISTANCE_COLUMNS`.
    """
    labels = list(dict.fromkeys(table["compared"]))
    lines = source_lines(dict.fromkeys(table["source"]))
    with matplotlib.rc_context(COLUMN):
        figure = _figure(0.75 + 0.3 * len(labels))
        axes = figure.subplots()
        for source, part in table.groupby("source", sort=False):
            ends = part.set_index("compared")
            _points(axes, labels, ends[["low", "distance", "high"]], lines, str(source))
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlim(left=0)
        _rows_only(axes)
        figure.supxlabel("Wasserstein distance of log10 |g|, decades", fontsize=8, color=INK)
        _legend(figure, lines)
    return figure


def autocorrelations(table: pd.DataFrame) -> Figure:
    """Draw how alike gradients some steps apart are, a column per measure, a row per phase.

    Args:
        table: See :data:`l2o.analysis.gradients.AUTOCORRELATION_COLUMNS`.
    """
    lines = source_lines(dict.fromkeys(table["source"]))
    titles = {"cosine": "cosine", "correlation": "correlation of log |g|"}
    with matplotlib.rc_context(COLUMN):
        figure = _figure(3.2)
        panels = figure.subplots(len(PHASES), 2, sharex=True, sharey="col")
        for row, phase in zip(panels, PHASES, strict=True):
            for axes, (measure, title) in zip(row, titles.items(), strict=True):
                part = table[(table["phase"] == phase) & (table["measure"] == measure)]
                for source, own in part.groupby("source", sort=False):
                    line = lines[str(source)]
                    axes.fill_between(
                        own["lag"], own["low"], own["high"], color=line.colour, alpha=0.12, lw=0
                    )
                    axes.plot(
                        own["lag"], own["estimate"], color=line.colour, ls=line.dashes, lw=1.2
                    )
                axes.set_xscale("log", base=2)
                axes.axhline(0, color=QUIET, lw=0.6)
                axes.yaxis.set_major_locator(MaxNLocator(4))
                if phase == PHASES[0]:
                    axes.set_title(title, loc="center", fontweight="normal")
            row[0].set_ylabel(phase)
        figure.supxlabel("optimizer steps between two gradients", fontsize=8, color=INK)
        _legend(figure, lines)
    return figure


def signals(table: pd.DataFrame) -> Figure:
    """Draw signal-to-noise ratio and noise scale along the lifetime.

    Args:
        table: See :data:`l2o.analysis.gradients.SIGNAL_COLUMNS`.
    """
    lines = source_lines(dict.fromkeys(table["source"]))
    titles = {"snr": "signal-to-noise ratio", "noise_scale": "noise scale, examples"}
    with matplotlib.rc_context(COLUMN):
        figure = _figure(1.9)
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
        _legend(figure, {name: Line(line.colour) for name, line in lines.items()})
    return figure


def drifts(table: pd.DataFrame) -> Figure:
    """Draw how far what is seen in meta-training is from all ages alike, a line per scheme.

    Args:
        table: See :data:`l2o.analysis.gradients.DRIFT_COLUMNS`.
    """
    lines = source_lines(dict.fromkeys(table["scheme"]))
    with matplotlib.rc_context(COLUMN):
        figure = _figure(2.0)
        axes = figure.subplots()
        for scheme, own in table.groupby("scheme", sort=False):
            line = lines[str(scheme)]
            x = own["outer_step"]
            axes.fill_between(x, own["low"], own["high"], color=line.colour, alpha=0.12, lw=0)
            axes.plot(x, own["distance"], color=line.colour, ls=line.dashes, lw=1.2)
        axes.set(xlabel="outer step", ylabel="distance, decades", xlim=(0, None), ylim=(0, None))
        _legend(figure, lines)
    return figure


def identity(table: pd.DataFrame) -> Figure:
    """Draw accuracies on the identity task, a row per gradient processing.

    Args:
        table: ``source``, ``processing``, and ``low``, ``mean``, ``high`` of the accuracy.
    """
    labels = list(dict.fromkeys(table["processing"]))
    lines = source_lines(dict.fromkeys(table["source"]))
    with matplotlib.rc_context(COLUMN):
        figure = _figure(0.6 + 0.25 * len(labels))
        axes = figure.subplots()
        for source, part in table.groupby("source", sort=False):
            ends = part.set_index("processing")[["low", "mean", "high"]]
            _points(axes, labels, ends, lines, str(source))
        axes.set_yticks(range(len(labels)), [label.replace("_", " ") for label in labels])
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        _rows_only(axes)
        figure.supxlabel("outputs within 10% of the gradient", fontsize=8, color=INK)
        _legend(figure, {name: Line(line.colour) for name, line in lines.items()})
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


def _figure(height: float) -> Figure:
    figure = Figure(figsize=(COLUMN_WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03)
    return figure


def _stacked(number: int, height: float, sharex: bool = False) -> tuple[Figure, Sequence[Axes]]:
    figure = _figure(0.5 + height * number)
    return figure, figure.subplots(number, 1, squeeze=False, sharex=sharex)[:, 0]


def _points(
    axes: Axes, labels: Sequence[str], ends: pd.DataFrame, lines: dict[str, Line], source: str
) -> None:
    """Draw a point with its interval on each row, sources below each other."""
    names = list(lines)
    colour, shift = lines[source].colour, 0.22 * (names.index(source) - (len(names) - 1) / 2)
    for place, label in enumerate(labels):
        low, middle, high = ends.loc[label]
        axes.plot([low, high], [place + shift] * 2, color=colour, lw=3, alpha=0.35)
        axes.plot([middle], [place + shift], "o", ms=3, color=colour)


def _rows_only(axes: Axes) -> None:
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelcolor=INK)


def _legend(figure: Figure, lines: dict[str, Line]) -> None:
    handles = [
        Line2D([], [], color=line.colour, ls=line.dashes, lw=0.8 * line.width)
        for line in lines.values()
    ]
    figure.legend(
        handles, list(lines), loc="outside upper center", ncols=3, handlelength=2.3,
        columnspacing=0.8, handletextpad=0.5, labelspacing=0.2, borderpad=0.1,
    )  # fmt: skip
