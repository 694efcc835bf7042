"""The tables of the ablations."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from l2o.report import cost
from l2o.report.compare import Comparison
from l2o.report.results import Results
from l2o.report.rows import COMPARISON, STATISTICS, comparison_row, statistics
from l2o.report.sections.ablations.comparisons import (
    ablation_finals,
    compare_checkpoints,
    compare_pairs,
)
from l2o.report.table import Row, Table
from l2o.report.text import NOTHING, TIMES, duration, interval, number

_TASKS = {"training": "meta-training task", "supervised": "supervised learning"}


def context(results: Results) -> dict[str, Any]:
    """Return the question of every ablation and the tables that answer it."""
    seconds = cost.of_meta_training(results.jobs)
    return {"ablations": {name: _ablation(results, name, seconds) for name in results.ablations}}


def _ablation(results: Results, name: str, seconds: dict[str, float]) -> dict[str, Any]:
    """Return the question of an ablation and the tables that answer it."""
    names, ablation = results.levels(name), results.ablations[name]
    finals = ablation_finals(ablation.curves)
    gains = (c for recipe in names for c in compare_checkpoints(finals, recipe))
    return {
        "title": name.replace("_", " "),
        "question": results.config.ablations[name].question,
        "effects": _effects(ablation.effects, seconds),
        "factors": None if ablation.factors.empty else _factors(ablation.factors),
        "returns": _returns(ablation.summary, names),
        "pairs": _comparisons(compare_pairs(finals, list(names)), names),
        "gains": _comparisons(gains, names),
    }


def _comparisons(comparisons: Iterable[Comparison], names: Mapping[str, str]) -> Table:
    """Return comparisons of the levels of an ablation, one group per pair.

    Args:
        comparisons: The comparisons.
        names: What each recipe is called.
    """
    groups: dict[str, list[Row]] = {}
    for comparison in comparisons:
        reference = names.get(comparison.reference, "its untrained initialisation")
        title = f"{names[comparison.subject]} against {reference}"
        groups.setdefault(title, []).append(comparison_row(comparison.task, comparison))
    return Table(("task", *COMPARISON, "meta-training runs"), groups, words=2)


def _returns(summary: pd.DataFrame, names: Mapping[str, str]) -> Table:
    """Return final returns of every level of an ablation, trained and untrained."""
    several = summary["meta_seed"].nunique() > 1
    places = {recipe: place for place, recipe in enumerate(names)}
    table = summary.sort_values(
        ["recipe", "meta_seed", "checkpoint"],
        key=lambda column: column.map(places) if column.name == "recipe" else column,
    )
    groups = {}
    for task in summary["task"].unique():
        part = table[table["task"] == task]
        role = part["role"].iloc[0].replace("training", "meta-training")
        groups[f"{task} ({role})"] = [
            Row(
                (
                    names.get(row["recipe"], row["level"])
                    + (f", seed {row['meta_seed']}" if several else ""),
                    row["checkpoint"],
                    *statistics(row),
                )
            )
            for _, row in part.iterrows()
        ]
    return Table(("level", "checkpoint", *STATISTICS), groups, words=2)


def _effects(table: pd.DataFrame, seconds: Mapping[str, float]) -> Table:
    """Return the scores of an ablation's levels, beside the full method's, and what they cost.

    Args:
        table: See :data:`l2o.statistics.columns.comparisons.EFFECT_COLUMNS`.
        seconds: Of one meta-training, by recipe.
    """
    groups = {
        _TASKS.get(str(role), f"{role} tasks"): [
            Row(
                (
                    row.level,
                    number(row.iqm),
                    interval(row.iqm_low, row.iqm_high),
                    *_against_full(row, full=place == 0),
                    f"{row.meta_seeds} {TIMES} {row.agents}",
                    duration(seconds[row.recipe]) if row.recipe in seconds else NOTHING,
                ),
                marked=place == 0,
            )
            for place, row in enumerate(part.itertuples())
        ]
        for role, part in table.groupby("role", sort=False)
    }
    head = ("level", "IQM of scores", "95% interval", "difference", "95% interval")
    more = ("P(better)", "95% interval", f"runs {TIMES} agents", "meta-training")
    return Table((*head, *more), groups)


def _factors(table: pd.DataFrame) -> Table:
    """Return main effects and interactions.

    Args:
        table: See :data:`l2o.statistics.columns.comparisons.FACTOR_COLUMNS`.
    """
    groups = {
        _TASKS.get(str(role), f"{role} tasks"): [
            Row(
                (
                    row.term.replace(" x ", f" {TIMES} "),
                    number(row.effect, signed=True),
                    interval(row.low, row.high, signed=True),
                )
            )
            for row in part.itertuples()
        ]
        for role, part in table.groupby("role", sort=False)
    }
    return Table(("term", "effect on the IQM", "95% interval"), groups)


def _against_full(row: Any, full: bool) -> tuple[str, ...]:
    if full:
        return ("the full method", NOTHING, NOTHING, NOTHING)
    return (
        number(row.difference, signed=True),
        interval(row.low, row.high, signed=True),
        number(row.probability),
        interval(row.probability_low, row.probability_high),
    )
