"""Equal tuning: every optimizer tries the same learning rates, on the same seeds."""

import dataclasses
from collections.abc import Callable, Sequence

import pandas as pd

from l2o.evaluation.candidates import Candidate
from l2o.evaluation.evaluate import Budget, Lifetime, evaluate
from l2o.evaluation.statistics import best_learning_rates, final_returns

TUNING_SEED = 1_000_000
"""First seed used for tuning; no learning curve that is reported uses seeds this large."""


def tune(
    task: str,
    lifetime: Lifetime,
    candidates: Sequence[Candidate],
    learning_rates: Sequence[float],
    seeds: int,
    budget: Budget,
    on_progress: Callable[[int, int, float], None] | None = None,
) -> tuple[list[Candidate], pd.DataFrame]:
    """Choose each candidate's learning rate by its mean final return.

    Args:
        task: Task to tune on.
        lifetime: How its agents are trained.
        candidates: The optimizers; their own learning rates are ignored.
        learning_rates: The grid.
        seeds: Seeds of each grid point.
        budget: How long agents are trained.
        on_progress: See :func:`l2o.evaluation.evaluate.evaluate`.

    Returns:
        The candidates with the learning rates chosen, and the whole grid: ``task, optimizer,
        learning_rate, mean, seeds``.

    Raises:
        ResultsError: A candidate diverged at every learning rate.
    """
    grid = [
        dataclasses.replace(candidate, learning_rate=rate)
        for candidate in candidates
        for rate in learning_rates
    ]
    trials = range(TUNING_SEED, TUNING_SEED + seeds)
    finals = final_returns(evaluate(task, lifetime, grid, trials, budget, on_progress))
    best = best_learning_rates(finals).set_index("optimizer")["learning_rate"]
    tuned = [dataclasses.replace(c, learning_rate=float(best[c.label])) for c in candidates]
    groups = finals.groupby(["task", "optimizer", "learning_rate"])["final"]
    table = groups.agg(mean=lambda x: x.mean(skipna=False), seeds="size").reset_index()
    return tuned, table
