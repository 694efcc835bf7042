"""How learning rates were tuned: the grids, and what was chosen."""

from collections.abc import Mapping

import pandas as pd

from l2o.report.compare import in_order
from l2o.report.results import Results
from l2o.report.table import Row, Table
from l2o.report.text import NOTHING, TIMES, count, number, optimizer_name, rate


def of_toy_tasks(results: Results) -> dict[str, Table]:
    """Return the grid of every toy task."""
    return {
        task: _grid(evaluation.tuning, _chosen_rates(evaluation.curves))
        for task, evaluation in results.baselines.items()
    }


def of_transfer(results: Results) -> dict[str, Table]:
    """Return the grids behind the transfer: of the tuning tasks, and of oracles."""
    grids = {}
    if results.tuning is not None and results.transfer:
        rates = _chosen_rates(next(iter(results.transfer.values())).curves)
        for task, grid in results.tuning.groupby("task", sort=False):
            grids[f"{task} (for the transfer)"] = _grid(grid, rates)
    for task, evaluation in results.transfer.items():
        if not evaluation.oracle.empty:
            oracle = evaluation.controls[evaluation.controls["tuning"] == "oracle"]
            grids[f"{task} (oracle)"] = _grid(evaluation.oracle, _chosen_rates(oracle))
    return grids


def _grid(grid: pd.DataFrame, rates: Mapping[str, float]) -> Table:
    """Return a grid of learning rates: mean final returns, the chosen ones in the last column.

    Args:
        grid: Of one task.
        rates: The chosen rates by label.
    """
    grid = in_order(grid)
    tried = sorted(grid["learning_rate"].unique())
    rows = []
    for label, part in grid.groupby("optimizer", sort=False):
        means = part.set_index("learning_rate")["mean"]
        cells = (number(means.get(value)) for value in tried)
        picked = _chosen(rates.get(label), list(means.index))
        rows.append(Row((optimizer_name(label), *cells, _trials(part), picked)))
    return Table(("optimizer", *map(rate, tried), "trials", "chosen"), {"": rows})


def _chosen_rates(curves: pd.DataFrame) -> dict[str, float]:
    """Return the learning rate of every optimizer, as its curves say."""
    return curves.groupby("optimizer")["learning_rate"].first().to_dict()


def _trials(part: pd.DataFrame) -> str:
    seeds = count(int(part["seeds"].max()), "seed")
    return f"{len(part)} {TIMES} {seeds} = {int(part['seeds'].sum())}"


def _chosen(value: float | None, grid: list[float]) -> str:
    """Write the chosen rate, and whether the grid may be too narrow around it."""
    if value is None:
        return NOTHING
    if len(grid) == 1:
        return f"{rate(value)} (the only one)"
    at_edge = value <= min(grid) or value >= max(grid)
    return rate(value) + (" (edge of the grid)" if at_edge else "")
