"""What all test tasks say together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from l2o.pipeline.contract import Input, Stage, folder_option
from l2o.pipeline.jobs import transfers
from l2o.statistics.columns.comparisons import SUMMARY_TABLES

if TYPE_CHECKING:
    from l2o.config.models import Config
    from l2o.report.results import TransferSummary

FIGURES = ("learning_curves", "aggregates", "profile", "improvement", "efficiency")


class Settings(NamedTuple):
    """What the results depend on; ``recipe`` is the champion's."""

    scale: str
    recipe: str
    tasks: tuple[str, ...]


def settings(config: Config) -> Settings:
    """Return the settings."""
    return Settings(config.scale, config.select.recipe, tuple(config.transfer.tasks))


def inputs(config: Config) -> Iterator[Input]:
    """Yield the learning curves on every test task."""
    for one in transfers(config):
        yield Input(one, ("curves.parquet",))


def run(settings: Settings, out: Path, transfer: Path) -> None:
    """Score every optimizer on every test task and aggregate the scores.

    Writes ``scores``, ``aggregates``, ``profiles``, ``improvement`` and ``efficiency`` as parquet,
    figures as SVG and PNG, and ``run.json`` in ``out``.

    Raises:
        ResultsError: A task's curves are missing or damaged, or no task can be scored.
    """
    from l2o.files import read_table, write_table
    from l2o.jobs.record import Run
    from l2o.report.drawing import svg
    from l2o.report.results import TransferSummary
    from l2o.report.sections.transfer.figures import all_learning_curves, summary_drawings
    from l2o.statistics import aggregates
    from l2o.statistics.bootstrap import MIN_SEEDS
    from l2o.statistics.columns.evaluation import CURVE_COLUMNS

    tags = {"recipe": settings.recipe, "scale": settings.scale}
    record = {"tasks": settings.tasks, "resamples": aggregates.RESAMPLES}
    with Run(out, stage="transfer_summary", config=record, seed=0, tags=tags) as run:
        curves = {
            task: read_table(transfer / task / "curves.parquet", CURVE_COLUMNS)
            for task in settings.tasks
        }
        scores = aggregates.score_tasks(curves.values())
        for reason in scores.left_out:
            print(f"left out of the aggregates: {reason}", flush=True)
        summary = TransferSummary(
            scores.table,
            aggregates.aggregates(scores),
            aggregates.profiles(scores),
            aggregates.improvement(scores),
            aggregates.efficiency(scores),
        )
        if not summary.has_intervals:
            print(f"no intervals: fewer than {MIN_SEEDS} seeds.", flush=True)
        for name in SUMMARY_TABLES:
            write_table(out / f"{name}.parquet", getattr(summary, name))
        for drawing in (all_learning_curves(summary, curves), *summary_drawings(summary)):
            svg.save(drawing, out)
        run.summary(_results(summary) | {"left_out": scores.left_out})


def _results(summary: TransferSummary) -> dict[str, float]:
    """Return the interquartile means of the final scores."""
    table = summary.aggregates
    chosen = table[(table["score"] == "final") & (table["metric"] == "iqm")]
    return {f"iqm/{row.optimizer}": row.estimate for row in chosen.itertuples()}


STAGE = Stage(
    help="aggregate the scores of all test tasks, with intervals and figures",
    settings=settings,
    inputs=inputs,
    run=run,
    folder="transfer_summary",
    outputs=(
        *(f"{table}.parquet" for table in SUMMARY_TABLES),
        *(f"{figure}.{kind}" for figure in FIGURES for kind in ("svg", "png")),
    ),
    options=(
        folder_option("--transfer", "transfer", "folder with the results of every test task"),
    ),
)
