"""The table of the checkpoint selection."""

from typing import Any

import pandas as pd

from l2o.report.results import Results, Selection
from l2o.report.rows import with_error
from l2o.report.table import Row, Table
from l2o.report.text import NOTHING, number


def context(results: Results) -> dict[str, Any]:
    """Return the scores of all checkpoints."""
    return {} if results.selection is None else {"scores": _scores(results.selection)}


def _scores(chosen: Selection) -> Table:
    """Return checkpoints x validation tasks, a group per series; the winner is marked."""
    scores, champion = chosen.scores, chosen.champion
    tasks = list(scores["task"].unique())
    cells = {(row["meta_seed"], row["step"], row["task"]): row for _, row in scores.iterrows()}
    means = scores.groupby(["meta_seed", "step"])["score"].mean()
    several = scores["meta_seed"].nunique() > 1
    groups: dict[str, list[Row]] = {}
    for (seed, step), mean in means.items():
        wins = (seed, step) == (champion["seed"], champion["outer_step"])
        name = f"{step:,}" + (" (untrained)" if step == 0 else "")
        row = [name + (" \N{BLACK STAR}" if wins else "")]
        for task in tasks:
            row += _score_cells(cells.get((seed, step, task)))
        title = f"meta-training seed {seed}" if several else ""
        groups.setdefault(title, []).append(Row((*row, number(mean)), marked=wins))
    head = [title for task in tasks for title in (f"{task}: final return ± s.e.", "score")]
    return Table(("outer step", *head, "mean score"), groups)


def _score_cells(row: pd.Series | None) -> list[str]:
    if row is None:
        return [NOTHING, NOTHING]
    return [with_error(row["final"], row["se"]), number(row["score"])]
