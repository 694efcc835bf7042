"""Reads the files of a run, each checked; what was not run is left out and named."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from l2o.config.models import Config
from l2o.errors import ResultsError
from l2o.files import read_json, read_table
from l2o.jobs import RECORD
from l2o.jobs.reading import JobRecord, find_jobs
from l2o.report.results import (
    AblationResults,
    Evaluation,
    Gradients,
    Results,
    Selection,
    Transfer,
    TransferSummary,
)
from l2o.statistics.columns.comparisons import (
    ABLATION_COLUMNS,
    ABLATION_CURVE_COLUMNS,
    EFFECT_COLUMNS,
    FACTOR_COLUMNS,
    SUMMARY_TABLES,
)
from l2o.statistics.columns.evaluation import (
    CHECKPOINT_COLUMNS,
    CONTROL_COLUMNS,
    COST_COLUMNS,
    CURVE_COLUMNS,
    TUNING_COLUMNS,
)
from l2o.statistics.columns.gradients import HISTOGRAM_COLUMNS, IDENTITY_COLUMNS, STUDY_TABLES

CHAMPION_KEYS = ("recipe", "seed", "outer_step", "score", "learning_rate")


def load(settings: Config, folder: Path) -> Results:
    """Read a run.

    A job whose folder is absent or empty was not run; of any other every file must be whole.

    Args:
        settings: The run's configuration.
        folder: Of a scale, ``results/<scale>``.

    Raises:
        ResultsError: A file is missing, truncated, or lacks what the report needs.
    """
    absent = _Absent(folder)
    return Results(
        config=settings,
        baselines={
            task: _read_evaluation(path)
            for task, path in absent.present("baselines", settings.toy_evaluation_tasks)
        },
        meta_training=_read_meta_training(settings, absent),
        selection=next((_read_selection(path) for _, path in absent.present("", ["select"])), None),
        tuning=next(
            (
                _read_rows(p / "tuning.parquet", TUNING_COLUMNS)
                for _, p in absent.present("", ["tune"])
            ),
            None,
        ),
        transfer={
            task: _read_transfer(path)
            for task, path in absent.present("transfer", settings.transfer.tasks)
        },
        off_preset={
            (task, variant): _read_transfer(path)
            for task in settings.transfer.variant_tasks
            for variant, path in _Absent(folder).present(
                f"transfer_variants/{task}", settings.transfer.variants
            )
        },
        summary=next(
            (_read_summary(path) for _, path in absent.present("", ["transfer_summary"])), None
        ),
        ablations={
            name: _read_ablation(path, settings, name)
            for name, path in absent.present(
                "ablations", settings.ablations, expected=settings.usual_ablations
            )
        },
        gradients=_read_gradients(folder / "analysis", settings),
        jobs=_read_jobs(folder),
        missing=absent.names,
    )


class _Absent:
    """Keeps account of the jobs that were not run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.names: list[str] = []

    def present(self, stage: str, names: Any, expected: Any = None) -> Iterator[tuple[str, Path]]:
        """Yield the names, and their folders, of the jobs that were run.

        Args:
            stage: Folder of them all.
            names: Of the jobs.
            expected: Those that a whole run has; by default all. Of the others, one that has not
                ended may be at work: it was not run yet.
        """
        for name in names:
            path = self._folder / stage / name
            is_expected = expected is None or name in expected
            if (path / RECORD).is_file() or (is_expected and path.is_dir() and any(path.iterdir())):
                yield name, path
            elif is_expected:
                self.names.append(path.relative_to(self._folder).as_posix())


def _read_meta_training(settings: Config, absent: _Absent) -> dict[tuple[str, int], pd.DataFrame]:
    runs = {}
    for recipe, definition in settings.recipes.items():
        columns = ["step", "meta_gradient_norm", "skipped_steps"]
        columns += [f"{task.task}/return" for task in definition.tasks]
        folders = [f"seed_{seed}" for seed in settings.training_seeds(recipe)]
        expected = folders if recipe in settings.usual_recipes else ()
        for name, path in absent.present(f"meta_train/{recipe}", folders, expected):
            table = _read_rows(path / "metrics.parquet", columns)
            runs[recipe, int(name.removeprefix("seed_"))] = table
    return runs


def _read_evaluation(folder: Path) -> Evaluation:
    return Evaluation(
        curves=_read_rows(folder / "curves.parquet", CURVE_COLUMNS),
        tuning=_read_rows(folder / "tuning.parquet", TUNING_COLUMNS),
    )


def _read_transfer(folder: Path) -> Transfer:
    return Transfer(
        curves=_read_rows(folder / "curves.parquet", CURVE_COLUMNS),
        controls=read_table(folder / "controls.parquet", CONTROL_COLUMNS),
        oracle=read_table(folder / "oracle.parquet", TUNING_COLUMNS),
        costs=_read_rows(folder / "costs.parquet", COST_COLUMNS),
    )


def _read_selection(folder: Path) -> Selection:
    path = folder / "champion.json"
    champion = read_json(path)
    lacks = [key for key in CHAMPION_KEYS if key not in champion]
    if lacks:
        raise ResultsError(f"{path}: lacks {', '.join(lacks)}.")
    return Selection(
        scores=_read_rows(folder / "scores.parquet", CHECKPOINT_COLUMNS),
        champion=champion,
        comparison=_read_rows(folder / "comparison.parquet", CURVE_COLUMNS),
    )


def _read_summary(folder: Path) -> TransferSummary:
    tables = {
        name: _read_rows(folder / f"{name}.parquet", SUMMARY_TABLES[name])
        for name in SUMMARY_TABLES
        if name != "improvement"
    }
    # Empty where the champion was not run with the same seeds on every task.
    improvement = read_table(folder / "improvement.parquet", SUMMARY_TABLES["improvement"])
    return TransferSummary(improvement=improvement, **tables)


def _read_ablation(folder: Path, settings: Config, name: str) -> AblationResults:
    tasks = [*settings.toy_evaluation_tasks, *settings.ablations[name].tasks]
    summary = _read_rows(folder / "summary.parquet", ABLATION_COLUMNS)
    places = {task: place for place, task in enumerate(tasks)}
    return AblationResults(
        summary=summary.sort_values("task", key=lambda names: names.map(places), kind="stable"),
        curves=_read_rows(folder / "curves.parquet", ABLATION_CURVE_COLUMNS),
        effects=read_table(folder / "effects.parquet", EFFECT_COLUMNS),
        factors=read_table(folder / "factors.parquet", FACTOR_COLUMNS),
    )


def _read_gradients(folder: Path, settings: Config) -> Gradients:
    """Read the studies that were made; none of them is part of a whole run."""
    absent, tables = _Absent(folder), {}
    for study, path in absent.present("", STUDY_TABLES, expected=()):
        for name, columns in STUDY_TABLES[study].items():
            tables[name] = _read_rows(path / f"{name}.parquet", columns)
    sources = settings.analysis.sources if tables else ()
    recordings = [
        _read_rows(path / "histograms.parquet", HISTOGRAM_COLUMNS)
        for _, path in absent.present("recordings", sources, expected=())
    ]
    identity = [
        _read_rows(path / "identity.parquet", IDENTITY_COLUMNS)
        for _, path in absent.present("identity", settings.analysis.identity.sources, expected=())
    ]
    return Gradients(
        tables,
        pd.concat(recordings, ignore_index=True) if recordings else pd.DataFrame(),
        pd.concat(identity, ignore_index=True) if identity else None,
    )


def _read_rows(path: Path, columns: Any) -> pd.DataFrame:
    """Read a table that must not be empty, from the folder of a job that must have ended."""
    table = read_table(path, columns)
    if table.empty:
        raise ResultsError(f"{path}: holds no rows; delete it and run again.")
    if not (path.parent / RECORD).is_file():
        raise ResultsError(f"{path.parent / RECORD}: no such file; run the job again.")
    return table


def _read_jobs(folder: Path) -> list[JobRecord]:
    errors: list[str] = []
    jobs = find_jobs(folder, errors)
    if errors:
        raise ResultsError(errors[0])
    return jobs
