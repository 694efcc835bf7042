"""The stage `score-sweep`: score the checkpoints of a sweep's rows on validation tasks."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from l2o.config.models import Config
from l2o.config.sweeps import Row, read_sweep, split_row
from l2o.evaluation.candidates import Candidate, checkpoint_series, resolve
from l2o.evaluation.selection import score_checkpoints
from l2o.files import write_json, write_table
from l2o.jobs.record import Run, plain


def score_sweep(config: Config, name: str, runs: Path, baselines: Path, out: Path) -> None:
    """Score checkpoints of every row of a sweep, as the selection scores one recipe's.

    The best setting is the one with the highest mean over its seeds: the best of many single runs
    would be the luckiest. Writes ``scores.parquet``, ``best.json`` and ``run.json`` in ``out``.

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
        candidates = [c for row in rows for c in _candidates(row, runs, sweep.checkpoints)]
        with run.phase("score"):
            scores = score_checkpoints(config, candidates, baselines, run)
        scores[["row", "step"]] = scores.pop("optimizer").str.rsplit("/step_", expand=True)
        scores = scores.astype({"step": int})
        best = _best(scores, rows)
        write_table(out / "scores.parquet", _with_cells(scores, rows))
        run.summary({"outer_step": best["step"], "score": best["score"]})
        write_json(out / "best.json", plain(best))


def _candidates(row: Row, runs: Path, which: str) -> list[Candidate]:
    """Return a row's checkpoints, the untrained one first, or its last one alone."""
    series = checkpoint_series(runs / row.folder)
    chosen = series if which == "all" else series[-1:]
    return [resolve(str(path), None, label=f"{row.folder}/{path.stem}") for path in chosen]


def _best(scores: pd.DataFrame, rows: Sequence[Row]) -> dict[str, Any]:
    """Describe the setting with the highest mean score over tasks and seeds, and all others.

    A setting is what rows that differ in their seeds share; it is judged at the outer step that is
    best for the mean over its seeds.
    """
    settings: dict[str, list[Row]] = {}
    for row in rows:
        settings.setdefault(json.dumps(_setting(row)), []).append(row)
    means = scores.groupby(["row", "step"])["score"].mean()
    table = [_summarise(members, means) for members in settings.values()]
    first = max(table, key=lambda entry: entry["score"])
    recipe = settings[json.dumps(first["setting"])][0].recipe.model_dump()
    return first | {"recipe": recipe, "settings": table}


def _setting(row: Row) -> dict[str, str]:
    """Return what a row says beside its seed."""
    return {column: text for column, text in split_row(row).items() if column != "seed"}


def _summarise(rows: Sequence[Row], means: pd.Series) -> dict[str, Any]:
    """Describe one setting by the scores of its rows, at the step that is best for their mean."""
    by_step = pd.DataFrame({row.folder: means[row.folder] for row in rows})
    step = by_step.mean(axis=1).idxmax()
    found = by_step.loc[step]
    return {
        "setting": _setting(rows[0]),
        "step": int(step),
        "score": float(found.mean()),
        "se": float(found.sem()) if len(rows) > 1 else None,
        "least": float(found.min()),
        "greatest": float(found.max()),
        "seeds": [row.seed for row in rows],
    }


def _with_cells(scores: pd.DataFrame, rows: Sequence[Row]) -> pd.DataFrame:
    """Replace the rows' folders by what the sweep's table says of them, in its order."""
    cells = pd.DataFrame([{"row": row.folder} | split_row(row) for row in rows])
    columns = [*cells.columns.drop("row"), "step", "task", "final", "se", "seeds", "score"]
    return cells.merge(scores.sort_values(["step", "task"]), on="row")[columns]
