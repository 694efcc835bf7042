"""Scores of the checkpoints of a sweep's rows on the validation tasks, and the best setting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from l2o.config.parts import ToyTraining, toy_trainings
from l2o.pipeline.contract import Input, Job, Stage, folder_option, job, name_option
from l2o.pipeline.jobs import baselines_of
from l2o.pipeline.options import BASELINES
from l2o.pipeline.sweeps import made_by, row_trainings, rows_of

if TYPE_CHECKING:
    from l2o.config.models import Config
    from l2o.config.sweeps import Row


class Settings(NamedTuple):
    """What the results depend on; ``checkpoints`` says which of every row are scored."""

    sweep: str
    scale: str
    recipe: str
    checkpoints: str
    rows: tuple[Row, ...]
    tasks: dict[str, ToyTraining]
    seeds: int


def settings(config: Config, sweep: str) -> Settings:
    """Return the settings of a sweep."""
    rows = rows_of(config, sweep)
    own, select = config.sweeps[sweep], config.select
    tasks = toy_trainings(config, select.tasks)
    return Settings(sweep, config.scale, own.recipe, own.checkpoints, rows, tasks, select.seeds)


def jobs(config: Config) -> Iterator[Job]:
    """Yield a job for every sweep."""
    return (job("score_sweep", sweep=sweep) for sweep in config.sweeps)


def inputs(config: Config, sweep: str) -> Iterator[Input]:
    """Yield the rows' records and checkpoints, and the baselines of the validation tasks."""
    for one in row_trainings(config, sweep):
        yield Input(one, tuple(made_by(config, **one.named)))
    yield from baselines_of(config.select.tasks)


def run(settings: Settings, out: Path, runs: Path, baselines: Path) -> None:
    """Score checkpoints of every row of a sweep, as the selection scores one recipe's.

    The best setting is the one with the highest mean over its seeds: the best of many single runs
    would be the luckiest. Writes ``scores.parquet``, ``best.json`` and ``run.json`` in ``out``.

    Raises:
        L2OError: The checkpoints of a row, or a baseline, are missing.
    """
    from l2o.evaluation.selection import score_checkpoints
    from l2o.evaluation.sweep import best_setting, row_candidates, with_cells
    from l2o.files import write_json, write_table
    from l2o.jobs.history import plain
    from l2o.jobs.record import Run

    record = {"recipe": settings.recipe, "checkpoints": settings.checkpoints}
    record |= {"tasks": list(settings.tasks), "seeds": settings.seeds}
    tags = {"recipe": settings.recipe, "sweep": settings.sweep, "scale": settings.scale}
    with Run(out, stage="score_sweep", config=record, seed=0, tags=tags) as run:
        candidates = row_candidates(settings.rows, runs, settings.checkpoints)
        with run.phase("score"):
            scores = score_checkpoints(settings.tasks, settings.seeds, candidates, baselines, run)
        scores[["row", "step"]] = scores.pop("optimizer").str.rsplit("/step_", expand=True)
        scores = scores.astype({"step": int})
        best = best_setting(scores, settings.rows)
        write_table(out / "scores.parquet", with_cells(scores, settings.rows))
        run.summary({"outer_step": best["step"], "score": best["score"]})
        write_json(out / "best.json", plain(best))


STAGE = Stage(
    help="score every checkpoint of a sweep on the validation tasks, and name the best",
    settings=settings,
    jobs=jobs,
    inputs=inputs,
    run=run,
    folder="sweeps/{sweep}",
    outputs=("scores.parquet", "best.json"),
    options=(
        name_option("--sweep", "sweep, for example meta_learning_rate"),
        folder_option("--runs", "sweeps/{sweep}", "folder with the rows' runs"),
        BASELINES,
    ),
)
