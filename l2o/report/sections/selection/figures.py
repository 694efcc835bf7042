"""The figure of the checkpoint selection."""

from collections.abc import Iterator, Mapping

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from l2o.report.drawing.panel import draw_line, label_ends, panel, steps_axis
from l2o.report.drawing.style import CHAMPION, MATPLOTLIB, QUIET, optimizer_line
from l2o.report.drawing.svg import Drawing
from l2o.report.results import Results


def drawings(results: Results) -> Iterator[Drawing]:
    """Yield the scores of all checkpoints."""
    if results.selection is not None:
        figure = _scores(results.selection.scores, results.selection.champion)
        yield Drawing("selection", figure, "Validation score of every checkpoint")


def _scores(scores: pd.DataFrame, champion: Mapping[str, int]) -> Figure:
    """Draw the score of every checkpoint: the mean over validation tasks, a line per series.

    Where there is one series, the tasks are lines of their own, too.

    Args:
        scores: Of all checkpoints, per task.
        champion: ``seed`` and ``outer_step`` of the winner.
    """
    with matplotlib.rc_context(MATPLOTLIB):
        figure, axes = panel("Score of every checkpoint", "outer step", "score")
        for level in (0, 1):
            axes.axhline(level, color=QUIET, lw=0.9, ls=(0, (4, 3)))
        ends = []
        means = scores.groupby(["meta_seed", "step"])["score"].mean()
        series = means.index.unique("meta_seed")
        tasks = scores["task"].unique() if len(series) == 1 else ()
        for position, task in enumerate(tasks if len(tasks) > 1 else ()):
            part = scores[scores["task"] == task].sort_values("step")
            line = optimizer_line(task, position)
            draw_line(axes, part["step"], part["score"], line, marker=".")
            ends.append((part["step"], part["score"], task, line.colour))
        for position, seed in enumerate(series):
            mean = means[seed]
            line = CHAMPION if seed == champion["seed"] else optimizer_line("", position)
            label = f"seed {seed}" if len(series) > 1 else "mean"
            draw_line(axes, mean.index, mean, line, marker=".")
            ends.append((pd.Series(mean.index), mean, label, line.colour))
        winner = (champion["seed"], champion["outer_step"])
        if winner in means.index:
            place = {"ms": 11, "mew": 2, "mfc": "none", "color": CHAMPION.colour, "zorder": 5}
            axes.plot([winner[1]], [means[winner]], "o", **place)
        _mark_units(axes)
        steps_axis(axes)
        label_ends(axes, ends)
    return figure


def _mark_units(axes: Axes) -> None:
    """Say what the scores 0 and 1 stand for, inside the plot."""
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -0.12), max(high, 1.12))
    for level, text, rise in ((0, "random policy", -9), (1, "tuned Adam", 3)):
        axes.annotate(
            text, (1, level), xycoords=("axes fraction", "data"), xytext=(-3, rise),
            textcoords="offset points", ha="right", fontsize=8, color=QUIET,
        )  # fmt: skip
