"""What the meta-training runs of one recipe achieve: a level of the ablations that compare it.

A level is evaluated once, whatever the number of ablations that it takes part in, and a change of
one level leaves the others alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from l2o.choices import TOY_TASKS
from l2o.config.parts import PPOTraining, ToyTraining, ppo_training, toy_trainings
from l2o.errors import unknown_name
from l2o.pipeline.contract import Input, Job, Stage, job, name_option
from l2o.pipeline.jobs import TOY, levels_of
from l2o.pipeline.options import RUNS
from l2o.pipeline.work import Work, agents_work, total

if TYPE_CHECKING:
    from l2o.config.budgets import Pretrained
    from l2o.config.models import Config
    from l2o.jobs.programs import Lowered


class Settings(NamedTuple):
    """What the results depend on.

    Attributes:
        recipe: The recipe, or the pretrained optimizer.
        where: The task, or ``TOY``.
        scale: Of the configuration.
        meta_seeds: Of the recipe's meta-training runs.
        pretrained: Weights from elsewhere, None of a recipe.
        tasks: The tasks, with how agents are trained on them.
        seeds: Agents of each meta-training run and task.
    """

    recipe: str
    where: str
    scale: str
    meta_seeds: tuple[int, ...]
    pretrained: Pretrained | None
    tasks: dict[str, ToyTraining | PPOTraining]
    seeds: int


def settings(config: Config, recipe: str, where: str) -> Settings:
    """Return the settings of a recipe, or of a pretrained optimizer, on a task or on all toy tasks.

    Raises:
        L2OError: There is no such recipe.
    """
    if recipe not in (known := [*config.recipes, *config.pretrained]):
        raise unknown_name("recipe", recipe, known)
    if where == TOY or where in TOY_TASKS:
        tasks = config.toy_evaluation_tasks if where == TOY else [where]
        training, seeds = toy_trainings(config, tasks), config.evaluation_seeds
    else:
        training, seeds = {where: ppo_training(config)}, config.evaluation_ppo_seeds
    pretrained = config.pretrained.get(recipe)
    meta_seeds = tuple(config.meta_seeds)
    return Settings(recipe, where, config.scale, meta_seeds, pretrained, training, seeds)


def jobs(config: Config) -> Iterator[Job]:
    """Yield the jobs of every ablation, each once."""
    every = (one for name in config.ablations for one in levels_of(config, name))
    yield from dict.fromkeys(every)


def inputs(config: Config, recipe: str, where: str) -> Iterator[Input]:
    """Yield the meta-training runs, or the weight file of a pretrained optimizer."""
    del where
    if recipe in config.pretrained:
        yield Input(None, (config.pretrained[recipe].weights,))
        return
    for seed in config.meta_seeds:
        yield Input(job("meta_train", recipe=recipe, seed=seed))


def run(settings: Settings, out: Path, runs: Path) -> None:
    """Train agents with the last checkpoint of every run, and with its first, untrained one.

    The last checkpoint, a rule fixed in advance: choosing one per level would reward the level with
    the noisier series. Learning rates are those of meta-training. A pretrained optimizer, which is
    one run of unknown seed, gets as many agents as all runs of a recipe. Writes ``curves.parquet``
    (see ``LEVEL_COLUMNS``; optimizers ``trained`` and ``untrained``) and ``run.json`` in ``out``.

    Raises:
        L2OError: One of the runs is missing.
    """
    from l2o.evaluation.levels import last_and_first, level_curves, pretrained_and_new
    from l2o.files import write_table
    from l2o.jobs.record import Run
    from l2o.statistics.returns import final_returns, summarize

    recipe, where = settings.recipe, settings.where
    tags = {"recipe": recipe, "scale": settings.scale, "task": where}
    record = {"where": where, "meta_seeds": settings.meta_seeds}
    with Run(out, stage="level", config=record, seed=0, tags=tags) as run:
        if settings.pretrained is None:
            candidates, agents = last_and_first(runs / recipe, settings.meta_seeds), settings.seeds
        else:
            candidates = pretrained_and_new(settings.pretrained)
            agents = settings.seeds * len(settings.meta_seeds)
        curves = level_curves(settings.tasks, candidates, agents, settings.seeds, run)
        names = curves["optimizer"].str.partition("/")
        curves = curves.assign(optimizer=names[0], meta_seed=names[2].astype(int))
        write_table(out / "curves.parquet", curves)
        run.summary(
            {
                f"{row.task}/{row.optimizer}": row.mean
                for _, part in curves.groupby("task")
                for row in summarize(final_returns(part), ["task", "optimizer"]).itertuples()
            }
        )


def work(config: Config, recipe: str, where: str) -> Work:
    """Return the work on all tasks, with trained and with untrained weights."""
    own = settings(config, recipe, where)
    agents = 2 * own.seeds * len(own.meta_seeds)
    return total(agents_work(task, training, agents) for task, training in own.tasks.items())


def programs(settings: Settings, runs: Path, **places: object) -> Iterator[Lowered]:
    """Yield the training of agents on every task."""
    del places
    from l2o.evaluation.levels import last_and_first, pretrained_and_new
    from l2o.evaluation.programs import of_agents

    if settings.pretrained is None:
        candidates = last_and_first(runs / settings.recipe, settings.meta_seeds)
    else:
        candidates = pretrained_and_new(settings.pretrained)
    for task, training in settings.tasks.items():
        yield from of_agents(task, training, candidates, settings.seeds)


STAGE = Stage(
    help="train agents with the last checkpoints of a recipe, and with its untrained ones",
    settings=settings,
    jobs=jobs,
    inputs=inputs,
    run=run,
    work=work,
    programs=programs,
    folder="levels/{recipe}/{where}",
    outputs=("curves.parquet",),
    options=(
        name_option("--recipe", "what was meta-trained"),
        name_option("--where", "toy (all toy tasks), or a task of PPO"),
        RUNS,
    ),
)
