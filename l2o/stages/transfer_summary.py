"""What all test tasks say together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from l2o.pipeline.contract import RECORD, Input, Job, Stage, folder_option, job
from l2o.pipeline.jobs import transfers

if TYPE_CHECKING:
    from l2o.config.models import Config

TABLES = ("scores", "aggregates", "profiles", "improvement", "efficiency")
FIGURES = ("learning_curves", "aggregates", "profile", "improvement", "efficiency")


class Settings(NamedTuple):
    """What the results depend on; ``recipe`` is the champion's."""

    scale: str
    recipe: str
    tasks: tuple[str, ...]


def settings(config: Config) -> Settings:
    """Return the settings."""
    return Settings(config.scale, config.select.recipe, tuple(config.transfer.tasks))


def jobs(config: Config) -> Iterator[Job]:
    """Yield the one job that there is."""
    del config
    yield job("transfer_summary")


def inputs(config: Config) -> Iterator[Input]:
    """Yield the learning curves on every test task."""
    for one in transfers(config):
        yield Input(one, (RECORD, "curves.parquet"))


def run(settings: Settings, out: Path, transfer: Path) -> None:
    """Score every optimizer on every test task and aggregate the scores."""
    from l2o.report.transfer_summary import transfer_summary

    transfer_summary(settings, transfer, out)


STAGE = Stage(
    help="aggregate the scores of all test tasks, with intervals and figures",
    settings=settings,
    jobs=jobs,
    inputs=inputs,
    run=run,
    folder="transfer_summary",
    outputs=(
        *(f"{table}.parquet" for table in TABLES),
        *(f"{figure}.{kind}" for figure in FIGURES for kind in ("svg", "png")),
    ),
    options=(
        folder_option("--transfer", "transfer", "folder with the results of every test task"),
    ),
)
