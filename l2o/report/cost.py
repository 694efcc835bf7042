"""What the run cost, and on what it ran."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from l2o.jobs.reading import JobRecord
from l2o.report.text import NOTHING, TIMES, count, duration, memory

PHASES = ("import", "compile", "run")


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of one job, or of several added up.

    Attributes:
        name: What was run.
        seconds: By phase.
        total_s: Wall time of the process.
        peak_bytes: Highest memory use of any one process, if known.
        url: Page of the job's run in MLflow, if it has one.
    """

    name: str
    seconds: dict[str, float]
    total_s: float
    peak_bytes: float | None
    url: str | None = None

    @property
    def time(self) -> str:
        """The total, for people."""
        return duration(self.total_s)

    @property
    def parts(self) -> list[str]:
        """The phases, for people."""
        return [duration(self.seconds[phase]) for phase in PHASES]

    @property
    def memory(self) -> str:
        """The peak memory, for people."""
        return memory(self.peak_bytes)

    @property
    def shares(self) -> list[tuple[str, float]]:
        """Phases with their share of the total, in percent."""
        whole = sum(self.seconds.values()) or 1.0
        return [(phase, round(100 * self.seconds[phase] / whole, 1)) for phase in PHASES]

    @property
    def share_text(self) -> str:
        """The shares as a sentence, for those who cannot see the bar."""
        return ", ".join(f"{phase} {share:.0f}%" for phase, share in self.shares)


def of_jobs(jobs: Iterable[JobRecord]) -> list[Cost]:
    """Return the cost of every job, in the order in which they started."""
    return [dataclasses.replace(_of_job(job), url=job.mlflow_url()) for job in jobs]


def by_stage(jobs: Iterable[JobRecord]) -> list[Cost]:
    """Return what each stage cost, in the order in which they started, and the total at the end."""
    stages: dict[str, list[Cost]] = {}
    for job in jobs:
        stages.setdefault(job.record["stage"], []).append(_of_job(job))
    costs = [_add(f"{stage} ({count(len(c), 'job')})", c) for stage, c in stages.items()]
    everything = [cost for several in stages.values() for cost in several]
    return [*costs, _add(f"total ({count(len(everything), 'job')})", everything)]


def of_meta_training(jobs: Iterable[JobRecord]) -> dict[str, float]:
    """Return the seconds of one meta-training, compilation included, mean over seeds by recipe."""
    found: dict[str, list[float]] = {}
    for job in jobs:
        if job.record["stage"] == "meta_train" and job.finished:
            recipe = job.record["tags"].get("recipe", "")
            found.setdefault(recipe, []).append(float(job.record["timings"]["total_s"]))
    return {recipe: sum(seconds) / len(seconds) for recipe, seconds in found.items()}


def _of_job(job: JobRecord) -> Cost:
    timings = {name: float(value) for name, value in job.record["timings"].items()}
    # The folder of the job, which is also the name of its target.
    name = job.key.partition("@")[0]
    return Cost(
        name=name if job.finished else f"{name} (failed)",
        seconds={phase: max(timings[f"{phase}_s"], 0.0) for phase in PHASES},
        total_s=timings["total_s"],
        peak_bytes=job.record.get("peak_memory_bytes"),
    )


def _add(name: str, costs: list[Cost]) -> Cost:
    peaks = [cost.peak_bytes for cost in costs if cost.peak_bytes is not None]
    return Cost(
        name=name,
        seconds={phase: sum(cost.seconds[phase] for cost in costs) for phase in PHASES},
        total_s=sum(cost.total_s for cost in costs),
        peak_bytes=max(peaks, default=None),
    )


def environment(jobs: Iterable[JobRecord]) -> list[tuple[str, str]]:
    """Return the facts that the numbers depend on; jobs that disagree are all named."""
    records = [job.record for job in jobs]
    packages = {name for record in records for name in record.get("versions") or {}}
    facts = [
        ("commit", _values(map(_commit, records))),
        ("Python", _values(record.get("python") for record in records)),
        ("device", _values(_device(record.get("device")) for record in records)),
        ("host cores", _values(record.get("host_cores") for record in records)),
    ]
    facts += [
        (name, _values((record.get("versions") or {}).get(name) for record in records))
        for name in sorted(packages)
    ]
    return [(name, value) for name, value in facts if value != NOTHING]


def commits(jobs: Iterable[JobRecord]) -> str:
    """Return the commit, or the commits, that the jobs ran."""
    found = _values(_commit(job.record) for job in jobs)
    return "not recorded" if found == NOTHING else found


def _commit(record: dict[str, Any]) -> str | None:
    commit = record.get("git_commit")
    if commit is None:
        return None
    return commit[:12] + (" with uncommitted changes" if record.get("git_dirty") else "")


def _device(device: dict[str, Any] | None) -> str | None:
    if device is None:
        return None
    name = device["platform"] if device["kind"] == device["platform"] else device["kind"]
    return f"{device['count']} {TIMES} {name}"


def _values(values: Iterable[Any]) -> str:
    different = dict.fromkeys(str(value) for value in values if value is not None)
    return "; ".join(different) or NOTHING
