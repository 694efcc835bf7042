"""The tables of the toy tasks."""

from typing import Any

import pandas as pd

from l2o.report.champion import champion_table
from l2o.report.results import Results
from l2o.report.rows import STATISTICS, return_row, summaries
from l2o.report.table import Table


def context(results: Results) -> dict[str, Any]:
    """Return final returns, and the champion's beside the others'."""
    tasks = results.config.toy_evaluation_tasks
    curves = {f"{task} ({results.role(task)})": results.toy_curves(task) for task in tasks}
    curves = {title: part for title, part in curves.items() if not part.empty}
    return {"finals": _final_returns(curves), "comparisons": champion_table(curves)}


def _final_returns(curves: dict[str, pd.DataFrame]) -> Table:
    groups = {title: [return_row(row) for row in summaries(part)] for title, part in curves.items()}
    return Table(("optimizer", "learning rate", *STATISTICS), groups)
