"""The stage `score-sweep`: score all checkpoints of all rows of a sweep on validation tasks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from l2o.evaluation.candidates import Candidate, checkpoint_series, resolve
from l2o.evaluation.select import score_checkpoints
from l2o.files import write_json, write_table
from l2o.runs import Run, plain
from l2o.settings import Config
from l2o.sweeps import Row, find_row, read_sweep, split_row


def score_sweep(config: Config, name: str, runs: Path, baselines: Path, out: Path) -> None:
    """Score every checkpoint of every row of a sweep, as the selection scores one recipe's.

    Writes ``scores.parquet``, ``best.json`` and ``run.json`` in ``out``.

    Args:
        config: The pipeline's configuration.
        name: One of its sweeps.
        runs: Folder of the sweep's meta-training runs.
        baselines: Folder with a sub-folder of baseline results per task.
        out: Folder of the results.

    Raises:
        L2OError: There is no such sweep, or the checkpoints of a row or a baseline are missing.
    """
    rows = read_sweep(config, name)
    sweep, select = config.sweeps[name], config.select
    settings = sweep.model_dump() | {"tasks": select.tasks, "seeds": select.seeds}
    tags = {"recipe": sweep.recipe, "sweep": name, "scale": config.scale}
    with Run(out, stage="sweep", config=settings, seed=0, tags=tags) as run:
        candidates = [candidate for row in rows for candidate in _checkpoints(row, runs)]
        with run.phase("score"):
            scores = score_checkpoints(config, candidates, baselines, run)
        scores[["row", "step"]] = scores.pop("optimizer").str.rsplit("/step_", expand=True)
        scores = scores.astype({"step": int})
        best = _best(scores, rows)
        write_table(out / "scores.parquet", _with_cells(scores, rows))
        run.summary({"outer_step": best["step"], "score": best["score"]})
        write_json(out / "best.json", plain(best))


def _checkpoints(row: Row, runs: Path) -> list[Candidate]:
    """Return a row's checkpoints, the untrained one first."""
    return [
        resolve(str(path), None, label=f"{row.folder}/{path.stem}")
        for path in checkpoint_series(runs / row.folder)
    ]


def _best(scores: pd.DataFrame, rows: Sequence[Row]) -> dict[str, Any]:
    """Describe the checkpoint with the highest mean score over tasks, and each row's best."""
    means = scores.groupby(["row", "step"])["score"].mean()
    best_steps = {row.folder: means[row.folder].idxmax() for row in rows}
    table = [
        {"row": row, "step": int(step), "score": float(means[row, step])}
        for row, step in best_steps.items()
    ]
    first = max(table, key=lambda entry: entry["score"])
    row = find_row(rows, first["row"])
    return first | {"recipe": row.recipe.model_dump(), "seed": row.seed, "rows": table}


def _with_cells(scores: pd.DataFrame, rows: Sequence[Row]) -> pd.DataFrame:
    """Replace the rows' folders by what the sweep's table says of them, in its order."""
    cells = pd.DataFrame([{"row": row.folder} | split_row(row) for row in rows])
    columns = [*cells.columns.drop("row"), "step", "task", "final", "se", "seeds", "score"]
    return cells.merge(scores.sort_values(["step", "task"]), on="row")[columns]
