"""The stage `level`: what one meta-training run of an ablation achieves.

A level is evaluated once, whatever the number of ablations that it takes part in, and a change of
one level leaves the others alone.
"""

from pathlib import Path

import pandas as pd

from l2o.evaluation.ablate import STAGES, TOY
from l2o.evaluation.candidates import Candidate, checkpoint_series, resolve
from l2o.evaluation.evaluate import evaluate, show_points
from l2o.evaluation.statistics import final_returns, summarize
from l2o.evaluation.toy_tasks import configured_toy_lifetime
from l2o.files import write_table
from l2o.runs import Run
from l2o.settings import Config
from l2o.tasks.registry import TOY_TASKS


def level(config: Config, recipe: str, seed: int, where: str, meta_train: Path, out: Path) -> None:
    """Train agents with the last checkpoint of a run, and with its first, untrained one.

    The last checkpoint, a rule fixed in advance: choosing one per level would reward the level with
    the noisier series. Learning rates are those of meta-training. Writes ``curves.parquet``
    (optimizers ``trained`` and ``untrained``) and ``run.json`` in ``out``.

    Args:
        config: The pipeline's configuration.
        recipe: A recipe.
        seed: Of its meta-training.
        where: A task, or ``toy``: all toy tasks on which optimizers are evaluated.
        meta_train: Folder with the runs, ``<recipe>/seed_<seed>``.
        out: Folder of the results.

    Raises:
        L2OError: The recipe is unknown, or its run is missing.
    """
    config.get_recipe(recipe)
    tags = {"recipe": recipe, "scale": config.scale, "task": where}
    with Run(out, stage="level", config={"where": where}, seed=seed, tags=tags) as run:
        series = checkpoint_series(meta_train / recipe / f"seed_{seed}")
        candidates = [
            resolve(str(path), None, label=stage)
            for stage, path in zip(STAGES, (series[-1], series[0]), strict=True)
        ]
        curves = _curves(config, candidates, where, run)
        write_table(out / "curves.parquet", curves)
        parts = [
            summarize(final_returns(p), ["task", "optimizer"]) for _, p in curves.groupby("task")
        ]
        run.summary(
            {f"{r.task}/{r.optimizer}": r.mean for part in parts for r in part.itertuples()}
        )


def _curves(config: Config, candidates: list[Candidate], where: str, run: Run) -> pd.DataFrame:
    if where != TOY and where not in TOY_TASKS:
        return _ppo(config, candidates, where, run)
    frames = []
    for task in config.toy_evaluation_tasks if where == TOY else [where]:
        lifetime, budget = configured_toy_lifetime(config, task)
        seeds = range(config.evaluation_seeds)
        frames.append(evaluate(task, lifetime, candidates, seeds, budget, show_points(run)))
    return pd.concat(frames, ignore_index=True)


def _ppo(config: Config, candidates: list[Candidate], task: str, run: Run) -> pd.DataFrame:
    from l2o.evaluation.ppo_tasks import ppo_lifetime  # imports Brax, slowly

    lifetime, budget = ppo_lifetime(task, config.transfer)
    seeds = range(config.transfer.seeds)
    return evaluate(task, lifetime, candidates, seeds, budget, show_points(run))
