"""Are the results of two runs the same? What depends on time alone is left out, and listed here."""

import json
import sqlite3
from pathlib import Path

import pandas as pd

from l2o.jobs.history import SYSTEM
from l2o.jobs.reading import SIDECAR

SKIPPED = {
    "logs": "what a terminal showed",
    ".state": "what an interrupted job continues from",
    ".invocation.json": "names one call of the workflow",
    SIDECAR: "the address of a run in MLflow",
    SYSTEM: "load of the machine",
    "tracking.json": "addresses of runs in MLflow",
    "report.html": "shows durations; its claims and figures are compared",
    ".snakemake_timestamp": "of a folder that is an output",
}
_OF_THE_JOB = ("stage", "config", "seed", "tags", "status", "results")
_DURATIONS = {"costs.parquet": ["seconds", "share"]}
_OF_TIME = ("cost", "time", "duration")  # in the names of figures


def differences(whole: Path, other: Path) -> list[str]:
    """Return the files below two folders that are missing in one or hold other results."""
    names = _names(whole)
    found = [f"{name}: only in one of them" for name in names ^ _names(other)]
    both = sorted(names & _names(other))
    return found + [name for name in both if not _equal(whole / name, other / name)]


def _names(folder: Path) -> set[str]:
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if not _is_skipped(path)}


def _is_skipped(path: Path) -> bool:
    """Whether a file is listed above, or one that a killed job had begun, under a name for it."""
    begun = path.name.startswith(".") and path.suffix == ".partial"
    return begun or bool(set(path.parts) & set(SKIPPED))


def _equal(one: Path, two: Path) -> bool:
    if one.name == "run.json":
        return _job(one) == _job(two)
    if one.name == "metrics.jsonl":
        return _history(one) == _history(two)
    if one.name in _DURATIONS:
        tables = [pd.read_parquet(path).drop(columns=_DURATIONS[one.name]) for path in (one, two)]
        return tables[0].equals(tables[1])
    if "figures" in one.parts and any(word in one.stem for word in _OF_TIME):
        return True
    return one.read_bytes() == two.read_bytes()


def _job(path: Path) -> dict:
    record = json.loads(path.read_text())
    return {key: record[key] for key in _OF_THE_JOB}


def _history(path: Path) -> list:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [[line["step"], line["metrics"]] for line in lines]


def tracked(results: Path) -> list[tuple]:
    """Return what MLflow holds of every job: its name, status, and points of its training."""
    with sqlite3.connect(f"file:{results / 'mlflow.db'}?mode=ro", uri=True) as database:
        # Without the parent runs: every call of the workflow has one of its own.
        runs = database.execute(
            "SELECT name, status FROM runs JOIN tags USING (run_uuid) "
            "WHERE tags.key = 'mlflow.parentRunId' ORDER BY name"
        ).fetchall()
        points = database.execute(
            "SELECT runs.name, key, step, value FROM metrics JOIN runs USING (run_uuid) "
            "WHERE step > 0 AND key NOT LIKE 'system/%' ORDER BY 1, 2, 3, 4"
        ).fetchall()
    return runs + points
