"""Learning curves as tables: final returns, intervals and normalised scores."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from l2o.errors import ResultsError
from l2o.statistics.bootstrap import MIN_SEEDS, mean_interval

FINAL_SHARE = 0.1
"""Share of a lifetime, at its end, over which the final return is the mean."""


def final_returns(curves: pd.DataFrame, share: float = FINAL_SHARE) -> pd.DataFrame:
    """Reduce learning curves to one row per optimizer, learning rate and seed.

    Args:
        curves: See :data:`l2o.statistics.columns.evaluation.CURVE_COLUMNS`.
        share: Share of the points, at the end, that count as final (at least one).

    Returns:
        ``task, optimizer, learning_rate, seed, final`` (mean over the final points, NaN if any
        agent diverged there) ``, mean`` (over the whole curve: area under it, per point).
    """
    if curves.empty:
        raise ResultsError("the learning curves are empty.")
    keys = ["task", "optimizer", "learning_rate", "seed"]
    last = curves.groupby("task")["update"].transform("max")  # budgets differ between tasks
    late = curves[curves["update"] > last * (1 - share)]
    # A window without a finished episode is NaN as well, so that only the diverged are NaN here if
    # windows are long enough for episodes to end in them.
    final = late.groupby(keys)["return"].agg(lambda x: x.mean(skipna=False)).rename("final")
    mean = curves.groupby(keys)["return"].mean().rename("mean")
    return pd.concat([final, mean], axis=1).reset_index()


def summarize(finals: pd.DataFrame, by: Sequence[str], value: str = "final") -> pd.DataFrame:
    """Return mean, standard error, 95% interval and number of seeds per group.

    Args:
        finals: From :func:`final_returns`.
        by: Columns that name a group.
        value: Column to summarise.
    """

    def one(values: pd.Series) -> pd.Series:
        low, high = mean_interval(values) if len(values) >= MIN_SEEDS else (np.nan, np.nan)
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
        columns = {"mean": values.mean(), "se": error, "low": low, "high": high}
        return pd.Series(columns | {"seeds": len(values)})

    table = finals.groupby(list(by), sort=False)[value].apply(one).unstack().reset_index()
    return table.astype({"seeds": int})


def score_scale(reference: pd.DataFrame, value: str = "final") -> tuple[float, float]:
    """Return what scores on one task are measured by: 0 is the random policy, 1 is tuned Adam.

    The unit is not allowed below the standard error of the difference it is made of: where Adam
    learns nothing, scores would otherwise be noise divided by nothing.

    Args:
        reference: Returns of one task's agents, of ``adam`` and ``random`` among them.
        value: Column of the returns.

    Returns:
        Return of a score of 0, and how much of it a score of 1 adds.

    Raises:
        ResultsError: A baseline that is needed is missing or has diverged.
    """
    (one, one_se), (zero, zero_se) = (_level(reference, name, value) for name in ("adam", "random"))
    error = np.nan_to_num(np.hypot(one_se, zero_se))
    return zero, max(one - zero, float(error), 1e-6)


def _level(reference: pd.DataFrame, name: str, value: str) -> tuple[float, float]:
    """Return a baseline's mean return and its standard error."""
    returns = reference.loc[reference["optimizer"] == name, value]
    if returns.empty or returns.isna().any():
        what = "is missing" if returns.empty else "has diverged"
        raise ResultsError(f"baseline '{name}' {what}: there is nothing to measure scores by.")
    return returns.mean(), returns.std(ddof=1) / np.sqrt(len(returns))


def best_learning_rates(finals: pd.DataFrame) -> pd.DataFrame:
    """Return the learning rate with the highest mean final return per task and optimizer.

    A learning rate at which any agent diverged (NaN) is out. Ties go to the smaller one.

    Raises:
        ResultsError: An optimizer diverged at every learning rate.
    """
    keys = ["task", "optimizer"]
    score = finals.groupby([*keys, "learning_rate"])["final"].agg(lambda x: x.mean(skipna=False))
    usable = score.dropna().reset_index().sort_values("learning_rate")
    best = usable.loc[usable.groupby(keys)["final"].idxmax()]
    lost = set(finals.groupby(keys).groups) - set(map(tuple, best[keys].to_numpy()))
    if lost:
        names = ", ".join(f"{optimizer} on {task}" for task, optimizer in sorted(lost))
        raise ResultsError(
            f"every learning rate diverged for {names}, or no episode ended in the last points of "
            "the learning curve: is the budget long enough?"
        )
    return best.reset_index(drop=True)
