"""Unseen agents on one test task, trained by the champion and by all that it is compared with."""

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
from l2o.pipeline.contract import (
    Input,
    Job,
    Stage,
    folder_option,
    job,
    name_option,
    plain_settings,
)
from l2o.pipeline.jobs import contenders_of, transfers
from l2o.pipeline.options import RUNS, SELECTION
from l2o.pipeline.work import Work, agents_work, grid_work, total

if TYPE_CHECKING:
    from l2o.config.models import Config
    from l2o.jobs.programs import Lowered


class Settings(NamedTuple):
    """What the results depend on; ``oracle`` is the grid on the test task, if that is asked for."""

    task: str
    variant: str | None
    scale: str
    contenders: Contenders
    training: PPOTraining
    seeds: int
    oracle: Grid | None


def settings(config: Config, task: str, variant: str | None = None) -> Settings:
    """Return the settings of a test task and, maybe, of an agent off its preset."""
    own = config.transfer
    training = ppo_training(config, variant)
    oracle = ppo_grid(config) if own.oracle else None
    return Settings(task, variant, config.scale, contenders(config), training, own.seeds, oracle)


def jobs(config: Config) -> Iterator[Job]:
    """Yield a job for every test task, then for every variant on those that have them."""
    yield from transfers(config)
    for task in config.transfer.variant_tasks:
        for variant in config.transfer.variants:
            yield job("transfer", task=task, variant=variant)


def inputs(config: Config, task: str, variant: str | None = None) -> Iterator[Input]:
    """Yield what takes part, and the learning rates."""
    del task, variant
    yield from contenders_of(config)
    yield Input(job("tune"), ("tuned.json",))


def run(
    settings: Settings,
    out: Path,
    state: Path,
    code: str,
    selection: Path,
    runs: Path,
    tuned: Path,
) -> None:
    """Train agents on a test task with every optimizer.

    Writes ``curves.parquet`` (rates from the tuning tasks, and a random policy),
    ``controls.parquet`` (the same with a column ``tuning``: learned optimizers at their own rates,
    ``none``, and if configured rates tuned on the test task, ``oracle``), ``oracle.parquet`` (that
    grid, or no rows), ``costs.parquet`` and ``run.json`` in ``out``.
    """
    from l2o.evaluation.contenders import find_contenders
    from l2o.evaluation.resume import Resume
    from l2o.evaluation.transfer import train_contenders
    from l2o.files import read_json, sha256, write_table
    from l2o.jobs.locks import hold
    from l2o.jobs.record import Run
    from l2o.statistics.returns import final_returns, summarize
    from l2o.tasks.presets import resolve

    tags = {"task": settings.task, "scale": settings.scale}
    tags |= {"recipe": settings.contenders.selected}
    tags |= {} if settings.variant is None else {"variant": settings.variant}
    plain, ppo = plain_settings(settings), resolve(settings.task, settings.training.ppo)
    record = plain | {"ppo_resolved": vars(ppo)}
    hold(state)
    with Run(out, stage="transfer", config=record, seed=0, tags=tags) as run:
        rates = read_json(tuned / "tuned.json")
        champion = sha256(selection / "champion.safetensors")
        known = [code, champion, plain, rates]
        resume = Resume(state, known)
        own = find_contenders(settings.contenders, selection, runs)
        tables = train_contenders(
            settings.task,
            settings.training,
            settings.seeds,
            settings.oracle,
            own,
            rates,
            run,
            resume,
        )
        for name, table in tables._asdict().items():
            write_table(out / f"{name}.parquet", table)
        finals = summarize(final_returns(tables.curves), ["optimizer"])
        run.summary(dict(zip(finals["optimizer"], finals["mean"], strict=True)))
        resume.discard()


def work(config: Config, task: str, variant: str | None = None) -> Work:
    """Return the work of the curves, of the controls, and of tuning on the task itself."""
    own = settings(config, task, variant)
    several = own.contenders.number
    # Learned ones, but for the untrained one, also at their own rates.
    controls = 1 + len(own.contenders.others) + (0 if own.oracle is None else several)
    parts = [agents_work(task, own.training, (several + controls) * own.seeds)]
    if own.oracle is not None:
        parts.append(grid_work(task, own.training, several, own.oracle))
    return total(parts)


def programs(
    settings: Settings, selection: Path, runs: Path, **places: object
) -> Iterator[Lowered]:
    """Yield the training of agents."""
    del places
    from l2o.evaluation.contenders import find_contenders
    from l2o.evaluation.programs import of_agents

    candidates = find_contenders(settings.contenders, selection, runs)
    yield from of_agents(settings.task, settings.training, candidates, settings.seeds)


def folder(task: str, variant: str | None = None) -> str:
    """Return the folder of a task, or of a variant on it."""
    return f"transfer/{task}" if variant is None else f"transfer_variants/{task}/{variant}"


STAGE = Stage(
    help="train unseen agents with the champion and with everything it is compared with",
    settings=settings,
    jobs=jobs,
    inputs=inputs,
    run=run,
    work=work,
    programs=programs,
    folder=folder,
    outputs=("curves.parquet", "controls.parquet", "oracle.parquet", "costs.parquet"),
    options=(
        SELECTION,
        RUNS,
        folder_option("--tuned", "tune", "folder of `l2o tune`"),
        name_option("--task", "test task"),
        name_option("--variant", "an agent off the preset, from transfer.variants", required=False),
    ),
    resumes=True,
)
