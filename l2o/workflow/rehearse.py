"""A job on trial: what does it compile, does that fit, and how long does it take?

The job runs in processes of its own, so that one that gets no memory takes nobody along. Where this
takes seconds it runs again with more to do, which tells apart what is paid once, per step and per
evaluation.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2o.errors import OutOfMemoryError
from l2o.files import write_json
from l2o.jobs.programs import needed_bytes
from l2o.pipeline.contract import Job
from l2o.workflow.child import Child
from l2o.workflow.registry import get_stage
from l2o.workflow.trials import rehearsal, smaller

if TYPE_CHECKING:
    from l2o.config.models import Config

FOUND = "found"
"""Folder of what was found, a file for each job, below that of the rehearsal."""
_QUICK = 60.0
"""Seconds of a job that is worth being run again with more to do."""
_MORE, _MOST = 3, 300
_DIVISORS = (1, 32)
"""Of sizes: what does not fit the machine, or its patience, is tried with smaller ones."""


def rehearse_job(
    config: Config, job: Job, words: Sequence[str], path: Path, places: Mapping[str, Any]
) -> int:
    """Try a job; write what was found, and results that later jobs can be tried on.

    Args:
        config: That of the rehearsal.
        job: The job.
        words: Its command, without the program.
        path: Where ``config`` is.
        places: What its stage's ``run`` gets beside the settings.

    Returns:
        The exit code of the job.
    """
    folder, name = path.parent, name_of(job)
    # A cache of its own, or nothing would tell how long compilation takes.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / ".compiled")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    child = Child(words, folder / ".scratch" / name)
    found: dict[str, Any] = {"stage": job.stage, "parts": job.named, "place": _place()}
    found |= _compile(config, job, places)
    child.patience = found["compile_s"] / 2  # most of it comes from the cache
    for divisor in _DIVISORS[1 if found["problem"] else 0 :]:
        own = config if divisor == 1 else smaller(config, divisor)
        code, timings = child.run(_plain(own), places["out"], endless=divisor == _DIVISORS[-1])
        if child.problem:
            found["problem"] = found["problem"] or child.problem
            continue
        if code:
            return code
        child.patience = 2 * max(found["compile_s"], timings["compile_s"])
        found |= {"divisor": divisor, "memory": timings.pop("memory", None)}
        found["runs"] = [_run(own, job, timings), *_more_runs(own, job, child, timings)]
        break
    write_json(folder / FOUND / f"{name}.json", found)
    if "runs" not in found:
        raise OutOfMemoryError(f"{found['problem']}, at 1/{_DIVISORS[-1]} of its size, too.")
    return 0


def name_of(job: Job) -> str:
    """Return what the file about a job is called."""
    return "_".join([job.stage, *job.named.values()])


def _compile(config: Config, job: Job, places: Mapping[str, Any]) -> dict[str, Any]:
    """Compile what the job will; say how long that takes, and whether it fits memory."""
    stage = get_stage(job.stage)
    found: dict[str, Any] = {"compile_s": 0.0, "bytes": None, "problem": None, "advice": []}
    if stage.programs is None:
        return found
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the job itself comes later
    from l2o.evaluation import memory

    free, began = memory.free_bytes(), time.monotonic()
    for program in stage.programs(stage.settings(config, **job.named), **places):
        needed = needed_bytes(program.stage.compile())
        if needed > (found["bytes"] or 0):
            found["bytes"] = needed
            if needed > free:
                short = f"{program.name} needs {_gib(needed)} GiB of memory, {_gib(free)} are free"
                found |= {"problem": short, "advice": list(program.less_memory)}
    return found | {"compile_s": time.monotonic() - began}


def _more_runs(config: Config, job: Job, child: Child, first: dict[str, Any]) -> list[dict]:
    """Run the job with more to do, where that is quick: for longer, and with more agents.

    More agents are another program. Where that is costly to compile they stay as many.
    """
    if get_stage(job.stage).work is None or seconds_at_work(first) > _QUICK:
        return []
    is_costly = child.patience > _QUICK
    runs: list[dict] = []
    seeds, updates = (1, 4) if is_costly else (_MORE, 1)
    while updates <= _MOST:
        more = rehearsal(config, updates, seeds)
        code, timings = child.run(_plain(more))
        if code or child.problem:
            break
        timings.pop("memory", None)
        runs.append(_run(more, job, timings))
        if updates > 1 and seconds_at_work(timings) > max(2 * seconds_at_work(runs[0]), _QUICK / 6):
            break  # what is paid per step can be told from what is paid once
        updates *= 8
    return runs


def seconds_at_work(timings: Mapping[str, Any]) -> float:
    """Return how long a run took beside its imports and compiling."""
    return timings["total_s"] - timings["import_s"] - timings["compile_s"]


def _run(config: Config, job: Job, timings: dict[str, Any]) -> dict[str, Any]:
    work = get_stage(job.stage).work
    return timings | ({} if work is None else {"work": work(config, **job.named)})


def _plain(config: Config) -> Config:
    """Return the configuration of a job that only runs."""
    return config.model_copy(update={"trial": "miniature"})


def _place() -> str:
    """Return where the job runs: Slurm's partition, or this machine."""
    return os.environ.get("SLURM_JOB_PARTITION", "this machine")


def _gib(size: float) -> str:
    return f"{size / 2**30:.3g}"
