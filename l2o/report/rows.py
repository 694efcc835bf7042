"""Rows and cells that tables of several sections have in common."""

import pandas as pd

from l2o.report.compare import Comparison, finals_of, summary_of
from l2o.report.table import Row
from l2o.report.text import NOTHING, interval, number, optimizer_name, rate

STATISTICS = ("mean", "s.e.", "95% interval", "seeds")
"""Titles of :func:`statistics`."""
COMPARISON = ("verdict", "difference", "95% interval")
"""Titles of :func:`comparison_row`, between its name and its seeds."""


def summaries(curves: pd.DataFrame) -> list[pd.Series]:
    """Return final returns per optimizer and learning rate."""
    table = summary_of(finals_of(curves), ["optimizer", "learning_rate"])
    return [row for _, row in table.iterrows()]


def return_row(row: pd.Series, *more: str) -> Row:
    """Write a row of :func:`summaries`, with more cells at its end."""
    cells = (optimizer_name(row["optimizer"]), rate(row["learning_rate"]), *statistics(row), *more)
    return Row(cells, marked=row["optimizer"] == "champion")


def statistics(row: pd.Series) -> tuple[str, ...]:
    """Write mean, standard error, interval and number of seeds."""
    seeds = seeds_text(row["seeds"], row.get("lost", 0))
    return number(row["mean"]), number(row["se"]), interval(row["low"], row["high"]), seeds


def seeds_text(seeds: int, lost: int) -> str:
    """Write how many seeds there are, and how many of them have no final return."""
    return f"{seeds}" + (f" ({lost} lost)" if lost else "")


def with_error(value: float, error: float) -> str:
    """Write a mean and its standard error, if that is known."""
    text = number(error)
    return number(value) + ("" if text == NOTHING else f" ± {text}")


def comparison_row(name: str, comparison: Comparison) -> Row:
    """Write a comparison under a name."""
    cells = (
        name,
        comparison.verdict.value,
        number(comparison.difference, signed=True),
        interval(comparison.low, comparison.high, signed=True),
        seeds_text(comparison.seeds, comparison.lost),
    )
    return Row(cells, verdict=comparison.verdict.slug)
