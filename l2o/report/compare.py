"""Comparisons of optimizers over paired seeds, and what may be said about them."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from l2o.report.claims import Claim, Measured, Verdict, exactly, judge
from l2o.report.text import count, interval, number, optimizer_rank
from l2o.statistics.bootstrap import MIN_SEEDS, mean_interval
from l2o.statistics.returns import final_returns, summarize


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
        return judge(self._measured, exactly(0.0))

    @property
    def numbers(self) -> str:
        """The difference and its interval, or why there is none."""
        if self.lost:
            return f"{count(self.lost, 'agent')} without a final return"
        difference = number(self.difference, signed=True)
        if self.verdict is Verdict.UNKNOWN:
            return f"{difference}, {count(self.seeds, self.unit)}: too few for an interval"
        return f"{difference} {interval(self.low, self.high, signed=True)}"

    def claim(self, statement: str, measurement: str) -> Claim:
        """Claim that the subject does better than the reference."""
        return Claim(statement, measurement, self._measured, exactly(0.0), self.seeds)

    @property
    def _measured(self) -> Measured:
        return Measured(self.difference, self.low, self.high)


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
