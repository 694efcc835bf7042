"""Effects of an ablation's levels, and of its factors. Imports no jax."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from l2o.choices import ROLES
from l2o.errors import ResultsError
from l2o.files import read_table
from l2o.statistics.aggregates import TransferScores, score_tasks
from l2o.statistics.bootstrap import nested_estimate
from l2o.statistics.columns.comparisons import ABLATION_COLUMNS, EFFECT_COLUMNS, FACTOR_COLUMNS
from l2o.statistics.columns.evaluation import CURVE_COLUMNS, LEVEL_COLUMNS
from l2o.statistics.factorial import factor_rows
from l2o.statistics.metrics import difference, interquartile_mean, probability_of_improvement
from l2o.statistics.returns import final_returns, summarize

CHECKPOINTS = ("trained", "untrained")
"""What a level is evaluated with: its last checkpoint, and its first."""
ELSEWHERE = -1
"""In place of the seed of a meta-training: a pretrained optimizer."""
_AGENTS = 100_000
"""More than any seed of an agent: runs are numbered by meta-training seed and agent."""


def level_curves(recipes: Mapping[str, str], places: Sequence[str], levels: Path) -> pd.DataFrame:
    """Return the curves of every level, labelled ``<recipe>/seed_<seed>/<checkpoint>``.

    Args:
        recipes: The levels, with what the report calls each.
        places: Where they were evaluated.
        levels: Folder with ``<recipe>/<place>`` of every level.
    """
    parts = []
    for recipe, level in recipes.items():
        for place in places:
            part = read_table(levels / recipe / place / "curves.parquet", LEVEL_COLUMNS)
            run = f"{recipe}/seed_" + part["meta_seed"].astype(str) + "/"
            parts.append(
                part.assign(
                    level=level,
                    recipe=recipe,
                    checkpoint=part["optimizer"],
                    optimizer=run + part["optimizer"],
                )
            )
    return pd.concat(parts, ignore_index=True)


def summary(curves: pd.DataFrame, roles: Mapping[str, str]) -> pd.DataFrame:
    """Return final returns per level and task.

    Args:
        curves: From :func:`level_curves`.
        roles: What every task is for.

    Raises:
        ResultsError: There are results on another task.
    """
    if unknown := sorted(set(curves["task"]) - set(roles)):
        raise ResultsError(
            f"levels have results on {', '.join(unknown)}, where nothing is compared; "
            "run them again."
        )
    finals = final_returns(curves)
    names = curves[["optimizer", "level", "recipe", "meta_seed", "checkpoint"]].drop_duplicates()
    table = summarize(finals, ["optimizer", "task"]).merge(names, on="optimizer")
    return table.assign(role=table["task"].map(roles))[list(ABLATION_COLUMNS)]


def effects(
    recipes: Mapping[str, str],
    factors: Mapping[str, Sequence[str]],
    roles: Mapping[str, str],
    curves: pd.DataFrame,
    baselines: Path,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the effects of levels (``EFFECT_COLUMNS``), and of factors (``FACTOR_COLUMNS``).

    Args:
        recipes: The levels, with what the report calls each; the full method first.
        factors: By factor, the recipes in which it is present.
        roles: What every task is for.
        curves: From :func:`level_curves`.
        baselines: Folder of the tasks' baselines.
    """
    level_rows: list[tuple] = []
    term_rows: list[tuple] = []
    given = curves["task"].unique()
    for role in ROLES:
        tasks = [task for task in given if roles[task] == role]
        if not tasks:
            continue
        found = score_tasks(_scored(task, curves, baselines) for task in tasks)
        for reason in found.left_out:
            print(f"left out of the effects: {reason}", flush=True)
        names = [name for name in recipes if name in found.complete]
        scores = {name: _runs(found, name) for name in names}
        level_rows += _effect_rows(role, scores, recipes)
        if factors and len(scores) == len(recipes):
            term_rows += factor_rows(role, factors, scores)
    return (
        pd.DataFrame(level_rows, columns=list(EFFECT_COLUMNS)),
        pd.DataFrame(term_rows, columns=list(FACTOR_COLUMNS)),
    )


def _scored(task: str, curves: pd.DataFrame, baselines: Path) -> pd.DataFrame:
    """Return what one task's scores are made of: trained levels, Adam and the random policy."""
    unit = read_table(baselines / task / "curves.parquet", CURVE_COLUMNS)
    unit = unit[unit["optimizer"].isin(["adam", "random"])]
    own = curves[(curves["task"] == task) & (curves["checkpoint"] == "trained")]
    own = own.assign(optimizer=own["recipe"], seed=_AGENTS * own["meta_seed"] + own["seed"])
    table = pd.concat([own[list(CURVE_COLUMNS)], unit[list(CURVE_COLUMNS)]], ignore_index=True)
    # On toy tasks a point has no return where no episode has ended yet: that agent is not lost.
    early = table.groupby(["optimizer", "seed"])["return"].bfill()
    return table.assign(**{"return": table["return"].where(table["episodes"] > 0, early)})


def by_run(meta_seeds: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return values of agents by meta-training run, ``[runs, agents]``.

    A claim about a pretrained optimizer is about this one, not about those that a recipe would
    give: each of its agents counts as a run.

    Args:
        meta_seeds: Of each value, in order.
        values: The same number for every meta-training run.
    """
    runs = 1 if meta_seeds[0] == ELSEWHERE else np.unique(meta_seeds).size
    matrix = values.reshape(runs, -1)
    return matrix.T if meta_seeds[0] == ELSEWHERE else matrix


def _effect_rows(
    role: str, scores: dict[str, np.ndarray], recipes: dict[str, str]
) -> Iterator[tuple]:
    full = next(iter(recipes))
    for recipe, own in scores.items() if full in scores else ():
        pair = [own, scores[full]]
        found = [
            nested_estimate(pair[:1], interquartile_mean),
            nested_estimate(pair, difference(interquartile_mean)),
            tuple(np.clip(nested_estimate(pair, probability_of_improvement), 0, 1)),
        ]
        if recipe == full:  # resampled independently it would differ from itself
            found[1:] = [(0.0,) * 3, (0.5,) * 3]
        numbers = [float(end) for ends in found for end in ends]
        yield role, recipe, recipes[recipe], *numbers, *own.shape


def _runs(scores: TransferScores, recipe: str) -> np.ndarray:
    """Return a level's scores, ``[runs, agents, tasks]``; see :func:`by_run`."""
    numbers = np.sort(scores.table.loc[scores.table["optimizer"] == recipe, "seed"].unique())
    matrix = scores.matrix(recipe)  # in the order of the numbers
    return np.stack([by_run(numbers // _AGENTS, column) for column in matrix.T], axis=-1)
