"""What figures of one panel are made of: they stand side by side on the page."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from l2o.report.drawing.style import Line

SIZE = (4.5, 3.1)
"""In inches."""
_LABEL_GAP = 0.08


def panel(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """Return a figure with a title, and its axes."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes


def draw_line(axes: Axes, x: Sequence, y: Sequence, line: Line, **kwargs: object) -> None:
    """Draw a line in its style."""
    axes.plot(x, y, color=line.colour, ls=line.dashes, lw=line.width, **kwargs)


def steps_axis(axes: Axes) -> None:
    """Write numbers of steps below the axes, with few digits."""
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def label_ends(axes: Axes, ends: list[tuple[pd.Series, pd.Series, str, str]]) -> None:
    """Label lines at their last points, on the right, moved apart where they would overlap."""
    axes.autoscale_view()  # Limits are lazy, and the heights depend on them.
    to_fraction = axes.transData + axes.transAxes.inverted()
    lasts = []
    for x, y, text, colour in ends:
        finite = np.flatnonzero(np.isfinite(np.asarray(y, float)))
        if len(finite):
            last = (float(np.asarray(x)[finite[-1]]), float(np.asarray(y)[finite[-1]]))
            lasts.append((last, text, colour))
    heights = [to_fraction.transform(last)[1] for last, *_ in lasts]
    for (last, text, colour), height in zip(lasts, spread(heights, _LABEL_GAP), strict=True):
        axes.annotate(
            text, last, xytext=(1.05, height), textcoords="axes fraction", va="center",
            fontsize=9, color=colour, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.6, "alpha": 0.6, "shrinkB": 2,
                        "relpos": (0, 0.5)},
        )  # fmt: skip


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Move values in [0, 1] apart, as little as can be, until neighbours are ``gap`` away."""
    order = np.argsort(values, kind="stable")
    steps = gap * np.arange(len(order))
    # Without the gaps this is a regression on a rising sequence: pool neighbours that fall.
    pools: list[tuple[float, int]] = []
    for value in np.asarray(values, float)[order] - steps:
        pools.append((value, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (last, n), (previous, m) = pools.pop(), pools.pop()
            pools.append(((last * n + previous * m) / (n + m), n + m))
    levels = np.concatenate([np.full(n, value) for value, n in pools]) if pools else np.zeros(0)
    placed = np.empty(len(order))
    placed[order] = np.clip(levels, 0, max(0.0, 1 - gap * (len(order) - 1))) + steps
    return placed.tolist()
