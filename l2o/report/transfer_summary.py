"""The stage `transfer-summary`: what all test tasks say together."""

from pathlib import Path

from l2o.config.models import Config
from l2o.files import read_table, write_table
from l2o.jobs.record import Run
from l2o.report.drawing import svg
from l2o.report.results import TransferSummary
from l2o.report.sections.transfer.figures import all_learning_curves, summary_drawings
from l2o.report.text import count
from l2o.statistics import aggregates
from l2o.statistics.bootstrap import MIN_SEEDS
from l2o.statistics.columns.comparisons import SUMMARY_TABLES
from l2o.statistics.columns.evaluation import CURVE_COLUMNS


def transfer_summary(config: Config, transfer: Path, out: Path) -> None:
    """Score every optimizer on every test task and aggregate the scores.

    Writes ``scores``, ``aggregates``, ``profiles``, ``improvement`` and ``efficiency`` as parquet,
    figures as SVG and PNG, and ``run.json`` in ``out``.

    Args:
        config: The pipeline's configuration.
        transfer: Folder with a sub-folder of transfer results per test task.
        out: Folder of the results.

    Raises:
        ResultsError: A task's curves are missing or damaged, or no task can be scored.
    """
    tags = {"recipe": config.select.recipe, "scale": config.scale}
    record = {"tasks": config.transfer.tasks, "resamples": aggregates.RESAMPLES}
    with Run(out, stage="transfer_summary", config=record, seed=0, tags=tags) as run:
        curves = {
            task: read_table(transfer / task / "curves.parquet", CURVE_COLUMNS)
            for task in config.transfer.tasks
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
            print(f"no intervals: fewer than {count(MIN_SEEDS, 'seed')}.", flush=True)
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
