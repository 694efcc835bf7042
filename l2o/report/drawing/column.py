"""What figures as wide as a column of a paper are made of."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from l2o.report.drawing.style import COLUMN_WIDTH, INK, Line

Lines = Mapping[str, Line]
LEGEND_COLUMNS = 3


def column_figure(height: float) -> Figure:
    """Return an empty figure; ``height`` in inches."""
    figure = Figure(figsize=(COLUMN_WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03)
    return figure


def axis_titles(figure: Figure, x: str = "", y: str = "") -> None:
    """Write what all panels have in common on their axes."""
    for write, text in ((figure.supxlabel, x), (figure.supylabel, y)):
        if text:
            write(text, fontsize=8, color=INK)


def curve(axes: Axes, x: Sequence[float], y: np.ndarray, line: Line) -> None:
    """Draw a line and its band; ``y`` is ``[points, (middle, low, high)]``."""
    middle, low, high = y.T
    axes.fill_between(x, low, high, color=line.colour, alpha=0.12, lw=0)
    plain_curve(axes, x, middle, line)


def plain_curve(axes: Axes, x: Sequence[float], y: Sequence[float], line: Line) -> None:
    """Draw a line without a band."""
    axes.plot(x, y, color=line.colour, ls=line.dashes, lw=0.8 * line.width)


def interval_points(
    axes: Axes, places: Iterable[float], ends: pd.DataFrame, colours: Iterable[str], size: float = 4
) -> None:
    """Draw a point with its interval at each place of the vertical axis.

    Args:
        axes: Where.
        places: Of the points.
        ends: Columns: lower end, middle, upper end; a row for each point.
        colours: Of the points.
        size: Of the points; the intervals are as wide.
    """
    rows = zip(places, ends.to_numpy(float), colours, strict=True)
    for place, (low, middle, high), colour in rows:
        axes.plot([low, high], [place, place], color=colour, lw=size, alpha=0.35)
        axes.plot([middle], [place], "o", ms=size, color=colour)


def name_rows(axes: Axes, names: Sequence[str], size: float) -> None:
    """Turn the vertical axis into rows with names, the first at the top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=size)


def legend(figure: Figure, lines: Lines) -> None:
    """Name lines above the plot; at their ends there is no room in a column."""
    handles = [
        Line2D([], [], color=line.colour, ls=line.dashes, lw=0.8 * line.width)
        for line in lines.values()
    ]
    figure.legend(
        handles, list(lines), loc="outside upper center", ncols=LEGEND_COLUMNS, handlelength=2.3,
        columnspacing=0.8, handletextpad=0.5, labelspacing=0.2, borderpad=0.1,
    )  # fmt: skip
