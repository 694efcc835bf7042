"""Which gradients an optimizer sees in meta-training, by reset scheme."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from l2o.pipeline.contract import Stage

if TYPE_CHECKING:
    from l2o.config.analysis import Drift
    from l2o.config.models import Config


class Settings(NamedTuple):
    """What the results depend on."""

    scale: str
    drift: Drift


def settings(config: Config) -> Settings:
    """Return the settings."""
    return Settings(config.scale, config.analysis.drift)


def run(settings: Settings, out: Path) -> None:
    """Record all gradients of populations; see :func:`l2o.analysis.drift.record_populations`.

    Writes ``drift.parquet`` and ``run.json`` in ``out``.
    """
    from l2o.analysis.drift import record_populations
    from l2o.files import write_table
    from l2o.jobs.failures import advising, lower
    from l2o.jobs.record import Run

    own = settings.drift
    tags = {"task": own.task, "scale": settings.scale}
    fits = advising(*lower("analysis.drift.agents", own.agents))
    with Run(out, stage="drift", config=own.model_dump(), seed=0, tags=tags) as run, fits:
        write_table(out / "drift.parquet", record_populations(own, run))


STAGE = Stage(
    help="record the gradients that meta-training sees, with and without pipeline training",
    settings=settings,
    run=run,
    folder="analysis/drift",
    outputs=("drift.parquet",),
)
