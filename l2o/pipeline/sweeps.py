"""The jobs of a sweep, and what they make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from l2o.jobs import RECORD
from l2o.pipeline.contract import Job, job

if TYPE_CHECKING:
    from l2o.config.models import Config
    from l2o.config.sweeps import Row


def rows_of(config: Config, sweep: str, row: str | None = None) -> tuple[Row, ...]:
    """Return all rows of a sweep, or the one with this folder."""
    from l2o.config.sweeps import find_row, read_sweep  # which needs pydantic, slow to import

    rows = read_sweep(config, sweep)
    return tuple(rows if row is None else [find_row(rows, row)])


def row_trainings(config: Config, sweep: str) -> Iterator[Job]:
    """Yield one job for all rows, or one for each where they do not share one."""
    if config.sweeps[sweep].one_program:
        yield job("sweep", sweep=sweep)
        return
    for row in rows_of(config, sweep):
        yield job("sweep", sweep=sweep, row=row.folder)


def made_by(config: Config, sweep: str, row: str | None = None) -> Iterator[str]:
    """Yield record and checkpoints of every row that a job trains, below the sweep's folder."""
    folders = [row] if row is not None else [one.folder for one in rows_of(config, sweep)]
    for folder in folders:
        yield from (f"{folder}/{name}" for name in (RECORD, "checkpoints"))
