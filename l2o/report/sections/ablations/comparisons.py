"""Comparisons of the levels of an ablation, over meta-training runs."""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from l2o.report.compare import Comparison, finals_of
from l2o.statistics.bootstrap import nested_estimate
from l2o.statistics.effects import by_run
from l2o.statistics.metrics import difference, mean

_FEW = 3


def ablation_finals(curves: pd.DataFrame) -> pd.DataFrame:
    """Return ``task, recipe, checkpoint, meta_seed, seed, final``."""
    finals = finals_of(curves, ("recipe", "checkpoint", "meta_seed"))
    return finals[["task", "recipe", "checkpoint", "meta_seed", "seed", "final"]]


def compare_runs(
    task: str, subject: str, reference: str, finals: pd.DataFrame, reference_finals: pd.DataFrame
) -> Comparison:
    """Compare the agents of meta-training runs, resampled on both levels.

    Args:
        task: Where they were trained.
        subject: Label.
        reference: Label.
        finals: ``meta_seed, seed, final``, the same seeds for every meta-training run.
        reference_finals: The same of the reference.
    """
    pair = [_by_run(part)[..., None] for part in (finals, reference_finals)]
    lost = sum(int(np.isnan(part).sum()) for part in pair)
    low = high = math.nan
    if not lost:
        _, low, high = nested_estimate(pair, difference(mean))
    means = (float(part.mean()) for part in pair)
    runs = min(len(part) for part in pair)
    return Comparison(task, subject, reference, *means, low, high, runs, lost, "meta-training run")


def _by_run(finals: pd.DataFrame) -> np.ndarray:
    ordered = finals.sort_values(["meta_seed", "seed"])
    return by_run(*(ordered[name].to_numpy() for name in ("meta_seed", "final")))


def compare_pairs(finals: pd.DataFrame, recipes: Sequence[str]) -> Iterator[Comparison]:
    """Compare trained levels of an ablation on every task, pair by pair.

    All pairs of a few, else the full method, which is the first, with each other one.
    """
    pairs = list(itertools.combinations(recipes, 2))
    for first, second in pairs if len(recipes) <= _FEW else pairs[: len(recipes) - 1]:
        yield from _on_every_task(finals, (first, "trained"), (second, "trained"), first, second)


def compare_checkpoints(finals: pd.DataFrame, recipe: str) -> Iterator[Comparison]:
    """Compare a level of an ablation with its own untrained initialisation on every task."""
    trained, untrained = (recipe, "trained"), (recipe, "untrained")
    yield from _on_every_task(finals, trained, untrained, recipe, "untrained")


def _on_every_task(
    finals: pd.DataFrame,
    one: tuple[str, str],
    other: tuple[str, str],
    subject: str,
    reference: str,
) -> Iterator[Comparison]:
    for task, part in finals.groupby("task", sort=False):
        groups = dict(iter(part.groupby(["recipe", "checkpoint"])))
        if one in groups and other in groups:
            yield compare_runs(task, subject, reference, groups[one], groups[other])
