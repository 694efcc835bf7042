"""Agents on a test task, trained by everything that takes part in the transfer evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from l2o.evaluation.candidates import Candidate
from l2o.evaluation.contenders import untuned, with_rates
from l2o.evaluation.cost import costs
from l2o.evaluation.evaluate import Timing, evaluate, show_points
from l2o.evaluation.ppo_tasks import ppo_lifetime
from l2o.evaluation.random_policy import random_curves
from l2o.evaluation.resume import Resume
from l2o.evaluation.tuning import grid_table, ppo_grid_finals
from l2o.jobs.record import Run
from l2o.statistics.returns import best_learning_rates

if TYPE_CHECKING:
    from l2o.config.parts import Grid, PPOTraining


class TransferTables(NamedTuple):
    """What agents did on a test task.

    Attributes:
        curves: At the learning rates of the tuning tasks, and a random policy.
        controls: At other rates, with a column ``tuning``: ``none`` or ``oracle``.
        oracle: The grid on the test task itself; no rows if that was not asked for.
        costs: Time and memory.
    """

    curves: pd.DataFrame
    controls: pd.DataFrame
    oracle: pd.DataFrame
    costs: pd.DataFrame


def train_contenders(
    task: str,
    training: PPOTraining,
    seeds: int,
    oracle: Grid | None,
    own: list[Candidate],
    rates: dict[str, float],
    run: Run,
    resume: Resume,
) -> TransferTables:
    """Train agents on a test task with every optimizer.

    Args:
        task: The test task.
        training: How its agents are trained.
        seeds: How many of each optimizer.
        oracle: Learning rates to try on the test task itself; none to leave that.
        own: The optimizers, learned ones at their own learning rates.
        rates: Those chosen on the tuning tasks, by label.
        run: Shows the progress.
        resume: What a killed job continues from.
    """
    candidates = with_rates(own, rates)
    wanted = {"validation": candidates, "none": untuned(own)}
    grid = pd.DataFrame(columns=["task", "optimizer", "learning_rate", "mean", "seeds"])
    if oracle is not None:
        with run.phase("oracle"):
            finals = ppo_grid_finals(task, training, oracle, seeds, own, run, resume)
        best = best_learning_rates(finals).set_index("optimizer")["learning_rate"]
        wanted["oracle"] = with_rates(own, best.to_dict())
        grid = grid_table(finals)
    timings: list[Timing] = []
    lifetime, budget = ppo_lifetime(task, training, seeds)
    distinct = {(c.label, c.learning_rate): c for several in wanted.values() for c in several}
    with run.phase("evaluate"):
        curves = evaluate(
            task,
            lifetime,
            list(distinct.values()),
            range(seeds),
            budget,
            show_points(run),
            resume=resume.part("curves"),
            timings=timings,
        )
        random = random_curves(task, lifetime, range(seeds), curves)
    with run.phase("cost"):
        table = costs(task, lifetime, candidates, budget, timings)
    every = _by_tuning(curves, wanted)
    main = pd.concat([every.pop("validation"), random], ignore_index=True)
    controls = [part.assign(tuning=tuning) for tuning, part in every.items()]
    return TransferTables(main, pd.concat(controls, ignore_index=True), grid, table)


def _by_tuning(curves: pd.DataFrame, wanted: dict[str, list[Candidate]]) -> dict[str, pd.DataFrame]:
    """Return the curves of each way of tuning, of which several may share some."""
    return {
        tuning: curves.merge(_names(candidates), on=["optimizer", "learning_rate"])
        for tuning, candidates in wanted.items()
    }


def _names(candidates: Sequence[Candidate]) -> pd.DataFrame:
    pairs = [(c.label, c.learning_rate) for c in candidates]
    return pd.DataFrame(pairs, columns=["optimizer", "learning_rate"])
