"""Comparisons of optimizers over paired seeds, and what may be said about them."""

import dataclasses
import enum
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from l2o.report.text import count, interval, number, optimizer_rank
from l2o.statistics import metrics
from l2o.statistics.bootstrap import MIN_SEEDS, mean_interval, nested_estimate
from l2o.statistics.effects import by_run
from l2o.statistics.returns import final_returns, summarize

_FEW = 3


class Verdict(enum.StrEnum):
    """What the 95% interval of the paired difference allows to say."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "not distinguishable"
    UNKNOWN = "not comparable"

    @property
    def phrase(self) -> str:
        """The verdict as the middle of a sentence."""
        words = {
            Verdict.BETTER: "is better than",
            Verdict.WORSE: "is worse than",
            Verdict.SAME: "is not distinguishable from",
        }
        return words.get(self, "cannot be compared with")

    @property
    def slug(self) -> str:
        """The verdict as the name of a style class."""
        return self.value.replace(" ", "-")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Final returns of a subject and a reference on one task.

    Attributes:
        task: Where they were trained.
        subject: Label of the one that the verdict is about.
        reference: Label of the other.
        mean: Mean final return of the subject.
        reference_mean: The reference's.
        low: Lower end of the 95% interval of the mean difference; NaN if there is none.
        high: Upper end.
        seeds: What the interval is over: paired seeds, or meta-training runs a side.
        lost: How many agents, or pairs of them, have no final return.
    """

    task: str
    subject: str
    reference: str
    mean: float
    reference_mean: float
    low: float
    high: float
    seeds: int
    lost: int
    unit: str = "paired seed"

    @property
    def difference(self) -> float:
        """Subject minus reference."""
        return self.mean - self.reference_mean

    @property
    def verdict(self) -> Verdict:
        """Better or worse if the interval excludes 0."""
        if not math.isfinite(self.low):
            return Verdict.UNKNOWN
        if self.low > 0:
            return Verdict.BETTER
        return Verdict.WORSE if self.high < 0 else Verdict.SAME

    @property
    def numbers(self) -> str:
        """The difference and its interval, or why there is none."""
        if self.lost:
            return f"{count(self.lost, 'agent')} without a final return"
        difference = number(self.difference, signed=True)
        if self.verdict is Verdict.UNKNOWN:
            return f"{difference}, {count(self.seeds, self.unit)}: too few for an interval"
        return f"{difference} {interval(self.low, self.high, signed=True)}"


def compare(
    task: str, subject: str, reference: str, finals: pd.Series, reference_finals: pd.Series
) -> Comparison:
    """Compare final returns, indexed by seed, over the seeds that both have."""
    pairs = pd.concat([finals, reference_finals], axis=1, join="inner").to_numpy(float)
    lost = int(np.isnan(pairs).any(axis=1).sum())
    # The mean over the seeds that are left would flatter an optimizer that diverges.
    mean, reference_mean = pairs.mean(axis=0) if len(pairs) else (math.nan, math.nan)
    low = high = math.nan
    if not lost and len(pairs) >= MIN_SEEDS:
        low, high = mean_interval(pairs[:, 0] - pairs[:, 1])
    return Comparison(
        task, subject, reference, float(mean), float(reference_mean), low, high, len(pairs), lost
    )


def compare_optimizers(finals: pd.DataFrame, subject: str) -> list[Comparison]:
    """Compare one optimizer with every other on one task.

    Args:
        finals: From :func:`finals_of` of one task.
        subject: Label of the optimizer; without it there is nothing to compare.
    """
    by_seed = {
        label: part.set_index("seed")["final"]
        for label, part in finals.groupby("optimizer", sort=False)
    }
    if subject not in by_seed:
        return []
    task, mine = finals["task"].iloc[0], by_seed.pop(subject)
    return [compare(task, subject, label, mine, theirs) for label, theirs in by_seed.items()]


def finals_of(curves: pd.DataFrame, extra: Sequence[str] = ()) -> pd.DataFrame:
    """Return final returns; lifetimes differ between tasks, so each task is reduced alone.

    Args:
        curves: Learning curves.
        extra: Further columns that tell agents apart, kept in the result.
    """
    parts = [
        final_returns(part).assign(**dict(zip(extra, values[1:], strict=True)))
        for values, part in curves.groupby(["task", *extra], sort=False)
    ]
    return in_order(pd.concat(parts, ignore_index=True))


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Sort the rows of a table by optimizer, as they are listed everywhere."""
    if "optimizer" not in table:
        return table
    ranks = {"key": lambda labels: labels.map(optimizer_rank), "kind": "stable"}
    return table.sort_values("optimizer", ignore_index=True, **ranks)


def summary_of(finals: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Summarise final returns; a group with a seed that has none gets no mean, but ``lost``."""
    lost = finals["final"].isna().groupby([finals[name] for name in by], sort=False).sum()
    table = summarize(finals, by).merge(lost.rename("lost").reset_index(), on=list(by))
    table.loc[table["lost"] > 0, ["mean", "se", "low", "high"]] = math.nan
    return in_order(table)


def ablation_finals(curves: pd.DataFrame) -> pd.DataFrame:
    """Return ``task, recipe, stage, meta_seed, seed, final``."""
    finals = finals_of(curves, ("recipe", "stage", "meta_seed"))
    return finals[["task", "recipe", "stage", "meta_seed", "seed", "final"]]


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
        _, low, high = nested_estimate(pair, metrics.difference(metrics.mean))
    means = (float(part.mean()) for part in pair)
    runs = min(len(part) for part in pair)
    return Comparison(task, subject, reference, *means, low, high, runs, lost, "meta-training run")


def _by_run(finals: pd.DataFrame) -> np.ndarray:
    ordered = finals.sort_values(["meta_seed", "seed"])
    return by_run(*(ordered[name].to_numpy() for name in ("meta_seed", "final")))


def compare_pairs(finals: pd.DataFrame, recipes: Sequence[str]) -> Iterator[Comparison]:
    """Compare trained variants of an ablation on every task, pair by pair.

    All pairs of a few, else the full method, which is the first, with each other one.
    """
    pairs = list(itertools.combinations(recipes, 2))
    for first, second in pairs if len(recipes) <= _FEW else pairs[: len(recipes) - 1]:
        yield from _on_every_task(finals, (first, "trained"), (second, "trained"), first, second)


def compare_stages(finals: pd.DataFrame, recipe: str) -> Iterator[Comparison]:
    """Compare a variant of an ablation with its own untrained initialisation on every task."""
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
        groups = dict(iter(part.groupby(["recipe", "stage"])))
        if one in groups and other in groups:
            yield compare_runs(task, subject, reference, groups[one], groups[other])
