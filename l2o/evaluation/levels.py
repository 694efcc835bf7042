"""The stage `level`: what the meta-training runs of one recipe achieve.

A level is evaluated once, whatever the number of ablations that it takes part in, and a change of
one level leaves the others alone.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from l2o.config.models import Config
from l2o.evaluation.candidates import Candidate, checkpoint_series, resolve
from l2o.evaluation.evaluate import evaluate, show_points
from l2o.evaluation.toy_tasks import configured_toy_lifetime
from l2o.files import write_table
from l2o.jobs.record import Run
from l2o.seeding import key_for
from l2o.statistics.effects import CHECKPOINTS, ELSEWHERE, TOY
from l2o.statistics.returns import final_returns, summarize
from l2o.tasks.registry import TOY_TASKS


def level(config: Config, recipe: str, where: str, meta_train: Path, out: Path) -> None:
    """Train agents with the last checkpoint of every run, and with its first, untrained one.

    The last checkpoint, a rule fixed in advance: choosing one per level would reward the level with
    the noisier series. Learning rates are those of meta-training. A pretrained optimizer, which is
    one run of unknown seed, gets as many agents as all runs of a recipe. Writes ``curves.parquet``
    (see ``LEVEL_COLUMNS``; optimizers ``trained`` and ``untrained``) and ``run.json`` in ``out``.

    Args:
        config: The pipeline's configuration.
        recipe: A recipe, or a pretrained optimizer.
        where: A task, or ``toy``: all toy tasks on which optimizers are evaluated.
        meta_train: Folder with the runs, ``<recipe>/seed_<seed>``.
        out: Folder of the results.

    Raises:
        L2OError: The recipe is unknown, or one of its runs is missing.
    """
    tags = {"recipe": recipe, "scale": config.scale, "task": where}
    settings = {"where": where, "meta_seeds": config.meta_seeds}
    with Run(out, stage="level", config=settings, seed=0, tags=tags) as run:
        pretrained = recipe in config.pretrained
        found = _pretrained if pretrained else _checkpoints
        candidates = list(found(config, recipe, meta_train))
        curves = _curves(
            config, candidates, where, run, len(config.meta_seeds) if pretrained else 1
        )
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


def _checkpoints(config: Config, recipe: str, meta_train: Path) -> Iterator[Candidate]:
    """Yield the last and the first checkpoint of every run: ``<checkpoint>/<meta-seed>``."""
    config.get_recipe(recipe)
    for seed in config.meta_seeds:
        series = checkpoint_series(meta_train / recipe / f"seed_{seed}")
        for name, path in zip(CHECKPOINTS, (series[-1], series[0]), strict=True):
            yield resolve(str(path), None, label=f"{name}/{seed}")


def _pretrained(config: Config, name: str, _: Path) -> Iterator[Candidate]:
    settings = config.pretrained[name]
    labels = [f"{name}/{ELSEWHERE}" for name in CHECKPOINTS]
    trained = resolve(settings.weights, settings.learning_rate, label=labels[0])
    start = trained.optimizer.init_meta(key_for(0, "init_meta"))
    yield from (trained, dataclasses.replace(trained, label=labels[1], meta_params=start))


def _curves(
    config: Config, candidates: list[Candidate], where: str, run: Run, times: int
) -> pd.DataFrame:
    """Train the agents, so many times as many as an optimizer usually gets."""
    if where != TOY and where not in TOY_TASKS:
        return _ppo(config, candidates, where, run, times)
    frames = []
    for task in config.toy_evaluation_tasks if where == TOY else [where]:
        lifetime, budget = configured_toy_lifetime(config, task)
        seeds = range(times * config.evaluation_seeds)
        frames.append(evaluate(task, lifetime, candidates, seeds, budget, show_points(run)))
    return pd.concat(frames, ignore_index=True)


def _ppo(
    config: Config, candidates: list[Candidate], task: str, run: Run, times: int
) -> pd.DataFrame:
    from l2o.evaluation.ppo_tasks import ppo_lifetime  # imports Brax, slowly

    lifetime, budget = ppo_lifetime(task, config.transfer)
    seeds = range(times * config.evaluation_ppo_seeds)
    return evaluate(task, lifetime, candidates, seeds, budget, show_points(run))
