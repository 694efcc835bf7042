"""Classical optimizers on one task, tuned there: what scores are measured by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from l2o.choices import TOY_TASKS
from l2o.config.parts import (
    Grid,
    PPOTraining,
    ToyTraining,
    ppo_grid,
    ppo_training,
    toy_training,
)
from l2o.pipeline.contract import Job, Stage, job, name_option
from l2o.pipeline.work import Work, agents_work, total

if TYPE_CHECKING:
    import pandas as pd

    from l2o.config.models import Config
    from l2o.evaluation.candidates import Candidate
    from l2o.jobs.programs import Lowered
    from l2o.jobs.record import Run


class Settings(NamedTuple):
    """What the results depend on; of the two ways to train agents the task has one."""

    task: str
    scale: str
    optimizers: tuple[str, ...]
    grid: Grid
    seeds: int
    toy: ToyTraining | None = None
    ppo: PPOTraining | None = None


def settings(config: Config, task: str) -> Settings:
    """Return the settings of a toy task, or of one that PPO learns."""
    if task not in TOY_TASKS:
        # Only the unit of scores, with the budget of the transfer evaluation.
        grid, seeds = ppo_grid(config), config.transfer.seeds
        ppo = ppo_training(config)
        return Settings(task, config.scale, ("adam",), grid, seeds, ppo=ppo)
    own = config.baselines
    grid = Grid(tuple(own.learning_rates), own.tuning_seeds)
    toy = toy_training(config, task)
    return Settings(task, config.scale, tuple(own.optimizers), grid, own.seeds, toy=toy)


def jobs(config: Config) -> Iterator[Job]:
    """Yield a job for every task on which optimizers are evaluated."""
    others = (task for ablation in config.ablations.values() for task in ablation.tasks)
    for task in dict.fromkeys([*config.toy_evaluation_tasks, *others]):
        yield job("baselines", task=task)


def run(settings: Settings, out: Path) -> None:
    """Tune each classical optimizer, then train fresh agents with it, and some that never learn.

    Writes ``tuning.parquet``, ``tuned.json``, ``curves.parquet`` and ``run.json`` in ``out``.
    """
    from l2o.files import write_json, write_table
    from l2o.jobs.record import Run
    from l2o.statistics.returns import final_returns, summarize

    tags = {"task": settings.task, "scale": settings.scale}
    train = _toy if settings.toy else _ppo
    with Run(out, stage="baselines", config=_record(settings), seed=0, tags=tags) as run:
        tuned, grid, curves = train(settings, run)
        write_table(out / "tuning.parquet", grid)
        write_json(out / "tuned.json", {c.label: c.learning_rate for c in tuned})
        write_table(out / "curves.parquet", curves)
        finals = summarize(final_returns(curves), ["optimizer"])
        run.summary(dict(zip(finals["optimizer"], finals["mean"], strict=True)))


def _record(settings: Settings) -> dict[str, object]:
    record = {"optimizers": settings.optimizers, "seeds": settings.seeds}
    record |= settings.grid._asdict()
    if settings.ppo is None:
        return record
    return record | settings.ppo._asdict() | {"ppo": settings.ppo.ppo.model_dump()}


def _toy(settings: Settings, run: Run) -> tuple[list[Candidate], pd.DataFrame, pd.DataFrame]:
    from l2o.evaluation.candidates import Candidate
    from l2o.evaluation.evaluate import evaluate, show_points
    from l2o.evaluation.toy_tasks import toy_lifetime
    from l2o.evaluation.tuning import tune

    lifetime, budget = toy_lifetime(settings.task, settings.toy)
    names = [Candidate(name, name, float("nan")) for name in settings.optimizers]
    # Any of them at rate 0: it shares their compiled program.
    random = Candidate("random", settings.optimizers[0], 0.0)
    with run.phase("tune"):
        tuned, grid = tune(settings.task, lifetime, names, settings.grid, budget, show_points(run))
    with run.phase("evaluate"):
        candidates, seeds = [*tuned, random], range(settings.seeds)
        curves = evaluate(settings.task, lifetime, candidates, seeds, budget, show_points(run))
    return tuned, grid, curves


def _ppo(settings: Settings, run: Run) -> tuple[list[Candidate], pd.DataFrame, pd.DataFrame]:
    import pandas as pd

    from l2o.evaluation.candidates import Candidate
    from l2o.evaluation.evaluate import evaluate, show_points
    from l2o.evaluation.ppo_tasks import ppo_lifetime  # imports Brax, slowly
    from l2o.evaluation.random_policy import random_curves
    from l2o.evaluation.tuning import tune

    task, own = settings.task, range(settings.seeds)
    adam = [Candidate(name, name, float("nan")) for name in settings.optimizers]
    lifetime, short = ppo_lifetime(
        task, settings.ppo, settings.seeds, settings.grid.tuning_env_steps, points=1
    )
    with run.phase("tune"):
        tuned, grid = tune(task, lifetime, adam, settings.grid, short, show_points(run))
    lifetime, budget = ppo_lifetime(task, settings.ppo, settings.seeds)
    with run.phase("evaluate"):
        curves = evaluate(task, lifetime, tuned, own, budget, show_points(run))
        random = random_curves(task, lifetime, own, curves)
    return tuned, grid, pd.concat([curves, random], ignore_index=True)


def work(config: Config, task: str) -> Work:
    """Return the work of tuning, and of the curves."""
    own = settings(config, task)
    training, grid = own.toy or own.ppo, own.grid
    trials = len(own.optimizers) * len(grid.learning_rates) * grid.tuning_seeds
    lanes = (len(own.optimizers) + 1) * own.seeds  # and a random policy
    tuning = agents_work(task, training, trials, grid.tuning_env_steps, points=1)
    return total([tuning, agents_work(task, training, lanes)])


def programs(settings: Settings, **places: object) -> Iterator[Lowered]:
    """Yield the training of agents."""
    del places
    from l2o.evaluation.candidates import Candidate
    from l2o.evaluation.programs import of_agents

    candidates = [Candidate(name, name, 1.0) for name in settings.optimizers]
    training = settings.toy or settings.ppo
    yield from of_agents(settings.task, training, candidates, settings.seeds)


STAGE = Stage(
    help="tune classical optimizers on a task and record their learning curves",
    settings=settings,
    jobs=jobs,
    run=run,
    work=work,
    programs=programs,
    folder="baselines/{task}",
    outputs=("curves.parquet", "tuning.parquet", "tuned.json"),
    options=(name_option("--task", "a toy task, or one that PPO learns"),),
)
