"""The stage `select`: choose a checkpoint on validation tasks, without the test tasks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from l2o.config.models import Config
from l2o.evaluation.candidates import Candidate, checkpoint_series, resolve
from l2o.evaluation.evaluate import evaluate, show_points
from l2o.evaluation.toy_tasks import configured_toy_lifetime
from l2o.files import copy_file, read_table, sha256, write_json, write_table
from l2o.jobs.record import Run
from l2o.optimizers.weights import load_weights
from l2o.statistics.returns import final_returns, score_scale

SELECTION_SEED = 2_000_000
"""First seed used for selection; the champion's reported curves use others."""
IDENTITY = ["meta_seed", "step"]
"""Columns that name a checkpoint of the recipe."""


def select(config: Config, series: Sequence[Path], baselines: Path, out: Path) -> None:
    """Evaluate every checkpoint of every series on the validation tasks and choose one.

    Writes ``scores.parquet``, ``champion.safetensors``, ``untrained.safetensors``,
    ``champion.json``, ``comparison.parquet`` and ``run.json`` in ``out``.

    Args:
        config: The pipeline's configuration.
        series: Folders of the recipe's meta-training runs, one per seed.
        baselines: Folder with a sub-folder of baseline results per task.
        out: Folder of the results.
    """
    tags = {"recipe": config.select.recipe, "scale": config.scale}
    with Run(out, stage="select", config=config.select.model_dump(), seed=0, tags=tags) as run:
        checkpoints = _checkpoints(series)
        candidates = [
            resolve(str(path), None, label=f"{seed}/{step}")
            for (seed, step), path in checkpoints.items()
        ]
        with run.phase("score"):
            scores = score_checkpoints(config, candidates, baselines, run)
        identity = scores.pop("optimizer").str.split("/", expand=True).astype(int)
        scores[IDENTITY] = identity
        scores = scores.sort_values(["task", *IDENTITY], ignore_index=True)
        ranking = scores.groupby(IDENTITY)["score"].mean()
        best = ranking.idxmax()
        write_table(out / "scores.parquet", scores)
        paths = {"champion": checkpoints[best], "untrained": checkpoints[best[0], 0]}
        champion = _publish(config, paths, float(ranking[best]), out)
        with run.phase("compare"):
            comparison = _compare(config, out, run)
        write_table(out / "comparison.parquet", comparison)
        run.summary({"outer_step": best[1], "score": float(ranking[best])})
        write_json(out / "champion.json", champion)


def _checkpoints(series: Sequence[Path]) -> dict[tuple[int, int], Path]:
    """Return the checkpoints by seed and outer step."""
    return {
        (int(folder.name.removeprefix("seed_")), int(path.stem.removeprefix("step_"))): path
        for folder in series
        for path in checkpoint_series(folder)
    }


def score_checkpoints(
    config: Config, candidates: Sequence[Candidate], baselines: Path, run: Run
) -> pd.DataFrame:
    """Train agents with every checkpoint on every validation task.

    Args:
        config: The pipeline's configuration.
        candidates: The checkpoints.
        baselines: Folder with a sub-folder of baseline results per task.
        run: Shows the progress.

    Returns:
        See :func:`normalised_scores`.
    """
    seeds = range(SELECTION_SEED, SELECTION_SEED + config.select.seeds)
    tables = []
    for task in config.select.tasks:
        lifetime, budget = configured_toy_lifetime(config, task)
        curves = evaluate(task, lifetime, candidates, seeds, budget, show_points(run))
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


def _publish(config: Config, paths: Mapping[str, Path], score: float, out: Path) -> Mapping:
    """Copy the chosen checkpoint and the untrained one; describe the choice."""
    for name, path in paths.items():
        copy_file(path, out / f"{name}.safetensors")
    champion = out / "champion.safetensors"
    _, _, metadata = load_weights(champion)
    return metadata | {
        "checkpoint": champion.name,
        "sha256": sha256(champion),
        "score": score,
        "validation_tasks": config.select.tasks,
    }


def _compare(config: Config, out: Path, run: Run) -> pd.DataFrame:
    """Train agents with the champion and its untrained initialisation, on the baselines' seeds."""
    candidates = [
        resolve(str(out / f"{name}.safetensors"), None, label=name)
        for name in ("champion", "untrained")
    ]
    seeds = range(config.baselines.seeds)
    return pd.concat(
        [
            evaluate(task, lifetime, candidates, seeds, budget, show_points(run))
            for task in config.toy_evaluation_tasks
            for lifetime, budget in [configured_toy_lifetime(config, task)]
        ],
        ignore_index=True,
    )
