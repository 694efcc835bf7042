"""Equal tuning: every optimizer tries the same learning rates, on the same seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from l2o.evaluation.candidates import Candidate
from l2o.evaluation.evaluate import Budget, Lifetime, evaluate, show_points
from l2o.statistics.columns.evaluation import TUNING_COLUMNS
from l2o.statistics.returns import best_learning_rates, final_returns

if TYPE_CHECKING:
    from l2o.config.parts import Grid, PPOTraining
    from l2o.evaluation.resume import Resume
    from l2o.jobs.record import Run

TUNING_SEED = 1_000_000
"""First seed used for tuning; no learning curve that is reported uses seeds this large."""


def grid_finals(
    task: str,
    lifetime: Lifetime,
    candidates: Sequence[Candidate],
    grid: Grid,
    budget: Budget,
    on_progress: Callable[[int, int, float], None] | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Train agents with every candidate at every rate of the grid.

    Args:
        task: Task to tune on.
        lifetime: How its agents are trained.
        candidates: The optimizers; their own learning rates are ignored.
        grid: The learning rates, and the seeds of each.
        budget: How long agents are trained.
        on_progress: See :func:`l2o.evaluation.evaluate.evaluate`.
        **options: More of its arguments.

    Returns:
        See :func:`l2o.statistics.returns.final_returns`.
    """
    points = [
        dataclasses.replace(candidate, learning_rate=rate)
        for candidate in candidates
        for rate in grid.learning_rates
    ]
    trials = range(TUNING_SEED, TUNING_SEED + grid.tuning_seeds)
    return final_returns(evaluate(task, lifetime, points, trials, budget, on_progress, **options))


def ppo_grid_finals(
    task: str,
    training: PPOTraining,
    grid: Grid,
    seeds: int,
    candidates: Sequence[Candidate],
    run: Run,
    resume: Resume,
) -> pd.DataFrame:
    """Train PPO agents with every candidate at every rate of the grid; see :func:`grid_finals`.

    Args:
        task: Task to tune on.
        training: How its agents are trained.
        grid: The learning rates, the seeds and the environment steps of each.
        seeds: Agents side by side.
        candidates: The optimizers; their own learning rates are ignored.
        run: Shows the progress.
        resume: What a killed job continues from.
    """
    from l2o.evaluation.ppo_tasks import ppo_lifetime  # imports Brax, slowly

    lifetime, budget = ppo_lifetime(task, training, seeds, grid.tuning_env_steps, points=1)
    show, part = show_points(run), resume.part("grid")
    return grid_finals(task, lifetime, candidates, grid, budget, show, resume=part)


def tune(
    task: str,
    lifetime: Lifetime,
    candidates: Sequence[Candidate],
    grid: Grid,
    budget: Budget,
    on_progress: Callable[[int, int, float], None] | None = None,
) -> tuple[list[Candidate], pd.DataFrame]:
    """Choose each candidate's learning rate by its mean final return.

    Args:
        task: Task to tune on.
        lifetime: How its agents are trained.
        candidates: The optimizers; their own learning rates are ignored.
        grid: The learning rates, and the seeds of each.
        budget: How long agents are trained.
        on_progress: See :func:`l2o.evaluation.evaluate.evaluate`.

    Returns:
        The candidates with the learning rates chosen, and the whole grid, see ``TUNING_COLUMNS``.

    Raises:
        ResultsError: A candidate diverged at every learning rate.
    """
    finals = grid_finals(task, lifetime, candidates, grid, budget, on_progress)
    best = best_learning_rates(finals).set_index("optimizer")["learning_rate"]
    tuned = [dataclasses.replace(c, learning_rate=float(best[c.label])) for c in candidates]
    return tuned, grid_table(finals)


def grid_table(finals: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of every grid point; see ``TUNING_COLUMNS``."""
    groups = finals.groupby(["task", "optimizer", "learning_rate"])["final"]
    table = groups.agg(mean=lambda x: x.mean(skipna=False), seeds="size").reset_index()
    return table[list(TUNING_COLUMNS)]


def rates_over_tasks(finals: pd.DataFrame, zeros: Mapping[str, float]) -> dict[str, float]:
    """Choose each optimizer's learning rate by its mean score over several tasks.

    A task's score is 0 for a random policy and 1 for the best mean of the whole grid there, so that
    every task counts alike.

    Args:
        finals: Final returns of the grid on all tasks.
        zeros: Return of a random policy, by task.

    Returns:
        Learning rates by label.

    Raises:
        ResultsError: A candidate diverged at every learning rate, on one task or another.
    """
    means = grid_table(finals)
    ones = means.groupby("task")["mean"].max()
    zero = finals["task"].map(zeros)
    unit = (finals["task"].map(ones) - zero).clip(lower=1e-6)
    scores = finals.assign(final=(finals["final"] - zero) / unit, task="the tuning tasks")
    best = best_learning_rates(scores)
    return dict(zip(best["optimizer"], map(float, best["learning_rate"]), strict=True))
