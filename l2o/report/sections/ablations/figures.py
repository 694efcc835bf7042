"""The figures of the ablations."""

from collections.abc import Iterator, Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from l2o.report.drawing.curves import training_curves
from l2o.report.drawing.panel import SIZE
from l2o.report.drawing.style import CHAMPION, INK, MATPLOTLIB, QUIET, UNTRAINED, recipe_lines
from l2o.report.drawing.svg import Drawing
from l2o.report.results import Results
from l2o.statistics.bootstrap import MIN_SEEDS


def drawings(results: Results) -> Iterator[Drawing]:
    """Yield returns, effects and what the population earned, of every ablation."""
    for name, ablation in results.ablations.items():
        for task, rows in ablation.summary.groupby("task", sort=False):
            figure = _returns(rows, results.levels(name), str(task))
            text = f"Final returns of the levels on {task}"
            yield Drawing(f"ablation_{name}_returns_{task}", figure, text)
        for role, rows in ablation.effects.groupby("role", sort=False):
            if len(rows) > 1:
                figure = _effects(rows, f"Effects, {role}")
                text = f"Difference of every level to the full method, {role} tasks"
                yield Drawing(f"ablation_{name}_effects_{role}", figure, text)
        yield from _population(results, name)


def _population(results: Results, name: str) -> Iterator[Drawing]:
    """Yield the return of the population over meta-training, mean over runs, a line per level."""
    means = results.metrics_over_seeds(results.levels(name))
    lines = recipe_lines(list(means), "")
    for task in results.training_tasks if means else ():
        title = f"Meta-training: population return on {task}"
        figure = training_curves(means, f"{task}/return", lines, title, "return")
        yield Drawing(f"ablation_{name}_population_{task}", figure, title)


def _returns(rows: pd.DataFrame, names: Mapping[str, str], title: str) -> Figure:
    """Draw final returns of the levels of an ablation on one task.

    Args:
        rows: Of the summary table, one task.
        names: What each recipe is called, from top to bottom.
        title: Of the figure.
    """
    with matplotlib.rc_context(MATPLOTLIB):
        figure, axes = _listing(title, "final return", list(names.values()))
        for place, recipe in enumerate(names):
            for offset, row in _spread_rows(rows[rows["recipe"] == recipe]):
                _point(axes, place + offset, row)
    return figure


def _effects(rows: pd.DataFrame, title: str) -> Figure:
    """Draw the difference of every level to the full method, with its 95% interval.

    Args:
        rows: Of the effects, one place; the full method is the first.
        title: Of the figure.
    """
    with matplotlib.rc_context(MATPLOTLIB):
        names = rows["level"].tolist()
        figure, axes = _listing(title, f"IQM of scores minus that of {names[0]}", names)
        axes.axvline(0, color=QUIET, lw=0.9, ls=(0, (4, 3)))
        for place, row in enumerate(rows.itertuples()):
            if np.isfinite(row.low):
                axes.plot([row.low, row.high], [place] * 2, color=CHAMPION.colour, lw=1.8)
            fill = "white" if place == 0 else CHAMPION.colour
            axes.plot(
                [row.difference], [place], "o", ms=6.5, mfc=fill, mec=CHAMPION.colour, mew=1.5
            )
    return figure


def _listing(title: str, x: str, names: Sequence[str]) -> tuple[Figure, Axes]:
    """Return axes with a row for each name, from top to bottom."""
    figure = Figure(figsize=(SIZE[0], 1.15 + 0.55 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    return figure, axes


def _spread_rows(rows: pd.DataFrame) -> Iterator[tuple[float, pd.Series]]:
    """Yield the rows of a level with their vertical offsets, untrained above trained."""
    rows = rows.sort_values(["checkpoint", "meta_seed"], ascending=[False, True])
    offsets = np.linspace(-0.17, 0.17, len(rows)) if len(rows) > 1 else [0.0]
    for offset, (_, row) in zip(offsets, rows.iterrows(), strict=True):
        yield float(offset), row


def _point(axes: Axes, height: float, row: pd.Series) -> None:
    trained = row["checkpoint"] == "trained"
    line = CHAMPION if trained else UNTRAINED
    if row["seeds"] >= MIN_SEEDS and np.isfinite(row["low"]):
        axes.plot([row["low"], row["high"]], [height] * 2, color=line.colour, lw=1.8)
    fill = line.colour if trained else "white"
    axes.plot([row["mean"]], [height], "o", ms=6.5, mfc=fill, mec=line.colour, mew=1.5)
