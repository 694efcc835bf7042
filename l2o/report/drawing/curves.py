"""Curves that several sections draw."""

from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from l2o.report.compare import in_order
from l2o.report.drawing.panel import draw_line, label_ends, panel, steps_axis
from l2o.report.drawing.style import MATPLOTLIB, Line, optimizer_lines
from l2o.report.text import short_name
from l2o.statistics.bootstrap import MIN_SEEDS, mean_interval

_BAND_RESAMPLES = 2_000


def learning_curves(curves: pd.DataFrame, title: str) -> Figure:
    """Draw mean returns with 95% bands over seeds, each line labelled at its end."""
    with matplotlib.rc_context(MATPLOTLIB):
        figure, axes = panel(title, "environment steps", "return")
        ends = []
        lines = optimizer_lines(sorted(curves["optimizer"].unique()))
        for label, part in in_order(curves).groupby("optimizer", sort=False):
            line = lines[label]
            points = band(part)
            axes.fill_between(
                points["env_steps"],
                points["low"],
                points["high"],
                color=line.colour,
                alpha=0.14,
                lw=0,
            )
            draw_line(axes, points["env_steps"], points["mean"], line)
            ends.append((points["env_steps"], points["mean"], short_name(label), line.colour))
        axes.set_xlim(left=0)
        steps_axis(axes)
        label_ends(axes, ends)
    return figure


def band(curves: pd.DataFrame) -> pd.DataFrame:
    """Return ``env_steps, mean, low, high`` per point of an optimizer's curves.

    A point at which any seed has no return gets no mean; too few seeds get no band.
    """
    rows = []
    for steps, values in curves.groupby("env_steps")["return"]:
        returns = values.to_numpy(float)
        low = high = np.nan
        if len(returns) >= MIN_SEEDS and not np.isnan(returns).any():
            low, high = mean_interval(returns, resamples=_BAND_RESAMPLES)
        rows.append((steps, returns.mean(), low, high))
    return pd.DataFrame(rows, columns=["env_steps", "mean", "low", "high"])


def training_curves(
    runs: Mapping[str, pd.DataFrame],
    column: str,
    lines: Mapping[str, Line],
    title: str,
    unit: str,
    log: bool = False,
) -> Figure:
    """Draw a metric of every recipe over outer steps."""
    with matplotlib.rc_context(MATPLOTLIB):
        figure, axes = panel(title, "outer step", unit)
        ends = []
        for recipe, table in runs.items():
            if column not in table:
                continue
            values = table[column].where(table[column] > 0) if log else table[column]
            draw_line(axes, table["step"], values, lines[recipe])
            ends.append((table["step"], values, recipe, lines[recipe].colour))
        if log:
            axes.set_yscale("log")
            _log_ticks(axes)
        steps_axis(axes)
        label_ends(axes, ends)
    return figure


def _log_ticks(axes: Axes) -> None:
    """Write plain numbers, also between powers of ten where the axis spans few of them."""
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
