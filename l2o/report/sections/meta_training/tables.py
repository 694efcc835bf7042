"""The table of meta-training."""

from typing import Any

from l2o.report.results import Results
from l2o.report.table import Row, Table
from l2o.report.text import NOTHING, number


def context(results: Results) -> dict[str, Any]:
    """Return a row for every run."""
    return {"runs": _runs(results)}


def _runs(results: Results) -> Table:
    seconds = {
        (job.record["tags"].get("recipe"), job.record.get("seed")): job.record["timings"]["run_s"]
        for job in results.jobs
        if job.record["stage"] == "meta_train" and job.finished
    }
    rows = []
    for (recipe, seed), table in results.meta_training.items():
        returns = table[f"{results.config.recipes[recipe].tasks[0].task}/return"]
        steps, run_s = int(table["step"].iloc[-1]), float(seconds.get((recipe, seed), 0))
        shown = (number(value) for value in (returns.iloc[0], returns.iloc[-1], returns.max()))
        skipped = f"{table['skipped_steps'].iloc[-1]:g}"
        speed = number(steps / run_s) if run_s else NOTHING
        rows.append(Row((recipe, f"{seed}", f"{steps:,}", *shown, skipped, speed)))
    head = ("recipe", "seed", "outer steps", "first return", "last return", "best return")
    return Table((*head, "skipped steps", "outer steps per second"), {"": rows})
