"""From the rehearsal of every kind of job to what a whole scale will take. Imports no jax."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from l2o.files import read_json
from l2o.jobs import RECORD
from l2o.jobs.progress import format_seconds
from l2o.pipeline import jobs
from l2o.pipeline.contract import Job, job
from l2o.pipeline.work import Work
from l2o.workflow.child import SLOW
from l2o.workflow.registry import get_stage, word_of
from l2o.workflow.rehearse import FOUND, name_of, seconds_at_work

if TYPE_CHECKING:
    from l2o.config.models import Config

COLUMNS = {
    "job": "Stage, and the parts of the job's name but for the seed.",
    "runs": "How often it will run.",
    "compile_s": "Seconds to compile its programs, once.",
    "step_s": "Seconds of one outer step, or of one update of one agent.",
    "memory_gib": "GiB that its largest program needs; of jobs without one, the process.",
    "predicted_s": "Predicted seconds of one run.",
    "measured_s": "Mean seconds of the runs that are there.",
    "hours": "Predicted hours of all runs.",
    "place": "Slurm's partition, or this machine.",
    "fits": "Whether it fits the memory of that place.",
    "note": "What was in the way, and what to set to make it fit.",
}
"""Columns of the table."""


def forecast(config: Config, folder: Path, results: Path) -> pd.DataFrame:
    """Return one row for every kind of job of the whole pipeline; see ``COLUMNS``.

    Args:
        config: The scale's.
        folder: Of its rehearsal.
        results: Of the scale, where jobs that ran already tell how good the prediction is.

    Raises:
        ResultsError: A kind of job was not rehearsed.
    """
    everything = _whole_pipeline(config)
    runs = Counter(_kind(one) for one in everything)
    examples = {_kind(one): one for one in reversed(everything)}
    rows = [
        _row(config, one, runs[kind], _found(folder, one), _measured(everything, kind, results))
        for kind, one in sorted(examples.items())
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _whole_pipeline(config: Config) -> list[Job]:
    found = [*jobs.usual(config), *jobs.usual_levels(config), job("report")]
    return list(dict.fromkeys(found))


def _kind(one: Job) -> str:
    parts = (value for name, value in one.parts if name != "seed")
    return " ".join([word_of(one.stage), *parts])


def _found(folder: Path, one: Job) -> dict[str, Any]:
    return read_json(folder / FOUND / f"{name_of(one)}.json")


def _measured(everything: Iterable[Job], kind: str, results: Path) -> float:
    """Return the mean seconds of the runs of a kind that are there, NaN if there are none."""
    folders = (
        results / get_stage(one.stage).folder_of(one)
        for one in everything
        if _kind(one) == kind and get_stage(one.stage).has_record
    )
    records = [read_json(path / RECORD) for path in folders if (path / RECORD).is_file()]
    seconds = [record["timings"]["total_s"] for record in records]
    return float(np.mean(seconds)) if seconds else math.nan


def _row(
    config: Config, one: Job, runs: int, found: dict[str, Any], measured: float
) -> dict[str, Any]:
    seconds, step = _predict(config, one, found)
    memory = found["bytes"] or found.get("memory") or math.nan
    return {
        "job": _kind(one),
        "runs": runs,
        "compile_s": found["compile_s"],
        "step_s": step,
        "memory_gib": memory / 2**30,
        "predicted_s": seconds,
        "measured_s": measured,
        "hours": (runs * seconds + found["compile_s"]) / 3600,
        "place": found["place"],
        "fits": found["problem"] is None or found["problem"].startswith(SLOW),
        "note": _note(found, seconds),
    }


def _note(found: dict[str, Any], seconds: float) -> str:
    problem = found["problem"] or ""
    if found["advice"]:
        problem += f": {', or '.join(found['advice'])}"
    if math.isnan(seconds):
        return "; ".join(filter(None, [problem, "steps are too short to be measured"]))
    if (divisor := found.get("divisor", 1)) == 1:
        return problem
    return f"{problem}; predicted from batches of 1/{divisor}"


def _predict(config: Config, one: Job, found: dict[str, Any]) -> tuple[float, float]:
    """Return the seconds of one run and of one step; NaN where it did not run at all."""
    runs, work = found.get("runs"), get_stage(one.stage).work
    if not runs:
        return math.nan, math.nan
    first = runs[0]
    start = first["import_s"] + first["compile_s"]
    if work is None:
        return first["total_s"], math.nan
    done = [Work(*run["work"]) for run in runs]
    spent = list(map(seconds_at_work, runs))
    wanted = work(config, **one.named)
    once, learning, playing = _costs(done, spent)
    if learning == 0:  # lost in the noise
        return math.nan, math.nan
    seconds = start + once + learning * wanted.learned + playing * wanted.played
    return seconds, learning * wanted.learned / wanted.steps


def _costs(done: list[Work], spent: list[float]) -> tuple[float, float, float]:
    """Return seconds that are spent once, per step learned and per step played.

    They are those that explain all runs best, with none of them negative. Where all runs did the
    same, which took long, all of it counts as steps. Two kinds of runs cannot tell the two kinds of
    steps apart.
    """
    kinds = len({(work.learned, work.played) for work in done})
    if kinds == 1:
        each = sum(spent) / sum(work.learned + work.played for work in done)
        return 0.0, each, each
    if kinds == 2:
        alike = [Work(work.steps, work.learned + work.played) for work in done]
        once, each, _ = _fitted(alike, spent)
        return once, each, each
    return _fitted(done, spent)


def _fitted(done: list[Work], spent: list[float]) -> tuple[float, float, float]:
    rows = np.array([[1.0, work.learned, work.played] for work in done])
    # Relative to each run, and to each column: none of them is to count for its size alone.
    scale = np.where(rows.max(axis=0) > 0, rows.max(axis=0), 1.0)
    weight = 1 / np.array(spent)
    costs, _ = nnls(weight[:, None] * rows / scale, np.ones(len(spent)))
    once, learning, playing = costs / scale
    return float(once), float(learning), float(playing)


def as_text(table: pd.DataFrame) -> str:
    """Return the table for people."""
    shown = table.assign(
        predicted=table["predicted_s"].map(_duration),
        measured=table["measured_s"].map(_duration),
        compile=table["compile_s"].map(_duration),
        hours=table["hours"].map(lambda x: "?" if math.isnan(x) else f"{x:.2f}"),
        step=table["step_s"].map(lambda x: "" if math.isnan(x) else f"{x:.3g} s"),
        memory=table["memory_gib"].map(lambda x: "" if math.isnan(x) else f"{x:.2f} GiB"),
    )
    columns = ["job", "runs", "compile", "step", "memory", "predicted", "measured", "hours"]
    return shown[[*columns, "place", "note"]].to_string(index=False)


def _duration(seconds: float) -> str:
    return "?" if math.isnan(seconds) else format_seconds(seconds)


def totals(table: pd.DataFrame) -> str:
    """Return what all jobs of each partition will take, and how many do not fit."""
    lines = []
    for place, rows in table.groupby("place"):
        known = rows[rows["hours"].notna()]
        line = f"{place}: {known['hours'].sum():.2f} hours for {known['runs'].sum()} jobs"
        if misfits := rows.loc[~rows["fits"], "runs"].sum():
            line += f", of which {misfits} do not fit this place"
        lines.append(line)
    return "\n".join(lines)
