"""Scores over several tasks, their aggregates and profiles; imports no jax."""

import dataclasses
from collections.abc import Iterable

import numpy as np
import pandas as pd

from l2o.errors import ResultsError
from l2o.statistics.bootstrap import RESAMPLES, Statistic, stratified_estimate
from l2o.statistics.columns.comparisons import (
    AGGREGATE_COLUMNS,
    EFFICIENCY_COLUMNS,
    IMPROVEMENT_COLUMNS,
    PROFILE_COLUMNS,
    SCORE_COLUMNS,
)
from l2o.statistics.metrics import interquartile_means, probability_of_improvement, shares_above
from l2o.statistics.returns import final_returns, score_scale

SCORES = ("final", "area")
METRICS = ("iqm", "median", "optimality_gap", "mean")
_THRESHOLDS = 101
_WIDEST = (-1.0, 3.0)


@dataclasses.dataclass(frozen=True)
class TransferScores:
    """What all optimizers reached on the tasks that can be scored.

    Attributes:
        table: See ``SCORE_COLUMNS``.
        points: ``task, optimizer, seed, share, score`` per point of the learning curves.
        left_out: Why tasks or optimizers are not in the aggregates.
    """

    table: pd.DataFrame
    points: pd.DataFrame
    left_out: list[str]

    @property
    def tasks(self) -> list[str]:
        """The tasks that were scored."""
        return list(self.table["task"].unique())

    @property
    def complete(self) -> list[str]:
        """Optimizers with the same seeds on every task: those that can be aggregated."""
        seeds = self.table.groupby(["optimizer", "task"])["seed"].apply(frozenset).unstack()
        same = seeds.notna().all(axis=1) & (seeds.nunique(axis=1) == 1)
        return [label for label in self.table["optimizer"].unique() if same[label]]

    def matrix(self, optimizer: str, score: str = "final") -> np.ndarray:
        """Return the scores of a complete optimizer, ``[seeds, tasks]``."""
        rows = self.table[self.table["optimizer"] == optimizer]
        matrix = rows.pivot(index="seed", columns="task", values=f"{score}_score")
        return matrix[self.tasks].to_numpy(float)


def score_tasks(curves: Iterable[pd.DataFrame]) -> TransferScores:
    """Score the learning curves of several tasks.

    Args:
        curves: One task each; see :data:`l2o.statistics.columns.evaluation.CURVE_COLUMNS`. Every
            table needs rows of ``adam`` and of ``random``, and one curve per optimizer and seed.

    Raises:
        ResultsError: An optimizer has several curves of one seed, or no task can be scored.
    """
    tables, points, left_out = [], [], []
    for part in curves:
        task = part["task"].iloc[0]
        if part.duplicated(["optimizer", "seed", "update"]).any():
            raise ResultsError(f"{task}: an optimizer has more than one curve of a seed.")
        try:
            table, scored = _score_task(part)
        except ResultsError as error:
            left_out.append(f"{task}: {error}")
        else:
            tables.append(table)
            points.append(scored)
    if not tables:
        raise ResultsError(f"no task can be scored: {' '.join(left_out)}")
    scores = TransferScores(
        pd.concat(tables, ignore_index=True), pd.concat(points, ignore_index=True), left_out
    )
    complete = scores.complete
    for label in scores.table["optimizer"].unique():
        if label not in complete:
            left_out.append(f"{label}: not run with the same seeds on every task.")
    return scores


def _score_task(curves: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return one task's scores per agent, and per point of its curve.

    Raises:
        ResultsError: The random policy or Adam is missing, or has no return to measure by.
    """
    filled = _count_failures(curves)
    finals = final_returns(filled).rename(columns={"mean": "area"})
    lost = filled.groupby(["optimizer", "seed"])[["lost", "failure"]].first().reset_index()
    table = finals.merge(lost, on=["optimizer", "seed"])
    # Also where the agent diverged within the final window.
    table["final"] = table["failure"].where(table["lost"], table["final"])
    # Of what was reached before all diverged nothing is left to be a unit.
    if table.loc[table["optimizer"] == "adam", "lost"].all():
        raise ResultsError("baseline 'adam' is missing or has diverged with every seed.")
    for name in SCORES:
        zero, unit = score_scale(table, name)
        table[f"{name}_score"] = (table[name] - zero) / unit
    zero, unit = score_scale(table)
    share = filled["env_steps"] / filled["env_steps"].max()
    points = filled[["task", "optimizer", "seed"]].assign(
        share=share, score=(filled["return"] - zero) / unit
    )
    return table[list(SCORE_COLUMNS)], points


def _count_failures(curves: pd.DataFrame) -> pd.DataFrame:
    """Let agents that diverged fail from there on, instead of having no return.

    Adds ``lost`` (of the agent) and ``failure``, the return of a failure: the random policy's mean,
    or the agent's own worst where that is lower.
    """
    curves = curves.sort_values(["optimizer", "seed", "update"], ignore_index=True)
    # A policy that is not trained has no learning rate, and groups by NaN are dropped.
    curves["learning_rate"] = curves["learning_rate"].fillna(0.0)
    random = curves.loc[curves["optimizer"] == "random", "return"]
    if random.empty or random.isna().any():
        what = "is missing" if random.empty else "has no return"
        raise ResultsError(f"baseline 'random' {what}: there is nothing to measure scores by.")
    agents = curves.groupby(["optimizer", "seed"])["return"]
    diverged = agents.transform(lambda values: values.isna().cummax())
    failure = np.fmin(agents.transform("min"), random.mean())
    return curves.assign(
        lost=diverged.groupby([curves["optimizer"], curves["seed"]]).transform("any"),
        failure=failure,
        **{"return": curves["return"].where(~diverged, failure)},
    )


def aggregates(scores: TransferScores, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Aggregate the scores of every complete optimizer; see ``AGGREGATE_COLUMNS``."""
    rows = []
    lost = scores.table.groupby("optimizer")["lost"].sum()
    for optimizer in scores.complete:
        for score in SCORES:
            matrix = scores.matrix(optimizer, score)
            ends = stratified_estimate(matrix, _all_metrics(), resamples)
            counts = (*matrix.shape, int(lost[optimizer]))
            rows += [
                (optimizer, score, metric, *numbers, *counts)
                for metric, *numbers in zip(METRICS, *ends, strict=True)
            ]
    return pd.DataFrame(rows, columns=list(AGGREGATE_COLUMNS))


def _all_metrics() -> Statistic:
    from rliable import metrics

    others = (metrics.aggregate_median, metrics.aggregate_optimality_gap, metrics.aggregate_mean)

    def compute(matrix: np.ndarray) -> np.ndarray:
        (iqm,) = interquartile_means(matrix[..., None])
        return np.array([iqm, *(function(matrix) for function in others)])

    return compute


def profiles(scores: TransferScores, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Return performance profiles of the final scores; see ``PROFILE_COLUMNS``.

    Thresholds cover the scores, but nothing beyond -1 and 3: a task on which Adam hardly learns
    has scores of any size.
    """
    matrices = {optimizer: scores.matrix(optimizer) for optimizer in scores.complete}
    everything = np.concatenate([matrix.ravel() for matrix in matrices.values()])
    low = np.clip(np.floor(4 * everything.min()) / 4, _WIDEST[0], 0.0)
    high = np.clip(np.ceil(4 * everything.max()) / 4, 1.0, _WIDEST[1])
    thresholds = np.linspace(low, high, _THRESHOLDS)
    frames = []
    for optimizer, matrix in matrices.items():
        ends = stratified_estimate(matrix, lambda x: shares_above(x, thresholds), resamples)
        frames.append(_frame(PROFILE_COLUMNS, optimizer, thresholds, *ends))
    return pd.concat(frames, ignore_index=True)


def improvement(
    scores: TransferScores, subject: str = "champion", resamples: int = RESAMPLES
) -> pd.DataFrame:
    """Return P(subject > X) for every other complete optimizer X; see ``IMPROVEMENT_COLUMNS``."""
    others = [label for label in scores.complete if label != subject]
    rows = []
    for other in others if subject in scores.complete else ():
        for score in SCORES:
            pair = [scores.matrix(label, score) for label in (subject, other)]
            ends = stratified_estimate(pair, probability_of_improvement, resamples)
            rows.append((other, score, *(float(end[0]) for end in ends)))
    return pd.DataFrame(rows, columns=list(IMPROVEMENT_COLUMNS))


def efficiency(scores: TransferScores, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Return the interquartile mean over the share of the lifetime; see ``EFFICIENCY_COLUMNS``.

    Where tasks have different points, those of the task with the fewest are used, and the curves of
    the others are read between their points.
    """
    points = scores.points
    grids = [np.unique(part["share"]) for _, part in points.groupby("task", sort=False)]
    shares = min(grids, key=len)
    frames = []
    for optimizer in scores.complete:
        cube = _score_cube(points[points["optimizer"] == optimizer], scores.tasks, shares)
        ends = stratified_estimate(cube, interquartile_means, resamples)
        frames.append(_frame(EFFICIENCY_COLUMNS, optimizer, shares, *ends))
    return pd.concat(frames, ignore_index=True)


def _score_cube(points: pd.DataFrame, tasks: list[str], shares: np.ndarray) -> np.ndarray:
    """Return an optimizer's scores along the curves, ``[seeds, tasks, shares]``."""
    columns = []
    for task in tasks:
        curves = points[points["task"] == task].sort_values(["seed", "share"])
        agents = curves.groupby("seed")
        columns.append([np.interp(shares, agent["share"], agent["score"]) for _, agent in agents])
    return np.stack(columns, axis=1)


def _frame(columns: Iterable[str], optimizer: str, *values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(dict(zip(columns, (optimizer, *values), strict=True)))
