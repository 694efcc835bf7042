"""The jobs below a results directory, as flat data for a tracking store."""

import functools
import json
import math
import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from l2o.errors import ResultsError
from l2o.files import read_json
from l2o.jobs import RECORD
from l2o.jobs.history import FAILED_RECORD, METRICS, SYSTEM, parse, read_history

# Where a tracking store keeps its copies: they must not be taken for results.
STORE_FOLDERS = ("mlartifacts", "mlruns")
# Beside a job's files, written by ``l2o.tracking``: which MLflow run shows them, and where.
SIDECAR = ".mlflow.json"
# What is put before the names of the metrics of a file.
PREFIXES = {METRICS: "", SYSTEM: "system/"}

_REQUIRED = ("stage", "status", "started", "ended", "config", "tags", "results", "timings")
_ARTIFACT_KINDS = frozenset({".json", ".parquet", ".png", ".svg", ".safetensors"})
_MAX_ARTIFACT_BYTES = 5_000_000
_MAX_PARAMS = 300
_MAX_TEXT = 500
# Of the settings of a whole pipeline, somewhere above its jobs.
_CONFIG, _CONFIG_DEPTH = "config.json", 6


class Point(NamedTuple):
    """One value of one metric; ``time`` is in milliseconds since the epoch."""

    name: str
    value: float
    time: int
    step: int


@dataclass(frozen=True)
class JobRecord:
    """A directory with the record of a job that ended or, half as long, of one that runs.

    Attributes:
        directory: Where the files are.
        key: The identity of this execution: one of its own or, of a job from before there was one,
            relative directory and start time.
        record: The content of ``run.json`` or ``run.failed.json``.
    """

    directory: Path
    key: str
    record: dict[str, Any]

    @property
    def finished(self) -> bool:
        """Whether the job succeeded."""
        return self.record["status"] == "finished"

    @property
    def invocation(self) -> str | None:
        """The identity of the pipeline invocation that ran the job."""
        return self.record.get("invocation")

    @property
    def start_ms(self) -> int:
        """When the job started, in milliseconds since the epoch."""
        return _milliseconds(self.record["started"])

    @property
    def end_ms(self) -> int:
        """When the job ended, in milliseconds since the epoch."""
        return _milliseconds(self.record["ended"])

    @property
    def name(self) -> str:
        """What people call the job: what it is about, then its stage."""
        tags = self.record["tags"]
        names = ("recipe", "ablation", "optimizer", "sweep", "study", "source", "task", "variant")
        if self.record["stage"] == "meta_train":
            names = ("recipe", "sweep")
        parts = [str(tags[name]) for name in names if tags.get(name)]
        if self.record["stage"] == "meta_train":
            parts.append(f"seed {self.record.get('seed')}")
        return shorten(" · ".join([*parts, self.record["stage"]]))

    def mlflow_url(self) -> str | None:
        """Return the page of the MLflow run that shows the job, None if it was not delivered."""
        try:
            note = read_json(self.directory / SIDECAR)
            identities = (self.record.get("run_key"), f"@{self.record['started']}")
            of_this_execution = note["run_key"].endswith(tuple(i for i in identities if i))
            is_link = note["url"].startswith(("http://", "https://"))
        except (ResultsError, KeyError, TypeError, AttributeError):
            return None
        return note["url"] if of_this_execution and is_link else None

    def labels(self) -> dict[str, str]:
        """Return what jobs are searched and grouped by.

        For each ablation that compares the job's recipe, this is also its place in the comparison.
        """
        names = ("stage", "seed", "git_commit", "slurm_job_id", "error")
        labels = self.record["tags"] | {name: self.record.get(name) for name in names}
        labels |= _ablations(self.directory, str(self.record["tags"].get("recipe")))
        if "git_commit" in labels:
            labels["mlflow.source.git.commit"] = labels["git_commit"]
        return {name: shorten(value) for name, value in labels.items() if value is not None}

    def params(self) -> dict[str, str]:
        """Return the configuration, flattened to short texts; a very long one is cut off."""
        flat = _flatten({"seed": self.record.get("seed")} | self.record["config"], ".")
        return {name: shorten(value) for name, value in list(flat)[:_MAX_PARAMS]}

    def points(self) -> Iterator[Point]:
        """Yield the histories, then the summary, the timings and the memory as step 0."""
        for file, prefix in PREFIXES.items():
            for line in read_history(self.directory, file):
                yield from line_points(line, prefix)
        summary = {
            "result": self.record["results"],
            "time": self.record["timings"],
            "memory": {"peak_bytes": self.record.get("peak_memory_bytes")},
        }
        for name, value in _flatten(summary, "/"):
            number = _number(value)
            if number is not None:
                yield Point(name, number, self.end_ms, 0)

    def artifacts(self) -> list[Path]:
        """Return the small files worth keeping beside the metrics: tables, figures, weights."""
        return sorted(
            path
            for path in self.directory.iterdir()
            if path.suffix in _ARTIFACT_KINDS
            and not path.name.startswith(".")
            and path.is_file()
            and path.stat().st_size < _MAX_ARTIFACT_BYTES
        )


def find_jobs(root: Path, errors: list[str]) -> list[JobRecord]:
    """Find every ended job below ``root``, oldest first.

    Args:
        root: The root of all results; hidden directories (resume state) are not entered.
        errors: Gets one line for each record that cannot be read.
    """
    jobs = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [n for n in subfolders if not n.startswith(".") and n not in STORE_FOLDERS]
        for name in (RECORD, FAILED_RECORD):
            if name in files:
                try:
                    jobs.append(_read_job(root, Path(folder, name)))
                except ResultsError as error:
                    errors.append(str(error))
                break
    return sorted(jobs, key=lambda job: (job.start_ms, job.key))


def _read_job(root: Path, path: Path) -> JobRecord:
    record = read_json(path)
    lacks = [name for name in _REQUIRED if not isinstance(record, dict) or name not in record]
    if lacks:
        raise ResultsError(f"{path}: not the record of a job (it lacks {', '.join(lacks)}).")
    directory = path.parent
    old_key = f"{directory.relative_to(root).as_posix()}@{record['started']}"
    return JobRecord(directory, record.get("run_key") or old_key, record)


def line_points(line: Mapping[str, Any], prefix: str = "") -> Iterator[Point]:
    """Yield the values of one line of a history.

    Args:
        line: The line, as read from JSON or by ``read_history``.
        prefix: Put before the names.
    """
    at = round(line["time"] * 1000)
    for name, value in parse(line)["metrics"].items():
        yield Point(entity_name(prefix + name), value, at, line["step"])


def _ablations(directory: Path, recipe: str) -> dict[str, str]:
    """Return ``ablation_<name>: <level>`` for the ablations that compare a recipe."""
    for folder in directory.resolve().parents[:_CONFIG_DEPTH]:
        path = folder / _CONFIG
        if path.is_file():
            known = _levels(path, path.stat().st_mtime_ns)
            return {f"ablation_{a}": level[recipe] for a, level in known.items() if recipe in level}
    return {}


@functools.lru_cache(maxsize=8)
def _levels(path: Path, changed_at: int) -> dict[str, dict[str, str]]:
    """Return the levels of every ablation by recipe; the file is read again when it changed."""
    del changed_at
    try:
        return {name: dict(a["recipes"]) for name, a in read_json(path)["ablations"].items()}
    except (ResultsError, KeyError, TypeError, AttributeError, ValueError):
        return {}  # some other file of that name


def entity_name(name: str) -> str:
    """Make a metric or parameter name that MLflow accepts; ordinary names stay as they are."""
    return posixpath.normpath(re.sub(r"[^\w.\- /]", "_", name)).lstrip("./")


def shorten(value: Any) -> str:
    """Write a value as a text of bounded length."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"


def _flatten(
    tree: Mapping[str, Any], separator: str, prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, separator, f"{prefix}{name}{separator}")
        else:
            yield entity_name(prefix + name), value


def _number(value: Any) -> float | None:
    """Return a number of a record as a float, None for anything else."""
    if isinstance(value, bool | int | float):
        return float(value)
    not_finite = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
    return not_finite.get(value) if isinstance(value, str) else None


def _milliseconds(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)
