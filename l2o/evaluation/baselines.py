"""The stage `baselines`: tune classical optimizers on a task and record their curves."""

from pathlib import Path

import pandas as pd

from l2o.config.models import Config
from l2o.evaluation.candidates import Candidate
from l2o.evaluation.evaluate import evaluate, show_points
from l2o.evaluation.toy_tasks import configured_toy_lifetime
from l2o.evaluation.tuning import tune
from l2o.files import write_json, write_table
from l2o.jobs.record import Run
from l2o.statistics.returns import final_returns, summarize
from l2o.tasks.registry import TOY_TASKS


def baselines(config: Config, task: str, out: Path) -> None:
    """Tune each classical optimizer, then train fresh agents with it, and some that never learn.

    On a task that PPO learns only Adam, the unit of scores, with the budget of the transfer
    evaluation. Writes ``tuning.parquet``, ``tuned.json``, ``curves.parquet`` and ``run.json`` in
    ``out``.

    Args:
        config: The pipeline's configuration.
        task: A toy task, or one that PPO learns.
        out: Folder of the results.
    """
    tags = {"task": task, "scale": config.scale}
    toy = task in TOY_TASKS
    settings = config.baselines if toy else config.transfer
    with Run(out, stage="baselines", config=settings.model_dump(), seed=0, tags=tags) as run:
        tuned, grid, curves = (_toy if toy else _ppo)(config, task, run)
        write_table(out / "tuning.parquet", grid)
        write_json(out / "tuned.json", {c.label: c.learning_rate for c in tuned})
        write_table(out / "curves.parquet", curves)
        finals = summarize(final_returns(curves), ["optimizer"])
        run.summary(dict(zip(finals["optimizer"], finals["mean"], strict=True)))


def _toy(config: Config, task: str, run: Run) -> tuple[list[Candidate], pd.DataFrame, pd.DataFrame]:
    settings = config.baselines
    lifetime, budget = configured_toy_lifetime(config, task)
    names = [Candidate(name, name, float("nan")) for name in settings.optimizers]
    # Any of them at rate 0: it shares their compiled program.
    random = Candidate("random", settings.optimizers[0], 0.0)
    rates, seeds = settings.learning_rates, settings.tuning_seeds
    with run.phase("tune"):
        tuned, grid = tune(task, lifetime, names, rates, seeds, budget, show_points(run))
    with run.phase("evaluate"):
        own = range(settings.seeds)
        curves = evaluate(task, lifetime, [*tuned, random], own, budget, show_points(run))
    return tuned, grid, curves


def _ppo(config: Config, task: str, run: Run) -> tuple[list[Candidate], pd.DataFrame, pd.DataFrame]:
    # Not above: Brax is slow to import.
    from l2o.evaluation.ppo_tasks import ppo_lifetime
    from l2o.evaluation.random_policy import random_curves

    settings = config.transfer
    adam = [Candidate("adam", "adam", float("nan"))]
    lifetime, short = ppo_lifetime(task, settings, settings.tuning_env_steps, points=1)
    rates, seeds = settings.learning_rates, settings.tuning_seeds
    with run.phase("tune"):
        tuned, grid = tune(task, lifetime, adam, rates, seeds, short, show_points(run))
    lifetime, budget = ppo_lifetime(task, settings)
    with run.phase("evaluate"):
        own = range(settings.seeds)
        curves = evaluate(task, lifetime, tuned, own, budget, show_points(run))
        random = random_curves(task, lifetime, own, curves)
    return tuned, grid, pd.concat([curves, random], ignore_index=True)
