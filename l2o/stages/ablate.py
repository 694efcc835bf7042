"""The comparison of an ablation's levels with each other and with the full method."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from l2o.pipeline.contract import (
    Input,
    Job,
    Stage,
    folder_option,
    job,
    name_option,
    plain_settings,
)
from l2o.pipeline.jobs import TOY, baselines_of, levels_of
from l2o.pipeline.options import BASELINES

if TYPE_CHECKING:
    from l2o.config.models import Config


class Settings(NamedTuple):
    """What the results depend on.

    Attributes:
        ablation: Its name.
        scale: Of the configuration.
        recipes: Its levels, with what the report calls each; the full method first.
        tasks: Further tasks on which all are compared.
        factors: By factor, the recipes in which it is present.
        roles: What every task is for.
    """

    ablation: str
    scale: str
    recipes: dict[str, str]
    tasks: tuple[str, ...]
    factors: dict[str, list[str]]
    roles: dict[str, str]


def settings(config: Config, ablation: str) -> Settings:
    """Return the settings of an ablation.

    Raises:
        L2OError: There is no such ablation.
    """
    own = config.get_ablation(ablation)
    return Settings(
        ablation,
        config.scale,
        own.recipes,
        tuple(own.tasks),
        own.factors,
        {task: config.role(task) for task in _tasks(config, ablation)},
    )


def _tasks(config: Config, ablation: str) -> list[str]:
    return [*config.toy_evaluation_tasks, *config.ablations[ablation].tasks]


def jobs(config: Config) -> Iterator[Job]:
    """Yield a job for every ablation."""
    return (job("ablate", ablation=name) for name in config.ablations)


def inputs(config: Config, ablation: str) -> Iterator[Input]:
    """Yield the levels, and the baselines that scores are measured by."""
    for one in levels_of(config, ablation):
        yield Input(one, ("curves.parquet",))
    yield from baselines_of(_tasks(config, ablation))


def run(settings: Settings, out: Path, levels: Path, baselines: Path) -> None:
    """Compare the levels of an ablation with each other and with the full method.

    Writes ``curves.parquet``, ``summary.parquet`` (per level and task), ``effects.parquet`` (see
    ``EFFECT_COLUMNS``), ``factors.parquet`` (``FACTOR_COLUMNS``; no rows without factors) and
    ``run.json`` in ``out``.

    Raises:
        ResultsError: A level or a baseline is missing.
    """
    from l2o.files import write_table
    from l2o.jobs.record import Run
    from l2o.statistics import effects

    tags = {"ablation": settings.ablation, "scale": settings.scale}
    with Run(out, stage="ablate", config=plain_settings(settings), seed=0, tags=tags) as run:
        curves = effects.level_curves(settings.recipes, (TOY, *settings.tasks), levels)
        write_table(out / "curves.parquet", curves)
        write_table(out / "summary.parquet", effects.summary(curves, settings.roles))
        table, factors = effects.effects(
            settings.recipes, settings.factors, settings.roles, curves, baselines
        )
        write_table(out / "effects.parquet", table)
        write_table(out / "factors.parquet", factors)
        run.summary({f"{row.role}/{row.recipe}": row.iqm for row in table.itertuples()})


STAGE = Stage(
    help="compare recipes that differ in one thing",
    settings=settings,
    jobs=jobs,
    inputs=inputs,
    run=run,
    folder="ablations/{ablation}",
    outputs=("curves.parquet", "summary.parquet", "effects.parquet", "factors.parquet"),
    options=(
        name_option("--ablation", "ablation, for example inductive_bias"),
        folder_option("--levels", "levels", "folder with the results of `l2o level`"),
        BASELINES,
    ),
)
