"""Scores of checkpoints on validation tasks, and what becomes of the best one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from l2o.evaluation.candidates import Candidate, checkpoint_series, resolve
from l2o.evaluation.evaluate import evaluate, show_points
from l2o.evaluation.toy_tasks import toy_lifetime
from l2o.files import copy_file, read_table, sha256
from l2o.optimizers.weights import load_weights
from l2o.statistics.returns import final_returns, score_scale

if TYPE_CHECKING:
    from l2o.config.parts import ToyTraining
    from l2o.jobs.record import Run

SELECTION_SEED = 2_000_000
"""First seed used for selection; the champion's reported curves use others."""
IDENTITY = ["meta_seed", "step"]
"""Columns that name a checkpoint of the recipe."""


def recipe_checkpoints(folders: Sequence[Path]) -> dict[tuple[int, int], Path]:
    """Return the checkpoints of meta-training runs by seed and outer step.

    Args:
        folders: One of each run, ``.../seed_<seed>``.
    """
    return {
        (int(folder.name.removeprefix("seed_")), int(path.stem.removeprefix("step_"))): path
        for folder in folders
        for path in checkpoint_series(folder)
    }


def score_checkpoints(
    tasks: Mapping[str, ToyTraining],
    seeds: int,
    candidates: Sequence[Candidate],
    baselines: Path,
    run: Run,
) -> pd.DataFrame:
    """Train agents with every checkpoint on every validation task.

    Args:
        tasks: The validation tasks, with how agents are trained on them.
        seeds: Agents of each checkpoint and task.
        candidates: The checkpoints.
        baselines: Folder with a sub-folder of baseline results per task.
        run: Shows the progress.

    Returns:
        See :func:`normalised_scores`.
    """
    agents = range(SELECTION_SEED, SELECTION_SEED + seeds)
    tables = []
    for task, training in tasks.items():
        lifetime, budget = toy_lifetime(task, training)
        curves = evaluate(task, lifetime, candidates, agents, budget, show_points(run))
        reference = read_table(baselines / task / "curves.parquet", curves.columns)
        tables.append(normalised_scores(final_returns(curves), final_returns(reference)))
    return pd.concat(tables, ignore_index=True)


def normalised_scores(finals: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Normalise one task's final returns: 0 is the random policy, 1 is tuned Adam.

    A checkpoint with which an agent diverged scores minus infinity; see :func:`score_scale`.

    Args:
        finals: Final returns of all checkpoints.
        reference: Final returns of the baselines, ``adam`` and ``random`` among them.

    Returns:
        ``task, optimizer, final, se, seeds, score``.

    Raises:
        ResultsError: A baseline that is needed is missing or has diverged.
    """
    groups = finals.groupby(["task", "optimizer"])["final"]
    table = groups.agg(
        final=lambda x: x.mean(skipna=False),
        se=lambda x: x.std(ddof=1) / np.sqrt(len(x)),
        seeds="size",
    ).reset_index()
    zero, unit = score_scale(reference)
    table["score"] = ((table["final"] - zero) / unit).fillna(-np.inf)
    return table


def publish(
    paths: Mapping[str, Path], score: float, validation_tasks: Sequence[str], out: Path
) -> Mapping:
    """Copy the chosen checkpoint and the untrained one; describe the choice.

    Args:
        paths: Both, by the names that they get: ``champion`` and ``untrained``.
        score: The champion's.
        validation_tasks: Where it was reached.
        out: Folder of the copies.
    """
    for name, path in paths.items():
        copy_file(path, out / f"{name}.safetensors")
    champion = out / "champion.safetensors"
    _, _, metadata = load_weights(champion)
    return metadata | {
        "checkpoint": champion.name,
        "sha256": sha256(champion),
        "score": score,
        "validation_tasks": list(validation_tasks),
    }


def compare_with_start(
    tasks: Mapping[str, ToyTraining], seeds: int, folder: Path, run: Run
) -> pd.DataFrame:
    """Train agents with the champion and its untrained initialisation, on the baselines' seeds.

    Args:
        tasks: The tasks, with how agents are trained on them.
        seeds: Agents of each.
        folder: Where :func:`publish` left both.
        run: Shows the progress.
    """
    candidates = [
        resolve(str(folder / f"{name}.safetensors"), None, label=name)
        for name in ("champion", "untrained")
    ]
    return pd.concat(
        [
            evaluate(task, lifetime, candidates, range(seeds), budget, show_points(run))
            for task, training in tasks.items()
            for lifetime, budget in [toy_lifetime(task, training)]
        ],
        ignore_index=True,
    )
