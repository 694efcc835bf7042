"""The stage `ablate`: compare recipes that differ in one thing. Imports no jax."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from l2o.errors import unknown_name
from l2o.evaluation.aggregates import (
    TransferScores,
    interquartile_means,
    probability_of_improvement,
    score_tasks,
)
from l2o.evaluation.intervals import estimate
from l2o.evaluation.statistics import CURVE_COLUMNS, final_returns, summarize
from l2o.files import read_table, write_table
from l2o.runs import Run
from l2o.settings import Ablation, Config

TOY = "toy"
"""In place of a task: all toy tasks on which optimizers are evaluated."""
STAGES = ("trained", "untrained")
"""What a level is evaluated with: its last checkpoint, and its first."""
EFFECT_COLUMNS = {
    "where": "toy (meta-training and validation tasks), test (tasks that PPO learns) or supervised",
    "recipe": "the level",
    "variant": "what the report calls it",
    "iqm": "interquartile mean of its final scores: 0 is the random policy, 1 is tuned Adam",
    "iqm_low": "lower end of its 95% stratified bootstrap interval, NaN with fewer than three runs",
    "iqm_high": "upper end",
    "difference": "iqm minus that of the full method, the ablation's first recipe",
    "low": "lower end of its 95% interval; both sides are resampled independently",
    "high": "upper end",
    "probability": "that a run of this level scores higher than one of the full method on a task",
    "probability_low": "lower end of its 95% interval",
    "probability_high": "upper end",
    "runs": "agents on each task: seeds x meta-training seeds",
    "tasks": "how many",
}
_AGENTS = 100_000
"""More than any seed of an agent: runs are numbered by meta-training seed and agent."""


def ablate(config: Config, name: str, levels: Path, baselines: Path, out: Path) -> None:
    """Compare the levels of an ablation with each other and with the full method.

    Writes ``curves.parquet``, ``summary.parquet`` (per level and task), ``effects.parquet`` (see
    ``EFFECT_COLUMNS``) and ``run.json`` in ``out``.

    Args:
        config: The pipeline's configuration.
        name: The ablation.
        levels: Folder with ``<recipe>/seed_<seed>/<toy or task>`` of every level.
        baselines: Folder of the tasks' baselines.
        out: Folder of the results.

    Raises:
        L2OError: Unknown ablation.
        ResultsError: A level or a baseline is missing.
    """
    if name not in config.ablations:
        raise unknown_name("ablation", name, config.ablations)
    settings = config.ablations[name]
    tags = {"recipe": name, "scale": config.scale}
    with Run(out, stage="ablation", config=settings.model_dump(), seed=0, tags=tags) as run:
        curves = pd.concat(_levels(config, settings, levels), ignore_index=True)
        write_table(out / "curves.parquet", curves)
        write_table(out / "summary.parquet", _summary(config, curves))
        effects = _effects(config, settings, curves, baselines)
        write_table(out / "effects.parquet", effects)
        run.summary({f"{row.where}/{row.recipe}": row.iqm for row in effects.itertuples()})


def _levels(config: Config, settings: Ablation, levels: Path) -> Iterator[pd.DataFrame]:
    """Yield the curves of every level, labelled ``<recipe>/seed_<seed>/<stage>``."""
    for recipe, variant in settings.recipes.items():
        for seed in config.meta_seeds:
            for where in (TOY, *settings.tasks):
                folder = levels / recipe / f"seed_{seed}" / where
                part = read_table(folder / "curves.parquet", CURVE_COLUMNS)
                yield part.assign(
                    variant=variant,
                    recipe=recipe,
                    meta_seed=seed,
                    stage=part["optimizer"],
                    optimizer=f"{recipe}/seed_{seed}/" + part["optimizer"],
                )


def _summary(config: Config, curves: pd.DataFrame) -> pd.DataFrame:
    finals = final_returns(curves)
    names = curves[["optimizer", "variant", "recipe", "meta_seed", "stage"]].drop_duplicates()
    table = summarize(finals, ["optimizer", "task"]).merge(names, on="optimizer")
    training = {task.task for task in config.recipes[config.select.recipe].tasks}
    validation = set(config.select.tasks)
    table["role"] = [
        "training" if task in training else "validation" if task in validation else "test"
        for task in table["task"]
    ]
    return table.drop(columns="optimizer")


def _effects(
    config: Config, settings: Ablation, curves: pd.DataFrame, baselines: Path
) -> pd.DataFrame:
    sets = {
        TOY: config.toy_evaluation_tasks,
        "test": [task for task in settings.tasks if task not in config.toy_tasks],
        "supervised": [task for task in settings.tasks if task in config.toy_tasks],
    }
    rows: list[tuple] = []
    for where, tasks in sets.items():
        if tasks:
            scores = score_tasks(_scored(task, curves, baselines) for task in tasks)
            for reason in scores.left_out:
                print(f"left out of the effects: {reason}", flush=True)
            rows += _effect_rows(where, scores, settings.recipes)
    return pd.DataFrame(rows, columns=list(EFFECT_COLUMNS))


def _scored(task: str, curves: pd.DataFrame, baselines: Path) -> pd.DataFrame:
    """Return what one task's scores are made of: trained levels, Adam and the random policy."""
    unit = read_table(baselines / task / "curves.parquet", CURVE_COLUMNS)
    unit = unit[unit["optimizer"].isin(["adam", "random"])]
    own = curves[(curves["task"] == task) & (curves["stage"] == "trained")]
    own = own.assign(optimizer=own["recipe"], seed=_AGENTS * own["meta_seed"] + own["seed"])
    table = pd.concat([own[list(CURVE_COLUMNS)], unit[list(CURVE_COLUMNS)]], ignore_index=True)
    # On toy tasks a point has no return where no episode has ended yet: that agent is not lost.
    early = table.groupby(["optimizer", "seed"])["return"].bfill()
    return table.assign(**{"return": table["return"].where(table["episodes"] > 0, early)})


def _effect_rows(where: str, scores: TransferScores, recipes: dict[str, str]) -> Iterator[tuple]:
    full = next(iter(recipes))
    complete = set(scores.complete)
    for recipe, variant in recipes.items():
        if not {recipe, full} <= complete:
            continue
        pair = [scores.matrix(recipe), scores.matrix(full)]
        found = [
            estimate(pair[0], lambda x: interquartile_means(x[..., None])),
            estimate(pair, _difference),
            estimate(pair, probability_of_improvement),
        ]
        if recipe == full:  # resampled independently it would differ from itself
            found[1:] = [np.zeros((3, 1)), np.full((3, 1), 0.5)]
        numbers = [float(end[0]) for ends in found for end in ends]
        yield where, recipe, variant, *numbers, *pair[0].shape


def _difference(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return interquartile_means(x[..., None]) - interquartile_means(y[..., None])
