"""Networks that learn to reproduce recorded gradients, with every gradient processing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from l2o.pipeline.contract import Input, Job, Stage, job, name_option
from l2o.pipeline.options import RECORDINGS

if TYPE_CHECKING:
    from l2o.config.analysis import Identity
    from l2o.config.models import Config


class Settings(NamedTuple):
    """What the results depend on; which other sources are used is of no matter."""

    source: str
    scale: str
    identity: Identity


def settings(config: Config, source: str) -> Settings:
    """Return the settings of a source.

    Raises:
        L2OError: There is no such source.
    """
    config.get_source(source)
    own = config.analysis.identity.model_copy(update={"sources": [source]})
    return Settings(source, config.scale, own)


def jobs(config: Config) -> Iterator[Job]:
    """Yield a job for every source that networks learn."""
    return (job("identity", source=source) for source in config.analysis.identity.sources)


def inputs(config: Config, source: str) -> Iterator[Input]:
    """Yield the recorded gradients."""
    del config
    yield Input(job("record", source=source), ("samples.safetensors",))


def run(settings: Settings, out: Path, recordings: Path) -> None:
    """Train networks to output their input, with every gradient processing.

    Writes ``identity.parquet`` and ``run.json`` in ``out``.

    Raises:
        ResultsError: The recording is missing, or of fewer than two agents.
    """
    from l2o.analysis.identity import read_samples, train_networks
    from l2o.files import write_table
    from l2o.jobs.record import Run

    tags = {"source": settings.source, "scale": settings.scale}
    record = settings.identity.model_dump()
    with Run(out, stage="identity", config=record, seed=0, tags=tags) as run:
        samples = read_samples(recordings / settings.source)
        table = train_networks(settings.source, samples, settings.identity, run)
        write_table(out / "identity.parquet", table)


STAGE = Stage(
    help="train networks to reproduce recorded gradients, with every gradient processing",
    settings=settings,
    jobs=jobs,
    inputs=inputs,
    run=run,
    folder="analysis/identity/{source}",
    outputs=("identity.parquet",),
    options=(
        name_option("--source", "a source of analysis.sources"),
        RECORDINGS,
    ),
)
