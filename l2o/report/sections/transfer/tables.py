"""The tables of the transfer."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from l2o.report.champion import champion_table
from l2o.report.compare import finals_of, in_order
from l2o.report.results import Results, Transfer, TransferSummary
from l2o.report.rows import STATISTICS, return_row, seeds_text, summaries, with_error
from l2o.report.table import Row, Table
from l2o.report.text import NOTHING, TIMES, interval, number, optimizer_name
from l2o.statistics.aggregates import SCORES


def context(results: Results) -> dict[str, Any]:
    """Return the tables of each test task, and of all together."""
    trials = 0 if results.tuning is None else _tuning_budget(results.tuning)
    curves = {task: evaluation.curves for task, evaluation in results.transfer.items()}
    off_preset = {
        f"{task}, {variant}": evaluation.curves
        for (task, variant), evaluation in results.off_preset.items()
    }
    tables: dict[str, Any] = {
        "returns": {
            task: _returns(evaluation, trials) for task, evaluation in results.transfer.items()
        },
        "comparisons": champion_table(curves),
        "off_preset": champion_table(off_preset),
        "costs": _optimizer_costs(results.transfer),
    }
    if results.summary is not None:
        tables["scores"] = _task_scores(results.summary)
        tables["aggregates"] = _aggregated_scores(results.summary)
        tables["improvement"] = _improvement(results.summary)
    return tables


def _returns(evaluation: Transfer, trials: int) -> Table:
    """Return final returns on one test task: tuned, untuned, and tuned on the task itself.

    Args:
        evaluation: The results.
        trials: Lifetimes that each optimizer spent on its learning rate.
    """
    groups = {"": _rows_with_area(evaluation.curves, str(trials))}
    titles = {
        "none": ("learned optimizers at the rate of their meta-training", "0"),
        "oracle": ("oracle: tuned on this very task", str(trials)),
    }
    for tuning, (title, spent) in titles.items():
        curves = evaluation.controls[evaluation.controls["tuning"] == tuning]
        if not curves.empty:
            groups[title] = _rows_with_area(curves, spent)
    head = ("optimizer", "learning rate", *STATISTICS, "tuning trials", "area ± s.e.")
    return Table(head, groups)


def _rows_with_area(curves: pd.DataFrame, trials: str) -> list[Row]:
    """Return a row per optimizer, the area under its curve, per point, in the last column."""
    areas = finals_of(curves).groupby("optimizer")["mean"]
    rows = []
    for row in summaries(curves):
        label = row["optimizer"]
        lost = row["lost"] > 0
        area = NOTHING if lost else with_error(areas.mean()[label], areas.sem()[label])
        rows.append(return_row(row, trials, area))
    return rows


def _optimizer_costs(evaluations: Mapping[str, Transfer]) -> Table:
    """Return time and memory per optimizer and task."""
    groups = {
        task: [
            Row(
                (
                    optimizer_name(row["optimizer"]),
                    number(row["seconds"]),
                    f"{100 * row['share']:.1f}%" if math.isfinite(row["share"]) else NOTHING,
                    number(row["peak_bytes"] / 2**20),
                ),
                marked=row["optimizer"] == "champion",
            )
            for _, row in in_order(evaluation.costs).iterrows()
        ]
        for task, evaluation in evaluations.items()
    }
    head = ("optimizer", "s per million steps", "optimizer's share", "MiB per agent")
    return Table(head, groups)


def _tuning_budget(table: pd.DataFrame) -> int:
    """Return how many lifetimes each optimizer of a grid spent on its learning rate."""
    return int(table.groupby("optimizer")["seeds"].sum().max())


def _task_scores(summary: TransferSummary) -> Table:
    """Return scores on every test task, in which a lost agent counts as a failure."""
    groups = {}
    for task, part in summary.scores.groupby("task", sort=False):
        rows = []
        for label, agents in in_order(part).groupby("optimizer", sort=False):
            cells = [
                number(value, decimals=2)
                for name in SCORES
                for column in [agents[f"{name}_score"]]
                for value in (column.mean(), column.sem())
            ]
            seeds = seeds_text(len(agents), agents["lost"].sum())
            rows.append(Row((optimizer_name(label), *cells, seeds), marked=label == "champion"))
        groups[str(task)] = rows
    return Table(("optimizer", "score", "s.e.", "score of the area", "s.e.", "seeds"), groups)


def _aggregated_scores(summary: TransferSummary) -> Table:
    """Return aggregates over all test tasks, of the final scores and of those of the area."""
    columns = [("final", name) for name in ("iqm", "median", "optimality_gap")] + [("area", "iqm")]
    table = in_order(summary.aggregates)
    rows = []
    for label, part in table.groupby("optimizer", sort=False):
        found = part.set_index(["score", "metric"])
        one = part.iloc[0]
        seeds = f"{one['tasks']} {TIMES} {seeds_text(one['seeds'], one['lost'])}"
        cells = (_with_interval(found.loc[column]) for column in columns)
        rows.append(Row((optimizer_name(label), *cells, seeds), marked=label == "champion"))
    head = ("optimizer", "IQM", "median", "optimality gap", "IQM of the area")
    return Table((*head, f"tasks {TIMES} seeds"), {"": rows})


def _improvement(summary: TransferSummary) -> Table:
    """Return the probabilities that the champion is better than each other optimizer."""
    table = in_order(summary.improvement).rename(columns={"probability": "estimate"})
    rows = []
    for label, part in table.groupby("optimizer", sort=False):
        found = part.set_index("score")
        rows.append(
            Row((optimizer_name(label), *(_with_interval(found.loc[name]) for name in SCORES)))
        )
    return Table(("champion against", "by final return", "by area under the curve"), {"": rows})


def _with_interval(row: pd.Series) -> str:
    ends = interval(row["low"], row["high"], decimals=2)
    return number(row["estimate"], decimals=2) + ("" if ends == NOTHING else f" {ends}")
