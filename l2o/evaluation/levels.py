"""Agents of an ablation's level: with trained weights, and with those that they started from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from l2o.config.parts import PPOTraining, ToyTraining
from l2o.evaluation.candidates import Candidate, checkpoint_series, resolve
from l2o.evaluation.evaluate import evaluate, show_points
from l2o.evaluation.lifetimes import task_lifetime
from l2o.seeding import key_for
from l2o.statistics.effects import CHECKPOINTS, ELSEWHERE

if TYPE_CHECKING:
    from l2o.config.budgets import Pretrained
    from l2o.jobs.record import Run


def last_and_first(runs: Path, meta_seeds: Sequence[int]) -> list[Candidate]:
    """Return the last and the first checkpoint of every run, ``<trained or not>/<meta-seed>``.

    Args:
        runs: Folder of a recipe's runs, ``seed_<seed>``.
        meta_seeds: Of the runs.

    Raises:
        CheckpointError: A run is missing.
    """
    found = []
    for seed in meta_seeds:
        series = checkpoint_series(runs / f"seed_{seed}")
        for name, path in zip(CHECKPOINTS, (series[-1], series[0]), strict=True):
            found.append(resolve(str(path), None, label=f"{name}/{seed}"))
    return found


def pretrained_and_new(settings: Pretrained) -> list[Candidate]:
    """Return an optimizer with its weights from elsewhere, and as it would be before training."""
    labels = [f"{name}/{ELSEWHERE}" for name in CHECKPOINTS]
    trained = resolve(settings.weights, settings.learning_rate, label=labels[0])
    start = trained.optimizer.init_meta(key_for(0, "init_meta"))
    return [trained, dataclasses.replace(trained, label=labels[1], meta_params=start)]


def level_curves(
    tasks: Mapping[str, ToyTraining | PPOTraining],
    candidates: Sequence[Candidate],
    agents: int,
    lanes: int,
    run: Run,
) -> pd.DataFrame:
    """Train agents with every candidate on every task.

    Args:
        tasks: The tasks, with how agents are trained on them.
        candidates: The optimizers.
        agents: Of each on every task.
        lanes: How many of them side by side; it changes no result.
        run: Shows the progress.
    """
    frames = []
    for task, training in tasks.items():
        lifetime, budget = task_lifetime(task, training, lanes)
        seeds = range(agents)
        frames.append(evaluate(task, lifetime, candidates, seeds, budget, show_points(run)))
    return pd.concat(frames, ignore_index=True)
