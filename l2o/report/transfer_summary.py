"""The stage `transfer-summary`: what all test tasks say together."""

from collections.abc import Iterator
from pathlib import Path

from l2o.config.models import Config
from l2o.files import read_table, write_table
from l2o.jobs.record import Run
from l2o.report import aggregate_figures, svg
from l2o.report.aggregate_figures import lines_of
from l2o.report.results import TransferSummary
from l2o.report.svg import Drawing
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
        figure = aggregate_figures.learning_curves(curves, lines_of(scores.table))
        for drawing in (
            Drawing("learning_curves", figure, "Learning curves on the test tasks"),
            *summary_drawings(summary),
        ):
            svg.save(drawing, out)
        run.summary(_results(summary) | {"left_out": scores.left_out})


def _results(summary: TransferSummary) -> dict[str, float]:
    """Return the interquartile means of the final scores."""
    table = summary.aggregates
    chosen = table[(table["score"] == "final") & (table["metric"] == "iqm")]
    return {f"iqm/{row.optimizer}": row.estimate for row in chosen.itertuples()}


def summary_drawings(summary: TransferSummary, prefix: str = "") -> Iterator[Drawing]:
    """Yield the figures about all test tasks at once.

    Args:
        summary: The tables.
        prefix: Of the figures' names.
    """
    lines = lines_of(summary.scores)
    aggregated = aggregate_figures.aggregates(summary.aggregates, lines)
    yield Drawing(f"{prefix}aggregates", aggregated, "IQM, median, optimality gap per optimizer")
    profile = aggregate_figures.profile(summary.profiles, lines)
    yield Drawing(f"{prefix}profile", profile, "Share of agents above each score, per optimizer")
    improved = aggregate_figures.improvement(summary.improvement, lines)
    text = "Probability that the champion is better than each other optimizer"
    yield Drawing(f"{prefix}improvement", improved, text)
    efficiency = aggregate_figures.efficiency(summary.efficiency, lines)
    text = "Interquartile mean of the scores over the lifetime, per optimizer"
    yield Drawing(f"{prefix}efficiency", efficiency, text)
