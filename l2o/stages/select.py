"""The choice of a checkpoint on the validation tasks, without a look at the test tasks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from l2o.config.parts import ToyTraining, toy_trainings
from l2o.pipeline.contract import Input, Stage, job
from l2o.pipeline.jobs import baselines_of
from l2o.pipeline.options import BASELINES, RUNS
from l2o.pipeline.work import Work, agents_work, total

if TYPE_CHECKING:
    from l2o.config.models import Config
    from l2o.jobs.programs import Lowered


class Settings(NamedTuple):
    """What the results depend on.

    Attributes:
        scale: Of the configuration.
        recipe: Whose checkpoints compete.
        meta_seeds: Of its meta-training runs.
        validation: The tasks that decide, with how agents are trained on them.
        seeds: Agents of each checkpoint there.
        compared: The tasks on which the champion is compared with its own start.
        comparison_seeds: Agents there, those of the baselines.
    """

    scale: str
    recipe: str
    meta_seeds: tuple[int, ...]
    validation: dict[str, ToyTraining]
    seeds: int
    compared: dict[str, ToyTraining]
    comparison_seeds: int


def settings(config: Config) -> Settings:
    """Return the settings."""
    own = config.select
    return Settings(
        config.scale,
        own.recipe,
        tuple(config.selection_seeds),
        toy_trainings(config, own.tasks),
        own.seeds,
        toy_trainings(config, config.toy_evaluation_tasks),
        config.baselines.seeds,
    )


def inputs(config: Config) -> Iterator[Input]:
    """Yield the recipe's checkpoints and the baselines of the validation tasks."""
    recipe = config.select.recipe
    for seed in config.selection_seeds:
        yield Input(job("meta_train", recipe=recipe, seed=seed))
    yield from baselines_of(config.select.tasks)


def run(settings: Settings, out: Path, runs: Path, baselines: Path) -> None:
    """Evaluate every checkpoint of every run on the validation tasks and choose one.

    Writes ``scores.parquet``, ``champion.safetensors``, ``untrained.safetensors``,
    ``champion.json``, ``comparison.parquet`` and ``run.json`` in ``out``.
    """
    from l2o.evaluation.candidates import resolve
    from l2o.evaluation.selection import (
        IDENTITY,
        compare_with_start,
        publish,
        recipe_checkpoints,
        score_checkpoints,
    )
    from l2o.files import write_json, write_table
    from l2o.jobs.record import Run

    tags = {"recipe": settings.recipe, "scale": settings.scale}
    with Run(out, stage="select", config=_record(settings), seed=0, tags=tags) as run:
        folders = [runs / settings.recipe / f"seed_{seed}" for seed in settings.meta_seeds]
        checkpoints = recipe_checkpoints(folders)
        candidates = [
            resolve(str(path), None, label=f"{seed}/{step}")
            for (seed, step), path in checkpoints.items()
        ]
        with run.phase("score"):
            scores = score_checkpoints(
                settings.validation, settings.seeds, candidates, baselines, run
            )
        identity = scores.pop("optimizer").str.split("/", expand=True).astype(int)
        scores[IDENTITY] = identity
        scores = scores.sort_values(["task", *IDENTITY], ignore_index=True)
        ranking = scores.groupby(IDENTITY)["score"].mean()
        best = ranking.idxmax()
        write_table(out / "scores.parquet", scores)
        paths = {"champion": checkpoints[best], "untrained": checkpoints[best[0], 0]}
        champion = publish(paths, float(ranking[best]), list(settings.validation), out)
        with run.phase("compare"):
            comparison = compare_with_start(settings.compared, settings.comparison_seeds, out, run)
        write_table(out / "comparison.parquet", comparison)
        run.summary({"outer_step": best[1], "score": float(ranking[best])})
        write_json(out / "champion.json", champion)


def _record(settings: Settings) -> dict[str, object]:
    return {
        "recipe": settings.recipe,
        "tasks": list(settings.validation),
        "seeds": settings.seeds,
        "meta_seeds": settings.meta_seeds,
    }


def work(config: Config) -> Work:
    """Return the work of scoring all checkpoints, and of comparing two."""
    own, recipe = settings(config), config.get_recipe(config.select.recipe)
    series = 1 + recipe.outer_steps // recipe.checkpoint_interval
    agents = series * len(own.meta_seeds) * own.seeds
    parts = [agents_work(task, one, agents) for task, one in own.validation.items()]
    for task, one in own.compared.items():
        parts.append(agents_work(task, one, 2 * own.comparison_seeds))
    return total(parts)


def programs(settings: Settings, runs: Path, **places: object) -> Iterator[Lowered]:
    """Yield the training of agents on every task."""
    del places
    from l2o.evaluation.candidates import checkpoint_series, resolve
    from l2o.evaluation.programs import of_agents

    folder = runs / settings.recipe / f"seed_{settings.meta_seeds[0]}"
    candidates = [resolve(str(path), None) for path in checkpoint_series(folder)]
    for task, training in (settings.validation | settings.compared).items():
        yield from of_agents(task, training, candidates, settings.seeds)


STAGE = Stage(
    help="choose a checkpoint by its score on the validation tasks",
    settings=settings,
    inputs=inputs,
    run=run,
    work=work,
    programs=programs,
    folder="select",
    outputs=(
        *("champion.json", "champion.safetensors", "untrained.safetensors"),
        *("scores.parquet", "comparison.parquet"),
    ),
    options=(RUNS, BASELINES),
)
