"""The learning rate of every optimizer of the transfer evaluation, chosen on the tuning tasks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from l2o.config.parts import (
    Contenders,
    Grid,
    PPOTraining,
    contenders,
    ppo_grid,
    ppo_training,
)
from l2o.pipeline.contract import Stage, plain_settings
from l2o.pipeline.jobs import contenders_of
from l2o.pipeline.options import RUNS, SELECTION
from l2o.pipeline.work import Work, grid_work, total

if TYPE_CHECKING:
    from l2o.config.models import Config
    from l2o.jobs.programs import Lowered


class Settings(NamedTuple):
    """What the results depend on; a random policy, the zero of scores, has ``seeds``."""

    scale: str
    contenders: Contenders
    tasks: tuple[str, ...]
    training: PPOTraining
    grid: Grid
    seeds: int


def settings(config: Config) -> Settings:
    """Return the settings."""
    own = config.transfer
    return Settings(
        config.scale,
        contenders(config),
        tuple(own.tuning_tasks),
        ppo_training(config),
        ppo_grid(config),
        own.seeds,
    )


def run(settings: Settings, out: Path, state: Path, code: str, selection: Path, runs: Path) -> None:
    """Choose every optimizer's learning rate on the tuning tasks.

    Writes ``tuning.parquet``, ``tuned.json`` and ``run.json`` in ``out``.
    """
    import pandas as pd

    from l2o.evaluation.contenders import find_contenders
    from l2o.evaluation.ppo_tasks import ppo_lifetime
    from l2o.evaluation.random_policy import random_returns
    from l2o.evaluation.resume import Resume
    from l2o.evaluation.tuning import (
        TUNING_SEED,
        grid_table,
        ppo_grid_finals,
        rates_over_tasks,
    )
    from l2o.files import sha256, write_json, write_table
    from l2o.jobs.locks import hold
    from l2o.jobs.record import Run

    training, seeds = settings.training, settings.seeds
    tags = {"scale": settings.scale, "recipe": settings.contenders.selected}
    plain = plain_settings(settings)
    hold(state)
    with Run(out, stage="tune", config=plain, seed=0, tags=tags) as run:
        candidates = find_contenders(settings.contenders, selection, runs)
        champion = sha256(selection / "champion.safetensors")
        resume = Resume(state, [code, champion, plain])
        finals, zeros = [], {}
        for task in settings.tasks:
            with run.phase(task):
                lifetime, _ = ppo_lifetime(task, training, seeds)
                trials = range(TUNING_SEED, TUNING_SEED + seeds)
                zeros[task] = float(random_returns(task, lifetime, trials, training.points).mean())
                grid = settings.grid
                found = ppo_grid_finals(task, training, grid, seeds, candidates, run, resume)
                finals.append(found)
        table = pd.concat(finals, ignore_index=True)
        rates = rates_over_tasks(table, zeros)
        write_table(out / "tuning.parquet", grid_table(table))
        write_json(out / "tuned.json", rates)
        run.summary(rates)
        resume.discard()


def work(config: Config) -> Work:
    """Return the work of the grid on every tuning task."""
    own = settings(config)
    several = own.contenders.number
    return total(grid_work(task, own.training, several, own.grid) for task in own.tasks)


def programs(
    settings: Settings, selection: Path, runs: Path, **places: object
) -> Iterator[Lowered]:
    """Yield the training of agents on every tuning task."""
    del places
    from l2o.evaluation.contenders import find_contenders
    from l2o.evaluation.programs import of_agents

    candidates = find_contenders(settings.contenders, selection, runs)
    for task in settings.tasks:
        yield from of_agents(task, settings.training, candidates, settings.seeds)


STAGE = Stage(
    help="choose every optimizer's learning rate for the transfer, on the tuning tasks",
    settings=settings,
    inputs=contenders_of,
    run=run,
    work=work,
    programs=programs,
    folder="tune",
    outputs=("tuning.parquet", "tuned.json"),
    options=(SELECTION, RUNS),
    resumes=True,
)
