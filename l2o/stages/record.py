"""Statistics of the gradients of agents that Adam trains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from l2o.choices import TOY_TASKS
from l2o.config.parts import Recording, ppo_training, toy_training
from l2o.pipeline.contract import Job, Stage, name_option, plain_settings
from l2o.pipeline.jobs import recordings
from l2o.statistics.columns.gradients import RECORDING_TABLES

if TYPE_CHECKING:
    from l2o.config.models import Config


class Settings(NamedTuple):
    """What the results depend on."""

    scale: str
    recording: Recording


def settings(config: Config, source: str) -> Settings:
    """Return the settings of a source.

    Raises:
        L2OError: There is no such source.
    """
    own, agents = config.analysis, config.get_source(source)
    is_toy = agents.task in TOY_TASKS
    training = toy_training(config, agents.task) if is_toy else ppo_training(config)
    recording = Recording(
        source,
        agents.task,
        agents.learning_rate,
        training,
        own.seeds,
        own.noise_gradients,
        own.window,
        own.coordinates,
    )
    return Settings(config.scale, recording)


def jobs(config: Config) -> Iterator[Job]:
    """Yield a job for every source."""
    return recordings(config)


def run(settings: Settings, out: Path) -> None:
    """Record the gradients of one source.

    Writes ``histograms``, ``tensors``, ``time`` and ``noise`` as parquet, ``samples.safetensors``
    (``samples [agents, phases, window, coordinates]``) and ``run.json`` in ``out``.
    """
    from l2o.analysis.record import record
    from l2o.jobs.failures import advising, lower
    from l2o.jobs.record import Run

    own = settings.recording
    tags = {"task": own.task, "source": own.source, "scale": settings.scale}
    config = plain_settings(own)
    fits = advising(*lower("analysis.seeds", own.seeds))
    with Run(out, stage="record", config=config, seed=0, tags=tags) as run, fits:
        record(own, out, run)


STAGE = Stage(
    help="train agents with Adam and keep statistics of their gradients",
    settings=settings,
    jobs=jobs,
    run=run,
    folder="analysis/recordings/{source}",
    outputs=(*(f"{table}.parquet" for table in RECORDING_TABLES), "samples.safetensors"),
    options=(name_option("--source", "a source of analysis.sources"),),
)
