"""Meta-training of the rows of a sweep's table, each program once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from l2o.pipeline.contract import Job, Stage, name_option
from l2o.pipeline.options import devices_option
from l2o.pipeline.sweeps import made_by, row_trainings, rows_of

if TYPE_CHECKING:
    from l2o.config.models import Config
    from l2o.config.sweeps import Row


class Settings(NamedTuple):
    """What the results depend on: what rows become, not how their table is laid out.

    Nor whether they share a job, as their results are the same.
    """

    sweep: str
    scale: str
    recipe: str
    rows: tuple[Row, ...]


def settings(config: Config, sweep: str, row: str | None = None) -> Settings:
    """Return the settings of all rows, or of the one with this folder."""
    rows = rows_of(config, sweep, row)
    return Settings(sweep, config.scale, config.sweeps[sweep].recipe, rows)


def jobs(config: Config) -> Iterator[Job]:
    """Yield a job for every sweep, or for each of its rows where they do not share one."""
    for sweep in config.sweeps:
        yield from row_trainings(config, sweep)


def run(settings: Settings, out: Path, state: Path, code: str, devices: int = 1) -> None:
    """Meta-train the rows; see :func:`l2o.meta.sweep.train_rows`."""
    from l2o.meta.devices import use_devices

    use_devices(devices)  # before gymnax is imported, which starts JAX
    from l2o.meta.sweep import train_rows

    tags = {"scale": settings.scale, "sweep": settings.sweep}
    train_rows(settings.rows, settings.recipe, out, state, tags, code, devices)


def folder(sweep: str, row: str | None = None) -> str:
    """Return the folder of the sweep; rows have theirs in it."""
    del row
    return f"sweeps/{sweep}"


def state(sweep: str, row: str | None = None) -> str:
    """Return a place of its own for each job: those of rows run at once."""
    return f"sweeps/{sweep}" if row is None else f"sweeps/{sweep}/{row}"


STAGE = Stage(
    help="meta-train every row of a sweep's table, side by side where they can share a program",
    settings=settings,
    jobs=jobs,
    run=run,
    folder=folder,
    outputs=made_by,
    options=(
        name_option("--sweep", "sweep, for example meta_learning_rate"),
        name_option(
            "--row",
            "only this row, for example meta_learning_rate~0.001/seed~0",
            required=False,
            metavar="FOLDER",
        ),
        devices_option("rows"),
    ),
    has_record=False,
    resumes=True,
    state=state,
    is_deterministic=True,
)
