"""Final returns, intervals and normalised scores."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from l2o.errors import ResultsError

FINAL_SHARE = 0.1
"""Share of a lifetime, at its end, over which the final return is the mean."""


def final_returns(curves: pd.DataFrame, share: float = FINAL_SHARE) -> pd.DataFrame:
    """Reduce learning curves to one row per optimizer, learning rate and seed.

    Args:
        curves: See :data:`l2o.evaluation.evaluate.CURVE_COLUMNS`.
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


def bootstrap_interval(
    values: Sequence[float], level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a mean.

    Args:
        values: Independent observations, for example final returns of seeds.
        level: Coverage.
        resamples: Bootstrap samples.
        seed: Of the resampling: the same data give the same interval.

    Raises:
        ResultsError: Fewer than three observations, too few for an interval.
    """
    values = np.asarray(values, float)
    if len(values) < 3:
        raise ResultsError(f"an interval needs at least 3 seeds; got {len(values)}.")
    rng = np.random.default_rng(seed)
    means = rng.choice(values, (resamples, len(values))).mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def summarize(finals: pd.DataFrame, by: Sequence[str], value: str = "final") -> pd.DataFrame:
    """Return mean, standard error, 95% interval and number of seeds per group.

    Args:
        finals: From :func:`final_returns`.
        by: Columns that name a group.
        value: Column to summarise.
    """

    def one(values: pd.Series) -> pd.Series:
        low, high = bootstrap_interval(values) if len(values) >= 3 else (np.nan, np.nan)
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
        columns = {"mean": values.mean(), "se": error, "low": low, "high": high}
        return pd.Series(columns | {"seeds": len(values)})

    table = finals.groupby(list(by), sort=False)[value].apply(one).unstack().reset_index()
    return table.astype({"seeds": int})


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
        raise ResultsError(f"every learning rate diverged for {names}.")
    return best.reset_index(drop=True)
