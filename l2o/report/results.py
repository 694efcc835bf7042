"""What a run left, in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from l2o.jobs.reading import JobRecord
from l2o.statistics.bootstrap import MIN_SEEDS

if TYPE_CHECKING:
    from l2o.config.models import Config


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Optimizers on one task: learning curves at the chosen rates, and how these were chosen."""

    curves: pd.DataFrame
    tuning: pd.DataFrame


@dataclasses.dataclass(frozen=True)
class Transfer:
    """Optimizers on one test task.

    Attributes:
        curves: At the learning rates of the tuning tasks, and a random policy.
        controls: At other rates, with a column ``tuning``: ``none`` or ``oracle``.
        oracle: The grid on the test task itself; no rows if that was not asked for.
        costs: Time and memory.
    """

    curves: pd.DataFrame
    controls: pd.DataFrame
    oracle: pd.DataFrame
    costs: pd.DataFrame


@dataclasses.dataclass(frozen=True)
class Selection:
    """Scores of all checkpoints, the winner, and its curves on the toy tasks."""

    scores: pd.DataFrame
    champion: dict[str, Any]
    comparison: pd.DataFrame


@dataclasses.dataclass(frozen=True)
class TransferSummary:
    """All test tasks together; see ``SUMMARY_TABLES``."""

    scores: pd.DataFrame
    aggregates: pd.DataFrame
    profiles: pd.DataFrame
    improvement: pd.DataFrame
    efficiency: pd.DataFrame

    @property
    def has_intervals(self) -> bool:
        """Whether there were enough seeds for intervals."""
        return bool((self.aggregates["seeds"] >= MIN_SEEDS).any())

    @property
    def left_out(self) -> list[str]:
        """Optimizers that were not run with the same seeds on every task."""
        aggregated = set(self.aggregates["optimizer"])
        return [name for name in self.scores["optimizer"].unique() if name not in aggregated]


@dataclasses.dataclass(frozen=True)
class AblationResults:
    """Final returns per level, the learning curves behind them, and effects.

    Attributes:
        summary: Final returns.
        curves: Learning curves.
        effects: Of levels, on scores.
        factors: Of factors and their interactions; no rows unless the design is factorial.
    """

    summary: pd.DataFrame
    curves: pd.DataFrame
    effects: pd.DataFrame
    factors: pd.DataFrame


@dataclasses.dataclass(frozen=True)
class Gradients:
    """Studies of gradients, those that were made.

    Attributes:
        tables: By name, see :data:`l2o.statistics.columns.gradients.STUDY_TABLES`.
        histograms: Of all recorded sources; no rows if nothing was recorded.
        identity: Accuracies of the identity task, all sources; None if not run.
    """

    tables: dict[str, pd.DataFrame]
    histograms: pd.DataFrame
    identity: pd.DataFrame | None


@dataclasses.dataclass(frozen=True)
class Results:
    """All that a run left below ``results/<scale>/``.

    Attributes:
        config: The resolved configuration.
        baselines: By toy task.
        meta_training: Metrics by recipe and seed.
        selection: None if not run.
        tuning: The grid on the transfer's tuning tasks; None if not run.
        transfer: By test task.
        off_preset: Agents off the preset, by test task and variant; those that were run.
        summary: Of all test tasks, None if not run.
        ablations: By name.
        gradients: Studies of gradients.
        jobs: Records of all jobs, oldest first.
        missing: Folders of the jobs that were not run, relative to the scale's.
    """

    config: Config
    baselines: dict[str, Evaluation]
    meta_training: dict[tuple[str, int], pd.DataFrame]
    selection: Selection | None
    tuning: pd.DataFrame | None
    transfer: dict[str, Transfer]
    off_preset: dict[tuple[str, str], Transfer]
    summary: TransferSummary | None
    ablations: dict[str, AblationResults]
    gradients: Gradients
    jobs: list[JobRecord]
    missing: list[str]

    def toy_curves(self, task: str) -> pd.DataFrame:
        """Return the curves of a toy task: the champion's, its initialisation's, the baselines'."""
        parts = []
        if self.selection is not None:
            comparison = self.selection.comparison
            parts.append(comparison[comparison["task"] == task])
        if task in self.baselines:
            parts.append(self.baselines[task].curves)
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    def metrics_over_seeds(self, names: Mapping[str, str]) -> dict[str, pd.DataFrame]:
        """Return the metrics of meta-training, mean over its seeds.

        Args:
            names: What to call each recipe that is wanted.
        """
        tables: dict[str, list[pd.DataFrame]] = {}
        for (recipe, _), table in self.meta_training.items():
            if recipe in names:
                tables.setdefault(names[recipe], []).append(table)
        return {
            name: pd.concat(parts).groupby("step", as_index=False).mean()
            for name, parts in tables.items()
        }

    @property
    def training_tasks(self) -> list[str]:
        """Meta-training tasks of the recipe that is selected from."""
        return self.config.training_tasks

    def levels(self, ablation: str) -> dict[str, str]:
        """Return the recipes of an ablation, and what each is called; the full method leads."""
        return dict(self.config.ablations[ablation].recipes)

    def role(self, task: str) -> str:
        """Return what a toy task serves for."""
        return self.config.role(task).replace("training", "meta-training")
