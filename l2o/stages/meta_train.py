"""Meta-training of one recipe with one seed."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from l2o.errors import ConfigError
from l2o.pipeline.contract import Job, Option, Stage, name_option
from l2o.pipeline.jobs import trainings
from l2o.pipeline.options import devices_option
from l2o.pipeline.work import Work

if TYPE_CHECKING:
    from l2o.config.models import Config
    from l2o.config.recipe import Recipe
    from l2o.jobs.programs import Lowered


class Settings(NamedTuple):
    """What the results depend on; ``name`` is the recipe's."""

    recipe: Recipe
    name: str
    seed: int
    scale: str


def settings(config: Config, recipe: str, seed: str | int = 0) -> Settings:
    """Return the settings of a recipe."""
    return Settings(config.get_recipe(recipe), recipe, int(seed), config.scale)


def read(args: Namespace, files: ModuleType) -> Settings | None:
    """Return the settings of a recipe in a file of its own; None of one in a configuration."""
    if args.recipe is not None:
        return None
    return Settings(files.load_recipe(args.config), args.config.stem, args.seed, "custom")


def jobs(config: Config) -> Iterator[Job]:
    """Yield a job for every recipe and seed."""
    for recipe in config.recipes:
        yield from trainings(config, recipe)


def run(
    settings: Settings,
    out: Path,
    state: Path,
    code: str,
    devices: int = 1,
    distributed: bool = False,
) -> None:
    """Meta-train; see :func:`l2o.meta.train.meta_train`.

    Raises:
        ConfigError: The seed is negative.
    """
    if settings.seed < 0:
        raise ConfigError(f"--seed: must not be negative; got {settings.seed}.")
    from l2o.meta.devices import use_devices

    # Before gymnax is imported, which starts JAX.
    devices = use_devices(devices, distributed)
    from l2o.meta.train import Member, meta_train

    member = Member(settings.recipe, settings.name, settings.seed, out)
    meta_train([member], state, {"scale": settings.scale}, code, devices)


def work(config: Config, recipe: str, seed: str | int = 0) -> Work:
    """Return the work of a run; blocks of whole lifetimes count as outer steps."""
    del seed
    own = config.get_recipe(recipe)
    steps = own.outer_steps * (own.reset_interval if own.estimator == "full_es" else 1)
    per_agent = sum(own.env_steps(task) for task in own.tasks)
    return Work(steps, steps * own.agents * own.unroll * per_agent)


def programs(settings: Settings, devices: int = 1, **places: object) -> Iterator[Lowered]:
    """Yield the outer loop."""
    del places
    from l2o.meta.programs import outer_loop

    prefix = f"recipes.{settings.name}."
    yield outer_loop(settings.recipe, devices, prefix)


STAGE = Stage(
    help="meta-train an optimizer by a recipe",
    settings=settings,
    jobs=jobs,
    run=run,
    work=work,
    programs=programs,
    folder="meta_train/{recipe}/seed_{seed}",
    outputs=("metrics.parquet", "checkpoints"),
    options=(
        name_option("--recipe", "name of a recipe in the resolved configuration", required=False),
        name_option(
            "--seed",
            "root of every random key (default 0)",
            required=False,
            type=int,
            default=0,
        ),
        devices_option("population"),
        Option(
            "--distributed",
            "one of several processes that share the population, as srun starts them",
            keywords={"action": "store_true"},
        ),
    ),
    resumes=True,
    is_deterministic=True,
    read=read,
    config_help="a recipe (YAML), or a resolved configuration with --recipe",
)
