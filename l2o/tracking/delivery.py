"""Every ended job is delivered exactly once.

What was delivered is read from MLflow itself: a run carries its job's identity in the tag
``l2o.run_key`` from the moment it exists and is ended after everything else, so a run that is still
open is an interrupted delivery, to be completed. So is one that a job logged itself, until its tag
``l2o.delivery`` says ``complete``.
"""

import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2o.errors import L2OError, ResultsError
from l2o.files import read_json
from l2o.jobs.history import SYSTEM
from l2o.jobs.locks import one_at_a_time
from l2o.jobs.reading import PREFIXES, SIDECAR, JobRecord, Point, find_jobs
from l2o.redaction import redact_address
from l2o.tracking.addresses import default_tracking_uri
from l2o.tracking.experiment import describe_experiment, open_experiment
from l2o.tracking.inputs import inputs_of
from l2o.tracking.model_registry import publish_selection
from l2o.tracking.parents import Parents, is_parent
from l2o.tracking.problems import one_line, stops_delivery
from l2o.tracking.store import (
    COMPLETE,
    DELIVERY_TAG,
    LIVE,
    METRIC_BATCH,
    PARAM_BATCH,
    RUN_KEY_TAG,
    note_run,
    quiet_client,
)

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun
    from mlflow.tracking import MlflowClient

# Before the key of a run that contradicts the files, and is about to be deleted.
_REPLACED = "replaced "


@dataclass
class SyncReport:
    """What one call of ``sync`` did.

    Attributes:
        uri: The MLflow store, without credentials.
        delivered: Jobs whose MLflow run this call completed.
        unchanged: Jobs that MLflow already had.
        points: Metric points written.
        artifacts: Files uploaded.
        model_versions: Versions added to the model registry.
        errors: One line per job or store that could not be dealt with.
    """

    uri: str
    delivered: int = 0
    unchanged: int = 0
    points: int = 0
    artifacts: int = 0
    model_versions: int = 0
    errors: list[str] = field(default_factory=list)


def sync(results_dir: str | Path, tracking_uri: str | None = None) -> SyncReport:
    """Deliver every finished or failed job below a directory to MLflow, exactly once.

    It never raises: whatever goes wrong is in the report, and the next call delivers the rest.

    Args:
        results_dir: The root of all results. A job without an identity of its own is known by its
            path below it, so use the same root every time.
        tracking_uri: The MLflow store; ``default_tracking_uri`` if None.

    Returns:
        Counts and errors.
    """
    root = Path(results_dir).resolve()
    uri = tracking_uri or default_tracking_uri(root)
    report = SyncReport(redact_address(uri))
    try:
        if not root.is_dir():
            raise ResultsError(f"{root}: no such directory.")
        jobs = find_jobs(root, report.errors)
        if jobs:
            with one_at_a_time(root / ".mlflow.lock"), quiet_client(uri) as client:
                experiment = open_experiment(client, uri, root)
                _Delivery(client, experiment, report, jobs).run(uri)
                describe_experiment(client, experiment, jobs)
    except Exception as error:
        report.errors.append(one_line(error, uri))
    return report


class _Delivery:
    """One pass over the jobs with one MLflow store."""

    def __init__(
        self, client: "MlflowClient", experiment: str, report: SyncReport, jobs: list[JobRecord]
    ) -> None:
        self._client, self._experiment, self._report = client, experiment, report
        self._jobs = jobs
        self._children: dict[str, MlflowRun] = {}
        self._parents = Parents(client, experiment)
        self._seen: set[str] = set()
        self._runs = {run.info.run_id: run for run in _all_runs(client, experiment)}
        for run in self._runs.values():
            tags, is_active = run.data.tags, run.info.lifecycle_stage == "active"
            if tags.get(RUN_KEY_TAG, "").startswith(_REPLACED):
                if is_active:
                    client.delete_run(run.info.run_id)
            elif RUN_KEY_TAG in tags:
                known = self._children.get(tags[RUN_KEY_TAG])
                if known is None or known.info.status == "RUNNING":
                    self._children[tags[RUN_KEY_TAG]] = run
            elif is_parent(tags):
                self._parents.add(run)

    def run(self, uri: str) -> None:
        """Deliver the jobs, oldest first; one that fails does not keep the others back."""
        for job in self._jobs:
            if job.key not in self._children and (stray := self._stray(job)):
                self._adopt(job, stray)
        for child in self._children.values():
            self._parents.adopt(child, self._runs)
        for job in self._jobs:
            try:
                self._deliver(job)
            except Exception as error:
                if stops_delivery(error):
                    raise
                # As an error of ours: the name of a folder may hold a line break.
                problem = L2OError(f"{job.directory}: {one_line(error, uri)}")
                self._report.errors.append(str(problem))
        self._parents.end(self._jobs)

    def _stray(self, job: JobRecord) -> "MlflowRun | None":
        """Return the run that a job noted as its own, but that has lost the tag which says so."""
        try:
            note = read_json(job.directory / SIDECAR)
            run = self._runs.get(note["run_id"]) if note["run_key"] == job.key else None
        except (ResultsError, KeyError, TypeError):
            return None
        if run is None:
            return None
        key = run.data.tags.get(RUN_KEY_TAG, "")
        is_of_another = key.startswith(_REPLACED) or any(key == other.key for other in self._jobs)
        return None if is_of_another else run

    def _adopt(self, job: JobRecord, run: "MlflowRun") -> None:
        if run.info.lifecycle_stage == "active":
            self._client.set_tag(run.info.run_id, RUN_KEY_TAG, job.key)
        self._children[job.key] = run

    def _deliver(self, job: JobRecord) -> None:
        run = self._children.get(job.key)
        if job.key in self._seen:  # a copy of its directory
            self._report.unchanged += 1
            return
        self._seen.add(job.key)
        if run and _is_complete(run):
            self._report.unchanged += 1
            self._note(job, run)
            return
        points = list(job.points())
        known = self._known_points(run) if run else {}
        if run and _contradicts(known, points):
            self._replace(job, run)
            run, known = None, {}
        run = run or self._create(job)
        self._note(job, run)
        self._log_labels(job, run)
        self._log_params(job, run)
        self._client.log_inputs(run.info.run_id, inputs_of(job))
        self._log_points(run, (p for p in points if (p.name, p.step) not in known))
        for path in job.artifacts():
            self._client.log_artifact(run.info.run_id, str(path))
            self._report.artifacts += 1
        self._report.model_versions += publish_selection(self._client, job, run)
        self._close(job, run)
        self._report.delivered += 1

    def _create(self, job: JobRecord) -> "MlflowRun":
        tags = job.labels() | {RUN_KEY_TAG: job.key} | self._parents.tags(job)
        return self._client.create_run(self._experiment, job.start_ms, tags, job.name)

    def _replace(self, job: JobRecord, run: "MlflowRun") -> None:
        """Delete a run; without its key first, as a deleted run counts as delivered."""
        key = f"{_REPLACED}{job.key}"
        self._client.set_tag(run.info.run_id, RUN_KEY_TAG, key)
        self._client.delete_run(run.info.run_id)

    def _note(self, job: JobRecord, run: "MlflowRun") -> None:
        note_run(job, self._report.uri, run.info.experiment_id, run.info.run_id)

    def _log_labels(self, job: JobRecord, run: "MlflowRun") -> None:
        """Set the tags that a run, made while its job was running, lacks."""
        from mlflow.entities import RunTag

        known = run.data.tags
        wanted = job.labels() | self._parents.tags(job)
        fresh = [RunTag(name, text) for name, text in wanted.items() if known.get(name) != text]
        if fresh:
            self._client.log_batch(run.info.run_id, tags=fresh, synchronous=True)

    def _log_params(self, job: JobRecord, run: "MlflowRun") -> None:
        from mlflow.entities import Param

        known = run.data.params
        fresh = (Param(name, text) for name, text in job.params().items() if name not in known)
        while batch := list(islice(fresh, PARAM_BATCH)):
            self._client.log_batch(run.info.run_id, params=batch, synchronous=True)

    def _known_points(self, run: "MlflowRun") -> dict[tuple[str, int], float]:
        return {
            (name, point.step): point.value
            for name in run.data.metrics
            for point in self._client.get_metric_history(run.info.run_id, name)
        }

    def _log_points(self, run: "MlflowRun", fresh: Iterator[Point]) -> None:
        from mlflow.entities import Metric

        while batch := [Metric(*point) for point in islice(fresh, METRIC_BATCH)]:
            self._client.log_batch(run.info.run_id, metrics=batch, synchronous=True)
            self._report.points += len(batch)

    def _close(self, job: JobRecord, run: "MlflowRun") -> None:
        status = "FINISHED" if job.finished else "FAILED"
        self._client.set_terminated(run.info.run_id, status, job.end_ms)
        if DELIVERY_TAG in run.data.tags:
            self._client.set_tag(run.info.run_id, DELIVERY_TAG, COMPLETE)


def _is_complete(run: "MlflowRun") -> bool:
    """Whether nothing is missing; a run that the user deleted in MLflow was delivered, too."""
    if run.info.lifecycle_stage == "deleted":
        return True
    return run.info.status != "RUNNING" and run.data.tags.get(DELIVERY_TAG) != LIVE


def _contradicts(known: dict[tuple[str, int], float], points: Iterable[Point]) -> bool:
    """Whether MLflow has values that are not those of the files.

    A job that was killed, and did not repeat itself exactly, left them on a server.
    """
    values = {(point.name, point.step): point.value for point in points}
    return any(
        not _equal(value, values.get(key, math.inf))
        for key, value in known.items()
        if not key[0].startswith(PREFIXES[SYSTEM])
    )


def _equal(stored: float, value: float) -> bool:
    # MLflow stores infinity as the largest number.
    value = math.copysign(sys.float_info.max, value) if math.isinf(value) else value
    return stored == value or (math.isnan(stored) and math.isnan(value))


def _all_runs(client: "MlflowClient", experiment: str) -> "Iterator[MlflowRun]":
    from mlflow.entities import ViewType

    token: Any = None
    while True:
        page = client.search_runs([experiment], "", ViewType.ALL, 1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
