"""The stage `ablate`: compare recipes that differ in one thing."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import pandas as pd

from l2o.errors import unknown_name
from l2o.evaluation.candidates import Candidate, checkpoint_series, resolve
from l2o.evaluation.evaluate import evaluate, show_points
from l2o.evaluation.statistics import final_returns, summarize
from l2o.evaluation.toy_tasks import configured_toy_lifetime
from l2o.files import write_table
from l2o.runs import Run
from l2o.settings import Config

_STAGES = ("trained", "untrained")


@dataclasses.dataclass(frozen=True)
class _Contender:
    """A checkpoint in an ablation."""

    variant: str
    recipe: str
    meta_seed: int
    stage: str
    candidate: Candidate


def ablate(config: Config, name: str, meta_train: Path, out: Path) -> None:
    """Train agents with the last checkpoint of every recipe, and with its first, untrained one.

    The last checkpoint, a rule fixed in advance: choosing one per variant would reward the variant
    with the noisier series.

    Writes ``curves.parquet``, ``summary.parquet`` and ``run.json`` in ``out``.

    Args:
        config: The pipeline's configuration.
        name: The ablation.
        meta_train: Folder with the runs, ``<recipe>/seed_<seed>``.
        out: Folder of the results.

    Raises:
        L2OError: Unknown ablation, or a run is missing.
    """
    if name not in config.ablations:
        raise unknown_name("ablation", name, config.ablations)
    settings = config.ablations[name]
    tags = {"recipe": name, "scale": config.scale}
    with Run(out, stage="ablation", config=settings.model_dump(), seed=0, tags=tags) as run:
        contenders = [
            contender
            for recipe, variant in settings.recipes.items()
            for seed in config.meta_seeds
            for contender in _contenders(variant, recipe, seed, meta_train)
        ]
        curves = _curves(config, contenders, run)
        write_table(out / "curves.parquet", curves)
        summary = _summary(config, curves)
        write_table(out / "summary.parquet", summary)
        trained = summary[summary["stage"] == "trained"]
        run.summary(
            {
                f"{row.recipe}/{row.task}/seed_{row.meta_seed}": row.mean
                for row in trained.itertuples()
            }
        )


def _contenders(variant: str, recipe: str, seed: int, meta_train: Path) -> list[_Contender]:
    series = checkpoint_series(meta_train / recipe / f"seed_{seed}")
    contenders = []
    for stage, path in zip(_STAGES, (series[-1], series[0]), strict=True):
        candidate = resolve(str(path), None)
        candidate = dataclasses.replace(candidate, label=_identity(candidate))
        contenders.append(_Contender(variant, recipe, seed, stage, candidate))
    return contenders


def _identity(candidate: Candidate) -> str:
    """Return a label that equal optimizers share: recipes may start from the same weights."""
    digest = hashlib.sha256(repr((candidate.optimizer, candidate.learning_rate)).encode())
    for leaf in jax.tree.leaves(candidate.meta_params):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()[:12]


def _curves(config: Config, contenders: Sequence[_Contender], run: Run) -> pd.DataFrame:
    """Train agents with every distinct optimizer; return the curves of all contenders."""
    candidates = {c.candidate.label: c.candidate for c in contenders}
    frames = []
    for task in config.toy_evaluation_tasks:
        lifetime, budget = configured_toy_lifetime(config, task)
        seeds = range(config.evaluation_seeds)
        frames.append(
            evaluate(task, lifetime, list(candidates.values()), seeds, budget, show_points(run))
        )
    columns = ["optimizer", "variant", "recipe", "meta_seed", "stage"]
    rows = [(c.candidate.label, c.variant, c.recipe, c.meta_seed, c.stage) for c in contenders]
    names = pd.DataFrame(rows, columns=columns)
    curves = pd.concat(frames, ignore_index=True).merge(names, on="optimizer")
    labels = curves["recipe"] + "/seed_" + curves["meta_seed"].astype(str) + "/" + curves["stage"]
    return curves.assign(optimizer=labels)


def _summary(config: Config, curves: pd.DataFrame) -> pd.DataFrame:
    finals = final_returns(curves)
    names = curves[["optimizer", "variant", "recipe", "meta_seed", "stage"]].drop_duplicates()
    table = summarize(finals, ["optimizer", "task"]).merge(names, on="optimizer")
    validation = set(config.select.tasks)
    table["role"] = ["validation" if task in validation else "training" for task in table["task"]]
    return table.drop(columns="optimizer")
