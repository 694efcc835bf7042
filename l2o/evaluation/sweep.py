"""Which row of a sweep's table is best, by scores of its checkpoints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from l2o.config.sweeps import Row, split_row
from l2o.evaluation.candidates import Candidate, checkpoint_series, resolve


def row_candidates(rows: Sequence[Row], runs: Path, which: str) -> list[Candidate]:
    """Return every row's checkpoints, the untrained one first, or its last one alone.

    Args:
        rows: Of a sweep.
        runs: Folder of its meta-training runs.
        which: ``"all"`` or ``"last"``.
    """
    found = []
    for row in rows:
        series = checkpoint_series(runs / row.folder)
        chosen = series if which == "all" else series[-1:]
        found += [resolve(str(path), None, label=f"{row.folder}/{path.stem}") for path in chosen]
    return found


def best_setting(scores: pd.DataFrame, rows: Sequence[Row]) -> dict[str, Any]:
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


def with_cells(scores: pd.DataFrame, rows: Sequence[Row]) -> pd.DataFrame:
    """Replace the rows' folders by what the sweep's table says of them, in its order."""
    cells = pd.DataFrame([{"row": row.folder} | split_row(row) for row in rows])
    columns = [*cells.columns.drop("row"), "step", "task", "final", "se", "seeds", "score"]
    return cells.merge(scores.sort_values(["step", "task"]), on="row")[columns]
