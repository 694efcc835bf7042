"""The figures of the report, one task or quantity each: they stand side by side or in a column."""

from collections.abc import Iterator, Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from l2o.report.compare import MIN_SEEDS, in_order
from l2o.report.style import (
    CHAMPION,
    INK,
    MATPLOTLIB,
    QUIET,
    UNTRAINED,
    Line,
    optimizer_line,
    optimizer_lines,
)
from l2o.report.text import short_name
from l2o.statistics.bootstrap import mean_interval

_SIZE = (4.5, 3.1)
_LABEL_GAP = 0.08
_BAND_RESAMPLES = 2_000


def learning_curves(curves: pd.DataFrame, title: str) -> Figure:
    """Draw mean returns with 95% bands over seeds, each line labelled at its end."""
    with matplotlib.rc_context(MATPLOTLIB):
        figure, axes = _axes(title, "environment steps", "return")
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
            _draw(axes, points["env_steps"], points["mean"], line)
            ends.append((points["env_steps"], points["mean"], short_name(label), line.colour))
        axes.set_xlim(left=0)
        _steps_axis(axes)
        _label_ends(axes, ends)
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


def meta_training(
    runs: Mapping[str, pd.DataFrame],
    column: str,
    lines: Mapping[str, Line],
    title: str,
    unit: str,
    log: bool = False,
) -> Figure:
    """Draw a metric of every recipe over outer steps."""
    with matplotlib.rc_context(MATPLOTLIB):
        figure, axes = _axes(title, "outer step", unit)
        ends = []
        for recipe, table in runs.items():
            if column not in table:
                continue
            values = table[column].where(table[column] > 0) if log else table[column]
            _draw(axes, table["step"], values, lines[recipe])
            ends.append((table["step"], values, recipe, lines[recipe].colour))
        if log:
            axes.set_yscale("log")
            _log_ticks(axes)
        _steps_axis(axes)
        _label_ends(axes, ends)
    return figure


def selection(scores: pd.DataFrame, champion: Mapping[str, int]) -> Figure:
    """Draw the score of every checkpoint: the mean over validation tasks, a line per series.

    Where there is one series, the tasks are lines of their own, too.

    Args:
        scores: Of all checkpoints, per task.
        champion: ``seed`` and ``outer_step`` of the winner.
    """
    with matplotlib.rc_context(MATPLOTLIB):
        figure, axes = _axes("Score of every checkpoint", "outer step", "score")
        for level in (0, 1):
            axes.axhline(level, color=QUIET, lw=0.9, ls=(0, (4, 3)))
        ends = []
        means = scores.groupby(["meta_seed", "step"])["score"].mean()
        series = means.index.unique("meta_seed")
        tasks = scores["task"].unique() if len(series) == 1 else ()
        for position, task in enumerate(tasks if len(tasks) > 1 else ()):
            part = scores[scores["task"] == task].sort_values("step")
            line = optimizer_line(task, position)
            _draw(axes, part["step"], part["score"], line, marker=".")
            ends.append((part["step"], part["score"], task, line.colour))
        for position, seed in enumerate(series):
            mean = means[seed]
            line = CHAMPION if seed == champion["seed"] else optimizer_line("", position)
            label = f"seed {seed}" if len(series) > 1 else "mean"
            _draw(axes, mean.index, mean, line, marker=".")
            ends.append((pd.Series(mean.index), mean, label, line.colour))
        winner = (champion["seed"], champion["outer_step"])
        if winner in means.index:
            place = {"ms": 11, "mew": 2, "mfc": "none", "color": CHAMPION.colour, "zorder": 5}
            axes.plot([winner[1]], [means[winner]], "o", **place)
        _mark_units(axes)
        _steps_axis(axes)
        _label_ends(axes, ends)
    return figure


def ablation(rows: pd.DataFrame, names: Mapping[str, str], title: str) -> Figure:
    """Draw final returns of the variants of an ablation on one task.

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


def effects(rows: pd.DataFrame, title: str) -> Figure:
    """Draw the difference of every level to the full method, with its 95% interval.

    Args:
        rows: Of the effects, one place; the full method is the first.
        title: Of the figure.
    """
    with matplotlib.rc_context(MATPLOTLIB):
        names = rows["variant"].tolist()
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
    figure = Figure(figsize=(_SIZE[0], 1.15 + 0.55 * len(names)), layout="constrained")
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


def _axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes


def _draw(axes: Axes, x: Sequence, y: Sequence, line: Line, **kwargs: object) -> None:
    axes.plot(x, y, color=line.colour, ls=line.dashes, lw=line.width, **kwargs)


def _steps_axis(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _log_ticks(axes: Axes) -> None:
    """Write plain numbers, also between powers of ten where the axis spans few of them."""
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _mark_units(axes: Axes) -> None:
    """Say what the scores 0 and 1 stand for, inside the plot."""
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -0.12), max(high, 1.12))
    for level, text, rise in ((0, "random policy", -9), (1, "tuned Adam", 3)):
        axes.annotate(
            text, (1, level), xycoords=("axes fraction", "data"), xytext=(-3, rise),
            textcoords="offset points", ha="right", fontsize=8, color=QUIET,
        )  # fmt: skip


def _label_ends(axes: Axes, ends: list[tuple[pd.Series, pd.Series, str, str]]) -> None:
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


def _spread_rows(rows: pd.DataFrame) -> Iterator[tuple[float, pd.Series]]:
    """Yield the rows of a variant with their vertical offsets, untrained above trained."""
    rows = rows.sort_values(["stage", "meta_seed"], ascending=[False, True])
    offsets = np.linspace(-0.17, 0.17, len(rows)) if len(rows) > 1 else [0.0]
    for offset, (_, row) in zip(offsets, rows.iterrows(), strict=True):
        yield float(offset), row


def _point(axes: Axes, height: float, row: pd.Series) -> None:
    trained = row["stage"] == "trained"
    line = CHAMPION if trained else UNTRAINED
    if row["seeds"] >= MIN_SEEDS and np.isfinite(row["low"]):
        axes.plot([row["low"], row["high"]], [height] * 2, color=line.colour, lw=1.8)
    fill = line.colour if trained else "white"
    axes.plot([row["mean"]], [height], "o", ms=6.5, mfc=fill, mec=line.colour, mew=1.5)
